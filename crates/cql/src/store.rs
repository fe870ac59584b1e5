//! The `Store` port.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use ridgeline_domain::Timestamp;
use ridgeline_ports::{
    Cas, Clock, Entropy, Page, PlainWrite, Row, RowKey, ScanToken, Store, StoreError, TableKind, TableSpec, Version,
};
use scylla::client::session::Session;
use scylla::response::PagingState;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use tokio::time::Instant;

use crate::cell::{self, Mark};
use crate::error::Failure;
use crate::statements::{PAGE_ROWS_MAX, Statements, Writes};
use crate::{CqlConfig, answer, metric, rows, schema};

/// Longest partition or clustering key.
const KEY_BYTES_MAX: usize = 512;
/// Largest value; a mutation of more than half a commit log segment, 32 MiB by default, is refused by the database.
const VALUE_BYTES_MAX: usize = 8 << 20;

/// Between two reads for a lost answer.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The store in one keyspace.
pub(crate) struct CqlStore {
    session: Arc<Session>,
    keyspace: String,
    create_tables: bool,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    marks: Marks,
    tables: RwLock<HashMap<&'static str, Arc<Table>>>,
}

struct Table {
    kind: TableKind,
    statements: Statements,
}

/// Makes marks: random for this process, then counted.
struct Marks {
    process: [u8; 8],
    next: AtomicU64,
}

impl Marks {
    fn new(entropy: &dyn Entropy) -> Self {
        let mut process = [0; 8];
        entropy.fill(&mut process);
        Self { process, next: AtomicU64::new(0) }
    }

    fn next(&self) -> Mark {
        let mut mark = [0; 16];
        let (process, number) = mark.split_at_mut(8);
        process.copy_from_slice(&self.process);
        number.copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        mark
    }
}

/// What a conditional write would leave behind, to be found again after a lost answer. A removal leaves nothing.
struct Trace {
    version: Version,
    mark: Option<Mark>,
}

