//! Ridgeline runtime.
