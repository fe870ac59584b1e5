//! How rows of the store lie on disk.
//!
//! | part | layout |
//! |---|---|
//! | key | table ‖ 0 ‖ partition length u16 ‖ partition ‖ clustering |
//! | value | flags u8 ‖ version u64 ‖ at i64 ‖ expiry i64 ‖ value |
//! | due key | moment of removal, ordered u64 ‖ key |

use bytes::{BufMut, Bytes};
use ridgeline_domain::Timestamp;
use ridgeline_ports::{Row, RowKey, StoreError, TableSpec, Version};

use crate::codec::take;
use crate::error::EmbeddedError;

const DELETED: u8 = 1;
const EXPIRES: u8 = 2;
const FIXED: usize = 1 + 8 + 8 + 8;
/// Longest partition or clustering key.
const KEY_BYTES_MAX: usize = 512;
/// Largest value of a row; a mutation of a wide-column database is limited to about twice as much.
pub(crate) const ROW_BYTES_MAX: usize = 8 << 20;

/// A row as stored; deleted plain rows stay as markers until an older write can no longer arrive.
#[derive(Clone)]
pub(crate) struct StoredRow {
    pub(crate) version: u64,
    /// Time of the plain write; 0 for conditional rows.
    pub(crate) at: Timestamp,
    pub(crate) deleted: bool,
    /// `expires_at`, for markers the moment of the deletion.
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) value: Bytes,
}

impl StoredRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.value.len());
        let deleted = if self.deleted { DELETED } else { 0 };
        out.put_u8(deleted | if self.expires_at.is_some() { EXPIRES } else { 0 });
        out.put_u64(self.version);
        out.put_i64(self.at.millis());
        out.put_i64(self.expires_at.map_or(0, Timestamp::millis));
        out.extend_from_slice(&self.value);
        out
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, EmbeddedError> {
        let mut rest: &[u8] = bytes;
        let parts = (take::<1>(&mut rest), take::<8>(&mut rest), take::<8>(&mut rest), take::<8>(&mut rest));
        let (Some([flags]), Some(version), Some(at), Some(expiry)) = parts else {
            return Err(EmbeddedError::Corrupt("short row"));
        };
        Ok(Self {
            version: u64::from_be_bytes(version),
            at: Timestamp::from_millis(i64::from_be_bytes(at)),
            deleted: flags & DELETED != 0,
            expires_at: (flags & EXPIRES != 0).then(|| Timestamp::from_millis(i64::from_be_bytes(expiry))),
            value: bytes.slice(FIXED..),
        })
    }

    /// When the row is physically removed.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.expires_at.map(|at| at.plus(TableSpec::GRACE))
    }

    pub(crate) fn into_row(self) -> Option<Row> {
        (!self.deleted).then_some(Row {
            version: Version(self.version),
            value: self.value,
            expires_at: self.expires_at,
        })
    }
}

/// Storage keys of a table start with this.
pub(crate) fn table_prefix(table: TableSpec) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(table.name.as_bytes());
    out.push(0);
    out
}

/// Storage keys of a partition start with this.
pub(crate) fn partition_prefix(table: TableSpec, partition: &str) -> Result<Vec<u8>, StoreError> {
    if partition.is_empty() {
        return Err(StoreError::Misuse { table: table.name, what: "an empty partition key" });
    }
    let len = key_len(table, partition)?;
    let mut out = table_prefix(table);
    out.put_u16(len);
    out.extend_from_slice(partition.as_bytes());
    Ok(out)
}

/// The storage key of a row.
pub(crate) fn storage_key(table: TableSpec, key: &RowKey) -> Result<Vec<u8>, StoreError> {
    let mut out = partition_prefix(table, &key.partition)?;
    key_len(table, &key.clustering)?;
    out.extend_from_slice(key.clustering.as_bytes());
    Ok(out)
}

fn key_len(table: TableSpec, part: &str) -> Result<u16, StoreError> {
    match u16::try_from(part.len()) {
        Ok(len) if part.len() <= KEY_BYTES_MAX => Ok(len),
        _ => Err(StoreError::Misuse { table: table.name, what: "a key of more than 512 bytes" }),
    }
}

/// The row key in a storage key, given the length of the table's prefix.
pub(crate) fn parse_key(stored: &[u8], prefix: usize) -> Result<RowKey, EmbeddedError> {
    let damaged = EmbeddedError::Corrupt("row key");
    let Some(mut rest) = stored.get(prefix..) else { return Err(damaged) };
    let Some(len) = take::<2>(&mut rest) else { return Err(damaged) };
    let Some((partition, clustering)) = rest.split_at_checked(usize::from(u16::from_be_bytes(len))) else {
        return Err(damaged);
    };
    let text = |bytes: &[u8]| {
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| EmbeddedError::Corrupt("row key text"))
    };
    Ok(RowKey { partition: text(partition)?, clustering: text(clustering)? })
}

/// The moment as eight bytes that sort as time does.
pub(crate) fn due_bound(due: Timestamp) -> [u8; 8] {
    (due.millis().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The entry that makes the sweep look at a row.
pub(crate) fn due_key(due: Timestamp, row_key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + row_key.len());
    out.extend_from_slice(&due_bound(due));
    out.extend_from_slice(row_key);
    out
}

/// The row's storage key in a due key.
pub(crate) fn row_of_due(due_key: &[u8]) -> &[u8] {
    due_key.get(8..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ridgeline_ports::TableKind;

    #[test]
    fn rows_and_keys_come_back_as_they_went_in() {
        let table = TableSpec { name: "devices", kind: TableKind::Plain };
        for key in [RowKey::single("p"), RowKey::new("ä\0b", "c\0d"), RowKey::new("x".repeat(512), "y".repeat(512))] {
            let stored = storage_key(table, &key).unwrap();
            assert_eq!(parse_key(&stored, table_prefix(table).len()).unwrap(), key);
            let due = due_key(Timestamp::from_millis(5), &stored);
            assert_eq!(row_of_due(&due), stored);
        }
        let row = StoredRow {
            version: 7,
            at: Timestamp::from_millis(-1),
            deleted: false,
            expires_at: Some(Timestamp::from_millis(0)),
            value: Bytes::from_static(b"v"),
        };
        let back = StoredRow::decode(&row.encode().into()).unwrap();
        assert_eq!((back.version, back.at.millis(), back.expires_at), (7, -1, Some(Timestamp::from_millis(0))));
        assert_eq!(back.value, row.value);
        assert!(StoredRow::decode(&Bytes::from_static(b"short")).is_err());
    }

    #[test]
    fn due_keys_sort_as_time_does() {
        let times = [i64::MIN, -5, -1, 0, 1, 1_700_000_000_000, i64::MAX];
        assert!(
            times.windows(2).all(|pair| {
                due_bound(Timestamp::from_millis(pair[0])) < due_bound(Timestamp::from_millis(pair[1]))
            })
        );
    }

    #[test]
    fn keys_out_of_range_are_refused() {
        let table = TableSpec { name: "devices", kind: TableKind::Plain };
        assert!(storage_key(table, &RowKey::single("")).is_err());
        assert!(storage_key(table, &RowKey::single("x".repeat(513))).is_err());
        assert!(storage_key(table, &RowKey::new("x", "y".repeat(513))).is_err());
    }
}
