//! Groups: sharing, handing over, committing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ridgeline_ports::{Control, Delivery, GroupId, LogError, MemberId, Offset, Partition, StartAt, TailStart};
use tokio::time::{Instant, timeout};

use super::log_support::{Member, Topic, keep_days, number, text};
use super::{LogFixture, PATIENCE, QUIET};

/// A group starts at 0 and then where it committed, however it left.
pub async fn a_group_goes_on_at_its_committed_offset(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, keep_days()).await;
    topic.publish_numbers(0, 0..10).await;
    assert_eq!(topic.committed().await, [None, None]);
    let mut member = topic.join("a", StartAt::Committed).await;
    member.assigned(2).await;
    assert!(member.owned.values().all(|assignment| assignment.start == Offset(0)));
    assert_eq!(member.numbers(10).await, (0..10).collect::<Vec<_>>());
    member.commit(0, 4).await.expect("committed");
    member.commit(0, 6).await.expect("committed");
    assert_eq!(topic.committed().await, [Some(6), None]);
    member.leave().await;

    let mut member = topic.join("a", StartAt::Committed).await;
    member.assigned(2).await;
    assert_eq!(member.owned[&Partition(0)].start, Offset(6));
    assert_eq!(member.numbers(4).await, [6, 7, 8, 9]);
}

/// A table reads from 0 whatever was committed, tells the end, and goes on live.
pub async fn a_table_starts_at_the_beginning(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 1, keep_days()).await;
    topic.publish_numbers(0, 0..5).await;
    for _ in 0..2 {
        let mut member = topic.join("a", StartAt::Beginning).await;
        member.assigned(1).await;
        assert_eq!(member.numbers(5).await, [0, 1, 2, 3, 4]);
        let end = member.delivery().await;
        let epoch = member.owned[&Partition(0)].epoch;
        assert!(matches!(end, Delivery::End { next: Offset(5), epoch: of, .. } if of == epoch), "{end:?}");
        member.leave().await;
    }
    let mut member = topic.join("a", StartAt::Beginning).await;
    member.assigned(1).await;
    member.numbers(5).await;
    topic.publish(0, "k", text("5")).await;
    assert_eq!(member.numbers(1).await, [5]);
}

/// Two groups each see every record and commit for themselves.
pub async fn groups_do_not_share_offsets(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 1, keep_days()).await;
    topic.publish_numbers(0, 0..5).await;
    let mut first = topic.join("a", StartAt::Committed).await;
    first.assigned(1).await;
    first.numbers(5).await;
    first.commit(0, 5).await.expect("committed");
    let other = GroupId(format!("{}other", topic.group.0));
    assert_eq!(topic.log.committed(&topic.name, &other).await.expect("offsets"), [None]);
    let id = MemberId("a".into());
    let subscription = topic.log.subscribe(&topic.name, &other, &id, StartAt::Committed).await.expect("joined");
    let mut second = Member { subscription, owned: BTreeMap::new() };
    second.assigned(1).await;
    assert_eq!(second.numbers(5).await, [0, 1, 2, 3, 4]);
}

/// A second member gets half, the first keeps the other half undisturbed.
pub async fn two_members_own_half_each(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 8, keep_days()).await;
    let mut first = topic.join("a", StartAt::Committed).await;
    first.assigned(8).await;
    let before = first.owned.clone();
    let mut second = topic.join("b", StartAt::Committed).await;
    while first.owned.len() > 4 {
        let (_, ack) = first.revoked().await;
        ack.send(vec![]).expect("an adapter that listens");
    }
    second.assigned(4).await;
    assert!(first.owned.keys().all(|partition| !second.owned.contains_key(partition)), "no partition twice");
    let kept = first.owned.iter().all(|(partition, assignment)| before.get(partition) == Some(assignment));
    assert!(kept, "what stays is not handed over anew");
    let anew = second.owned.iter().all(|(partition, assignment)| assignment.epoch > before[partition].epoch);
    assert!(anew, "what moves has a higher epoch");
}

