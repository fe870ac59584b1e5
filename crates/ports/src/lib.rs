//! What the shells need from the outside world, as traits: the event log, the store, notifications, clock and randomness.
//!
//! Adapters (`embedded`, later `kafka` and `cql`) implement these and pass the same conformance suite of `testkit`.
//! Nothing here knows topics, schemas or tables by name.

mod clock;
mod log;
mod murmur2;
mod push;
mod store;
mod trace;

pub use clock::{Clock, Entropy};
pub use log::{
    Appended, Assignment, Cleanup, Control, Delivery, EventLog, GroupId, GroupSubscription, Headers, LogError,
    MemberId, NewRecord, Offset, Partition, Record, RevokeAck, StartAt, SubscriptionHandle, TailStart,
    TailSubscription, TopicName, TopicSpec,
};
pub use murmur2::{murmur2, partition_of};
pub use push::{Push, PushError, PushReceipt, PushSender};
pub use store::{Cas, Page, PlainWrite, Row, RowKey, ScanToken, Store, StoreError, TableKind, TableSpec, Version};
pub use trace::TraceContext;

/// What the runtime does with a failed port call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// May succeed later: back off and try again, never dead-letter.
    Retry,
    /// This input can never succeed.
    Poison,
    /// The process must stop.
    Fatal,
}
