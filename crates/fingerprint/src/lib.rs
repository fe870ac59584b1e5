//! Ridgeline fingerprint.
