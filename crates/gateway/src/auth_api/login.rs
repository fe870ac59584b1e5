//! Users and devices sign in and stay signed in.

use axum::extract::{Request, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use ridgeline_domain::{AuthOperation, DeviceFingerprint};
use ridgeline_identity::{EMAIL_RULE, normalised_email};
use ridgeline_vault::password::PASSWORD_BYTES_MAX;
use ridgeline_wire::auth::{AuthBody, LoginStart, PasswordLogin};

use super::call::{Call, Limited, end};
use super::command::{Command, carry_out};
use super::fields::wrong;
use super::rate::Category;
use super::registration::{ID_RULE, challenge_answer};
use crate::body::Incoming;
use crate::gateway::{Shared, State};
use crate::problem::Problem;

const REFRESH_TOKEN_BYTES_MAX: usize = 8 << 10;

/// `POST /api/v1/auth/login`
pub(crate) async fn web_login(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let (call, mut incoming) = Call::of(&state, request);
    let answer = send_password(&state, &call, &mut incoming).await;
    end(incoming, answer).await
}

async fn send_password(shared: &Shared, call: &Call, incoming: &mut Incoming) -> Result<Response, Problem> {
    call.admit(shared, Category::Authentication)?;
    let mut fields = call.fields(shared, incoming).await?;
    let email = fields.text("email")?;
    let normalised = normalised_email(email.expose()).ok_or_else(|| wrong("email", EMAIL_RULE))?;
    let password = fields.text("password")?;
    if !(1..=PASSWORD_BYTES_MAX).contains(&password.expose().len()) {
        return Err(wrong("password", &format!("must have between 1 and {PASSWORD_BYTES_MAX} bytes")));
    }
    call.limit(shared, Category::Authentication, &Limited::Email(&normalised))?;
    // Spaces around it are no part of it and have no limit.
    let email = email.expose().trim_matches(' ').to_owned();
    let login = PasswordLogin { email, password: password.expose().clone() };
    let body = AuthBody { password: Some(login), credential: None, ..call.body() };
    let command = Command::opening(shared, AuthOperation::WebLogin, body);
    carry_out(shared, call, StatusCode::OK, command).await
}

/// `POST /api/v1/auth/mobile/challenge`
pub(crate) async fn challenge(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let (call, mut incoming) = Call::of(&state, request);
    let answer = ask_challenge(&state, &call, &mut incoming).await;
    end(incoming, answer).await
}

async fn ask_challenge(shared: &Shared, call: &Call, incoming: &mut Incoming) -> Result<Response, Problem> {
    call.admit(shared, Category::Authentication)?;
    let mut fields = call.fields(shared, incoming).await?;
    let device_fingerprint: DeviceFingerprint = fields.parsed("deviceFingerprint")?;
    let device_id = fields.ruled_optional("deviceId", ID_RULE)?;
    call.limit(shared, Category::Authentication, &Limited::Fingerprint(device_fingerprint.as_str()))?;
    let login = LoginStart { device_fingerprint, device_id };
    let body = AuthBody { login: Some(login), credential: None, ..call.body() };
    let command = Command::opening(shared, AuthOperation::LoginChallenge, body);
    carry_out(shared, call, StatusCode::OK, command).await
}

/// `POST /api/v1/auth/mobile/biometric`
pub(crate) async fn login(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let (call, mut incoming) = Call::of(&state, request);
    let answer = send_answer(&state, &call, &mut incoming).await;
    end(incoming, answer).await
}

async fn send_answer(shared: &Shared, call: &Call, incoming: &mut Incoming) -> Result<Response, Problem> {
    call.admit(shared, Category::Authentication)?;
    let answer = challenge_answer(&mut call.fields(shared, incoming).await?)?;
    let session = answer.session_id;
    let body = AuthBody { answer: Some(answer), credential: None, ..call.body() };
    let command = Command::about(shared, AuthOperation::Login, session, body);
    carry_out(shared, call, StatusCode::OK, command).await
}

/// `POST /api/v1/auth/mobile/refresh`
pub(crate) async fn refresh(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let (call, mut incoming) = Call::of(&state, request);
    let answer = send_refresh_token(&state, &call, &mut incoming).await;
    end(incoming, answer).await
}

/// Only the token itself is checked here. Whether it is the live one, and its proof, is the worker's to judge: a stolen token without a
/// proof must end its family too.
async fn send_refresh_token(shared: &Shared, call: &Call, incoming: &mut Incoming) -> Result<Response, Problem> {
    let auth = call.admit(shared, Category::Authentication)?;
    let token = call.fields(shared, incoming).await?.text("refreshToken")?;
    if !(1..=REFRESH_TOKEN_BYTES_MAX).contains(&token.expose().len()) {
        return Err(wrong("refreshToken", &format!("must have between 1 and {REFRESH_TOKEN_BYTES_MAX} bytes")));
    }
    let caller = auth.parts.identity.refresh(token.expose(), call.now).await?;
    call.limit(shared, Category::Authentication, &Limited::Family(caller.family.to_string()))?;
    let body = AuthBody { refresh_token: Some(token.expose().clone()), credential: None, ..call.body() };
    let command = Command::about(shared, AuthOperation::Refresh, caller.family, body);
    carry_out(shared, call, StatusCode::OK, command).await
}
