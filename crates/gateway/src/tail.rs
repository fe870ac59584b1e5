//! `GET /api/v1/tail/{decisions|audit}`: the public topics as server-sent events, for those who have no Kafka client.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State as Extract};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream;
use ridgeline_domain::{ErrorCode, Permission};
use ridgeline_ports::{Delivery, Record, TailStart, TailSubscription};
use ridgeline_wire::WireError;
use ridgeline_wire::message::{Audit, Decision};
use tokio::sync::OwnedSemaphorePermit;

use crate::auth::Caller;
use crate::gateway::State;
use crate::problem::Problem;
use crate::scan::decision_record;
use crate::text::rfc3339;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy)]
enum Stream {
    Decisions,
    Audit,
}

/// Opens the stream; it ends with the service.
pub(crate) async fn get(
    Extract(state): Extract<State>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = Caller::of(&state, &headers).await?;
    caller.require(Permission::AuditRead)?;
    let (stream, topic) = match path.as_ref().map(|Path(name)| name.as_str()) {
        Ok("decisions") => (Stream::Decisions, &state.topics.decisions),
        Ok("audit") => (Stream::Audit, &state.topics.audit),
        _ => return Err(Problem::not_found()),
    };
    let start = match query.as_deref() {
        None | Some("" | "from=end") => TailStart::End,
        Some("from=beginning") => TailStart::Beginning,
        Some(_) => {
            let detail = "must be beginning or end; it is the only query parameter";
            return Err(Problem::field(ErrorCode::MalformedRequest, "/from", detail));
        }
    };
    let place = state.reserve_stream()?;
    let tail = state.parts.log.tail(topic, start).await?;
    let follow = Follow { state, tail, stream, _place: place };
    let events = stream::unfold(follow, |follow| async { follow.next().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

struct Follow {
    state: State,
    tail: TailSubscription,
    stream: Stream,
    _place: OwnedSemaphorePermit,
}

impl Follow {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.state.parts.stop.cancelled() => return None,
                delivery = self.tail.deliveries.recv() => delivery?,
            };
            let Delivery::Record { record, .. } = delivery else { continue };
            match event(self.stream, &record) {
                Ok(event) => return Some((Ok(event), self)),
                Err(error) => tracing::warn!(
                    topic = %record.topic, partition = record.partition.0, offset = record.offset.0, error = %error,
                    "a record of a public topic cannot be decoded"
                ),
            }
        }
    }
}

/// The event of a record; its id is `<partition>:<offset>`.
fn event(stream: Stream, record: &Record) -> Result<Event, WireError> {
    let value = record.value.as_deref().ok_or(WireError::NoFrame)?;
    let (name, json) = match stream {
        Stream::Decisions => ("decision", decision_record(&ridgeline_wire::decode::<Decision>(value)?)),
        Stream::Audit => ("audit", audit_record(&ridgeline_wire::decode::<Audit>(value)?)),
    };
    let id = format!("{}:{}", record.partition.0, record.offset.0);
    Ok(Event::default().event(name).id(id).data(json.to_string()))
}

/// A record of the public topic `audit` as JSON; `details` stay encrypted.
fn audit_record(audit: &Audit) -> serde_json::Value {
    serde_json::json!({
        "event_id": audit.event_id,
        "event_type": audit.event_type,
        "occurred_at": rfc3339(audit.occurred_at),
        "request_id": audit.request_id.map(|id| id.to_string()),
        "actor": audit.actor,
        "reader": audit.reader.as_ref().map(ToString::to_string),
        "subject_id": audit.subject_id.as_ref().map(ToString::to_string),
        "operation": audit.operation.map(ridgeline_domain::Operation::as_str),
        "outcome": audit.outcome,
        "reason": audit.reason,
        "details": audit.details.as_deref().map(|details| STANDARD.encode(details)),
    })
}
