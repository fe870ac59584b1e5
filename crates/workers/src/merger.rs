//! The merger: joins the shards' answers of each search, and decides at full coverage or at the deadline.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use ridgeline_domain::{Confidence, DurationMs, ErrorCode, Fmr, Reason, RequestId, SubjectId, Timestamp};
use ridgeline_flow::{Found, Judgement, Search, ShardAnswer, merge};
use ridgeline_ports::{Partition, Record, TraceContext};
use ridgeline_runtime::{Ending, Handler, HoldKey, Poison, StepError, run};
use ridgeline_wire::message::{Opened, Partial, Partials};
use ridgeline_wire::{Topic, decode};
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Asked, Enclosed};
use crate::platform::{Platform, WorkerError};
use crate::subject;

/// Answers without an announcement wait so long for it; the matcher publishes the announcement first.
const ORPHAN_WAIT: DurationMs = DurationMs::from_secs(15);
/// Announcements of this many partitions at most; keeps a broken one from costing memory.
const PARTITIONS_MAX: usize = 4_096;

/// Runs a merger until `stop`.
///
/// # Errors
/// When the log refuses for good or a step is fatal; the process should stop.
pub async fn run_merger(platform: Arc<Platform>, member: &str, stop: CancellationToken) -> Result<(), WorkerError> {
    let health = platform.health.component("merger");
    let spec = platform.spec("merger", Topic::Partials, member);
    let ports = platform.ports("merger");
    let merger = Merger { platform, pending: Mutex::default() };
    Ok(run(spec, ports, Arc::new(merger), health, stop).await?)
}

#[derive(Default, Clone)]
struct Pending {
    opened: Option<(Opened, TraceContext)>,
    answers: Vec<ShardAnswer>,
}

struct Merger {
    platform: Arc<Platform>,
    pending: Mutex<HashMap<HoldKey, Pending>>,
}

#[async_trait]
impl Handler for Merger {
    async fn handle(&self, record: Arc<Record>) -> Result<Ending, StepError> {
        self.platform.log_time.observe(record.append_time);
        let value = record
            .value
            .as_ref()
            .ok_or_else(|| StepError::poison(ErrorCode::RecordUndecodable, "a tombstone is no partial"))?;
        let message: Partials = decode(value).map_err(|error| StepError::poison(error.code(), error.to_string()))?;
        let key = HoldKey::of(&record, Bytes::from(message.request_id.to_string()));
        if record.key != key.bytes {
            return Err(StepError::poison(ErrorCode::RecordInvalid, "the record lies under a foreign key"));
        }
        let known = self.pending.lock().contains_key(&key);
        if !known && let Some(row) = answer::find(&self.platform, message.request_id).await? {
            // A replay: announce the stored decision again; a late answer of a shard has nothing to add.
            if message.opened.is_some() {
                answer::emit(&self.platform, &row, &trace_of(&record, message.request_id)).await?;
            }
            return Ok(Ending::Done);
        }
        let deadline = self.take_in(&key, &record, &message)?;
        match self.complete(&key) {
            Some(pending) => self.decide(key, message.request_id, pending).await,
            None => Ok(Ending::Hold { key, deadline }),
        }
    }

    async fn timer(&self, key: HoldKey) -> Result<Ending, StepError> {
        let pending = self.pending.lock().get(&key).cloned();
        let id = std::str::from_utf8(&key.bytes).ok().and_then(|text| text.parse::<RequestId>().ok());
        match (pending, id) {
            (Some(pending), Some(id)) if pending.opened.is_some() => self.decide(key, id, pending).await,
            _ => {
                tracing::warn!(partition = key.partition.0, "answers of a search that nobody announced were dropped");
                self.pending.lock().remove(&key);
                Ok(Ending::Release(key))
            }
        }
    }

    /// A shard's broken part is left out: the search ends at its deadline without it. A search that cannot be decided at all is
    /// answered as failed, since its matcher has long moved on.
    async fn poisoned(&self, record: Arc<Record>, _poison: &Poison) -> Result<(), StepError> {
        let message = record.value.as_ref().and_then(|value| decode::<Partials>(value).ok());
        let Some((id, opened)) = message.and_then(|message| Some((message.request_id, message.opened?))) else {
            return Ok(());
        };
        self.pending.lock().remove(&HoldKey::of(&record, Bytes::from(id.to_string())));
        let trace = trace_of(&record, id);
        match answer::find(&self.platform, id).await? {
            Some(row) => answer::emit(&self.platform, &row, &trace).await,
            None => {
                let judgement = Judgement::failed(Reason::Internal, None);
                answer::settle(&self.platform, &asked(id, opened, trace), &judgement, Enclosed::default()).await
            }
        }
    }

    fn released(&self, partitions: &[Partition]) {
        self.pending.lock().retain(|key, _| !partitions.contains(&key.partition));
    }
}

