//! The bare way of a record: produce, consume, produce, consume, on rdkafka alone.
//!
//! Two idempotent producers with `acks=all`, one consumer and one thread for each side, no tasks, no channels, no groups, no commits.
//! The settings are those of the product's latency profile.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use ridgeline_ports::{Entropy as _, TopicSpec, partition_of};
use ridgeline_runtime::SystemEntropy;
use tokio::time::Instant;

use crate::Timed;

type Producer = ThreadedProducer<DefaultProducerContext>;

/// What is sent, by both loops.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The value.
    pub value: Vec<u8>,
    /// Headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A running echo, and the side that asks.
pub struct Bare {
    producer: Producer,
    consumer: BaseConsumer,
    there: String,
    partitions: u32,
    payload: Payload,
    stop: Arc<AtomicBool>,
    echo: Option<JoinHandle<()>>,
}

impl Bare {
    /// Starts the echo between two topics that exist.
    ///
    /// # Errors
    /// Clients that cannot be set up, topics that are not there.
    pub fn start(brokers: &str, there: &TopicSpec, back: &TopicSpec, payload: Payload) -> Result<Self> {
        let (there, back) = ((there.name.as_str(), there.partitions), (back.name.as_str(), back.partitions));
        let stop = Arc::new(AtomicBool::new(false));
        let (consumer, producer) = (consumer(brokers, there)?, producer(brokers)?);
        let (ended, name, partitions) = (stop.clone(), back.0.to_owned(), back.1);
        let echo = std::thread::Builder::new().name("bare-echo".to_owned()).spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
                let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
                let headers = message.headers().map(rdkafka::message::BorrowedHeaders::detach).unwrap_or_default();
                send(&producer, (&name, partitions), key, value, headers);
            }
        })?;
        Ok(Self {
            producer: self::producer(brokers)?,
            consumer: self::consumer(brokers, back)?,
            there: there.0.to_owned(),
            partitions: there.1,
            payload,
            stop,
            echo: Some(echo),
        })
    }

    /// So many round trips with `in_flight` of them at once, all on this thread.
    ///
    /// # Errors
    /// A record that does not come back.
    pub fn time(&self, calls: usize, in_flight: usize) -> Result<Timed> {
        let mut waiting: HashMap<Vec<u8>, Instant> = HashMap::with_capacity(in_flight);
        let (mut each, mut sent, begun) = (Vec::with_capacity(calls), 0, Instant::now());
        while each.len() < calls {
            while sent < calls && waiting.len() < in_flight {
                let key = SystemEntropy.request_id().to_string().into_bytes();
                let headers = self.payload.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(Header { key, value: Some(value) })
                });
                let now = Instant::now();
                send(&self.producer, (&self.there, self.partitions), &key, &self.payload.value, headers);
                waiting.insert(key, now);
                sent += 1;
            }
            match self.consumer.poll(Duration::from_secs(10)) {
                Some(Ok(message)) => {
                    let since = message.key().and_then(|key| waiting.remove(key));
                    each.extend(since.map(|since| since.elapsed()));
                }
                Some(Err(error)) => return Err(error).context("the bare loop"),
                None => bail!("{} records of the bare loop did not come back", waiting.len()),
            }
        }
        Ok(Timed::new(each, begun.elapsed()))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(echo) = self.echo.take() {
            let _ = echo.join();
        }
    }
}

fn send(producer: &Producer, (topic, partitions): (&str, u32), key: &[u8], value: &[u8], headers: OwnedHeaders) {
    let partition = i32::try_from(partition_of(key, partitions).0).unwrap_or(0);
    let mut record = BaseRecord::to(topic).key(key).payload(value).partition(partition).headers(headers);
    // The queue holds many times what is in flight, so this loop is for correctness, not for speed.
    while let Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) = producer.send(record) {
        std::thread::sleep(Duration::from_millis(1));
        record = unsent;
    }
}

fn base(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("message.max.bytes", (16 << 20).to_string());
    config
}

fn producer(brokers: &str) -> Result<Producer> {
    let mut config = base(brokers);
    config.set("linger.ms", "0").set("batch.size", (256 * 1024).to_string());
    config.set("enable.idempotence", "true").set("acks", "all");
    config.create().context("a bare producer")
}

fn consumer(brokers: &str, (topic, partitions): (&str, u32)) -> Result<BaseConsumer> {
    let mut config = base(brokers);
    config.set("group.id", "bare").set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("fetch.wait.max.ms", "100").set("fetch.message.max.bytes", (256 << 10).to_string());
    config.set("queued.min.messages", "2000").set("fetch.queue.backoff.ms", "10");
    let consumer: BaseConsumer = config.create().context("a bare consumer")?;
    let mut list = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions)? {
        let (_, end) = consumer.fetch_watermarks(topic, partition, Duration::from_secs(10))?;
        list.add_partition_offset(topic, partition, Offset::Offset(end))?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}
