//! What lies in a cell, and which of several cells counts.
//!
//! | table | column | layout |
//! |---|---|---|
//! | conditional | `cell blob` | value ‖ expiry i64 ‖ mark 16 bytes |
//! | plain | `cells map<blob, blob>` | first 16 bytes of SHA-256(value ‖ expiry) → value ‖ expiry i64 |
//!
//! Numbers are big-endian; "no expiry" is the largest number. One cell holds all of a write, so no merge of replicas can mix two.

use bytes::{BufMut as _, Bytes, BytesMut};
use ridgeline_domain::Timestamp;
use ridgeline_ports::{Row, TableSpec, Version};
use sha2::{Digest as _, Sha256};

const EXPIRY_BYTES: usize = 8;
const NEVER: i64 = i64::MAX;
/// Length of a plain cell's name in its map.
const NAME_BYTES: usize = 16;

/// Who wrote a conditional cell: unlike any other write's, so that a read can prove an own write whose answer was lost.
pub(crate) type Mark = [u8; 16];

/// Cassandra refuses a cell that expires after 2038-01-19T03:14:06Z; a day less allows for clocks that differ.
const REMOVAL_SECS_MAX: i64 = i32::MAX as i64 - 86_400;
/// Both databases refuse a longer TTL: 20 years.
const TTL_SECS_MAX: i64 = 630_720_000;
/// A row written after its time stays this long, so that its writer can read what it wrote.
const TTL_SECS_MIN: i64 = 60;

/// A conditional cell.
pub(crate) fn conditional(value: &[u8], expires_at: Option<Timestamp>, mark: Mark) -> Bytes {
    let mut out = BytesMut::with_capacity(value.len() + EXPIRY_BYTES + mark.len());
    out.extend_from_slice(value);
    out.put_i64(expires_at.map_or(NEVER, Timestamp::millis));
    out.extend_from_slice(&mark);
    out.freeze()
}

/// The row in a conditional cell and who wrote it. `None`: the cell is damaged.
pub(crate) fn read_conditional(version: i64, cell: &Bytes) -> Option<(Row, Mark)> {
    let (plain, mark) = cell.split_last_chunk::<16>()?;
    let (value, expires_at) = read_plain(&cell.slice(..plain.len()))?;
    let version = Version(u64::try_from(version).ok()?);
    Some((Row { version, value, expires_at }, *mark))
}

/// A plain cell and its name.
pub(crate) fn plain(value: &[u8], expires_at: Option<Timestamp>) -> (Bytes, Bytes) {
    let mut out = BytesMut::with_capacity(value.len() + EXPIRY_BYTES);
    out.extend_from_slice(value);
    out.put_i64(expires_at.map_or(NEVER, Timestamp::millis));
    let name = Bytes::copy_from_slice(&Sha256::digest(&out)[..NAME_BYTES]);
    (name, out.freeze())
}

fn read_plain(cell: &Bytes) -> Option<(Bytes, Option<Timestamp>)> {
    let (value, expiry) = cell.split_last_chunk::<EXPIRY_BYTES>()?;
    let expiry = i64::from_be_bytes(*expiry);
    Some((cell.slice(..value.len()), (expiry != NEVER).then_some(Timestamp::from_millis(expiry))))
}

/// The row of a plain table: of the cells written at the latest time, which alone are left, the largest value; of equal values the
/// one that stays longer. `None`: a cell is damaged. The caller has at least one cell, or no row.
pub(crate) fn largest(cells: impl IntoIterator<Item = Bytes>) -> Option<Row> {
    let parsed: Option<Vec<_>> = cells.into_iter().map(|cell| read_plain(&cell)).collect();
    let rank = |expires_at: &Option<Timestamp>| expires_at.map_or(NEVER, Timestamp::millis);
    let (value, expires_at) =
        parsed?.into_iter().max_by(|one, other| one.0.cmp(&other.0).then(rank(&one.1).cmp(&rank(&other.1))))?;
    Some(Row { version: Version(0), value, expires_at })
}

