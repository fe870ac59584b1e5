//! Retention and compaction. Adapters whose time cannot be moved end these tests early.

use std::collections::BTreeMap;
use std::time::Duration;

use ridgeline_domain::DurationMs;
use ridgeline_ports::{Cleanup, Delivery, Record, StartAt, TailStart};
use tokio::time::Instant;

use super::log_support::{Topic, next_record, number, read_to_ends, text};
use super::{LogFixture, PATIENCE};

async fn read_all(topic: &Topic, partitions: usize) -> Vec<Record> {
    let mut tail = topic.log.tail(&topic.name, TailStart::Beginning).await.expect("a tail");
    read_to_ends(&mut tail, partitions).await
}

/// Sweeps until what is there satisfies the condition.
async fn swept_until(fixture: &dyn LogFixture, topic: &Topic, partitions: usize, holds: impl Fn(&[Record]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        fixture.sweep().await;
        let records = read_all(topic, partitions).await;
        if holds(&records) {
            return;
        }
        assert!(Instant::now() < deadline, "the clean-up did not come; {} records are there", records.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// However often it runs, the last record of each key stays with its offset, and readers pass over the gaps.
pub async fn compaction_keeps_the_last_record_of_each_key(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, Cleanup::Compact { delete_retention: DurationMs::from_days(7) }).await;
    for round in 0..5 {
        for key in 0..20_u32 {
            topic.publish(key % 2, &format!("key-{key}"), text(&(round * 100 + key).to_string())).await;
        }
    }
    let last_of_all = |records: &[Record]| {
        let last: BTreeMap<_, _> = records.iter().map(|record| (record.key.clone(), number(record))).collect();
        assert_eq!(last.into_values().collect::<std::collections::BTreeSet<_>>(), (400..420).collect());
    };
    last_of_all(&read_all(&topic, 2).await);
    if fixture.age(DurationMs::from_secs(60)).await {
        swept_until(fixture, &topic, 2, |records| records.len() == 20).await;
        last_of_all(&read_all(&topic, 2).await);
    }
    assert_eq!(topic.ends().await, [50, 50]);
    topic.publish(0, "key-0", text("500")).await;
    assert_eq!(topic.ends().await, [51, 50]);
}

/// A tombstone removes its key's older records, stays readable for its time, then goes; the key does not come back.
pub async fn tombstones_go_after_their_time(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 1, Cleanup::Compact { delete_retention: DurationMs::from_days(7) }).await;
    topic.publish(0, "gone", text("1")).await;
    topic.publish(0, "kept", text("2")).await;
    topic.publish(0, "gone", None).await;
    if !fixture.age(DurationMs::from_secs(60)).await {
        return;
    }
    swept_until(fixture, &topic, 1, |records| {
        records.len() == 2 && records.last().is_some_and(|record| record.value.is_none())
    })
    .await;
    assert!(fixture.age(DurationMs::from_days(8)).await);
    swept_until(fixture, &topic, 1, |records| records.len() == 1 && number(&records[0]) == 2).await;
    assert_eq!(topic.ends().await, [3]);
}

/// Records older than the retention go, younger ones stay, offsets go on where they were, readers and groups go on.
pub async fn retention_deletes_the_old_and_keeps_the_end(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 1, Cleanup::Delete { retention: DurationMs::from_days(1) }).await;
    topic.publish_numbers(0, 0..50).await;
    let mut tail = topic.log.tail(&topic.name, TailStart::End).await.expect("a tail");
    if !fixture.age(DurationMs::from_days(2)).await {
        return;
    }
    topic.publish_numbers(0, 50..55).await;
    swept_until(fixture, &topic, 1, |records| records.first().map(number) == Some(50) && records.len() == 5).await;
    assert!(fixture.age(DurationMs::from_days(2)).await);
    swept_until(fixture, &topic, 1, <[Record]>::is_empty).await;
    assert_eq!(topic.ends().await, [55]);

    let mut member = topic.join("a", StartAt::Committed).await;
    member.assigned(1).await;
    let end = member.delivery().await;
    assert!(matches!(end, Delivery::End { next, .. } if next.0 == 55), "{end:?}");
    assert_eq!(topic.publish(0, "k", text("55")).await.offset.0, 55);
    assert_eq!(member.numbers(1).await, [55]);
    while number(&next_record(&mut tail).await) != 55 {}
}
