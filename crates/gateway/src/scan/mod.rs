//! Native, asynchronous scans.

pub(crate) mod batch;
pub(crate) mod events;
mod form;
mod input;
mod lookup;
mod submit;
mod view;
mod wait;
pub(crate) mod wake;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use ridgeline_domain::{ErrorCode, RequestId, SubjectId};
use ridgeline_ports::TraceContext;

use crate::auth::Caller;
use crate::body::{Incoming, media_type};
use crate::gateway::{Shared, State, Upload};
use crate::problem::Problem;
use input::ScanInput;
pub(crate) use input::json_at;

pub(crate) use lookup::request_row;
pub(crate) use submit::remember;
pub(crate) use submit::{Submission, answer_submission};
pub(crate) use view::{decision_record, json_response};
pub(crate) use wait::query_wait;

/// `POST /api/v1/scans`
pub(crate) async fn post(
    Extract(state): Extract<State>,
    Extension(trace): Extension<TraceContext>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let mut incoming = Incoming::new(&parts.headers, body);
    let accepted = async {
        state.admit()?;
        let caller = Caller::of(&state, &parts.headers).await?;
        let (input, room) = read_input(&state, &parts.headers, &mut incoming).await?;
        caller.require(input.operation.permission())?;
        let submission = Submission::of(caller, input, (&parts.headers, trace), state.limits().wait_max)?;
        Ok((submission, room))
    };
    match accepted.await {
        Ok((submission, room)) => answer_submission(&state, submission, Some(room)).await,
        Err(problem) => {
            incoming.discard().await;
            Err(problem)
        }
    }
}

/// `GET /api/v1/scans/{confirmation_id}[?wait=SECONDS]`
pub(crate) async fn get(
    Extract(state): Extract<State>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = Caller::of(&state, &headers).await?;
    let wait = wait::query_wait(query.as_deref(), state.limits().wait_max)?;
    let id = confirmation_id(path)?;
    let status = lookup::status(&state, &caller, id, wait).await?;
    Ok(json_response(StatusCode::OK, &status.view(&state, &caller)?))
}

/// Something that is no confirmation id belongs to nobody.
fn confirmation_id(path: Result<Path<String>, PathRejection>) -> Result<RequestId, Problem> {
    path.ok().and_then(|Path(id)| id.parse().ok()).ok_or_else(Problem::not_found)
}

async fn read_input(
    shared: &Shared,
    headers: &HeaderMap,
    incoming: &mut Incoming,
) -> Result<(ScanInput, Upload), Problem> {
    if incoming.is_declared_empty() {
        return Err(Problem::malformed("the body is empty"));
    }
    let bytes_max = shared.limits().body_bytes_max;
    match media_type(headers).as_deref() {
        Some("application/json") => {
            let (bytes, room) = incoming.read(shared, bytes_max).await?;
            Ok((shared.parts.cpu.run(move || input::from_json(&bytes)).await??, room))
        }
        Some("multipart/form-data") => {
            let (bytes, room) = incoming.read(shared, bytes_max).await?;
            Ok((form::read(headers, bytes).await?, room))
        }
        Some(_) => Err(unsupported()),
        None => {
            // A body that is missing altogether is told from one of an unknown type.
            incoming.read(shared, bytes_max).await?;
            Err(unsupported())
        }
    }
}

/// The request to forget a subject.
pub(crate) fn deletion(subject: SubjectId) -> ScanInput {
    ScanInput::deletion(subject)
}

fn unsupported() -> Problem {
    Problem::new(ErrorCode::UnsupportedMediaType, "send application/json or multipart/form-data")
}
