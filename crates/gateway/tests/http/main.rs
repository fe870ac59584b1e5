//! The HTTP layer against an embedded log and store, with a stand-in for the workers.

mod bad_input;
mod harness;
mod operators;
mod pressure;
mod scans;
mod sockets;
mod streams;
