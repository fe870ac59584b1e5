//! Log lines and metrics.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, bail};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::args::LogFormat;
use crate::config::Settings;

/// Seconds; from a row in the store to the longest wait for a decision.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Time between two times that samples are sorted into buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Sends log lines to standard error. `level` applies if nobody chose one.
///
/// # Errors
/// If the chosen level cannot be read.
pub(crate) fn log(settings: &Settings, level: &str) -> anyhow::Result<()> {
    let directives = settings.log_level.as_deref().unwrap_or(level);
    refuse_keys(directives)?;
    let filter = EnvFilter::builder().parse(directives).with_context(|| format!("log level {directives:?}"))?;
    // Libraries that tell every flush or connection at the level of information.
    let filter = ["fjall=warn", "lsm_tree=warn", "scylla=warn", "scylla::network::connection=error"]
        .iter()
        .filter(|directive| !directives.contains(directive.split('=').next().unwrap_or_default()))
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(BoxMakeWriter::new(std::io::stderr))
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // A second subscriber in one process is a test's; the first one stays.
    let _ = match settings.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_file(true).with_line_number(true).try_init(),
    };
    Ok(())
}

/// What the store's driver traces has the keys of rows in it, which name subjects.
fn refuse_keys(directives: &str) -> anyhow::Result<()> {
    let traces = |directive: &str| {
        let directive = directive.trim().to_ascii_lowercase();
        directive.starts_with("scylla") && (directive.ends_with("=trace") || !directive.contains('='))
    };
    if directives.split(',').any(traces) {
        bail!("log level {directives:?}: the driver's traces show keys of rows; scylla=debug is the most it may tell");
    }
    Ok(())
}

/// Sorts samples into their buckets. Until then each is kept as it is, so a process that nobody asks for its metrics would grow.
fn upkeep(handle: PrometheusHandle) -> anyhow::Result<()> {
    let work = move || loop {
        std::thread::sleep(UPKEEP);
        handle.run_upkeep();
    };
    std::thread::Builder::new().name("metrics".into()).spawn(work).context("the thread of the metrics")?;
    Ok(())
}

/// The recorder of this process.
///
/// # Errors
/// If another recorder is installed.
pub(crate) fn metrics() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?;
    let handle = builder.install_recorder()?;
    upkeep(handle.clone())?;
    ridgeline_runtime::metric::describe_all();
    ridgeline_kafka::metric::describe_all();
    ridgeline_cql::metric::describe_all();
    ridgeline_registry::metric::describe_all();
    Ok(HANDLE.get_or_init(|| handle).clone())
}
