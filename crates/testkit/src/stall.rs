//! A log and a store that stop answering when a test says so, as a broker or a cluster does that is away without closing connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use ridgeline_domain::Timestamp;
use ridgeline_ports::{
    Appended, Cas, EventLog, GroupId, GroupSubscription, LogError, MemberId, NewRecord, Offset, Page, PlainWrite, Row,
    RowKey, ScanToken, StartAt, Store, StoreError, TableSpec, TailStart, TailSubscription, TopicName, TopicSpec,
    Version,
};
use tokio::sync::watch;

/// The switch, and how many calls have come to it. Clones are the same switch.
#[derive(Debug, Clone)]
pub struct Stall(Arc<(watch::Sender<bool>, AtomicUsize)>);

impl Default for Stall {
    fn default() -> Self {
        Self(Arc::new((watch::Sender::new(false), AtomicUsize::new(0))))
    }
}

impl Stall {
    /// From now on calls hang, or go on.
    pub fn set(&self, hangs: bool) {
        self.0.0.send_replace(hangs);
    }

    /// Records that were to be published, or calls of the store, so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    async fn count(&self) {
        self.0.1.fetch_add(1, Ordering::SeqCst);
        self.pass().await;
    }

    async fn pass(&self) {
        // The sender lives as long as `self`, so this ends only when calls go on.
        let _ = self.0.0.subscribe().wait_for(|hangs| !hangs).await;
    }
}

/// A log that hangs with its switch. Subscriptions that are open go on.
pub struct StallLog {
    /// What it stands before.
    pub inner: Arc<dyn EventLog>,
    /// Its switch.
    pub stall: Stall,
}

#[async_trait]
impl EventLog for StallLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.stall.pass().await;
        self.inner.ensure_topic(spec).await
    }
    async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError> {
        self.stall.pass().await;
        self.inner.partitions(topic).await
    }
    async fn publish(&self, record: NewRecord) -> Result<Appended, LogError> {
        self.stall.count().await;
        self.inner.publish(record).await
    }
    async fn subscribe(
        &self,
        topic: &TopicName,
        group: &GroupId,
        member: &MemberId,
        start: StartAt,
    ) -> Result<GroupSubscription, LogError> {
        self.stall.pass().await;
        self.inner.subscribe(topic, group, member, start).await
    }
    async fn tail(&self, topic: &TopicName, start: TailStart) -> Result<TailSubscription, LogError> {
        self.stall.pass().await;
        self.inner.tail(topic, start).await
    }
    async fn end_offsets(&self, topic: &TopicName) -> Result<Vec<Offset>, LogError> {
        self.stall.pass().await;
        self.inner.end_offsets(topic).await
    }
    async fn committed(&self, topic: &TopicName, group: &GroupId) -> Result<Vec<Option<Offset>>, LogError> {
        self.stall.pass().await;
        self.inner.committed(topic, group).await
    }
}

/// A store that hangs with its switch.
pub struct StallStore {
    /// What it stands before.
    pub inner: Arc<dyn Store>,
    /// Its switch.
    pub stall: Stall,
}

#[async_trait]
impl Store for StallStore {
    async fn ensure_tables(&self, tables: &[TableSpec]) -> Result<(), StoreError> {
        self.stall.count().await;
        self.inner.ensure_tables(tables).await
    }
    async fn get(&self, table: TableSpec, key: &RowKey) -> Result<Option<Row>, StoreError> {
        self.stall.count().await;
        self.inner.get(table, key).await
    }
    async fn peek(&self, table: TableSpec, key: &RowKey) -> Result<Option<Row>, StoreError> {
        self.stall.pass().await;
        self.inner.peek(table, key).await
    }
    async fn range(
        &self,
        table: TableSpec,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.stall.count().await;
        self.inner.range(table, partition, after, limit).await
    }
    async fn scan(&self, table: TableSpec, from: Option<&ScanToken>, limit: usize) -> Result<Page, StoreError> {
        self.stall.count().await;
        self.inner.scan(table, from, limit).await
    }
    async fn insert_new(
        &self,
        table: TableSpec,
        key: &RowKey,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError> {
        self.stall.count().await;
        self.inner.insert_new(table, key, value, expires_at).await
    }
    async fn replace(
        &self,
        table: TableSpec,
        key: &RowKey,
        expected: Version,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError> {
        self.stall.count().await;
        self.inner.replace(table, key, expected, value, expires_at).await
    }
    async fn remove(&self, table: TableSpec, key: &RowKey, expected: Version) -> Result<Cas, StoreError> {
        self.stall.count().await;
        self.inner.remove(table, key, expected).await
    }
    async fn put(&self, table: TableSpec, key: &RowKey, value: Bytes, write: PlainWrite) -> Result<(), StoreError> {
        self.stall.count().await;
        self.inner.put(table, key, value, write).await
    }
    async fn delete(&self, table: TableSpec, key: &RowKey, at: Timestamp) -> Result<(), StoreError> {
        self.stall.count().await;
        self.inner.delete(table, key, at).await
    }
}
