//! A gallery shard: keeps the partitions it owns in memory, follows all probes, and answers for what it owns.
//!
//! A partition is answered for once it has been applied through the offset that the probe requires. Probes are kept until their
//! deadline, so a partition taken over (or caught up late) is still answered for; the merger drops doubles. What time it is the
//! records say: the shard's own clock only chooses where to begin reading, with a margin for being wrong.

mod apply;
mod search;
mod tend;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use parking_lot::RwLock;
use ridgeline_domain::{DurationMs, RequestId};
use ridgeline_ports::{
    Assignment, Control, Delivery, GroupSubscription, LogError, Offset, Partition, Record, StartAt, TailStart,
    TailSubscription, TraceContext,
};
use ridgeline_runtime::{Following, HealthHandle, HealthState, metric};
use ridgeline_wire::message::Probe as ProbeMessage;
use ridgeline_wire::{Topic, decode};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::apply::apply_all;
use self::search::answer;
use self::tend::{Walk, tend};
use crate::platform::{Platform, WorkerError, engine};
use crate::shard::Shard;

const ROLE: &str = "gallery";
/// Probes older than this are past every deadline; a starting shard reads back so far.
const PROBE_LIFE: DurationMs = DurationMs::from_secs(15);
/// How wrong the clock may be that chooses where to begin reading.
const CLOCK_SKEW_MAX: DurationMs = DurationMs::from_secs(15 * 60);
/// Gallery records decoded in one go on the CPU pool.
const BATCH_MAX: usize = 64;
/// Probes answered at once; more wait in the channel, which stops the tail.
const SEARCHES_MAX: usize = 64;
/// Bytes of probes kept until their deadline; beyond it the tail waits until some expire.
const LIVE_BYTES_MAX: usize = 64 << 20;
const TICK: Duration = Duration::from_secs(1);
/// Between two looks at what lags behind its row: longer than a record usually takes from its row to the shard.
const TEND_INTERVAL: Duration = Duration::from_secs(3);
/// Between two walks over all rows.
const WALK_PAUSE: Duration = Duration::from_secs(600);

/// Runs a shard until `stop`.
///
/// # Errors
/// When a subscription fails for good; the process should stop.
pub async fn run_gallery(platform: Arc<Platform>, member: &str, stop: CancellationToken) -> Result<(), WorkerError> {
    let health = platform.health.component(ROLE);
    let spec = platform.spec(ROLE, Topic::Gallery, member);
    let probes_name = Topic::Probes.name(&platform.prefix);
    let partitions = (platform.log.partitions(&spec.topic).await?, platform.log.partitions(&probes_name).await?);
    let group = platform.log.subscribe(&spec.topic, &spec.group, &spec.member, StartAt::Beginning).await?;
    let since = platform.clock.now().plus(DurationMs(-PROBE_LIFE.0 - CLOCK_SKEW_MAX.0));
    let probes = platform.log.tail(&probes_name, TailStart::Time(since)).await?;
    let following = (Following::new(ROLE, spec.topic.clone()), Following::new(ROLE, probes_name));
    let mut measuring = JoinSet::new();
    for following in [following.0.clone(), following.1.clone()] {
        let (platform, stop) = (platform.clone(), stop.clone());
        measuring.spawn(async move { following.measure(&*platform.log, &*platform.clock, &stop).await });
    }
    let shards = Shards {
        platform,
        member: member.to_owned(),
        topic: spec.topic.to_string(),
        gallery_partitions: partitions.0,
        probe_partitions: partitions.1,
        owned: BTreeMap::new(),
        live: HashMap::new(),
        live_bytes: 0,
        probe_ends: BTreeSet::new(),
        searches: JoinSet::new(),
        tending: JoinSet::new(),
        walk: Walk::At(None),
        next_tend: Instant::now(),
        next_walk: Instant::now(),
        gallery: following.0,
        probes: following.1,
        health,
    };
    shards.run(group, probes, stop).await
}

/// A partition this member owns.
struct Owned {
    epoch: u64,
    applied: Offset,
    caught_up: bool,
    /// A record could not be read: the partition is not answered for, so its searches say `incomplete` (D-4).
    broken: bool,
    shard: Arc<RwLock<Shard>>,
}

/// A probe whose deadline has not passed.
struct Live {
    message: Arc<ProbeMessage>,
    trace: TraceContext,
    bytes: usize,
    answered: BTreeSet<Partition>,
}

struct Shards {
    platform: Arc<Platform>,
    member: String,
    topic: String,
    gallery_partitions: u32,
    probe_partitions: u32,
    owned: BTreeMap<Partition, Owned>,
    live: HashMap<RequestId, Live>,
    live_bytes: usize,
    /// Partitions of `probes` whose end was reached since the start. Before all were, what is read may be long past its deadline.
    probe_ends: BTreeSet<Partition>,
    searches: JoinSet<()>,
    tending: JoinSet<Walk>,
    walk: Walk,
    next_tend: Instant,
    next_walk: Instant,
    gallery: Following,
    probes: Following,
    health: HealthHandle,
}

