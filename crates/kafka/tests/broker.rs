//! What only a real broker can show beyond the suite: authentication, settings, static members, revocations under load.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ridgeline_domain::{DurationMs, Sensitive};
use ridgeline_kafka::{Change, Desired, Kafka, KafkaConfig, Mechanism, Operation, Reader, Sasl, Security, Tls};
use ridgeline_ports::{
    Assignment, Cleanup, Control, Delivery, EventLog, GroupId, GroupSubscription, LogError, MemberId, NewRecord,
    Offset, Partition, StartAt, SubscriptionHandle, TailStart, TopicName, TopicSpec,
};
use ridgeline_testkit::stack;
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

/// A topic of its own on a broker.
struct Place {
    kafka: Kafka,
    log: Arc<dyn EventLog>,
    prefix: String,
    topic: TopicName,
    group: GroupId,
}

impl Place {
    async fn new(config: KafkaConfig, partitions: u32) -> Self {
        let kafka = Kafka::connect(config).expect("clients");
        let (log, prefix) = (kafka.log(), support::prefix());
        let (topic, group) = (TopicName::new(&format!("{prefix}topic")), GroupId(format!("{prefix}group")));
        let cleanup = Cleanup::Delete { retention: DurationMs::from_days(1) };
        let spec = TopicSpec { name: topic.clone(), partitions, cleanup, record_bytes_max: 100_000 };
        log.ensure_topic(&spec).await.expect("a topic");
        Self { kafka, log, prefix, topic, group }
    }

    /// The topic as it is, without anybody who may use it.
    fn desired(&self) -> Desired {
        let cleanup = Cleanup::Delete { retention: DurationMs::from_days(1) };
        let spec = TopicSpec { name: self.topic.clone(), partitions: 1, cleanup, record_bytes_max: 100_000 };
        Desired { spec, writers: vec![], readers: vec![], watchers: vec![] }
    }

