//! `ridgeline up`: until told to stop.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

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
    let node = Node::start(&settings).await?;
    output::line(&format!("Ridgeline is up: {}", node.url));
    output::line(&format!("  API key file   {}", node.api_key_file.display()));
    output::line(&format!("  documentation  {}/docs", node.url));
    output::line(&format!("  health         {}/health", node.url));
    output::line(&format!("  metrics        {}/metrics", node.admin_url));
    if let Some(folder) = &settings.folder {
        output::line(&format!("  watching       {} ({})", folder.path.display(), folder.operation));
    }
    output::line("Stop with Ctrl-C.");
    until_stopped(node, &mut stop).await
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
