//! The matcher: consumes `scans`; enrols, verifies, extracts and deletes itself, and opens searches for the shards.

use std::sync::Arc;

use async_trait::async_trait;
use ridgeline_domain::{ErrorCode, Liveness, Modality, Operation, Reason, RequestId};
use ridgeline_flow::{Effect, Event, Judgement, Probe, Request, Sample, handle};
use ridgeline_ports::{Cas, Record, RowKey};
use ridgeline_runtime::{DeadLetters as _, Ending, Handler, Poison, StepError, run};
use ridgeline_vault::{Aad, Purpose, TemplateHeader, TemplateKind, seal_template};
use ridgeline_wire::message::{Opened as OpenedSearch, Partials, Probe as ProbeMessage};
use ridgeline_wire::row::{ScanDetails, TemplateSet, UsedProbeRow, table};
use ridgeline_wire::{Topic, decode, encode};
use tokio_util::sync::CancellationToken;

use crate::admit::{Admitted, admit};
use crate::answer::{self, Asked, Enclosed};
use crate::dead::DeadLetterTopic;
use crate::measure::{measure, sealed_body};
use crate::platform::{Outgoing, Platform, WorkerError, cpu_fault, engine, vault_fault, wire_fault};
use crate::refusal;
use crate::subject::{self, Change, Subject};

/// A request id belongs to the agent that used it first; another one's record gets neither its answer nor one of its own.
const FOREIGN_ID: &str = "the request id belongs to another agent";
/// How often a lost race is gathered again before the record backs off.
const RACES_MAX: usize = 5;
/// How long the merger waits for shards.
const SEARCH_WAIT_MS: i64 = 10_000;
/// Candidates returned where the caller names no number.
const TOP_K_DEFAULT: i32 = 10;

/// Runs a matcher until `stop`.
///
/// # Errors
/// When the log refuses for good or a step is fatal; the process should stop.
pub async fn run_matcher(platform: Arc<Platform>, member: &str, stop: CancellationToken) -> Result<(), WorkerError> {
    let health = platform.health.component("matcher");
    let spec = platform.spec("matcher", Topic::Scans, member);
    let ports = platform.ports("matcher");
    let dead = DeadLetterTopic::new(platform.clone(), "matcher");
    Ok(run(spec, ports, Arc::new(Matcher { platform, dead }), health, stop).await?)
}

struct Matcher {
    platform: Arc<Platform>,
    dead: DeadLetterTopic,
}

#[async_trait]
impl Handler for Matcher {
    async fn handle(&self, record: Arc<Record>) -> Result<Ending, StepError> {
        self.platform.log_time.observe(record.append_time);
        let admitted = Arc::new(admit(&self.platform, &record)?);
        if let Some(row) = answer::find(&self.platform, admitted.scan.request_id).await? {
            if row.agent != admitted.scan.agent {
                return Err(StepError::poison(ErrorCode::RecordInvalid, FOREIGN_ID));
            }
            answer::emit(&self.platform, &row, &admitted.trace).await?;
            return Ok(Ending::Done);
        }
        let (details, samples) = match self.measured(admitted.clone()).await {
            // One agent's stale key must not look like a topic full of poison: its record is buried here, past the fuse.
            Err(StepError::Poison(poison)) => {
                // An answer whose acknowledgement was lost would be denied by a burial.
                if let Some(row) = answer::find_decided(&self.platform, admitted.scan.request_id).await? {
                    answer::emit(&self.platform, &row, &admitted.trace).await?;
                    return Ok(Ending::Done);
                }
                self.dead.bury(&record, &poison, 1).await?;
                self.fail(&admitted, poison.code).await?;
                return Ok(Ending::Done);
            }
            measured => measured?,
        };
        for race in 0..RACES_MAX {
            if self.attempt(&admitted, &details, &samples, race > 0).await? {
                return Ok(Ending::Done);
            }
        }
        Err(StepError::Retry("other requests keep changing the same rows".to_owned()))
    }

