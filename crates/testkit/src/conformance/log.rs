//! Topics, publishing, and reading without a group.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ridgeline_domain::{DurationMs, Timestamp};
use ridgeline_ports::{Cleanup, Delivery, LogError, Offset, Partition, TailStart, TopicName, TopicSpec, partition_of};

use super::log_support::{Topic, keep_days, next_of, next_record, number, read_to_ends, stays_quiet, text};
use super::{LogFixture, PATIENCE};

/// A second `ensure_topic` changes nothing; another shape is refused; other topics do not exist.
pub async fn topics_are_made_once(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 3, keep_days()).await;
    topic.publish(0, "k", None).await;
    let spec =
        |partitions, cleanup| TopicSpec { name: topic.name.clone(), partitions, cleanup, record_bytes_max: 1 << 20 };
    topic.log.ensure_topic(&spec(3, keep_days())).await.expect("the same again");
    assert_eq!(topic.log.partitions(&topic.name).await.expect("a count"), 3);
    assert_eq!(topic.ends().await, [1, 0, 0]);
    let compact = Cleanup::Compact { delete_retention: DurationMs::from_days(7) };
    for other in [spec(4, keep_days()), spec(3, compact)] {
        let refused = topic.log.ensure_topic(&other).await;
        assert!(matches!(refused, Err(LogError::Incompatible(_))), "{refused:?}");
    }
    let nowhere = TopicName::new(&format!("{}nowhere", fixture.prefix()));
    let mut record = topic.record(None, "k", None);
    record.topic = nowhere.clone();
    assert!(matches!(topic.log.publish(record).await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(topic.log.partitions(&nowhere).await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(topic.log.end_offsets(&nowhere).await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(topic.log.tail(&nowhere, TailStart::End).await, Err(LogError::UnknownTopic(_))));
}

/// Key, value, headers (order, repeated names), the empty value and the tombstone are read as they were written.
pub async fn records_come_back_whole(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 1, keep_days()).await;
    let headers = vec![
        ("ce_id".to_owned(), Bytes::from_static(b"1")),
        ("b".to_owned(), Bytes::new()),
        ("ce_id".to_owned(), Bytes::from_static(&[0, 255])),
    ];
    let mut whole = topic.record(None, "key", Some(Bytes::from_static(&[0, 1, 2, 255])));
    whole.headers = headers.clone();
    let appended = topic.log.publish(whole).await.expect("durable");
    topic.publish(0, "empty", Some(Bytes::new())).await;
    topic.publish(0, "tombstone", None).await;

    let mut tail = topic.log.tail(&topic.name, TailStart::Beginning).await.expect("a tail");
    let record = next_record(&mut tail).await;
    assert_eq!((record.topic, record.partition, record.offset), (topic.name.clone(), Partition(0), Offset(0)));
    assert_eq!(record.append_time, appended.append_time);
    assert_eq!(record.key, "key");
    assert_eq!(record.value.as_deref(), Some(&[0, 1, 2, 255][..]));
    assert_eq!(record.headers, headers);
    assert_eq!(next_record(&mut tail).await.value, Some(Bytes::new()));
    assert_eq!(next_record(&mut tail).await.value, None);
}

/// Without a partition murmur2 of the key decides; with one it is obeyed; one that does not exist is refused.
pub async fn the_key_or_the_writer_chooses_the_partition(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 8, keep_days()).await;
    for key in ["alice", "bob", "carol", "dave", ""] {
        let appended = topic.log.publish(topic.record(None, key, None)).await.expect("durable");
        assert_eq!(appended.partition, partition_of(key.as_bytes(), 8));
    }
    let explicit = topic.publish(7, "alice", None).await;
    assert_eq!(explicit.partition, Partition(7));
    let refused = topic.log.publish(topic.record(Some(8), "alice", None)).await;
    assert!(matches!(refused, Err(LogError::UnknownPartition(_, Partition(8)))), "{refused:?}");
}

/// Concurrent writers get each offset once, without gaps, and append times never fall along a partition.
pub async fn offsets_are_contiguous_and_times_never_fall(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 1, keep_days()).await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (log, record) = (topic.log.clone(), topic.record(Some(0), "k", text(&number.to_string())));
        writers.spawn(async move { log.publish(record).await.expect("durable").offset.0 });
    }
    let offsets: BTreeSet<u64> = writers.join_all().await.into_iter().collect();
    assert_eq!(offsets, (0..200).collect());
    assert_eq!(topic.ends().await, [200]);

    let mut tail = topic.log.tail(&topic.name, TailStart::Beginning).await.expect("a tail");
    let records = read_to_ends(&mut tail, 1).await;
    assert_eq!(records.iter().map(|record| record.offset.0).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
    assert!(records.is_sorted_by_key(|record| record.append_time));
}

/// A writer that waits for each answer finds its records in the order it wrote them.
pub async fn one_writers_records_keep_their_order(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, keep_days()).await;
    topic.publish_numbers(1, 0..50).await;
    let mut tail = topic.log.tail(&topic.name, TailStart::Beginning).await.expect("a tail");
    let records = read_to_ends(&mut tail, 2).await;
    assert_eq!(records.iter().map(number).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
}

/// Everything published after `tail` returned comes; nothing from before does.
pub async fn a_tail_from_the_end_misses_nothing_after_it_began(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, keep_days()).await;
    topic.publish_numbers(0, 0..5).await;
    for round in 0..10 {
        let mut tail = topic.log.tail(&topic.name, TailStart::End).await.expect("a tail");
        topic.publish(round % 2, "k", text(&format!("{}", 100 + round))).await;
        assert_eq!(number(&next_record(&mut tail).await), 100 + round);
    }
    let mut tail = topic.log.tail(&topic.name, TailStart::End).await.expect("a tail");
    stays_quiet(&mut tail).await;
}

