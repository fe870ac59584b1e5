//! Ridgeline flow.
