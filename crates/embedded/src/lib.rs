//! The event log and the store over one local directory, for one process.
//!
//! One writer thread turns everything that waits (publishes, commits, row writes) into one atomic batch of the storage
//! crate and one fsync, then answers. Readers are tasks that follow the end of each partition; group membership,
//! rebalancing and fencing happen in memory. A background thread forgets what retention, compaction and expiry allow.
//!
//! After `kill -9` or power loss every acknowledged write is there; a write that was not acknowledged may or may not be.

mod codec;
mod disk;
mod engine;
mod error;
mod group;
mod journal;
mod log;
mod reader;
mod row;
mod store;
mod sweep;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ridgeline_ports::{Clock, EventLog, Store};

use crate::engine::{Engine, Shared};
pub use crate::error::EmbeddedError;

/// How an embedded log and store behave.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// Where append times and expiry come from.
    pub clock: Arc<dyn Clock>,
    /// How long a member may take to answer `Control::Revoked` before its partitions count as lost.
    pub revoke_deadline: Duration,
    /// Deliveries that may wait in the channel of one subscription, 1–100 000.
    pub delivery_capacity: usize,
    /// Bytes of records that may wait in the channel of one subscription; one record always fits.
    pub delivery_bytes_max: usize,
    /// Bytes that may wait for the writer; further writes wait outside. At least the largest record.
    pub queue_bytes_max: usize,
    /// Time between two sweeps for retention, compaction and expired rows.
    pub sweep_interval: Duration,
    /// Whether a write is forced to the disk before it is acknowledged. Without it, an acknowledged write survives
    /// `kill -9` but not power loss; for tests only.
    pub fsync: bool,
}

impl EmbeddedOptions {
    /// Safe defaults: fsync on, 10 s to answer a revocation, 256 deliveries of at most 32 MiB in a channel, 64 MiB in the
    /// writer's queue, a sweep each minute.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            revoke_deadline: Duration::from_secs(10),
            delivery_capacity: 256,
            delivery_bytes_max: 32 << 20,
            queue_bytes_max: 64 << 20,
            sweep_interval: Duration::from_secs(60),
            fsync: true,
        }
    }
}

impl std::fmt::Debug for EmbeddedOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedOptions")
            .field("revoke_deadline", &self.revoke_deadline)
            .field("delivery_capacity", &self.delivery_capacity)
            .field("delivery_bytes_max", &self.delivery_bytes_max)
            .field("queue_bytes_max", &self.queue_bytes_max)
            .field("sweep_interval", &self.sweep_interval)
            .field("fsync", &self.fsync)
            .finish_non_exhaustive()
    }
}

/// An open directory. Dropping it (with all handles taken from it) closes it; `shutdown` does so at a known moment.
pub struct Embedded {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Embedded")
    }
}

impl Embedded {
    /// Opens the directory, making it if it is missing, and repairs what a crash left half-written. Blocks while it reads
    /// what was not yet merged into tables (some 100 MiB/s).
    ///
    /// # Errors
    /// `InUse` if another process (or another `Embedded` of this one) has it open; otherwise what the disk said.
    pub fn open(dir: &Path, options: EmbeddedOptions) -> Result<Self, EmbeddedError> {
        Ok(Self { shared: Shared::new(Engine::open(dir, options)?) })
    }

    /// The event log.
    #[must_use]
    pub fn log(&self) -> Arc<dyn EventLog> {
        Arc::new(log::EmbeddedLog::new(Arc::clone(&self.shared)))
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::new(store::EmbeddedStore::new(Arc::clone(&self.shared)))
    }

    /// Runs retention, compaction and the removal of expired rows now and returns when they are done.
    ///
    /// # Errors
    /// `Closed` after `shutdown`; otherwise what the disk said.
    pub async fn sweep(&self) -> Result<(), EmbeddedError> {
        let engine = self.shared.engine().ok_or(EmbeddedError::Closed)?;
        engine.sweep().await
    }

    /// Ends all subscriptions, finishes what waits for the writer, and releases the directory. Later calls on the log and
    /// the store fail with `Unavailable`.
    pub async fn shutdown(&self) {
        if let Some(engine) = self.shared.take() {
            engine.shutdown().await;
        }
    }
}
