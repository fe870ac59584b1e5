//! Ridgeline synth.
