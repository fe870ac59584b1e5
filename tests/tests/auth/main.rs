//! Device authentication: an auth worker over log and store, asked as a gateway asks, by phones that hold keys.

mod attacks;
mod devices;
mod harness;
mod redelivery;
mod story;
