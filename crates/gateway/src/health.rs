//! Whether the process lives, is ready, and how its components are.

use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::Response;
use ridgeline_runtime::{Health, HealthState};
use serde_json::{Map, Value, json};

use crate::gateway::State;
use crate::ops::Ops;
use crate::scan::json_response;

/// Readers register under this prefix.
const READER_PREFIX: &str = "reader:";

/// `GET /health`: states only; the reasons are for operators.
pub(crate) async fn public(Extract(state): Extract<State>) -> Response {
    report(&state.parts.health, false)
}

/// `GET /health` on the admin port: with reasons.
pub(crate) async fn with_reasons(Extract(ops): Extract<Ops>) -> Response {
    report(&ops.health, true)
}

/// `GET /health/live`: the process answers.
pub(crate) async fn live() -> Response {
    json_response(StatusCode::OK, &json!({ "status": "alive" }))
}

/// `GET /health/ready`: requests are accepted; 503 while a component does not work.
pub(crate) async fn ready(Extract(state): Extract<State>) -> Response {
    readiness(&state.parts.health, state.parts.stop.is_cancelled())
}

/// `GET /health/ready` on the admin port.
pub(crate) async fn role_ready(Extract(ops): Extract<Ops>) -> Response {
    readiness(&ops.health, ops.stop.is_cancelled())
}

fn readiness(health: &Health, stopping: bool) -> Response {
    if stopping {
        return json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "stopping" }));
    }
    match health.overall() {
        HealthState::Unhealthy => json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "not_ready" })),
        HealthState::Healthy | HealthState::Degraded => json_response(StatusCode::OK, &json!({ "status": "ready" })),
    }
}

fn report(health: &Health, reasons: bool) -> Response {
    let overall = health.overall();
    let parts = health.snapshot();
    let readers = parts.iter().filter(|part| part.name.starts_with(READER_PREFIX)).count();
    let components: Map<String, Value> = parts
        .iter()
        .map(|part| {
            let state = part.state.as_str();
            let shown =
                if reasons { json!({ "status": state, "reason": part.reason }) } else { json!({ "status": state }) };
            (part.name.clone(), shown)
        })
        .collect();
    let note = match readers {
        0 => "no reader attached; samples come over HTTP and from agents",
        _ => "readers attached",
    };
    let body = json!({
        "status": overall.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "components": components,
        "readers": { "attached": readers, "note": note },
    });
    let status = if overall == HealthState::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    json_response(status, &body)
}
