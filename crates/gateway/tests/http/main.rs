//! The HTTP layer against an embedded log and store, with a stand-in for the workers.

mod actions;
mod auth;
mod auth_bad_input;
mod auth_rates;
mod auth_site;
mod bad_input;
mod harness;
mod operators;
mod pressure;
mod scans;
mod sockets;
mod streams;
mod users;
