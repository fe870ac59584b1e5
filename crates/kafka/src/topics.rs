//! Topics: what they look like, making them, and the offsets of their partitions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset as Place, TopicPartitionList};
use ridgeline_domain::Timestamp;
use ridgeline_ports::{Cleanup, LogError, Offset, Partition, TopicName, TopicSpec};
use tokio::time::{Instant, sleep};

use crate::config::{BATCH_BYTES_MAX, KafkaConfig};
use crate::error::{KafkaError, at_topic, unavailable};
use crate::status::{Asker, Status};

/// How long a question may take.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long the partitions of a new topic may take: a broker makes its many directories one by one, and a slow disk needs more
/// than the time of one question.
const APPEAR_MAX: Duration = Duration::from_secs(90);
/// `max.message.bytes` is this much above the largest record: a batch of several records and the envelope of one fit as well.
const ROOM_BYTES: usize = 2 * BATCH_BYTES_MAX;
/// Compacted topics are compacted at least this often, so that deleted subjects go.
const COMPACTION_LAG_MAX_MS: u64 = 3_600_000;
/// Names that Kafka takes.
const NAME_CHARS_MAX: usize = 200;

/// What a publisher must know of a topic. Partition counts never change; a raised size limit is seen after a restart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) partitions: u32,
    /// `None` where the broker does not let us see it; the broker judges then.
    pub(crate) record_bytes_max: Option<usize>,
}

/// How a topic is spread over the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) partitions: u32,
    /// The fewest copies that a partition has.
    pub(crate) replication: u16,
}

/// Answers questions about topics.
pub(crate) struct Topics {
    config: Arc<KafkaConfig>,
    asker: Arc<BaseConsumer<Asker>>,
    status: Arc<Status>,
    shapes: Mutex<HashMap<TopicName, Shape>>,
    /// Held while a shape is asked for, so that a burst of publishes asks once.
    asking: tokio::sync::Mutex<()>,
}

impl Topics {
    pub(crate) fn new(config: Arc<KafkaConfig>, status: Arc<Status>) -> Result<Self, KafkaError> {
        let asker = Arc::new(config.questions().create_with_context(Asker(Arc::clone(&status)))?);
        Ok(Self { config, asker, status, shapes: Mutex::default(), asking: tokio::sync::Mutex::default() })
    }

    /// The client that asks. Its log lines and errors are heard only while somebody polls it.
    pub(crate) fn asker(&self) -> &Arc<BaseConsumer<Asker>> {
        &self.asker
    }

    pub(crate) async fn shape(&self, topic: &TopicName) -> Result<Shape, LogError> {
        if let Some(shape) = self.known(topic) {
            return Ok(shape);
        }
        let _alone = self.asking.lock().await;
        if let Some(shape) = self.known(topic) {
            return Ok(shape);
        }
        let partitions = self.partitions(topic).await?;
        let described = self.describe(topic).await;
        let record_bytes_max = described.ok().and_then(|resource| record_bytes_max(&resource));
        let shape = Shape { partitions, record_bytes_max };
        self.shapes.lock().insert(topic.clone(), shape);
        Ok(shape)
    }

    fn known(&self, topic: &TopicName) -> Option<Shape> {
        self.shapes.lock().get(topic).copied()
    }

    /// What is known of the topic may be wrong.
    pub(crate) fn forget(&self, topic: &TopicName) {
        self.shapes.lock().remove(topic);
    }

    /// The number of partitions, asked anew.
    pub(crate) async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError> {
        Ok(self.layout(topic).await?.partitions)
    }

    /// Partitions and their copies, asked anew.
    pub(crate) async fn layout(&self, topic: &TopicName) -> Result<Layout, LogError> {
        let (asker, name) = (Arc::clone(&self.asker), topic.clone());
        let asked = blocking(move || {
            let metadata = asker.fetch_metadata(Some(name.as_str()), ANSWER_MAX)?;
            let found = metadata.topics().iter().find(|found| found.name() == name.as_str());
            match found.map(|found| (found.error(), found.partitions())) {
                Some((None, partitions)) if !partitions.is_empty() => {
                    let copies = partitions.iter().map(|partition| partition.replicas().len()).min();
                    Ok((partitions.len(), copies.unwrap_or(0)))
                }
                Some((Some(error), _)) => Err(Cause::MetadataFetch(error.into())),
                _ => Err(Cause::MetadataFetch(Code::UnknownTopicOrPartition)),
            }
        });
        let (partitions, replication) = asked.await?.map_err(|cause| match crate::error::code_of(&cause) {
            // The name itself is refused, so there is no such topic.
            Some(Code::InvalidTopic) => LogError::UnknownTopic(topic.clone()),
            _ => at_topic(topic, "cannot read the metadata", &cause, &self.status),
        })?;
        let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
        Ok(Layout { partitions, replication: u16::try_from(replication).unwrap_or(u16::MAX) })
    }

