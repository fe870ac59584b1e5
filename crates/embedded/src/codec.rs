//! How records lie on disk.
//!
//! | part | layout |
//! |---|---|
//! | key | partition u32 ‖ offset u64 ‖ append time i64 ‖ flags u8 ‖ record key (unless long) |
//! | value | header count u32 ‖ (name length u32 ‖ name ‖ value length u32 ‖ value)… ‖ [key length u32 ‖ key] ‖ value |
//!
//! Numbers are big endian. Time, tombstone flag and record key stand in the key, so that retention, compaction and the
//! search for a time read no values.

use bytes::{BufMut, Bytes};
use ridgeline_domain::Timestamp;
use ridgeline_ports::{Headers, NewRecord, Offset, Partition, Record, TopicName};

use crate::error::EmbeddedError;

/// Longer record keys stand in the value.
const KEY_IN_KEY_BYTES_MAX: usize = 1_024;
const TOMBSTONE: u8 = 1;
const KEY_IN_VALUE: u8 = 2;
const FIXED: usize = 4 + 8 + 8 + 1;

/// Key, value and headers together, as topics limit them.
pub(crate) fn record_bytes(record: &NewRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.key.len() + record.value.as_ref().map_or(0, Bytes::len) + headers
}

/// A record as it waits for its offset and time.
pub(crate) struct Encoded {
    flags: u8,
    /// Record key as it stands in the storage key (empty if it stands in the value).
    short_key: Bytes,
    /// The storage value.
    pub(crate) body: Bytes,
}

impl Encoded {
    pub(crate) fn new(record: &NewRecord) -> Self {
        let long_key = record.key.len() > KEY_IN_KEY_BYTES_MAX;
        let mut body = Vec::with_capacity(record_bytes(record) + 8 + record.headers.len() * 8);
        put_len(&mut body, record.headers.len());
        for (name, value) in &record.headers {
            put_block(&mut body, name.as_bytes());
            put_block(&mut body, value);
        }
        if long_key {
            put_block(&mut body, &record.key);
        }
        if let Some(value) = &record.value {
            body.extend_from_slice(value);
        }
        let mut flags = 0;
        if record.value.is_none() {
            flags |= TOMBSTONE;
        }
        if long_key {
            flags |= KEY_IN_VALUE;
        }
        let short_key = if long_key { Bytes::new() } else { record.key.clone() };
        Self { flags, short_key, body: body.into() }
    }

