//! Roles as processes of their own, over a real Kafka and a real store.

use std::time::Duration;

use crate::place::Place;
use crate::running::{Up, ridgeline, text, within};

#[test]
fn the_demo_tells_the_same_story_over_kafka_and_cassandra() {
    let Some(place) = Place::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["demo", "--exit", "--json", "--fingers", "5", "--kafka", &place.kafka, "--cql", &place.cql];
    let demo = ridgeline(dir.path()).env_remove("RIDGELINE_DATA_DIR").args(arguments).output().unwrap();
    assert!(demo.status.success(), "{}", text(&demo.stderr));
    crate::is_the_whole_story(&demo.stdout);
}

#[test]
fn the_demo_tells_the_same_story_of_a_phone_over_kafka_and_cassandra() {
    let Some(place) = Place::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["demo", "--story", "auth", "--exit", "--json", "--kafka", &place.kafka, "--cql", &place.cql];
    let demo = ridgeline(dir.path()).env_remove("RIDGELINE_DATA_DIR").args(arguments).output().unwrap();
    assert!(demo.status.success(), "{}", text(&demo.stderr));
    crate::is_the_story_of_phones(&demo.stdout);
}

#[test]
fn a_role_says_what_is_missing_before_it_can_start() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = ridgeline(dir.path()).args(arguments).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, said) = run(&["matcher"]);
    assert!(code == 2 && said.contains("--kafka") && said.contains("--cql"), "{said}");
    let (code, said) = run(&["topics", "plan"]);
    assert!(code == 2 && said.contains("--kafka"), "{said}");
    let (code, said) = run(&["migrate"]);
    assert!(code == 2 && said.contains("--cql"), "{said}");
    std::fs::write(
        dir.path().join("site.toml"),
        "profile = \"production\"\n[kafka]\nbrokers = \"k\"\nreplication = 1\n[cql]\nhosts = [\"c\"]\n",
    )
    .unwrap();
    let (code, said) = run(&["gateway", "--config", "site.toml"]);
    assert!(code == 2 && said.contains("kafka.replication = 1") && said.contains("--name"), "{said}");
    let Some(place) = Place::new() else { return };
    let config = place.configure(dir.path(), &[]);
    let (code, said) = run(&["merger", "--config", &config, "--admin-listen", "127.0.0.1:0"]);
    assert!(code == 2 && said.contains("topics apply"), "{said}");
    assert_eq!(run(&["topics", "apply", "--config", &config]).0, 0);
    let (code, said) = run(&["merger", "--config", &config, "--admin-listen", "127.0.0.1:0"]);
    assert!(code == 2 && said.contains("ridgeline migrate"), "{said}");
}

/// Deploys by the commands of the README, works through one gateway, asks the other, and stops everything in order.
#[test]
fn any_gateway_answers_and_every_role_is_watched_on_its_admin_port() {
    let Some(place) = Place::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = place.configure(dir.path(), &[]);
    let run = |arguments: &[&str]| {
        let output = ridgeline(dir.path()).args(arguments).args(["--config", &config]).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    };
    assert_eq!(run(&["init", "--gateway", "gw"]).0, 0);
    let (code, said) = run(&["topics", "plan"]);
    assert!(code == 1 && said.contains(&format!("create {}.scans with 48 partitions", place.own)), "{said}");
    for command in
        [&["topics", "apply"][..], &["topics", "plan"], &["migrate", "--dry-run"], &["migrate"], &["migrate"]]
    {
        let (code, said) = run(command);
        assert_eq!(code, 0, "{command:?}: {said}");
    }
    let start = |role, name| Up::start_as(role, dir.path(), &["--config", &config, "--name", name]);
    let mut processes = [("gateway", "gw"), ("gateway", "gw"), ("matcher", "m"), ("gallery", "g"), ("merger", "j")]
        .map(|(role, name)| start(role, name));
    for process in &processes {
        within(Duration::from_secs(30), || process.admin("/health/ready").contains("HTTP/1.1 200"));
    }
    let pictures = dir.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    crate::images(&pictures, 2, 3);
    let [one, other, matcher, gallery, ..] = &processes;
    let ask = |gateway: &Up, arguments: &[&str]| {
        let output = gateway.command().current_dir(&pictures).args(arguments).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, said) = ask(one, &["enrol", "1_1.png", "1_2.png", "--subject", "alice"]);
    assert!(code == 0, "{said}");
    let (code, said) = ask(other, &["verify", "1_3.png", "--subject", "alice"]);
    assert!(code == 0 && said.starts_with("match alice"), "{said}");
    let (code, said) = ask(one, &["identify", "1_3.png"]);
    assert!(code == 0 && said.starts_with("match alice"), "{said}");
    let (code, said) = ask(other, &["identify", "2_3.png"]);
    assert!(code == 1 && said.starts_with("no_match"), "{said}");
    assert!(matcher.metrics().contains("ridgeline_records_total"), "{}", matcher.metrics());
    assert!(gallery.metrics().contains("ridgeline_gallery_subjects 1"), "{}", gallery.metrics());
    assert!(gallery.admin("/health").contains("\"gallery\"") && gallery.admin("/nowhere").contains("HTTP/1.1 404"));
    for process in &mut processes {
        let (status, _, log) = process.terminate();
        assert!(status.success(), "{log}");
    }
}