impl CqlStore {
    pub(crate) fn new(session: Arc<Session>, config: &CqlConfig, clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> Self {
        Self {
            session,
            keyspace: config.keyspace.clone(),
            create_tables: config.create_tables,
            timeout: config.request_timeout,
            clock,
            marks: Marks::new(entropy),
            tables: RwLock::default(),
        }
    }

    /// The table's statements, prepared at its first use.
    async fn table(&self, table: TableSpec) -> Result<Arc<Table>, StoreError> {
        let known = self.tables.read().get(table.name).cloned();
        if let Some(known) = known {
            schema::Shape::Of(known.kind).check(table)?;
            return Ok(known);
        }
        let opened = tokio::time::timeout(self.timeout, self.open(table)).await;
        opened.unwrap_or_else(|_| Err(Failure::Unknown("no answer in time").into_store_error(table.name)))
    }

    async fn open(&self, table: TableSpec) -> Result<Arc<Table>, StoreError> {
        check_name(table)?;
        let failed = |failure: Failure| failure.into_store_error(table.name);
        schema::shape(&self.session, &self.keyspace, table.name).await.map_err(failed)?.check(table)?;
        let statements = Statements::prepare(&self.session, &self.keyspace, table).await.map_err(failed)?;
        let opened = Arc::new(Table { kind: table.kind, statements });
        self.tables.write().insert(table.name, opened.clone());
        Ok(opened)
    }

    async fn ensure(&self, table: TableSpec) -> Result<(), StoreError> {
        check_name(table)?;
        let failed = |failure: Failure| failure.into_store_error(table.name);
        let shape = schema::shape(&self.session, &self.keyspace, table.name).await.map_err(failed)?;
        if shape == schema::Shape::Missing && self.create_tables {
            let statement =
                schema::create_table(table).replacen(table.name, &format!("{}.{}", self.keyspace, table.name), 1);
            let made = schema::change(&self.session, "making a table", &statement).await;
            made.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        } else {
            shape.check(table)?;
        }
        self.table(table).await.map(|_| ())
    }

    async fn execute(&self, statement: &PreparedStatement, values: impl SerializeRow) -> Result<QueryResult, Failure> {
        Ok(self.session.execute_unpaged(statement, values).await?)
    }

    async fn read(&self, table: &Table, statement: &PreparedStatement, key: &RowKey) -> Result<Option<Row>, Failure> {
        let read = self.execute(statement, (&key.partition, &key.clustering)).await?;
        rows::one(&rows::of(read)?, table.kind)
    }

    /// Sends a conditional write once. After a lost answer it looks whether the row bears the write's mark, within the time that is left.
    async fn conditional(
        &self,
        table: (&Table, TableSpec),
        key: &RowKey,
        kind: &'static str,
        write: (&PreparedStatement, impl SerializeRow),
        trace: Trace,
    ) -> Result<Cas, StoreError> {
        let started = Instant::now();
        let (statement, values) = write;
        let sent = self.execute(statement, values).await;
        let ended = match sent.and_then(|result| answer::cas(result, trace.version)) {
            Err(Failure::Unknown(why)) => {
                let until = started + self.timeout;
                let found = tokio::time::timeout_at(until, self.prove(table.0, key, &trace)).await.unwrap_or(false);
                metric::lost_answer(table.1.name, if found { "applied" } else { "nothing" });
                tracing::debug!(table = table.1.name, kind, why, found, "the answer to a conditional write was lost");
                if found { Ok(Cas::Applied(trace.version)) } else { Err(Failure::Unknown(why)) }
            }
            other => other,
        };
        let outcome = match &ended {
            Ok(Cas::Applied(_)) => "ok",
            Ok(Cas::Conflict(_)) => "conflict",
            Err(failure) => failure.outcome(),
        };
        metric::request(table.1.name, kind, outcome, started.elapsed());
        ended.map_err(|failure| failure.into_store_error(table.1.name))
    }

    /// Reads until there is an answer, since the connection that broke may have been the only one; the caller limits the time.
    async fn prove(&self, table: &Table, key: &RowKey, trace: &Trace) -> bool {
        let Some(mark) = trace.mark else { return false };
        loop {
            let read = self.execute(&table.statements.get, (&key.partition, &key.clustering)).await;
            match read.and_then(rows::of).and_then(|rows| rows::marked(&rows)) {
                Ok(row) => return answer::proves(row.as_ref(), mark, trace.version),
                Err(Failure::Unsent(_) | Failure::Unknown(_)) => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
                Err(Failure::Refused(_) | Failure::Garbled) => return false,
            }
        }
    }

    async fn page(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        from: PagingState,
    ) -> Result<(QueryRowsResult, Option<PagingState>), Failure> {
        let (result, next) = self.session.execute_single_page(statement, values, from).await?;
        let next = match next.into_paging_control_flow() {
            ControlFlow::Continue(state) => Some(state),
            ControlFlow::Break(()) => None,
        };
        Ok((rows::of(result)?, next))
    }

    async fn range_pages(
        &self,
        table: &Table,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, Failure> {
        let rows_max = i32::try_from(limit).unwrap_or(i32::MAX);
        let statement = if after.is_some() { &table.statements.after } else { &table.statements.first };
        let statement = paged(statement, limit);
        let (mut found, mut from) = (Vec::new(), PagingState::start());
        loop {
            let (rows, next) = match after {
                Some(after) => self.page(&statement, (partition, after, rows_max), from).await?,
                None => self.page(&statement, (partition, rows_max), from).await?,
            };
            found.extend(rows::listed(&rows, table.kind, partition)?);
            match next {
                Some(state) => from = state,
                None => return Ok(found),
            }
        }
    }

    async fn scan_page(&self, table: &Table, from: Option<&ScanToken>, limit: usize) -> Result<Page, Failure> {
        let from = from.map_or_else(PagingState::start, |token| PagingState::new_from_raw_bytes(token.0.as_slice()));
        let (rows, next) = self.page(&paged(&table.statements.scan, limit), (), from).await?;
        let next = next.and_then(|state| state.as_bytes_slice().map(|bytes| ScanToken(bytes.to_vec())));
        Ok(Page { rows: rows::scanned(&rows, table.kind)?, next })
    }
}

#[async_trait]
impl Store for CqlStore {
    async fn ensure_tables(&self, tables: &[TableSpec]) -> Result<(), StoreError> {
        for table in tables {
            self.ensure(*table).await?;
        }
        Ok(())
    }

    async fn get(&self, table: TableSpec, key: &RowKey) -> Result<Option<Row>, StoreError> {
        check_key(table, key)?;
        let opened = self.table(table).await?;
        measured(table, "get", self.read(&opened, &opened.statements.get, key)).await
    }

    async fn peek(&self, table: TableSpec, key: &RowKey) -> Result<Option<Row>, StoreError> {
        check_key(table, key)?;
        let opened = self.table(table).await?;
        measured(table, "peek", self.read(&opened, &opened.statements.peek, key)).await
    }

    async fn range(
        &self,
        table: TableSpec,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        check_parts(table, partition, after.unwrap_or_default())?;
        let opened = self.table(table).await?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        measured(table, "range", self.range_pages(&opened, partition, after, limit)).await
    }

    async fn scan(&self, table: TableSpec, from: Option<&ScanToken>, limit: usize) -> Result<Page, StoreError> {
        let opened = self.table(table).await?;
        measured(table, "scan", self.scan_page(&opened, from, limit)).await
    }

    async fn insert_new(
        &self,
        table: TableSpec,
        key: &RowKey,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError> {
        check_write(table, TableKind::Conditional, key, &value)?;
        let opened = self.table(table).await?;
        let Writes::Conditional { insert, .. } = &opened.statements.writes else { return Err(wrong_kind(table)) };
        let (version, mark) = (Version(1), self.marks.next());
        let (ttl, cell) = (cell::ttl_secs(expires_at, self.clock.now()), cell::conditional(&value, expires_at, mark));
        let write = (insert, (ttl, cell, &key.partition, &key.clustering));
        self.conditional((&opened, table), key, "insert_new", write, Trace { version, mark: Some(mark) }).await
    }

    async fn replace(
        &self,
        table: TableSpec,
        key: &RowKey,
        expected: Version,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError> {
        check_write(table, TableKind::Conditional, key, &value)?;
        let opened = self.table(table).await?;
        let Writes::Conditional { replace, .. } = &opened.statements.writes else { return Err(wrong_kind(table)) };
        let (version, mark) = (Version(expected.0.saturating_add(1)), self.marks.next());
        let (ttl, cell) = (cell::ttl_secs(expires_at, self.clock.now()), cell::conditional(&value, expires_at, mark));
        let (from, to) = (stored(table, expected)?, stored(table, version)?);
        let write = (replace, (ttl, to, cell, &key.partition, &key.clustering, from));
        self.conditional((&opened, table), key, "replace", write, Trace { version, mark: Some(mark) }).await
    }

    async fn remove(&self, table: TableSpec, key: &RowKey, expected: Version) -> Result<Cas, StoreError> {
        check_write(table, TableKind::Conditional, key, &[])?;
        let opened = self.table(table).await?;
        let Writes::Conditional { remove, .. } = &opened.statements.writes else { return Err(wrong_kind(table)) };
        let write = (remove, (&key.partition, &key.clustering, stored(table, expected)?));
        let trace = Trace { version: expected, mark: None };
        self.conditional((&opened, table), key, "remove", write, trace).await
    }

    async fn put(&self, table: TableSpec, key: &RowKey, value: Bytes, write: PlainWrite) -> Result<(), StoreError> {
        check_write(table, TableKind::Plain, key, &value)?;
        let opened = self.table(table).await?;
        let Writes::Plain { put, .. } = &opened.statements.writes else { return Err(wrong_kind(table)) };
        let (at, ttl) = (micros(table, write.at)?, cell::ttl_secs(write.expires_at, self.clock.now()));
        let cells = BTreeMap::from([cell::plain(&value, write.expires_at)]);
        let values = (at, ttl, cells, &key.partition, &key.clustering);
        measured(table, "put", async { self.execute(put, values).await.map(|_| ()) }).await
    }

    async fn delete(&self, table: TableSpec, key: &RowKey, at: Timestamp) -> Result<(), StoreError> {
        check_write(table, TableKind::Plain, key, &[])?;
        let opened = self.table(table).await?;
        let Writes::Plain { delete, .. } = &opened.statements.writes else { return Err(wrong_kind(table)) };
        let values = (micros(table, at)?, &key.partition, &key.clustering);
        measured(table, "delete", async { self.execute(delete, values).await.map(|_| ()) }).await
    }
}

async fn measured<T>(
    table: TableSpec,
    kind: &'static str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, StoreError> {
    let started = Instant::now();
    let ended = work.await;
    let outcome = ended.as_ref().err().map_or("ok", |failure| failure.outcome());
    metric::request(table.name, kind, outcome, started.elapsed());
    if let Err(failure) = &ended {
        tracing::debug!(table = table.name, kind, ?failure, "a request to the database failed");
    }
    ended.map_err(|failure| failure.into_store_error(table.name))
}

fn paged(statement: &PreparedStatement, limit: usize) -> PreparedStatement {
    let mut statement = statement.clone();
    statement.set_page_size(i32::try_from(limit.clamp(1, PAGE_ROWS_MAX)).unwrap_or(1));
    statement
}

fn misuse(table: TableSpec, what: &'static str) -> StoreError {
    StoreError::Misuse { table: table.name, what }
}

fn wrong_kind(table: TableSpec) -> StoreError {
    misuse(
        table,
        match table.kind {
            TableKind::Conditional => "a plain write to a conditional table",
            TableKind::Plain => "a conditional write to a plain table",
        },
    )
}

fn check_write(table: TableSpec, kind: TableKind, key: &RowKey, value: &[u8]) -> Result<(), StoreError> {
    if table.kind != kind {
        return Err(wrong_kind(table));
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(misuse(table, "a value of more than 8 MiB"));
    }
    check_key(table, key)
}

fn check_key(table: TableSpec, key: &RowKey) -> Result<(), StoreError> {
    check_parts(table, &key.partition, &key.clustering)
}

fn check_parts(table: TableSpec, partition: &str, clustering: &str) -> Result<(), StoreError> {
    if partition.is_empty() {
        return Err(misuse(table, "an empty partition key"));
    }
    if partition.len().max(clustering.len()) > KEY_BYTES_MAX {
        return Err(misuse(table, "a key of more than 512 bytes"));
    }
    Ok(())
}

/// Names go into statements as they are.
fn check_name(table: TableSpec) -> Result<(), StoreError> {
    let name = table.name;
    let fits = (1..=48).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if fits { Ok(()) } else { Err(misuse(table, "a table's name is 1 to 48 of a-z and _")) }
}

fn stored(table: TableSpec, version: Version) -> Result<i64, StoreError> {
    i64::try_from(version.0).map_err(|_| misuse(table, "a version beyond what a row can have"))
}

/// The database's times are in microseconds.
fn micros(table: TableSpec, at: Timestamp) -> Result<i64, StoreError> {
    at.millis().checked_mul(1_000).ok_or_else(|| misuse(table, "a time beyond what the database can hold"))
}
