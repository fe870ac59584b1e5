//! Ridgeline wire.
