//! The producer of the process: idempotent, acknowledged by all copies, one for all topics.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use ridgeline_domain::Timestamp;
use ridgeline_ports::{Appended, LogError, NewRecord, Offset, Partition, TopicName};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::config::KafkaConfig;
use crate::error::{KafkaError, at_topic, code_of, unavailable};
use crate::metric;
use crate::status::{Status, forward_log};
use crate::topics::Shape;

/// How long a record may wait for room in the producer's queue.
const ROOM_WAIT: Duration = Duration::from_secs(5);
/// Time between two looks at a full queue.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// What became of a queued record.
pub(crate) type Report = Result<Appended, Cause>;

pub(crate) struct Producer {
    inner: ThreadedProducer<Context>,
    status: Arc<Status>,
}

impl Producer {
    pub(crate) fn new(config: &KafkaConfig, status: Arc<Status>) -> Result<Self, KafkaError> {
        let context = Context { status: Arc::clone(&status) };
        Ok(Self { inner: config.producer().create_with_context(context)?, status })
    }

    /// Appends to a partition that exists. Dropping the future leaves it unknown whether the record is appended.
    pub(crate) async fn publish(
        &self,
        record: NewRecord,
        partition: Partition,
        shape: &Shape,
    ) -> Result<Appended, LogError> {
        let report = self.enqueue(&record, partition, shape).await?;
        match report.await {
            Ok(Ok(appended)) => Ok(appended),
            Ok(Err(cause)) => Err(self.refused(&record, shape, &cause)),
            Err(_) => Err(LogError::Unavailable("the producer was closed".into())),
        }
    }

    /// Queues a record. Records of one partition are appended in the order of these calls.
    pub(crate) async fn enqueue(
        &self,
        record: &NewRecord,
        partition: Partition,
        shape: &Shape,
    ) -> Result<oneshot::Receiver<Report>, LogError> {
        self.queue(record, partition).await.map_err(|cause| self.refused(record, shape, &cause))
    }

    /// Waits for what becomes of a queued record.
    pub(crate) async fn acknowledged(
        &self,
        topic: &TopicName,
        report: oneshot::Receiver<Report>,
    ) -> Result<Appended, LogError> {
        let report = report.await.map_err(|_| LogError::Unavailable("the producer was closed".into()))?;
        report.map_err(|cause| at_topic(topic, "cannot publish", &cause, &self.status))
    }

    async fn queue(&self, record: &NewRecord, partition: Partition) -> Result<oneshot::Receiver<Report>, Cause> {
        let number = i32::try_from(partition.0).map_err(|_| Cause::MessageProduction(Code::UnknownPartition))?;
        let (sender, report) = oneshot::channel();
        let mut message = BaseRecord::with_opaque_to(record.topic.as_str(), Box::new(sender))
            .key(record.key.as_ref())
            .partition(number)
            .headers(headers(record));
        message.payload = record.value.as_deref();
        let until = Instant::now() + ROOM_WAIT;
        loop {
            match self.inner.send(message) {
                Ok(()) => return Ok(report),
                Err((cause, unsent)) if code_of(&cause) == Some(Code::QueueFull) && Instant::now() < until => {
                    message = unsent;
                }
                Err((cause, _)) => return Err(cause),
            }
            sleep(ROOM_PAUSE).await;
        }
    }

    fn refused(&self, record: &NewRecord, shape: &Shape, cause: &Cause) -> LogError {
        match code_of(cause) {
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => {
                let max = shape.record_bytes_max.unwrap_or(0);
                LogError::TooLarge { topic: record.topic.clone(), bytes: record_bytes(record), max }
            }
            Some(Code::UnknownPartition) => LogError::UnknownTopic(record.topic.clone()),
            // The clean-up at the end of the producer, not an answer of the broker.
            Some(Code::PurgeQueue | Code::PurgeInflight) => unavailable("the log is shut down", cause, &self.status),
            _ => at_topic(&record.topic, "cannot publish", cause, &self.status),
        }
    }

    /// Records without an acknowledgement.
    pub(crate) fn unacknowledged(&self) -> i32 {
        self.inner.in_flight_count()
    }
}

/// Key, value and headers together, as topics limit them.
pub(crate) fn record_bytes(record: &NewRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len) + headers
}

fn headers(record: &NewRecord) -> OwnedHeaders {
    record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value.as_ref()) })
    })
}

struct Context {
    status: Arc<Status>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward_log("producer", level, facility, message);
    }

    fn error(&self, cause: Cause, reason: &str) {
        self.status.error("producer", &cause, reason);
    }

    fn stats(&self, statistics: rdkafka::Statistics) {
        metric::producer(&statistics);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<oneshot::Sender<Report>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        let report = match result {
            Ok(message) => Ok(Appended {
                partition: Partition(u32::try_from(message.partition()).unwrap_or(0)),
                offset: Offset(u64::try_from(message.offset()).unwrap_or(0)),
                append_time: Timestamp::from_millis(message.timestamp().to_millis().unwrap_or(0)),
            }),
            Err((cause, _)) => Err(cause.clone()),
        };
        // Nobody waits for a publish that was cancelled.
        let _ = sender.send(report);
    }
}
