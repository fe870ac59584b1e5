//! What the answer to a conditional write means, and what a read after a lost answer proves.

use bytes::Bytes;
use ridgeline_ports::{Cas, Row, Version};
use scylla::deserialize::row::ColumnIterator;
use scylla::deserialize::value::DeserializeValue;
use scylla::response::query_result::QueryResult;

use crate::cell::{Mark, read_conditional};
use crate::error::Failure;

const APPLIED: &str = "[applied]";

/// The answer to a conditional write that would give the row `version`. Cassandra answers an applied one with `[applied]` alone and
/// leaves the other columns out where there is no row; ScyllaDB always sends all of them.
pub(crate) fn cas(result: QueryResult, version: Version) -> Result<Cas, Failure> {
    let rows = result.into_rows_result().map_err(|_| Failure::Garbled)?;
    let columns = rows.single_row::<ColumnIterator<'_, '_>>().map_err(|_| Failure::Garbled)?;
    let (mut applied, mut found, mut cell) = (None, None, None);
    for column in columns {
        let column = column.map_err(|_| Failure::Garbled)?;
        match column.spec.name() {
            APPLIED => applied = Some(read::<bool>(&column)?),
            "version" => found = read::<Option<i64>>(&column)?,
            "cell" => cell = read::<Option<Bytes>>(&column)?,
            _ => {}
        }
    }
    match (applied, found, cell) {
        (Some(true), ..) => Ok(Cas::Applied(version)),
        (Some(false), Some(found), Some(cell)) => {
            let (row, _) = read_conditional(found, &cell).ok_or(Failure::Garbled)?;
            Ok(Cas::Conflict(Some(row)))
        }
        (Some(false), None, None) => Ok(Cas::Conflict(None)),
        _ => Err(Failure::Garbled),
    }
}

/// Whether a conditional statement was carried out, whatever it is about.
pub(crate) fn applied(result: QueryResult) -> Result<bool, Failure> {
    let rows = result.into_rows_result().map_err(|_| Failure::Garbled)?;
    let mut columns = rows.single_row::<ColumnIterator<'_, '_>>().map_err(|_| Failure::Garbled)?;
    let column = columns.find_map(|column| column.ok().filter(|column| column.spec.name() == APPLIED));
    column.ok_or(Failure::Garbled).and_then(|column| read::<bool>(&column))
}

fn read<'frame, 'metadata, T: DeserializeValue<'frame, 'metadata>>(
    column: &scylla::deserialize::row::RawColumn<'frame, 'metadata>,
) -> Result<T, Failure> {
    T::deserialize(column.spec.typ(), column.slice).map_err(|_| Failure::Garbled)
}

/// Whether the row as read after a lost answer is the one this write made. Only that proves anything: a row of another writer may have
/// replaced this one's, and a row that is as before may still be written, since the request can be on its way.
pub(crate) fn proves(row: Option<&(Row, Mark)>, mark: Mark, version: Version) -> bool {
    row.is_some_and(|(row, written_by)| *written_by == mark && row.version == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D-1: no other state lets a writer believe that it won.
    #[test]
    fn only_the_own_mark_at_the_own_version_proves_a_write() {
        let row = |version, mark| {
            Some((Row { version: Version(version), value: Bytes::from_static(b"same"), expires_at: None }, [mark; 16]))
        };
        assert!(proves(row(2, 7).as_ref(), [7; 16], Version(2)));
        for other in [None, row(2, 8), row(1, 7), row(3, 7), row(3, 8)] {
            assert!(!proves(other.as_ref(), [7; 16], Version(2)), "{other:?}");
        }
    }
}
