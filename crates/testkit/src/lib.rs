//! Ridgeline testkit.