/// Seconds until the database may forget a row; 0 keeps it. It never decides: [`TableSpec::GRACE`] lies between it and the expiry.
pub(crate) fn ttl_secs(expires_at: Option<Timestamp>, now: Timestamp) -> i32 {
    let Some(expires_at) = expires_at else { return 0 };
    let removal = expires_at.plus(TableSpec::GRACE);
    let ttl = (removal.since(now).0.saturating_add(999) / 1_000).max(TTL_SECS_MIN);
    if ttl > TTL_SECS_MAX || now.millis() / 1_000 + ttl > REMOVAL_SECS_MAX {
        return 0;
    }
    i32::try_from(ttl).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Option<Timestamp> {
        Some(Timestamp::from_millis(millis))
    }

    #[test]
    fn cells_come_back_as_they_went_in() {
        for (value, expires_at) in [(&b""[..], None), (b"v", at(0)), (b"\xff\0", at(-5)), (b"long", at(i64::MAX - 1))] {
            let cell = conditional(value, expires_at, [7; 16]);
            let (row, mark) = read_conditional(3, &cell).unwrap();
            assert_eq!((row.version, &row.value[..], row.expires_at, mark), (Version(3), value, expires_at, [7; 16]));
            let row = largest([plain(value, expires_at).1]).unwrap();
            assert_eq!((row.version, &row.value[..], row.expires_at), (Version(0), value, expires_at));
        }
        assert!(read_conditional(1, &Bytes::from_static(&[0; 23])).is_none());
        assert!(read_conditional(-1, &conditional(b"v", None, [0; 16])).is_none());
        assert!(largest([plain(b"v", None).1, Bytes::from_static(b"short")]).is_none());
        assert!(largest([]).is_none());
    }

    #[test]
    fn of_cells_of_one_time_the_largest_value_counts_in_any_order() {
        let cells = [(&b"left"[..], at(900)), (b"right", at(100)), (b"righ", None), (b"right", at(50)), (b"", None)];
        let mut cells: Vec<Bytes> = cells.into_iter().map(|(value, expires_at)| plain(value, expires_at).1).collect();
        for _ in 0..cells.len() {
            cells.rotate_left(1);
            for cells in [cells.clone(), cells.iter().rev().cloned().collect()] {
                let row = largest(cells).unwrap();
                assert_eq!((&row.value[..], row.expires_at), (&b"right"[..], at(100)));
            }
        }
    }

    #[test]
    fn a_cells_name_tells_value_and_expiry_apart() {
        let names: std::collections::BTreeSet<Bytes> =
            [(&b"v"[..], None), (b"v", at(1)), (b"w", None)].into_iter().map(|(v, e)| plain(v, e).0).collect();
        assert_eq!(names.len(), 3);
        assert_eq!(plain(b"v", at(1)), plain(b"v", at(1)));
    }

    #[test]
    fn ttl_is_the_expiry_and_seven_days_where_the_database_can_hold_it() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let week = 7 * 86_400;
        let after = |secs: i64| Some(Timestamp::from_millis(now.millis() + secs * 1_000));
        assert_eq!(ttl_secs(None, now), 0);
        assert_eq!(ttl_secs(after(0), now), week);
        assert_eq!(ttl_secs(after(3_600), now), week + 3_600);
        assert_eq!(ttl_secs(at(now.millis() + 1), now), week + 1);
        // Long past: the writer still reads its row.
        assert_eq!(ttl_secs(after(-30 * 86_400), now), 60);
        assert_eq!(ttl_secs(at(i64::MIN), now), 60);
        // Beyond what the database can express the row is kept.
        assert_eq!(ttl_secs(at(i64::MAX - 1), now), 0);
        assert_eq!(ttl_secs(at(4_000_000_000_000), now), 0);
        let last = REMOVAL_SECS_MAX - now.millis() / 1_000 - i64::from(week);
        assert!(ttl_secs(after(last), now) > 0);
        assert_eq!(ttl_secs(after(last + 1), now), 0);
    }
}
