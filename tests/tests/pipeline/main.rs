//! The roles together over the embedded log and store: scans go in as sealed, signed records; decisions and audit events come out.

mod fingers;
mod foreign;
mod harness;
mod poison;
mod processes;
mod replay;
mod story;
