//! Workers that are killed, restarted, added and taken away under load.

use std::time::Duration;

use ridgeline_ports::NewRecord;
use ridgeline_wire::Topic;
use tokio::time::{Instant, sleep};

use crate::load::Load;
use crate::oracle::{dead_letters, judge, read};
use crate::site::{Process, Site};
use crate::{is_full, is_left_out, outage_time, report};

/// Requests in flight, and how long each lane rests: about ten requests a second.
const LANES: usize = 4;
const PACE: Duration = Duration::from_millis(400);
const LIMIT: Duration = Duration::from_secs(90);
/// Nothing here waits for an exact moment.
const LOOK: Duration = Duration::from_millis(20);

/// Twenty workers in a row die by SIGKILL between an effect and the commit that follows it.
#[tokio::test(flavor = "multi_thread")]
async fn d1_fault_1_workers_killed_between_effect_and_commit() {
    let Some(site) = Site::deploy() else { return };
    let (gateway, _surroundings) = site.surroundings().await;
    let load = Load::start(vec![site.client(&gateway)], LANES, PACE);
    let points = ["after-store", "before-decision", "after-effects"];
    for round in 0..20 {
        let fail = format!("{}:{}", points[round % points.len()], 2 + round % 5);
        let name = format!("victim-{round}");
        let mut victim = site.launch("matcher", &name, &[("RIDGELINE_FAIL_POINT", fail)]);
        let limit = Instant::now() + LIMIT;
        while !victim.has_died() {
            assert!(Instant::now() < limit, "round {round}: the fail point was not reached: {}", site.log(&name));
            sleep(LOOK).await;
        }
    }
    let ledger = load.end().await;
    let _matcher = site.start("matcher", "survivor").await;
    let verdict = judge(&site, &ledger.accepted()).await;
    report(1, "kill-between-effect-and-commit", &verdict);
}

/// Two matchers are restarted one after the other; decisions never pause for as long as a lost member would take.
#[tokio::test(flavor = "multi_thread")]
async fn d1_fault_2_a_rolling_restart_leaves_no_gap() {
    if is_left_out("fault 2 rolling-restart") {
        return;
    }
    let Some(site) = Site::deploy() else { return };
    let (gateway, _surroundings) = site.surroundings().await;
    let mut matchers = vec![site.start("matcher", "m-0").await, site.start("matcher", "m-1").await];
    let load = Load::start(vec![site.client(&gateway)], LANES, PACE);
    sleep(Duration::from_secs(5)).await;
    for round in 2..6 {
        assert!(matchers.remove(0).stop().await.success());
        matchers.push(site.start("matcher", &format!("m-{round}")).await);
        sleep(Duration::from_secs(3)).await;
    }
    let ledger = load.end().await;
    let verdict = judge(&site, &ledger.accepted()).await;
    let mut times: Vec<_> = read(&site, Topic::Decisions).await.iter().map(|record| record.append_time).collect();
    times.sort_unstable();
    let gap_ms = times.windows(2).map(|pair| pair[1].since(pair[0]).0).max().unwrap_or(0);
    let session_ms: i64 = crate::site::SESSION_MS.parse().unwrap();
    println!("fault 2 rolling-restart: longest gap {gap_ms} ms, session timeout {session_ms} ms");
    assert!(gap_ms < session_ms, "a restart that says goodbye must not cost a session timeout");
    report(2, "rolling-restart", &verdict);
}

/// Members join and leave every second.
#[tokio::test(flavor = "multi_thread")]
async fn d2_fault_3_a_rebalance_storm() {
    let Some(site) = Site::deploy() else { return };
    let (gateway, _surroundings) = site.surroundings().await;
    let _steady = site.start("matcher", "steady").await;
    let load = Load::start(vec![site.client(&gateway)], LANES, PACE);
    let until = Instant::now() + outage_time();
    let mut guests: Vec<Process> = Vec::new();
    let mut round = 0;
    while Instant::now() < until {
        guests.push(site.launch("matcher", &format!("guest-{round}"), &[]));
        round += 1;
        sleep(Duration::from_secs(1)).await;
        if guests.len() > 2 {
            let guest = guests.remove(0);
            // Half of them vanish, the others say goodbye.
            if round % 2 == 0 {
                guest.kill();
            } else {
                assert!(guest.stop().await.success());
            }
        }
    }
    guests.into_iter().for_each(Process::kill);
    let ledger = load.end().await;
    let verdict = judge(&site, &ledger.accepted()).await;
    report(3, "rebalance-storm", &verdict);
}

