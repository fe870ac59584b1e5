//! What the product does with the log for a request, and nothing else: a publish through the port, the worker loop with a handler that
//! only publishes, the tail, and the correlator that wakes the waiter.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use ridgeline_kafka::Kafka;
use ridgeline_ports::{
    Delivery, Entropy as _, EventLog, GroupId, Headers, MemberId, NewRecord, Record, TailStart, TopicName,
};
use ridgeline_runtime::{
    Correlator, DeadLetters, Ending, Handler, Health, Limits, Poison, Ports, RuntimeError, StepError, SystemClock,
    SystemEntropy, Woken, WorkerSpec, run,
};
use ridgeline_wire::Topic;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bare::Payload;
use crate::stack::Stack;
use crate::{Timed, time};

const VALUE_BYTES: usize = 1_024;
const WAIT: Duration = Duration::from_secs(30);

/// The value of both loops, and the headers that the product's records have.
#[must_use]
pub fn payload() -> Payload {
    let headers = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", format!("{}:scan", SystemEntropy.request_id())),
        ("ce_type", "dev.ridgeline.scans.v1".to_owned()),
        ("ce_source", "/ridgeline".to_owned()),
        ("content-type", "avro/binary".to_owned()),
    ];
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
    Payload { value: vec![7; VALUE_BYTES], headers }
}

/// Our side: gateway and worker, each with a connection of its own.
pub struct Pipe {
    gateway: Kafka,
    worker: Kafka,
    log: Arc<dyn EventLog>,
    scans: TopicName,
    correlator: Correlator,
    payload: (Bytes, Headers),
    stop: CancellationToken,
    running: JoinHandle<Result<(), RuntimeError>>,
}

impl Pipe {
    /// Starts the worker and the tail between two topics of their own.
    ///
    /// # Errors
    /// A log that refuses.
    pub async fn start(stack: &Stack) -> Result<Self> {
        let (gateway, worker) = (stack.another("echo-gateway")?, stack.another("echo-worker")?);
        let scans = stack.topic("echo-there", Topic::Scans).await?.name;
        let decisions = stack.topic("echo-back", Topic::Decisions).await?.name;
        let (correlator, stop) = (Correlator::new(4_096), CancellationToken::new());
        let mut tail = gateway.log().tail(&decisions, TailStart::End).await?;
        let waking = correlator.clone();
        tokio::spawn(async move {
            while let Some(delivery) = tail.deliveries.recv().await {
                let Delivery::Record { record, .. } = delivery else { continue };
                if let Some(id) = std::str::from_utf8(&record.key).ok().and_then(|key| key.parse().ok()) {
                    waking.wake(id);
                }
            }
        });
        let spec = WorkerSpec {
            role: "echo",
            topic: scans.clone(),
            group: GroupId(format!("{}echo", stack.prefix)),
            member: MemberId("echo".to_owned()),
            limits: Limits::default(),
        };
        let ports = Ports { log: worker.log(), dead: Arc::new(Nowhere), clock: Arc::new(SystemClock) };
        let handler = Arc::new(Echo { log: worker.log(), decisions });
        let running = tokio::spawn(run(spec, ports, handler, Health::new().component("echo"), stop.clone()));
        let Payload { value, headers } = payload();
        let headers = headers.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect();
        let payload = (Bytes::from(value), headers);
        let log = gateway.log();
        Ok(Self { gateway, worker, log, scans, correlator, payload, stop, running })
    }

    /// So many round trips with `in_flight` of them at once.
    ///
    /// # Errors
    /// A record that does not come back.
    pub async fn time(&self, calls: usize, in_flight: usize) -> Result<Timed> {
        let (log, scans, correlator) = (self.log.clone(), self.scans.clone(), self.correlator.clone());
        let (value, headers) = self.payload.clone();
        time(calls, in_flight, move |_| {
            let (log, topic, correlator) = (log.clone(), scans.clone(), correlator.clone());
            let (value, headers) = (Some(value.clone()), headers.clone());
            async move {
                let id = SystemEntropy.request_id();
                let waiter = correlator.wait(id, Instant::now() + WAIT)?;
                log.publish(NewRecord { topic, partition: None, key: id.to_string().into(), value, headers }).await?;
                ensure!(waiter.await == Woken::Answered, "a record did not come back");
                Ok(())
            }
        })
        .await
    }

    /// Stops the worker and both connections.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.running.await;
        self.worker.shutdown().await;
        self.gateway.shutdown().await;
    }
}

/// The worker that decides nothing.
struct Echo {
    log: Arc<dyn EventLog>,
    decisions: TopicName,
}

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, record: Arc<Record>) -> Result<Ending, StepError> {
        let (key, value, headers) = (record.key.clone(), record.value.clone(), record.headers.clone());
        self.log.publish(NewRecord { topic: self.decisions.clone(), partition: None, key, value, headers }).await?;
        Ok(Ending::Done)
    }

    async fn poisoned(&self, _: Arc<Record>, _: &Poison) -> Result<(), StepError> {
        Ok(())
    }
}

struct Nowhere;

#[async_trait]
impl DeadLetters for Nowhere {
    async fn bury(&self, _: &Record, poison: &Poison, _: u32) -> Result<(), StepError> {
        Err(StepError::Fatal(format!("the bench made poison: {}", poison.detail)))
    }
}
