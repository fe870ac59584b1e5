//! Who calls: tokens of users and devices checked against the keys of the store and of a configured provider, and revocations.
//!
//! * [`Identity`] says whose a token is: our own, by the public keys in the store, or of a provider (OpenID Connect), by its.
//! * [`revocation`] says which tokens end before their time, from the store or from a cache that follows the topic.
//! * [`normalised_email`] is the one spelling of a user's name.
//!
//! Gateways and auth workers use it alike, so that what a gateway let through a worker judges by the same rules. Times are
//! arguments; nothing here signs, and no error holds a word of a token.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod caller;
mod email;
mod error;
mod identity;
mod kept;
mod own;
mod provider;
pub mod revocation;

pub use caller::{ActionCaller, DeviceCaller, RefreshCaller, UserCaller, subject_of};
pub use email::{EMAIL_RULE, normalised_email};
pub use error::IdentityError;
pub use identity::{Identity, IdentityConfig, OidcConfig};
