//! What callers see.

use axum::http::StatusCode;
use axum::response::Response;
use ridgeline_domain::{AuthOperation, Binding, ErrorCode, Refusal, Timestamp, TrustPolicy};
use ridgeline_wire::auth::{AuthReply, ChallengeReply, DeviceReply, PushReply, RemovedReply, TokensReply};
use ridgeline_wire::auth_row::DeviceRow;
use serde::Serialize;

use super::actions::answered;
use super::command::incomplete;
use crate::problem::Problem;
use crate::scan::json_response;
use crate::text::rfc3339;

#[derive(Serialize)]
struct Data<T> {
    data: T,
}

/// Success, in its envelope.
pub(super) fn data(status: StatusCode, data: impl Serialize) -> Response {
    json_response(status, &Data { data })
}

/// The answer of a command of this operation.
pub(super) fn reply(operation: AuthOperation, status: StatusCode, reply: AuthReply) -> Result<Response, Problem> {
    if let Some(refusal) = reply.refusal {
        return Err(refused(refusal, reply.detail));
    }
    let (challenge, tokens) = (reply.challenge.map(ChallengeView::from), reply.tokens);
    match operation {
        AuthOperation::RegisterChallenge | AuthOperation::LoginChallenge => shown(status, challenge),
        AuthOperation::Register => shown(status, reply.device.map(RegisteredView::from)),
        AuthOperation::Login | AuthOperation::Refresh => shown(status, tokens.map(TokensView::from)),
        AuthOperation::WebLogin => shown(status, tokens.map(WebTokenView::from)),
        AuthOperation::RemoveDevice => shown(status, reply.removed.map(RemovedView::from)),
        AuthOperation::SetPushToken => shown(status, reply.push.map(PushView::from)),
        AuthOperation::InitiateAction
        | AuthOperation::ApproveAction
        | AuthOperation::RejectAction
        | AuthOperation::RedeemAction
        | AuthOperation::ReceiveAction => answered(operation, status, reply.action),
        // Nobody asks for these here.
        AuthOperation::Expire | AuthOperation::Revoke | AuthOperation::ExportEvidence => Err(incomplete()),
    }
}

/// Actions wait five minutes at most; one of several is likely to end sooner.
const PENDING_RETRY_SECONDS: u64 = 60;

fn shown(status: StatusCode, view: Option<impl Serialize>) -> Result<Response, Problem> {
    view.map(|view| data(status, view)).ok_or_else(incomplete)
}

/// Only what is wrong with a sound request is told; all else has its code's words.
fn refused(refusal: Refusal, detail: Option<String>) -> Problem {
    let code = refusal.code();
    match (code.http_status(), detail) {
        (400 | 422, Some(detail)) => Problem::new(code, detail),
        _ if refusal == Refusal::UnknownAction => Problem::new(code, "there is no such confirmation"),
        _ if code == ErrorCode::NotFound => Problem::new(code, "there is no such device"),
        _ if code == ErrorCode::TooManyPending => Problem::plain(code).retry_after(PENDING_RETRY_SECONDS),
        _ => Problem::plain(code),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChallengeView {
    session_id: String,
    challenge: String,
    expires_at: String,
}

impl From<ChallengeReply> for ChallengeView {
    fn from(reply: ChallengeReply) -> Self {
        Self {
            session_id: reply.session_id.to_string(),
            challenge: reply.challenge,
            expires_at: rfc3339(reply.expires_at),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RegisteredView {
    device_id: String,
    device_name: String,
    trust_level: &'static str,
    created_at: String,
}

impl From<DeviceReply> for RegisteredView {
    fn from(reply: DeviceReply) -> Self {
        Self {
            device_id: reply.device_id.to_string(),
            device_name: reply.device_name.to_string(),
            trust_level: reply.trust_level.as_str(),
            created_at: rfc3339(reply.created_at),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokensView {
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    access_token_expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token_expires_at: Option<String>,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
}

impl From<TokensReply> for TokensView {
    fn from(reply: TokensReply) -> Self {
        Self {
            token_type: token_type(if reply.bound { Binding::Dpop } else { Binding::None }),
            access_token: reply.access_token,
            refresh_token: reply.refresh_token,
            access_token_expires_at: rfc3339(reply.access_expires_at),
            refresh_token_expires_at: reply.refresh_expires_at.map(rfc3339),
            device_id: reply.device_id.map(|id| id.to_string()),
            trust_level: reply.trust_level.map(ridgeline_domain::TrustLevel::as_str),
            session_id: reply.session_id.map(|id| id.to_string()),
        }
    }
}

const fn token_type(binding: Binding) -> &'static str {
    match binding {
        Binding::None => "Bearer",
        Binding::Dpop => "DPoP",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebTokenView {
    access_token: String,
    access_token_expires_at: String,
    token_type: &'static str,
}

impl From<TokensReply> for WebTokenView {
    fn from(reply: TokensReply) -> Self {
        Self {
            access_token: reply.access_token,
            access_token_expires_at: rfc3339(reply.access_expires_at),
            token_type: token_type(Binding::None),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RemovedView {
    device_id: String,
    revoked_tokens: i32,
}

impl From<RemovedReply> for RemovedView {
    fn from(reply: RemovedReply) -> Self {
        Self { device_id: reply.device_id.to_string(), revoked_tokens: reply.revoked_tokens }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PushView {
    device_id: String,
    updated_at: String,
}

impl From<PushReply> for PushView {
    fn from(reply: PushReply) -> Self {
        Self { device_id: reply.device_id.to_string(), updated_at: rfc3339(reply.updated_at) }
    }
}

/// One of a user's devices.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceView {
    device_id: String,
    device_name: String,
    device_type: &'static str,
    key_algorithm: &'static str,
    trust_level: &'static str,
    is_active: bool,
    has_push_token: bool,
    last_used_at: String,
    created_at: String,
}

impl DeviceView {
    pub(super) fn new(row: &DeviceRow, trust: &TrustPolicy, now: Timestamp) -> Self {
        let proves_possession = row.proof_thumbprint.is_some();
        let level = trust.level(row.key_algorithm, row.device_type, proves_possession, row.last_used_at, now);
        Self {
            device_id: row.device_id.to_string(),
            device_name: row.name.to_string(),
            device_type: row.device_type.as_str(),
            key_algorithm: row.key_algorithm.as_str(),
            trust_level: level.as_str(),
            is_active: row.is_active,
            has_push_token: row.push_token.is_some(),
            last_used_at: rfc3339(row.last_used_at),
            created_at: rfc3339(row.created_at),
        }
    }
}
