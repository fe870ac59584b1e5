//! Rows of the port out of the database's answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use ridgeline_ports::{Row, RowKey, TableKind};
use scylla::response::query_result::{QueryResult, QueryRowsResult};

use crate::cell::{Mark, largest, read_conditional};
use crate::error::Failure;

/// The cells of a plain row by name.
type Cells = BTreeMap<Bytes, Bytes>;

/// Any failure to read an answer.
fn garbled<E>(_: E) -> Failure {
    Failure::Garbled
}

pub(crate) fn of(result: QueryResult) -> Result<QueryRowsResult, Failure> {
    result.into_rows_result().map_err(garbled)
}

/// The answer to a `get` of a table of this kind.
pub(crate) fn one(rows: &QueryRowsResult, kind: TableKind) -> Result<Option<Row>, Failure> {
    match kind {
        TableKind::Conditional => Ok(marked(rows)?.map(|(row, _)| row)),
        TableKind::Plain => {
            let row = rows.maybe_first_row::<(Cells,)>().map_err(garbled)?;
            row.map(|(cells,)| plain(cells)).transpose()
        }
    }
}

/// The answer to a `get` of a conditional table, with who wrote the row.
pub(crate) fn marked(rows: &QueryRowsResult) -> Result<Option<(Row, Mark)>, Failure> {
    let row = rows.maybe_first_row::<(i64, Bytes)>().map_err(garbled)?;
    row.map(|(version, cell)| read_conditional(version, &cell).ok_or(Failure::Garbled)).transpose()
}

/// The rows of a partition.
pub(crate) fn listed(rows: &QueryRowsResult, kind: TableKind, partition: &str) -> Result<Vec<(RowKey, Row)>, Failure> {
    match kind {
        TableKind::Conditional => collect(rows.rows::<(String, i64, Bytes)>(), |(clustering, version, cell)| {
            Ok((RowKey::new(partition, clustering), conditional(version, &cell)?))
        }),
        TableKind::Plain => collect(rows.rows::<(String, Cells)>(), |(clustering, cells)| {
            Ok((RowKey::new(partition, clustering), plain(cells)?))
        }),
    }
}

/// The rows of a scan.
pub(crate) fn scanned(rows: &QueryRowsResult, kind: TableKind) -> Result<Vec<(RowKey, Row)>, Failure> {
    match kind {
        TableKind::Conditional => {
            collect(rows.rows::<(String, String, i64, Bytes)>(), |(partition, clustering, version, cell)| {
                Ok((RowKey::new(partition, clustering), conditional(version, &cell)?))
            })
        }
        TableKind::Plain => collect(rows.rows::<(String, String, Cells)>(), |(partition, clustering, cells)| {
            Ok((RowKey::new(partition, clustering), plain(cells)?))
        }),
    }
}

fn collect<T, E1, E2, I: Iterator<Item = Result<T, E1>>>(
    rows: Result<I, E2>,
    read: impl Fn(T) -> Result<(RowKey, Row), Failure>,
) -> Result<Vec<(RowKey, Row)>, Failure> {
    rows.map_err(garbled)?.map(|row| read(row.map_err(garbled)?)).collect()
}

fn conditional(version: i64, cell: &Bytes) -> Result<Row, Failure> {
    read_conditional(version, cell).map(|(row, _)| row).ok_or(Failure::Garbled)
}

fn plain(cells: Cells) -> Result<Row, Failure> {
    largest(cells.into_values()).ok_or(Failure::Garbled)
}
