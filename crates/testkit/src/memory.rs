//! A log and a store for the tests of other crates: the embedded adapter in a directory of its own that goes away with it.

use std::sync::Arc;
use std::time::Duration;

use ridgeline_embedded::{Embedded, EmbeddedOptions};
use ridgeline_ports::{EventLog, Store};
use tempfile::TempDir;

use crate::clock::TestClock;

/// An event log and a store with a clock that the test can move. Needs a tokio runtime for subscriptions.
pub struct Memory {
    embedded: Embedded,
    clock: Arc<TestClock>,
    /// Declared last, so that the directory goes after its user.
    dir: TempDir,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

impl Memory {
    /// Opens one with a running clock, without fsync, with 2 s to answer a revocation; nothing is swept unless asked.
    ///
    /// # Panics
    /// If there is no temporary directory to write to.
    #[must_use]
    pub fn open() -> Self {
        Self::with(TestClock::running(), |_| {})
    }

    /// Opens one with this clock and other options.
    ///
    /// # Panics
    /// If there is no temporary directory to write to.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without a directory cannot go on")]
    pub fn with(clock: TestClock, adjust: impl FnOnce(&mut EmbeddedOptions)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(clock);
        let mut options = EmbeddedOptions::new(clock.clone());
        options.fsync = false;
        options.revoke_deadline = Duration::from_secs(2);
        options.sweep_interval = Duration::from_secs(3_600);
        adjust(&mut options);
        let embedded = Embedded::open(dir.path(), options).expect("an embedded log in a new directory");
        Self { embedded, clock, dir }
    }

    /// Where everything lies.
    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The event log.
    #[must_use]
    pub fn log(&self) -> Arc<dyn EventLog> {
        self.embedded.log()
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.embedded.store()
    }

    /// The clock behind append times and expiry.
    #[must_use]
    pub fn clock(&self) -> Arc<TestClock> {
        Arc::clone(&self.clock)
    }

    /// Runs retention, compaction and the removal of expired rows now.
    ///
    /// # Panics
    /// If the disk refuses.
    #[expect(clippy::expect_used, reason = "a test without a disk cannot go on")]
    pub async fn sweep(&self) {
        self.embedded.sweep().await.expect("a sweep");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ridgeline_domain::DurationMs;
    use ridgeline_ports::{Cleanup, Delivery, GroupId, MemberId, NewRecord, Offset, StartAt, TopicName, TopicSpec};

    use super::*;

    #[tokio::test]
    async fn publishes_and_consumes() {
        let memory = Memory::open();
        let log = memory.log();
        let topic = TopicName::new("t");
        let cleanup = Cleanup::Delete { retention: DurationMs::from_days(1) };
        let spec = TopicSpec { name: topic.clone(), partitions: 1, cleanup, record_bytes_max: 1_000 };
        log.ensure_topic(&spec).await.unwrap();
        let key = Bytes::from_static(b"k");
        let record = NewRecord { topic: topic.clone(), partition: None, key, value: None, headers: vec![] };
        assert_eq!(log.publish(record).await.unwrap().offset, Offset(0));
        let (group, member) = (GroupId("g".into()), MemberId("m".into()));
        let mut subscription = log.subscribe(&topic, &group, &member, StartAt::Committed).await.unwrap();
        let first = subscription.deliveries.recv().await;
        assert!(matches!(first, Some(Delivery::Record { record, epoch: 1 }) if record.offset == Offset(0)));
    }
}
