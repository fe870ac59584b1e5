//! `POST /api/v1/agent/records`: how a capture agent reaches a log that is not on the network.
//!
//! The record's signature is the credential. The answer comes after the durable append, so the agent may forget the record.

use axum::Extension;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use ridgeline_domain::ErrorCode;
use ridgeline_ports::{NewRecord, TraceContext};
use ridgeline_vault::{ScanSignature, VaultError, sealed_digest};
use ridgeline_wire::message::Scan;
use ridgeline_wire::row::RequestRow;
use serde::Serialize;

use crate::body::{Incoming, media_type};
use crate::gateway::{Shared, State};
use crate::problem::Problem;
use crate::scan::{json_response, remember, request_row};

const MEDIA_TYPES: [&str; 3] = ["application/octet-stream", "avro/binary", "application/avro"];
const SAMPLES_MAX: usize = 10;

#[derive(Serialize)]
struct Appended {
    confirmation_id: String,
}

/// Takes one framed record.
pub(crate) async fn post(
    Extract(state): Extract<State>,
    Extension(trace): Extension<TraceContext>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let mut incoming = Incoming::new(&parts.headers, body);
    match take(&state, (&parts.headers, trace), &mut incoming).await {
        Ok(appended) => Ok(json_response(StatusCode::OK, &appended)),
        Err(problem) => {
            incoming.discard().await;
            Err(problem)
        }
    }
}

async fn take(
    state: &State,
    (headers, trace): (&HeaderMap, TraceContext),
    incoming: &mut Incoming,
) -> Result<Appended, Problem> {
    state.admit()?;
    if !media_type(headers).is_some_and(|kind| MEDIA_TYPES.contains(&kind.as_str())) {
        return Err(Problem::new(ErrorCode::UnsupportedMediaType, "send application/octet-stream"));
    }
    let (bytes, _room) = incoming.read(state, state.limits().record_bytes_max).await.map_err(|problem| {
        let too_large = problem.code() == ErrorCode::BodyTooLarge;
        if too_large {
            Problem::new(ErrorCode::RecordTooLarge, "the record is larger than a message may be")
        } else {
            problem
        }
    })?;
    let (scan, bytes) = {
        let state = state.clone();
        state.parts.cpu.clone().run(move || check(&state, &bytes).map(|scan| (scan, bytes))).await??
    };
    let id = scan.request_id;
    let row = RequestRow {
        api_key: None,
        agent: scan.agent.clone(),
        operation: scan.operation,
        accepted_at: state.parts.clock.now(),
    };
    // A record that is sent again keeps the row it has; the id of somebody else's request is not to be had.
    remember(state, id, &row, false).await?;
    if request_row(state, id).await?.is_some_and(|known| known.agent != scan.agent) {
        return Err(Problem::new(ErrorCode::RecordInvalid, "the request id belongs to another source"));
    }
    state.parts.log.publish(record(state, &scan, &trace, bytes)).await?;
    Ok(Appended { confirmation_id: id.to_string() })
}

/// Everything that can be said about a record without opening its samples.
fn check(shared: &Shared, bytes: &[u8]) -> Result<Scan, Problem> {
    let scan: Scan = ridgeline_wire::decode(bytes).map_err(|error| Problem::new(error.code(), error.to_string()))?;
    let invalid = |detail: &str| Err(Problem::new(ErrorCode::RecordInvalid, detail));
    match (scan.operation.needs_samples(), scan.samples.len()) {
        (true, 1..=SAMPLES_MAX) | (false, 0) => {}
        _ => return invalid("the number of samples does not fit the operation"),
    }
    if scan.operation.needs_subject() && scan.subject_id.is_none() {
        return invalid("the operation needs a subject");
    }
    let signature = ScanSignature::new(&scan.binding(), scan.reader.clone(), sealed_digest(scan.sealed_parts()));
    let agents = shared.parts.agents.read();
    agents.verify(&signature, &scan.agent_signature).map_err(|error| match error {
        VaultError::UnknownAgent => Problem::new(ErrorCode::AgentUnknown, "no agent of that id is registered"),
        _ => Problem::new(ErrorCode::SignatureInvalid, "the signature is not the agent's over this record"),
    })?;
    if !agents.allows(&scan.agent, scan.operation) {
        return Err(Problem::new(ErrorCode::OperationNotGranted, "the agent may not ask for this operation"));
    }
    Ok(scan)
}

/// The record to append: the agent's bytes as they are, under the key that every writer gives it.
fn record(shared: &Shared, scan: &Scan, trace: &TraceContext, bytes: Bytes) -> NewRecord {
    let headers = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", scan.request_id.to_string()),
        ("ce_type", "dev.ridgeline.scan.v1".to_owned()),
        ("ce_source", format!("/agents/{}", scan.agent)),
        ("content-type", "avro/binary".to_owned()),
    ];
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
    NewRecord {
        topic: shared.topics.scans.clone(),
        partition: None,
        key: scan.key().into(),
        value: Some(bytes),
        headers: headers.chain([trace.child(&scan.request_id.to_string()).header()]).collect(),
    }
}
