//! A fail point kills the process as `kill -9` would: no destructor, no clean-up, no exit code.
#![cfg(debug_assertions)]

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use ridgeline_runtime::{FailPoint, FailPoints};

const INNER: &str = "RIDGELINE_TEST_OF_A_FAIL_POINT";

#[test]
fn the_process_is_killed_at_the_pass_it_was_told() {
    if std::env::var_os(INNER).is_some() {
        let points = FailPoints::parse("after-effects:2").unwrap();
        points.pass(FailPoint::AfterStore);
        points.pass(FailPoint::AfterEffects);
        println!("passed once");
        points.pass(FailPoint::AfterEffects);
        println!("passed twice");
        return;
    }
    let mut inner = Command::new(std::env::current_exe().unwrap());
    let inner = inner.args(["--exact", "the_process_is_killed_at_the_pass_it_was_told", "--nocapture"]).env(INNER, "1");
    let output = inner.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.signal(), Some(9), "{:?}", output.status);
    assert!(said.contains("passed once") && !said.contains("passed twice"), "{said}");
}
