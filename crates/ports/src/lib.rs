//! Ridgeline ports.
