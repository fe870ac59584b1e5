//! A command to the auth workers and its answer.

use axum::http::StatusCode;
use axum::response::Response;
use ridgeline_domain::{AuthOperation, ErrorCode, RequestId, Sensitive, SessionId};
use ridgeline_ports::{NewRecord, RowKey, TraceContext};
use ridgeline_vault::command::CommandBinding;
use ridgeline_vault::{Aad, Purpose, derive_id};
use ridgeline_wire::auth::{AuthBody, AuthCommand, AuthReply};
use ridgeline_wire::auth_row::{AuthAnswerRow, table};
use ridgeline_wire::message::SealedPart;
use tokio::time::Instant;

use super::call::Call;
use super::{DeviceAuth, view};
use crate::gateway::Shared;
use crate::problem::Problem;
use crate::waiting::{Waiting, until_answered};

const NO_ANSWER: &str = "there was no answer in time; what was asked for may still be done";

/// What is asked.
pub(super) struct Command {
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
}

/// Publishes the command, waits for its answer and renders that.
pub(super) async fn carry_out(
    shared: &Shared,
    auth: &DeviceAuth,
    call: &Call,
    status: StatusCode,
    command: Command,
) -> Result<Response, Problem> {
    let operation = command.operation;
    let reply = ask(shared, auth, call, command).await?;
    view::reply(operation, status, reply)
}

async fn ask(shared: &Shared, auth: &DeviceAuth, call: &Call, command: Command) -> Result<AuthReply, Problem> {
    let id = command.id;
    let deadline = Instant::now() + shared.limits().command_time;
    let waiting = Waiting::register(shared, id, deadline, true)?;
    let record = record(shared, auth, &call.trace(id), command).await?;
    shared.parts.log.publish(record).await?;
    let answered = until_answered(shared, id, waiting, deadline, || stored(shared, id)).await?;
    answered.ok_or_else(|| Problem::unavailable(NO_ANSWER))
}

/// The record of a command, sealed.
async fn record(
    shared: &Shared,
    auth: &DeviceAuth,
    trace: &TraceContext,
    command: Command,
) -> Result<NewRecord, Problem> {
    let Command { id, operation, key, body } = command;
    let (seal, entropy, record_key) = (auth.parts.commands.clone(), shared.parts.entropy.clone(), key.clone());
    let sealed = shared.parts.cpu.run(move || {
        let plain = Sensitive::new(ridgeline_wire::encode(&body)?);
        let binding = CommandBinding { request_id: id, kind: operation.as_str(), key: &record_key };
        Ok::<_, Problem>(seal.seal(&binding, plain.expose(), entropy.as_ref())?)
    });
    let sealed = sealed.await??;
    let sender = auth.parts.sender.clone();
    let event_id = format!("{id}:command");
    let attributes = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", event_id.clone()),
        ("ce_type", "dev.ridgeline.auth-command.v1".to_owned()),
        ("ce_source", format!("/agents/{sender}")),
        ("content-type", "avro/binary".to_owned()),
    ];
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), bytes::Bytes::from(value)));
    let body = SealedPart { key_id: sealed.key_id, sealed: sealed.bytes };
    let command = AuthCommand { request_id: id, operation, sender, body };
    Ok(NewRecord {
        topic: shared.topics.auth_commands.clone(),
        partition: None,
        key: key.into(),
        value: Some(ridgeline_wire::encode(&command)?.into()),
        headers: attributes.chain([trace.child(&event_id).header()]).collect(),
    })
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
