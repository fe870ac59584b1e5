//! Ridgeline domain.
