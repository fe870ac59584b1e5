//! Books how attempts ended.

use tokio::time::Instant;

use super::Worker;
use super::backoff::delay;
use super::fuse::FuseChange;
use super::step::Outcome;
use crate::window::{Ticket, Work};
use crate::{Ending, Handler, HealthState, Poison, RuntimeError};

impl<H: Handler> Worker<H> {
    pub(super) fn on_ended(&mut self, ended: Option<(Ticket, Option<Outcome>)>) {
        let mut next = ended;
        while let Some((ticket, outcome)) = next {
            if self.settle(&ticket, outcome).is_none() {
                self.meters.late.increment(1);
            }
            next = self.flight.try_next();
        }
        let released = self.window.take_released();
        if !released.is_empty() {
            self.deps.handler.released(&released);
            // Some may have come back while an attempt of before was still being cut off.
            let open = self.window.partitions();
            let back: Vec<_> = released.into_iter().filter(|partition| open.contains(partition)).collect();
            if !back.is_empty() {
                self.deps.handler.assigned(&back);
            }
        }
    }

    /// Books an ended attempt. `None`: its partition has gone, nothing happened.
    fn settle(&mut self, ticket: &Ticket, outcome: Option<Outcome>) -> Option<()> {
        let partition = ticket.partition;
        let finished = match outcome {
            Some(Outcome::Ended(Ending::Done)) => self.window.finish(ticket)?,
            Some(Outcome::Ended(Ending::Hold { key, deadline })) if key.partition == partition => {
                let due = deadline.map(|deadline| self.due_at(partition, deadline));
                self.window.hold(ticket, &key.bytes, due)?;
                0
            }
            Some(Outcome::Ended(Ending::Release(key))) if key.partition == partition => {
                self.window.release(ticket, &key.bytes)?
            }
            Some(Outcome::Ended(Ending::Hold { .. } | Ending::Release(_))) => {
                return self.fatal(ticket, "a step named a hold key of another partition".to_owned());
            }
            Some(Outcome::Buried(poison)) => return self.buried(ticket, &poison),
            Some(Outcome::Retry { reason, poison }) => {
                let attempts = self.window.retry(ticket, poison)?;
                return self.back_off(ticket, attempts, reason);
            }
            Some(Outcome::Fatal(reason)) => return self.fatal(ticket, reason),
            // Only what has lost its partition is aborted; should a task end so otherwise, its work is made again.
            None => {
                let attempts = self.window.retry(ticket, None)?;
                return self.back_off(ticket, attempts, "the attempt was cut off".to_owned());
            }
        };
        self.meters.done.increment(u64::try_from(finished).unwrap_or(0));
        self.chores.finished(finished);
        self.mind_fuse(ticket, false);
        Some(())
    }

    fn buried(&mut self, ticket: &Ticket, poison: &Poison) -> Option<()> {
        let finished = match &ticket.work {
            Work::Record(_) => self.window.finish(ticket)?,
            Work::Timer(key) => self.window.release(ticket, key)?,
        };
        tracing::error!(role = self.spec.role, ?ticket, code = %poison.code, detail = poison.detail, "dead-lettered");
        self.meters.dead_letters(poison.code, u64::try_from(finished).unwrap_or(0));
        self.chores.finished(finished);
        self.mind_fuse(ticket, true);
        Some(())
    }

    fn back_off(&mut self, ticket: &Ticket, attempts: u32, reason: String) -> Option<()> {
        let delay = delay(&self.spec.limits, ticket, attempts);
        tracing::warn!(role = self.spec.role, ?ticket, attempts, ?delay, reason, "will be tried again");
        self.meters.retries.increment(1);
        self.backoffs.add(Instant::now() + delay, ticket.clone());
        self.last_retry = reason;
        Some(())
    }

    fn fatal(&mut self, ticket: &Ticket, reason: String) -> Option<()> {
        tracing::error!(role = self.spec.role, ?ticket, reason, "the worker must stop");
        self.health.set(HealthState::Unhealthy, "a step cannot go on");
        self.failure.get_or_insert(RuntimeError::Step { role: self.spec.role, reason });
        Some(())
    }

    fn mind_fuse(&mut self, ticket: &Ticket, poison: bool) {
        if let Work::Timer(_) = ticket.work {
            return;
        }
        match self.fuse.ended(ticket, poison, Instant::now()) {
            Some(FuseChange::Blew) => {
                tracing::error!(role = self.spec.role, topic = %self.spec.topic, "almost everything is poison: paused");
            }
            Some(FuseChange::Mended) => {
                tracing::info!(role = self.spec.role, topic = %self.spec.topic, "a record succeeded: consuming again");
            }
            None => return,
        }
        self.mind_health();
    }
}
