//! Ridgeline agent.
