//! Books what the log answered, and tells metrics and health.

use ridgeline_ports::{Disposition, LogError, Offset, Partition};

use super::{Worker, chores};
use crate::{Handler, HealthState, RuntimeError};

impl<H: Handler> Worker<H> {
    pub(super) fn on_chore(&mut self, done: Option<chores::Done>) {
        match done {
            Some(chores::Done::Committed(offsets, Ok(()))) => {
                self.meters.commits_ok.increment(1);
                self.window.committed(&offsets);
            }
            Some(chores::Done::Committed(_, Err(error))) => self.commit_failed(error),
            Some(chores::Done::Ends(ends)) => self.report_lag(&ends),
            Some(chores::Done::NotPaused(mut changes)) => {
                let owned = self.window.partitions();
                changes.pause.retain(|partition| owned.contains(partition));
                changes.resume.retain(|partition| owned.contains(partition));
                self.chores.pauses(changes);
            }
            Some(chores::Done::Paused) | None => {}
        }
    }

    fn commit_failed(&mut self, source: LogError) {
        match (&source, source.disposition()) {
            // Some of the partitions are no longer ours, of which control will tell; the others are committed again.
            (LogError::Closed, _) => self.meters.commits_closed.increment(1),
            (_, Disposition::Retry) => {
                self.meters.commits_failed.increment(1);
                tracing::warn!(role = self.spec.role, error = %source, "commit failed, will be tried again");
            }
            (_, Disposition::Poison | Disposition::Fatal) => {
                self.failure.get_or_insert(RuntimeError::Commit { role: self.spec.role, source });
                return;
            }
        }
        self.mind_health();
    }

    fn report_lag(&self, ends: &[Offset]) {
        let lag = |(partition, low): (Partition, Offset)| {
            let end = usize::try_from(partition.0).ok().and_then(|index| ends.get(index)).copied().unwrap_or(low);
            end.0.saturating_sub(low.0)
        };
        let records: u64 = self.window.low_waters().map(lag).sum();
        self.meters.lag.set(approximate(records));
    }

    pub(super) fn report(&mut self) {
        self.mind_health();
        let count = |count: usize| approximate(u64::try_from(count).unwrap_or(u64::MAX));
        self.meters.running.set(count(self.window.running()));
        self.meters.unfinished.set(count(self.window.unfinished()));
        self.meters.retrying.set(count(self.window.retrying()));
        self.meters.owned.set(count(self.window.partitions().len()));
        self.meters.paused.set(count(self.window.paused()));
        self.meters.fuse_blown.set(if self.fuse.is_blown() { 1.0 } else { 0.0 });
        let age = self.window.oldest().map_or(0, |oldest| self.clock.now().since(oldest).0.max(0));
        self.meters.oldest.set(approximate(u64::try_from(age).unwrap_or(0)) / 1_000.0);
    }

    /// Reports the worst that is true now.
    pub(super) fn mind_health(&self) {
        let (retrying, paused) = (self.window.retrying(), self.window.paused());
        if self.failure.is_some() {
            return;
        }
        if self.fuse.is_blown() {
            self.health.set(HealthState::Unhealthy, "almost every record is poison; consumption is paused");
        } else if retrying > 0 {
            let reason = format!("{retrying} keys are being retried; last failure: {}", self.last_retry);
            self.health.set(HealthState::Degraded, &reason);
        } else if paused > 0 {
            self.health
                .set(HealthState::Degraded, &format!("{paused} partitions are paused behind unfinished records"));
        } else if self.chores.is_failing() {
            self.health.set(HealthState::Degraded, "offsets cannot be committed");
        } else {
            self.health.healthy();
        }
    }
}

/// A count as a gauge's value.
#[expect(clippy::cast_precision_loss, reason = "a gauge above 2^53 may be off by one")]
const fn approximate(count: u64) -> f64 {
    count as f64
}