    async fn poisoned(&self, record: Arc<Record>, poison: &Poison) -> Result<(), StepError> {
        match admit(&self.platform, &record) {
            Ok(admitted) if poison.detail != FOREIGN_ID => self.fail(&admitted, poison.code).await,
            _ => refusal::audit(&self.platform, &record, poison.code).await,
        }
    }
}

impl Matcher {
    /// Opens and measures on the CPU pool; nothing of it changes between attempts.
    async fn measured(&self, admitted: Arc<Admitted>) -> Result<(ScanDetails, Vec<Sample>), StepError> {
        let platform = self.platform.clone();
        let work = move || {
            let opened = admitted.open(&platform)?;
            let samples = measure(&platform.vault, &opened);
            // The images go here: what waits for the store holds templates only.
            Ok((opened.details, samples))
        };
        self.platform.cpu.run(work).await.map_err(cpu_fault)?
    }

    /// Gather, decide, perform. `false`: a race was lost, gather again (`raced`).
    async fn attempt(
        &self,
        admitted: &Arc<Admitted>,
        details: &ScanDetails,
        samples: &[Sample],
        raced: bool,
    ) -> Result<bool, StepError> {
        let request = request(admitted, details)?;
        let current = match &request.subject {
            Some(subject) if request.operation.needs_subject() => Subject::load(&self.platform, subject).await?,
            _ => None,
        };
        let event =
            |samples| Event { request: request.clone(), samples, enrolled: current.as_ref().map(Subject::enrolled) };
        // A single probe that is about to be used up is refused by its mark, should another request have left one, so the mark is not asked for
        // before. Where it is not used up such a mark could be the reason to give, and of several probes none may be used up in vain.
        let sealed = samples.iter().filter(|sample| matches!(sample, Sample::Sealed(_))).count();
        let mut effects = None;
        if sealed == 0 || (sealed == 1 && !raced) {
            let unasked = self.decide(admitted, event(samples.to_vec())).await?;
            let used_up = unasked.iter().filter(|effect| matches!(effect, Effect::UseProbe(_))).count();
            effects = (used_up == sealed).then_some(unasked);
        }
        let effects = match effects {
            Some(effects) => effects,
            None => self.decide(admitted, event(self.asked_used(samples).await?)).await?,
        };
        self.perform(admitted, details, current.as_ref(), effects).await
    }

    async fn decide(&self, admitted: &Admitted, event: Event) -> Result<Vec<Effect>, StepError> {
        let (platform, now) = (self.platform.clone(), admitted.accepted_at);
        self.platform.cpu.run(move || handle(&platform.state(now), event)).await.map_err(cpu_fault)
    }

    /// The samples, each sealed probe with the request that has used it.
    async fn asked_used(&self, samples: &[Sample]) -> Result<Vec<Sample>, StepError> {
        let mut samples = samples.to_vec();
        for sample in &mut samples {
            if let Sample::Sealed(sealed) = sample {
                let row = self.platform.store.get(table::USED_PROBES, &RowKey::single(hex(&sealed.id))).await?;
                let used: Option<UsedProbeRow> = row.map(|row| decode(&row.value).map_err(wire_fault)).transpose()?;
                sealed.used_by = used.map(|row| row.request_id);
            }
        }
        Ok(samples)
    }

