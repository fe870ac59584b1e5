//! stub
use axum::response::Response;
use crate::problem::Problem;
pub(crate) async fn openapi() -> Response { crate::scan::json_response(axum::http::StatusCode::OK, &crate::openapi::document()) }
pub(crate) async fn page() -> Problem { Problem::not_found() }
pub(crate) async fn error_page() -> Problem { Problem::not_found() }
