//! Log lines and metrics.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, bail};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
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
        .filter(|directive| !is_named(directives, directive.split('=').next().unwrap_or_default()))
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
        let (target, level) = directive.trim().split_once('=').unwrap_or((directive.trim(), ""));
        // Without a level a target is shown whole.
        target.starts_with("scylla")
            && (level.is_empty() || level.parse().is_ok_and(|level: LevelFilter| level == LevelFilter::TRACE))
    };
    if directives.split(',').any(traces) {
        bail!("log level {directives:?}: the driver's traces show keys of rows; scylla=debug is the most it may tell");
    }
    Ok(())
}

/// Whether somebody chose a level for exactly this target.
fn is_named(directives: &str, target: &str) -> bool {
    directives.split(',').any(|directive| directive.trim().split('=').next() == Some(target))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_traces_are_refused_however_they_are_asked_for() {
        for directives in
            ["scylla=trace", "info,scylla=TRACE", "scylla", "scylla=", "scylla=5", "scylla::network = trace"]
        {
            let refused = refuse_keys(&directives.replace(' ', "")).unwrap_err().to_string();
            assert!(refused.contains("scylla=debug"), "{directives}");
        }
        for directives in ["trace", "scylla=debug", "info,scylla::network=warn", "ridgeline_cql=trace"] {
            assert!(refuse_keys(directives).is_ok(), "{directives}");
        }
    }

    #[test]
    fn a_part_of_a_library_does_not_stand_for_the_library() {
        assert!(is_named("trace,scylla=debug", "scylla"));
        assert!(!is_named("trace,scylla::network::connection=error", "scylla"));
    }
}
