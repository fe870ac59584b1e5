//! Ridgeline testkit.

pub mod covers;
