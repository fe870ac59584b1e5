//! Device authentication: an auth worker over log and store, asked as a gateway asks, by phones that hold keys.

mod actions;
mod attacks;
mod devices;
mod due;
mod harness;
mod notify;
mod redelivery;
mod steps;
mod story;
