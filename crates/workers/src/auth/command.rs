//! The first look at a record of `auth.commands`: is it ours, and is it sealed to us for this request and key.

use ridgeline_domain::{ActionId, AgentId, AuthOperation, ErrorCode, RequestId, Timestamp};
use ridgeline_ports::{Record, TraceContext};
use ridgeline_runtime::StepError;
use ridgeline_vault::command::CommandBinding;
use ridgeline_vault::derive_id;
use ridgeline_wire::auth::{AuthBody, AuthCommand};
use ridgeline_wire::{WireError, decode};

use super::Auth;

/// A command that was opened.
pub(super) struct Command {
    pub(super) id: RequestId,
    pub(super) operation: AuthOperation,
    pub(super) sender: AgentId,
    pub(super) body: AuthBody,
    /// The key it lies under: the aggregate it is about.
    pub(super) key: String,
    /// Its append time: the `now` of everything about it.
    pub(super) now: Timestamp,
    pub(super) trace: TraceContext,
}

impl Command {
    /// Decodes the record and opens its body.
    ///
    /// # Errors
    /// Poison: no Avro of a known schema, a foreign key, or sealed to another key or for another request.
    pub(super) fn open(auth: &Auth, record: &Record) -> Result<Self, StepError> {
        let value = record
            .value
            .as_ref()
            .ok_or_else(|| StepError::poison(ErrorCode::RecordUndecodable, "a tombstone is no command"))?;
        let undecodable = |error: WireError| StepError::poison(error.code(), error.to_string());
        let command: AuthCommand = decode(value).map_err(undecodable)?;
        let key = std::str::from_utf8(&record.key)
            .map_err(|_| StepError::poison(ErrorCode::RecordInvalid, "the record's key is no text"))?;
        let binding = CommandBinding { request_id: command.request_id, kind: command.operation.as_str(), key };
        let body =
            auth.parts.opener.open(&command.body.key_id, &binding, &command.body.sealed).map_err(|_| {
                StepError::poison(ErrorCode::CannotBeOpened, "sealed to another key or another request")
            })?;
        let body: AuthBody = decode(body.expose()).map_err(undecodable)?;
        let command = Self {
            id: command.request_id,
            operation: command.operation,
            sender: command.sender,
            body,
            key: key.to_owned(),
            now: record.append_time,
            trace: TraceContext::of(&record.headers).unwrap_or_else(|| TraceContext::about(command.request_id)),
        };
        if !command.is_under_its_key() {
            return Err(StepError::poison(ErrorCode::RecordInvalid, "the record lies under a foreign key"));
        }
        Ok(command)
    }

    /// Commands about one aggregate share a lane. A refresh token's family is known once the token is verified; a foreign one is
    /// refused there.
    fn is_under_its_key(&self) -> bool {
        let own = |id: Option<String>| id.as_deref() == Some(self.key.as_str());
        match self.operation {
            AuthOperation::RegisterChallenge | AuthOperation::LoginChallenge | AuthOperation::WebLogin => {
                own(Some(self.new_session().to_string()))
            }
            AuthOperation::Register | AuthOperation::Login => {
                own(self.body.answer.as_ref().map(|answer| answer.session_id.to_string()))
            }
            AuthOperation::RemoveDevice | AuthOperation::SetPushToken => {
                own(self.body.device_id.map(|device| device.to_string()))
            }
            AuthOperation::Refresh => true,
            AuthOperation::InitiateAction => own(Some(ActionId::from_bytes(derive_id("action", self.id)).to_string())),
            AuthOperation::ApproveAction
            | AuthOperation::RejectAction
            | AuthOperation::RedeemAction
            | AuthOperation::ReceiveAction
            | AuthOperation::ExportEvidence => own(self.body.action_id.map(|action| action.to_string())),
            AuthOperation::Expire => own(self.body.due.as_ref().map(|due| due.id.clone())),
            AuthOperation::Revoke => {
                own(self.body.revocation.as_ref().map(|order| format!("{}:{}", order.kind, order.id)))
            }
        }
    }

    /// The id of the session that this command opens.
    pub(super) fn new_session(&self) -> ridgeline_domain::SessionId {
        ridgeline_domain::SessionId::from_bytes(derive_id("session", self.id))
    }
}
