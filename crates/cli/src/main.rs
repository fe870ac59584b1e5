//! Ridgeline cli.
fn main() {}
