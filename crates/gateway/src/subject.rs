//! Subjects: what is enrolled, never a template; and the request to forget one.

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use ridgeline_domain::{ErrorCode, Operation, Permission, SubjectId};
use ridgeline_ports::{RowKey, TraceContext};
use ridgeline_wire::row::{SubjectRow, table};
use serde::Serialize;

use crate::auth::Caller;
use crate::gateway::State;
use crate::problem::Problem;
use crate::scan::{Submission, answer_submission, deletion, json_response};
use crate::text::rfc3339;

#[derive(Serialize)]
struct SubjectView {
    subject_id: String,
    version: i64,
    engine: String,
    positions: Vec<PositionView>,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
struct PositionView {
    position: &'static str,
    quality: i32,
    templates: i32,
    enrolled_at: String,
}

/// `GET /api/v1/subjects/{id}`
pub(crate) async fn get(
    Extract(state): Extract<State>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = Caller::of(&state, &headers).await?;
    caller.require(Permission::ReadAll)?;
    let subject = subject_id(path)?;
    let row = state.parts.store.get(table::SUBJECTS, &RowKey::single(subject.as_str())).await?;
    let row: SubjectRow = ridgeline_wire::decode(&row.ok_or_else(Problem::not_found)?.value)?;
    if row.deleted {
        return Err(Problem::not_found());
    }
    let positions = row.positions.iter().map(|enrolled| PositionView {
        position: enrolled.position.as_str(),
        quality: enrolled.quality,
        templates: enrolled.templates,
        enrolled_at: rfc3339(enrolled.enrolled_at),
    });
    let view = SubjectView {
        subject_id: row.subject_id.to_string(),
        version: row.version,
        positions: positions.collect(),
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        engine: row.engine,
    };
    Ok(json_response(StatusCode::OK, &view))
}

/// `DELETE /api/v1/subjects/{id}`: the same as a scan with the operation `delete`.
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    Extension(trace): Extension<TraceContext>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = Caller::of(&state, &headers).await?;
    caller.require(Operation::Delete.permission())?;
    state.admit()?;
    let wait_max = state.limits().wait_max;
    let submission = Submission::of(caller, deletion(subject_id(path)?), (&headers, trace), wait_max)?;
    answer_submission(&state, submission, None).await
}

fn subject_id(path: Result<Path<String>, PathRejection>) -> Result<SubjectId, Problem> {
    let wrong = |detail: String| Problem::field(ErrorCode::MalformedRequest, "/subject_id", detail);
    let Path(id) = path.map_err(|_| wrong("is not valid".to_owned()))?;
    id.parse().map_err(|error: ridgeline_domain::IdError| wrong(error.to_string()))
}
