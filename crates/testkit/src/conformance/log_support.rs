//! What the log tests share.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ridgeline_domain::DurationMs;
use ridgeline_ports::{
    Appended, Assignment, Cleanup, Control, Delivery, EventLog, GroupId, GroupSubscription, LogError, MemberId,
    NewRecord, Offset, Partition, Record, RevokeAck, StartAt, TailSubscription, TopicName, TopicSpec,
};
use tokio::time::timeout;

use super::{LogFixture, PATIENCE, QUIET};

/// Largest record of the tests' topics.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 20;

/// A topic of its own for one test.
pub(super) struct Topic {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) name: TopicName,
    pub(super) group: GroupId,
}

/// What may be appended besides a key.
pub(super) fn text(value: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(value.as_bytes()))
}

pub(super) fn keep_days() -> Cleanup {
    Cleanup::Delete { retention: DurationMs::from_days(7) }
}

impl Topic {
    pub(super) async fn new(fixture: &dyn LogFixture, partitions: u32, cleanup: Cleanup) -> Self {
        Self::with_max(fixture, partitions, cleanup, RECORD_BYTES_MAX).await
    }

    pub(super) async fn with_max(fixture: &dyn LogFixture, partitions: u32, cleanup: Cleanup, max: usize) -> Self {
        let name = TopicName::new(&format!("{}topic", fixture.prefix()));
        let spec = TopicSpec { name: name.clone(), partitions, cleanup, record_bytes_max: max };
        let log = fixture.log();
        log.ensure_topic(&spec).await.expect("a new topic");
        Self { log, name, group: GroupId(format!("{}group", fixture.prefix())) }
    }

    pub(super) fn record(&self, partition: Option<u32>, key: &str, value: Option<Bytes>) -> NewRecord {
        let key = Bytes::copy_from_slice(key.as_bytes());
        NewRecord { topic: self.name.clone(), partition: partition.map(Partition), key, value, headers: vec![] }
    }

    /// Publishes to an explicit partition.
    pub(super) async fn publish(&self, partition: u32, key: &str, value: Option<Bytes>) -> Appended {
        self.log.publish(self.record(Some(partition), key, value)).await.expect("a durable record")
    }

    /// Publishes `count` numbered records to a partition.
    pub(super) async fn publish_numbers(&self, partition: u32, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.publish(partition, "key", text(&number.to_string())).await;
        }
    }

    pub(super) async fn join(&self, member: &str, start: StartAt) -> Member {
        let id = MemberId(member.into());
        let subscription = self.log.subscribe(&self.name, &self.group, &id, start).await.expect("a subscription");
        Member { subscription, owned: BTreeMap::new() }
    }

    pub(super) async fn committed(&self) -> Vec<Option<u64>> {
        let committed = self.log.committed(&self.name, &self.group).await.expect("committed offsets");
        committed.into_iter().map(|offset| offset.map(|offset| offset.0)).collect()
    }

    pub(super) async fn ends(&self) -> Vec<u64> {
        self.log.end_offsets(&self.name).await.expect("end offsets").iter().map(|offset| offset.0).collect()
    }
}

/// A record's value as the number it was published with.
pub(super) fn number(record: &Record) -> u32 {
    let value = record.value.as_ref().expect("a value");
    std::str::from_utf8(value).expect("text").parse().expect("a number")
}

/// The next delivery of a tail.
pub(super) async fn next_of(tail: &mut TailSubscription) -> Delivery {
    timeout(PATIENCE, tail.deliveries.recv()).await.expect("a delivery in time").expect("an open tail")
}

/// The next record of a tail, past ends.
pub(super) async fn next_record(tail: &mut TailSubscription) -> Record {
    loop {
        if let Delivery::Record { record, epoch } = next_of(tail).await {
            assert_eq!(epoch, 0, "a tail has no epochs");
            return record;
        }
    }
}

/// No record comes for a while.
pub(super) async fn stays_quiet(tail: &mut TailSubscription) {
    let heard = timeout(QUIET, next_record(tail)).await;
    assert!(heard.is_err(), "an unexpected record");
}