/// Garbage first, in the middle and last is put aside and nothing else; a burst of it trips the fuse, which mends.
#[tokio::test(flavor = "multi_thread")]
async fn d3_fault_6_poison_first_middle_last_and_in_a_burst() {
    let Some(site) = Site::deploy() else { return };
    let (gateway, _surroundings) = site.surroundings().await;
    let client = site.client(&gateway);
    poison(&site, 1).await;
    Load::start(vec![client.clone()], LANES, Duration::ZERO).until(20).await;
    poison(&site, 1).await;
    let mut accepted = Load::start(vec![client.clone()], LANES, Duration::ZERO).until(20).await.accepted();
    poison(&site, 1).await;
    let matcher = site.start("matcher", "matcher").await;
    let verdict = judge(&site, &[]).await;
    assert_eq!(dead_letters(&site).await, 3, "the three, and nothing else");
    assert!(verdict.is_sound(), "{verdict}\n{}", verdict.faults.join("\n"));

    // One more than blows the fuse: what is behind it comes one at a time.
    poison(&site, 51).await;
    let limit = Instant::now() + LIMIT;
    while matcher.metric("ridgeline_fuse_blown").await < 1.0 {
        assert!(Instant::now() < limit, "the fuse holds although everything is poison");
        sleep(LOOK).await;
    }
    accepted.extend(Load::start(vec![client], LANES, Duration::ZERO).until(10).await.accepted());
    let verdict = judge(&site, &accepted).await;
    assert!(matcher.metric("ridgeline_fuse_blown").await < 1.0, "a record that succeeds mends the fuse");
    assert_eq!(dead_letters(&site).await, 3 + 51);
    report(6, "poison", &verdict);
}

/// Records that are no scans, all in one partition.
async fn poison(site: &Site, count: usize) {
    let log = site.kafka.log();
    for number in 0..count {
        let record = NewRecord {
            topic: Topic::Scans.name(&site.prefix()),
            partition: None,
            key: "poison".into(),
            value: Some(format!("no scan {number}").into()),
            headers: vec![],
        };
        log.publish(record).await.unwrap();
    }
}

/// Workers whose clocks are ten minutes off, either way, decide like the others, and judge `valid_until` alike.
#[tokio::test(flavor = "multi_thread")]
async fn fault_9_a_workers_clock_is_ten_minutes_off() {
    if is_left_out("fault 9 wrong-clock") {
        return;
    }
    let Some(site) = Site::deploy() else { return };
    let gateway = site.start("gateway", "gw-1").await;
    let client = site.client(&gateway);
    let images = crate::scans::images();
    let mut told = Vec::new();
    // The first run leaves the state that every later one begins and ends with.
    for (name, offset_ms) in [("first", 0_i64), ("right", 0), ("ahead", 600_000), ("behind", -600_000)] {
        let clock = [("RIDGELINE_CLOCK_OFFSET_MS", offset_ms.to_string())];
        let mut workers =
            ["matcher", "gallery", "merger"].map(|role| site.launch(role, &format!("{role}-{name}"), &clock));
        for worker in &mut workers {
            site.ready(worker).await;
        }
        let mut outcomes = Vec::new();
        for number in 0..20 {
            let decision = client.decide(&crate::scans::scan(number, &images), None, LIMIT).await.unwrap();
            outcomes.push((decision.operation.clone(), decision.outcome, decision.reason.clone()));
        }
        told.push(outcomes);
        for worker in workers {
            assert!(worker.stop().await.success());
        }
    }
    assert_eq!(told[1], told[2], "a clock ahead changes decisions");
    assert_eq!(told[1], told[3], "a clock behind changes decisions");
    let _matcher = site.start("matcher", "last").await;
    let _merger = site.start("merger", "last-merger").await;
    let verdict = judge(&site, &[]).await;
    report(9, "wrong-clock", &verdict);
}

/// One matcher, then three, then one.
#[tokio::test(flavor = "multi_thread")]
async fn d5_fault_12_scaling_out_and_in_under_load() {
    if is_left_out("fault 12 scale") {
        return;
    }
    let Some(site) = Site::deploy() else { return };
    let (gateway, _surroundings) = site.surroundings().await;
    let _first = site.start("matcher", "m-1").await;
    let load = Load::start(vec![site.client(&gateway)], LANES, PACE / 2);
    let rest = Duration::from_secs(if is_full() { 10 } else { 3 });
    sleep(rest).await;
    let more = [site.start("matcher", "m-2").await, site.start("matcher", "m-3").await];
    sleep(rest).await;
    for matcher in more {
        assert!(matcher.metric("ridgeline_records_total").await > 0.0, "a matcher that was added got no work");
        assert!(matcher.stop().await.success());
    }
    sleep(rest).await;
    let ledger = load.end().await;
    let verdict = judge(&site, &ledger.accepted()).await;
    report(12, "scale-1-3-1", &verdict);
}
