//! The store: tables of rows that are either conditional (every write carries a condition) or plain, never both.
//!
//! Values are opaque; the layers above encrypt what must not be readable. A row's `expires_at` never decides anything:
//! it only says when the store may forget the row (seven days later).

use async_trait::async_trait;
use bytes::Bytes;
use ridgeline_domain::{DurationMs, Timestamp};

use crate::Disposition;

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// `insert_new`, `replace`, `remove` only.
    Conditional,
    /// `put` and `delete` only; the write with the latest time wins.
    Plain,
}

/// A table: a static name of `[a-z_]{1,48}` and its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSpec {
    /// Name, also of the CQL table.
    pub name: &'static str,
    /// How it is written.
    pub kind: TableKind,
}

impl TableSpec {
    /// Physical removal comes this long after `expires_at`.
    pub const GRACE: DurationMs = DurationMs::from_days(7);
}

/// Primary key: rows of one partition are stored together, ordered by `clustering`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey {
    /// Partition key, at most 512 bytes.
    pub partition: String,
    /// Clustering key, at most 512 bytes; empty where a partition has one row.
    pub clustering: String,
}

impl RowKey {
    /// A partition with one row.
    #[must_use]
    pub fn single(partition: impl Into<String>) -> Self {
        Self { partition: partition.into(), clustering: String::new() }
    }

    /// A row among others of its partition.
    #[must_use]
    pub fn new(partition: impl Into<String>, clustering: impl Into<String>) -> Self {
        Self { partition: partition.into(), clustering: clustering.into() }
    }
}

impl std::fmt::Debug for RowKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.partition, self.clustering)
    }
}

/// Rises by one with each conditional write of a row, from 1. Plain rows have version 0. A removed and re-inserted row starts again at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A row as read.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// Conditional version.
    pub version: Version,
    /// Opaque value.
    pub value: Bytes,
    /// When the row stops to count; the caller judges, the store only forgets it later.
    pub expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for Row {
    /// Never the value (P-1).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row")
            .field("version", &self.version)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// How a conditional write ended. Both are answers, not errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cas {
    /// Written; the row now has this version.
    Applied(Version),
    /// Not written; this is the row that is there (`None`: there is none).
    Conflict(Option<Row>),
}

/// When a plain write happened and when it may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainWrite {
    /// The record's append time: a replay writes with the same time and changes nothing.
    pub at: Timestamp,
    /// When the row stops to count.
    pub expires_at: Option<Timestamp>,
}

/// Where a scan goes on. Opaque to callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanToken(pub Vec<u8>);

/// Part of a scan.
#[derive(Debug, Clone)]
pub struct Page {
    /// Rows in key order within a partition.
    pub rows: Vec<(RowKey, Row)>,
    /// `None` at the end.
    pub next: Option<ScanToken>,
}

/// Why a store call failed. No variant carries keys or values.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or its disk refuses. A conditional write may or may not have been applied: read, and look for the own mark.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The call does not fit the table's kind or a limit; a fault of the caller.
    #[error("misuse of table {table}: {what}")]
    Misuse {
        /// Which table.
        table: &'static str,
        /// What was wrong.
        what: &'static str,
    },
    /// The store is damaged beyond what it can repair.
    #[error("store corrupt: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// What a worker does about it.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::Unavailable(_) => Disposition::Retry,
            Self::Misuse { .. } | Self::Corrupt(_) => Disposition::Fatal,
        }
    }
}

/// Durable rows. A write that returned is on disk.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes the tables that are missing.
    async fn ensure_tables(&self, tables: &[TableSpec]) -> Result<(), StoreError>;

    /// Reads a row; for conditional tables the latest decided one.
    async fn get(&self, table: TableSpec, key: &RowKey) -> Result<Option<Row>, StoreError>;

    /// Reads a row as the last acknowledged write left it; a write whose answer was lost may show or not. In a replicated store this costs a
    /// plain read where `get` of a conditional row takes part in an agreement. Enough where a conditional write decides afterwards, and
    /// where the write in question was acknowledged before.
    async fn peek(&self, table: TableSpec, key: &RowKey) -> Result<Option<Row>, StoreError> {
        self.get(table, key).await
    }

    /// Rows of one partition with clustering keys after `after`, ascending, at most `limit`.
    async fn range(
        &self,
        table: TableSpec,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError>;

    /// Walks a whole table in pages of at most `limit` rows, in no stated order across partitions.
    async fn scan(&self, table: TableSpec, from: Option<&ScanToken>, limit: usize) -> Result<Page, StoreError>;

    /// Conditional: inserts if no row is there.
    async fn insert_new(
        &self,
        table: TableSpec,
        key: &RowKey,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError>;

    /// Conditional: replaces the row if it still has `expected`.
    async fn replace(
        &self,
        table: TableSpec,
        key: &RowKey,
        expected: Version,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError>;

    /// Conditional: removes the row if it still has `expected`. `Applied` carries `expected`.
    async fn remove(&self, table: TableSpec, key: &RowKey, expected: Version) -> Result<Cas, StoreError>;

    /// Plain: writes the row unless one with a later `at` is there; equal times: the larger value wins, so that replicas agree.
    async fn put(&self, table: TableSpec, key: &RowKey, value: Bytes, write: PlainWrite) -> Result<(), StoreError>;

    /// Plain: deletes the row unless one with a later time is there.
    async fn delete(&self, table: TableSpec, key: &RowKey, at: Timestamp) -> Result<(), StoreError>;
}
