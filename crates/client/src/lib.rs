//! Client of the native HTTP interface: submit scans, wait for decisions, follow the public streams, hand in an agent's
//! records.
//!
//! Answers are size-capped before they are parsed. A request is repeated only where repeating cannot change its meaning:
//! reads, submissions under an Idempotency-Key, and agents' records, which the pipeline answers once.

mod client;
mod error;
mod events;
mod scan;

pub use client::{Client, ClientOptions, IdempotencyKey, PublicStream, Submitted};
pub use error::{ClientError, Problem};
pub use events::{Event, EventStream};
pub use scan::{Candidate, Coverage, Decision, Sample, Scan, ScanOptions, ScanState, ScanStatus, SealedTemplate};
