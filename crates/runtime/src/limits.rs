//! Everything the loop does has a limit; these are the defaults and their reasons.

use std::time::Duration;

use ridgeline_ports::{GroupId, MemberId, TopicName};

use crate::FailPoints;

/// Who consumes what.
#[derive(Debug, Clone)]
pub struct WorkerSpec {
    /// Name of the role in logs, metrics and health, for instance `matcher`.
    pub role: &'static str,
    /// The topic it consumes.
    pub topic: TopicName,
    /// The group that shares the partitions and commits.
    pub group: GroupId,
    /// This member; unique among the living ones.
    pub member: MemberId,
    /// Its limits.
    pub limits: Limits,
}

/// Limits of one worker.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Records (and timers) that run at once; also how many ready ones are read ahead. Default 256.
    pub running_max: usize,
    /// Offsets of one partition between the first unfinished one and the last read one; at this span the partition is
    /// paused and health degrades, because some lane is stuck. Default 4 096.
    pub span_max: u64,
    /// Bytes of unfinished records of one partition at which it is paused. Default 32 MiB: room for two of the largest
    /// records besides a running one.
    pub partition_bytes_max: usize,
    /// Bytes of unfinished records of all partitions at which nothing more is read. Default 256 MiB.
    pub bytes_max: usize,
    /// First delay after `Retry`; doubles with each attempt. Default 100 ms.
    pub backoff_min: Duration,
    /// Longest delay after `Retry`. Default 30 s. Each delay is then cut by up to a quarter, so that lanes which failed
    /// together do not return together.
    pub backoff_max: Duration,
    /// How long running records may take to finish after a stop is asked for. Default 10 s.
    pub drain: Duration,
    /// How long running records may take to finish after their partition is revoked; must lie below the session timeout
    /// of the group. Default 5 s.
    pub revoke: Duration,
    /// Longest time that finished work waits for its commit. Default 50 ms: at most that much is done again after a crash.
    pub commit_interval: Duration,
    /// Finished records that are committed at once, before the interval is over. Default 128.
    pub commit_records: usize,
    /// When almost everything is poison.
    pub fuse: FuseLimits,
    /// Where a test lets the process kill itself. Default nowhere.
    pub fail: FailPoints,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            running_max: 256,
            span_max: 4_096,
            partition_bytes_max: 32 << 20,
            bytes_max: 256 << 20,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            revoke: Duration::from_secs(5),
            commit_interval: Duration::from_millis(50),
            commit_records: 128,
            fuse: FuseLimits::default(),
            fail: FailPoints::default(),
        }
    }
}

/// When the dead-letter fuse blows: poison on this scale is a fault of ours (a wrong key, a missing schema), and burying the
/// topic would only move it to another place.
///
/// A blown fuse starts no further record, makes health unhealthy, and lets a single record through each `probe_interval`;
/// the first of those that does not turn out poison mends it.
#[derive(Debug, Clone, Copy)]
pub struct FuseLimits {
    /// Poison records in a row that blow it. Default 50.
    pub run_max: u32,
    /// How many of the last records the ratio is taken over, at most 128. Default 100.
    pub sample: u32,
    /// Poison records among the last `sample` that blow it. Default 90.
    pub poison_max: u32,
    /// Time between the records let through while blown. Default 10 s.
    pub probe_interval: Duration,
}

impl Default for FuseLimits {
    fn default() -> Self {
        Self { run_max: 50, sample: 100, poison_max: 90, probe_interval: Duration::from_secs(10) }
    }
}
