//! Filling a new topic from an old one.

use std::collections::BTreeMap;
use std::time::Duration;

use ridgeline_domain::DurationMs;
use ridgeline_ports::{
    Assignment, Cleanup, Control, Delivery, GroupId, GroupSubscription, LogError, MemberId, NewRecord, Offset,
    Partition, Record, StartAt, TopicName, TopicSpec, partition_of,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::cannot;
use crate::client::Kafka;
use crate::error::KafkaError;
use crate::topics::{Shape, record_bytes_max, text};

/// Records on their way at once; far fewer than the producer's queue holds, so that none waits outside and is overtaken.
const BATCH_RECORDS: usize = 500;
/// The same in bytes.
const BATCH_BYTES: usize = 16 << 20;
/// How long the copying may stand still.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);
/// How long leaving the group may take; the copy is complete by then.
const LEAVE_MAX: Duration = Duration::from_secs(20);

/// How far a migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Records copied by this call.
    pub copied: u64,
    /// Offsets between where this call stands and the end it has seen.
    pub left: u64,
}

/// What a migration has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// Records copied by this call.
    pub copied: u64,
    /// Whether an earlier call had copied a part.
    pub resumed: bool,
    /// End offsets of the old topic, all of it copied.
    pub from_ends: Vec<Offset>,
    /// End offsets of the new topic.
    pub to_ends: Vec<Offset>,
}

impl Kafka {
    /// Copies `from` into `to`, which is made with `partitions` partitions and the settings of `from`. Records keep key, value
    /// (also none: tombstones), headers and their order by key; append times are new. Writers of `from` must have stopped.
    ///
    /// An interrupted call is made again and goes on at the offsets that the group `migrate.<from>.<to>` has committed; records
    /// copied after the last commit are then in `to` twice, which derived ids make harmless.
    ///
    /// # Errors
    /// When `to` has records that no earlier call can have put there, when `from` is still written, when another call runs at
    /// the same time, when counts do not agree, or when the brokers cannot be reached.
    pub async fn migrate(
        &self,
        from: &TopicName,
        to: &TopicName,
        partitions: u32,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Migrated, KafkaError> {
        let log = self.log();
        let spec = self.successor(from, to, partitions).await.map_err(cannot("read the old topic's settings"))?;
        log.ensure_topic(&spec).await.map_err(cannot("make the new topic"))?;
        let group = GroupId(format!("migrate.{from}.{to}"));
        let committed = log.committed(from, &group).await.map_err(cannot("read how far an earlier call came"))?;
        let resumed = committed.iter().any(Option::is_some);
        let before = sum(&log.end_offsets(to).await.map_err(cannot("read the new topic's ends"))?);
        if before > 0 && !resumed {
            return Err(cannot("migrate")(LogError::Incompatible(to.clone())));
        }
        let member = MemberId("migrate".into());
        let joined = log.subscribe(from, &group, &member, StartAt::Committed).await;
        let mut copy = Copy {
            kafka: self,
            to,
            shape: self.shared().topics.shape(to).await.map_err(cannot("read the new topic's shape"))?,
            subscription: joined.map_err(cannot("read the old topic"))?,
            ends: log.end_offsets(from).await.map_err(cannot("read the old topic's ends"))?,
            stands: BTreeMap::new(),
            epochs: BTreeMap::new(),
            copied: 0,
        };
        copy.run(progress).await.map_err(cannot("copy"))?;
        let (copied, from_ends) = (copy.copied, copy.ends.clone());
        copy.leave().await;
        let now = log.end_offsets(from).await.map_err(cannot("read the old topic's ends"))?;
        let to_ends = log.end_offsets(to).await.map_err(cannot("read the new topic's ends"))?;
        if now != from_ends {
            return Err(cannot("finish")(LogError::Unavailable(format!(
                "topic {from} is still written; stop its writers"
            ))));
        }
        if sum(&to_ends) != before + copied {
            let counts = format!("{copied} records copied, topic {to} has grown by {}", sum(&to_ends) - before);
            return Err(cannot("verify")(LogError::Corrupt(counts)));
        }
        Ok(Migrated { copied, resumed, from_ends, to_ends })
    }

    /// The settings of `from` under another name and number of partitions.
    async fn successor(&self, from: &TopicName, to: &TopicName, partitions: u32) -> Result<TopicSpec, LogError> {
        self.shared().topics.partitions(from).await?;
        let has = self.shared().topics.describe(from).await?;
        let millis = |name| DurationMs(text(&has, name).and_then(|value| value.parse().ok()).unwrap_or(-1));
        let compacted = text(&has, "cleanup.policy").is_some_and(|policy| policy.contains("compact"));
        let cleanup = match compacted {
            true => Cleanup::Compact { delete_retention: millis("delete.retention.ms") },
            false => Cleanup::Delete { retention: millis("retention.ms") },
        };
        let record_bytes_max = record_bytes_max(&has).unwrap_or(0);
        Ok(TopicSpec { name: to.clone(), partitions, cleanup, record_bytes_max })
    }
}

struct Copy<'a> {
    kafka: &'a Kafka,
    to: &'a TopicName,
    shape: Shape,
    subscription: GroupSubscription,
    /// Ends of the old topic.
    ends: Vec<Offset>,
    /// The next offset to copy, by partition.
    stands: BTreeMap<Partition, Offset>,
    epochs: BTreeMap<Partition, u64>,
    copied: u64,
}

