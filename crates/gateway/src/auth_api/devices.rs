//! A user's devices.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use futures::future::try_join_all;
use ridgeline_domain::{AuthOperation, DeviceId, ErrorCode, UserId};
use ridgeline_ports::RowKey;
use ridgeline_wire::auth::AuthBody;
use ridgeline_wire::auth_row::{DeviceRow, UserDevicesRow, table};

use super::call::{Call, Caller, Limited, end};
use super::command::{Command, carry_out};
use super::fields::wrong;
use super::rate::Category;
use super::registration::ID_RULE;
use super::view::{DeviceView, data};
use crate::body::Incoming;
use crate::gateway::{Shared, State};
use crate::problem::Problem;

const CATEGORY: Category = Category::DeviceManagement;
const PUSH_TOKEN_CHARS_MAX: usize = 255;

/// `GET /api/v1/auth/devices`
pub(crate) async fn list(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let (call, _) = Call::of(&state, request);
    let auth = call.admit(&state, CATEGORY)?;
    let caller = call.user_or_device(&state, auth).await?;
    call.limit(&state, CATEGORY, &Limited::User(caller.user()))?;
    let mut devices = active(&state, caller.user()).await?;
    devices.sort_by_key(|device| (device.created_at, device.device_id));
    let trust = &auth.parts.trust;
    let devices: Vec<_> = devices.iter().map(|device| DeviceView::new(device, trust, call.now)).collect();
    Ok(data(StatusCode::OK, devices))
}

/// The active devices of a user.
async fn active(shared: &Shared, user: &UserId) -> Result<Vec<DeviceRow>, Problem> {
    let store = &shared.parts.store;
    let Some(row) = store.peek(table::USER_DEVICES, &RowKey::single(user.as_str())).await? else {
        return Ok(Vec::new());
    };
    let row: UserDevicesRow = ridgeline_wire::decode(&row.value)?;
    let read = row.devices.iter().map(|device| async {
        let key = RowKey::single(device.device_id.to_string());
        let row = store.peek(table::DEVICES, &key).await?;
        Ok::<_, Problem>(row.map(|row| ridgeline_wire::decode::<DeviceRow>(&row.value)).transpose()?)
    });
    let devices = try_join_all(read).await?;
    // The list may be a moment ahead of a device's own row, or behind it.
    Ok(devices.into_iter().flatten().filter(|device| device.is_active && device.user == *user).collect())
}

/// `DELETE /api/v1/auth/devices/{deviceId}`
pub(crate) async fn remove(
    Extract(state): Extract<State>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (call, _) = Call::of(&state, request);
    let auth = call.admit(&state, CATEGORY)?;
    let caller = call.user_or_device(&state, auth).await?;
    call.limit(&state, CATEGORY, &Limited::User(caller.user()))?;
    let device = path.ok().and_then(|Path(id)| id.parse::<DeviceId>().ok());
    let device = device.ok_or_else(|| wrong("deviceId", ID_RULE))?;
    let body = AuthBody { device_id: Some(device), ..call.body() };
    let command = Command::about(&state, AuthOperation::RemoveDevice, device, body);
    carry_out(&state, &call, StatusCode::OK, command).await
}

/// `PUT /api/v1/auth/devices/fcm-token`
pub(crate) async fn set_push_token(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let (call, mut incoming) = Call::of(&state, request);
    let answer = send_push_token(&state, &call, &mut incoming).await;
    end(incoming, answer).await
}

async fn send_push_token(shared: &Shared, call: &Call, incoming: &mut Incoming) -> Result<Response, Problem> {
    let auth = call.admit(shared, CATEGORY)?;
    let caller = call.user_or_device(shared, auth).await?;
    call.limit(shared, CATEGORY, &Limited::User(caller.user()))?;
    let mut fields = call.fields(shared, incoming).await?;
    let token = fields.text("fcmToken")?;
    let is_valid = (1..=PUSH_TOKEN_CHARS_MAX).contains(&token.expose().len())
        && token.expose().bytes().all(|byte| byte.is_ascii_graphic());
    if !is_valid {
        let rule = format!("must have 1 to {PUSH_TOKEN_CHARS_MAX} printable characters of ASCII without spaces");
        return Err(wrong("fcmToken", &rule));
    }
    let named: Option<DeviceId> = fields.ruled_optional("deviceId", ID_RULE)?;
    let device = match (&caller, named) {
        (Caller::User(_), Some(named)) => named,
        (Caller::User(_), None) => return Err(wrong("deviceId", "is required with the token of a user")),
        (Caller::Device(own), None) => own.device,
        (Caller::Device(own), Some(named)) if named == own.device => named,
        (Caller::Device(_), Some(_)) => return Err(Problem::plain(ErrorCode::CredentialRefused)),
    };
    let body = AuthBody { device_id: Some(device), push_token: Some(token.expose().clone()), ..call.body() };
    let command = Command::about(shared, AuthOperation::SetPushToken, device, body);
    carry_out(shared, call, StatusCode::OK, command).await
}
