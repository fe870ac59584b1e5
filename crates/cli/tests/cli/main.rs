//! The binary as people use it: what it prints, how it ends.

mod cluster;
mod consumers;
mod phones;
#[path = "../common/place.rs"]
mod place;
mod running;
mod users;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use ridgeline_testkit::covers;

use crate::running::{Up, ridgeline, text, within};

fn run(arguments: &[&str], dir: &Path) -> Output {
    ridgeline(dir).args(arguments).output().unwrap()
}

/// Synthetic images in `dir`, 500 dpi, named `<finger>_<impression>.png`.
fn images(dir: &Path, fingers: u32, impressions: u32) {
    let (fingers, impressions) = (fingers.to_string(), impressions.to_string());
    let arguments = ["synth", "--seed", "11", "--fingers", &fingers, "--impressions", &impressions, "--out"];
    let made = ridgeline(dir).args(arguments).arg(dir).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
}

#[test]
fn help_names_every_command_and_what_it_is_for() {
    let dir = tempfile::tempdir().unwrap();
    let help = run(&["--help"], dir.path());
    let shown = text(&help.stdout);
    for word in
        ["up", "demo", "agent", "synth", "eval", "enrol", "verify", "identify", "decisions", "audit", "--data-dir"]
    {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    let up = text(&run(&["up", "--help"], dir.path()).stdout);
    assert!(up.contains("--danger-plain-http") && up.contains("127.0.0.1:8080"), "{up}");
    assert!(!text(&run(&["demo", "--help"], dir.path()).stdout).contains("--fingers"));
}

#[test]
fn mistakes_end_with_a_line_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ridgeline.toml");
    std::fs::write(&config, "lissten = \"127.0.0.1:1\"\n").unwrap();
    for (arguments, said) in [
        (vec!["up", "--config", config.to_str().unwrap()], "lissten"),
        (vec!["up", "--config", "nowhere.toml"], "nowhere.toml"),
        (vec!["up", "--listen", "0.0.0.0:0"], "--danger-plain-http"),
        (vec!["verify", "a.png"], "--subject"),
        (vec!["identify", "a.png"], "--api-key"),
        (vec!["demo", "--exit", "--scans", "nowhere"], "nowhere"),
    ] {
        let output = run(&arguments, dir.path());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(said) && error.lines().count() <= 6, "{arguments:?}: {error}");
    }
    assert!(!dir.path().join("data").exists(), "nothing is made for a command that cannot work");
}

/// The demo's result with five fingers: every request is there, nobody was taken for somebody else, and all were audited.
fn is_the_whole_story(printed: &[u8]) {
    let story: serde_json::Value = serde_json::from_slice(printed).unwrap();
    let of = |name: &str| {
        let operations = story["operations"].as_array().unwrap();
        let row = operations.iter().find(|row| row["operation"] == name).unwrap();
        (row["n"].as_u64().unwrap(), row["false_accepts"].as_u64().unwrap())
    };
    // 4 of 5 fingers, 2 impressions each beyond the enrolment; each against itself and 3 others, and searched for.
    assert_eq!((of("enrol"), of("verify"), of("identify")), ((4, 0), (8 * 4 + 1, 0), (8 + 4 + 1, 0)));
    let pairs = story["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 4 + 33 + 13);
    let replay = pairs.iter().find(|pair| pair["image"] == "enrolled-template").unwrap();
    assert_eq!((&replay["expected"], &replay["got"]), (&"rejected".into(), &"rejected".into()));
    assert_eq!(story["audit_events"].as_u64(), Some(50), "one for each request");
    assert!(story["first_decision_ms"].as_u64().unwrap() > 0);
}

#[test]
fn the_demo_tells_its_story_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let temporary = dir.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ridgeline"));
    let demo = command.current_dir(dir.path()).env("TMPDIR", &temporary);
    let demo = demo.args(["demo", "--exit", "--json", "--fingers", "5"]).output().unwrap();
    let said = text(&demo.stderr);
    assert!(demo.status.success(), "{said}");
    is_the_whole_story(&demo.stdout);
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    assert!(!dir.path().join("ridgeline-data").exists());
}

