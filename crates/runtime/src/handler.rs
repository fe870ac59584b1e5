//! What a worker brings to the loop: a handler for its records and a place for the ones that can never succeed.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use ridgeline_domain::{ErrorCode, Timestamp};
use ridgeline_ports::{Disposition, LogError, Partition, Record, StoreError};

/// The work of one role. The loop calls `handle` for many records at once, but never for two of the same lane.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Key of the record's lane: records of one partition with equal lanes run one at a time in log order (D-5).
    fn lane(&self, record: &Record) -> Bytes {
        record.key.clone()
    }

    /// Gathers, decides, performs. `Ok` only when every effect is durable: it is what lets the offset move (D-2).
    ///
    /// May be called again for the same record (after `Retry`, after a crash, after a rebalance), and may be dropped at any
    /// await point when the partition is taken away or the process stops.
    async fn handle(&self, record: Arc<Record>) -> Result<Ending, StepError>;

    /// The deadline of a hold has passed. Runs in the lane whose key equals `key.bytes`, so it never overlaps a record of
    /// that lane. `Done` leaves the hold as it is, now without a deadline.
    async fn timer(&self, key: HoldKey) -> Result<Ending, StepError> {
        Ok(Ending::Release(key))
    }

    /// What else a poison record leads to: a `failed` decision and audit where its signature verifies.
    ///
    /// Called after the dead letter is durable and before the offset moves. `Retry` calls it again (the dead letter is
    /// not written again); `Poison` from here is logged, and the record counts as dead-lettered.
    async fn poisoned(&self, record: Arc<Record>, poison: &Poison) -> Result<(), StepError>;

    /// These partitions are ours now; called before the first record of any of them is handled. Called again behind a `released` that
    /// comes late, for partitions that have come back meanwhile.
    fn assigned(&self, partitions: &[Partition]) {
        let _ = partitions;
    }

    /// These partitions are no longer ours (or start anew): drop what is in memory about them.
    ///
    /// Called when they go, and once more when the last attempt that was cut off there has ended; nothing of a new
    /// assignment starts before that.
    fn released(&self, partitions: &[Partition]) {
        let _ = partitions;
    }
}

/// How a step ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Every effect is durable; the record is finished.
    Done,
    /// The record stays unfinished until a later record or timer of the same partition ends with `Release` of the same key.
    /// It no longer occupies its lane or a place among the running ones, but counts against the span of its partition.
    Hold {
        /// What it waits for.
        key: HoldKey,
        /// When `timer` is called for the key, by the log's clock: an append time and a wait, never the wall clock. `Some` replaces the deadline that the key has, `None` leaves it. A key
        /// that never had one relies on a later record alone, which may lie behind the span limit: prefer a deadline.
        deadline: Option<Timestamp>,
    },
    /// The record is finished, and with it all records held under this key.
    Release(HoldKey),
}

/// What held records wait for, within one partition.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldKey {
    /// The partition of the held records; must be the partition of the record (or timer) that names the key.
    pub partition: Partition,
    /// The key, for instance a request id. Its timer runs in the lane of the same bytes.
    pub bytes: Bytes,
}

impl HoldKey {
    /// A key in the partition of `record`.
    #[must_use]
    pub fn of(record: &Record, bytes: Bytes) -> Self {
        Self { partition: record.partition, bytes }
    }
}

impl fmt::Debug for HoldKey {
    /// Names the partition, never the key (P-1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldKey").field("partition", &self.partition).finish_non_exhaustive()
    }
}

/// Why a record can never succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// The public code of the reason.
    pub code: ErrorCode,
    /// More about it for operators; never content of the record.
    pub detail: String,
}

impl Poison {
    /// A reason with its detail.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// Why a step did not end. No variant carries content of the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// May succeed later: the record backs off, holding only its lane, and is never dead-lettered.
    #[error("will be tried again: {0}")]
    Retry(String),
    /// Can never succeed: the record goes to the dead letters.
    #[error("can never succeed: {} {}", .0.code, .0.detail)]
    Poison(Poison),
    /// The process must stop.
    #[error("must stop: {0}")]
    Fatal(String),
}

impl StepError {
    /// A poison record.
    #[must_use]
    pub fn poison(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::Poison(Poison::new(code, detail))
    }

    fn of(disposition: Disposition, text: String) -> Self {
        match disposition {
            Disposition::Retry => Self::Retry(text),
            Disposition::Poison => Self::poison(ErrorCode::RecordTooLarge, text),
            Disposition::Fatal => Self::Fatal(text),
        }
    }

    /// What the runtime does about it.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::Retry(_) => Disposition::Retry,
            Self::Poison(_) => Disposition::Poison,
            Self::Fatal(_) => Disposition::Fatal,
        }
    }
}

impl From<LogError> for StepError {
    fn from(error: LogError) -> Self {
        Self::of(error.disposition(), error.to_string())
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::of(error.disposition(), error.to_string())
    }
}

/// Where poison records go.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Writes the record, why and after how many attempts; returns once that is durable. May be called again for the same
    /// record. Must make any record fit: a record that cannot be buried keeps its lane and its offset for ever, so
    /// `Poison` from here is treated as `Retry`.
    async fn bury(&self, record: &Record, poison: &Poison, attempts: u32) -> Result<(), StepError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_errors_become_step_errors_by_their_disposition() {
        let too_large = LogError::TooLarge { topic: ridgeline_ports::TopicName::new("t"), bytes: 2, max: 1 };
        let poison = StepError::from(too_large);
        assert!(matches!(&poison, StepError::Poison(Poison { code: ErrorCode::RecordTooLarge, .. })), "{poison}");
        assert_eq!(StepError::from(LogError::Closed).disposition(), Disposition::Retry);
        assert_eq!(StepError::from(LogError::Corrupt("x".into())).disposition(), Disposition::Fatal);
        assert_eq!(StepError::from(StoreError::Unavailable("x".into())).disposition(), Disposition::Retry);
        let misuse = StoreError::Misuse { table: "t", what: "w" };
        assert_eq!(StepError::from(misuse).disposition(), Disposition::Fatal);
    }

    #[test]
    fn a_hold_key_does_not_show_its_bytes() {
        let key = HoldKey { partition: Partition(3), bytes: Bytes::from_static(b"subject") };
        assert!(!format!("{key:?}").contains("subject"));
    }
}
