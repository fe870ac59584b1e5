//! Ridgeline benches.
