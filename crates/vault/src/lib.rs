//! Ridgeline vault.
