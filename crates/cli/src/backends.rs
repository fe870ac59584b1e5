//! The log and the store of a process: in its data directory, or Kafka and a `CQL` store.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use ridgeline_embedded::{Embedded, EmbeddedOptions};
use ridgeline_ports::{Clock, EventLog, Store};
use ridgeline_wire::row::table;
use ridgeline_wire::{Topic, Topology};

use crate::config::Settings;

/// An open log and an open store.
pub(crate) struct Backends {
    log: Arc<dyn EventLog>,
    store: Arc<dyn Store>,
    held: Held,
}

/// What must be closed.
enum Held {
    Directory(Embedded),
}

impl Backends {
    /// Opens both. `create` makes topics and tables that are missing; otherwise their absence is an error that names the
    /// command to run. A data directory always has its own.
    ///
    /// # Errors
    /// A directory that is in use, a log or store that cannot be reached or does not fit this version.
    pub(crate) async fn open(settings: &Settings, clock: Arc<dyn Clock>, create: bool) -> anyhow::Result<Self> {
        let _ = create;
        anyhow::ensure!(settings.cluster()?.is_none(), "this build has no adapters for --kafka and --cql yet");
        directory(settings.data_dir.clone(), clock).await
    }

    /// The log.
    pub(crate) fn log(&self) -> Arc<dyn EventLog> {
        self.log.clone()
    }

    /// The store.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Waits until everything acknowledged is where it belongs, and lets go.
    pub(crate) async fn close(self) {
        match self.held {
            Held::Directory(embedded) => embedded.shutdown().await,
        }
    }
}

async fn directory(dir: PathBuf, clock: Arc<dyn Clock>) -> anyhow::Result<Backends> {
    let opened = tokio::task::spawn_blocking(move || Embedded::open(&dir, EmbeddedOptions::new(clock))).await?;
    let embedded = opened.context("cannot open the data directory")?;
    let (log, store) = (embedded.log(), embedded.store());
    for spec in Topic::ALL.iter().map(|topic| topic.spec("", Topology::Embedded)) {
        log.ensure_topic(&spec).await.with_context(|| format!("topic {}", spec.name))?;
    }
    store.ensure_tables(table::ALL).await.context("tables of the store")?;
    Ok(Backends { log, store, held: Held::Directory(embedded) })
}
