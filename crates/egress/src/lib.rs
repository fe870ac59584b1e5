//! HTTP to the outside: the only crate of the service that opens such a connection.
//!
//! [`Configured`] is for addresses that an operator wrote into the configuration: they are believed, may be plain HTTP or lie
//! inside the network, and lead nowhere else. Addresses that came with a request must never be given to it: they are for
//! [`Untrusted`], which calls nothing that only this machine or its network can reach.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod configured;
mod error;
mod untrusted;

pub use configured::{Answer, Configured, ConfiguredOptions, Login, Method};
pub use error::EgressError;
pub use untrusted::{CallbackUrl, URL_BYTES_MAX, Untrusted, UntrustedOptions};