/// The offsets in the ack are committed before the next owner starts, exactly there.
pub async fn acked_offsets_are_where_the_next_owner_starts(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, keep_days()).await;
    for partition in 0..2 {
        topic.publish_numbers(partition, 0..10).await;
    }
    let mut first = topic.join("a", StartAt::Committed).await;
    first.assigned(2).await;
    first.numbers(20).await;
    let mut second = topic.join("b", StartAt::Committed).await;
    let (partitions, ack) = first.revoked().await;
    assert_eq!(partitions.len(), 1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(timeout(Duration::from_millis(1), second.control()).await.is_err(), "nothing moves before the ack");
    ack.send(vec![(partitions[0], Offset(7))]).expect("an adapter that listens");
    second.assigned(1).await;
    assert_eq!(second.owned[&partitions[0]].start, Offset(7));
    assert_eq!(second.numbers(3).await, [7, 8, 9]);
    let committed = topic.committed().await;
    assert_eq!(committed[usize::try_from(partitions[0].0).expect("small")], Some(7));
}

/// Who owns what at this moment, as the members see it.
type Owners = Arc<Mutex<BTreeMap<Partition, &'static str>>>;

/// Works as a member until told to stop: notes numbers, commits, acks; panics if a partition has two owners.
async fn work(topic: Arc<Topic>, name: &'static str, owners: Owners, done: Arc<Mutex<BTreeSet<u32>>>, until: Instant) {
    let mut member = topic.join(name, StartAt::Committed).await;
    let mut next: BTreeMap<Partition, Offset> = BTreeMap::new();
    let handle = Arc::clone(&member.subscription.handle);
    let mut leaving = std::pin::pin!(async {
        tokio::time::sleep_until(until).await;
        handle.leave().await
    });
    loop {
        tokio::select! {
            biased;
            control = member.subscription.control.recv() => match control {
                Some(Control::Assigned(assignments)) => for assignment in assignments {
                    let other = owners.lock().expect("owners").insert(assignment.partition, name);
                    assert!(other.is_none() || other == Some(name), "{:?} has two owners", assignment.partition);
                    next.insert(assignment.partition, assignment.start);
                },
                Some(Control::Revoked { partitions, ack }) => {
                    let offsets = partitions.iter().filter_map(|at| next.remove(at).map(|offset| (*at, offset))).collect();
                    owners.lock().expect("owners").retain(|at, _| !partitions.contains(at));
                    let _ = ack.send(offsets);
                }
                Some(other) => panic!("{name}: {other:?}"),
                None => return,
            },
            left = &mut leaving => return left.expect("left"),
            delivery = member.subscription.deliveries.recv() => match delivery {
                Some(Delivery::Record { record, .. }) if next.contains_key(&record.partition) => {
                    done.lock().expect("done").insert(number(&record));
                    next.insert(record.partition, record.offset.next());
                }
                Some(_) => {}
                None => return,
            },
        }
    }
}