    async fn perform(
        &self,
        admitted: &Admitted,
        details: &ScanDetails,
        current: Option<&Subject>,
        effects: Vec<Effect>,
    ) -> Result<bool, StepError> {
        let mut enclosed =
            Enclosed { compared_version: current.map(|current| current.row.version), ..Enclosed::default() };
        for effect in effects {
            match effect {
                Effect::UseProbe(id) => {
                    if !self.use_probe(id, admitted).await? {
                        return Ok(false);
                    }
                }
                Effect::Enrol { position, templates } => {
                    let change = Change::Enrol { position, templates };
                    let Some(version) = self.change(admitted, details, current, change).await? else {
                        return Ok(false);
                    };
                    enclosed.gallery = Some(version);
                }
                Effect::Forget => {
                    let Some(version) = self.change(admitted, details, current, Change::Forget).await? else {
                        return Ok(false);
                    };
                    enclosed.gallery = Some(version);
                }
                Effect::Return(probe) => enclosed.template = Some(self.sealed(admitted, &probe)?),
                Effect::Search(probes) => {
                    self.search(admitted, details, &probes).await?;
                    return Ok(true);
                }
                Effect::Decide(judgement) => {
                    let asked = asked(admitted, Some(details));
                    answer::settle(&self.platform, &asked, &judgement, std::mem::take(&mut enclosed)).await?;
                    return Ok(true);
                }
            }
        }
        Err(StepError::poison(ErrorCode::Internal, "a request was left without a decision"))
    }

    /// Marks a sealed probe as used by this request. `false`: another request was faster.
    async fn use_probe(&self, id: [u8; 16], admitted: &Admitted) -> Result<bool, StepError> {
        let own = UsedProbeRow { request_id: admitted.scan.request_id };
        let value = encode(&own).map_err(wire_fault)?.into();
        let expires = Some(admitted.accepted_at.plus(ridgeline_domain::DurationMs::from_days(1)));
        match self.platform.store.insert_new(table::USED_PROBES, &RowKey::single(hex(&id)), value, expires).await? {
            Cas::Applied(_) => Ok(true),
            Cas::Conflict(Some(row)) => Ok(decode::<UsedProbeRow>(&row.value).map_err(wire_fault)? == own),
            Cas::Conflict(None) => Ok(false),
        }
    }

    async fn change(
        &self,
        admitted: &Admitted,
        details: &ScanDetails,
        current: Option<&Subject>,
        change: Change,
    ) -> Result<Option<(ridgeline_domain::SubjectId, i64)>, StepError> {
        let Some(subject) = &admitted.scan.subject_id else {
            return Err(StepError::poison(ErrorCode::RecordInvalid, "the operation needs a subject"));
        };
        let id = admitted.scan.request_id;
        let version =
            subject::write(&self.platform, id, subject, current, (change, details), admitted.accepted_at).await?;
        Ok(version.map(|version| (subject.clone(), i64::try_from(version.0).unwrap_or(i64::MAX))))
    }

    fn sealed(&self, admitted: &Admitted, probe: &Probe) -> Result<Vec<u8>, StepError> {
        let kind =
            if admitted.scan.operation == Operation::Enrol { TemplateKind::Reference } else { TemplateKind::Probe };
        let header = TemplateHeader {
            kind,
            id: *admitted.scan.request_id.as_bytes(),
            subject: admitted.scan.subject_id.clone(),
            made_at: admitted.accepted_at,
            engine: engine(),
        };
        seal_template(&self.platform.vault, &header, &sealed_body(probe), &*self.platform.entropy)
            .map_err(|e| vault_fault(&e))
    }

    /// Announces the search to the merger, then hands the probe to every shard.
    async fn search(&self, admitted: &Admitted, details: &ScanDetails, probes: &[Probe]) -> Result<(), StepError> {
        let id = admitted.scan.request_id;
        let ends = self.platform.log.end_offsets(&Topic::Gallery.name(&self.platform.prefix)).await?;
        let gallery_offsets: Vec<_> = ends.iter().map(|end| i64::try_from(end.0).unwrap_or(i64::MAX)).collect();
        let opened = opened_search(admitted, details, probes, gallery_offsets.clone());
        let partials = Partials { request_id: id, opened: Some(opened), partial: None };
        let key = id.to_string();
        let to = Outgoing::new(Topic::Partials, &key, format!("{id}:opened")).traced(&admitted.trace);
        let appended = self.platform.publish(to, &partials).await?;
        let templates =
            probes.iter().map(|probe| subject::stored(details.position, probe, admitted.accepted_at)).collect();
        let set = encode(&TemplateSet { templates }).map_err(wire_fault)?;
        let template = self
            .platform
            .vault
            .seal(Purpose::Topic, &probe_aad(id), &set, &*self.platform.entropy)
            .map_err(|e| vault_fault(&e))?;
        let probe = ProbeMessage {
            request_id: id,
            mode: "identify".to_owned(),
            engine: engine(),
            deadline: appended.append_time.plus(ridgeline_domain::DurationMs(SEARCH_WAIT_MS)),
            gallery_offsets,
            filter: details.filter.clone(),
            top_k: details.top_k.unwrap_or(TOP_K_DEFAULT),
            template,
        };
        let to = Outgoing::new(Topic::Probes, &key, format!("{id}:probe")).traced(&admitted.trace);
        self.platform.publish(to, &probe).await?;
        Ok(())
    }

