//! Answer once (D-1): the first answer stored is the one; everything after it is performed again on every redelivery.

use metrics::{counter, histogram};
use ridgeline_domain::{
    AgentId, DecidedOperation, DurationMs, Modality, Operation, ReaderId, RequestId, SubjectId, Timestamp,
};
use ridgeline_flow::Judgement;
use ridgeline_ports::{Cas, Row, RowKey, TraceContext};
use ridgeline_runtime::{FailPoint, StepError, metric};
use ridgeline_vault::{Aad, Purpose};
use ridgeline_wire::message::{Audit, Coverage, Decision};
use ridgeline_wire::row::{AnswerCandidate, AnswerDetails, AnswerRow, table};
use ridgeline_wire::{Topic, decode, encode};

use crate::platform::{Outgoing, Platform, engine, vault_fault, wire_fault};
use crate::subject;

/// Answers outlive every redelivery: validity of an enrolment, retention of `scans`, and a margin for restored backups.
const ANSWER_LIFE: DurationMs = DurationMs::from_days(30);

/// Whose request it is.
pub(crate) struct Asked {
    pub(crate) id: RequestId,
    pub(crate) operation: Operation,
    pub(crate) modality: Modality,
    pub(crate) agent: AgentId,
    pub(crate) reader: Option<ReaderId>,
    pub(crate) subject: Option<SubjectId>,
    pub(crate) api_key: Option<String>,
    pub(crate) session_requested: bool,
    pub(crate) valid_until: Timestamp,
    pub(crate) accepted_at: Timestamp,
    pub(crate) trace: TraceContext,
}

/// What goes with a judgement.
#[derive(Default)]
pub(crate) struct Enclosed {
    /// Sealed template for the caller.
    pub(crate) template: Option<Vec<u8>>,
    /// Subject whose gallery record changed, and its row's version.
    pub(crate) gallery: Option<(SubjectId, i64)>,
    /// Version of the templates that were compared with.
    pub(crate) compared_version: Option<i64>,
}

/// The stored answer, if the request has one. One whose acknowledgement was lost may be missed; storing another meets it.
pub(crate) async fn find(platform: &Platform, id: RequestId) -> Result<Option<AnswerRow>, StepError> {
    opened(platform.store.peek(table::ANSWERS, &RowKey::single(id.to_string())).await?)
}

/// The stored answer, also one whose acknowledgement was lost.
pub(crate) async fn find_decided(platform: &Platform, id: RequestId) -> Result<Option<AnswerRow>, StepError> {
    opened(platform.store.get(table::ANSWERS, &RowKey::single(id.to_string())).await?)
}

fn opened(row: Option<Row>) -> Result<Option<AnswerRow>, StepError> {
    row.map(|row| decode(&row.value).map_err(wire_fault)).transpose()
}

/// Stores the answer unless one is there, then performs what follows from the stored one.
pub(crate) async fn settle(
    platform: &Platform,
    asked: &Asked,
    judgement: &Judgement,
    enclosed: Enclosed,
) -> Result<(), StepError> {
    let row = row(platform, asked, judgement, enclosed)?;
    let key = RowKey::single(asked.id.to_string());
    let value = encode(&row).map_err(wire_fault)?.into();
    let expires = Some(asked.accepted_at.plus(ANSWER_LIFE));
    let row = match platform.store.insert_new(table::ANSWERS, &key, value, expires).await? {
        Cas::Applied(_) => row,
        Cas::Conflict(Some(first)) => decode(&first.value).map_err(wire_fault)?,
        Cas::Conflict(None) => return Err(StepError::Retry("the answer vanished while it was read".to_owned())),
    };
    platform.limits.fail.pass(FailPoint::AfterStore);
    emit(platform, &row, &asked.trace).await
}

/// Everything after the stored answer, in order: gallery, audit (A-1: acknowledged first), decision.
pub(crate) async fn emit(platform: &Platform, row: &AnswerRow, trace: &TraceContext) -> Result<(), StepError> {
    if let Some(subject) = &row.gallery_subject {
        let subject = subject
            .parse()
            .map_err(|_| StepError::poison(ridgeline_domain::ErrorCode::Internal, "answer names no subject"))?;
        let published = subject::publish(platform, &subject, Some(trace)).await?;
        if published < row.gallery_version {
            tracing::error!("a subject's row is older than an answer about it; was the store restored from a backup?");
        }
    }
    let id = row.request_id.to_string();
    let audit = Outgoing::new(Topic::Audit, &row.audit_key, format!("{id}:audit")).traced(trace);
    platform.publish_bytes(audit, Some(row.audit.clone())).await?;
    platform.limits.fail.pass(FailPoint::BeforeDecision);
    let decision = Outgoing::new(Topic::Decisions, &id, format!("{id}:decision")).traced(trace);
    platform.publish_bytes(decision, Some(row.decision.clone())).await?;
    counter!(metric::AUDIT_EVENTS, "role" => "worker").increment(1);
    count(row);
    Ok(())
}