/// With members that join and leave under load no partition has two owners and every record is worked on.
pub async fn members_that_come_and_go_lose_nothing(fixture: &dyn LogFixture) {
    let topic = Arc::new(Topic::new(fixture, 8, keep_days()).await);
    let (owners, done) = (Owners::default(), Arc::<Mutex<BTreeSet<u32>>>::default());
    let start = Instant::now();
    let mut members = tokio::task::JoinSet::new();
    for (name, joins_ms, leaves_ms) in [("a", 0, 60_000), ("b", 150, 900), ("c", 400, 1_200)] {
        let (topic, owners, done) = (topic.clone(), owners.clone(), done.clone());
        members.spawn(async move {
            tokio::time::sleep_until(start + Duration::from_millis(joins_ms)).await;
            work(topic, name, owners, done, start + Duration::from_millis(leaves_ms)).await;
        });
    }
    let mut published = 0;
    while start.elapsed() < Duration::from_millis(1_500) {
        topic.publish(published % 8, "k", text(&published.to_string())).await;
        published += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let deadline = Instant::now() + PATIENCE;
    while done.lock().expect("done").len() < published as usize {
        assert!(Instant::now() < deadline, "records were lost");
        if let Some(Err(failed)) = members.try_join_next() {
            std::panic::resume_unwind(failed.into_panic());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    members.abort_all();
}

/// A member that does not answer in time loses the partitions; its commits for them are refused from then on.
pub async fn an_overdue_member_loses_its_partitions(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, keep_days()).await;
    for partition in 0..2 {
        topic.publish_numbers(partition, 0..5).await;
    }
    let mut slow = topic.join("slow", StartAt::Committed).await;
    slow.assigned(2).await;
    slow.numbers(10).await;
    let mut other = topic.join("other", StartAt::Committed).await;
    let lost = slow.lost().await;
    other.assigned(1).await;
    assert!(lost.contains(other.owned.keys().next().expect("a partition")));
    for partition in &lost {
        let refused = slow.commit(partition.0, 5).await;
        assert!(matches!(refused, Err(LogError::Closed)), "{refused:?}");
    }
    assert_eq!(topic.committed().await, [None, None]);
    assert_eq!(other.numbers(5).await, [0, 1, 2, 3, 4]);
}

/// A subscription that is dropped is out at once: others take over from what it had committed.
pub async fn a_dropped_member_is_replaced(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, keep_days()).await;
    topic.publish_numbers(0, 0..10).await;
    let mut first = topic.join("a", StartAt::Committed).await;
    first.assigned(2).await;
    first.numbers(10).await;
    first.commit(0, 3).await.expect("committed");
    let handle = Arc::clone(&first.subscription.handle);
    drop(first);
    let mut second = topic.join("b", StartAt::Committed).await;
    second.assigned(2).await;
    assert_eq!(second.owned[&Partition(0)].start, Offset(3));
    assert_eq!(second.numbers(7).await, (3..10).collect::<Vec<_>>());
    assert!(matches!(handle.commit(&[(Partition(0), Offset(9))]).await, Err(LogError::Closed)));
    assert_eq!(topic.committed().await, [Some(3), None]);
}

/// The same member again (a restarted process) takes the place of the former, which is fenced.
pub async fn a_member_that_comes_back_replaces_itself(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, keep_days()).await;
    topic.publish_numbers(0, 0..5).await;
    let mut former = topic.join("a", StartAt::Committed).await;
    former.assigned(2).await;
    let before = former.owned.clone();
    former.numbers(5).await;
    former.commit(0, 2).await.expect("committed");
    let mut again = topic.join("a", StartAt::Committed).await;
    again.assigned(2).await;
    assert_eq!(again.owned[&Partition(0)].start, Offset(2));
    assert!(again.owned.iter().all(|(partition, assignment)| assignment.epoch > before[partition].epoch));
    assert_eq!(again.numbers(3).await, [2, 3, 4]);
    assert!(matches!(former.commit(0, 5).await, Err(LogError::Closed)));
}

/// A commit that names one partition of someone else stores nothing at all.
pub async fn foreign_partitions_cannot_be_committed(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, keep_days()).await;
    let mut first = topic.join("a", StartAt::Committed).await;
    first.assigned(2).await;
    let mut second = topic.join("b", StartAt::Committed).await;
    let (partitions, ack) = first.revoked().await;
    ack.send(vec![]).expect("an adapter that listens");
    second.assigned(1).await;
    let own = *first.owned.keys().next().expect("one left");
    let both = [(own, Offset(1)), (partitions[0], Offset(1))];
    let refused = first.subscription.handle.commit(&both).await;
    assert!(matches!(refused, Err(LogError::Closed)), "{refused:?}");
    assert_eq!(topic.committed().await, [None, None]);
    second.commit(partitions[0].0, 0).await.expect("the owner may");
}

