//! What goes into the window and comes out of it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ridgeline_ports::{Offset, Partition, Record};

use crate::{HoldKey, Poison};

/// A piece of work in a lane.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    /// The record at this offset.
    Record(Offset),
    /// The timer of this hold key.
    Timer(Bytes),
}

impl fmt::Debug for Work {
    /// Never a hold key (P-1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(offset) => write!(f, "{}", offset.0),
            Self::Timer(_) => f.write_str("timer"),
        }
    }
}

/// Names one run of one piece of work; handed out with it and back with its result.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Partition of the work.
    pub partition: Partition,
    /// Epoch it was started under.
    pub epoch: u64,
    /// Lane it occupies.
    pub lane: Bytes,
    /// What runs.
    pub work: Work,
}

impl fmt::Debug for Ticket {
    /// Names the place, never a key (P-1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{:?}", self.partition.0, self.epoch, self.work)
    }
}

/// What to run.
#[derive(Debug, Clone)]
pub enum Task {
    /// Handle a record.
    Record(Arc<Record>),
    /// Handle a deadline.
    Timer {
        /// Whose deadline.
        key: HoldKey,
        /// The records held under it, in log order.
        held: Vec<Arc<Record>>,
    },
}

/// A started piece of work.
#[derive(Debug, Clone)]
pub struct Job {
    /// Goes back with the result.
    pub ticket: Ticket,
    /// What to run.
    pub task: Task,
    /// Attempts that failed before this one.
    pub attempts: u32,
    /// Set if an earlier attempt found it poison, so that only burying is left.
    pub poison: Option<Poison>,
}

/// What became of an offered record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// In the window.
    Accepted,
    /// Read already under this epoch.
    Duplicate,
    /// Read under an epoch that is over, or of a partition that is being given back.
    Stale,
}

/// An offset that may be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committable {
    /// Whose offset.
    pub partition: Partition,
    /// Under which epoch.
    pub epoch: u64,
    /// The next offset to read.
    pub offset: Offset,
}

/// Partitions whose reading must change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PauseChanges {
    /// At their span or byte limit: some lane is stuck.
    pub pause: Vec<Partition>,
    /// Down to half of it again.
    pub resume: Vec<Partition>,
}
