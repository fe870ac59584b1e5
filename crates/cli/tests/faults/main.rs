//! Faults on a deployment of separate processes over a real Kafka and a real store.
//!
//! One oracle for all (`oracle.rs`). `./dev test` runs the scenarios that need no stack of their own, with outages of 5 s;
//! `./dev faults` (`RIDGELINE_FAULTS=all`) runs everything, in full length, and prints a line for each.

mod load;
mod oracle;
mod outage;
#[path = "../common/place.rs"]
mod place;
mod replay;
#[path = "../common/scans.rs"]
mod scans;
mod site;
mod workers;

use std::time::Duration;

use crate::oracle::Verdict;

/// Whether the long scenarios run, and the short ones in full length.
fn is_full() -> bool {
    std::env::var("RIDGELINE_FAULTS").is_ok_and(|value| value == "all")
}

/// How long something is away.
fn outage_time() -> Duration {
    Duration::from_secs(if is_full() { 30 } else { 5 })
}

/// A scenario of `./dev faults` alone; says so where it is left out.
#[expect(clippy::print_stdout, reason = "the line is what this program is run for")]
fn is_left_out(what: &str) -> bool {
    if !is_full() {
        println!("skipped: {what}: ./dev faults runs it");
    }
    !is_full()
}

/// The line of a scenario, and its end.
#[track_caller]
#[expect(clippy::print_stdout, reason = "the line is what this program is run for")]
fn report(number: u32, name: &str, verdict: &Verdict) {
    let word = if verdict.is_sound() { "passed" } else { "FAILED" };
    println!("fault {number} {name}: {verdict}: {word}");
    assert!(verdict.is_sound(), "fault {number}: {verdict}\n{}", verdict.faults.join("\n"));
}
