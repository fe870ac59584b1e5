//! Workers that die, come, go, and have wrong clocks.

use std::time::Duration;

use ridgeline_domain::{DurationMs, Reason};
use ridgeline_ports::Clock as _;
use ridgeline_runtime::{SystemClock, SystemEntropy};
use ridgeline_wire::decode;
use ridgeline_wire::message::{Decision, Scan};
use tokio::time::sleep;

use crate::member::Member;
use crate::oracle::Verdict;
use crate::place::Place;
use crate::site::{SESSION_DEFAULT, Site};
use crate::traffic::{Ledger, Load, Traffic};
use crate::{length, scans};

const POINTS: [&str; 3] = ["after-store", "before-decision", "after-effects"];

/// Workers kill themselves at a fail point, 20 times in a row under load: 14 matchers and 6 mergers.
pub(crate) async fn kill_between_effect_and_commit(place: &Place) -> Verdict {
    let mut site = Site::new(place).await;
    let (client, _base) = site.base(&[]).await;
    let ledger = Ledger::default();
    let traffic = Traffic::start(&site, &[client], &ledger, Load::STEADY);
    // Each role has a worker again as soon as its last one has died: searches that wait for a merger would end up holding all the load.
    let _last = tokio::join!(dying(&site, "matcher", 14, length(200, 60)), dying(&site, "merger", 6, length(20, 8)));
    traffic.stop().await;
    site.judge(&ledger).await
}

/// One after the other, each dies at the next point after 1 to `passes_max` passes; then comes one that stays.
async fn dying(site: &Site, role: &str, deaths: usize, passes_max: u64) -> Member {
    for number in 0..deaths {
        let name = format!("{role}-{number}");
        let mut command = site.command(role, &name);
        let passes = 1 + random_below(passes_max);
        command.env("RIDGELINE_FAIL_POINT", format!("{}:{passes}", POINTS[number % POINTS.len()]));
        site.spawn(command, &name).died().await;
    }
    site.start(role, &format!("{role}-last")).await
}

fn random_below(limit: u64) -> u64 {
    use ridgeline_ports::Entropy as _;
    let mut bytes = [0; 8];
    SystemEntropy.fill(&mut bytes);
    u64::from_be_bytes(bytes) % limit
}

/// Two matchers are restarted in turn under load, with the sessions of production: nobody waits as long as a session.
pub(crate) async fn rolling_restart(place: &Place) -> Verdict {
    let mut site = Site::with_sessions(place, SESSION_DEFAULT).await;
    let (client, _base) = site.base(&["merger"]).await;
    let mut matchers = vec![site.start("matcher", "m1").await, site.start("matcher", "m2").await];
    let ledger = Ledger::default();
    let traffic = Traffic::start(&site, &[client], &ledger, Load { undecided_max: 40, ..Load::STEADY });
    owns(&matchers[1]).await;
    sleep(Duration::from_secs(5)).await;
    site.watcher.begin_gap();
    for round in 0..2 {
        for number in [1, 2] {
            matchers.remove(0).stop().await;
            let next = site.start("matcher", &format!("m{number}")).await;
            owns(&next).await;
            matchers.push(next);
            crate::line(&format!("  round {round}, matcher {number}: longest gap {:?}", site.watcher.gap()));
        }
    }
    let gap = site.watcher.gap();
    traffic.stop().await;
    let mut verdict = site.judge(&ledger).await;
    crate::line(&format!(
        "  longest gap {gap:?}, {:.2} of a session; longest wait {:?}",
        gap.as_secs_f64() / SESSION_DEFAULT.as_secs_f64(),
        site.watcher.longest_wait(&ledger.times())
    ));
    if gap >= SESSION_DEFAULT {
        verdict.fault("a gap as long as a session", format!("{gap:?}"));
    }
    verdict
}

async fn owns(matcher: &Member) {
    crate::within(Duration::from_secs(60), "a new matcher owns partitions", async || {
        matcher.metric("ridgeline_partitions_owned", "role=\"matcher\"").await > 0.0
    })
    .await;
}

/// Beside one that stays, matchers join and leave every second; each third is killed instead of stopped.
pub(crate) async fn rebalance_storm(place: &Place) -> Verdict {
    const STORM: f64 = 3.0;
    const MOST_GUESTS: usize = 90;
    let mut site = Site::new(place).await;
    let (client, base) = site.base(&["merger", "matcher"]).await;
    let ledger = Ledger::default();
    let traffic = Traffic::start(&site, &[client], &ledger, Load::STEADY);
    let stayed = base.last().unwrap();
    let mut guests = std::collections::VecDeque::new();
    let mut leaving = tokio::task::JoinSet::new();
    let mut moved = 0.0;
    // A slow machine needs more comings and goings until the group has noticed some.
    for number in 0..MOST_GUESTS {
        if number >= length(30, 10) && moved >= STORM {
            break;
        }
        let name = format!("guest-{number}");
        guests.push_back(site.spawn(site.command("matcher", &name), &name));
        sleep(Duration::from_secs(1)).await;
        if guests.len() > 3 {
            let guest = guests.pop_front().unwrap();
            if number % 3 == 0 {
                guest.kill();
            } else {
                leaving.spawn(guest.stop());
            }
        }
        moved = stayed.metric("ridgeline_rebalances_total", "revoked").await;
    }
    while let Some(left) = leaving.join_next().await {
        left.unwrap();
    }
    drop(guests);
    traffic.stop().await;
    let mut verdict = site.judge(&ledger).await;
    if moved < STORM {
        verdict.fault("no storm: the matcher that stayed gave partitions away too seldom", moved.to_string());
    }
    verdict
}

