//! A command to the auth workers and its answer.

use axum::http::StatusCode;
use axum::response::Response;
use ridgeline_domain::{ActionId, AuthOperation, ErrorCode, RequestId, SessionId};
use ridgeline_intake::AskedCommand;
use ridgeline_ports::{RowKey, TraceContext};
use ridgeline_vault::{Aad, Purpose, derive_id};
use ridgeline_wire::auth::{AuthBody, AuthReply};
use ridgeline_wire::auth_row::{AuthAnswerRow, table};
use tokio::time::Instant;

use super::call::Call;
use super::view;
use crate::gateway::Shared;
use crate::problem::Problem;
use crate::waiting::{Waiting, until_answered};

const NO_ANSWER: &str = "there was no answer in time; what was asked for may still be done";

/// What is asked.
pub(crate) struct Command {
    id: RequestId,
    operation: AuthOperation,
    /// The aggregate: commands about one are carried out one after the other.
    key: String,
    body: AuthBody,
}

impl Command {
    /// About an aggregate that exists.
    pub(super) fn about(shared: &Shared, operation: AuthOperation, key: impl ToString, body: AuthBody) -> Self {
        Self { id: shared.parts.entropy.request_id(), operation, key: key.to_string(), body }
    }

    /// One that opens a session of its own.
    pub(super) fn opening(shared: &Shared, operation: AuthOperation, body: AuthBody) -> Self {
        let id = shared.parts.entropy.request_id();
        Self { id, operation, key: SessionId::from_bytes(derive_id("session", id)).to_string(), body }
    }

    /// One that an operator ordered.
    pub(crate) const fn ordered(id: RequestId, operation: AuthOperation, key: String, body: AuthBody) -> Self {
        Self { id, operation, key, body }
    }

    /// Publishes the command and waits for its answer.
    ///
    /// # Errors
    /// `Unavailable` if none comes in time; the command may still be carried out.
    pub(crate) async fn carried_out(self, shared: &Shared, trace: TraceContext) -> Result<AuthReply, Problem> {
        let Self { id, operation, key, body } = self;
        let auth = shared.device_auth()?;
        let deadline = Instant::now() + shared.limits().command_time;
        let waiting = Waiting::register(shared, id, deadline, true)?;
        let command = AskedCommand { id, operation, key, body, trace };
        let (sealer, entropy) = (auth.sealer.clone(), shared.parts.entropy.clone());
        let record = shared.parts.cpu.run(move || sealer.record(command, entropy.as_ref())).await??;
        shared.parts.log.publish(record).await?;
        let answered = until_answered(shared, id, waiting, deadline, || stored(shared, id)).await?;
        answered.ok_or_else(|| Problem::unavailable(NO_ANSWER))
    }

    /// One that starts an action.
    pub(super) fn starting(shared: &Shared, operation: AuthOperation, body: AuthBody) -> Self {
        let id = shared.parts.entropy.request_id();
        Self { id, operation, key: ActionId::from_bytes(derive_id("action", id)).to_string(), body }
    }
}

/// Has the command carried out and renders its answer.
pub(super) async fn carry_out(
    shared: &Shared,
    call: &Call,
    status: StatusCode,
    command: Command,
) -> Result<Response, Problem> {
    let (operation, trace) = (command.operation, call.trace(command.id));
    view::reply(operation, status, command.carried_out(shared, trace).await?)
}

/// The answer of a request, if it is there and still counts.
async fn stored(shared: &Shared, id: RequestId) -> Result<Option<AuthReply>, Problem> {
    let key = RowKey::single(id.to_string());
    let row = shared.parts.store.peek(table::AUTH_ANSWERS, &key).await?;
    let now = shared.parts.clock.now();
    let Some(row) = row.filter(|row| row.expires_at.is_none_or(|expires| expires > now)) else { return Ok(None) };
    let row: AuthAnswerRow = ridgeline_wire::decode(&row.value)?;
    let aad = Aad::row(table::AUTH_ANSWERS.name, &key, "reply");
    let reply = shared.parts.vault.open(Purpose::Answer, &aad, &row.reply)?;
    Ok(Some(ridgeline_wire::decode(reply.expose())?))
}

/// An answer without what its command asked for.
pub(super) fn incomplete() -> Problem {
    tracing::error!("an answer of the auth workers lacks what was asked for");
    Problem::new(ErrorCode::Internal, "the request could not be processed")
}
