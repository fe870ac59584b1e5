//! A message as the client library reads it, as a record of the port.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use ridgeline_domain::Timestamp;
use ridgeline_ports::{Headers, Offset, Partition, Record, TopicName};

/// Copies the message out of the library's memory. `None` for a place that Kafka never gives.
pub(super) fn record_of(message: &BorrowedMessage<'_>, topic: &TopicName) -> Option<Record> {
    let copy = Bytes::copy_from_slice;
    Some(Record {
        topic: topic.clone(),
        partition: Partition(u32::try_from(message.partition()).ok()?),
        offset: Offset(u64::try_from(message.offset()).ok()?),
        append_time: Timestamp::from_millis(message.timestamp().to_millis().unwrap_or(0)),
        key: message.key().map(copy).unwrap_or_default(),
        value: message.payload().map(copy),
        headers: headers_of(message),
    })
}

/// A header whose name is not UTF-8 is left out: nothing of ours has one, and the library panics on it.
fn headers_of(message: &BorrowedMessage<'_>) -> Headers {
    let Some(headers) = message.headers() else { return Headers::new() };
    let read = |index| {
        let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok()??;
        Some((header.key.to_owned(), header.value.map(Bytes::copy_from_slice).unwrap_or_default()))
    };
    (0..headers.count()).filter_map(read).collect()
}