    /// A record that was signed and can never be processed: the asker learns that it failed.
    async fn fail(&self, admitted: &Admitted, code: ErrorCode) -> Result<(), StepError> {
        if let Some(row) = answer::find(&self.platform, admitted.scan.request_id).await? {
            return answer::emit(&self.platform, &row, &admitted.trace).await;
        }
        let reason = if code == ErrorCode::Internal { Reason::Internal } else { Reason::Undecodable };
        let judgement = Judgement::failed(reason, admitted.scan.subject_id.clone());
        answer::settle(&self.platform, &asked(admitted, None), &judgement, Enclosed::default()).await
    }
}

/// Where a probe's templates lie on the `probes` topic.
pub(crate) fn probe_aad(id: RequestId) -> Aad {
    Aad::new("probes", &id.to_string(), "template")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn asked(admitted: &Admitted, details: Option<&ScanDetails>) -> Asked {
    let scan = &admitted.scan;
    Asked {
        id: scan.request_id,
        operation: scan.operation,
        modality: details.map_or(Modality::Fingerprint, |details| details.modality),
        agent: scan.agent.clone(),
        reader: scan.reader.clone(),
        subject: scan.subject_id.clone(),
        api_key: details.and_then(|details| details.api_key.clone()),
        session_requested: details.is_some_and(|details| details.session_requested),
        valid_until: scan.valid_until,
        accepted_at: admitted.accepted_at,
        trace: admitted.trace,
    }
}

fn request(admitted: &Admitted, details: &ScanDetails) -> Result<Request, StepError> {
    let threshold = details.threshold_confidence.map(ridgeline_domain::Confidence::new);
    if details.dedup || details.filter.is_some() {
        return Err(StepError::poison(
            ErrorCode::NotImplemented,
            "duplicate search and gallery filters are not available",
        ));
    }
    Ok(Request {
        id: admitted.scan.request_id,
        operation: admitted.scan.operation,
        subject: admitted.scan.subject_id.clone(),
        position: details.position,
        captured_at: admitted.scan.captured_at,
        valid_until: admitted.scan.valid_until,
        granted: admitted.granted,
        strict: details.strict_quality,
        threshold,
    })
}

fn opened_search(
    admitted: &Admitted,
    details: &ScanDetails,
    probes: &[Probe],
    gallery_offsets: Vec<i64>,
) -> OpenedSearch {
    let scan = &admitted.scan;
    OpenedSearch {
        mode: "identify".to_owned(),
        operation: scan.operation,
        modality: details.modality,
        agent: scan.agent.clone(),
        reader: scan.reader.clone(),
        api_key: details.api_key.clone(),
        engine: engine(),
        quality: probes.iter().map(|probe| i32::from(probe.quality())).collect(),
        liveness: Liveness::NotAssessed,
        threshold_confidence: details.threshold_confidence,
        top_k: details.top_k.unwrap_or(TOP_K_DEFAULT).clamp(1, 100),
        accepted_at: admitted.accepted_at,
        valid_until: scan.valid_until,
        session_requested: details.session_requested,
        gallery_offsets,
        wait_ms: SEARCH_WAIT_MS,
    }
}
