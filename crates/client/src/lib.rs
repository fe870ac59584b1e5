//! Ridgeline client.
