//! The walls between crates: DESIGN §4 and rules 1, 3 and 4 of the style.

use crate::assert_none;
use crate::graph::{direct, linked, members};

/// A library, and the only product crates that may depend on it directly.
const ONLY: &[(&str, &[&str])] = &[
    ("rdkafka", &["ridgeline-kafka"]),
    ("scylla", &["ridgeline-cql"]),
    ("fjall", &["ridgeline-embedded"]),
    ("axum", &["ridgeline-gateway"]),
    // Public keys of devices only: RUSTSEC-2023-0071 is about private ones.
    ("rsa", &["ridgeline-vault"]),
    ("reqwest", &["ridgeline-client", "ridgeline-egress"]),
    // A serialisable type is a promise, so only boundary crates can make one. The vault reads the JSON of tokens, member by member.
    ("serde", &["ridgeline-wire", "ridgeline-gateway", "ridgeline-client", "ridgeline-cli", "ridgeline-vault"]),
];

/// Decide or compute without clock, randomness, files or network.
const PURE: &[&str] = &[
    "ridgeline-domain",
    "ridgeline-evaluation",
    "ridgeline-fingerprint",
    "ridgeline-flow",
    "ridgeline-report",
    "ridgeline-synth",
];

/// What a pure crate must not link, through another crate neither.
const IMPURE: &[&str] = &["tokio", "mio", "getrandom", "axum", "fjall", "rdkafka", "scylla", "reqwest", "serde"];

/// What the worker loop must not link: it knows ports.
const ADAPTERS: &[&str] = &["rdkafka", "scylla", "axum", "fjall", "reqwest"];

/// What must not be linked where the HTTP layer and the auth workers alike are told who calls, and where notifications are sent.
const OTHERS_PLACES: &[&str] = &["rdkafka", "scylla", "axum", "fjall"];

/// Never part of a product binary; they may use anything.
const TEST_ONLY: &[&str] = &["ridgeline-testkit", "ridgeline-tests", "ridgeline-benches"];

#[test]
fn each_outside_system_is_named_by_one_crate() {
    let mut offenders = Vec::new();
    for package in members().into_iter().filter(|package| !TEST_ONLY.contains(&package.name.as_str())) {
        let names = direct(package);
        let forbidden = ONLY.iter().filter(|(_, owners)| !owners.contains(&package.name.as_str()));
        let named = forbidden.filter(|(library, _)| names.contains(library));
        offenders
            .extend(named.map(|(library, owners)| format!("{} names {library}; only {owners:?} may", package.name)));
    }
    assert_none("crates that name what is not theirs", &offenders);
}

#[test]
fn pure_crates_link_nothing_impure() {
    assert_none("impure libraries in pure crates", &linked_from(PURE, IMPURE));
}

#[test]
fn the_worker_loop_links_no_adapter() {
    assert_none("adapters in the worker loop", &linked_from(&["ridgeline-runtime"], ADAPTERS));
}

#[test]
fn who_calls_is_told_without_log_store_and_http_layer() {
    assert_none("adapters where tokens are verified", &linked_from(&["ridgeline-identity"], OTHERS_PLACES));
}

#[test]
fn notifications_are_sent_without_log_store_and_http_layer() {
    assert_none("adapters where notifications are sent", &linked_from(&["ridgeline-push"], OTHERS_PLACES));
}

/// `crate links library`, for every pair that occurs.
fn linked_from(crates: &[&str], libraries: &[&str]) -> Vec<String> {
    let mut offenders = Vec::new();
    for package in crates {
        let closure = linked(package);
        let found = libraries.iter().filter(|library| closure.contains(**library));
        offenders
            .extend(found.map(|library| format!("{package} links {library}: cargo tree -p {package} -i {library}")));
    }
    offenders
}

#[test]
fn the_named_crates_exist() {
    let names: Vec<&str> = members().iter().map(|package| package.name.as_str()).collect();
    let wanted = PURE.iter().chain(TEST_ONLY).chain(&[
        "ridgeline-runtime",
        "ridgeline-embedded",
        "ridgeline-gateway",
        "ridgeline-identity",
        "ridgeline-push",
    ]);
    let missing: Vec<String> = wanted.filter(|name| !names.contains(name)).map(|name| (*name).to_owned()).collect();
    assert_none("crates this file speaks of and the workspace does not have", &missing);
}

#[test]
fn the_testkit_is_only_a_dev_dependency() {
    let product = members().into_iter().filter(|package| !TEST_ONLY.contains(&package.name.as_str()));
    let offenders: Vec<String> = product
        .filter(|package| direct(package).iter().any(|name| TEST_ONLY.contains(name)))
        .map(|package| package.name.to_string())
        .collect();
    assert_none("product crates with test code among their dependencies", &offenders);
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    let offenders: Vec<String> = members()
        .into_iter()
        .filter(|package| {
            let manifest = std::fs::read_to_string(&package.manifest_path).expect("a manifest");
            !manifest.contains("[lints]\nworkspace = true\n")
        })
        .map(|package| package.manifest_path.to_string())
        .collect();
    assert_none("manifests without `[lints] workspace = true`", &offenders);
}
