//! The `Store` port.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use ridgeline_domain::Timestamp;
use ridgeline_ports::{
    Cas, Page, PlainWrite, Row, RowKey, ScanToken, Store, StoreError, TableKind, TableSpec, Version,
};
use tokio::sync::oneshot;

use crate::disk::Disk;
use crate::engine::{Engine, Shared, answered, off_the_reactor};
use crate::row::{ROW_BYTES_MAX, StoredRow, parse_key, partition_prefix, storage_key, table_prefix};
use crate::writer::{Job, RowWrite};

/// The store of an open directory.
pub(crate) struct EmbeddedStore {
    shared: Arc<Shared>,
}

impl EmbeddedStore {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn engine(&self, table: TableSpec) -> Result<Arc<Engine>, StoreError> {
        let engine = self.shared.for_store()?;
        engine.disk.check_table(table)?;
        Ok(engine)
    }

    async fn write(&self, table: TableSpec, kind: TableKind, key: &RowKey, write: RowWrite) -> Result<Cas, StoreError> {
        let engine = self.engine(table)?;
        if table.kind != kind {
            let what = match kind {
                TableKind::Conditional => "a conditional write to a plain table",
                TableKind::Plain => "a plain write to a conditional table",
            };
            return Err(StoreError::Misuse { table: table.name, what });
        }
        let key = storage_key(table, key)?;
        let bytes = key.len() + write.value_bytes();
        if bytes > ROW_BYTES_MAX {
            return Err(StoreError::Misuse { table: table.name, what: "a value of more than 8 MiB" });
        }
        let room = engine.room(bytes).await?;
        let (reply, answer) = oneshot::channel();
        engine.queue(Job::Row { key, write, room, reply });
        answered(answer).await
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn ensure_tables(&self, tables: &[TableSpec]) -> Result<(), StoreError> {
        let (engine, tables) = (self.shared.for_store()?, tables.to_vec());
        off_the_reactor(move || tables.into_iter().try_for_each(|table| engine.disk.ensure_table(table))).await
    }

    async fn get(&self, table: TableSpec, key: &RowKey) -> Result<Option<Row>, StoreError> {
        let engine = self.engine(table)?;
        let stored = engine.disk.rows.get(storage_key(table, key)?).map_err(crate::EmbeddedError::from)?;
        let row = stored.map(|stored| StoredRow::decode(&stored.into())).transpose()?;
        Ok(row.and_then(StoredRow::into_row))
    }

    async fn range(
        &self,
        table: TableSpec,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let engine = self.engine(table)?;
        let prefix = partition_prefix(table, partition)?;
        let from = match after {
            Some(after) => Bound::Excluded(storage_key(table, &RowKey::new(partition, after))?),
            None => Bound::Included(prefix.clone()),
        };
        off_the_reactor(move || Ok(rows(&engine.disk, table, from, &prefix, limit)?.rows)).await
    }

    async fn scan(&self, table: TableSpec, from: Option<&ScanToken>, limit: usize) -> Result<Page, StoreError> {
        let engine = self.engine(table)?;
        let prefix = table_prefix(table);
        let from = match from {
            Some(ScanToken(last)) => Bound::Excluded([prefix.as_slice(), last].concat()),
            None => Bound::Included(prefix.clone()),
        };
        off_the_reactor(move || rows(&engine.disk, table, from, &prefix, limit.max(1))).await
    }

    async fn insert_new(
        &self,
        table: TableSpec,
        key: &RowKey,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError> {
        self.write(table, TableKind::Conditional, key, RowWrite::Insert { value, expires_at }).await
    }

    async fn replace(
        &self,
        table: TableSpec,
        key: &RowKey,
        expected: Version,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError> {
        self.write(table, TableKind::Conditional, key, RowWrite::Replace { expected, value, expires_at }).await
    }

    async fn remove(&self, table: TableSpec, key: &RowKey, expected: Version) -> Result<Cas, StoreError> {
        self.write(table, TableKind::Conditional, key, RowWrite::Remove { expected }).await
    }

    async fn put(&self, table: TableSpec, key: &RowKey, value: Bytes, write: PlainWrite) -> Result<(), StoreError> {
        self.write(table, TableKind::Plain, key, RowWrite::Put { value, write }).await.map(|_| ())
    }

    async fn delete(&self, table: TableSpec, key: &RowKey, at: Timestamp) -> Result<(), StoreError> {
        self.write(table, TableKind::Plain, key, RowWrite::Delete { at }).await.map(|_| ())
    }
}

/// At most `limit` living rows with this prefix from `from` on, and where to go on if there are more.
fn rows(disk: &Disk, table: TableSpec, from: Bound<Vec<u8>>, prefix: &[u8], limit: usize) -> Result<Page, StoreError> {
    let table_bytes = table_prefix(table).len();
    let mut page = Page { rows: Vec::new(), next: None };
    let mut last: Option<Bytes> = None;
    for guard in disk.rows.range((from, Bound::Unbounded)) {
        let (key, stored) = guard.into_inner().map_err(crate::EmbeddedError::from)?;
        if !key.starts_with(prefix) {
            break;
        }
        let Some(row) = StoredRow::decode(&stored.into())?.into_row() else { continue };
        if page.rows.len() == limit {
            page.next = last.map(|key| ScanToken(key.slice(table_bytes..).to_vec()));
            break;
        }
        page.rows.push((parse_key(&key, table_bytes)?, row));
        last = Some(key.into());
    }
    Ok(page)
}
