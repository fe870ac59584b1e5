//! The registry's client, deployment and the translated log: on a scripted server, and on a real registry where there is one.

mod conformance;
mod deployment;
mod fake;
mod translation;
