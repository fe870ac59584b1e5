//! What is due: actions and sessions whose time is over.

use crate::actions::Person;
use crate::harness::{Phone, Site, payment};
use ridgeline_domain::{ActionStatus, DurationMs, Refusal};
use ridgeline_ports::{PlainWrite, RowKey};
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::covers;
use ridgeline_wire::Topic;
use ridgeline_wire::action::{ActionStart, Notice};
use ridgeline_wire::action_row::{DueRow, table as due};

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_its_time_ends_an_action_and_a_session_and_is_accounted_for() {
    covers!("R-122");
    let site = Site::start().await;
    let linh = Person::of(&site, "linh", "clerk").await;
    let callback = Some("https://erp.example/confirmed".to_owned());
    let (action, challenge) = linh.starts(&site, ActionStart { callback_url: callback, ..payment() }).await;
    let unanswered = linh.phone.login_challenge(&site).await;
    site.memory.clock().advance(DurationMs::from_secs(119));
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(site.action(action).await.status, ActionStatus::Pending);
    site.memory.clock().advance(DurationMs::from_secs(182));
    let late = linh.phone.login(&site).await;
    let reply =
        Person { web: String::new(), phone: Phone { key: linh.phone.key.clone(), ..Phone::new("x") }, tokens: late }
            .approves(&site, action, &challenge)
            .await;
    assert_eq!(reply.refusal, Some(Refusal::ActionFinal), "too late, whether the timer has spoken or not");
    site.until(async || site.action(action).await.status == ActionStatus::Expired).await;
    let audited = async |of: &str| {
        let audit = site.audit().await;
        let of = |details: &ridgeline_wire::auth_row::AuditDetails| match of {
            "action" => details.action_id == Some(action),
            _ => details.session_id == Some(unanswered.session_id),
        };
        audit
            .iter()
            .filter(|(entry, details)| entry.event_type == "auth.expire" && details.as_ref().is_some_and(of))
            .count()
    };
    site.until(async || audited("action").await == 1 && audited("session").await == 1).await;
    site.until(async || {
        let notices: Vec<Notice> = site.all(Topic::Notifications).await;
        notices.iter().any(|notice| notice.kind == "callback" && notice.action_id == action)
    })
    .await;
    assert_eq!(site.dead().await.len(), 0);
}

/// The worker's own clock decides nothing: 10 minutes ahead or behind, an action ends when the log says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_clock_is_off_ends_actions_on_time() {
    for off in [-600, 600] {
        let clock = TestClock::running();
        let wrong = TestClock::running();
        wrong.advance(DurationMs::from_secs(off));
        let mut site = Site::open(clock, Some(wrong), |ports| ports).await;
        site.work(&["a"]);
        let linh = Person::of(&site, "linh", "clerk").await;
        let (action, _) = linh.starts(&site, ActionStart { life_seconds: 120, ..payment() }).await;
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        assert_eq!(site.action(action).await.status, ActionStatus::Pending, "{off}");
        site.memory.clock().advance(DurationMs::from_secs(121));
        site.until(async || site.action(action).await.status == ActionStatus::Expired).await;
    }
}

/// A timer that is noted twice, or cannot be read, stops no other.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_looked_through_whatever_lies_there() {
    let site = Site::start().await;
    let linh = Person::of(&site, "linh", "clerk").await;
    let (action, _) = linh.starts(&site, ActionStart { life_seconds: 120, ..payment() }).await;
    let minute = site.action(action).await.expires_at.millis().div_euclid(60_000);
    let partition = ridgeline_ports::partition_of(action.to_string().as_bytes(), 8).0;
    let put = async |minute: i64, what: &str, value: Vec<u8>| {
        let key = RowKey::new(format!("{minute}:{partition}"), what);
        let write = PlainWrite { at: site.now(), expires_at: None };
        site.store.put(due::DUE_BY_MINUTE, &key, value.into(), write).await.unwrap();
    };
    let at = site.action(action).await.expires_at;
    put(minute, "action:garbage", vec![1, 2, 3]).await;
    put(minute, "no-kind", vec![]).await;
    let row = ridgeline_wire::encode(&DueRow { at }).unwrap();
    put(minute, &format!("unknown:{}", "7".repeat(32)), row.clone()).await;
    put(minute + 1, &format!("action:{action}"), row).await;
    site.memory.clock().advance(DurationMs::from_secs(121));
    site.until(async || site.action(action).await.status == ActionStatus::Expired).await;
    site.memory.clock().advance(DurationMs::from_secs(120));
    let left = async |minute: i64| {
        let rows = site.store.range(due::DUE_BY_MINUTE, &format!("{minute}:{partition}"), None, 10).await.unwrap();
        rows.into_iter().map(|(key, _)| key.clustering).collect::<Vec<_>>()
    };
    site.until(async || left(minute + 1).await.is_empty()).await;
    assert_eq!(left(minute).await, [format!("unknown:{}", "7".repeat(32))], "left to workers that know it");
    // And what comes later ends too.
    let linh = Person { tokens: linh.phone.login(&site).await, ..linh };
    let web = site.web_login("linh@ridgeline.example", crate::harness::PASSWORD).await.tokens.unwrap().access_token;
    let linh = Person { web, ..linh };
    let (later, _) = linh.starts(&site, ActionStart { life_seconds: 120, ..payment() }).await;
    site.memory.clock().advance(DurationMs::from_secs(121));
    site.until(async || site.action(later).await.status == ActionStatus::Expired).await;
}

/// All workers are away when something is due, for longer than they look back by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_due_while_nobody_worked_is_done_afterwards() {
    let mut site = Site::start().await;
    let linh = Person::of(&site, "linh", "clerk").await;
    let (action, _) = linh.starts(&site, payment()).await;
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    site.rest().await;
    site.memory.clock().advance(DurationMs::from_secs(10 * 3_600));
    assert_eq!(site.action(action).await.status, ActionStatus::Pending);
    site.work(&["b"]);
    site.until(async || site.action(action).await.status == ActionStatus::Expired).await;
}
