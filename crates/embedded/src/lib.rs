//! Ridgeline embedded.
