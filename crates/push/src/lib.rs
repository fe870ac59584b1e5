//! Notifications to devices: what they say, and how they get there.
//!
//! * [`text`] is what a person reads about an action that waits, in Vietnamese and English; [`currency`] writes the amounts in it.
//! * [`fcm`] sends it through Firebase Cloud Messaging.
//!
//! Texts and amounts are pure: no clock, no network. What an action holds was written by somebody who wants it confirmed, so nothing
//! of it is believed: neither its types nor its length nor its characters.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod currency;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod fcm;
pub mod text;

pub use error::SetupError;
pub use fcm::{FcmOptions, FcmSender};
pub use text::{Notice, notice};
