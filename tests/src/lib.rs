//! Ridgeline tests.
