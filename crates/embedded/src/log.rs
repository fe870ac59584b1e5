//! The `EventLog` port.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use ridgeline_ports::{
    Appended, Control, Delivery, EventLog, GroupId, GroupSubscription, LogError, MemberId, NewRecord, Offset,
    Partition, StartAt, SubscriptionHandle, TailStart, TailSubscription, TopicName, TopicSpec, partition_of,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::codec::{Encoded, record_bytes};
use crate::disk::{PartitionState, Topic};
use crate::engine::{Engine, Shared, answered, off_the_reactor};
use crate::error::EmbeddedError;
use crate::group::{Group, GroupKey, Member, Session};
use crate::reader::{Cursor, Cursors, Reader};
use crate::writer::Job;

/// Longest delivery channel.
const DELIVERY_CAPACITY_MAX: usize = 100_000;

/// The event log of an open directory.
pub(crate) struct EmbeddedLog {
    shared: Arc<Shared>,
}

impl EmbeddedLog {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let (engine, spec) = (self.shared.for_log()?, spec.clone());
        off_the_reactor(move || engine.disk.ensure_topic(&spec)).await
    }

    async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError> {
        let topic = self.shared.for_log()?.disk.topic(topic)?;
        Ok(u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX))
    }

    async fn publish(&self, record: NewRecord) -> Result<Appended, LogError> {
        let engine = self.shared.for_log()?;
        let topic = engine.disk.topic(&record.topic)?;
        let (bytes, max) = (record_bytes(&record), topic.record_bytes_max.load(Ordering::Relaxed));
        if bytes > max {
            return Err(LogError::TooLarge { topic: record.topic, bytes, max });
        }
        let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        let partition = record.partition.unwrap_or_else(|| partition_of(&record.key, count));
        topic.partition(partition)?;
        let room = engine.room(bytes).await?;
        let (reply, answer) = oneshot::channel();
        engine.queue(Job::Append { topic, partition, record: Encoded::new(&record), room, reply });
        answered(answer).await
    }

    async fn subscribe(
        &self,
        topic: &TopicName,
        group: &GroupId,
        member: &MemberId,
        start: StartAt,
    ) -> Result<GroupSubscription, LogError> {
        let engine = self.shared.for_log()?;
        let topic = engine.disk.topic(topic)?;
        let key: GroupKey = (topic.name.clone(), group.clone());
        let committed = engine.disk.committed(&topic, group)?;
        let (control, controls) = mpsc::unbounded_channel();
        let joining = Member::new(member.clone(), start, control.clone());
        let (cursors, gone) = (Arc::clone(&joining.cursors), joining.gone.clone());
        // A group that exists has fresher offsets in memory.
        engine.groups.lock().entry(key.clone()).or_insert_with(|| Group::new(Arc::clone(&topic), committed));
        let session = engine.change_group(&key, |group| group.join(joining)).ok_or(LogError::Closed)?;

        let (sender, deliveries) = delivery_channel(&engine);
        let reader = Reader::new(topic, cursors, sender, engine.options.delivery_bytes_max, Some(control));
        engine.tasks.spawn(follow(Arc::clone(&engine), key.clone(), session, reader, gone));
        let handle = Arc::new(Handle { shared: Arc::clone(&self.shared), key, session });
        Ok(GroupSubscription { control: controls, deliveries, handle })
    }

    async fn tail(&self, topic: &TopicName, start: TailStart) -> Result<TailSubscription, LogError> {
        let engine = self.shared.for_log()?;
        let topic = engine.disk.topic(topic)?;
        let found = Arc::clone(&topic);
        let starts = off_the_reactor(move || start_offsets(&found, start)).await?;
        let cursors = Arc::new(Cursors::default());
        cursors.change(|cursors| {
            cursors.extend(starts.into_iter().map(|(partition, next)| Cursor::new(partition, 0, next)));
        });
        let (sender, deliveries) = delivery_channel(&engine);
        let reader = Reader::new(topic, cursors, sender, engine.options.delivery_bytes_max, None);
        let stop = engine.stop.clone();
        engine.tasks.spawn(async move {
            if let Err(error) = reader.run(stop).await {
                tracing::error!(%error, "a tail cannot go on");
            }
        });
        Ok(TailSubscription { deliveries })
    }

    async fn end_offsets(&self, topic: &TopicName) -> Result<Vec<Offset>, LogError> {
        let topic = self.shared.for_log()?.disk.topic(topic)?;
        Ok(topic.partitions.iter().map(PartitionState::end).collect())
    }

    async fn committed(&self, topic: &TopicName, group: &GroupId) -> Result<Vec<Option<Offset>>, LogError> {
        let engine = self.shared.for_log()?;
        let topic = engine.disk.topic(topic)?;
        Ok(engine.disk.committed(&topic, group)?)
    }
}

