//! A gallery shard: keeps the partitions it owns in memory, follows all probes, and answers for what it owns.
//!
//! A partition is answered for once it has been applied through the offset that the probe requires. Probes are kept until their
//! deadline, so a partition taken over (or caught up late) is still answered for; the merger drops doubles.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use parking_lot::RwLock;
use ridgeline_domain::{DurationMs, RequestId, SubjectId};
use ridgeline_fingerprint::Matcher;
use ridgeline_ports::{
    Assignment, Control, Delivery, GroupSubscription, LogError, Offset, Partition, Record, StartAt, TailStart,
    TailSubscription,
};
use ridgeline_runtime::{HealthHandle, HealthState, metric};
use ridgeline_vault::Purpose;
use ridgeline_wire::message::{Gallery, Partial, PartialCandidate, Partials, Probe as ProbeMessage};
use ridgeline_wire::row::TemplateSet;
use ridgeline_wire::{Topic, decode};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::matcher::probe_aad;
use crate::platform::{Platform, WorkerError, engine};
use crate::shard::{Hit, Prepared, Shard, Update};
use crate::subject::gallery_aad;

/// Probes older than this are past every deadline; a starting shard reads back so far.
const PROBE_LIFE: DurationMs = DurationMs::from_secs(15);
/// Gallery records decoded in one go on the CPU pool.
const BATCH_MAX: usize = 64;
/// Probes answered at once; more wait in the channel, which stops the tail.
const SEARCHES_MAX: usize = 64;
/// Pause before an answer that the log refused is offered again.
const PUBLISH_PAUSE: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_secs(1);

