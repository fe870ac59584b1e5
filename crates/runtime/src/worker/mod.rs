//! The one worker loop. Knows the ports, not Kafka.
//!
//! A single task owns the [`Window`] and decides; attempts run as tasks of their own, log calls as chores, and both report
//! back here. The order of the `select!` is the policy: stop, control (never gated by room), finished work, chores,
//! timers, new records.

mod backoff;
mod chores;
mod flight;
mod fuse;
mod leave;
mod meters;
mod report;
mod settle;
mod step;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ridgeline_domain::{DurationMs, Timestamp};
use ridgeline_ports::{
    Assignment, Clock, Control, Delivery, Disposition, EventLog, GroupSubscription, LogError, Partition, Record,
    RevokeAck, StartAt,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::backoff::Backoffs;
use self::chores::Chores;
use self::flight::Flight;
use self::fuse::Fuse;
use self::meters::Meters;
use self::step::{Deps, attempt};
use crate::window::{Offer, Window};
use crate::{DeadLetters, Handler, HealthHandle, HealthState, LogClock, RuntimeError, WorkerSpec};

/// Deliveries taken from the channel at once: amortises a turn of the loop, little beside the running limit.
const DELIVERIES_PER_TURN: usize = 64;
/// Gauges and health are renewed this often.
const TICK: Duration = Duration::from_secs(1);

/// The outside world of a worker.
#[derive(Clone)]
pub struct Ports {
    /// Where records come from and offsets go.
    pub log: Arc<dyn EventLog>,
    /// Where poison goes.
    pub dead: Arc<dyn DeadLetters>,
    /// For the age of records in metrics; nothing is decided by it.
    pub clock: Arc<dyn Clock>,
}

/// Consumes the topic until `stop`, then drains, commits and leaves the group.
///
/// # Errors
/// When the subscription fails or ends, a commit can never succeed, or a step is fatal. What has finished until then is
/// committed where the log still allows it. The process should stop.
pub async fn run<H: Handler>(
    spec: WorkerSpec,
    ports: Ports,
    handler: Arc<H>,
    health: HealthHandle,
    stop: CancellationToken,
) -> Result<(), RuntimeError> {
    let Some(subscription) = subscribe(&spec, &ports, &health, &stop).await? else { return Ok(()) };
    let GroupSubscription { control, deliveries, handle } = subscription;
    let meters = Arc::new(Meters::new(&spec));
    let fail = spec.limits.fail.clone();
    let deps = Arc::new(Deps { handler, dead: ports.dead.clone(), meters: meters.clone(), fail });
    let chores = Chores::new(&spec, ports.log.clone(), handle);
    let limits = spec.limits.clone();
    let worker = Worker {
        window: Window::new(limits.clone()),
        fuse: Fuse::new(limits.fuse),
        flight: Flight::default(),
        backoffs: Backoffs::default(),
        revokes: Vec::new(),
        drain_until: None,
        failure: None,
        last_retry: String::new(),
        was_retrying: false,
        begun: Instant::now(),
        times: HashMap::new(),
        next_tick: Instant::now(),
        spec,
        clock: ports.clock,
        deps,
        meters,
        chores,
        health,
        deliveries,
        control,
    };
    worker.run(&stop).await
}

/// Joins the group, however long the log takes to answer. `None` if stopped meanwhile.
async fn subscribe(
    spec: &WorkerSpec,
    ports: &Ports,
    health: &HealthHandle,
    stop: &CancellationToken,
) -> Result<Option<GroupSubscription>, RuntimeError> {
    let mut pause = spec.limits.backoff_min;
    loop {
        let join = ports.log.subscribe(&spec.topic, &spec.group, &spec.member, StartAt::Committed);
        // Dropping a half-made subscription leaves the group, as a crash would.
        let joined = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            joined = join => joined,
        };
        match joined {
            Ok(subscription) => {
                health.healthy();
                return Ok(Some(subscription));
            }
            Err(source) if source.disposition() == Disposition::Retry => {
                tracing::warn!(role = spec.role, topic = %spec.topic, error = %source, "cannot subscribe yet");
                health.set(HealthState::Unhealthy, "cannot subscribe to the topic yet");
            }
            Err(source) => return Err(RuntimeError::Subscribe { role: spec.role, source }),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            () = sleep(pause) => pause = pause.saturating_mul(2).min(spec.limits.backoff_max),
        }
    }
}

/// Partitions that are being given back.
struct Revoke {
    partitions: Vec<Partition>,
    ack: RevokeAck,
    until: Instant,
}

