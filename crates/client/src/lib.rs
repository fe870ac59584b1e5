//! Client of the native HTTP interface: submit scans, wait for decisions, follow the public streams, hand in an agent's
//! records. And of device authentication, with a phone in software.
//!
//! Answers are size-capped before they are parsed. A request is repeated only where repeating cannot change its meaning:
//! reads, submissions under an Idempotency-Key, agents' records, which the pipeline answers once, and refreshes whose answer
//! was lost.

mod auth;
mod client;
mod error;
mod events;
mod phone;
mod scan;
#[cfg(test)]
mod testing;
mod transport;

pub use auth::{
    Approval, AuthChallenge, AuthClient, Confirmation, ConfirmationState, Credential, Device, InitiateAction,
    Initiated, NewDevice, PushTokenSet, Redeemed, Registered, Removed, Settled, TokenType, Tokens, WebToken, rfc3339,
};
pub use client::{Client, ClientOptions, IdempotencyKey, PublicStream, Submitted};
pub use error::{ClientError, Problem};
pub use events::{Event, EventStream};
pub use phone::{Access, Phone, PhoneError, Profile, SignedIn, shown_payload, visible};
pub use scan::{Candidate, Coverage, Decision, Sample, Scan, ScanOptions, ScanState, ScanStatus, SealedTemplate};
