//! A schema registry that speaks Confluent's interface: what is registered there before a deployment, and its ids at run time.
//!
//! Without a registry the ids in front of values are those of `wire`. With one, others must find the registry's ids there. Workers
//! keep to `wire`'s ids all the same: [`TranslatedLog`] exchanges the four bytes of the id where a record goes into the log or
//! comes out of it. Rows of the store and dead letters hold `wire`'s ids in both cases.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod client;
mod deploy;
mod error;
mod ids;
mod log;
pub mod metric;
mod subject;

pub use client::{Level, Registered, Registry, RegistryId};
pub use deploy::{Finding, Standing, check, register, remove};
pub use error::RegistryError;
pub use ids::SchemaIds;
pub use log::TranslatedLog;
pub use subject::{Subject, subjects};
