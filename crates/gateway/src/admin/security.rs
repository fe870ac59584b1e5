//! Operators end tokens, look at devices and export evidence. The auth workers carry it out; the order is sealed with the
//! deployment's keys, which whoever can only write to the log does not have.

use axum::extract::{Request, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use ridgeline_domain::{ActionId, AuthOperation, ErrorCode, Refusal, Timestamp, UserId};
use ridgeline_identity::normalised_email;
use ridgeline_identity::revocation::RevocationKind;
use ridgeline_ports::{RowKey, TraceContext};
use ridgeline_vault::order_seal;
use ridgeline_wire::action::RevocationOrder;
use ridgeline_wire::auth::{AuthBody, AuthReply};
use ridgeline_wire::auth_row::{DeviceRow, UserDevicesRow, UserRow, table};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{PAGE_ROWS, read};
use crate::auth_api::Command;
use crate::gateway::{Shared, State};
use crate::problem::Problem;
use crate::scan::json_response;
use crate::text::rfc3339;

/// Where a command of an operator comes from, in audit.
const ADDRESS: &str = "operator";
const EVIDENCE: &str = "evidence";
/// One answer lists no more devices.
const DEVICES_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    kind: String,
    id: String,
    /// Milliseconds since the epoch.
    before: Option<i64>,
}