/// Every step of the story of device authentication, and that it leaves nothing behind.
fn is_the_story_of_phones(printed: &[u8]) {
    let story: serde_json::Value = serde_json::from_slice(printed).unwrap();
    let steps = story["steps"].as_array().unwrap();
    for step in steps {
        let mut members: Vec<_> = step.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["expected", "got", "ok", "status", "step"]);
        assert_eq!(step["ok"], true, "{step}");
    }
    assert!(steps.len() >= 20, "{story}");
    let of = |name: &str| steps.iter().find(|step| step["step"].as_str().unwrap().contains(name)).unwrap();
    assert_eq!(of("thief")["status"], 401);
    assert_eq!(of("session is over")["status"], 401);
    assert_eq!(of("critical")["got"], "refresh_token_reused, critical");
    let text = text(printed);
    for secret in ["eyJ", "BEGIN", "correct horse"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn the_demo_tells_the_story_of_a_phone_and_a_theft() {
    covers!("R-083", "R-084");
    let dir = tempfile::tempdir().unwrap();
    let demo = ridgeline(dir.path())
        .env_remove("RIDGELINE_DATA_DIR")
        .args(["demo", "--story", "auth", "--exit", "--json"])
        .output()
        .unwrap();
    assert!(demo.status.success(), "{}", text(&demo.stderr));
    is_the_story_of_phones(&demo.stdout);
    assert!(!dir.path().join("ridgeline-data").exists());
    let (stdout, stderr) = (text(&demo.stdout), text(&demo.stderr));
    assert!(
        !stderr.contains("50000") && !stderr.contains("eyJ"),
        "no amount and no token in a log line: {stdout}{stderr}"
    );
}

#[test]
fn a_service_says_where_it_is_keeps_its_keys_to_itself_and_stops_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Up::start(dir.path(), &["--log-level", "debug", "--log-format", "json"]);
    let key = std::fs::read_to_string(dir.path().join("data/api-key")).unwrap();
    let admin = std::fs::read_to_string(dir.path().join("data/admin-key")).unwrap();
    let audit = up.command().args(["audit", "tail", "--count", "0"]).output().unwrap();
    assert!(audit.status.success(), "{}", text(&audit.stderr));

    let begun = tokio::time::Instant::now();
    let (status, out, log) = up.terminate();
    assert!(begun.elapsed() < Duration::from_secs(10), "an idle service stops at once");
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(out.contains("api-key") && out.contains("http://127.0.0.1:"), "{out}");
    for secret in [key.trim(), admin.trim()] {
        assert!(!secret.is_empty() && !out.contains(secret) && !log.contains(secret), "a key was printed");
    }
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let stopped = lines.iter().find(|line| line["message"] == "stopped").unwrap();
    assert!(stopped["timestamp"].is_string() && stopped["level"] == "INFO" && stopped["line_number"].is_u64());
}

#[test]
fn a_port_or_a_directory_in_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["up", "--admin-listen", "127.0.0.1:0", "--listen", &address], dir.path());
    let error = text(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains(&address) && error.contains("--listen"), "{error}");

    let _up = Up::start(dir.path(), &[]);
    let output = run(&["up", "--admin-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"], dir.path());
    let error = text(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("in use by another process"), "{error}");
}

#[test]
fn people_enrol_verify_and_identify_from_files() {
    ridgeline_testkit::covers!("R-234", "R-235");
    let dir = tempfile::tempdir().unwrap();
    let pictures = dir.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    images(&pictures, 2, 4);
    let up = Up::start(dir.path(), &[]);
    let answer = |arguments: &[&str]| {
        let output = up.command().current_dir(&pictures).args(arguments).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, said) = answer(&["enrol", "1_1.png", "1_2.png", "--subject", "alice"]);
    assert!(code == 0 && said.starts_with("enrolled alice"), "{said}");
    let (code, said) = answer(&["verify", "1_3.png", "--subject", "alice"]);
    assert!(code == 0 && said.starts_with("match alice"), "{said}");
    let (code, said) = answer(&["verify", "2_3.png", "--subject", "alice"]);
    assert!(code == 1 && said.starts_with("no_match alice"), "{said}");
    let (code, said) = answer(&["identify", "1_4.png", "--json"]);
    let decision: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &decision["subject_id"]), (0, &"alice".into()));
    let (code, said) = answer(&["extract", "1_3.png", "--out", "probe.sealed"]);
    assert!(code == 0 && said.starts_with("extracted"), "{said}");
    assert_eq!(answer(&["verify", "probe.sealed", "--subject", "alice"]).0, 0);
    let (code, said) = answer(&["verify", "probe.sealed", "--subject", "alice"]);
    assert!(code == 1 && said.contains("replay"), "a probe is used once: {said}");
    assert_eq!(answer(&["delete", "alice"]).0, 0);
    let (code, said) = answer(&["verify", "1_3.png", "--subject", "alice"]);
    assert!(code == 1 && said.contains("unknown_subject"), "{said}");
    let (_, events) = answer(&["audit", "tail", "--from-beginning", "--count", "9"]);
    assert_eq!(events.lines().filter(|line| line.contains("biometric.")).count(), 9, "{events}");
    let (code, said) = answer(&["identify", "1_4.png", "--api-key", "rl_wrong"]);
    assert!(code == 2 && said.contains("RL-1301"), "{said}");
    let metrics = up.metrics();
    for (status, count) in [("match", 2), ("no_match", 1), ("rejected", 2)] {
        let line =
            format!("biometric_verification_requests_total{{modality=\"fingerprint\",status=\"{status}\"}} {count}");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    assert!(metrics.contains("biometric_verification_duration_seconds_count{modality=\"fingerprint\"} 5"), "{metrics}");
    let readers = [
        ("scans", "matcher"),
        ("partials", "merger"),
        ("gallery", "gallery"),
        ("probes", "gallery"),
        ("decisions", "gateway"),
    ];
    for (topic, role) in readers {
        let labels = format!("topic=\"{topic}\",role=\"{role}\"");
        for name in ["ridgeline_lag_records", "ridgeline_oldest_unfinished_seconds"] {
            assert!(
                metrics.contains(&format!("{name}{{{labels}}} ")),
                "{name} of {role} on {topic} is not in {metrics}"
            );
        }
        if matches!(role, "matcher" | "merger") {
            for name in ["ridgeline_records_running", "ridgeline_records_unfinished", "ridgeline_retries_total"] {
                assert!(metrics.contains(&format!("{name}{{{labels}}} ")), "{name} of {role} is not in {metrics}");
            }
        }
        if !matches!(topic, "probes" | "decisions") {
            let line = format!("ridgeline_rebalances_total{{{labels},kind=\"assigned\"}}");
            assert!(metrics.contains(&line), "{line} is not in {metrics}");
        }
    }
    assert!(metrics.contains("ridgeline_http_publishes 0"), "{metrics}");
    assert!(!metrics.contains("alice"), "a subject in a metric");
}

