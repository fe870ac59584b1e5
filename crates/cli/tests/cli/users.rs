//! The service's own users, from the command line.

use std::io::Write as _;
use std::process::{Output, Stdio};

use crate::run;
use crate::running::{Up, text};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// The command with this on its standard input.
pub(crate) fn users(up: &Up, arguments: &[&str], input: &str) -> Output {
    told(up, "users", arguments, input)
}

/// Any command with this on its standard input.
pub(crate) fn told(up: &Up, name: &str, arguments: &[&str], input: &str) -> Output {
    let mut command = up.command();
    command.arg(name).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn operators_add_list_disable_and_enable_users_and_set_passwords_that_nobody_sees() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Up::start(dir.path(), &["--log-level", "debug"]);
    let mut shown = String::new();
    let mut json = |arguments: &[&str], input: &str| -> serde_json::Value {
        let output = users(&up, arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        shown.push_str(&text(&output.stdout));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let add = [
        "add",
        "An@Example.vn",
        "--password-stdin",
        "--role",
        "teller",
        "--role",
        "approver",
        "--department",
        "Quầy 2",
    ];
    let added = json(&add, &format!("{PASSWORD}\n"));
    assert_eq!((&added["email"], &added["roles"][0]), (&"an@example.vn".into(), &"approver".into()));
    let of_list = |list: &serde_json::Value| (list[0]["id"].clone(), list[0]["disabled"].clone());
    assert_eq!(of_list(&json(&["list"], "")), (added["id"].clone(), false.into()));
    json(&["disable", "an@example.vn"], "");
    assert_eq!(of_list(&json(&["list"], "")), (added["id"].clone(), true.into()));
    json(&["enable", "AN@example.vn"], "");
    json(&["password", "an@example.vn", "--password-stdin"], "another battery\r\n");
    assert_eq!(of_list(&json(&["list"], "")), (added["id"].clone(), false.into()));

    for (arguments, input, said) in [
        (&["add", "an@example.vn", "--password-stdin"][..], PASSWORD, "is taken"),
        (&["add", "nobody", "--password-stdin"], PASSWORD, "e-mail address"),
        (&["add", "b@example.vn", "--password-stdin"], "short", "standard input"),
        (&["add", "b@example.vn"], PASSWORD, "--password-stdin"),
        (&["add", "b@example.vn", "--password-stdin", "--role", "a b"], PASSWORD, "letters"),
        (&["password", "b@example.vn", "--password-stdin"], PASSWORD, "add the user first"),
        (&["disable", "b@example.vn"], "", "add the user first"),
    ] {
        let output = users(&up, arguments, input);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(said) && output.stdout.is_empty(), "{arguments:?}: {error}");
        shown.push_str(&error);
    }
    let (_, said, log) = up.terminate();
    for secret in [PASSWORD, "another battery", "argon2"] {
        assert!(!shown.contains(secret) && !said.contains(secret) && !log.contains(secret), "a password was shown");
    }
    assert!(!log.contains("an@example.vn"), "logs name users by their ids");
}

#[test]
fn without_a_service_the_way_to_its_key_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["users", "list"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--admin-key-file"));
}
