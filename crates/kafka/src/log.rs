//! The `EventLog` port.

use std::sync::Arc;

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as Cause;
use rdkafka::topic_partition_list::Offset as Place;
use ridgeline_ports::{
    Appended, EventLog, GroupId, GroupSubscription, LogError, MemberId, NewRecord, Offset, StartAt, TailStart,
    TailSubscription, TopicName, TopicSpec, partition_of,
};

use crate::client::{Shared, off_the_reactor};
use crate::consume;
use crate::error::at_topic;
use crate::producer::record_bytes;
use crate::status::Asker;
use crate::topics::{ANSWER_MAX, all, list, raw};

/// The event log of a process.
pub(crate) struct KafkaLog {
    shared: Arc<Shared>,
}

impl KafkaLog {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.shared.check()?;
        self.shared.topics.ensure(spec).await
    }

    async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError> {
        self.shared.check()?;
        Ok(self.shared.topics.shape(topic).await?.partitions)
    }

    async fn publish(&self, record: NewRecord) -> Result<Appended, LogError> {
        self.shared.check()?;
        let (topic, shape) = (record.topic.clone(), self.shared.topics.shape(&record.topic).await?);
        let bytes = record_bytes(&record);
        if let Some(max) = shape.record_bytes_max.filter(|max| bytes > *max) {
            return Err(LogError::TooLarge { topic, bytes, max });
        }
        let partition = record.partition.unwrap_or_else(|| partition_of(&record.key, shape.partitions));
        if partition.0 >= shape.partitions {
            return Err(LogError::UnknownPartition(topic, partition));
        }
        let published = self.shared.producer.publish(record, partition, &shape).await;
        if matches!(published, Err(LogError::UnknownTopic(_) | LogError::TooLarge { .. })) {
            self.shared.topics.forget(&topic);
        }
        published
    }

    async fn subscribe(
        &self,
        topic: &TopicName,
        group: &GroupId,
        member: &MemberId,
        start: StartAt,
    ) -> Result<GroupSubscription, LogError> {
        self.shared.check()?;
        let partitions = self.shared.topics.partitions(topic).await?;
        let key = (topic.clone(), group.clone(), member.clone());
        consume::subscribe(&self.shared, key, partitions, start).await
    }

    async fn tail(&self, topic: &TopicName, start: TailStart) -> Result<TailSubscription, LogError> {
        self.shared.check()?;
        consume::tail(&self.shared, topic, start).await
    }

    async fn end_offsets(&self, topic: &TopicName) -> Result<Vec<Offset>, LogError> {
        self.shared.check()?;
        self.shared.topics.ends(topic).await
    }

    async fn committed(&self, topic: &TopicName, group: &GroupId) -> Result<Vec<Option<Offset>>, LogError> {
        self.shared.check()?;
        let partitions = self.shared.topics.partitions(topic).await?;
        let (shared, topic, group) = (Arc::clone(&self.shared), topic.clone(), group.clone());
        off_the_reactor(move || {
            committed(&shared, &topic, &group, partitions)
                .map_err(|cause| at_topic(&topic, "cannot read the committed offsets", &cause, &shared.status))
        })
        .await
    }
}

/// Asks the group's coordinator, through a client that bears the group's name and never joins it.
fn committed(
    shared: &Shared,
    topic: &TopicName,
    group: &GroupId,
    partitions: u32,
) -> Result<Vec<Option<Offset>>, Cause> {
    let context = Asker(Arc::clone(&shared.status));
    let asker: BaseConsumer<Asker> = shared.config.consumer(&group.0, None).create_with_context(context)?;
    let wanted = list(topic, all(partitions).into_iter().map(|at| (at, Place::Invalid)))?;
    let found = asker.committed_offsets(wanted, ANSWER_MAX)?;
    let offset_of = |at| {
        let element = found.find_partition(topic.as_str(), raw(at));
        Ok(match element.map(|element| element.error().map(|()| element.offset())).transpose()? {
            Some(Place::Offset(offset)) => u64::try_from(offset).ok().map(Offset),
            _ => None,
        })
    };
    all(partitions).into_iter().map(offset_of).collect()
}