/// Runs a shard until `stop`.
///
/// # Errors
/// When a subscription fails for good; the process should stop.
pub async fn run_gallery(platform: Arc<Platform>, member: &str, stop: CancellationToken) -> Result<(), WorkerError> {
    let health = platform.health.component("gallery");
    let spec = platform.spec("gallery", Topic::Gallery, member);
    let group = platform.log.subscribe(&spec.topic, &spec.group, &spec.member, StartAt::Beginning).await?;
    let since = platform.clock.now().plus(DurationMs(-PROBE_LIFE.0));
    let probes = platform.log.tail(&Topic::Probes.name(&platform.prefix), TailStart::Time(since)).await?;
    let shards = Shards {
        platform,
        member: member.to_owned(),
        owned: BTreeMap::new(),
        live: HashMap::new(),
        searches: JoinSet::new(),
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
    answered: BTreeSet<Partition>,
}

struct Shards {
    platform: Arc<Platform>,
    member: String,
    owned: BTreeMap<Partition, Owned>,
    live: HashMap<RequestId, Live>,
    searches: JoinSet<()>,
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
            // Every branch is cancel-safe: channels, a join set and an interval; what was received is handled before the next turn.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                control = group.control.recv() => self.control(control.ok_or(LogError::Closed)?)?,
                Some(_) = self.searches.join_next(), if !self.searches.is_empty() => {}
                count = group.deliveries.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 { return Err(LogError::Closed.into()) }
                    self.apply(std::mem::take(&mut batch)).await?;
                }
                delivery = probes.deliveries.recv(), if self.searches.len() < SEARCHES_MAX => {
                    match delivery.ok_or(LogError::Closed)? {
                        Delivery::Record { record, .. } => self.take_in(&record),
                        Delivery::End { .. } => {}
                    }
                }
                _ = tick.tick() => self.expire(),
            }
            self.answer_ready();
        }
        self.leave(group).await;
        self.searches.shutdown().await;
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
                for Assignment { partition, epoch, start } in assignments {
                    let owned = Owned { epoch, applied: start, caught_up: false, broken: false, shard: Arc::default() };
                    self.owned.insert(partition, owned);
                    for live in self.live.values_mut() {
                        live.answered.remove(&partition);
                    }
                }
            }
            Control::Revoked { partitions, ack } => {
                self.forget(&partitions);
                // Nothing is committed for a table. The log may have given up waiting.
                let _ = ack.send(Vec::new());
            }
            Control::Lost(partitions) => self.forget(&partitions),
            Control::Failed(error) => return Err(error),
        }
        self.report();
        Ok(())
    }

    fn forget(&mut self, partitions: &[Partition]) {
        partitions.iter().for_each(|partition| drop(self.owned.remove(partition)));
    }

    /// Applies a batch of gallery deliveries in order; decoding and preparing run on the CPU pool.
    ///
    /// # Errors
    /// When a batch cannot be applied at all: the process stops and rebuilds, rather than answer for what it does not hold (D-4).
    async fn apply(&mut self, batch: Vec<Delivery>) -> Result<(), LogError> {
        let mut records = Vec::new();
        let mut progress = Vec::new();
        for delivery in batch {
            match delivery {
                Delivery::Record { record, epoch } if self.is_current(record.partition, epoch) => {
                    progress.push((record.partition, record.offset.next(), false));
                    records.push(record);
                }
                Delivery::End { partition, next, epoch, .. } if self.is_current(partition, epoch) => {
                    progress.push((partition, next, true))
                }
                Delivery::Record { .. } | Delivery::End { .. } => {}
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

    fn take_in(&mut self, record: &Record) {
        let message = record.value.as_ref().and_then(|value| decode::<ProbeMessage>(value).ok());
        let Some(message) = message else {
            tracing::error!(
                partition = record.partition.0,
                offset = record.offset.0,
                "a probe cannot be decoded and is not searched"
            );
            return;
        };
        if message.deadline > self.platform.clock.now() && message.engine == engine() {
            let live = Live { message: Arc::new(message), answered: BTreeSet::new() };
            self.live.entry(live.message.request_id).or_insert(live);
        }
    }

    fn expire(&mut self) {
        let now = self.platform.clock.now();
        self.live.retain(|_, live| live.message.deadline > now);
    }

    /// Starts a search for every probe that some owned partition can answer now and has not answered.
    fn answer_ready(&mut self) {
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
            let (platform, member, message) = (self.platform.clone(), self.member.clone(), live.message.clone());
            self.searches.spawn(answer(platform, member, message, ready));
        }
    }

    fn report(&self) {
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

/// Opens, prepares and applies gallery records in log order; returns the partitions with a record that cannot be read.
fn apply_all(
    platform: &Platform,
    records: &[Record],
    shards: &HashMap<Partition, Arc<RwLock<Shard>>>,
) -> BTreeSet<Partition> {
    let mut all: HashMap<_, Vec<_>> = HashMap::new();
    let mut broken = BTreeSet::new();
    for record in records {
        match update(platform, record) {
            Some(update) => all.entry(record.partition).or_default().push(update),
            None => {
                tracing::error!(
                    partition = record.partition.0,
                    offset = record.offset.0,
                    "a gallery record cannot be read"
                );
                broken.insert(record.partition);
            }
        }
    }
    for (partition, updates) in all {
        if let Some(shard) = shards.get(&partition) {
            shard.write().apply(updates);
        }
    }
    broken
}

fn update(platform: &Platform, record: &Record) -> Option<Update> {
    let subject: SubjectId = std::str::from_utf8(&record.key).ok()?.parse().ok()?;
    let Some(value) = &record.value else { return Some(Update::forget(subject)) };
    let gallery: Gallery = decode(value).ok()?;
    let set = platform.vault.open(Purpose::Topic, &gallery_aad(&subject), &gallery.templates).ok()?;
    let set: TemplateSet = decode(set.expose()).ok()?;
    (gallery.subject_id == subject).then(|| Update::set(subject, gallery.version, &set))
}

/// Searches and publishes one answer; offers it again until the deadline if the log refuses.
async fn answer(
    platform: Arc<Platform>,
    member: String,
    message: Arc<ProbeMessage>,
    ready: Vec<(Partition, Offset, Arc<RwLock<Shard>>)>,
) {
    let (id, deadline) = (message.request_id, message.deadline);
    let search = {
        let platform = platform.clone();
        move || searched(&platform, &message, &ready, member)
    };
    let partial = match platform.cpu.run(search).await {
        Ok(Some(partial)) => partial,
        Ok(None) | Err(_) => {
            tracing::error!(request = %id, "a probe cannot be opened or searched");
            return;
        }
    };
    let partials = Partials { request_id: id, opened: None, partial: Some(partial) };
    let shard = partials.partial.as_ref().map(|partial| partial.shard.clone()).unwrap_or_default();
    while let Err(error) = platform.publish(Topic::Partials, &id.to_string(), format!("{id}:{shard}"), &partials).await
    {
        tracing::warn!(request = %id, %error, "an answer of a shard waits for the log");
        if platform.clock.now() > deadline {
            return;
        }
        tokio::time::sleep(PUBLISH_PAUSE).await;
    }
}

fn searched(
    platform: &Platform,
    message: &ProbeMessage,
    ready: &[(Partition, Offset, Arc<RwLock<Shard>>)],
    shard: String,
) -> Option<Partial> {
    let set = platform.vault.open(Purpose::Topic, &probe_aad(message.request_id), &message.template).ok()?;
    let prepared = Prepared::new(&decode::<TemplateSet>(set.expose()).ok()?, message.filter.clone(), message.top_k);
    let mut matcher = Matcher::new();
    let mut partial =
        Partial { shard, partitions: vec![], through_offsets: vec![], compared: vec![], candidates: vec![] };
    for (partition, through, owned) in ready {
        let searched = owned.read().search(&prepared, &mut matcher);
        let number = i32::try_from(partition.0).ok()?;
        partial.partitions.push(number);
        partial.through_offsets.push(i64::try_from(through.0).ok()?);
        partial.compared.push(i64::try_from(searched.compared).ok()?);
        partial.candidates.extend(searched.hits.into_iter().map(|hit: Hit| PartialCandidate {
            subject_id: hit.subject,
            position: hit.position,
            fmr: hit.fmr.get(),
            partition: number,
            replay: hit.replay,
        }));
    }
    Some(partial)
}
