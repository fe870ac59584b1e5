//! Records that nobody can process, and records that come again.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ridgeline_client::Scan;
use ridgeline_domain::Operation;
use ridgeline_ports::{Control, GroupId, MemberId, NewRecord, Offset, Partition, RowKey, StartAt, Version};
use ridgeline_wire::Topic;
use ridgeline_wire::row::table;

use crate::oracle::Verdict;
use crate::place::Place;
use crate::site::Site;
use crate::traffic::{Ledger, Load, Traffic};
use crate::{scans, within};

/// Poison in a row that trips the fuse.
const BURST: usize = 50;

/// Poison first, in the middle and last of what one partition holds; then a burst that trips the fuse, and an end to it.
pub(crate) async fn poison_and_fuse(place: &Place) -> Verdict {
    let mut site = Site::new(place).await;
    let (client, _base) = site.base(&["merger"]).await;
    let ledger = Ledger::default();
    // All of one subject lie in one partition, and wait for a matcher.
    let subject = "s3";
    let ask = async |number: usize, ledger: &Ledger| {
        let mut scan: Scan = scans::scan(number, &site.images);
        scan.operation = if number.is_multiple_of(4) { Operation::Enrol } else { Operation::Verify };
        scan.subject = Some(subject.parse().unwrap());
        if scan.samples.is_empty() {
            scan.samples = scans::scan(1, &site.images).samples;
        }
        ledger.submit(&client, &scan).await.expect("accepted");
    };
    poison(&site, subject, 0).await;
    for number in 0..40 {
        if number == 20 {
            poison(&site, subject, 1).await;
        }
        ask(number, &ledger).await;
    }
    poison(&site, subject, 2).await;
    let matcher = site.start("matcher", "matcher").await;
    site.settle(&ledger).await;
    for number in 0..BURST {
        poison(&site, subject, 10 + number).await;
    }
    let blown = async || matcher.metric("ridgeline_fuse_blown", "role=\"matcher\"").await > 0.0;
    within(Duration::from_secs(60), "a burst of poison trips the fuse", blown).await;
    within(Duration::from_secs(10), "the process says so", async || !matcher.is_ready().await).await;
    let traffic = Traffic::start(&site, std::slice::from_ref(&client), &ledger, Load::of(100));
    traffic.done().await;
    within(Duration::from_secs(60), "a sound record mends the fuse", async || !blown().await).await;
    let mut verdict = site.judge(&ledger).await;
    let (dead, sent) = (verdict.dead, BURST + 3);
    if dead != sent {
        verdict.fault("D-3, other dead letters than what was poison", format!("{dead} of {sent}"));
    }
    verdict
}

/// Publishes what no worker can read.
async fn poison(site: &Site, key: &str, number: usize) {
    let record = NewRecord {
        topic: Topic::Scans.name(&site.prefix),
        partition: None,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Some(Bytes::from(format!("poison {number}"))),
        headers: Vec::new(),
    };
    site.log.publish(record).await.unwrap();
}

/// How many records come again.
const AGAIN: u64 = 500;

/// The matchers' offsets are set back by 500 after subjects were enrolled, verified and deleted: the same answers, the same rows.
pub(crate) async fn offsets_reset(place: &Place) -> Verdict {
    let mut site = Site::new(place).await;
    let (client, _base) = site.base(&["merger"]).await;
    let matcher = site.start("matcher", "matcher").await;
    let ledger = Ledger::default();
    Traffic::start(&site, std::slice::from_ref(&client), &ledger, Load::of(700)).done().await;
    for number in (0..10).step_by(2) {
        let scan = Scan::new(Operation::Delete, Some(format!("s{number}").parse().unwrap()), vec![]);
        ledger.submit(&client, &scan).await.expect("accepted");
    }
    site.settle(&ledger).await;
    matcher.stop().await;
    let (before, published) = (rows(&site).await, site.watcher.records());
    set_back(&site, Topic::Scans, "matcher", AGAIN).await;
    let _again = site.start("matcher", "matcher").await;
    let mut verdict = site.judge(&ledger).await;
    let again = site.watcher.records() - published;
    if again < usize::try_from(AGAIN).unwrap() {
        verdict.fault("fewer decisions came again than records", format!("{again} of {AGAIN}"));
    }
    if rows(&site).await != before {
        verdict.fault("D-1, a row was changed again", "");
    }
    verdict
}

/// Version and content of each subject's row.
async fn rows(site: &Site) -> BTreeMap<String, Option<(Version, Bytes)>> {
    let mut rows = BTreeMap::new();
    for number in 0..10 {
        let subject = format!("s{number}");
        let row = site.store.get(table::SUBJECTS, &RowKey::single(&subject)).await.unwrap();
        rows.insert(subject, row.map(|row| (row.version, row.value)));
    }
    rows
}

/// Commits lower offsets as the only member of the group, a record of each partition in turn.
pub(crate) async fn set_back(site: &Site, topic: Topic, group: &str, again: u64) {
    let (topic, group) = (topic.name(&site.prefix), GroupId(format!("{}{group}", site.prefix)));
    let committed = site.log.committed(&topic, &group).await.unwrap();
    let mut offsets: Vec<u64> = committed.iter().map(|offset| offset.map_or(0, |offset| offset.0)).collect();
    let total: u64 = offsets.iter().sum();
    assert!(total >= again, "only {total} records");
    let mut left = again;
    while left > 0 {
        for offset in &mut offsets {
            if left > 0 && *offset > 0 {
                *offset -= 1;
                left -= 1;
            }
        }
    }
    let mut alone = site.log.subscribe(&topic, &group, &MemberId("operator".into()), StartAt::Committed).await.unwrap();
    let mut owned = 0;
    while owned < offsets.len() {
        if let Control::Assigned(partitions) = alone.control.recv().await.unwrap() {
            owned += partitions.len();
        }
    }
    let wanted: Vec<_> = offsets
        .iter()
        .enumerate()
        .filter(|(partition, _)| committed[*partition].is_some())
        .map(|(partition, offset)| (Partition(u32::try_from(partition).unwrap()), Offset(*offset)))
        .collect();
    alone.handle.commit(&wanted).await.unwrap();
    // As a crash would: nothing is handed back.
    drop(alone);
    let moved = site.log.committed(&topic, &group).await.unwrap();
    let sum: u64 = moved.iter().map(|offset| offset.map_or(0, |offset| offset.0)).sum();
    assert_eq!(sum, total - again, "the offsets were set back");
}