impl Merger {
    /// Adds the message; the new deadline, if the message sets one.
    fn take_in(&self, key: &HoldKey, record: &Record, message: &Partials) -> Result<Option<Timestamp>, StepError> {
        let mut all = self.pending.lock();
        match (&message.opened, &message.partial) {
            (Some(opened), None) => {
                if opened.gallery_offsets.len() > PARTITIONS_MAX {
                    return Err(StepError::poison(ErrorCode::RecordInvalid, "too many gallery partitions"));
                }
                let pending = all.entry(key.clone()).or_default();
                // Announced again after a crash of the matcher: the probe comes again with it, and so does the time to answer it.
                let deadline = record.append_time.plus(DurationMs(opened.wait_ms));
                pending.opened.get_or_insert_with(|| (opened.clone(), trace_of(record, message.request_id)));
                Ok(Some(deadline))
            }
            (None, Some(partial)) => {
                let answer = shard_answer(partial)
                    .ok_or_else(|| StepError::poison(ErrorCode::RecordInvalid, "a partial of unequal lists"))?;
                let pending = all.entry(key.clone()).or_default();
                let first = pending.opened.is_none() && pending.answers.is_empty();
                if !pending.answers.contains(&answer) {
                    pending.answers.push(answer);
                }
                Ok(first.then(|| record.append_time.plus(ORPHAN_WAIT)))
            }
            _ => Err(StepError::poison(ErrorCode::RecordInvalid, "neither or both of announcement and answer")),
        }
    }

    fn complete(&self, key: &HoldKey) -> Option<Pending> {
        let all = self.pending.lock();
        let pending = all.get(key)?;
        let complete = search(&pending.opened.as_ref()?.0).is_complete(&pending.answers);
        complete.then(|| pending.clone())
    }

    async fn decide(&self, key: HoldKey, id: RequestId, pending: Pending) -> Result<Ending, StepError> {
        let Some((opened, trace)) = pending.opened else { return Ok(Ending::Release(key)) };
        let judgement = self.judged(&opened, pending.answers).await?;
        answer::settle(&self.platform, &asked(id, opened, trace), &judgement, Enclosed::default()).await?;
        self.pending.lock().remove(&key);
        Ok(Ending::Release(key))
    }

    /// Judges by what the shards found, without subjects that are forgotten by now: a shard may have searched before it learned of
    /// that, and nobody who was deleted is named.
    async fn judged(&self, opened: &Opened, mut answers: Vec<ShardAnswer>) -> Result<Judgement, StepError> {
        let (state, search) = (self.platform.state(opened.accepted_at), search(opened));
        let mut living = BTreeSet::new();
        loop {
            let judgement = merge(&state, &search, &answers);
            let mut gone = BTreeSet::new();
            for subject in named(&judgement).difference(&living.clone()) {
                match subject::standing(&self.platform, subject).await? {
                    Some(standing) if !standing.deleted => living.insert(subject.clone()),
                    _ => gone.insert(subject.clone()),
                };
            }
            if gone.is_empty() {
                return Ok(judgement);
            }
            for answer in &mut answers {
                answer.found.retain(|found| !gone.contains(&found.subject));
            }
        }
    }
}

/// Every subject that the answer would name.
fn named(judgement: &Judgement) -> BTreeSet<SubjectId> {
    let candidates = judgement.candidates.iter().map(|candidate| &candidate.subject);
    candidates.chain(&judgement.subject).cloned().collect()
}

fn trace_of(record: &Record, id: RequestId) -> TraceContext {
    TraceContext::of(&record.headers).unwrap_or_else(|| TraceContext::about(id))
}

fn asked(id: RequestId, opened: Opened, trace: TraceContext) -> Asked {
    Asked {
        id,
        operation: opened.operation,
        modality: opened.modality,
        agent: opened.agent,
        reader: opened.reader,
        subject: None,
        api_key: opened.api_key,
        session_requested: opened.session_requested,
        valid_until: opened.valid_until,
        accepted_at: opened.accepted_at,
        trace,
    }
}

fn search(opened: &Opened) -> Search {
    Search {
        required: opened.gallery_offsets.iter().map(|offset| u64::try_from(*offset).unwrap_or(u64::MAX)).collect(),
        quality: opened.quality.iter().map(|quality| u8::try_from(*quality).unwrap_or(0).min(100)).collect(),
        threshold: opened.threshold_confidence.map(Confidence::new),
        top_k: usize::try_from(opened.top_k).unwrap_or(0),
        liveness: opened.liveness,
    }
}

/// `None` for lists of unequal length or negative numbers.
fn shard_answer(partial: &Partial) -> Option<ShardAnswer> {
    let count = partial.partitions.len();
    if partial.through_offsets.len() != count || partial.compared.len() != count {
        return None;
    }
    let covered = partial.partitions.iter().zip(&partial.through_offsets).zip(&partial.compared);
    let partitions = covered
        .map(|((partition, through), compared)| {
            Some((u32::try_from(*partition).ok()?, u64::try_from(*through).ok()?, u64::try_from(*compared).ok()?))
        })
        .collect::<Option<_>>()?;
    let found = partial.candidates.iter().map(|one| {
        Some(Found {
            subject: one.subject_id.clone(),
            position: one.position,
            fmr: Fmr::new(one.fmr),
            partition: u32::try_from(one.partition).ok()?,
            replay: one.replay,
        })
    });
    Some(ShardAnswer { partitions, found: found.collect::<Option<_>>()? })
}