/// Workers whose clocks are right, ten minutes early and ten minutes late decide the same about the same requests, also about what
/// has expired, and stamp alike.
pub(crate) async fn wrong_clocks(place: &Place) -> Verdict {
    const OFF_MS: i64 = 600_000;
    let mut site = Site::new(place).await;
    let gateway = site.gateway("gw1").await;
    let client = gateway.client(&gateway.api_key());
    let signer = site.agent("reader-1");
    let mut told = Vec::new();
    let ledger = Ledger::default();
    // The first round leaves what every later one begins with.
    for (name, offset) in [("first", 0), ("right", 0), ("late", OFF_MS), ("early", -OFF_MS)] {
        let mut members = Vec::new();
        for role in ["matcher", "gallery", "merger"] {
            let name = format!("{role}-{name}");
            let mut command = site.command(role, &name);
            command.env("RIDGELINE_CLOCK_OFFSET_MS", offset.to_string());
            members.push(site.spawn(command, &name).ready().await);
        }
        let mut ids = Vec::new();
        for number in 0..40 {
            let id = ledger.submit(&client, &scans::scan(number, &site.images)).await.expect("accepted");
            decided(&site, &id).await;
            ids.push(id);
        }
        for number in 0..10 {
            // A verification is valid for a minute.
            let age_s = if number % 2 == 0 { 120 } else { 0 };
            let captured_at = SystemClock.now().plus(DurationMs::from_secs(-age_s));
            let record = site.record(&signer, &format!("s{}", number / 2), number, captured_at);
            let scan: Scan = decode(record.value.as_ref().unwrap()).unwrap();
            site.log.publish(record).await.unwrap();
            let id = scan.request_id.to_string();
            decided(&site, &id).await;
            ids.push(id);
        }
        told.push(ids);
        for member in members {
            member.stop().await;
        }
    }
    let _last = [site.start("matcher", "matcher").await, site.start("merger", "merger").await];
    let mut verdict = site.judge(&ledger).await;
    let expired = |decision: &Decision| decision.reason == Some(Reason::Expired);
    for number in 0..told[0].len() {
        let all: Vec<_> = told[1..].iter().filter_map(|ids| verdict.decisions.get(&ids[number]).cloned()).collect();
        let [right, others @ ..] = &all[..] else { continue };
        if others.iter().any(|other| (other.outcome, other.reason) != (right.outcome, right.reason)) {
            verdict.fault("a clock changes a decision", format!("request {number}"));
        }
        if expired(right) != (number >= 40 && number % 2 == 0) {
            verdict.fault("judged at a wrong time", format!("request {number}"));
        }
        let late = |decision: &Decision| !(0..OFF_MS / 2).contains(&decision.decided_at.since(decision.evaluated_at).0);
        if all.iter().any(late) {
            verdict.fault("a stamp of a wrong clock", format!("request {number}"));
        }
    }
    verdict
}

async fn decided(site: &Site, id: &str) {
    crate::within(Duration::from_secs(60), "a decision", async || site.watcher.has(id)).await;
}

/// One matcher, three, one again, under load.
pub(crate) async fn scale_up_and_down(place: &Place) -> Verdict {
    let mut site = Site::new(place).await;
    let (client, _base) = site.base(&["merger", "matcher"]).await;
    let ledger = Ledger::default();
    let traffic = Traffic::start(&site, &[client], &ledger, Load::STEADY);
    sleep(length(Duration::from_secs(10), Duration::from_secs(3))).await;
    let more = [site.start("matcher", "more-1").await, site.start("matcher", "more-2").await];
    for matcher in &more {
        owns(matcher).await;
    }
    sleep(length(Duration::from_secs(10), Duration::from_secs(3))).await;
    for matcher in more {
        let done = matcher.metric("ridgeline_records_total", "role=\"matcher\"").await;
        assert!(done > 0.0, "a further matcher did nothing");
        matcher.stop().await;
    }
    sleep(length(Duration::from_secs(10), Duration::from_secs(3))).await;
    traffic.stop().await;
    site.judge(&ledger).await
}
