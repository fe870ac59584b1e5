//! Calls to the log that the loop does not wait for: commit, pause and resume, end offsets. One of each kind at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ridgeline_ports::{EventLog, LogError, Offset, Partition, SubscriptionHandle, TopicName};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::window::{Committable, PauseChanges};
use crate::{Limits, WorkerSpec};

/// End offsets are asked for this often, for the lag.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// A call that has returned.
pub(super) enum Done {
    Committed(Vec<Committable>, Result<(), LogError>),
    Paused,
    /// The partitions still owned must be passed on again.
    NotPaused(PauseChanges),
    Ends(Vec<Offset>),
}

enum Returned {
    Committed(Vec<Committable>, Result<(), LogError>),
    Paused(BTreeMap<Partition, bool>, Result<(), LogError>),
    Ends(Result<Vec<Offset>, LogError>),
}

pub(super) struct Chores {
    topic: TopicName,
    limits: Limits,
    log: Arc<dyn EventLog>,
    handle: Arc<dyn SubscriptionHandle>,
    calls: JoinSet<Returned>,
    committing: bool,
    pausing: bool,
    measuring: bool,
    /// Partitions whose reading must change: true pauses.
    pauses: BTreeMap<Partition, bool>,
    /// Finished records that no commit has covered.
    finished: usize,
    /// When the next commit is due.
    commit_at: Option<Instant>,
    /// Pauses and commits failed in a row.
    failures: u32,
    /// No call before this after a failure.
    rest_until: Option<Instant>,
    measure_at: Instant,
}