/// `POST /admin/revocations`
pub(crate) async fn revoke(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let Order { kind, id, before } = read(&state, request).await?;
    let wrong = |pointer: &str, detail: &str| Problem::field(ErrorCode::MalformedRequest, pointer, detail);
    let parsed =
        RevocationKind::from_word(&kind).ok_or_else(|| wrong("/kind", "must be user, device, family or all"))?;
    let id = match parsed {
        RevocationKind::User => user(&state, &id).await?.to_string(),
        RevocationKind::Device | RevocationKind::Family if id.len() != 32 => {
            return Err(wrong("/id", "must be 32 lower-case hexadecimal digits"));
        }
        RevocationKind::All if !id.is_empty() => return Err(wrong("/id", "must be empty for all")),
        _ => id,
    };
    if before.is_some() && parsed != RevocationKind::All && parsed != RevocationKind::User {
        return Err(wrong("/before", "does not apply: a device or a family ends as a whole"));
    }
    let before = before.map(Timestamp::from_millis);
    let order = RevocationOrder { kind: kind.clone(), id: id.clone(), before };
    let body = AuthBody { revocation: Some(order), ..AuthBody::default() };
    let reply = ordered(&state, AuthOperation::Revoke, (&kind, &id), format!("{kind}:{id}"), body).await?;
    tracing::warn!(kind, "tokens revoked by an operator");
    // Of users and all a time is noted; nobody counts what it ends.
    let sessions = reply.revoked.filter(|_| matches!(parsed, RevocationKind::Device | RevocationKind::Family));
    Ok(json_response(StatusCode::OK, &json!({ "kind": kind, "id": id, "sessions_ended": sessions })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    confirmation_id: String,
}

/// `POST /admin/evidence`
pub(crate) async fn evidence(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let Wanted { confirmation_id } = read(&state, request).await?;
    let action: ActionId = confirmation_id.parse().map_err(|_| {
        let detail = "must be 32 lower-case hexadecimal digits";
        Problem::field(ErrorCode::MalformedRequest, "/confirmation_id", detail)
    })?;
    let body = AuthBody { action_id: Some(action), ..AuthBody::default() };
    let id = action.to_string();
    let reply = ordered(&state, AuthOperation::ExportEvidence, (EVIDENCE, &id), id.clone(), body).await?;
    let evidence = reply.evidence.ok_or_else(|| Problem::unavailable("the auth workers are of an earlier version"))?;
    let keys = state.device_auth()?.jwks(state.parts.clock.now()).await?;
    Ok(json_response(StatusCode::OK, &json!({ "confirmation_id": id, "evidence": evidence, "jwks": keys })))
}

/// Has an order carried out.
async fn ordered(
    shared: &Shared,
    operation: AuthOperation,
    (kind, id): (&str, &str),
    key: String,
    body: AuthBody,
) -> Result<AuthReply, Problem> {
    let request = shared.parts.entropy.request_id();
    let credential = Some(order_seal(&shared.parts.vault, request, kind, id));
    let body = AuthBody { credential, address: ADDRESS.to_owned(), ..body };
    let command = Command::ordered(request, operation, key, body);
    let reply = command.carried_out(shared, TraceContext::about(request)).await?;
    match reply.refusal {
        None => Ok(reply),
        Some(Refusal::UnknownDevice | Refusal::UnknownAction) => Err(Problem::not_found()),
        Some(refusal) => Err(Problem::plain(refusal.code())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    user: Option<String>,
    #[serde(default)]
    removed: bool,
}

#[derive(Serialize)]
struct DeviceView {
    device_id: String,
    user: String,
    name: String,
    r#type: &'static str,
    key_algorithm: &'static str,
    proves_possession: bool,
    has_push_token: bool,
    is_active: bool,
    roles: Vec<String>,
    last_used_at: String,
    created_at: String,
}

impl DeviceView {
    fn new(row: DeviceRow) -> Self {
        Self {
            device_id: row.device_id.to_string(),
            user: row.user.to_string(),
            name: row.name.to_string(),
            r#type: row.device_type.as_str(),
            key_algorithm: row.key_algorithm.as_str(),
            proves_possession: row.proof_key.is_some(),
            has_push_token: row.push_token.is_some(),
            is_active: row.is_active,
            roles: row.roles,
            last_used_at: rfc3339(row.last_used_at),
            created_at: rfc3339(row.created_at),
        }
    }
}

/// `POST /admin/devices`: those of a user, or all. No path holds a user.
pub(crate) async fn devices(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let Whose { user: whose, removed } = read(&state, request).await?;
    let mut rows = match whose {
        Some(whose) if !removed => of_user(&state, &user(&state, &whose).await?).await?,
        whose => {
            let whose = match whose {
                Some(whose) => Some(user(&state, &whose).await?),
                None => None,
            };
            all(&state, |row| (removed || row.is_active) && whose.as_ref().is_none_or(|whose| row.user == *whose))
                .await?
        }
    };
    rows.retain(|row| removed || row.is_active);
    rows.sort_by(|a, b| (&a.user, a.created_at, a.device_id).cmp(&(&b.user, b.created_at, b.device_id)));
    let views: Vec<_> = rows.into_iter().map(DeviceView::new).collect();
    Ok(json_response(StatusCode::OK, &views))
}

async fn of_user(shared: &Shared, user: &UserId) -> Result<Vec<DeviceRow>, Problem> {
    let store = &shared.parts.store;
    let Some(list) = store.get(table::USER_DEVICES, &RowKey::single(user.as_str())).await? else {
        return Ok(Vec::new());
    };
    let list: UserDevicesRow = ridgeline_wire::decode(&list.value)?;
    let mut rows = Vec::with_capacity(list.devices.len());
    for device in list.devices {
        let row = store.get(table::DEVICES, &RowKey::single(device.device_id.to_string())).await?;
        rows.extend(row.map(|row| ridgeline_wire::decode::<DeviceRow>(&row.value)).transpose()?);
    }
    Ok(rows)
}

async fn all(shared: &Shared, wanted: impl Fn(&DeviceRow) -> bool) -> Result<Vec<DeviceRow>, Problem> {
    let (mut rows, mut from) = (Vec::new(), None);
    loop {
        let page = shared.parts.store.scan(table::DEVICES, from.as_ref(), PAGE_ROWS).await?;
        for (_, row) in &page.rows {
            rows.push(ridgeline_wire::decode::<DeviceRow>(&row.value)?);
        }
        rows.retain(&wanted);
        if rows.len() > DEVICES_MAX {
            let detail = format!("there are more than {DEVICES_MAX} devices; name a user");
            return Err(Problem::new(ErrorCode::MalformedRequest, detail));
        }
        from = page.next;
        if from.is_none() {
            return Ok(rows);
        }
    }
}

/// The user of a `sub`, of `issuer|sub`, or of the e-mail address of one of the service's own.
async fn user(shared: &Shared, whom: &str) -> Result<UserId, Problem> {
    let auth = shared.device_auth()?;
    let wrong =
        || Problem::field(ErrorCode::MalformedRequest, "/user", "must be an e-mail address, a sub or issuer|sub");
    let Some(email) = normalised_email(whom).filter(|_| !whom.contains('|')) else {
        return auth.user(whom).ok_or_else(wrong);
    };
    let row = shared.parts.store.get(table::USERS, &RowKey::single(email)).await?;
    let row = row.map(|row| ridgeline_wire::decode::<UserRow>(&row.value)).transpose()?;
    let unknown = || Problem::new(ErrorCode::NotFound, "there is no user of this e-mail address");
    auth.user(&row.ok_or_else(unknown)?.user_id).ok_or_else(wrong)
}
