//! Offsets that are moved back, and callers whose gateway is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ridgeline_client::ScanState;
use ridgeline_ports::{Control, GroupId, MemberId, Offset, RowKey, StartAt};
use ridgeline_wire::row::{SubjectRow, table};
use ridgeline_wire::{Topic, decode};
use tokio::task::JoinSet;

use crate::load::Load;
use crate::oracle::{judge, read};
use crate::report;
use crate::site::Site;

/// How far the offsets are moved back.
const BACK: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything is delivered again, to subjects that were enrolled again or forgotten since: every answer is the first one byte for
/// byte, and no row and no gallery record changes.
#[tokio::test(flavor = "multi_thread")]
async fn d1_fault_7_offsets_moved_back_by_500() {
    let Some(site) = Site::deploy() else { return };
    let (gateway, _surroundings) = site.surroundings().await;
    let matcher = site.start("matcher", "before").await;
    let ledger = Load::start(vec![site.client(&gateway)], 8, Duration::ZERO).until(150).await;
    let before = judge(&site, &ledger.accepted()).await;
    assert!(before.is_sound(), "{before}\n{}", before.faults.join("\n"));
    assert!(matcher.stop().await.success());
    let (rows, gallery) = (subjects(&site).await, last_by_key(&site).await);
    assert!(rows.values().any(|(deleted, _)| *deleted) && rows.values().any(|(deleted, _)| !*deleted));

    let moved = move_back(&site).await;
    assert!(moved >= 100, "only {moved} records come again: it proves too little");
    let _matcher = site.start("matcher", "after").await;
    let verdict = judge(&site, &ledger.accepted()).await;
    assert_eq!(subjects(&site).await, rows, "a replay changes no subject: no second template, nobody comes back");
    assert_eq!(last_by_key(&site).await, gallery, "the gallery still says what the rows say");
    report(7, "offsets-reset", &verdict);
}

/// Whether each subject is deleted, and its version.
async fn subjects(site: &Site) -> BTreeMap<String, (bool, i64)> {
    let cql = site.store().await;
    let store = cql.store();
    let mut all = BTreeMap::new();
    let mut from = None;
    loop {
        let page = store.scan(table::SUBJECTS, from.as_ref(), 100).await.unwrap();
        for (RowKey { partition, .. }, row) in page.rows {
            let row: SubjectRow = decode(&row.value).unwrap();
            all.insert(partition, (row.deleted, row.version));
        }
        from = page.next;
        if from.is_none() {
            return all;
        }
    }
}

/// Whether the last gallery record of each subject holds templates.
async fn last_by_key(site: &Site) -> BTreeMap<Bytes, bool> {
    read(site, Topic::Gallery).await.into_iter().map(|record| (record.key, record.value.is_some())).collect()
}

/// As the only member of the matchers' group, commits positions from before; returns how many records come again.
async fn move_back(site: &Site) -> u64 {
    let (log, topic) = (site.kafka.log(), Topic::Scans.name(&site.prefix()));
    let (group, member) = (GroupId(format!("{}matcher", site.prefix())), MemberId("mover".into()));
    let committed = log.committed(&topic, &group).await.unwrap();
    let mut subscription = log.subscribe(&topic, &group, &member, StartAt::Committed).await.unwrap();
    let mut owned = Vec::new();
    while owned.len() < committed.len() {
        match subscription.control.recv().await.unwrap() {
            Control::Assigned(assignments) => owned.extend(assignments.iter().map(|one| one.partition)),
            other => panic!("only assignments, not {other:?}"),
        }
    }
    let back: Vec<_> = owned
        .iter()
        .filter_map(|partition| {
            let at = committed[partition.0 as usize]?;
            Some((*partition, Offset(at.0.saturating_sub(BACK)), at.0.min(BACK)))
        })
        .collect();
    let offsets: Vec<_> = back.iter().map(|(partition, offset, _)| (*partition, *offset)).collect();
    subscription.handle.commit(&offsets).await.unwrap();
    let handle = subscription.handle.clone();
    let leaving = tokio::spawn(async move { handle.leave().await });
    while !leaving.is_finished() {
        tokio::select! {
            control = subscription.control.recv() => match control {
                Some(Control::Revoked { ack, .. }) => drop(ack.send(vec![])),
                Some(_) => {}
                None => break,
            },
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
    }
    leaving.await.unwrap().unwrap();
    back.iter().map(|(.., count)| count).sum()
}

/// Clients wait at a gateway that is killed; each gets its answer by its id from the other one.
#[tokio::test(flavor = "multi_thread")]
async fn d1_fault_10_a_gateway_is_killed_while_clients_wait() {
    let Some(site) = Site::deploy() else { return };
    let (gateway, _surroundings) = site.surroundings().await;
    let other = site.start("gateway", "gw-2").await;
    // Nobody decides yet, so everybody waits.
    let client = site.client(&gateway);
    let ledger = Load::start(vec![client.clone()], 8, Duration::ZERO).until(40).await;
    let mut waiting = JoinSet::new();
    for id in ledger.accepted() {
        let client = client.clone();
        waiting.spawn(async move { client.status(&id, PATIENCE).await.is_err() });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    gateway.kill();
    assert!(waiting.join_all().await.into_iter().all(|cut| cut), "every waiting client was cut off");
    let _matcher = site.start("matcher", "matcher").await;
    let elsewhere = site.client(&other);
    for id in ledger.accepted() {
        let status = elsewhere.status(&id, PATIENCE).await.unwrap();
        assert_ne!(status.status, ScanState::Accepted, "{id} is not decided for the other gateway");
    }
    let verdict = judge(&site, &ledger.accepted()).await;
    report(10, "gateway-killed", &verdict);
}
