//! What callers see of an action.

use axum::http::StatusCode;
use axum::response::Response;
use ridgeline_domain::{ActionStatus, AuthOperation, Timestamp};
use ridgeline_ports::RowKey;
use ridgeline_vault::{Aad, Purpose};
use ridgeline_wire::action::ActionReply;
use ridgeline_wire::action_row::{ActionRow, table};
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::DeviceAuth;
use super::super::call::Caller;
use super::super::command::incomplete;
use super::super::view::data;
use crate::gateway::Shared;
use crate::problem::Problem;
use crate::text::rfc3339;

/// An action, as far as this caller may see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seen {
    confirmation_id: String,
    status: &'static str,
    action_type: String,
    /// As it was signed: in canonical form.
    action_payload: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge: Option<String>,
    approvals: Vec<Given>,
    required_approvals: i64,
    needs_display_code: bool,
    created_at: String,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation_token: Option<String>,
}

#[derive(Serialize)]
struct Given {
    approver: String,
    at: String,
}

/// The action for a caller who may see it: the challenge only to devices, the token only to the initiating client.
pub(super) fn seen(
    shared: &Shared,
    auth: &DeviceAuth,
    row: &ActionRow,
    caller: &Caller,
    now: Timestamp,
) -> Result<Seen, Problem> {
    let open = |purpose, column: &str, ciphertext: &[u8]| {
        let key = RowKey::single(row.action_id.to_string());
        let bytes = shared.parts.vault.open(purpose, &Aad::row(table::ACTIONS.name, &key, column), ciphertext)?;
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| incomplete())?;
        Ok::<_, Problem>(text.to_owned())
    };
    let is_pending = row.status == ActionStatus::Pending;
    let challenge = matches!(caller, Caller::Device(_)) && is_pending;
    let challenge = challenge.then(|| open(Purpose::Field, "challenge", &row.challenge)).transpose()?;
    let is_initiator = matches!(caller, Caller::User(user) if user.user == row.user && user.client == row.client);
    let lives = row.token_expires_at.is_some_and(|end| now < end);
    let token = row.token.as_deref().filter(|_| is_initiator && lives);
    let token = token.map(|token| open(Purpose::Answer, "token", token)).transpose()?;
    let payload = open(Purpose::Field, "payload", &row.payload)?;
    let ended = |status| (row.status == status).then_some(row.finished_at).flatten().map(rfc3339);
    let given = row
        .approvals
        .iter()
        .map(|approval| Given { approver: auth.parts.identity.subject(&approval.user), at: rfc3339(approval.at) });
    Ok(Seen {
        confirmation_id: row.action_id.to_string(),
        status: row.status.as_str(),
        action_type: row.action_type.to_string(),
        action_payload: RawValue::from_string(payload).map_err(|_| incomplete())?,
        challenge,
        approvals: given.collect(),
        required_approvals: row.steps.iter().map(|step| i64::from(step.required)).sum(),
        needs_display_code: row.display_code.is_some(),
        created_at: rfc3339(row.created_at),
        expires_at: rfc3339(row.expires_at),
        approved_at: ended(ActionStatus::Approved),
        rejected_at: ended(ActionStatus::Rejected),
        confirmation_token: token,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Initiated {
    confirmation_id: String,
    challenge: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_code: Option<String>,
    status: &'static str,
    expires_at: String,
    notified_devices: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decided {
    confirmation_id: String,
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Redeemed {
    confirmation_id: String,
    action_type: String,
    redeemed_at: String,
}

/// The answer of a command about an action.
pub(in super::super) fn answered(
    operation: AuthOperation,
    status: StatusCode,
    action: Option<ActionReply>,
) -> Result<Response, Problem> {
    let action = action.ok_or_else(incomplete)?;
    let (confirmation_id, word) = (action.action_id.to_string(), action.status.as_str());
    match operation {
        AuthOperation::InitiateAction => {
            let initiated = Initiated {
                confirmation_id,
                challenge: action.challenge.ok_or_else(incomplete)?,
                display_code: action.display_code,
                status: word,
                expires_at: rfc3339(action.expires_at),
                notified_devices: action.notified_devices,
            };
            Ok(data(status, initiated))
        }
        AuthOperation::RedeemAction => {
            let redeemed_at = action.redeemed_at.map(rfc3339).ok_or_else(incomplete)?;
            let action_type = action.action_type.to_string();
            Ok(data(status, Redeemed { confirmation_id, action_type, redeemed_at }))
        }
        _ => Ok(data(status, Decided { confirmation_id, status: word })),
    }
}
