//! D-1 for commands: offsets set back, workers that race, records that come twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ridgeline_domain::{AuthOperation, DurationMs, Refusal, Severity};
use ridgeline_ports::{Control, Entropy as _, GroupId, MemberId, Offset, Partition, StartAt};
use ridgeline_runtime::SystemEntropy;
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::told::{Hears, Told};
use ridgeline_wire::Topic;
use ridgeline_wire::auth::{AuthBody, Revocation};

use crate::harness::{Phone, Site, body, device_body, family_in};

/// Moves the committed offsets of a group to the beginning. No worker may run.
pub(crate) async fn rewind(site: &Site, topic: Topic, group: &str) {
    let (topic, group) = (topic.name(""), GroupId(group.to_owned()));
    let partitions = site.log.partitions(&topic).await.unwrap();
    let member = MemberId("operator".to_owned());
    let mut subscription = site.log.subscribe(&topic, &group, &member, StartAt::Committed).await.unwrap();
    while !matches!(subscription.control.recv().await, Some(Control::Assigned(_))) {}
    for partition in (0..partitions).map(Partition) {
        subscription.handle.commit(&[(partition, Offset(0))]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_offsets_set_back_give_no_second_pair_of_tokens() {
    let mut site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::new("pixel-7");
    phone.register(&site, &web).await;
    let first = phone.login(&site).await.refresh_token.unwrap();
    let second = phone.refresh(&site, &first).await.tokens.unwrap().refresh_token.unwrap();
    // Web login, two calls of a registration, two of a login, a refresh.
    site.until(async || site.decisions().await.len() == 6).await;
    let before = site.decisions().await;
    site.rest().await;
    rewind(&site, Topic::AuthCommands, "auth").await;
    // A day later, so that nothing hangs on the time of the second delivery.
    site.memory.clock().advance(DurationMs::from_secs(80_000));
    site.work(&["b"]);
    site.until(async || site.decisions().await.len() == before.len() * 2).await;
    let mut again = site.decisions().await;
    for decision in &before {
        let at = again.iter().position(|other| other == decision).unwrap();
        again.remove(at);
    }
    assert_eq!(again.len(), before.len(), "each decision was published again, byte for byte");
    for decision in &before {
        assert!(again.contains(decision));
    }
    // The family is where it was: the live token rotates, the earlier one is a replay.
    let third = phone.refresh(&site, &second).await.tokens.unwrap().refresh_token.unwrap();
    assert_eq!(phone.refresh(&site, &second).await.refusal, Some(Refusal::RefreshTokenReused));
    assert_eq!(phone.refresh(&site, &third).await.refusal, Some(Refusal::Revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_a_command_that_is_appended_twice_is_carried_out_once() {
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::new("pixel-7");
    phone.register(&site, &web).await;
    let token = phone.login(&site).await.refresh_token.unwrap();
    let id = SystemEntropy.request_id();
    let asked = AuthBody { refresh_token: Some(token.clone()), ..body() };
    for _ in 0..3 {
        site.send(id, AuthOperation::Refresh, &family_in(&token), &asked).await;
    }
    let reply = site.reply(id).await;
    site.until(async || site.decisions().await.iter().filter(|one| one.confirmation_id == id).count() == 3).await;
    assert!(site.reply(id).await == reply);
    let live = reply.tokens.unwrap().refresh_token.unwrap();
    assert!(phone.refresh(&site, &live).await.tokens.is_some(), "the family did not end");
}

/// T-1 and V-2 with two workers that own different partitions: the same token and the same challenge under many requests at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t1_v2_of_many_at_once_one_wins() {
    let mut site = Site::open(TestClock::running(), None, |ports| ports).await;
    site.work(&["a", "b"]);
    let site = Arc::new(site);
    let web = site.user("linh").await;
    let phone = Phone::new("pixel-7");
    phone.register(&site, &web).await;

    let challenge = phone.login_challenge(&site).await;
    let ids: Vec<_> = (0..8).map(|_| SystemEntropy.request_id()).collect();
    for id in &ids {
        site.send(*id, AuthOperation::Login, &challenge.session_id.to_string(), &phone.answer(&challenge)).await;
    }
    let mut pairs = Vec::new();
    for id in &ids {
        pairs.extend(site.reply(*id).await.tokens);
    }
    assert_eq!(pairs.len(), 1, "v2: one challenge, one pair of tokens");

    let token = pairs.remove(0).refresh_token.unwrap();
    let ids: Vec<_> = (0..8).map(|_| SystemEntropy.request_id()).collect();
    for id in &ids {
        let asked = AuthBody { refresh_token: Some(token.clone()), ..body() };
        site.send(*id, AuthOperation::Refresh, &family_in(&token), &asked).await;
    }
    let mut refusals = Vec::new();
    let mut given = Vec::new();
    for id in &ids {
        let reply = site.reply(*id).await;
        given.extend(reply.tokens);
        refusals.extend(reply.refusal);
    }
    assert_eq!(given.len(), 1, "t1: one token, one successor");
    assert!(refusals.contains(&Refusal::RefreshTokenReused));
    assert_eq!(phone.refresh(&site, &given.remove(0).refresh_token.unwrap()).await.refusal, Some(Refusal::Revoked));
}

/// Every write of a command in turn is carried out and not acknowledged, so that the command starts over behind it.
#[tokio::test(flavor = "multi_thread")]
async fn d1_t1_a_command_that_starts_over_behind_any_of_its_writes_ends_as_if_it_had_not() {
    const WRITES: i64 = 7;
    // How many writes are still acknowledged before one is not; below zero: all are.
    let left = Arc::new(AtomicI64::new(-1));
    let counted = left.clone();
    let hears: Hears = Arc::new(move |call| !call.writes_a_row() || counted.fetch_sub(1, Ordering::SeqCst) != 0);
    let mut site =
        Site::open(TestClock::running(), None, |(log, store)| (log, Arc::new(Told { inner: store, hears }))).await;
    site.work(&["a"]);
    let web = site.user("linh").await;
    let mut ended = Vec::new();
    for lost in 0..WRITES {
        let phone = Phone::new(&format!("pixel-{lost}"));
        let challenge = phone.register_challenge(&site, &web).await.challenge.unwrap();
        left.store(lost, Ordering::SeqCst);
        let device = phone.verify_registration(&site, &challenge).await.device.unwrap();
        left.store(-1, Ordering::SeqCst);

        let challenge = phone.login_challenge(&site).await;
        left.store(lost, Ordering::SeqCst);
        let tokens = phone.verify_login(&site, &challenge).await.tokens.unwrap();
        assert_eq!(tokens.device_id, Some(device.device_id));
        let first = tokens.refresh_token.unwrap();
        left.store(lost, Ordering::SeqCst);
        let second = phone.refresh(&site, &first).await.tokens.unwrap().refresh_token.unwrap();
        left.store(lost, Ordering::SeqCst);
        assert_eq!(
            phone.refresh(&site, &first).await.refusal,
            Some(Refusal::RefreshTokenReused),
            "behind write {lost}"
        );
        left.store(-1, Ordering::SeqCst);
        assert_eq!(phone.refresh(&site, &second).await.refusal, Some(Refusal::Revoked));
        ended.push(family_in(&first));

        let other = phone.login(&site).await;
        left.store(lost, Ordering::SeqCst);
        let asked = device_body(&web, device.device_id);
        let removed =
            site.ask(AuthOperation::RemoveDevice, Some(device.device_id.to_string()), asked).await.removed.unwrap();
        left.store(-1, Ordering::SeqCst);
        assert_eq!(removed.revoked_tokens, 1, "behind write {lost}");
        assert_eq!(phone.refresh(&site, &other.refresh_token.unwrap()).await.refusal, Some(Refusal::Revoked));
    }
    // Each theft is critical, and each gateway hears of it.
    site.until(async || {
        let revocations: Vec<Revocation> = site.all(Topic::Revocations).await;
        ended.iter().all(|family| revocations.iter().any(|one| one.kind == "family" && one.id == *family))
    })
    .await;
    site.until(async || {
        let audit = site.audit().await;
        let critical =
            audit.iter().filter(|(_, details)| details.as_ref().is_some_and(|d| d.severity == Severity::Critical));
        critical.map(|(entry, _)| entry.event_id.clone()).collect::<BTreeSet<_>>().len() == ended.len()
    })
    .await;
}
