//! Plans, their application, and migrations, on a real broker.

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use ridgeline_domain::DurationMs;
use ridgeline_kafka::{Change, Desired, Kafka, KafkaError, TopicFacts};
use ridgeline_ports::{
    Cleanup, Delivery, EventLog, GroupId, Headers, LogError, NewRecord, Offset, Record, TailStart, TopicName,
    TopicSpec, partition_of,
};
use ridgeline_testkit::stack;

fn kafka(adjust: impl FnOnce(&mut ridgeline_kafka::KafkaConfig)) -> Option<Kafka> {
    let mut config = support::config(stack::address(stack::KAFKA)?);
    adjust(&mut config);
    Some(Kafka::connect(config).expect("clients"))
}

fn spec(name: &str, partitions: u32, cleanup: Cleanup) -> TopicSpec {
    TopicSpec { name: TopicName::new(name), partitions, cleanup, record_bytes_max: 100_000 }
}

const DAY: Cleanup = Cleanup::Delete { retention: DurationMs::from_days(1) };
const COMPACT: Cleanup = Cleanup::Compact { delete_retention: DurationMs::from_days(7) };

fn desired(spec: TopicSpec) -> Desired {
    Desired { spec, writers: vec![], readers: vec![], watchers: vec![] }
}

/// A missing topic is made, a changed setting is set and leaves the others alone, and then there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_comes_true() {
    let Some(kafka) = kafka(|_| {}) else { return };
    let prefix = support::prefix();
    let (deleted, compacted) = (spec(&format!("{prefix}a"), 3, DAY), spec(&format!("{prefix}b"), 2, COMPACT));
    let mut wanted = [desired(deleted.clone()), desired(compacted.clone())];
    let plan = kafka.plan(&wanted).await.expect("a plan");
    let create = |spec: &TopicSpec| Change::Create { spec: spec.clone(), replication: 1 };
    assert_eq!(plan.changes, [create(&deleted), create(&compacted)]);
    assert_eq!(kafka.apply(&plan).await.expect("applied"), []);
    assert_eq!(kafka.plan(&wanted).await.expect("a plan").changes, []);
    let facts = |topic: &TopicSpec| TopicFacts {
        topic: topic.name.clone(),
        partitions: topic.partitions,
        replication: 1,
        min_insync: 1,
    };
    let topics = [deleted.name.clone(), TopicName::new(&format!("{prefix}nowhere")), compacted.name.clone()];
    assert_eq!(kafka.facts(&topics).await.expect("facts"), [facts(&deleted), facts(&compacted)]);

    wanted[0].spec.cleanup = Cleanup::Delete { retention: DurationMs::from_days(2) };
    let plan = kafka.plan(&wanted).await.expect("a plan");
    let (from, to) = (Some("86400000".to_owned()), "172800000".to_owned());
    let set = Change::SetConfig { topic: deleted.name.clone(), name: "retention.ms", from, to };
    assert_eq!(plan.changes, [set]);
    assert_eq!(kafka.apply(&plan).await.expect("applied"), []);
    assert_eq!(kafka.plan(&wanted).await.expect("a plan").changes, []);
    support::release(&kafka, &prefix).await;
}

/// Partitions and kinds of clean-up are never changed, copies not by us.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_move_keys_is_refused() {
    let Some(kafka) = kafka(|_| {}) else { return };
    let prefix = support::prefix();
    let made = spec(&format!("{prefix}a"), 3, DAY);
    kafka.log().ensure_topic(&made).await.expect("a topic");
    let topic = made.name.clone();
    let wanted = [desired(TopicSpec { partitions: 6, ..made.clone() })];
    let plan = kafka.plan(&wanted).await.expect("a plan");
    assert_eq!(plan.changes, [Change::RefusePartitions { topic: topic.clone(), have: 3, want: 6 }]);
    assert_eq!(kafka.apply(&plan).await.expect("nothing to do"), plan.changes);
    assert_eq!(kafka.log().partitions(&topic).await.expect("a count"), 3);
    let wanted = [desired(TopicSpec { cleanup: COMPACT, ..made })];
    let plan = kafka.plan(&wanted).await.expect("a plan");
    let refused = Change::RefuseCleanup { topic: topic.clone(), have: "delete".into(), want: "compact".into() };
    assert!(plan.changes.contains(&refused), "{:?}", plan.changes);
    support::release(&kafka, &prefix).await;
}

/// A cluster that cannot hold the copies says so, and nothing is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_brokers_are_told() {
    let Some(kafka) = kafka(|config| (config.replication, config.min_insync) = (3, 2)) else { return };
    let prefix = support::prefix();
    let refused = kafka.log().ensure_topic(&spec(&format!("{prefix}a"), 1, DAY)).await.expect_err("one broker");
    assert!(refused.to_string().contains("replication factor"), "{refused}");
    support::release(&kafka, &prefix).await;
}

fn record(topic: &TopicName, key: &str, value: Option<&str>) -> NewRecord {
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let headers = vec![("ce_id".to_owned(), text(key)), ("ce_id".to_owned(), Bytes::new())];
    NewRecord { topic: topic.clone(), partition: None, key: text(key), value: value.map(text), headers }
}

async fn read_all(log: &dyn EventLog, topic: &TopicName) -> Vec<Record> {
    let ends = log.end_offsets(topic).await.expect("ends");
    let mut tail = log.tail(topic, TailStart::Beginning).await.expect("a tail");
    let (mut records, mut ended) = (Vec::new(), 0);
    while ended < ends.len() {
        match tail.deliveries.recv().await.expect("open") {
            Delivery::Record { record, .. } => records.push(record),
            Delivery::End { .. } => ended += 1,
        }
    }
    records
}

