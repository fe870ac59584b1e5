//! Faults on a real Kafka and a real CQL store, with every role a process of its own. `docs/faults.md` tells what each does.
//!
//! Each scenario ends with a line for people and machines:
//! `fault 1 kill-between-effect-and-commit: accepted 4000, decided 4000, doubled 0, lost 0, audit 4000: passed`

#[path = "../common/oracle.rs"]
mod oracle;
#[path = "../common/scans.rs"]
mod scans;

mod gateways;
mod member;
mod outages;
mod place;
mod records;
mod sampler;
mod secure;
mod site;
mod tokens;
mod traffic;
mod workers;

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Mutex;

use crate::oracle::Verdict;
use crate::place::Place;

/// `all`: every scenario, in its full length. Otherwise those that a test run has time for, with short outages.
const WHICH: &str = "RIDGELINE_FAULTS";

/// Scenarios share two processors with their brokers: one at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

fn is_full() -> bool {
    std::env::var(WHICH).is_ok_and(|which| which == "all")
}

/// `full` of a full run, else `short`.
fn length<T>(full: T, short: T) -> T {
    if is_full() { full } else { short }
}

/// How long something is away.
fn outage() -> Duration {
    length(Duration::from_secs(30), Duration::from_secs(5))
}

/// Which runs a scenario belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Every test run.
    Always,
    /// `./dev faults` only.
    Full,
}

/// A line that the test harness does not keep to itself.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Runs a scenario alone and says how it went.
async fn scenario(title: &str, when: When, place: fn() -> Option<Place>, body: impl AsyncFnOnce(&Place) -> Verdict) {
    if when == When::Full && !is_full() {
        line(&format!("skipped: fault {title}: {WHICH}=all runs it"));
        return;
    }
    let Some(place) = place() else { return };
    let _alone = ALONE.lock().await;
    match AssertUnwindSafe(body(&place)).catch_unwind().await {
        Ok(verdict) if verdict.faults().is_empty() => line(&format!("fault {title}: {verdict}: passed")),
        Ok(verdict) => {
            line(&format!("fault {title}: {verdict}: failed"));
            panic!("{:#?}", verdict.faults());
        }
        Err(panic) => {
            line(&format!("fault {title}: not judged: failed"));
            std::panic::resume_unwind(panic);
        }
    }
}

/// Waits until `condition` holds.
async fn within(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(limit, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(waited.await.is_ok(), "not within {limit:?}: {what}");
}

macro_rules! scenarios {
    ($($(#[$attribute:meta])* $test:ident: $title:literal, $when:expr, $place:expr => $body:path;)+) => {$(
        $(#[$attribute])*
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            scenario($title, $when, $place, async |place: &Place| $body(place).await).await;
        }
    )+};
}

scenarios! {
    d1_d2_fault_01_kill_between_effect_and_commit:
        "1 kill-between-effect-and-commit", When::Always, Place::shared => workers::kill_between_effect_and_commit;
    d1_fault_02_rolling_restart: "2 rolling-restart", When::Full, Place::shared => workers::rolling_restart;
    d1_d5_fault_03_rebalance_storm: "3 rebalance-storm", When::Always, Place::shared => workers::rebalance_storm;
    d1_fault_04_broker_away: "4 broker-away", When::Full, Place::shared => outages::broker_away;
    d3_fault_05_store_away: "5 store-away", When::Full, Place::shared => outages::store_away;
    d3_fault_06_poison_and_fuse: "6 poison-and-fuse", When::Always, Place::shared => records::poison_and_fuse;
    d1_fault_07_offsets_reset: "7 offsets-reset", When::Always, Place::shared => records::offsets_reset;
    fault_08_slow_consumer: "8 slow-consumer", When::Full, Place::shared => outages::slow_consumer;
    d1_fault_09_wrong_clocks: "9 wrong-clocks", When::Full, Place::shared => workers::wrong_clocks;
    d1_fault_10_gateway_killed: "10 gateway-killed", When::Always, Place::shared => gateways::one_of_two_killed;
    d2_fault_11_cut_mid_frame: "11 cut-mid-frame", When::Full, Place::shared => outages::cut_mid_frame;
    d1_d5_fault_12_scale_up_and_down: "12 scale-up-and-down", When::Full, Place::shared => workers::scale_up_and_down;
    d1_fault_13_tls_and_passwords: "13 tls-and-passwords", When::Full, Place::guarded => secure::elsewhere;
    d1_fault_14_registry: "14 registry", When::Full, Place::registered => secure::elsewhere;
    d1_t1_fault_16_tokens: "16 tokens", When::Always, Place::shared => tokens::tokens;
    d1_fault_15_soak: "15 soak", When::Full, Place::shared => secure::soak;
}
