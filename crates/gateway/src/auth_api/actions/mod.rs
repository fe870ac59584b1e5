//! Actions that must be approved: initiated with a user's token, signed on devices, redeemed once by who initiated them.

mod find;
mod view;
mod watch;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use ridgeline_domain::{ActionId, AuthOperation, ErrorCode};
use ridgeline_vault::{CANONICAL_BYTES_MAX, DEVICE_SIGNATURE_CHARS_MAX, DeviceSignature, canonical_json};
use ridgeline_wire::action::{ActionStart, ActionVote};
use ridgeline_wire::auth::AuthBody;

use super::call::{Call, Caller, Limited, end};
use super::command::{Command, carry_out};
use super::fields::{Fields, wrong};
use super::rate::Category;
use super::registration::ID_RULE;
use crate::body::Incoming;
use crate::gateway::{Shared, State};
use crate::problem::Problem;

pub(crate) use find::pending;
pub(super) use view::answered;
pub(crate) use watch::{events, status};

const CATEGORY: Category = Category::Confirmation;
/// How long an action waits, unless something shorter is asked for.
const LIFE_SECONDS: i64 = 300;
const LIFE_SECONDS_MIN: i64 = 120;
const REASON_CHARS_MAX: usize = 500;
const CALLBACK_BYTES_MAX: usize = 2048;
const DISPLAY_CODE_CHARS: usize = 2;

type Id = Result<Path<String>, PathRejection>;

/// The id in the path. One that cannot be is as unknown as one that is not.
fn action_id(path: Id) -> Result<ActionId, Problem> {
    path.ok().and_then(|Path(id)| id.parse().ok()).ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is no such confirmation")
}

/// `POST /api/v1/auth/confirmation/initiate`
pub(crate) async fn initiate(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let (call, mut incoming) = Call::of(&state, request);
    let answer = begin(&state, &call, &mut incoming).await;
    end(incoming, answer).await
}

async fn begin(shared: &Shared, call: &Call, incoming: &mut Incoming) -> Result<Response, Problem> {
    let auth = call.admit(shared, CATEGORY)?;
    let user = call.user(auth).await?;
    call.limit(shared, CATEGORY, &Limited::User(&user.user))?;
    let action = start(call.fields(shared, incoming).await?)?;
    let body = AuthBody { action: Some(action), ..call.body() };
    let command = Command::starting(shared, AuthOperation::InitiateAction, body);
    carry_out(shared, call, StatusCode::CREATED, command).await
}

/// The fields of a new action. The payload is read as strictly as whoever signs it will.
fn start(mut fields: Fields) -> Result<ActionStart, Problem> {
    let action_type = fields.parsed("actionType")?;
    let payload = fields.object("actionPayload")?.ok_or_else(|| wrong("actionPayload", "is required"))?;
    let payload = canonical_json(payload.expose()).map_err(|error| wrong("actionPayload", &error.to_string()))?;
    if payload.len() > CANONICAL_BYTES_MAX {
        return Err(wrong("actionPayload", &format!("must have at most {CANONICAL_BYTES_MAX} bytes")));
    }
    let life = fields.integer("requestedExpirySeconds")?.unwrap_or(LIFE_SECONDS);
    if !(LIFE_SECONDS_MIN..=LIFE_SECONDS).contains(&life) {
        let rule = format!("must be between {LIFE_SECONDS_MIN} and {LIFE_SECONDS}");
        return Err(wrong("requestedExpirySeconds", &rule));
    }
    let callback_url = fields.optional("callbackUrl")?;
    if callback_url.as_ref().is_some_and(|url| !is_callback(url.expose())) {
        let rule = format!("must be a URL of at most {CALLBACK_BYTES_MAX} bytes");
        return Err(wrong("callbackUrl", &rule));
    }
    Ok(ActionStart {
        action_type,
        payload,
        language: fields.ruled_optional("language", "must be vi or en")?,
        display_code: fields.flag("displayCode")?.unwrap_or(false),
        callback_url: callback_url.map(|url| url.expose().clone()),
        life_seconds: i32::try_from(life).map_err(|_| wrong("requestedExpirySeconds", "is too large"))?,
    })
}