/// Values by key, in order.
fn by_key(records: &[Record]) -> BTreeMap<Bytes, Vec<(Option<Bytes>, Headers)>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    for record in records {
        keys.entry(record.key.clone()).or_default().push((record.value.clone(), record.headers.clone()));
    }
    keys
}

/// Everything arrives under its key's new partition, tombstones and headers too, in order by key; a second call finds nothing to do
/// and a later one goes on where the first ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_keeps_order_tombstones_and_headers() {
    let Some(kafka) = kafka(|_| {}) else { return };
    let (log, prefix) = (kafka.log(), support::prefix());
    let (from, to) = (TopicName::new(&format!("{prefix}old")), TopicName::new(&format!("{prefix}new")));
    log.ensure_topic(&spec(from.as_str(), 3, COMPACT)).await.expect("a topic");
    for round in 0..20 {
        for key in 0..30 {
            let value = format!("{round}");
            let value = if (round + key) % 7 == 0 { None } else { Some(value.as_str()) };
            log.publish(record(&from, &format!("key-{key}"), value)).await.expect("durable");
        }
    }
    let mut told = Vec::new();
    let done = kafka.migrate(&from, &to, 5, &mut |progress| told.push(progress)).await.expect("migrated");
    assert_eq!((done.copied, done.resumed), (600, false));
    assert_eq!(told.last().map(|last| (last.copied, last.left)), Some((600, 0)));
    assert!(told.is_sorted_by_key(|progress| progress.copied));
    assert_eq!(log.partitions(&to).await.expect("a count"), 5);
    let (old, new) = (read_all(&*log, &from).await, read_all(&*log, &to).await);
    assert_eq!(by_key(&old), by_key(&new));
    assert!(new.iter().all(|record| record.partition == partition_of(&record.key, 5)));
    // The settings came along.
    assert_eq!(kafka.plan(&[desired(spec(to.as_str(), 5, COMPACT))]).await.expect("a plan").changes, []);

    let again = kafka.migrate(&from, &to, 5, &mut |_| {}).await.expect("nothing to do");
    assert_eq!((again.copied, again.resumed), (0, true));
    log.publish(record(&from, "late", Some("1"))).await.expect("durable");
    let late = kafka.migrate(&from, &to, 5, &mut |_| {}).await.expect("the rest");
    assert_eq!((late.copied, late.resumed), (1, true));
    assert_eq!(read_all(&*log, &to).await.len(), 601);
    support::release(&kafka, &prefix).await;
}

/// An interrupted migration goes on at its last commit; by key the last records are the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_migration_goes_on() {
    let Some(kafka) = kafka(|_| {}) else { return };
    let (log, prefix) = (kafka.log(), support::prefix());
    let (from, to) = (TopicName::new(&format!("{prefix}old")), TopicName::new(&format!("{prefix}new")));
    log.ensure_topic(&spec(from.as_str(), 2, DAY)).await.expect("a topic");
    let mut published = tokio::task::JoinSet::new();
    for number in 0..3_000_u32 {
        let (log, record) = (log.clone(), record(&from, &format!("{number}"), Some("v")));
        published.spawn(async move { log.publish(record).await.expect("durable") });
    }
    published.join_all().await;
    let interrupt = tokio::sync::Notify::new();
    let mut watch = |progress: ridgeline_kafka::Progress| {
        if progress.copied > 500 {
            interrupt.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = interrupt.notified() => {}
        done = kafka.migrate(&from, &to, 4, &mut watch) => panic!("not interrupted: {done:?}"),
    }
    let group = GroupId(format!("migrate.{from}.{to}"));
    let committed: u64 =
        log.committed(&from, &group).await.expect("offsets").into_iter().flatten().map(|Offset(offset)| offset).sum();
    assert!((1..3_000).contains(&committed), "{committed}");
    let done = kafka.migrate(&from, &to, 4, &mut |_| {}).await.expect("migrated");
    assert!(done.resumed && done.copied <= 3_000 - committed, "{} after {committed}", done.copied);
    assert_eq!(by_key(&read_all(&*log, &to).await).len(), 3_000);
    support::release(&kafka, &prefix).await;
}

/// A new topic that somebody else has filled is left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filled_topic_is_not_migrated_into() {
    let Some(kafka) = kafka(|_| {}) else { return };
    let (log, prefix) = (kafka.log(), support::prefix());
    let (from, to) = (TopicName::new(&format!("{prefix}old")), TopicName::new(&format!("{prefix}new")));
    for (topic, partitions) in [(&from, 2), (&to, 4)] {
        log.ensure_topic(&spec(topic.as_str(), partitions, DAY)).await.expect("a topic");
        log.publish(record(topic, "key", Some("v"))).await.expect("durable");
    }
    let refused = kafka.migrate(&from, &to, 4, &mut |_| {}).await.expect_err("refused");
    assert!(matches!(refused, KafkaError::Log { source: LogError::Incompatible(_), .. }), "{refused:?}");
    let other = kafka.migrate(&from, &to, 5, &mut |_| {}).await.expect_err("another number of partitions");
    assert!(matches!(other, KafkaError::Log { source: LogError::Incompatible(_), .. }), "{other:?}");
    assert_eq!(log.end_offsets(&to).await.expect("ends").iter().map(|end| end.0).sum::<u64>(), 1);
    support::release(&kafka, &prefix).await;
}
