//! The read side of a schema registry, in the form that Confluent's clients ask for, so that a stock consumer needs nothing else.
//!
//! Nobody is asked who they are: schemas are no secret. Any of them is shown by id; subjects are those of the public topics, whose
//! schemas are a promise. Where a real registry gives the ids, nothing is shown here: these ids would be the wrong ones.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use ridgeline_domain::ErrorCode;
use ridgeline_wire::{SchemaId, Topic, schema_of};
use serde_json::json;

use crate::gateway::{SchemaSource, State};
use crate::problem::Problem;
use crate::scan::json_response;

/// Ids are topic × 1000 + version.
const VERSIONS: u32 = 1_000;

/// `GET /schemas/ids/{id}`
pub(crate) async fn by_id(
    Extract(state): Extract<State>,
    path: Result<Path<u32>, PathRejection>,
) -> Result<Response, Problem> {
    ours(&state)?;
    let schema = path.ok().and_then(|Path(id)| schema_of(SchemaId(id))).ok_or_else(Problem::not_found)?;
    Ok(json_response(StatusCode::OK, &json!({ "schemaType": "AVRO", "schema": schema })))
}

/// `GET /subjects`
pub(crate) async fn subjects(Extract(state): Extract<State>) -> Result<Response, Problem> {
    ours(&state)?;
    let subjects: Vec<_> = public().map(|topic| subject_of(&state, topic)).collect();
    Ok(json_response(StatusCode::OK, &subjects))
}

/// `GET /subjects/{subject}/versions`
pub(crate) async fn versions(
    Extract(state): Extract<State>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    ours(&state)?;
    let Path(subject) = path.map_err(|_| Problem::not_found())?;
    let id = topic_of(&state, &subject)?.row().schema;
    Ok(json_response(StatusCode::OK, &[id.0 % VERSIONS]))
}

/// `GET /subjects/{subject}/versions/{version}`, where the version is a number or `latest`.
pub(crate) async fn version(
    Extract(state): Extract<State>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Problem> {
    ours(&state)?;
    let Path((subject, asked)) = path.map_err(|_| Problem::not_found())?;
    let id = topic_of(&state, &subject)?.row().schema;
    let version = id.0 % VERSIONS;
    if asked != "latest" && asked.parse() != Ok(version) {
        return Err(Problem::not_found());
    }
    let schema = schema_of(id).ok_or_else(Problem::not_found)?;
    let body = json!({ "subject": subject, "version": version, "id": id.0, "schemaType": "AVRO", "schema": schema });
    Ok(json_response(StatusCode::OK, &body))
}

fn ours(state: &State) -> Result<(), Problem> {
    match state.parts.schemas {
        SchemaSource::Own => Ok(()),
        SchemaSource::Registry => {
            Err(Problem::new(ErrorCode::NotFound, "the schemas of this deployment are in its schema registry"))
        }
    }
}

fn public() -> impl Iterator<Item = Topic> {
    Topic::ALL.iter().copied().filter(|topic| topic.row().public)
}

/// The name under which a consumer of the topic looks by default.
fn subject_of(state: &State, topic: Topic) -> String {
    format!("{}-value", topic.name(&state.parts.prefix))
}

fn topic_of(state: &State, subject: &str) -> Result<Topic, Problem> {
    public().find(|topic| subject_of(state, *topic) == subject).ok_or_else(Problem::not_found)
}