/// A paused partition delivers nothing new until it is resumed; the other goes on.
pub async fn a_paused_partition_waits(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, keep_days()).await;
    let mut member = topic.join("a", StartAt::Committed).await;
    member.assigned(2).await;
    topic.publish(0, "k", text("1")).await;
    assert_eq!(member.numbers(1).await, [1]);
    member.subscription.handle.pause(&[Partition(0)]).await.expect("paused");
    topic.publish(0, "k", text("2")).await;
    topic.publish(1, "k", text("3")).await;
    assert_eq!(member.numbers(1).await, [3]);
    member.stays_quiet().await;
    member.subscription.handle.resume(&[Partition(0)]).await.expect("resumed");
    assert_eq!(member.numbers(1).await, [2]);
}

/// After a seek records come from there, under a new epoch that was announced; others cannot be sought.
pub async fn a_seek_starts_a_new_epoch(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 1, keep_days()).await;
    topic.publish_numbers(0, 0..10).await;
    let mut member = topic.join("a", StartAt::Committed).await;
    member.assigned(1).await;
    let epoch = member.owned[&Partition(0)].epoch;
    member.numbers(10).await;
    for start in [4, 8, 0] {
        let former = member.owned[&Partition(0)].epoch;
        member.subscription.handle.seek(Partition(0), Offset(start)).await.expect("sought");
        let announced = member.control().await;
        assert!(matches!(&announced, Control::Assigned(all) if all.len() == 1 && all[0].start == Offset(start)));
        let now = member.owned[&Partition(0)].epoch;
        assert!(now > former && now > epoch);
        let mut expected = u32::try_from(start).expect("small");
        while expected < 10 {
            let (record, read_under) = member.record().await;
            if read_under == now {
                assert_eq!(number(&record), expected);
                expected += 1;
            }
        }
    }
    let refused = member.subscription.handle.seek(Partition(1), Offset(0)).await;
    assert!(matches!(refused, Err(LogError::UnknownPartition(..) | LogError::Closed)), "{refused:?}");
}

/// A member that takes no deliveries still hears that partitions are asked back.
pub async fn control_comes_while_deliveries_wait(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 2, keep_days()).await;
    let log = Arc::clone(&topic.log);
    let flood = (0..3_000_u32).map(|index| log.publish(topic.record(Some(index % 2), "k", text("0"))));
    for chunk in chunks(flood, 500) {
        for published in join_all(chunk).await {
            published.expect("durable");
        }
    }
    let mut first = topic.join("a", StartAt::Committed).await;
    first.assigned(2).await;
    tokio::time::sleep(QUIET).await;
    let mut second = topic.join("b", StartAt::Committed).await;
    let (partitions, ack) = first.revoked().await;
    ack.send(vec![(partitions[0], Offset(1_500))]).expect("an adapter that listens");
    second.assigned(1).await;
    assert_eq!(second.owned[&partitions[0]].start, Offset(1_500));
}

/// A reader that comes late to a full channel gets every record, in order.
pub async fn a_full_channel_holds_all_back_and_loses_nothing(fixture: &dyn LogFixture) {
    let topic = Topic::new(fixture, 1, keep_days()).await;
    let mut tail = topic.log.tail(&topic.name, TailStart::End).await.expect("a tail");
    let log = Arc::clone(&topic.log);
    let flood = (0..3_000_u32).map(|number| log.publish(topic.record(Some(0), "k", text(&number.to_string()))));
    for chunk in chunks(flood, 500) {
        for published in join_all(chunk).await {
            published.expect("durable");
        }
    }
    let mut seen = BTreeSet::new();
    for offset in 0..3_000 {
        let record = super::log_support::next_record(&mut tail).await;
        assert_eq!(record.offset, Offset(offset));
        assert!(seen.insert(number(&record)));
    }
}

fn chunks<T>(items: impl Iterator<Item = T>, size: usize) -> Vec<Vec<T>> {
    let mut chunks = vec![Vec::new()];
    for item in items {
        if chunks.last().is_some_and(|chunk| chunk.len() == size) {
            chunks.push(Vec::new());
        }
        if let Some(last) = chunks.last_mut() {
            last.push(item);
        }
    }
    chunks
}

async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}
