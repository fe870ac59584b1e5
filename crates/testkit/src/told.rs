//! A log and a store that tell a test of each call, and may lose the acknowledgement of a write that was carried out.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use ridgeline_domain::Timestamp;
use ridgeline_ports::{
    Appended, Cas, EventLog, GroupId, GroupSubscription, LogError, MemberId, NewRecord, Offset, Page, PlainWrite, Row,
    RowKey, ScanToken, StartAt, Store, StoreError, TableSpec, TailStart, TailSubscription, TopicName, TopicSpec,
    Version,
};

/// A call that has been carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `publish`, `get`, `range`, `insert`, `replace`, `remove`, `put` or `delete`.
    pub what: &'static str,
    /// Topic or table.
    pub place: String,
    /// Bytes of the value that was written; of a read, of the key.
    pub bytes: usize,
}

impl Call {
    /// Whether it changed the store.
    #[must_use]
    pub fn writes_a_row(&self) -> bool {
        matches!(self.what, "insert" | "replace" | "remove" | "put" | "delete")
    }
}

/// Hears of each call; `false`: its caller is not told that it succeeded.
pub type Hears = Arc<dyn Fn(&Call) -> bool + Send + Sync>;

/// A port with a listener behind it.
pub struct Told<P: ?Sized> {
    /// What does the work.
    pub inner: Arc<P>,
    /// Who is told.
    pub hears: Hears,
}

impl<P: ?Sized> Told<P> {
    fn tell(&self, what: &'static str, place: &str, bytes: usize) -> bool {
        (self.hears)(&Call { what, place: place.to_owned(), bytes })
    }
}

fn told<T>(acknowledged: bool, done: Result<T, StoreError>) -> Result<T, StoreError> {
    if acknowledged { done } else { Err(StoreError::Unavailable("the acknowledgement was lost".to_owned())) }
}

#[async_trait]
impl EventLog for Told<dyn EventLog> {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.ensure_topic(spec).await
    }
    async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError> {
        self.inner.partitions(topic).await
    }
    async fn publish(&self, record: NewRecord) -> Result<Appended, LogError> {
        let (topic, bytes) = (record.topic.clone(), record.value.as_ref().map_or(0, Bytes::len));
        let appended = self.inner.publish(record).await;
        self.tell("publish", topic.as_str(), bytes);
        appended
    }
    async fn subscribe(
        &self,
        topic: &TopicName,
        group: &GroupId,
        member: &MemberId,
        start: StartAt,
    ) -> Result<GroupSubscription, LogError> {
        self.inner.subscribe(topic, group, member, start).await
    }
    async fn tail(&self, topic: &TopicName, start: TailStart) -> Result<TailSubscription, LogError> {
        self.inner.tail(topic, start).await
    }
    async fn end_offsets(&self, topic: &TopicName) -> Result<Vec<Offset>, LogError> {
        self.inner.end_offsets(topic).await
    }
    async fn committed(&self, topic: &TopicName, group: &GroupId) -> Result<Vec<Option<Offset>>, LogError> {
        self.inner.committed(topic, group).await
    }
}

#[async_trait]
impl Store for Told<dyn Store> {
    async fn ensure_tables(&self, tables: &[TableSpec]) -> Result<(), StoreError> {
        self.inner.ensure_tables(tables).await
    }
    async fn get(&self, table: TableSpec, key: &RowKey) -> Result<Option<Row>, StoreError> {
        let found = self.inner.get(table, key).await;
        told(self.tell("get", table.name, key.partition.len()), found)
    }
    async fn range(
        &self,
        table: TableSpec,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let found = self.inner.range(table, partition, after, limit).await;
        told(self.tell("range", table.name, partition.len()), found)
    }
    async fn scan(&self, table: TableSpec, from: Option<&ScanToken>, limit: usize) -> Result<Page, StoreError> {
        self.inner.scan(table, from, limit).await
    }
    async fn insert_new(
        &self,
        table: TableSpec,
        key: &RowKey,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError> {
        let bytes = value.len();
        let done = self.inner.insert_new(table, key, value, expires_at).await;
        told(self.tell("insert", table.name, bytes), done)
    }
    async fn replace(
        &self,
        table: TableSpec,
        key: &RowKey,
        expected: Version,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError> {
        let bytes = value.len();
        let done = self.inner.replace(table, key, expected, value, expires_at).await;
        told(self.tell("replace", table.name, bytes), done)
    }
    async fn remove(&self, table: TableSpec, key: &RowKey, expected: Version) -> Result<Cas, StoreError> {
        let done = self.inner.remove(table, key, expected).await;
        told(self.tell("remove", table.name, 0), done)
    }
    async fn put(&self, table: TableSpec, key: &RowKey, value: Bytes, write: PlainWrite) -> Result<(), StoreError> {
        let bytes = value.len();
        let done = self.inner.put(table, key, value, write).await;
        told(self.tell("put", table.name, bytes), done)
    }
    async fn delete(&self, table: TableSpec, key: &RowKey, at: Timestamp) -> Result<(), StoreError> {
        let done = self.inner.delete(table, key, at).await;
        told(self.tell("delete", table.name, 0), done)
    }
}
