//! The read side of a schema registry, in the form that Confluent's clients ask for.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::response::Response;
use ridgeline_wire::{SchemaId, Topic, schema_of};
use serde_json::json;

use crate::problem::Problem;
use crate::scan::json_response;

/// `GET /schemas/ids/{id}`
pub(crate) async fn by_id(path: Result<Path<u32>, PathRejection>) -> Result<Response, Problem> {
    let schema = path.ok().and_then(|Path(id)| schema_of(SchemaId(id))).ok_or_else(Problem::not_found)?;
    Ok(json_response(StatusCode::OK, &json!({ "schemaType": "AVRO", "schema": schema })))
}

/// `GET /subjects`
pub(crate) async fn subjects() -> Response {
    let subjects: Vec<_> = Topic::ALL.iter().map(|topic| format!("{}-value", topic.row().name)).collect();
    json_response(StatusCode::OK, &subjects)
}

/// `GET /subjects/{subject}/versions`
pub(crate) async fn versions(path: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let Path(subject) = path.map_err(|_| Problem::not_found())?;
    topic_of(&subject)?;
    Ok(json_response(StatusCode::OK, &[1]))
}

/// `GET /subjects/{subject}/versions/{version}`, where the version is `1` or `latest`.
pub(crate) async fn version(path: Result<Path<(String, String)>, PathRejection>) -> Result<Response, Problem> {
    let Path((subject, version)) = path.map_err(|_| Problem::not_found())?;
    let topic = topic_of(&subject)?;
    if !matches!(version.as_str(), "1" | "latest") {
        return Err(Problem::not_found());
    }
    let id = topic.row().schema;
    let schema = schema_of(id).ok_or_else(Problem::not_found)?;
    let body = json!({ "subject": subject, "version": 1, "id": id.0, "schemaType": "AVRO", "schema": schema });
    Ok(json_response(StatusCode::OK, &body))
}

fn topic_of(subject: &str) -> Result<Topic, Problem> {
    let name = subject.strip_suffix("-value").ok_or_else(Problem::not_found)?;
    Topic::ALL.iter().copied().find(|topic| topic.row().name == name).ok_or_else(Problem::not_found)
}
