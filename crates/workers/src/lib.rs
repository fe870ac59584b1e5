//! The roles between the log and the store: matcher, gallery shard, merger, auth worker, notify worker.
//!
//! Each gathers what the pure `flow` decides on, and performs what it decided, in the order that makes a replay harmless:
//! conditional writes on the aggregate → the answer (first one wins) → gallery → audit → decision → the offset.

mod admit;
mod answer;
mod auth;
mod dead;
mod gallery;
mod matcher;
mod measure;
mod merger;
mod notify;
mod platform;
mod publication;
mod refusal;
mod shard;
mod subject;

pub use auth::{AuthConfig, AuthParts, run_auth};
pub use gallery::run_gallery;
pub use matcher::run_matcher;
pub use merger::run_merger;
pub use notify::{CALLBACK_PAUSE, NotifyParts, run_notify};
pub use platform::{Platform, WorkerError, engine};