    pub(crate) fn storage_key(&self, partition: Partition, offset: Offset, time: Timestamp) -> Vec<u8> {
        let mut key = Vec::with_capacity(FIXED + self.short_key.len());
        key.put_u32(partition.0);
        key.put_u64(offset.0);
        key.put_i64(time.millis());
        key.put_u8(self.flags);
        key.extend_from_slice(&self.short_key);
        key
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    // Record limits are far below 4 GiB; a longer length is refused as too large before it comes here.
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
}

fn put_block(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// The lower bound of storage keys at or after an offset.
pub(crate) fn bound(partition: Partition, offset: Offset) -> [u8; 12] {
    let mut key = [0; 12];
    let (head, tail) = key.split_at_mut(4);
    head.copy_from_slice(&partition.0.to_be_bytes());
    tail.copy_from_slice(&offset.0.to_be_bytes());
    key
}

/// What a storage key says about its record.
pub(crate) struct KeyParts {
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
    pub(crate) time: Timestamp,
    flags: u8,
}

impl KeyParts {
    pub(crate) fn parse(key: &[u8]) -> Result<Self, EmbeddedError> {
        let mut rest = key;
        let parts = (take::<4>(&mut rest), take::<8>(&mut rest), take::<8>(&mut rest), take::<1>(&mut rest));
        let (Some(partition), Some(offset), Some(time), Some([flags])) = parts else {
            return Err(EmbeddedError::Corrupt("short record key"));
        };
        Ok(Self {
            partition: Partition(u32::from_be_bytes(partition)),
            offset: Offset(u64::from_be_bytes(offset)),
            time: Timestamp::from_millis(i64::from_be_bytes(time)),
            flags,
        })
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.flags & TOMBSTONE != 0
    }

    pub(crate) fn key_is_in_value(&self) -> bool {
        self.flags & KEY_IN_VALUE != 0
    }
}

/// The record key that stands in a storage key.
pub(crate) fn short_key(key: &[u8]) -> &[u8] {
    key.get(FIXED..).unwrap_or_default()
}

/// Puts a record together again without copying its value.
pub(crate) fn decode(topic: &TopicName, key: &Bytes, body: &Bytes) -> Result<Record, EmbeddedError> {
    let parts = KeyParts::parse(key)?;
    let mut rest = body.clone();
    let count = take_len(&mut rest)?;
    let mut headers = Headers::with_capacity(count.min(64));
    for _ in 0..count {
        let name = take_block(&mut rest)?;
        let name = std::str::from_utf8(&name).map_err(|_| EmbeddedError::Corrupt("header name"))?.to_owned();
        headers.push((name, take_block(&mut rest)?));
    }
    let record_key = if parts.key_is_in_value() { take_block(&mut rest)? } else { key.slice(FIXED..) };
    Ok(Record {
        topic: topic.clone(),
        partition: parts.partition,
        offset: parts.offset,
        append_time: parts.time,
        key: record_key,
        value: (!parts.is_tombstone()).then_some(rest),
        headers,
    })
}

/// Takes a fixed number of bytes off the front.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn take_len(bytes: &mut Bytes) -> Result<usize, EmbeddedError> {
    let mut view: &[u8] = bytes;
    let len = take::<4>(&mut view).ok_or(EmbeddedError::Corrupt("short record"))?;
    let _ = bytes.split_to(4);
    usize::try_from(u32::from_be_bytes(len)).map_err(|_| EmbeddedError::Corrupt("record length"))
}

fn take_block(bytes: &mut Bytes) -> Result<Bytes, EmbeddedError> {
    let len = take_len(bytes)?;
    if len > bytes.len() {
        return Err(EmbeddedError::Corrupt("short record"));
    }
    Ok(bytes.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(key: &[u8], value: Option<&[u8]>, headers: Headers) {
        let topic = TopicName::new("t");
        let record = NewRecord {
            topic: topic.clone(),
            partition: None,
            key: Bytes::copy_from_slice(key),
            value: value.map(Bytes::copy_from_slice),
            headers: headers.clone(),
        };
        let encoded = Encoded::new(&record);
        let stored = encoded.storage_key(Partition(3), Offset(9), Timestamp::from_millis(-5));
        let read = decode(&topic, &stored.into(), &encoded.body).unwrap();
        assert_eq!((read.partition, read.offset, read.append_time.millis()), (Partition(3), Offset(9), -5));
        assert_eq!(read.key, key);
        assert_eq!(read.value.as_deref(), value);
        assert_eq!(read.headers, headers);
    }

    #[test]
    fn records_come_back_as_they_went_in() {
        round_trip(b"", None, vec![]);
        round_trip(b"k", Some(b""), vec![("a".into(), Bytes::from_static(b"1")), ("a".into(), Bytes::new())]);
        round_trip(&[7; KEY_IN_KEY_BYTES_MAX], Some(&[1; 5000]), vec![]);
        round_trip(&[7; KEY_IN_KEY_BYTES_MAX + 1], Some(b"v"), vec![("h".into(), Bytes::from_static(b"x"))]);
        round_trip(&[7; 70_000], None, vec![]);
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let topic = TopicName::new("t");
        let key = Bytes::from(vec![0; FIXED]);
        assert!(decode(&topic, &Bytes::from_static(b"short"), &Bytes::new()).is_err());
        assert!(decode(&topic, &key, &Bytes::from_static(&[0, 0])).is_err());
        assert!(decode(&topic, &key, &Bytes::from_static(&[255, 255, 255, 255, 0, 0, 0, 1])).is_err());
    }
}
