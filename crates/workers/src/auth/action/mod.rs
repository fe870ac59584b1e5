//! Actions that must be approved: initiated on the web, shown and signed on phones, redeemed once by who initiated them.
//!
//! The action's row decides everything about it (V-3); index, timer and the user's list of open actions are written around it and
//! may be behind.

mod approve;
mod evidence;
mod finish;
mod initiate;
mod receive;

use std::collections::BTreeSet;

use ridgeline_domain::{ActionId, DurationMs, ErrorCode, Refusal, Sensitive, Timestamp, UserId};
use ridgeline_flow::auth::{Action, Step, Steps};
use ridgeline_ports::RowKey;
use ridgeline_runtime::StepError;
use ridgeline_wire::action::{ActionReply, Notice};
use ridgeline_wire::action_row::{ActionRow, ActionStep, table};
use ridgeline_wire::auth::AuthReply;
use ridgeline_wire::auth_row::ClientDetails;
use ridgeline_wire::encode;
use serde_json::json;

use super::rows::{Loaded, load, open, replace, seal};
use super::{Halt, Work};
use crate::platform::{vault_fault, wire_fault};

/// Words of [`Notice::kind`].
pub(crate) mod notice {
    /// An approver is asked.
    pub(crate) const REQUEST: &str = "confirmation_request";
    /// The initiating client is told of the end.
    pub(crate) const CALLBACK: &str = "callback";
}

impl Work<'_> {
    /// The action that the command is about.
    async fn action(&mut self) -> Result<Loaded<ActionRow>, Halt> {
        let id = *self.needed(&self.command.body.action_id)?;
        self.action_of(id).await
    }

    async fn action_of(&mut self, id: ActionId) -> Result<Loaded<ActionRow>, Halt> {
        self.about.action = Some(id);
        let loaded = load::<ActionRow>(&self.auth.platform, table::ACTIONS, &id.to_string()).await?;
        loaded.ok_or_else(|| Refusal::UnknownAction.into())
    }

    /// Writes the action as it was changed, under the version that was read.
    async fn changed(&self, mut loaded: Loaded<ActionRow>) -> Result<ActionRow, Halt> {
        loaded.row.updated_at = self.command.now;
        let key = loaded.row.action_id.to_string();
        replace(&self.auth.platform, table::ACTIONS, &key, &loaded, Some(forgotten_at(&loaded.row))).await?;
        Ok(loaded.row)
    }

    fn sealed_for(&self, action: ActionId, column: &str, plaintext: &[u8]) -> Result<Vec<u8>, StepError> {
        seal(&self.auth.platform, table::ACTIONS, &action.to_string(), column, plaintext)
    }

    fn opened_of(&self, action: ActionId, column: &str, ciphertext: &[u8]) -> Result<Sensitive<String>, StepError> {
        let bytes = open(&self.auth.platform, table::ACTIONS, &action.to_string(), column, ciphertext)?;
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| damaged())?;
        Ok(Sensitive::new(text.to_owned()))
    }

    /// Where the command comes from, for the row.
    fn sealed_caller(&self, action: ActionId, column: &str) -> Result<Vec<u8>, StepError> {
        let body = &self.command.body;
        let details = ClientDetails { address: body.address.clone(), user_agent: body.user_agent.clone() };
        self.sealed_for(action, column, &encode(&details).map_err(wire_fault)?)
    }

    /// An action that is final waits for nobody any more; the initiating client is told, if it asked for that.
    async fn ended(&mut self, row: &ActionRow) -> Result<(), StepError> {
        for approver in approvers_of(row) {
            let key = RowKey::new(approver.as_str(), row.action_id.to_string());
            self.auth.platform.store.delete(table::ACTION_INBOX, &key, self.command.now).await?;
        }
        if row.callback_url.is_none() {
            return Ok(());
        }
        let at = row.finished_at.unwrap_or(self.command.now);
        let statement = self.statement_of_end(row, at).await?;
        self.follows.notices.push(Notice {
            request_id: self.command.id,
            kind: notice::CALLBACK.to_owned(),
            action_id: row.action_id,
            user: row.user.clone(),
            devices: Vec::new(),
            statement: Some(statement),
            created_at: at,
            expires_at: at.plus(CALLBACK_LIFE),
        });
        Ok(())
    }

    /// A Security Event Token (RFC 8417) of an action's end. What the action was about is not in it.
    async fn statement_of_end(&self, row: &ActionRow, at: Timestamp) -> Result<String, StepError> {
        let identity = &self.auth.parts.identity;
        let seconds = at.millis().div_euclid(1_000);
        let claims = json!({
            "iss": self.auth.parts.config.issuer,
            "iat": seconds,
            "jti": format!("{}:{}", row.action_id, row.status),
            "sub_id": { "format": "opaque", "id": identity.subject(&row.user) },
            "events": { EVENT_ENDED: {
                "confirmationId": row.action_id.to_string(),
                "status": row.status.as_str(),
                "actionType": row.action_type.to_string(),
                "event_timestamp": seconds,
            } },
        });
        let key = self.auth.keys.at(self.command.now).await?;
        key.state(SECURITY_EVENT, &claims).map_err(|error| vault_fault(&error))
    }
}

/// `typ` of a Security Event Token.
const SECURITY_EVENT: &str = "secevent+jwt";
/// What it tells of.
const EVENT_ENDED: &str = "urn:ridgeline:event:confirmation-ended";
/// A callback that could not be delivered by then is given up.
const CALLBACK_LIFE: DurationMs = DurationMs::from_secs(15 * 60);
/// A row counts for this long after its end: evidence is exported from it.
const KEPT: DurationMs = DurationMs::from_days(90);

fn forgotten_at(row: &ActionRow) -> Timestamp {
    row.expires_at.plus(KEPT)
}

/// What deciding code sees of an action.
fn of_row(row: &ActionRow) -> Action {
    Action {
        status: row.status,
        expires_at: row.expires_at,
        steps: steps_of(row),
        approvals: row.approvals.iter().map(|one| (one.user.clone(), one.request_id)).collect(),
        wrong_codes: row.wrong_codes.iter().map(|wrong| wrong.request_id).collect(),
        finished_by: row.finished_by,
        token_expires_at: row.token_expires_at,
        redeemed_by: row.redeemed_by,
    }
}

fn steps_of(row: &ActionRow) -> Steps {
    steps_in(row.in_order, &row.steps)
}

fn steps_in(in_order: bool, steps: &[ActionStep]) -> Steps {
    let of = |step: &ActionStep| Step {
        approvers: step.approvers.clone(),
        // What is no count is one that nobody reaches.
        required: usize::try_from(step.required).unwrap_or(usize::MAX),
    };
    Steps { in_order, steps: steps.iter().map(of).collect() }
}

/// Everybody who may approve, once.
fn approvers_of(row: &ActionRow) -> BTreeSet<&UserId> {
    row.steps.iter().flat_map(|step| &step.approvers).collect()
}

/// How far the action is, and nothing secret.
fn status_of(row: &ActionRow) -> AuthReply {
    let action = ActionReply {
        action_id: row.action_id,
        status: row.status,
        action_type: row.action_type.clone(),
        challenge: None,
        display_code: None,
        expires_at: row.expires_at,
        notified_devices: 0,
        redeemed_at: None,
    };
    AuthReply { action: Some(action), ..AuthReply::default() }
}

fn damaged() -> StepError {
    StepError::poison(ErrorCode::Internal, "a stored action cannot be read")
}