    pub(crate) async fn ensure(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let name = spec.name.as_str();
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.bytes().all(good) || spec.partitions == 0 {
            return Err(LogError::Incompatible(spec.name.clone()));
        }
        match self.partitions(&spec.name).await {
            Ok(count) => self.compare(spec, count).await,
            Err(LogError::UnknownTopic(_)) => self.create(spec).await,
            Err(error) => Err(error),
        }
    }

    async fn compare(&self, spec: &TopicSpec, partitions: u32) -> Result<(), LogError> {
        let resource = self.describe(&spec.name).await?;
        let compacted = text(&resource, "cleanup.policy").is_some_and(|policy| policy.contains("compact"));
        let wanted = matches!(spec.cleanup, Cleanup::Compact { .. });
        if partitions != spec.partitions || compacted != wanted {
            return Err(LogError::Incompatible(spec.name.clone()));
        }
        Ok(())
    }

    async fn create(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let settings = settings(spec, self.config.min_insync);
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
        let replication = TopicReplication::Fixed(i32::from(self.config.replication));
        let mut topic = NewTopic::new(spec.name.as_str(), partitions, replication);
        topic.config = settings;
        let admin = self.admin()?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER_MAX)).operation_timeout(Some(ANSWER_MAX));
        let created = admin.inner().create_topics([&topic], &options).await;
        drop(admin);
        let refused = |cause: &Cause| unavailable(&format!("cannot make topic {}", spec.name), cause, &self.status);
        match created.map_err(|cause| refused(&cause))?.into_iter().next() {
            Some(Ok(_)) => self.appears(spec).await,
            // Somebody else has just made it.
            Some(Err((_, Code::TopicAlreadyExists))) => {
                self.appears(spec).await?;
                self.compare(spec, self.partitions(&spec.name).await?).await
            }
            Some(Err((_, code))) => Err(refused(&Cause::AdminOp(code))),
            None => Err(LogError::Unavailable(format!("no answer about topic {}", spec.name))),
        }
    }

    /// Waits until the brokers know a topic that has been made: they tell each other after they have answered.
    async fn appears(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let until = Instant::now() + APPEAR_MAX;
        loop {
            match self.ends(&spec.name).await {
                Ok(ends) if ends.len() >= usize::try_from(spec.partitions).unwrap_or(usize::MAX) => return Ok(()),
                Ok(_) | Err(LogError::UnknownTopic(_) | LogError::Unavailable(_)) if Instant::now() < until => {
                    self.forget(&spec.name);
                    sleep(Duration::from_millis(20)).await;
                }
                Ok(_) => return Err(LogError::Unavailable(format!("topic {} does not appear", spec.name))),
                Err(error) => return Err(error),
            }
        }
    }

    /// The end offset of every partition.
    pub(crate) async fn ends(&self, topic: &TopicName) -> Result<Vec<Offset>, LogError> {
        let partitions = self.shape(topic).await?.partitions;
        let (asker, name) = (Arc::clone(&self.asker), topic.clone());
        let asked = blocking(move || offsets_at(&*asker, &name, &all(partitions), Place::End, ANSWER_MAX));
        asked.await?.map_err(|cause| {
            self.forget(topic);
            at_topic(topic, "cannot read the end offsets", &cause, &self.status)
        })
    }

    /// The first offset of every partition whose record was appended at or after `time`; the end where there is none.
    pub(crate) async fn at_time(&self, topic: &TopicName, time: Timestamp) -> Result<Vec<Offset>, LogError> {
        let partitions = self.shape(topic).await?.partitions;
        let (asker, name) = (Arc::clone(&self.asker), topic.clone());
        let place = Place::Offset(time.millis().max(0));
        let asked = blocking(move || offsets_at(&*asker, &name, &all(partitions), place, ANSWER_MAX));
        asked.await?.map_err(|cause| at_topic(topic, "cannot look a time up", &cause, &self.status))
    }

    /// The settings of a topic as the broker has them.
    pub(crate) async fn describe(&self, topic: &TopicName) -> Result<ConfigResource, LogError> {
        let admin = self.admin()?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER_MAX));
        let described = admin.inner().describe_configs([&ResourceSpecifier::Topic(topic.as_str())], &options).await;
        drop(admin);
        let failed = |cause: &Cause| at_topic(topic, "cannot read the topic's settings", cause, &self.status);
        match described.map_err(|cause| failed(&cause))?.into_iter().next() {
            Some(Ok(resource)) if resource.specifier == OwnedResourceSpecifier::Topic(topic.to_string()) => {
                Ok(resource)
            }
            Some(Ok(_)) | None => Err(LogError::Unavailable(format!("no answer about topic {topic}"))),
            Some(Err(code)) => Err(failed(&Cause::AdminOp(code))),
        }
    }

    pub(crate) async fn delete(&self, prefix: &str) -> Result<(), LogError> {
        let asker = Arc::clone(&self.asker);
        let listed = blocking(move || asker.fetch_metadata(None, ANSWER_MAX)).await?;
        let metadata = listed.map_err(|cause| unavailable("cannot list the topics", &cause, &self.status))?;
        let meant = |name: &&str| !prefix.is_empty() && name.starts_with(prefix);
        let names: Vec<&str> = metadata.topics().iter().map(|topic| topic.name()).filter(meant).collect();
        if names.is_empty() {
            return Ok(());
        }
        let admin = self.admin()?;
        let deleted = admin.inner().delete_topics(&names, &AdminOptions::new().request_timeout(Some(ANSWER_MAX))).await;
        drop(admin);
        let refused = |cause: &Cause| unavailable("cannot delete topics", cause, &self.status);
        for topic in deleted.map_err(|cause| refused(&cause))? {
            topic.map_err(|(_, code)| refused(&Cause::AdminOp(code)))?;
        }
        self.shapes.lock().retain(|name, _| !name.as_str().starts_with(prefix));
        Ok(())
    }

    /// A client for one task. Nothing polls its log lines and errors, so it does not live on.
    pub(crate) fn admin(&self) -> Result<Admin, LogError> {
        let client = self.config.admin().create().map_err(|cause| LogError::from(KafkaError::from(cause)))?;
        Ok(Admin(Some(client)))
    }
}

