//! What every process tells those who run it: metrics and health, on the admin port.

use axum::Router;
use axum::extract::State as Extract;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use ridgeline_runtime::Health;
use tokio_util::sync::CancellationToken;

use crate::health;
use crate::problem::Problem;

/// What the admin port of a process without the HTTP interface is made of.
#[derive(Clone)]
pub struct Ops {
    /// What `/health` shows.
    pub health: Health,
    /// What `/metrics` renders.
    pub metrics: Option<PrometheusHandle>,
    /// Cancelled when the process stops: it is not ready then.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ops").field("health", &self.health).finish_non_exhaustive()
    }
}

impl Ops {
    /// `/metrics`, `/health`, `/health/live`, `/health/ready`.
    pub fn router(self) -> Router {
        self.routes().fallback(unknown_path)
    }

    /// The same among the routes of a larger router.
    pub(crate) fn routes<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/health", get(health::with_reasons))
            .route("/health/live", get(health::live))
            .route("/health/ready", get(health::role_ready))
            .with_state(self)
    }
}

async fn unknown_path() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// `GET /metrics`
async fn metrics(Extract(ops): Extract<Ops>) -> Result<Response, Problem> {
    let handle = ops.metrics.as_ref().ok_or_else(Problem::not_found)?;
    handle.run_upkeep();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], handle.render()).into_response())
}