impl Shards {
    async fn run(
        mut self,
        mut group: GroupSubscription,
        mut probes: TailSubscription,
        stop: CancellationToken,
    ) -> Result<(), WorkerError> {
        let mut tick = tokio::time::interval(TICK);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            // Every branch is cancel-safe: channels, join sets and an interval; what was received is handled before the next turn.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                control = group.control.recv() => self.control(control.ok_or(LogError::Closed)?)?,
                Some(_) = self.searches.join_next(), if !self.searches.is_empty() => {}
                Some(walk) = self.tending.join_next(), if !self.tending.is_empty() => self.tended(walk.ok()),
                count = group.deliveries.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 { return Err(LogError::Closed.into()) }
                    // An assignment is sent before its first record, so it can be seen by now, and must be seen first: a
                    // record of an unknown epoch is dropped.
                    while let Ok(control) = group.control.try_recv() {
                        self.control(control)?;
                    }
                    self.apply(std::mem::take(&mut batch)).await?;
                }
                delivery = probes.deliveries.recv(), if self.has_room() => {
                    let delivery = delivery.ok_or(LogError::Closed)?;
                    self.probes.read(&delivery);
                    match delivery {
                        Delivery::Record { record, .. } => self.take_in(&record),
                        Delivery::End { partition, .. } => drop(self.probe_ends.insert(partition)),
                    }
                }
                _ = tick.tick() => {
                    self.expire();
                    self.tend();
                }
            }
            self.answer_ready();
        }
        self.leave(group).await;
        self.searches.shutdown().await;
        self.tending.shutdown().await;
        Ok(())
    }

    /// Leaves the group, answering the revocations that leaving brings: the log waits for them.
    async fn leave(&mut self, mut group: GroupSubscription) {
        let handle = group.handle.clone();
        let leaving = handle.leave();
        tokio::pin!(leaving);
        loop {
            let control = tokio::select! {
                left = &mut leaving => {
                    if let Err(error) = left {
                        tracing::warn!(%error, "gallery shard could not leave its group");
                    }
                    return;
                }
                Some(control) = group.control.recv() => control,
            };
            // A log that fails now fails the leaving as well, which is told above.
            let _ = self.control(control);
        }
    }

    fn control(&mut self, control: Control) -> Result<(), LogError> {
        match control {
            Control::Assigned(assignments) => {
                self.rebalance("assigned");
                for Assignment { partition, epoch, start } in assignments {
                    let owned = Owned { epoch, applied: start, caught_up: false, broken: false, shard: Arc::default() };
                    self.owned.insert(partition, owned);
                    self.gallery.starts(partition, start);
                    for live in self.live.values_mut() {
                        live.answered.remove(&partition);
                    }
                }
            }
            Control::Revoked { partitions, ack } => {
                self.rebalance("revoked");
                self.forget(&partitions);
                // Nothing is committed for a table. The log may have given up waiting.
                let _ = ack.send(Vec::new());
            }
            Control::Lost(partitions) => {
                self.rebalance("lost");
                self.forget(&partitions);
            }
            Control::Failed(error) => return Err(error),
        }
        self.report();
        Ok(())
    }

    fn rebalance(&self, kind: &'static str) {
        counter!(metric::REBALANCES, "topic" => self.topic.clone(), "role" => ROLE, "kind" => kind).increment(1);
    }

    fn forget(&mut self, partitions: &[Partition]) {
        partitions.iter().for_each(|partition| drop(self.owned.remove(partition)));
        self.gallery.forget(partitions);
    }

    /// Applies a batch of gallery deliveries in order; decoding and preparing run on the CPU pool.
    ///
    /// # Errors
    /// When a batch cannot be applied at all: the process stops and rebuilds, rather than answer for what it does not hold (D-4).
    async fn apply(&mut self, batch: Vec<Delivery>) -> Result<(), LogError> {
        let mut records = Vec::new();
        let mut progress = Vec::new();
        for delivery in batch {
            let (partition, epoch) = match &delivery {
                Delivery::Record { record, epoch } => (record.partition, *epoch),
                Delivery::End { partition, epoch, .. } => (*partition, *epoch),
            };
            if !self.is_current(partition, epoch) {
                continue;
            }
            self.gallery.read(&delivery);
            match delivery {
                Delivery::Record { record, .. } => {
                    self.platform.log_time.observe(record.append_time);
                    progress.push((record.partition, record.offset.next(), false));
                    records.push(record);
                }
                Delivery::End { partition, next, .. } => progress.push((partition, next, true)),
            }
        }
        if !records.is_empty() {
            // Decoded and applied off the reactor: a search may hold a partition for a while.
            let shards: HashMap<_, _> =
                self.owned.iter().map(|(partition, owned)| (*partition, owned.shard.clone())).collect();
            let platform = self.platform.clone();
            let applied = self.platform.cpu.run(move || apply_all(&platform, &records, &shards)).await;
            let broken =
                applied.map_err(|error| LogError::Corrupt(format!("gallery records cannot be applied: {error}")))?;
            for partition in broken {
                if let Some(owned) = self.owned.get_mut(&partition) {
                    owned.broken = true;
                }
            }
        }
        for (partition, next, end) in progress {
            if let Some(owned) = self.owned.get_mut(&partition) {
                owned.applied = owned.applied.max(next);
                owned.caught_up |= end;
            }
        }
        self.report();
        Ok(())
    }

    fn is_current(&self, partition: Partition, epoch: u64) -> bool {
        self.owned.get(&partition).is_some_and(|owned| owned.epoch == epoch)
    }

    /// Whether another probe may be taken in.
    fn has_room(&self) -> bool {
        self.searches.len() < SEARCHES_MAX && self.live_bytes < LIVE_BYTES_MAX
    }

    fn take_in(&mut self, record: &Record) {
        self.platform.log_time.observe(record.append_time);
        let message = record.value.as_ref().and_then(|value| decode::<ProbeMessage>(value).ok());
        let Some(message) = message else {
            tracing::error!(
                partition = record.partition.0,
                offset = record.offset.0,
                "a probe cannot be decoded and is not searched"
            );
            return;
        };
        if !self.platform.log_time.is_past(message.deadline) && message.engine == engine() {
            let trace = TraceContext::of(&record.headers).unwrap_or_else(|| TraceContext::about(message.request_id));
            let bytes = record.value.as_ref().map_or(0, bytes::Bytes::len);
            let message = Arc::new(message);
            self.live.entry(message.request_id).or_insert_with(|| {
                self.live_bytes += bytes;
                Live { message, trace, bytes, answered: BTreeSet::new() }
            });
        }
        if !self.has_room() {
            self.expire();
        }
    }

    fn expire(&mut self) {
        let Some(now) = self.platform.log_time.now() else { return };
        self.live.retain(|_, live| live.message.deadline > now);
        self.live_bytes = self.live.values().map(|live| live.bytes).sum();
    }

    /// Starts a look at what lags behind its row, once what is owned has been read.
    fn tend(&mut self) {
        let now = Instant::now();
        let read = !self.owned.is_empty() && self.owned.values().all(|owned| owned.caught_up);
        if !read || now < self.next_tend || !self.tending.is_empty() {
            return;
        }
        self.next_tend = now + TEND_INTERVAL;
        if matches!(self.walk, Walk::Finished) && now >= self.next_walk {
            self.walk = Walk::At(None);
        }
        let shards = self.owned.iter().map(|(partition, owned)| (*partition, owned.shard.clone())).collect();
        self.tending.spawn(tend(self.platform.clone(), shards, self.gallery_partitions, self.walk.clone()));
    }

    /// A look that panicked is made again.
    fn tended(&mut self, walk: Option<Walk>) {
        let Some(walk) = walk else { return };
        if matches!((&self.walk, &walk), (Walk::At(_), Walk::Finished)) {
            self.next_walk = Instant::now() + WALK_PAUSE;
        }
        self.walk = walk;
    }

    /// Starts a search for every probe that some owned partition can answer now and has not answered.
    fn answer_ready(&mut self) {
        if self.probe_ends.len() < usize::try_from(self.probe_partitions).unwrap_or(usize::MAX) {
            return;
        }
        for live in self.live.values_mut() {
            if self.searches.len() >= SEARCHES_MAX {
                return;
            }
            let required = |partition: &Partition| {
                usize::try_from(partition.0).ok().and_then(|index| live.message.gallery_offsets.get(index)).copied()
            };
            let ready: Vec<_> = self
                .owned
                .iter()
                .filter(|(partition, owned)| {
                    let far_enough = required(partition)
                        .is_some_and(|offset| i64::try_from(owned.applied.0).is_ok_and(|a| a >= offset));
                    far_enough && !owned.broken && !live.answered.contains(partition)
                })
                .map(|(partition, owned)| (*partition, owned.applied, owned.shard.clone()))
                .collect();
            if ready.is_empty() {
                continue;
            }
            live.answered.extend(ready.iter().map(|(partition, ..)| *partition));
            let (platform, member) = (self.platform.clone(), self.member.clone());
            let probe = (live.message.clone(), live.trace);
            let span = tracing::info_span!("search", role = ROLE, trace_id = %live.trace.trace_id());
            self.searches.spawn(answer(platform, member, probe, ready).instrument(span));
        }
    }

    fn report(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge of at most thousands of partitions")]
        gauge!(metric::PARTITIONS_OWNED, "topic" => self.topic.clone(), "role" => ROLE).set(self.owned.len() as f64);
        // A shard that is being searched or written to is counted at the next turn.
        let subjects: Option<usize> =
            self.owned.values().map(|owned| owned.shard.try_read().map(|shard| shard.subjects())).sum();
        if let Some(subjects) = subjects {
            #[expect(clippy::cast_precision_loss, reason = "a gauge; galleries stay far below 2^52 subjects")]
            gauge!(metric::GALLERY_SUBJECTS).set(subjects as f64);
        }
        if self.owned.values().any(|owned| owned.broken) {
            self.health.set(HealthState::Unhealthy, "a gallery record cannot be read; searches are incomplete");
        } else if self.owned.values().all(|owned| owned.caught_up) {
            self.health.healthy();
        } else {
            self.health.set(HealthState::Degraded, "the gallery is being read");
        }
    }
}
