//! Ridgeline gateway.
