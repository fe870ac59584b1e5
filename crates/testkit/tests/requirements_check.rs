//! `requirements-check` as `./dev test` runs it. (That an integration test names the binary is also what makes
//! `cargo test` build it.)

use std::process::{Command, Output};

fn run(arguments: &[&std::path::Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_requirements-check")).args(arguments).output().unwrap()
}

fn table(first_row: &str) -> String {
    let planned: String = (2..=319).map(|number| format!("R-{number:03},planned,,,later\n")).collect();
    format!("id,status,where,test,note\n{first_row}\n{planned}")
}

#[test]
fn exit_code_and_output_tell_whether_table_and_run_agree() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, covers) = (folder.path().join("requirements.csv"), folder.path().join("covers"));
    std::fs::create_dir(&covers).unwrap();
    std::fs::write(covers.join("1.csv"), "R-001,a::b\n").unwrap();

    std::fs::write(&csv, table("R-001,done,.,a::b,")).unwrap();
    let output = run(&[&csv, &covers]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "requirements: 1 done, 0 partial, 318 planned, 0 declined of 319\n"
    );

    std::fs::write(&csv, table("R-001,done,.,a::c,")).unwrap();
    let output = run(&[&csv, &covers]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("R-001: a::c did not prove it in this run"), "{text}");
    assert!(text.contains("R-001: covered by a::b, which its row (done) does not name"), "{text}");
    assert!(text.ends_with("requirements: 2 discrepancies\n"), "{text}");
}

#[test]
fn wrong_use_is_no_success() {
    assert_eq!(run(&[]).status.code(), Some(2));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(&[&folder.path().join("absent.csv"), folder.path()]).status.code(), Some(1));
}