/// Whether it may be one at all; the auth worker knows what is allowed.
fn is_callback(url: &str) -> bool {
    (1..=CALLBACK_BYTES_MAX).contains(&url.len()) && !url.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// `POST /api/v1/auth/confirmation/{id}/verify`
pub(crate) async fn verify(Extract(state): Extract<State>, path: Id, request: Request) -> Result<Response, Problem> {
    let (call, mut incoming) = Call::of(&state, request);
    let answer = vote(&state, &call, path, &mut incoming).await;
    end(incoming, answer).await
}

async fn vote(shared: &Shared, call: &Call, path: Id, incoming: &mut Incoming) -> Result<Response, Problem> {
    let auth = call.admit(shared, CATEGORY)?;
    let Caller::Device(device) = call.user_or_device(shared, auth).await? else {
        return Err(Problem::plain(ErrorCode::CredentialRefused));
    };
    call.limit(shared, CATEGORY, &Limited::User(&device.user))?;
    let action = action_id(path)?;
    let mut fields = call.fields(shared, incoming).await?;
    let signature = fields.text("signedChallenge")?;
    DeviceSignature::from_text(signature.expose()).map_err(|_| {
        let rule =
            format!("must be a signature in base64 or base64url, at most {DEVICE_SIGNATURE_CHARS_MAX} characters");
        wrong("signedChallenge", &rule)
    })?;
    let display_code = fields.optional("displayCode")?;
    let is_code = |code: &str| code.len() == DISPLAY_CODE_CHARS && code.bytes().all(|byte| byte.is_ascii_digit());
    if display_code.as_ref().is_some_and(|code| !is_code(code.expose())) {
        return Err(wrong("displayCode", "must be two digits"));
    }
    let vote = ActionVote {
        device_id: fields.ruled("deviceId", ID_RULE)?,
        signature: signature.expose().clone(),
        display_code: display_code.map(|code| code.expose().clone()),
    };
    if vote.device_id != device.device {
        return Err(Problem::plain(ErrorCode::CredentialRefused));
    }
    let body = AuthBody { action_id: Some(action), vote: Some(vote), ..call.body() };
    let command = Command::about(shared, AuthOperation::ApproveAction, action, body);
    carry_out(shared, call, StatusCode::OK, command).await
}

/// `POST /api/v1/auth/confirmation/{id}/reject`
pub(crate) async fn reject(Extract(state): Extract<State>, path: Id, request: Request) -> Result<Response, Problem> {
    let (call, mut incoming) = Call::of(&state, request);
    let answer = refuse(&state, &call, path, &mut incoming).await;
    end(incoming, answer).await
}

async fn refuse(shared: &Shared, call: &Call, path: Id, incoming: &mut Incoming) -> Result<Response, Problem> {
    let auth = call.admit(shared, CATEGORY)?;
    let caller = call.user_or_device(shared, auth).await?;
    call.limit(shared, CATEGORY, &Limited::User(caller.user()))?;
    let action = action_id(path)?;
    // There need not be a reason, nor a body.
    let reason =
        if incoming.is_declared_empty() { None } else { call.fields(shared, incoming).await?.optional("reason")? };
    let is_reason = |text: &str| text.chars().count() <= REASON_CHARS_MAX && !text.chars().any(char::is_control);
    if reason.as_ref().is_some_and(|reason| !is_reason(reason.expose())) {
        let rule = format!("must have at most {REASON_CHARS_MAX} characters and no control characters");
        return Err(wrong("reason", &rule));
    }
    let reason = reason.map(|reason| reason.expose().clone()).filter(|reason| !reason.is_empty());
    let body = AuthBody { action_id: Some(action), reason, ..call.body() };
    let command = Command::about(shared, AuthOperation::RejectAction, action, body);
    carry_out(shared, call, StatusCode::OK, command).await
}

/// `POST /api/v1/auth/confirmation/{id}/redeem`
pub(crate) async fn redeem(Extract(state): Extract<State>, path: Id, request: Request) -> Result<Response, Problem> {
    let (call, mut incoming) = Call::of(&state, request);
    let answer = use_up(&state, &call, path, &mut incoming).await;
    end(incoming, answer).await
}

async fn use_up(shared: &Shared, call: &Call, path: Id, incoming: &mut Incoming) -> Result<Response, Problem> {
    let auth = call.admit(shared, CATEGORY)?;
    let user = call.user(auth).await?;
    call.limit(shared, CATEGORY, &Limited::User(&user.user))?;
    let action = action_id(path)?;
    let token = call.fields(shared, incoming).await?.text("confirmationToken")?;
    let body = AuthBody { action_id: Some(action), action_token: Some(token.expose().clone()), ..call.body() };
    let command = Command::about(shared, AuthOperation::RedeemAction, action, body);
    carry_out(shared, call, StatusCode::OK, command).await
}

/// `POST /api/v1/auth/confirmation/{id}/received`
pub(crate) async fn received(Extract(state): Extract<State>, path: Id, request: Request) -> Result<Response, Problem> {
    let (call, _) = Call::of(&state, request);
    let auth = call.admit(&state, CATEGORY)?;
    let Caller::Device(device) = call.user_or_device(&state, auth).await? else {
        return Err(Problem::plain(ErrorCode::CredentialRefused));
    };
    call.limit(&state, CATEGORY, &Limited::User(&device.user))?;
    let action = action_id(path)?;
    let body = AuthBody { action_id: Some(action), ..call.body() };
    let command = Command::about(&state, AuthOperation::ReceiveAction, action, body);
    carry_out(&state, &call, StatusCode::OK, command).await
}

/// Only this query, or none.
fn only_pending(RawQuery(query): RawQuery) -> Result<(), Problem> {
    match query.as_deref() {
        None | Some("" | "status=pending") => Ok(()),
        Some(_) => Err(Problem::field(ErrorCode::MalformedRequest, "/status", "must be pending, the only one listed")),
    }
}
