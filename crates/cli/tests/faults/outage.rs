//! A broker and a store that are killed and come back. Each has a stack of its own, so that no other test notices.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ridgeline_testkit::stack;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::load::Load;
use crate::oracle::{dead_letters, judge};
use crate::place::Place;
use crate::site::Site;
use crate::{is_left_out, outage_time, report};

const LANES: usize = 4;
const PACE: Duration = Duration::from_millis(300);
const BEFORE: Duration = Duration::from_secs(5);

/// A service of the test stack that belongs to one scenario.
struct Service {
    name: &'static str,
    dir: TempDir,
}

impl Service {
    fn start(name: &'static str) -> Self {
        let service = Self { name, dir: tempfile::tempdir().unwrap() };
        service.again();
        service
    }

    /// Starts it where it was, with its data and its port.
    fn again(&self) {
        let dir = self.dir.path().join(self.name);
        script(&["start", self.name, dir.to_str().unwrap()]);
    }

    fn kill(&self) {
        script(&["kill", self.dir.path().join(self.name).to_str().unwrap()]);
    }

    fn address(&self) -> String {
        let file = self.dir.path().join(self.name).join("address");
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

fn script(arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/stack/stack.sh");
    let status = Command::new(script).args(arguments).status().unwrap();
    assert!(status.success(), "{arguments:?}");
}

/// The broker is killed and away: the gateway answers 503 or an honest 202, and everything is done afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn d2_fault_4_the_broker_is_killed_and_away() {
    if is_left_out("fault 4 broker-away") {
        return;
    }
    let Some(cql) = stack::address(stack::CQL) else { return };
    let broker = Service::start("kafka");
    let site = Site::deploy_at(Place::at(broker.address(), cql));
    let (gateway, _surroundings) = site.surroundings().await;
    let _matcher = site.start("matcher", "matcher").await;
    let load = Load::start(vec![site.client(&gateway)], LANES, PACE);
    sleep(BEFORE).await;
    let before = load.ledger.refused();
    broker.kill();
    sleep(outage_time()).await;
    assert!(load.ledger.refused() > before, "without a broker nothing is accepted");
    broker.again();
    let so_far = load.ledger.count();
    while load.ledger.count() < so_far + 10 {
        sleep(Duration::from_millis(50)).await;
    }
    let ledger = load.end().await;
    let verdict = judge(&site, &ledger.accepted()).await;
    assert_eq!(dead_letters(&site).await, 0);
    report(4, "broker-away", &verdict);
}

/// The store is killed and away: nothing is lost, and nothing becomes a dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn d3_fault_5_the_store_is_killed_and_away() {
    if is_left_out("fault 5 store-away") {
        return;
    }
    let Some(kafka) = stack::address(stack::KAFKA) else { return };
    let store = Service::start("cassandra");
    let site = Site::deploy_at(Place::at(kafka, store.address()));
    let (gateway, _surroundings) = site.surroundings().await;
    let _matcher = site.start("matcher", "matcher").await;
    // The node flushes its schema by itself; killed before, it would forget its tables.
    sleep(Duration::from_secs(15)).await;
    let load = Load::start(vec![site.client(&gateway)], LANES, PACE);
    sleep(BEFORE).await;
    store.kill();
    sleep(outage_time()).await;
    store.again();
    let so_far = load.ledger.count();
    while load.ledger.count() < so_far + 10 {
        sleep(Duration::from_millis(50)).await;
    }
    let ledger = load.end().await;
    let verdict = judge(&site, &ledger.accepted()).await;
    assert_eq!(dead_letters(&site).await, 0, "a store that is away poisons nothing");
    report(5, "store-away", &verdict);
}
