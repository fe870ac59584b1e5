//! From a caller's bytes to a signed record on `scans`: decode, check, crop, re-encode, seal, sign; and to a sealed command.
//!
//! Shared by gateway and agent, so that a sample is treated alike wherever it enters. Pure CPU work: callers run it off the reactor.

mod command;
mod error;
mod sample;
mod signer;

pub use command::{AskedCommand, CommandSealer};
pub use error::IntakeError;
pub use sample::{PreparedSample, RawSample, SampleFormat, prepare, prepare_all};
pub use signer::{ScanOptions, ScanRequest, Signer};