fn delivery_channel(engine: &Engine) -> (mpsc::Sender<Delivery>, mpsc::Receiver<Delivery>) {
    mpsc::channel(engine.options.delivery_capacity.clamp(1, DELIVERY_CAPACITY_MAX))
}

fn start_offsets(topic: &Topic, start: TailStart) -> Result<Vec<(Partition, Offset)>, EmbeddedError> {
    let start_of = |(at, state): (Partition, &PartitionState)| {
        let offset = match start {
            TailStart::End => state.end(),
            TailStart::Beginning => Offset(0),
            TailStart::Time(time) => topic.offset_at(at, time)?,
        };
        Ok((at, offset))
    };
    topic.partition_ids().zip(&topic.partitions).map(start_of).collect()
}

/// Reads for a member until it leaves, is fenced, drops its subscription or cannot read; then it is out of the group.
async fn follow(engine: Arc<Engine>, key: GroupKey, session: Session, reader: Reader, gone: CancellationToken) {
    let outcome = tokio::select! {
        biased;
        () = engine.stop.cancelled() => return,
        outcome = reader.run(gone) => outcome,
    };
    engine.change_group(&key, |group| {
        if let (Err(error), Some(member)) = (&outcome, group.member(session)) {
            let _ = member.control.send(Control::Failed(error.into()));
        }
        ((), group.drop_member(session))
    });
}

/// What a member says back.
struct Handle {
    shared: Arc<Shared>,
    key: GroupKey,
    session: Session,
}

impl Handle {
    fn engine(&self) -> Result<Arc<Engine>, LogError> {
        self.shared.engine().ok_or(LogError::Closed)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Group) -> Result<T, LogError>) -> Result<T, LogError> {
        self.engine()?.change_group(&self.key, |group| (change(group), Vec::new())).ok_or(LogError::Closed)?
    }
}

#[async_trait]
impl SubscriptionHandle for Handle {
    async fn commit(&self, offsets: &[(Partition, Offset)]) -> Result<(), LogError> {
        let engine = self.engine()?;
        let answer = self.change(|group| {
            group.commit(self.session, offsets)?;
            let (reply, answer) = oneshot::channel();
            // Queued under the lock, so before the offsets of any later owner.
            engine.queue(Job::Commit {
                topic: Arc::clone(group.topic()),
                group: self.key.1.clone(),
                offsets: offsets.to_vec(),
                reply,
            });
            Ok(answer)
        })?;
        answered(answer).await
    }

    async fn pause(&self, partitions: &[Partition]) -> Result<(), LogError> {
        self.change(|group| group.set_paused(self.session, partitions, true))
    }

    async fn resume(&self, partitions: &[Partition]) -> Result<(), LogError> {
        self.change(|group| group.set_paused(self.session, partitions, false))
    }

    async fn seek(&self, partition: Partition, offset: Offset) -> Result<(), LogError> {
        self.change(|group| group.seek(self.session, partition, offset))
    }

    async fn leave(&self) -> Result<(), LogError> {
        let gone = self.change(|group| Ok(group.member(self.session).map(|member| member.gone.clone())))?;
        let Some(gone) = gone else { return Err(LogError::Closed) };
        let engine = self.engine()?;
        engine.change_group(&self.key, |group| ((), group.leave(self.session)));
        let stop = engine.stop.clone();
        drop(engine);
        tokio::select! {
            biased;
            () = gone.cancelled() => Ok(()),
            () = stop.cancelled() => Err(LogError::Closed),
        }
    }
}
