//! `ridgeline up`: until told to stop.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::Role;
use crate::config::Settings;
use crate::node::Node;
use crate::{output, telemetry};

/// Exit code of a process that was told to stop at once.
const EXIT_AT_ONCE: i32 = 130;

/// Starts, says where, and serves until SIGTERM or SIGINT; a second signal stops at once.
///
/// # Errors
/// What keeps the service from starting, or a part that ended by itself.
pub(crate) async fn up(settings: Settings) -> anyhow::Result<ExitCode> {
    telemetry::log(&settings, "info")?;
    let mut stop = StopSignal::new()?;
    let node = Node::start_all(&settings).await?;
    tell("Ridgeline is up", &node);
    if let Some(folder) = &settings.folder {
        output::line(&format!("  watching       {} ({})", folder.path.display(), folder.operation));
    }
    output::line("Stop with Ctrl-C.");
    until_stopped(node, &mut stop).await
}

/// Runs these roles over Kafka and a store, says where, and serves until told to stop.
///
/// # Errors
/// As [`up`]; also without a log and a store that other processes can reach.
pub(crate) async fn roles(settings: Settings, roles: &[Role]) -> anyhow::Result<ExitCode> {
    telemetry::log(&settings, "info")?;
    if settings.cluster()?.is_none() {
        bail!(
            "a role of its own needs a log and a store that others reach: name --kafka and --cql, or a file with [kafka] \
             and [cql] by --config. `ridgeline up` runs everything in one process without them"
        );
    }
    let mut roles = roles.to_vec();
    roles.sort_unstable();
    roles.dedup();
    let mut stop = StopSignal::new()?;
    let node = Node::start(&settings, &roles, false).await?;
    let names: Vec<_> = roles.iter().map(Role::name).collect();
    tell(&format!("Ridgeline {} is up", names.join(", ")), &node);
    output::line("Stop with Ctrl-C.");
    until_stopped(node, &mut stop).await
}

/// Where a process is reached.
fn tell(what: &str, node: &Node) {
    match &node.url {
        Some(url) => output::line(&format!("{what}: {url}")),
        None => output::line(&format!("{what}.")),
    }
    if let Some(file) = &node.api_key_file {
        output::line(&format!("  API key file   {}", file.display()));
    }
    if let Some(url) = &node.url {
        output::line(&format!("  documentation  {url}/docs"));
    }
    let health = node.url.as_ref().unwrap_or(&node.admin_url);
    output::line(&format!("  health         {health}/health"));
    output::line(&format!("  metrics        {}/metrics", node.admin_url));
}

/// Serves until a signal, then stops in order.
///
/// # Errors
/// A part that ended by itself.
pub(crate) async fn until_stopped(mut node: Node, stop: &mut StopSignal) -> anyhow::Result<ExitCode> {
    let broken = tokio::select! {
        () = stop.received() => None,
        error = node.broken() => Some(error),
    };
    match &broken {
        None => tracing::info!("stopping"),
        Some(error) => tracing::error!(error = format!("{error:#}"), "a part of the service ended; stopping"),
    }
    tokio::select! {
        () = node.stop() => {}
        () = stop.received() => {
            tracing::warn!("stopped at once; the log and the store repair themselves at the next start");
            std::process::exit(EXIT_AT_ONCE);
        }
    }
    match broken {
        None => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        Some(error) => Err(error),
    }
}

/// SIGTERM and SIGINT.
pub(crate) struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    /// Takes both signals over from now on.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let take = |kind| signal(kind).context("signals cannot be received");
        Ok(Self { terminate: take(SignalKind::terminate())?, interrupt: take(SignalKind::interrupt())? })
    }

    /// Waits for the next of them. Cancel-safe.
    pub(crate) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
