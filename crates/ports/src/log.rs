//! The event log: append, and three ways to consume.
//!
//! | way | partitions | starts | offsets |
//! |---|---|---|---|
//! | `group` | shared among the members of a group | at the committed offset | committed by the member |
//! | `table` | shared among the members of a group, or all | at 0 | never committed |
//! | `tail` | all, no group | at the end, at a time, or at 0 | never committed |
//!
//! Delivery is at least once. A publish that returned `Ok` is durable.
//!
//! Append times are the log's own, on every topic, never a writer's: deadlines and validity are judged by them, so that a process
//! whose clock is wrong decides like the others.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use ridgeline_domain::{DurationMs, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::Disposition;

/// The full name of a topic, with any deployment prefix.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Names a topic: 1–200 characters of `[A-Za-z0-9._-]`, which the adapter checks when the topic is made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A partition number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub u32);

/// A position in a partition, from 0. Committed and end offsets name the next record to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The name under which consumers share partitions and commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub String);

/// One member of a group; unique among the living members.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(pub String);

/// Header names and values, in order.
pub type Headers = Vec<(String, Bytes)>;

/// What happens to old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Deleted once older than this.
    Delete {
        /// Age from the append time.
        retention: DurationMs,
    },
    /// At least the last record of each key stays; tombstones go after `delete_retention`.
    Compact {
        /// How long a tombstone stays readable.
        delete_retention: DurationMs,
    },
}

/// What a topic is made with. Partition counts of keyed topics never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Full name.
    pub name: TopicName,
    /// Number of partitions, at least 1.
    pub partitions: u32,
    /// What happens to old records.
    pub cleanup: Cleanup,
    /// Largest key + value + headers in bytes.
    pub record_bytes_max: usize,
}

/// A record to append.
#[derive(Clone)]
pub struct NewRecord {
    /// Where to.
    pub topic: TopicName,
    /// Explicit partition; by default murmur2 of the key as Java clients do.
    pub partition: Option<Partition>,
    /// The key; decides partition and order.
    pub key: Bytes,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// CloudEvents attributes, `traceparent`.
    pub headers: Headers,
}

/// A record as read.
#[derive(Clone)]
pub struct Record {
    /// Where from.
    pub topic: TopicName,
    /// Which partition.
    pub partition: Partition,
    /// Where in the partition.
    pub offset: Offset,
    /// When the log appended it, by the log's clock; the `now` of every decision about it.
    pub append_time: Timestamp,
    /// The key.
    pub key: Bytes,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Headers,
}

macro_rules! debug_without_content {
    ($name:ident { $($field:ident),+ }) => {
        impl fmt::Debug for $name {
            /// Names the place, never the content (P-1).
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))+.finish_non_exhaustive()
            }
        }
    };
}
debug_without_content!(NewRecord { topic, partition });
debug_without_content!(Record { topic, partition, offset, append_time });

impl Record {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Where an acknowledged record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
    /// Its append time.
    pub append_time: Timestamp,
}

/// Why a log call failed. No variant carries keys or values.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The topic was not made.
    #[error("topic {0} does not exist")]
    UnknownTopic(TopicName),
    /// The partition does not exist.
    #[error("topic {0} has no partition {1:?}")]
    UnknownPartition(TopicName, Partition),
    /// Key, value and headers together exceed the topic's limit.
    #[error("record of {bytes} bytes exceeds the {max} bytes of topic {topic}")]
    TooLarge {
        /// The topic.
        topic: TopicName,
        /// Size of the record.
        bytes: usize,
        /// Limit of the topic.
        max: usize,
    },
    /// The topic exists with other partitions or another clean-up policy.
    #[error("topic {0} exists with another shape")]
    Incompatible(TopicName),
    /// The log cannot be reached or its disk refuses; nothing is known to be appended.
    #[error("log unavailable: {0}")]
    Unavailable(String),
    /// The subscription has ended; the partition belongs to someone else.
    #[error("subscription closed")]
    Closed,
    /// The log is damaged beyond what it can repair.
    #[error("log corrupt: {0}")]
    Corrupt(String),
    /// The client of the log can do nothing any more, for instance because a broker has fenced it; a new process can.
    #[error("log client failed for good: {0}")]
    Broken(String),
}

impl LogError {
    /// What a worker does about it.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::TooLarge { .. } => Disposition::Poison,
            Self::Unavailable(_) | Self::Closed => Disposition::Retry,
            Self::UnknownTopic(_)
            | Self::UnknownPartition(..)
            | Self::Incompatible(_)
            | Self::Corrupt(_)
            | Self::Broken(_) => Disposition::Fatal,
        }
    }
}

/// A partition handed to a member, from which offset, under which epoch.
///
/// Each handing over has a new epoch; deliveries carry it, so a record read before a rebalance cannot be mistaken for one read after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// The partition.
    pub partition: Partition,
    /// Rises with every handing over of this partition.
    pub epoch: u64,
    /// The first offset that will be delivered.
    pub start: Offset,
}

