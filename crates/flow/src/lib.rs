//! The deciding functions: what a request ends in, given what was gathered. Pure: no clock, randomness, store or log.
//!
//! `one` decides what concerns one subject (enrol, verify, extract, delete) and opens searches; `search` judges a finished search; [`auth`] decides about devices and tokens.
//! V-1: an accept comes from `Policy::judge` alone, and every path that is not an accept is a refusal.

pub mod auth;
mod judgement;
mod one;
mod request;
mod search;

pub use judgement::Judgement;
pub use one::{Effect, Enrolled, EnrolledTemplate, Event, handle};
pub use request::{ImageDigests, Probe, Request, Sample, SealedProbe, State, Unusable};
pub use search::{Found, Search, ShardAnswer, merge};
