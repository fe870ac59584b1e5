//! Ridgeline workers.
