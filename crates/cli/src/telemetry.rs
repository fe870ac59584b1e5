//! Log lines and metrics.

use std::sync::OnceLock;

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::args::LogFormat;
use crate::config::Settings;

/// Seconds; from a row in the store to the longest wait for a decision.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Sends log lines to standard error. `level` applies if nobody chose one.
///
/// # Errors
/// If the chosen level cannot be read.
pub(crate) fn log(settings: &Settings, level: &str) -> anyhow::Result<()> {
    let directives = settings.log_level.as_deref().unwrap_or(level);
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
    ridgeline_runtime::metric::describe_all();
    ridgeline_kafka::metric::describe_all();
    ridgeline_cql::metric::describe_all();
    ridgeline_registry::metric::describe_all();
    Ok(HANDLE.get_or_init(|| handle).clone())
}
