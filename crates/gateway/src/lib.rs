//! The HTTP layer: requests in, decisions out. Knows the ports, never an adapter, and never decides about a biometric.
//!
//! Two routers: [`Gateway::router`] for callers and agents, [`Gateway::admin_router`] for operators. A scan is durable
//! before it is answered with 202: its row in `requests`, then its record on `scans`. Its answer is read from `answers`;
//! the topic `decisions` only wakes those who wait ([`Gateway::run_tail`]).
//!
//! Nothing here logs or counts a body, a key or an id of a caller; every error is a [`problem`](https://www.rfc-editor.org/rfc/rfc9457)
//! with a code of `docs/errors`.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod admin;
mod agent;
mod asyncapi;
mod auth;
mod auth_api;
mod body;
mod docs;
mod gateway;
mod health;
mod layer;
mod openapi;
mod ops;
mod pressure;
mod problem;
mod refusals;
mod registry;
mod routes;
mod scan;
mod serve;
mod subject;
mod tail;
mod text;
mod waiting;

pub use auth_api::{AuthParts, TrustedProxy, TrustedProxyError};
pub use axum::Router;
pub use gateway::{AgentBook, Gateway, GatewayLimits, GatewayParts, SchemaSource};
pub use openapi::document as openapi_document;
pub use ops::Ops;
pub use serve::{ServeLimits, Tls, TlsError, serve};