impl Chores {
    pub(super) fn new(spec: &WorkerSpec, log: Arc<dyn EventLog>, handle: Arc<dyn SubscriptionHandle>) -> Self {
        Self {
            topic: spec.topic.clone(),
            limits: spec.limits.clone(),
            log,
            handle,
            calls: JoinSet::new(),
            committing: false,
            pausing: false,
            measuring: false,
            pauses: BTreeMap::new(),
            finished: 0,
            commit_at: None,
            failures: 0,
            rest_until: None,
            measure_at: Instant::now(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Records finished (or a low-water mark moved otherwise): a commit is due within the interval.
    pub(super) fn finished(&mut self, records: usize) {
        self.finished += records;
        self.commit_at.get_or_insert_with(|| Instant::now() + self.limits.commit_interval);
    }

    /// Whether a commit is due and none is under way.
    pub(super) fn may_commit(&self, now: Instant) -> bool {
        let full = self.finished >= self.limits.commit_records;
        let due = self.commit_at.is_some_and(|at| full || at <= now);
        due && !self.committing && !self.rests(now)
    }

    pub(super) fn commit(&mut self, offsets: Vec<Committable>) {
        self.finished = 0;
        self.commit_at = None;
        if offsets.is_empty() {
            return;
        }
        self.committing = true;
        let handle = self.handle.clone();
        self.calls.spawn(async move {
            let pairs: Vec<_> = offsets.iter().map(|commit| (commit.partition, commit.offset)).collect();
            let result = handle.commit(&pairs).await;
            Returned::Committed(offsets, result)
        });
    }

    /// These partitions start anew, unpaused.
    pub(super) fn assigned(&mut self, partitions: &[Partition]) {
        self.pauses.extend(partitions.iter().map(|partition| (*partition, false)));
    }

    /// Takes changes up and passes them on, if no such call is under way.
    pub(super) fn pauses(&mut self, changes: PauseChanges) {
        self.pauses.extend(changes.pause.into_iter().map(|partition| (partition, true)));
        self.pauses.extend(changes.resume.into_iter().map(|partition| (partition, false)));
        if self.pauses.is_empty() || self.pausing || self.rests(Instant::now()) {
            return;
        }
        self.pausing = true;
        let (handle, changes) = (self.handle.clone(), std::mem::take(&mut self.pauses));
        self.calls.spawn(async move {
            let result = pause_and_resume(&*handle, &changes).await;
            Returned::Paused(changes, result)
        });
    }

    /// Asks for the end offsets from time to time.
    pub(super) fn measure(&mut self, now: Instant) {
        if self.measuring || now < self.measure_at {
            return;
        }
        self.measuring = true;
        self.measure_at = now + MEASURE_INTERVAL;
        let (log, topic) = (self.log.clone(), self.topic.clone());
        self.calls.spawn(async move { Returned::Ends(log.end_offsets(&topic).await) });
    }

    /// When a commit or a repetition is due.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let commit = self.commit_at.filter(|_| !self.committing);
        let commit = commit.map(|at| self.rest_until.map_or(at, |rest| rest.max(at)));
        let pause = self.rest_until.filter(|_| !self.pauses.is_empty() && !self.pausing);
        commit.into_iter().chain(pause).min()
    }

    /// The next call that returned. Cancel-safe: the only await is `join_next`, which is, and nothing happens before it.
    pub(super) async fn next(&mut self) -> Option<Done> {
        let returned = self.calls.join_next().await?.ok()?;
        Some(match returned {
            Returned::Committed(offsets, result) => {
                self.committing = false;
                self.note(&result);
                if result.is_err() {
                    self.finished(0);
                }
                Done::Committed(offsets, result)
            }
            Returned::Paused(changes, result) => {
                self.pausing = false;
                self.note(&result);
                match result {
                    Ok(()) => Done::Paused,
                    Err(_) => Done::NotPaused(self.without_younger(&changes)),
                }
            }
            Returned::Ends(ends) => {
                self.measuring = false;
                Done::Ends(ends.unwrap_or_default())
            }
        })
    }

    /// Waits for the calls under way, so that no older commit comes after the last one, then commits and leaves.
    pub(super) async fn leave(mut self, offsets: Vec<(Partition, Offset)>) {
        while self.calls.join_next().await.is_some() {}
        for offset in offsets {
            // One by one: a partition that has gone meanwhile must not keep the others from being committed.
            if let Err(error) = self.handle.commit(&[offset]).await {
                tracing::warn!(topic = %self.topic, %error, "the last commit failed; its records will be read again");
            }
        }
        if let Err(error) = self.handle.leave().await {
            tracing::warn!(topic = %self.topic, %error, "leaving the group failed");
        }
    }

    /// Failed changes that no younger one has replaced.
    fn without_younger(&self, changes: &BTreeMap<Partition, bool>) -> PauseChanges {
        let kept = |wanted| of(changes, wanted).filter(|partition| !self.pauses.contains_key(partition)).collect();
        PauseChanges { pause: kept(true), resume: kept(false) }
    }

    fn rests(&self, now: Instant) -> bool {
        self.rest_until.is_some_and(|until| now < until)
    }

    /// After a failure the log is left alone for a while, longer each time. `Closed` is none: a partition has gone, and the
    /// call is made again without it.
    fn note(&mut self, result: &Result<(), LogError>) {
        self.failures = match result {
            Ok(()) => 0,
            Err(LogError::Closed) => self.failures,
            Err(_) => self.failures.saturating_add(1),
        };
        let rest = self.limits.commit_interval.saturating_mul(1 << self.failures.min(16)).min(self.limits.backoff_max);
        self.rest_until = result.is_err().then(|| Instant::now() + rest);
    }
}

fn of(changes: &BTreeMap<Partition, bool>, wanted: bool) -> impl Iterator<Item = Partition> {
    changes.iter().filter(move |(_, pause)| **pause == wanted).map(|(partition, _)| *partition)
}

async fn pause_and_resume(
    handle: &dyn SubscriptionHandle,
    changes: &BTreeMap<Partition, bool>,
) -> Result<(), LogError> {
    let (pause, resume): (Vec<_>, Vec<_>) = (of(changes, true).collect(), of(changes, false).collect());
    if !pause.is_empty() {
        handle.pause(&pause).await?;
    }
    if !resume.is_empty() {
        handle.resume(&resume).await?;
    }
    Ok(())
}