/// From the beginning all records of all partitions come, and then the new ones.
pub async fn a_tail_from_the_beginning_reads_all(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 4, keep_days()).await;
    for partition in 0..4 {
        topic.publish_numbers(partition, partition * 100..partition * 100 + 30).await;
    }
    let mut tail = topic.log.tail(&topic.name, TailStart::Beginning).await.expect("a tail");
    let records = read_to_ends(&mut tail, 4).await;
    let numbers: BTreeSet<u32> = records.iter().map(number).collect();
    assert_eq!(numbers, (0..4).flat_map(|partition| partition * 100..partition * 100 + 30).collect());
    assert_eq!(records.len(), 120);
    topic.publish(2, "k", text("999")).await;
    assert_eq!(number(&next_record(&mut tail).await), 999);
}

/// From a time on, the first record is the first appended at or after it.
pub async fn a_tail_from_a_time_starts_there(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, keep_days()).await;
    topic.publish_numbers(0, 0..20).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let since = topic.publish(0, "k", text("20")).await.append_time;
    topic.publish_numbers(0, 21..40).await;
    let mut tail = topic.log.tail(&topic.name, TailStart::Time(since)).await.expect("a tail");
    let records = read_to_ends(&mut tail, 2).await;
    assert_eq!(records.iter().map(number).collect::<Vec<_>>(), (20..40).collect::<Vec<_>>());

    let later = since.plus(DurationMs::from_days(1));
    let mut tail = topic.log.tail(&topic.name, TailStart::Time(later)).await.expect("a tail");
    assert!(read_to_ends(&mut tail, 2).await.is_empty());
    let mut tail = topic.log.tail(&topic.name, TailStart::Time(Timestamp::from_millis(0))).await.expect("a tail");
    assert_eq!(read_to_ends(&mut tail, 2).await.len(), 40);
}

/// Each partition tells its end, also an empty one, with the next offset; after new records it does so again.
pub async fn the_end_is_told_once_each_time(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, keep_days()).await;
    topic.publish_numbers(0, 0..3).await;
    let mut tail = topic.log.tail(&topic.name, TailStart::Beginning).await.expect("a tail");
    let mut ends = BTreeSet::new();
    let mut read = 0;
    while ends.len() < 2 {
        match next_of(&mut tail).await {
            Delivery::Record { .. } => read += 1,
            Delivery::End { topic: of, partition, next, epoch } => {
                assert_eq!((of, epoch), (topic.name.clone(), 0));
                assert!(partition.0 == 1 || read == 3, "the end comes after the records");
                ends.insert((partition.0, next.0));
            }
        }
    }
    assert_eq!(ends, [(0, 3), (1, 0)].into());
    stays_silent(&mut tail).await;
    topic.publish(1, "k", text("9")).await;
    assert!(matches!(next_of(&mut tail).await, Delivery::Record { record, .. } if number(&record) == 9));
    let end = next_of(&mut tail).await;
    assert!(matches!(end, Delivery::End { partition: Partition(1), next: Offset(1), .. }), "{end:?}");
}

async fn stays_silent(tail: &mut ridgeline_ports::TailSubscription) {
    let heard = tokio::time::timeout(super::QUIET, tail.deliveries.recv()).await;
    assert!(heard.is_err(), "an end is told once");
}

/// Records up to the topic's limit come back byte for byte.
pub async fn large_records_come_back(fixture: &dyn LogFixture) {
    let max = 12 << 20;
    let topic = Topic::with_max(fixture, 1, keep_days(), max).await;
    let value: Bytes = (0..max - 3).map(|index| (index % 251) as u8).collect::<Vec<_>>().into();
    for _ in 0..3 {
        topic.publish(0, "big", Some(value.clone())).await;
    }
    let mut tail = topic.log.tail(&topic.name, TailStart::Beginning).await.expect("a tail");
    for _ in 0..3 {
        assert!(next_record(&mut tail).await.value == Some(value.clone()), "the large value is the same");
    }
}

/// One byte more than the limit, counted over key, value and headers, is refused and nothing is appended.
pub async fn too_large_records_are_refused(fixture: &dyn LogFixture) {
    let topic = Topic::with_max(fixture, 1, keep_days(), 10_000).await;
    let mut record = topic.record(None, "key", Some(Bytes::from(vec![1; 9_990])));
    record.headers = vec![("head".to_owned(), Bytes::from_static(b"1234"))];
    let refused = topic.log.publish(record.clone()).await;
    assert!(matches!(refused, Err(LogError::TooLarge { bytes: 10_001, max: 10_000, .. })), "{refused:?}");
    assert_eq!(topic.ends().await, [0]);
    record.headers = vec![("head".to_owned(), Bytes::from_static(b"123"))];
    topic.log.publish(record).await.expect("exactly the limit");
}

/// Publishes that are dropped half-way append their record once or not at all, and later ones go on.
pub async fn a_cancelled_publish_does_no_harm(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 1, keep_days()).await;
    for number in 0..100_u32 {
        let publish = topic.log.publish(topic.record(Some(0), "k", text(&number.to_string())));
        let _ = tokio::time::timeout(Duration::from_micros(u64::from(number) * 10), publish).await;
    }
    let last = tokio::time::timeout(PATIENCE, topic.publish(0, "k", text("1000"))).await.expect("goes on");
    let mut tail = topic.log.tail(&topic.name, TailStart::Beginning).await.expect("a tail");
    let mut numbers = BTreeSet::new();
    loop {
        let record = next_record(&mut tail).await;
        assert!(numbers.insert(number(&record)), "no record twice");
        if record.offset == last.offset {
            break;
        }
    }
    assert!(numbers.contains(&1000));
}
