//! Answer once (D-1), for commands: the first answer stored is the one; what follows from it is published again on every redelivery.

use metrics::{counter, histogram};
use ridgeline_domain::{
    ActionId, DecidedOperation, DeviceId, DurationMs, FamilyId, Liveness, Outcome, RequestId, SessionId, Severity,
    UserId,
};
use ridgeline_ports::{Cas, RowKey, TraceContext};
use ridgeline_runtime::{FailPoint, StepError, metric};
use ridgeline_vault::{Aad, Purpose};
use ridgeline_wire::auth::AuthReply;
use ridgeline_wire::auth_row::{AuditDetails, AuthAnswerRow, table};
use ridgeline_wire::message::{Audit, Decision};
use ridgeline_wire::{Topic, decode, encode};

use super::Follows;
use super::command::Command;
use crate::platform::{Outgoing, Platform, vault_fault, wire_fault};

/// An answer that may hold tokens counts no longer than this. The row itself stays for the store's grace, which is longer than the
/// topic keeps the command, so that a redelivery finds it.
const ANSWER_LIFE: DurationMs = DurationMs::from_secs(15 * 60);

/// One about an action holds no token, and its audit record is part of the action's evidence.
const ACTION_KEPT: DurationMs = DurationMs::from_days(90);

/// What decides, in place of an engine.
const DECIDED_BY: &str = "ridgeline-auth/1";

/// Whom a command turned out to be about.
#[derive(Default, Clone)]
pub(super) struct About {
    pub(super) user: Option<UserId>,
    pub(super) device: Option<DeviceId>,
    pub(super) session: Option<SessionId>,
    pub(super) family: Option<FamilyId>,
    pub(super) action: Option<ActionId>,
}

/// The stored answer, also one whose acknowledgement was lost.
pub(super) async fn find(platform: &Platform, id: RequestId) -> Result<Option<AuthAnswerRow>, StepError> {
    let row = platform.store.get(table::AUTH_ANSWERS, &RowKey::single(id.to_string())).await?;
    row.map(|row| decode(&row.value).map_err(wire_fault)).transpose()
}

/// Stores the answer unless one is there, then publishes what follows from the stored one.
pub(super) async fn settle(
    platform: &Platform,
    command: &Command,
    reply: &AuthReply,
    about: &About,
    follows: Follows,
) -> Result<(), StepError> {
    let row = row(platform, command, reply, about, follows)?;
    let key = RowKey::single(command.id.to_string());
    let value = encode(&row).map_err(wire_fault)?.into();
    let expires = Some(command.now.plus(if about.action.is_some() { ACTION_KEPT } else { ANSWER_LIFE }));
    let row = match platform.store.insert_new(table::AUTH_ANSWERS, &key, value, expires).await? {
        Cas::Applied(_) => row,
        Cas::Conflict(Some(first)) => decode(&first.value).map_err(wire_fault)?,
        Cas::Conflict(None) => return Err(StepError::Retry("the answer vanished while it was read".to_owned())),
    };
    platform.limits.fail.pass(FailPoint::AfterStore);
    emit(platform, &row, &command.trace).await
}

/// Everything after the stored answer, in order: revocations, notices, audit (A-1: acknowledged first), decision.
pub(super) async fn emit(platform: &Platform, row: &AuthAnswerRow, trace: &TraceContext) -> Result<(), StepError> {
    let id = row.request_id.to_string();
    for revocation in &row.revocations {
        let key = format!("{}:{}", revocation.kind, revocation.id);
        let to = Outgoing::new(Topic::Revocations, &key, format!("{id}:{key}")).traced(trace);
        platform.publish(to, revocation).await?;
    }
    for notice in &row.notices {
        let (user, key) = (notice.user.to_string(), format!("{id}:{}:{}", notice.kind, notice.user));
        let to = Outgoing::new(Topic::Notifications, &user, key).traced(trace);
        platform.publish(to, notice).await?;
    }
    let audit = Outgoing::new(Topic::Audit, &row.audit_key, format!("{id}:audit")).traced(trace);
    platform.publish_bytes(audit, Some(row.audit.clone())).await?;
    platform.limits.fail.pass(FailPoint::BeforeDecision);
    let decision = Outgoing::new(Topic::Decisions, &id, format!("{id}:decision")).traced(trace);
    let decision = decision.about(row.about.as_deref());
    platform.publish_bytes(decision, Some(row.decision.clone())).await?;
    counter!(metric::AUDIT_EVENTS, "role" => "worker").increment(1);
    if let Ok(decision) = decode::<Decision>(&row.decision) {
        let (operation, outcome) = (decision.operation.as_str(), decision.outcome.as_str());
        counter!(metric::DECISIONS, "operation" => operation, "outcome" => outcome).increment(1);
        #[expect(clippy::cast_precision_loss, reason = "durations of decisions are far below 2^52 ms")]
        let seconds = decision.duration_ms as f64 / 1_000.0;
        histogram!(metric::DECISION_DURATION, "operation" => operation).record(seconds);
    }
    Ok(())
}

