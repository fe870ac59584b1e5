//! Ridgeline testkit.

pub mod clock;
pub mod conformance;
pub mod covers;
pub mod memory;
pub mod proxy;
pub mod stack;
pub mod stall;
pub mod told;