struct Worker<H> {
    spec: WorkerSpec,
    clock: Arc<dyn Clock>,
    deps: Arc<Deps<H>>,
    meters: Arc<Meters>,
    health: HealthHandle,
    window: Window,
    flight: Flight,
    backoffs: Backoffs,
    fuse: Fuse,
    chores: Chores,
    revokes: Vec<Revoke>,
    /// Set once a stop was asked for: nothing new starts, and what runs has until then.
    drain_until: Option<Instant>,
    failure: Option<RuntimeError>,
    /// Why the last retried attempt failed, for health.
    last_retry: String,
    was_retrying: bool,
    /// Zero of the loop's own time, in which the window keeps the deadlines of holds.
    begun: Instant,
    /// The log's time as each partition tells it. A partition that starts anew forgets: what it reads then may be old.
    times: HashMap<Partition, LogClock>,
    next_tick: Instant,
    deliveries: mpsc::Receiver<Delivery>,
    control: mpsc::UnboundedReceiver<Control>,
}

impl<H: Handler> Worker<H> {
    async fn run(mut self, stop: &CancellationToken) -> Result<(), RuntimeError> {
        let mut batch = Vec::with_capacity(DELIVERIES_PER_TURN);
        while !self.is_over() {
            self.between();
            let (stopping, wake) = (self.drain_until.is_some(), self.next_wake());
            // Every branch is cancel-safe: a branch that is not taken has lost nothing. Channels and `join_next` give out an
            // item only when they are ready, tokens and sleeps hold no item.
            tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => self.drain_until = Some(Instant::now() + self.spec.limits.drain),
                control = self.control.recv() => self.on_control(control),
                ended = self.flight.next(), if !self.flight.is_empty() => self.on_ended(ended),
                chore = self.chores.next(), if !self.chores.is_idle() => self.on_chore(chore),
                () = sleep_until(wake) => {}
                read = self.deliveries.recv_many(&mut batch, DELIVERIES_PER_TURN), if !stopping && self.window.has_room() =>
                    self.on_deliveries(read, &mut batch),
            }
        }
        self.leave().await
    }

    fn is_over(&self) -> bool {
        let drained = |until| self.flight.is_empty() || Instant::now() >= until;
        self.failure.is_some() || self.drain_until.is_some_and(drained)
    }

    /// What follows from any change: answer revokes, wake what is due, start what may run, see to the log.
    fn between(&mut self) {
        let now = Instant::now();
        self.answer_revokes(now);
        while let Some(ticket) = self.backoffs.pop_due(now) {
            self.window.wake(&ticket);
        }
        self.window.due(self.loop_time(now));
        if self.drain_until.is_none() {
            self.start_ready(now);
        }
        self.chores.pauses(self.window.pauses());
        if let Some(offsets) = self.chores.may_commit(now).then(|| self.window.committable()) {
            self.chores.commit(offsets);
        }
        let is_retrying = self.window.retrying() > 0;
        if std::mem::replace(&mut self.was_retrying, is_retrying) != is_retrying {
            self.mind_health();
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.chores.measure(now);
            self.report();
        }
    }

    fn start_ready(&mut self, now: Instant) {
        while let Some(job) = self.window.next_timer() {
            self.flight.start(job.ticket.clone(), attempt(self.deps.clone(), job));
        }
        while self.fuse.allows(now) {
            let Some(job) = self.window.next_runnable() else { return };
            self.fuse.started(&job.ticket, now);
            self.flight.start(job.ticket.clone(), attempt(self.deps.clone(), job));
        }
    }

    /// When something becomes due by itself.
    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let hold = self.window.next_deadline().map(|at| now + at.since(self.loop_time(now)).to_std().min(TICK));
        let probe = self.fuse.next_probe().filter(|_| self.drain_until.is_none() && self.window.has_ready());
        let revoke = self.revokes.iter().map(|revoke| revoke.until).min();
        [self.backoffs.next_wake(), hold, probe, revoke, self.drain_until, self.chores.next_wake()]
            .into_iter()
            .flatten()
            .fold(self.next_tick, Instant::min)
    }

    /// Milliseconds since the loop began, as the window counts.
    fn loop_time(&self, now: Instant) -> Timestamp {
        let millis = now.saturating_duration_since(self.begun).as_millis();
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    /// When a deadline by the log's clock falls due by the loop's own time. The wall clock has no say, so a process whose clock
    /// is wrong ends nothing early or late. The partition's own records tell the time: whatever was appended to it before the
    /// deadline has been read, and stands in its lane, before the deadline falls due.
    fn due_at(&self, partition: Partition, deadline: Timestamp) -> Timestamp {
        let now = Instant::now();
        let log_now = self.times.get(&partition).and_then(|time| time.at(now));
        let left = log_now.map_or(DurationMs(0), |log_now| deadline.since(log_now));
        self.loop_time(now).plus(DurationMs(left.0.max(0)))
    }

    fn on_control(&mut self, control: Option<Control>) {
        match control {
            Some(Control::Assigned(assignments)) => self.on_assigned(&assignments),
            Some(Control::Revoked { partitions, ack }) => {
                self.meters.rebalance("revoked");
                self.window.drain(&partitions);
                let until = Instant::now() + self.spec.limits.revoke;
                self.revokes.push(Revoke { partitions, ack, until });
            }
            Some(Control::Lost(partitions)) => {
                tracing::warn!(role = self.spec.role, topic = %self.spec.topic, ?partitions, "partitions lost");
                self.meters.rebalance("lost");
                self.forget(&partitions);
            }
            Some(Control::Failed(source)) => {
                self.failure = Some(RuntimeError::Subscription { role: self.spec.role, source });
            }
            None => self.subscription_ended(),
        }
    }

    fn on_assigned(&mut self, assignments: &[Assignment]) {
        self.meters.rebalance("assigned");
        let partitions: Vec<_> = assignments.iter().map(|assignment| assignment.partition).collect();
        self.forget(&partitions);
        for assignment in assignments {
            self.window.open(*assignment);
        }
        self.deps.handler.assigned(&partitions);
        // A partition that was paused under its earlier epoch must be read again.
        self.chores.assigned(&partitions);
    }

    /// Drops everything about these partitions; nothing of it is committed, late results are ignored.
    fn forget(&mut self, partitions: &[Partition]) {
        let known: Vec<_> = self.window.partitions().into_iter().filter(|known| partitions.contains(known)).collect();
        for revoke in &mut self.revokes {
            revoke.partitions.retain(|partition| !partitions.contains(partition));
        }
        self.times.retain(|partition, _| !partitions.contains(partition));
        if !known.is_empty() {
            self.window.close(&known);
            self.flight.abort(&known);
            self.deps.handler.released(&known);
        }
    }

    /// Answers the revokes whose work has ended or whose time is over.
    fn answer_revokes(&mut self, now: Instant) {
        let (due, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.revokes)
            .into_iter()
            .partition(|revoke| now >= revoke.until || self.window.is_quiet(&revoke.partitions));
        self.revokes = open;
        for Revoke { partitions, ack, .. } in due {
            let offsets = self.window.close(&partitions);
            self.flight.abort(&partitions);
            self.deps.handler.released(&partitions);
            if ack.send(offsets).is_err() {
                tracing::warn!(role = self.spec.role, ?partitions, "the log did not wait for the offsets of a revoke");
            }
        }
    }

    fn on_deliveries(&mut self, read: usize, batch: &mut Vec<Delivery>) {
        if read == 0 {
            return self.subscription_ended();
        }
        // An assignment is sent before its first record, so it can be seen by now, and must be seen first.
        while let Ok(control) = self.control.try_recv() {
            self.on_control(Some(control));
        }
        for delivery in batch.drain(..) {
            match delivery {
                Delivery::Record { record, epoch } => self.on_record(record, epoch),
                Delivery::End { partition, next, epoch, .. } => {
                    self.window.reached(partition, epoch, next);
                    self.chores.finished(0);
                }
            }
        }
    }

    fn on_record(&mut self, record: Record, epoch: u64) {
        let lane = self.lane(&record);
        let (partition, offset, append_time) = (record.partition, record.offset, record.append_time);
        match self.window.offer(Arc::new(record), epoch, lane) {
            Offer::Accepted => self.times.entry(partition).or_default().observe(append_time),
            Offer::Duplicate | Offer::Stale => {
                tracing::debug!(role = self.spec.role, ?partition, ?offset, epoch, "record of another epoch dropped");
            }
        }
    }

    /// A handler that panics here would take the loop with it; the record's key is always a lane that keeps the order.
    fn lane(&self, record: &Record) -> Bytes {
        catch_unwind(AssertUnwindSafe(|| self.deps.handler.lane(record))).unwrap_or_else(|_| {
            self.meters.panics.increment(1);
            record.key.clone()
        })
    }

    fn subscription_ended(&mut self) {
        let source = LogError::Closed;
        self.failure.get_or_insert(RuntimeError::Subscription { role: self.spec.role, source });
    }
}
