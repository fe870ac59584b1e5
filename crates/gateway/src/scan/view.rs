//! What callers see of a decision.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ridgeline_domain::Permission;
use ridgeline_wire::message::{Coverage, Decision};
use ridgeline_wire::row::AnswerDetails;
use serde::Serialize;

use crate::auth::Caller;
use crate::text::rfc3339;

/// An answer of `application/json`.
pub(crate) fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    let Ok(bytes) = serde_json::to_vec(body) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let json = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, json)], bytes).into_response()
}

#[derive(Serialize)]
pub(super) struct AcceptedView {
    pub(super) confirmation_id: String,
    pub(super) status: &'static str,
    pub(super) status_url: String,
}

#[derive(Serialize)]
pub(super) struct StatusView {
    pub(super) confirmation_id: String,
    pub(super) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decision: Option<DecisionView>,
}

#[derive(Serialize)]
pub(super) struct DecisionView {
    confirmation_id: String,
    operation: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quality: Vec<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<CandidateView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage: Option<CoverageView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    liveness: LivenessView,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<String>,
    engine: String,
    valid_until: String,
    evaluated_at: String,
    decided_at: String,
    duration_ms: i64,
}

#[derive(Serialize)]
struct CandidateView {
    subject_id: String,
    position: &'static str,
    confidence: f64,
}

#[derive(Serialize)]
struct CoverageView {
    searched: i32,
    total: i32,
    templates: i64,
}

impl From<&Coverage> for CoverageView {
    fn from(coverage: &Coverage) -> Self {
        Self { searched: coverage.searched, total: coverage.total, templates: coverage.templates }
    }
}

#[derive(Serialize)]
struct LivenessView {
    status: &'static str,
}

impl DecisionView {
    /// What `caller` may see: candidates and the confidence of a non-match only with `biometric:analyze`, a sealed
    /// template only as the owner of the request.
    pub(super) fn new(decision: &Decision, details: Option<AnswerDetails>, caller: &Caller, owner: bool) -> Self {
        let details = details.unwrap_or_default();
        let analyze = caller.may(Permission::Analyze);
        let candidates = details.candidates.iter().filter(|_| analyze).map(|candidate| CandidateView {
            subject_id: candidate.subject_id.to_string(),
            position: candidate.position.as_str(),
            confidence: candidate.confidence,
        });
        Self {
            confirmation_id: decision.confirmation_id.to_string(),
            operation: decision.operation.as_str(),
            outcome: decision.outcome.as_str(),
            subject_id: decision.subject_id.as_ref().map(ToString::to_string),
            confidence: decision.confidence.or_else(|| details.confidence.filter(|_| analyze)),
            quality: decision.quality.clone(),
            candidates: candidates.collect(),
            coverage: decision.coverage.as_ref().map(Into::into),
            reason: decision.reason.map(ridgeline_domain::Reason::as_str),
            liveness: LivenessView { status: decision.liveness.as_str() },
            template: details.template.as_deref().filter(|_| owner).map(|template| STANDARD.encode(template)),
            engine: decision.engine.clone(),
            valid_until: rfc3339(decision.valid_until),
            evaluated_at: rfc3339(decision.evaluated_at),
            decided_at: rfc3339(decision.decided_at),
            duration_ms: decision.duration_ms,
        }
    }
}

/// A record of the public topic `decisions` as JSON, all of its fields.
pub(crate) fn decision_record(decision: &Decision) -> serde_json::Value {
    serde_json::json!({
        "confirmation_id": decision.confirmation_id.to_string(),
        "operation": decision.operation.as_str(),
        "modality": decision.modality.map_or("none", ridgeline_domain::Modality::as_str),
        "outcome": decision.outcome.as_str(),
        "reason": decision.reason.map(ridgeline_domain::Reason::as_str),
        "subject_id": decision.subject_id.as_ref().map(ToString::to_string),
        "agent": decision.agent.to_string(),
        "reader": decision.reader.as_ref().map(ToString::to_string),
        "quality": decision.quality,
        "confidence": decision.confidence,
        "confidence_basis": decision.confidence_basis,
        "liveness": { "status": decision.liveness.as_str() },
        "coverage": decision.coverage.as_ref().map(|coverage| serde_json::json!({
            "searched": coverage.searched,
            "total": coverage.total,
            "templates": coverage.templates,
            "missing": coverage.missing,
        })),
        "engine": decision.engine,
        "gallery_version": decision.gallery_version,
        "session_requested": decision.session_requested,
        "valid_until": rfc3339(decision.valid_until),
        "evaluated_at": rfc3339(decision.evaluated_at),
        "decided_at": rfc3339(decision.decided_at),
        "duration_ms": decision.duration_ms,
    })
}
