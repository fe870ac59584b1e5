//! Which path leads where. `openapi` describes the same table; a test holds the two together.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};
use ridgeline_domain::ErrorCode;

use crate::gateway::State;
use crate::ops::Ops;
use crate::problem::Problem;
use crate::{admin, agent, auth_api, docs, health, layer, registry, scan, subject, tail};

pub(crate) fn public(state: &State) -> Router {
    let router = Router::new()
        .route("/api/v1/scans", post(scan::post))
        .route("/api/v1/scans:batch", post(scan::batch::post))
        .route("/api/v1/scans/{confirmation_id}", get(scan::get))
        .route("/api/v1/scans/{confirmation_id}/events", get(scan::events::get))
        .route("/api/v1/subjects/{subject_id}", get(subject::get).delete(subject::delete))
        .route("/api/v1/agent/records", post(agent::post))
        .route("/api/v1/tail/{stream}", get(tail::get))
        .route("/api/v1/auth/login", post(auth_api::web_login))
        .route("/api/v1/auth/devices/register/challenge", post(auth_api::register_challenge))
        .route("/api/v1/auth/devices/register/verify", post(auth_api::register))
        .route("/api/v1/auth/mobile/challenge", post(auth_api::challenge))
        .route("/api/v1/auth/mobile/biometric", post(auth_api::login))
        .route("/api/v1/auth/mobile/refresh", post(auth_api::refresh))
        .route("/api/v1/auth/devices", get(auth_api::list))
        .route("/api/v1/auth/devices/{deviceId}", delete(auth_api::remove))
        .route("/api/v1/auth/devices/fcm-token", put(auth_api::set_push_token))
        .route("/api/v1/auth/confirmation/initiate", post(auth_api::initiate))
        .route("/api/v1/auth/confirmation", get(auth_api::pending))
        .route("/api/v1/auth/confirmation/{id}/status", get(auth_api::action_status))
        .route("/api/v1/auth/confirmation/{id}/events", get(auth_api::action_events))
        .route("/api/v1/auth/confirmation/{id}/verify", post(auth_api::approve))
        .route("/api/v1/auth/confirmation/{id}/reject", post(auth_api::reject))
        .route("/api/v1/auth/confirmation/{id}/redeem", post(auth_api::redeem))
        .route("/api/v1/auth/confirmation/{id}/received", post(auth_api::received))
        .route("/.well-known/jwks.json", get(auth_api::jwks))
        .route("/health", get(health::public))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/openapi.json", get(docs::openapi))
        .route("/asyncapi.json", get(docs::asyncapi))
        .route("/docs", get(docs::page))
        .route("/docs/errors/{code}", get(docs::error_page))
        .route("/schemas/ids/{id}", get(registry::by_id))
        .route("/subjects", get(registry::subjects))
        .route("/subjects/{subject}/versions", get(registry::versions))
        .route("/subjects/{subject}/versions/{version}", get(registry::version));
    finish(router, state)
}

pub(crate) fn admin(state: &State) -> Router {
    let guarded = Router::new()
        .route("/admin/keys", get(admin::list_keys).post(admin::create_key))
        .route("/admin/keys/{id}", delete(admin::revoke_key))
        .route("/admin/agents", get(admin::list_agents).post(admin::add_agent))
        .route("/admin/revocations", post(admin::security::revoke))
        .route("/admin/evidence", post(admin::security::evidence))
        .route("/admin/devices", post(admin::security::devices))
        .route("/admin/users", get(admin::users::list).post(admin::users::add).patch(admin::users::change))
        .route_layer(from_fn_with_state(state.clone(), admin::guard));
    let parts = &state.parts;
    let ops = Ops { health: parts.health.clone(), metrics: parts.metrics.clone(), stop: parts.stop.clone() };
    finish(guarded.merge(ops.routes()), state)
}

/// Fallbacks and the outermost layer. No CORS headers: browsers of other origins have no business here.
fn finish(router: Router<State>, state: &State) -> Router {
    router
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(from_fn_with_state(state.clone(), layer::outermost))
        .with_state(state.clone())
}

async fn wrong_method() -> Problem {
    Problem::new(ErrorCode::MethodNotAllowed, "the header Allow names the methods of this path")
}

async fn unknown_path() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is no such path; /docs lists them")
}