    /// Waits until the broker knows the rules that were made.
    async fn seen(&self, desired: &Desired) {
        let until = Instant::now() + PATIENCE;
        loop {
            let plan = self.kafka.plan(std::slice::from_ref(desired)).await.expect("a plan");
            if plan.changes.is_empty() {
                return assert_eq!(plan.strangers, Vec::<String>::new());
            }
            assert!(Instant::now() < until, "{:?}", plan.changes);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn record(&self, partition: u32, value: &str) -> NewRecord {
        let (key, value) = (Bytes::from_static(b"key"), Some(Bytes::copy_from_slice(value.as_bytes())));
        NewRecord { topic: self.topic.clone(), partition: Some(Partition(partition)), key, value, headers: vec![] }
    }

    async fn join(&self, member: &str, start: StartAt) -> GroupSubscription {
        let member = MemberId(member.into());
        self.log.subscribe(&self.topic, &self.group, &member, start).await.expect("a subscription")
    }

    async fn committed(&self) -> Vec<Option<Offset>> {
        self.log.committed(&self.topic, &self.group).await.expect("offsets")
    }

    async fn release(self) {
        support::release(&self.kafka, &self.prefix).await;
    }
}

async fn next(subscription: &mut GroupSubscription) -> Control {
    timeout(PATIENCE, subscription.control.recv()).await.expect("control in time").expect("an open subscription")
}

async fn assigned(subscription: &mut GroupSubscription, count: usize) -> BTreeMap<Partition, Assignment> {
    let mut owned = BTreeMap::new();
    while owned.len() < count {
        match next(subscription).await {
            Control::Assigned(assignments) => owned.extend(assignments.into_iter().map(|one| (one.partition, one))),
            other => panic!("an assignment, not {other:?}"),
        }
    }
    owned
}

fn plain() -> Option<KafkaConfig> {
    Some(support::config(stack::address(stack::KAFKA)?))
}

fn secured(mechanism: Mechanism, password: Option<&str>) -> Option<KafkaConfig> {
    let address = stack::address(stack::KAFKA_SASL)?;
    let [brokers, username, known, ca_file] = address.split(',').collect::<Vec<_>>()[..] else {
        panic!("{} is bootstrap,user,password,ca-file", stack::KAFKA_SASL);
    };
    let tls = Tls { ca_file: Some(PathBuf::from(ca_file)), client: None };
    let password = Sensitive::new(password.unwrap_or(known).to_owned());
    let mut config = support::config(brokers.to_owned());
    config.security = Security::SaslTls(tls, Sasl { mechanism, username: username.to_owned(), password });
    Some(config)
}

async fn speaks(config: KafkaConfig) {
    let place = Place::new(config, 1).await;
    let appended = place.log.publish(place.record(0, "1")).await.expect("durable");
    assert_eq!(appended.offset, Offset(0));
    let mut tail = place.log.tail(&place.topic, TailStart::Beginning).await.expect("a tail");
    let first = timeout(PATIENCE, tail.deliveries.recv()).await.expect("in time").expect("open");
    assert!(matches!(first, Delivery::Record { record, .. } if record.value.as_deref() == Some(b"1")));
    let mut member = place.join("a", StartAt::Committed).await;
    assigned(&mut member, 1).await;
    member.handle.commit(&[(Partition(0), Offset(1))]).await.expect("committed");
    drop(member);
    place.release().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scram_over_tls() {
    for mechanism in [Mechanism::ScramSha512, Mechanism::ScramSha256] {
        let Some(config) = secured(mechanism, None) else { return };
        speaks(config).await;
    }
}

/// A user may nothing at first, then what the table says, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_rules_are_made_and_hold() {
    let Some(config) = secured(Mechanism::ScramSha512, None) else { return };
    let mut guest = config.clone();
    let Security::SaslTls(_, sasl) = &mut guest.security else { panic!("secured") };
    sasl.username = "guest".into();
    guest.publish_timeout = Duration::from_secs(10);
    let place = Place::new(config, 1).await;
    let early = Kafka::connect(guest.clone()).expect("clients");
    assert!(early.log().publish(place.record(0, "1")).await.is_err(), "nothing is allowed yet");
    early.shutdown().await;
    let mut desired = place.desired();
    desired.writers = vec!["User:guest".into()];
    let plan = place.kafka.plan(std::slice::from_ref(&desired)).await.expect("a plan");
    let allowed = |change: &Change| matches!(change, Change::Allow(rule) if rule.operation == Operation::Write);
    assert!(plan.changes.iter().any(allowed), "{:?}", plan.changes);
    assert_eq!(place.kafka.apply(&plan).await.expect("made"), []);
    place.seen(&desired).await;
    // A producer that was denied its id is of no use any more, as after a start before the rules: the next start works.
    let until = Instant::now() + PATIENCE;
    let guests = loop {
        let guests = Kafka::connect(guest.clone()).expect("clients");
        let Err(error) = guests.log().publish(place.record(0, "2")).await else { break guests };
        assert!(Instant::now() < until, "a rule that was made is not seen: {error}");
        guests.shutdown().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let refused = guests.log().tail(&place.topic, TailStart::Beginning).await;
    let reads = match refused {
        Err(_) => false,
        Ok(mut tail) => {
            matches!(timeout(Duration::from_secs(3), tail.deliveries.recv()).await, Ok(Some(Delivery::Record { .. })))
        }
    };
    assert!(!reads, "who may write may not read");
    desired.writers.clear();
    desired.readers = vec![Reader { principal: "User:other".into(), group: None }];
    let plan = place.kafka.plan(&[desired]).await.expect("a plan");
    assert_eq!(plan.strangers, [format!("User:guest may Write topic {}", place.topic)]);
    guests.shutdown().await;
    place.release().await;
}

/// A user without the right says which right it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_needs_the_right_to_see_rules() {
    let Some(mut config) = secured(Mechanism::ScramSha512, None) else { return };
    let place = Place::new(config.clone(), 1).await;
    let Security::SaslTls(_, sasl) = &mut config.security else { panic!("secured") };
    sasl.username = "guest".into();
    let guests = Kafka::connect(config).expect("clients");
    let mut desired = place.desired();
    desired.watchers = vec!["User:guest".into()];
    let plan = place.kafka.plan(std::slice::from_ref(&desired)).await.expect("a plan");
    place.kafka.apply(&plan).await.expect("made");
    place.seen(&desired).await;
    let until = Instant::now() + PATIENCE;
    loop {
        let refused = guests.plan(std::slice::from_ref(&desired)).await.expect_err("no right to see rules");
        let told = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
        // Before the rule is seen everywhere the topic itself is refused.
        if told.contains("Describe and Alter") {
            break;
        }
        assert!(Instant::now() < until, "{told}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    guests.shutdown().await;
    place.release().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_said_to_be_one() {
    let Some(mut config) = secured(Mechanism::ScramSha512, Some("wrong-secret")) else { return };
    config.publish_timeout = Duration::from_secs(3);
    let kafka = Kafka::connect(config).expect("clients");
    let refused = kafka.log().partitions(&TopicName::new("any")).await.expect_err("refused");
    let text = refused.to_string();
    assert!(matches!(refused, LogError::Unavailable(_)), "{text}");
    assert!(text.to_lowercase().contains("authentication"), "{text}");
    assert!(!text.contains("wrong-secret"), "{text}");
    kafka.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_authority_is_not_believed() {
    let Some(mut config) = secured(Mechanism::ScramSha512, None) else { return };
    let Security::SaslTls(tls, _) = &mut config.security else { panic!("secured") };
    tls.ca_file = None;
    let kafka = Kafka::connect(config).expect("clients");
    let refused = kafka.log().partitions(&TopicName::new("any")).await.expect_err("refused").to_string();
    assert!(refused.to_lowercase().contains("certificate"), "{refused}");
    kafka.shutdown().await;
}

/// Overrides that would commit by themselves change nothing: what was read and never committed is read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overrides_cannot_commit() {
    let Some(mut config) = plain() else { return };
    for (name, value) in
        [("enable.auto.commit", "true"), ("enable.auto.offset.store", "true"), ("auto.commit.interval.ms", "10")]
    {
        config.overrides.push((name.into(), value.into()));
    }
    let place = Place::new(config, 1).await;
    place.log.publish(place.record(0, "1")).await.expect("durable");
    let mut member = place.join("a", StartAt::Committed).await;
    assigned(&mut member, 1).await;
    let first = timeout(PATIENCE, member.deliveries.recv()).await.expect("in time");
    assert!(matches!(first, Some(Delivery::Record { .. })));
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(member);
    let mut again = place.join("b", StartAt::Committed).await;
    assert_eq!(assigned(&mut again, 1).await[&Partition(0)].start, Offset(0));
    assert_eq!(place.committed().await, [None]);
    drop(again);
    place.release().await;
}

/// A setting that the library does not know is named, its value is not.
#[test]
fn an_unknown_setting_is_named() {
    let mut config = KafkaConfig::new("127.0.0.1:1", "test");
    config.overrides.push(("no.such.setting".into(), "hush".into()));
    let refused = Kafka::connect(config).expect_err("refused").to_string();
    assert!(refused.contains("no.such.setting") && !refused.contains("hush"), "{refused}");
}

/// Without a broker calls fail in bounded time and say that nothing can be reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_broker_is_said_to_be_missing() {
    let kafka = Kafka::connect(KafkaConfig::new("127.0.0.1:1", "test")).expect("clients");
    let refused = timeout(PATIENCE, kafka.log().end_offsets(&TopicName::new("any"))).await.expect("bounded");
    let text = refused.expect_err("refused").to_string();
    assert!(text.contains("127.0.0.1:1"), "{text}");
    kafka.shutdown().await;
}

/// A static member that leaves in order gives its partitions away at once, long before its session would time out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_that_leaves_is_replaced_at_once() {
    let Some(mut config) = plain() else { return };
    config.session_timeout = Duration::from_secs(60);
    let place = Place::new(config, 4).await;
    let mut first = place.join("a", StartAt::Beginning).await;
    assigned(&mut first, 4).await;
    let handle = Arc::clone(&first.handle);
    let leaving = tokio::spawn(async move { handle.leave().await });
    while let Ok(Some(control)) = timeout(PATIENCE, first.control.recv()).await {
        if let Control::Revoked { ack, .. } = control {
            let _ = ack.send(vec![]);
        }
    }
    leaving.await.expect("a task").expect("left");
    let mut second = place.join("b", StartAt::Beginning).await;
    assigned(&mut second, 4).await;
    drop(second);
    place.release().await;
}

/// A static member that crashes keeps its partitions: it takes them up again, and nobody else gets them meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_that_crashes_finds_its_partitions_again() {
    let Some(mut config) = plain() else { return };
    config.session_timeout = Duration::from_secs(60);
    let place = Place::new(config, 4).await;
    let mut first = place.join("a", StartAt::Beginning).await;
    let mut second = place.join("b", StartAt::Beginning).await;
    let mut owned = [BTreeMap::new(), BTreeMap::new()];
    while owned[0].len() != 2 || owned[1].len() != 2 {
        let (who, control) = tokio::select! {
            control = next(&mut first) => (0, control),
            control = next(&mut second) => (1, control),
        };
        match control {
            Control::Assigned(new) => owned[who].extend(new.into_iter().map(|one| (one.partition, one))),
            Control::Revoked { partitions, ack } => {
                owned[who].retain(|at, _| !partitions.contains(at));
                let _ = ack.send(vec![]);
            }
            other => panic!("{other:?}"),
        }
    }
    let [_, others] = owned;
    drop(first);
    let mut again = place.join("a", StartAt::Beginning).await;
    let taken = assigned(&mut again, 2).await;
    assert!(taken.keys().all(|at| !others.contains_key(at)), "{taken:?} and {others:?}");
    let heard = timeout(Duration::from_secs(1), second.control.recv()).await;
    assert!(heard.is_err(), "the other member is left alone, not {heard:?}");
    drop((again, second));
    place.release().await;
}

/// Members come and go while records are worked on and committed. Every commit that was acknowledged, the ack's included,
/// is where the next owner starts; the end is committed for all partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_under_load_commit_what_was_acked() {
    const PARTITIONS: u32 = 6;
    const RECORDS: u32 = 3_000;
    let Some(config) = plain() else { return };
    let place = Arc::new(Place::new(config, PARTITIONS).await);
    let publisher = tokio::spawn({
        let place = Arc::clone(&place);
        async move {
            for number in 0..RECORDS {
                let record = place.record(number % PARTITIONS, &number.to_string());
                place.log.publish(record).await.expect("durable");
            }
        }
    });
    let mut members = tokio::task::JoinSet::new();
    for name in 0..8_u32 {
        let place = Arc::clone(&place);
        members.spawn(async move {
            tokio::time::sleep(Duration::from_millis(u64::from(name) * 400)).await;
            let life = if name == 7 { PATIENCE } else { Duration::from_millis(1_200) };
            work(&place, &name.to_string(), Instant::now() + life).await;
        });
    }
    publisher.await.expect("published");
    let all = vec![Some(Offset(u64::from(RECORDS / PARTITIONS))); PARTITIONS as usize];
    let until = Instant::now() + PATIENCE;
    while place.committed().await != all {
        assert!(Instant::now() < until, "{:?}", place.committed().await);
        if let Some(Err(failed)) = members.try_join_next() {
            std::panic::resume_unwind(failed.into_panic());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    members.shutdown().await;
    Arc::into_inner(place).expect("the last user").release().await;
}

/// Works in order, checks that nothing is skipped after a start, commits by hand every 20 records and by ack.
async fn work(place: &Place, name: &str, until: Instant) {
    let mut member = place.join(name, StartAt::Committed).await;
    let handle = Arc::clone(&member.handle);
    let mut next: BTreeMap<Partition, (u64, Offset)> = BTreeMap::new();
    let mut leaving = std::pin::pin!(async {
        tokio::time::sleep_until(until).await;
        handle.leave().await
    });
    let mut done = 0;
    loop {
        tokio::select! {
            biased;
            left = &mut leaving => return left.expect("left"),
            control = member.control.recv() => match control {
                // Closed once it has left, and then that is said.
                None => return leaving.await.expect("left"),
                Some(Control::Assigned(new)) => next.extend(new.iter().map(|one| (one.partition, (one.epoch, one.start)))),
                Some(Control::Revoked { partitions, ack }) => {
                    let offsets = partitions.iter().filter_map(|at| next.remove(at).map(|(_, offset)| (*at, offset)));
                    ack.send(offsets.collect()).expect("an adapter that listens");
                }
                Some(other) => panic!("{name}: {other:?}"),
            },
            delivery = member.deliveries.recv() => {
                let Some(delivery) = delivery else { return leaving.await.expect("left") };
                let Delivery::Record { record, epoch } = delivery else {
                    commit(&*member.handle, &next).await;
                    continue;
                };
                let Some((owned, expected)) = next.get_mut(&record.partition).filter(|(owned, _)| *owned == epoch) else {
                    continue;
                };
                assert_eq!((*owned, record.offset), (epoch, *expected), "{name}: {:?}", record.partition);
                *expected = record.offset.next();
                done += 1;
                if done % 20 == 0 {
                    commit(&*member.handle, &next).await;
                }
            }
        }
    }
}

async fn commit(handle: &dyn SubscriptionHandle, next: &BTreeMap<Partition, (u64, Offset)>) {
    let offsets: Vec<_> = next.iter().map(|(at, (_, offset))| (*at, *offset)).collect();
    match handle.commit(&offsets).await {
        // A partition may have gone meanwhile; a rebalance may be under way.
        Ok(()) | Err(LogError::Closed | LogError::Unavailable(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// After the end nothing answers any more, and subscriptions are over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shut_down_log_ends_its_subscriptions() {
    let Some(config) = plain() else { return };
    let place = Place::new(config, 1).await;
    let mut member = place.join("a", StartAt::Committed).await;
    assigned(&mut member, 1).await;
    let mut tail = place.log.tail(&place.topic, TailStart::End).await.expect("a tail");
    place.kafka.delete_topics(&place.prefix).await.expect("deleted");
    place.kafka.shutdown().await;
    while timeout(PATIENCE, tail.deliveries.recv()).await.expect("in time").is_some() {}
    while timeout(PATIENCE, member.control.recv()).await.expect("in time").is_some() {}
    let refused = place.log.publish(place.record(0, "1")).await;
    assert!(matches!(refused, Err(LogError::Unavailable(_))), "{refused:?}");
    assert!(matches!(member.handle.commit(&[(Partition(0), Offset(0))]).await, Err(LogError::Closed)));
}