fn row(
    platform: &Platform,
    command: &Command,
    reply: &AuthReply,
    about: &About,
    follows: Follows,
) -> Result<AuthAnswerRow, StepError> {
    let id = command.id.to_string();
    let audit = audit(platform, command, reply, about)?;
    let sealed = encode(reply).map_err(wire_fault)?;
    let aad = Aad::new(table::AUTH_ANSWERS.name, &id, "reply");
    let sealed =
        platform.vault.seal(Purpose::Answer, &aad, &sealed, &*platform.entropy).map_err(|e| vault_fault(&e))?;
    Ok(AuthAnswerRow {
        request_id: command.id,
        decision: encode(&decision(platform, command, reply)).map_err(wire_fault)?,
        audit_key: about.user.as_ref().map_or_else(|| id.clone(), ToString::to_string),
        audit: encode(&audit).map_err(wire_fault)?,
        revocations: follows.revocations,
        notices: follows.notices,
        about: about.action.map(|action| action.to_string()),
        reply: sealed,
    })
}

/// The outcome and nothing else: neither who, nor why, nor what was granted.
fn decision(platform: &Platform, command: &Command, reply: &AuthReply) -> Decision {
    let decided_at = platform.decided_at(command.now);
    Decision {
        confirmation_id: command.id,
        operation: DecidedOperation::Auth(command.operation),
        modality: None,
        outcome: if reply.refusal.is_some() { Outcome::Rejected } else { Outcome::Granted },
        reason: None,
        subject_id: None,
        agent: command.sender.clone(),
        reader: None,
        quality: Vec::new(),
        confidence: None,
        confidence_basis: None,
        liveness: Liveness::NotAssessed,
        coverage: None,
        engine: DECIDED_BY.to_owned(),
        gallery_version: None,
        session_requested: false,
        valid_until: command.now.plus(ANSWER_LIFE),
        evaluated_at: command.now,
        decided_at,
        duration_ms: decided_at.since(command.now).0,
    }
}

fn audit(platform: &Platform, command: &Command, reply: &AuthReply, about: &About) -> Result<Audit, StepError> {
    let event_id = format!("{}:audit", command.id);
    let details = AuditDetails {
        severity: reply.refusal.map_or(Severity::Info, ridgeline_domain::Refusal::severity),
        user: about.user.clone(),
        device_id: about.device,
        session_id: about.session,
        family_id: about.family,
        action_id: about.action,
        address: command.body.address.clone(),
        user_agent: command.body.user_agent.clone(),
    };
    let details = encode(&details).map_err(wire_fault)?;
    let aad = Aad::new(Topic::Audit.row().name, &event_id, "details");
    let details =
        platform.vault.seal(Purpose::Field, &aad, &details, &*platform.entropy).map_err(|e| vault_fault(&e))?;
    Ok(Audit {
        event_id,
        event_type: command.operation.event_type(),
        occurred_at: command.now,
        request_id: Some(command.id),
        actor: about.user.as_ref().map_or_else(|| "unverified".to_owned(), ToString::to_string),
        reader: None,
        subject_id: None,
        operation: None,
        outcome: if reply.refusal.is_some() { Outcome::Rejected } else { Outcome::Granted }.to_string(),
        reason: reply.refusal.map(|refusal| refusal.to_string()).or_else(|| end_of(reply)),
        details: Some(details),
    })
}

/// What became of the action that the command was about.
fn end_of(reply: &AuthReply) -> Option<String> {
    reply.action.as_ref().map(|action| action.status.to_string())
}

/// What the caller of a stored answer was told.
pub(super) fn opened(platform: &Platform, row: &AuthAnswerRow) -> Result<AuthReply, StepError> {
    let aad = Aad::new(table::AUTH_ANSWERS.name, &row.request_id.to_string(), "reply");
    let reply = platform.vault.open(Purpose::Answer, &aad, &row.reply).map_err(|e| vault_fault(&e))?;
    decode(reply.expose()).map_err(wire_fault)
}