/// Records of a tail until each of `partitions` has told its end.
pub(super) async fn read_to_ends(tail: &mut TailSubscription, partitions: usize) -> Vec<Record> {
    let (mut records, mut ended) = (Vec::new(), std::collections::BTreeSet::new());
    while ended.len() < partitions {
        match next_of(tail).await {
            Delivery::Record { record, .. } => records.push(record),
            Delivery::End { partition, .. } => {
                ended.insert(partition);
            }
        }
    }
    records
}

/// A member as a well-behaved worker sees it.
pub(super) struct Member {
    pub(super) subscription: GroupSubscription,
    /// What it owns now.
    pub(super) owned: BTreeMap<Partition, Assignment>,
}

impl Member {
    /// The next membership change, noted in `owned`.
    pub(super) async fn control(&mut self) -> Control {
        let control = timeout(PATIENCE, self.subscription.control.recv()).await.expect("control in time");
        let control = control.expect("an open subscription");
        match &control {
            Control::Assigned(assignments) => {
                for assignment in assignments {
                    let former = self.owned.insert(assignment.partition, *assignment);
                    assert!(former.is_none_or(|former| former.epoch < assignment.epoch), "epochs rise");
                }
            }
            Control::Revoked { partitions, .. } | Control::Lost(partitions) => {
                self.owned.retain(|partition, _| !partitions.contains(partition));
            }
            Control::Failed(error) => panic!("the subscription failed: {error}"),
        }
        control
    }

    /// Waits until it owns that many partitions, without expecting anything else but assignments.
    pub(super) async fn assigned(&mut self, count: usize) {
        while self.owned.len() < count {
            let control = self.control().await;
            assert!(matches!(control, Control::Assigned(_)), "only assignments");
        }
    }

    /// Waits for a revocation.
    pub(super) async fn revoked(&mut self) -> (Vec<Partition>, RevokeAck) {
        loop {
            match self.control().await {
                Control::Revoked { partitions, ack } => return (partitions, ack),
                Control::Assigned(_) => {}
                other => panic!("a revocation, not {other:?}"),
            }
        }
    }

    /// Waits for a loss.
    pub(super) async fn lost(&mut self) -> Vec<Partition> {
        loop {
            match self.control().await {
                Control::Lost(partitions) => return partitions,
                // Left without an answer on purpose, kept alive until then.
                Control::Revoked { ack, .. } => {
                    let unanswered = tokio::time::sleep(PATIENCE);
                    tokio::spawn(async move {
                        unanswered.await;
                        drop(ack);
                    });
                }
                Control::Assigned(_) => {}
                Control::Failed(error) => panic!("the subscription failed: {error}"),
            }
        }
    }

    pub(super) async fn delivery(&mut self) -> Delivery {
        timeout(PATIENCE, self.subscription.deliveries.recv()).await.expect("a delivery in time").expect("open")
    }

    /// The next record, with its epoch, past ends.
    pub(super) async fn record(&mut self) -> (Record, u64) {
        loop {
            if let Delivery::Record { record, epoch } = self.delivery().await {
                return (record, epoch);
            }
        }
    }

    pub(super) async fn numbers(&mut self, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            numbers.push(number(&self.record().await.0));
        }
        numbers
    }

    pub(super) async fn stays_quiet(&mut self) {
        assert!(timeout(QUIET, self.record()).await.is_err(), "an unexpected record");
    }

    pub(super) async fn commit(&self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.subscription.handle.commit(&[(Partition(partition), Offset(offset))]).await
    }

    /// Leaves, handing nothing back but where it stands by its commits.
    pub(super) async fn leave(mut self) {
        let handle = Arc::clone(&self.subscription.handle);
        let leaving = tokio::spawn(async move { handle.leave().await });
        while !leaving.is_finished() {
            tokio::select! {
                control = self.subscription.control.recv() => match control {
                    Some(Control::Revoked { ack, .. }) => drop(ack.send(vec![])),
                    Some(_) => {}
                    None => break,
                },
                () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
            }
        }
        leaving.await.expect("a task").expect("left");
    }
}