impl Copy<'_> {
    async fn run(&mut self, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<(), LogError> {
        let mut moved_at = Instant::now();
        while self.left() > 0 {
            let mut batch = Vec::new();
            // Both branches are cancel-safe: channels lose nothing.
            let received = tokio::select! {
                biased;
                control = self.subscription.control.recv() => {
                    self.follow(control.ok_or(LogError::Closed)?)?;
                    true
                }
                count = self.subscription.deliveries.recv_many(&mut batch, BATCH_RECORDS) => {
                    if count == 0 { return Err(LogError::Closed) }
                    // An assignment is sent before its first record, so it can be seen by now, and must be seen first.
                    while let Ok(control) = self.subscription.control.try_recv() {
                        self.follow(control)?;
                    }
                    true
                }
                () = tokio::time::sleep(Duration::from_secs(1)) => false,
            };
            if received {
                moved_at = Instant::now();
                self.copy(batch).await?;
            } else if Instant::now() >= moved_at + STANDSTILL_MAX {
                return Err(LogError::Unavailable("the old topic gives no more records".into()));
            }
            progress(Progress { copied: self.copied, left: self.left() });
        }
        Ok(())
    }

    /// Offsets still to go. A partition that is not assigned yet counts in full.
    fn left(&self) -> u64 {
        let ends = self.ends.iter().zip(0..).map(|(end, number)| (Partition(number), end.0));
        ends.map(|(at, end)| {
            end.saturating_sub(self.stands.get(&at).map_or(0, |stand| stand.0)).max(
                // Also an empty partition must be ours, or somebody else copies.
                u64::from(!self.stands.contains_key(&at)),
            )
        })
        .sum()
    }

    fn follow(&mut self, control: Control) -> Result<(), LogError> {
        match control {
            Control::Assigned(assignments) => {
                for Assignment { partition, epoch, start } in assignments {
                    self.stands.insert(partition, start);
                    self.epochs.insert(partition, epoch);
                }
                Ok(())
            }
            Control::Revoked { ack, .. } => {
                let _ = ack.send(Vec::new());
                Err(LogError::Unavailable("another migration of this topic runs".into()))
            }
            Control::Lost(_) => Err(LogError::Unavailable("the group has given the partitions away".into())),
            Control::Failed(error) => Err(error),
        }
    }

    async fn copy(&mut self, deliveries: Vec<Delivery>) -> Result<(), LogError> {
        let mut reports: Vec<oneshot::Receiver<_>> = Vec::with_capacity(deliveries.len());
        let mut bytes = 0;
        for delivery in deliveries {
            match delivery {
                Delivery::Record { record, epoch } if self.epochs.get(&record.partition) == Some(&epoch) => {
                    bytes += record.value.as_ref().map_or(0, bytes::Bytes::len);
                    self.stands.insert(record.partition, record.offset.next());
                    reports.push(self.send(record).await?);
                }
                Delivery::End { partition, next, epoch, .. } if self.epochs.get(&partition) == Some(&epoch) => {
                    self.stands.insert(partition, next);
                }
                Delivery::Record { .. } | Delivery::End { .. } => {}
            }
            if bytes >= BATCH_BYTES {
                bytes = 0;
                self.acknowledged(std::mem::take(&mut reports)).await?;
            }
        }
        self.acknowledged(reports).await?;
        let offsets: Vec<_> = self.stands.iter().map(|(at, offset)| (*at, *offset)).collect();
        if offsets.is_empty() { Ok(()) } else { self.subscription.handle.commit(&offsets).await }
    }

    /// Queues a record behind those before it; the producer keeps the order of its queue.
    async fn send(&self, record: Record) -> Result<oneshot::Receiver<crate::producer::Report>, LogError> {
        let partition = partition_of(&record.key, self.shape.partitions);
        let Record { key, value, headers, .. } = record;
        let record = NewRecord { topic: self.to.clone(), partition: Some(partition), key, value, headers };
        self.kafka.shared().producer.enqueue(&record, partition, &self.shape).await
    }

    async fn acknowledged(&mut self, reports: Vec<oneshot::Receiver<crate::producer::Report>>) -> Result<(), LogError> {
        for report in reports {
            self.kafka.shared().producer.acknowledged(self.to, report).await?;
            self.copied += 1;
        }
        Ok(())
    }

    async fn leave(mut self) {
        let handle = std::sync::Arc::clone(&self.subscription.handle);
        let leaving = async {
            let mut leaving = std::pin::pin!(handle.leave());
            loop {
                tokio::select! {
                    left = &mut leaving => return left,
                    Some(control) = self.subscription.control.recv() => {
                        if let Control::Revoked { ack, .. } = control {
                            // All is committed.
                            let _ = ack.send(Vec::new());
                        }
                    }
                }
            }
        };
        if !matches!(timeout(LEAVE_MAX, leaving).await, Ok(Ok(()))) {
            tracing::warn!(topic = %self.to, "the migration's group could not be left in order");
        }
    }
}

fn sum(offsets: &[Offset]) -> u64 {
    offsets.iter().map(|offset| offset.0).sum()
}
