//! Consumers outside: stock Python clients read the public topics, by the gateway's schemas and by a registry's.

use std::path::Path;
use std::process::Command;

use ridgeline_egress::ConfiguredOptions;
use ridgeline_registry::Registry;
use ridgeline_testkit::stack;
use serde_json::Value;

use crate::place::Place;
use crate::running::{Up, ridgeline, text};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/consumers/consume.py");

/// What the script printed about the records of both topics.
fn consume(python: &str, place: &Place, registry: &str) -> Vec<Value> {
    let topics = ["decisions", "audit"].map(|topic| format!("{}.{topic}=2", place.own));
    let output = Command::new(python)
        .arg(SCRIPT)
        .args(["--brokers", &place.kafka, "--registry", registry, "--group", &format!("{}.outside", place.own)])
        .args(["--topic", &topics[0], "--topic", &topics[1]])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Enrols and verifies.
fn work(dir: &Path, up: &Up) {
    let pictures = dir.join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    crate::images(&pictures, 1, 3);
    for arguments in
        [&["enrol", "1_1.png", "1_2.png", "--subject", "alice"][..], &["verify", "1_3.png", "--subject", "alice"]]
    {
        let output = up.command().current_dir(&pictures).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
}

/// Each request has one decision and one event, whole and with the headers that `docs/asyncapi.json` promises.
fn are_whole(records: &[Value], place: &Place, schema_id: impl Fn(&str) -> u64) {
    for (name, id_of) in [("decisions", "confirmation_id"), ("audit", "request_id")] {
        let of_topic = |record: &&Value| record["topic"] == format!("{}.{name}", place.own);
        let found: Vec<_> = records.iter().filter(of_topic).collect();
        assert_eq!(found.len(), 2, "{name}: {records:#?}");
        let mut outcomes = Vec::new();
        for record in found {
            let (value, headers) = (&record["value"], &record["headers"]);
            let id = value[id_of].as_str().unwrap();
            let suffix = if name == "audit" { "audit" } else { "decision" };
            assert_eq!(headers["ce_id"], format!("{id}:{suffix}"));
            assert_eq!(headers["ce_type"], format!("dev.ridgeline.{name}.v1"));
            assert_eq!((&headers["ce_specversion"], &headers["content-type"]), (&"1.0".into(), &"avro/binary".into()));
            assert!(headers["ce_source"].is_string(), "{headers}");
            assert_eq!(headers["traceparent"].as_str().unwrap().len(), 55, "{headers}");
            assert_eq!(record["key"], if name == "audit" { "alice" } else { id });
            assert_eq!(value["subject_id"], "alice");
            assert_eq!(record["schema_id"], schema_id(name), "{name}");
            outcomes.push(value["outcome"].as_str().unwrap());
        }
        outcomes.sort_unstable();
        assert_eq!(outcomes, ["enrolled", "match"], "{name}");
    }
}

#[test]
fn stock_consumers_read_the_public_topics_by_the_gateways_schemas() {
    let (Some(python), Some(place)) = (stack::address(stack::PYTHON), Place::new()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = place.configure(dir.path(), &[]);
    let up = Up::start(dir.path(), &["--config", &config]);
    work(dir.path(), &up);
    are_whole(&consume(&python, &place, up.url()), &place, |name| if name == "audit" { 8_001 } else { 5_001 });
}

#[test]
fn with_a_registry_its_ids_stand_in_front_of_values() {
    let Some(url) = stack::address(stack::REGISTRY) else { return };
    let (Some(python), Some(place)) = (stack::address(stack::PYTHON), Place::new()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = place.configure(dir.path(), &[]);
    let file = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{file}[registry]\nurl = \"{url}\"\n")).unwrap();
    let run = |arguments: &[&str]| {
        let output = ridgeline(dir.path()).args(arguments).args(["--config", &config]).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    };
    for command in [&["topics", "apply"][..], &["migrate"]] {
        assert_eq!(run(command).0, 0, "{command:?}");
    }
    let matcher = ["matcher", "--admin-listen", "127.0.0.1:0"];
    let (code, said) = run(&matcher);
    assert!(code == 2 && said.contains("-value") && said.contains("ridgeline schemas register"), "{said}");
    let (code, said) = run(&["schemas", "check"]);
    assert!(code == 1 && said.contains("decisions-value: not registered"), "{said}");
    let (code, ids) = run(&["schemas", "register"]);
    assert_eq!(code, 0, "{ids}");
    assert_eq!(run(&["schemas", "register"]), (0, ids.clone()), "registered twice");
    assert_eq!(run(&["schemas", "check"]).0, 0);

    let up = Up::start(dir.path(), &["--config", &config]);
    work(dir.path(), &up);
    let registered = |name: &str| {
        let line = ids.lines().find_map(|line| line.strip_prefix(&format!("{}.{name}-value: id ", place.own)));
        line.unwrap().parse::<u64>().unwrap()
    };
    are_whole(&consume(&python, &place, &url), &place, registered);
    let registry = Registry::new(ConfiguredOptions::new(&url)).unwrap();
    let prefix = format!("{}.", place.own);
    tokio::runtime::Runtime::new().unwrap().block_on(ridgeline_registry::remove(&registry, &prefix)).unwrap();
}

#[test]
fn a_registry_that_is_away_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, wanted) in [
        (&["schemas", "check"][..], "--registry"),
        (&["schemas", "check", "--registry", "http://127.0.0.1:1"], "cannot reach http://127.0.0.1:1"),
        (&["schemas", "register", "--registry", "http://me:secret@r/"], "not a plain http:// or https:// address"),
        (&["schemas", "check", "--registry", "http://127.0.0.1:1", "--topic-prefix", "a/b"], "--topic-prefix"),
    ] {
        let output = ridgeline(dir.path()).env_remove("RIDGELINE_REGISTRY").args(arguments).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(wanted) && !said.contains("secret"), "{arguments:?}: {said}");
    }
}