/// An administrative client that does not block the task that drops it.
pub(crate) struct Admin(Option<AdminClient<DefaultClientContext>>);

impl Admin {
    #[expect(clippy::expect_used, reason = "taken only in `drop`")]
    pub(crate) fn inner(&self) -> &AdminClient<DefaultClientContext> {
        self.0.as_ref().expect("an undropped client")
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        let client = self.0.take();
        // Dropping it waits for its thread.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
            Err(_) => drop(client),
        }
    }
}

/// What a topic is made with.
pub(crate) fn settings(spec: &TopicSpec, min_insync: u16) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        // The `now` of every decision; a producer's clock has no say in it.
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("max.message.bytes", spec.record_bytes_max.saturating_add(ROOM_BYTES).to_string()),
        ("min.insync.replicas", min_insync.to_string()),
    ];
    match spec.cleanup {
        Cleanup::Delete { retention } => {
            settings.push(("cleanup.policy", "delete".to_owned()));
            settings.push(("retention.ms", retention.0.to_string()));
        }
        Cleanup::Compact { delete_retention } => {
            settings.push(("cleanup.policy", "compact".to_owned()));
            settings.push(("delete.retention.ms", delete_retention.0.to_string()));
            settings.push(("max.compaction.lag.ms", COMPACTION_LAG_MAX_MS.to_string()));
        }
    }
    settings
}

pub(crate) fn text(resource: &ConfigResource, name: &str) -> Option<String> {
    resource.get(name)?.value.clone()
}

/// The largest record that fits a topic with these settings.
pub(crate) fn record_bytes_max(resource: &ConfigResource) -> Option<usize> {
    let bytes: usize = text(resource, "max.message.bytes")?.parse().ok()?;
    Some(bytes.saturating_sub(ROOM_BYTES))
}

pub(crate) fn all(partitions: u32) -> Vec<Partition> {
    (0..partitions).map(Partition).collect()
}

/// Offsets of partitions at a place: `Place::End`, or `Place::Offset` of a time in milliseconds. One request to each broker.
pub(crate) fn offsets_at<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &TopicName,
    partitions: &[Partition],
    place: Place,
    timeout: Duration,
) -> Result<Vec<Offset>, Cause> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let found = consumer.offsets_for_times(list(topic, partitions.iter().map(|at| (*at, place)))?, timeout)?;
    let mut ends = None;
    let mut offsets = Vec::with_capacity(partitions.len());
    for (index, at) in partitions.iter().enumerate() {
        let element =
            found.find_partition(topic.as_str(), raw(*at)).ok_or(Cause::OffsetFetch(Code::UnknownPartition))?;
        element.error()?;
        offsets.push(match element.offset() {
            Place::Offset(offset) => Offset(u64::try_from(offset).unwrap_or(0)),
            // No record that late.
            _ if place != Place::End => {
                if ends.is_none() {
                    ends = Some(offsets_at(consumer, topic, partitions, Place::End, timeout)?);
                }
                let end = ends.as_ref().and_then(|ends| ends.get(index));
                *end.ok_or(Cause::OffsetFetch(Code::UnknownPartition))?
            }
            _ => return Err(Cause::OffsetFetch(Code::OffsetNotAvailable)),
        });
    }
    Ok(offsets)
}

pub(crate) fn list(
    topic: &TopicName,
    places: impl Iterator<Item = (Partition, Place)>,
) -> Result<TopicPartitionList, Cause> {
    let mut list = TopicPartitionList::new();
    for (at, place) in places {
        list.add_partition_offset(topic.as_str(), raw(at), place)?;
    }
    Ok(list)
}

pub(crate) fn raw(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

/// Runs a call that blocks on the network.
pub(crate) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, LogError> {
    let ended = tokio::task::spawn_blocking(call).await;
    ended.map_err(|_| LogError::Unavailable("the process is stopping".into()))
}
