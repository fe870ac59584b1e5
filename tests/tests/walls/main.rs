//! Rules of the source tree that no compiler holds: which crate may name which, licences, file sizes, pages that must
//! exist. Each failing test lists every offender.

mod errors;
mod files;
mod graph;
mod licences;
mod tables;
mod walls;

use std::path::PathBuf;

/// The workspace's root folder.
fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Fails with the whole list.
#[track_caller]
fn assert_none(what: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{what}:\n  {}", offenders.join("\n  "));
}