#[test]
fn a_watched_folder_is_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    images(dir.path(), 1, 3);
    let inbox = dir.path().join("inbox");
    let up = Up::start(dir.path(), &["--folder", inbox.to_str().unwrap(), "--folder-operation", "enrol"]);
    std::fs::copy(dir.path().join("1_1.png"), inbox.join("bob.1.png")).unwrap();
    std::fs::write(inbox.join("bob.2.png"), "no image").unwrap();
    let events = up.command().args(["decisions", "tail", "--from-beginning", "--count", "1"]).output().unwrap();
    let decision: serde_json::Value = serde_json::from_slice(&events.stdout).unwrap();
    let said = (&decision["outcome"], &decision["subject_id"], &decision["reader"]);
    assert_eq!(said, (&"enrolled".into(), &"bob".into(), &"folder".into()));
    within(Duration::from_secs(10), || std::fs::read_dir(inbox.join("refused")).unwrap().count() == 2);
    let done = std::fs::read_dir(inbox.join("done")).unwrap().next().unwrap().unwrap().file_name();
    let id = decision["confirmation_id"].as_str().unwrap();
    assert_eq!(done.to_str().unwrap(), format!("{id}.bob.1.png"), "the file carries its confirmation id");
}

#[test]
fn an_agent_holds_its_scans_while_the_service_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let pictures = dir.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    images(&pictures, 1, 3);
    let mut up = Up::start(dir.path(), &[]);
    let agent = |arguments: &[&str], up: &Up| {
        let mut command = up.command();
        let options = ["agent", "--id", "gate-7", "--operation", "enrol", "--pace-ms", "1", "--simulate"];
        command.args(options).arg(&pictures).args(arguments);
        command
    };
    let output = agent(&["--register"], &up).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (status, ..) = up.terminate();
    assert!(status.success());

    let mut away =
        agent(&[], &up).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let spool = dir.path().join("data/agents/gate-7/spool");
    let waiting = || {
        let files = std::fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "record")).count()
    };
    within(Duration::from_secs(20), || waiting() == 3);
    away.kill().unwrap();
    away.wait().unwrap();

    let up = Up::start(dir.path(), &[]);
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut command = up.command();
    let output =
        command.args(["agent", "--id", "gate-7", "--operation", "enrol", "--simulate"]).arg(&empty).output().unwrap();
    assert!(output.status.success() && waiting() == 0, "{}", text(&output.stderr));
    let events = up.command().args(["decisions", "tail", "--from-beginning", "--count", "6"]).output().unwrap();
    let of_agent = text(&events.stdout).lines().filter(|line| line.contains("gate-7")).count();
    assert_eq!(of_agent, 6, "three before, three after the outage");
}

#[test]
fn eval_writes_what_the_error_rates_are_computed_from() {
    let dir = tempfile::tempdir().unwrap();
    let pictures = dir.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    images(&pictures, 2, 2);
    let out = dir.path().join("out");
    let mut command = ridgeline(dir.path());
    let eval =
        command.args(["eval", "--set", "tiny", "--passes", "1", "--scans"]).arg(&pictures).arg("--out").arg(&out);
    let eval = eval.output().unwrap();
    assert!(eval.status.success(), "{}", text(&eval.stderr));
    let scores = std::fs::read_to_string(out.join("ours.scores.csv")).unwrap();
    assert_eq!(scores.lines().next(), Some("set,finger_a,imp_a,finger_b,imp_b,score"));
    assert_eq!(scores.lines().count(), 1 + 6);
    assert_eq!(std::fs::read_to_string(out.join("ours.extract.csv")).unwrap().lines().count(), 1 + 4);
    assert!(std::fs::read_to_string(out.join("ours.speed.csv")).unwrap().contains("tiny,identify_matches_per_cpu_s,"));
}