fn count(row: &AnswerRow) {
    let Ok(decision) = decode::<Decision>(&row.decision) else { return };
    let (operation, outcome) = (decision.operation.as_str(), decision.outcome.as_str());
    counter!(metric::DECISIONS, "operation" => operation, "outcome" => outcome).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "durations of decisions are far below 2^52 ms")]
    let seconds = decision.duration_ms as f64 / 1_000.0;
    histogram!(metric::DECISION_DURATION, "operation" => operation).record(seconds);
    if let (DecidedOperation::Scan(Operation::Verify), Some(modality)) = (decision.operation, decision.modality) {
        let modality = modality.as_str();
        counter!(metric::VERIFICATION_REQUESTS, "modality" => modality, "status" => outcome).increment(1);
        histogram!(metric::VERIFICATION_DURATION, "modality" => modality).record(seconds);
    }
}

fn row(platform: &Platform, asked: &Asked, judgement: &Judgement, enclosed: Enclosed) -> Result<AnswerRow, StepError> {
    let decision = decision(platform, asked, judgement, &enclosed);
    let audit = audit(asked, judgement);
    let details = AnswerDetails {
        confidence: judgement.confidence.map(|(confidence, _)| confidence.get()),
        candidates: judgement
            .candidates
            .iter()
            .map(|one| AnswerCandidate {
                subject_id: one.subject.clone(),
                position: one.position,
                confidence: one.confidence.get(),
            })
            .collect(),
        template: enclosed.template,
    };
    let details = encode(&details).map_err(wire_fault)?;
    let aad = Aad::new(table::ANSWERS.name, &asked.id.to_string(), "details");
    let details =
        platform.vault.seal(Purpose::Answer, &aad, &details, &*platform.entropy).map_err(|e| vault_fault(&e))?;
    let (gallery_subject, gallery_version) =
        enclosed.gallery.map_or((None, None), |(subject, v)| (Some(subject.to_string()), Some(v)));
    Ok(AnswerRow {
        request_id: asked.id,
        agent: asked.agent.clone(),
        api_key: asked.api_key.clone(),
        decision: encode(&decision).map_err(wire_fault)?,
        audit_key: audit.subject_id.as_ref().map_or_else(|| asked.id.to_string(), ToString::to_string),
        audit: encode(&audit).map_err(wire_fault)?,
        gallery_subject,
        gallery_version,
        details: Some(details),
    })
}

/// The public record: a confidence of an accept only (P-1).
fn decision(platform: &Platform, asked: &Asked, judgement: &Judgement, enclosed: &Enclosed) -> Decision {
    let decided_at = platform.decided_at(asked.accepted_at);
    let shown = judgement.confidence.filter(|_| judgement.is_match());
    let int = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    Decision {
        confirmation_id: asked.id,
        operation: DecidedOperation::Scan(asked.operation),
        modality: Some(asked.modality),
        outcome: judgement.outcome,
        reason: judgement.reason,
        subject_id: judgement.subject.clone(),
        agent: asked.agent.clone(),
        reader: asked.reader.clone(),
        quality: judgement.quality.iter().map(|quality| i32::from(*quality)).collect(),
        confidence: shown.map(|(confidence, _)| confidence.get()),
        confidence_basis: shown.map(|(_, basis)| basis.as_str().to_owned()),
        liveness: ridgeline_domain::Liveness::NotAssessed,
        coverage: judgement.coverage.as_ref().map(|coverage| Coverage {
            searched: int(coverage.searched),
            total: int(coverage.total),
            templates: i64::try_from(coverage.templates).unwrap_or(i64::MAX),
            missing: coverage.missing.iter().map(|partition| int(*partition)).collect(),
        }),
        engine: engine(),
        gallery_version: enclosed.gallery.as_ref().map(|(_, version)| *version).or(enclosed.compared_version),
        session_requested: asked.session_requested,
        valid_until: asked.valid_until,
        evaluated_at: asked.accepted_at,
        decided_at,
        duration_ms: decided_at.since(asked.accepted_at).0,
    }
}

fn audit(asked: &Asked, judgement: &Judgement) -> Audit {
    Audit {
        event_id: format!("{}:audit", asked.id),
        event_type: format!("biometric.{}", asked.operation),
        occurred_at: asked.accepted_at,
        request_id: Some(asked.id),
        actor: asked.agent.to_string(),
        reader: asked.reader.clone(),
        subject_id: judgement.subject.clone().or_else(|| asked.subject.clone()),
        operation: Some(asked.operation),
        outcome: judgement.outcome.to_string(),
        reason: judgement.reason.map(|reason| reason.to_string()),
        details: None,
    }
}