/// Offsets that a member hands back when partitions are revoked: next offset to read per partition. The adapter commits them.
pub type RevokeAck = oneshot::Sender<Vec<(Partition, Offset)>>;

/// Membership changes. Never held back by back-pressure on records.
#[derive(Debug)]
pub enum Control {
    /// These partitions are now ours. Sent before the first delivery of any of them.
    Assigned(Vec<Assignment>),
    /// Finish what runs, then send the offsets back; the adapter waits up to the revoke deadline and commits them.
    Revoked {
        /// Which partitions go away.
        partitions: Vec<Partition>,
        /// Where the final offsets go.
        ack: RevokeAck,
    },
    /// These partitions are gone already; commit nothing.
    Lost(Vec<Partition>),
    /// The subscription cannot go on; the process stops.
    Failed(LogError),
}

/// What a subscription delivers.
#[derive(Debug)]
pub enum Delivery {
    /// A record read under an epoch (0 for `tail`).
    Record {
        /// The record.
        record: Record,
        /// Epoch of the assignment it was read under.
        epoch: u64,
    },
    /// Everything below `next` was delivered and nothing more is there now. Sent once each time the end is reached, also for an empty partition.
    End {
        /// Which topic.
        topic: TopicName,
        /// Which partition.
        partition: Partition,
        /// The offset the next record will have at the earliest.
        next: Offset,
        /// Epoch of the assignment.
        epoch: u64,
    },
}

/// Where a group starts reading a partition it has been given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At the committed offset, 0 if there is none (`group`).
    Committed,
    /// Always at 0 (`table`).
    Beginning,
}

/// Where a tail starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailStart {
    /// With the next record appended.
    End,
    /// With the first record.
    Beginning,
    /// With the first record appended at or after this time.
    Time(Timestamp),
}

/// A membership: control and records come on channels of their own, so that a full window never delays a rebalance.
pub struct GroupSubscription {
    /// Membership changes, unbounded.
    pub control: mpsc::UnboundedReceiver<Control>,
    /// Records of owned partitions, bounded: an adapter stops reading while it is full.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// Commit, pause, seek, leave.
    pub handle: Arc<dyn SubscriptionHandle>,
}

impl fmt::Debug for GroupSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupSubscription")
    }
}

/// What a member says back to the log.
#[async_trait]
pub trait SubscriptionHandle: Send + Sync {
    /// Commits the next offset to read per partition; returns once the log has it. Commits apply in the order of the calls. Fails
    /// with `Closed` for a partition that is not (or no longer) owned, also when the ack of its revocation came first: nothing is
    /// committed then.
    async fn commit(&self, offsets: &[(Partition, Offset)]) -> Result<(), LogError>;
    /// Stops reading these partitions until `resume`; what is already in the channel still arrives.
    async fn pause(&self, partitions: &[Partition]) -> Result<(), LogError>;
    /// Reads these partitions again.
    async fn resume(&self, partitions: &[Partition]) -> Result<(), LogError>;
    /// Continues an owned partition at `offset` under a new epoch, announced by `Control::Assigned`.
    async fn seek(&self, partition: Partition, offset: Offset) -> Result<(), LogError>;
    /// Leaves the group: partitions are revoked (with ack) and given to the others. Dropping the subscription leaves at once, as a crash would.
    async fn leave(&self) -> Result<(), LogError>;
}

/// All partitions, no group.
#[derive(Debug)]
pub struct TailSubscription {
    /// Records and ends, bounded.
    pub deliveries: mpsc::Receiver<Delivery>,
}

/// An append-only, partitioned, durable log.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Makes the topic if it is missing; fails with `Incompatible` if it exists with another partition count or kind of clean-up.
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError>;

    /// Number of partitions of a topic.
    async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError>;

    /// Appends and returns once the record is durable. Cancelling the call leaves it unknown whether the record was appended.
    async fn publish(&self, record: NewRecord) -> Result<Appended, LogError>;

    /// Joins a group. `StartAt::Committed` is the `group` way, `StartAt::Beginning` the `table` way.
    async fn subscribe(
        &self,
        topic: &TopicName,
        group: &GroupId,
        member: &MemberId,
        start: StartAt,
    ) -> Result<GroupSubscription, LogError>;

    /// Reads all partitions of a topic without a group.
    async fn tail(&self, topic: &TopicName, start: TailStart) -> Result<TailSubscription, LogError>;

    /// The next offset of every partition, in partition order.
    async fn end_offsets(&self, topic: &TopicName) -> Result<Vec<Offset>, LogError>;

    /// The committed offset of every partition, in partition order; `None` where the group never committed.
    async fn committed(&self, topic: &TopicName, group: &GroupId) -> Result<Vec<Option<Offset>>, LogError>;
}
