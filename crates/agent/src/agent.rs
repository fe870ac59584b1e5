//! The two halves of an agent around its spool: captures in, records out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ridgeline_domain::ReaderId;
use ridgeline_intake::{IntakeError, ScanOptions, ScanRequest, Signer, prepare_all};
use ridgeline_ports::{Entropy, NewRecord, TopicName};
use ridgeline_runtime::{CpuPool, Health, HealthHandle, HealthState, metric};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::spool::{Sequence, Spool};
use crate::{AgentError, Capture, PublishError, Publisher, Reader, Settled};

/// First pause after a failed attempt; doubles each time.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// Longest pause: a log that comes back is noticed within it.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What an agent is made of.
pub struct AgentParts {
    /// Its identity and the key it seals to.
    pub signer: Signer,
    /// Name of the topic `scans`.
    pub topic: TopicName,
    /// Its spool.
    pub spool: Spool,
    /// Where records go.
    pub publisher: Arc<dyn Publisher>,
    /// Where samples are decoded and sealed.
    pub cpu: CpuPool,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Where readers (`reader:<id>`) and the spool (`spool`) report.
    pub health: Health,
}

impl std::fmt::Debug for AgentParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentParts")
            .field("agent", self.signer.agent())
            .field("spool", &self.spool)
            .finish_non_exhaustive()
    }
}

/// A running agent's shared state. Clones are the same agent.
#[derive(Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

struct Inner {
    signer: Signer,
    topic: TopicName,
    spool: Arc<Mutex<Spool>>,
    publisher: Arc<dyn Publisher>,
    cpu: CpuPool,
    entropy: Arc<dyn Entropy>,
    health: Health,
    /// A record was added.
    work: Notify,
    /// A record was removed.
    room: Notify,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("id", self.inner.signer.agent()).finish_non_exhaustive()
    }
}

impl Agent {
    /// An agent at rest.
    #[must_use]
    pub fn new(parts: AgentParts) -> Self {
        let AgentParts { signer, topic, spool, publisher, cpu, entropy, health } = parts;
        let spool = Arc::new(Mutex::new(spool));
        let (work, room) = (Notify::new(), Notify::new());
        Self { inner: Arc::new(Inner { signer, topic, spool, publisher, cpu, entropy, health, work, room }) }
    }

    /// Records in the spool.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inner.spool.lock().len()
    }

    /// Serves the readers and empties the spool until `stop`, or until every reader has ended and the spool is empty.
    /// What is in the spool at a stop is sent by the next run.
    ///
    /// # Errors
    /// `Thread` if a part of the agent ended early.
    pub async fn run(&self, readers: Vec<Box<dyn Reader>>, stop: CancellationToken) -> Result<(), AgentError> {
        // Both sets end with this future, so that nothing goes on behind a caller who dropped it.
        let (mut captures, mut sender) = (JoinSet::new(), JoinSet::new());
        for reader in readers {
            captures.spawn(self.inner.clone().capture(reader, stop.clone()));
        }
        let no_more = CancellationToken::new();
        sender.spawn(self.inner.clone().send(no_more.clone(), stop.clone()));
        let mut broken = false;
        while let Some(ended) = captures.join_next().await {
            broken |= ended.is_err();
        }
        no_more.cancel();
        self.inner.work.notify_one();
        broken |= sender.join_next().await.is_some_and(|ended| ended.is_err());
        if broken { Err(AgentError::Thread) } else { Ok(()) }
    }
}

impl Inner {
    /// One reader: asked for a capture only while there is room for it.
    async fn capture(self: Arc<Self>, mut reader: Box<dyn Reader>, stop: CancellationToken) {
        let health = self.health.component(&format!("reader:{}", reader.id()));
        loop {
            let next = async {
                self.room(&health).await;
                reader.next().await
            };
            let capture = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                capture = next => capture,
            };
            let Some(capture) = capture else {
                tracing::info!(reader = %reader.id(), "the reader has ended");
                return;
            };
            let request_id = capture.request_id;
            let settled = match self.seal(reader.id().clone(), capture).await {
                Err(error) => Settled::Refused(error.public_detail()),
                // A stop during this leaves the capture with its reader.
                Ok(record) => tokio::select! {
                    biased;
                    () = self.keep(&record, &health) => Settled::Spooled,
                    () = stop.cancelled() => return,
                },
            };
            reader.settle(request_id, settled).await;
        }
    }

    /// Waits until a record of the largest size fits.
    async fn room(&self, health: &HealthHandle) {
        loop {
            // Registered before the look, so that room made in between is not missed.
            let room = self.room.notified();
            if self.spool.lock().has_room() {
                return health.healthy();
            }
            health.set(HealthState::Degraded, "the spool is full; the reader waits until the log takes records again");
            room.await;
        }
    }

    async fn seal(self: &Arc<Self>, reader: ReaderId, capture: Capture) -> Result<NewRecord, IntakeError> {
        let inner = self.clone();
        let sealed = self.cpu.run(move || {
            let mut samples = Vec::new();
            for raw in &capture.samples {
                samples.extend(prepare_all(raw, capture.position)?);
            }
            let request = ScanRequest {
                request_id: capture.request_id,
                operation: capture.operation,
                subject: capture.subject,
                reader: Some(reader),
                captured_at: capture.captured_at,
                position: capture.position,
                samples,
                options: ScanOptions::default(),
                metadata: BTreeMap::new(),
                api_key: None,
            };
            inner.signer.scan_record(inner.topic.clone(), &request, inner.entropy.as_ref())
        });
        sealed.await.unwrap_or(Err(IntakeError::Shape("the image could not be processed")))
    }

    /// Brings the record to the disk, however long that takes.
    async fn keep(self: &Arc<Self>, record: &NewRecord, health: &HealthHandle) {
        let mut pause = PAUSE_FIRST;
        loop {
            let room = self.room.notified();
            let record = record.clone();
            match self.on_disk(move |spool| spool.push(&record)).await {
                Ok(_) => {
                    health.healthy();
                    return self.work.notify_one();
                }
                Err(AgentError::SpoolFull) => room.await,
                Err(error) => {
                    tracing::error!(error = %error, "the spool cannot be written; trying again");
                    health.set(HealthState::Unhealthy, "the spool cannot be written");
                    self.rest(&mut pause).await;
                }
            }
        }
    }

    /// Empties the spool, oldest record first, until `stop`, or until it is empty and `no_more` was said.
    async fn send(self: Arc<Self>, no_more: CancellationToken, stop: CancellationToken) {
        let health = self.health.component("spool");
        let mut pause = PAUSE_FIRST;
        loop {
            let work = self.work.notified();
            let step = async {
                match self.on_disk(Spool::oldest).await {
                    Ok(Some((sequence, record))) => self.send_one(sequence, record, &health, &mut pause).await,
                    Ok(None) if no_more.is_cancelled() => return false,
                    Ok(None) => work.await,
                    Err(error) => {
                        tracing::error!(error = %error, "the spool cannot be read; trying again");
                        health.set(HealthState::Unhealthy, "the spool cannot be read");
                        self.rest(&mut pause).await;
                    }
                }
                true
            };
            // A publish that is dropped here is repeated by the next run.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                more = step => if !more { return },
            }
        }
    }

    async fn send_one(
        self: &Arc<Self>,
        sequence: Sequence,
        record: NewRecord,
        health: &HealthHandle,
        pause: &mut Duration,
    ) {
        let removed = match self.publisher.publish(record).await {
            Ok(()) => self.on_disk(move |spool| spool.forget(sequence)).await,
            Err(PublishError::Never(reason)) => {
                metrics::counter!(
                    metric::DEAD_LETTERS, "topic" => self.topic.to_string(), "role" => "agent", "code" => "refused"
                )
                .increment(1);
                tracing::error!(reason = %reason, "a record was refused for good and set aside in the spool's folder `refused`");
                self.on_disk(move |spool| spool.refuse(sequence)).await
            }
            Err(PublishError::Later(reason)) => {
                tracing::warn!(reason = %reason, waiting = self.spool.lock().len(), "the log is away; records wait in the spool");
                health.set(HealthState::Degraded, "the log is away; records wait in the spool");
                metrics::counter!(metric::RETRIES, "topic" => self.topic.to_string(), "role" => "agent").increment(1);
                self.spool.lock().measure();
                return self.rest(pause).await;
            }
        };
        self.room.notify_waiters();
        match removed {
            Ok(()) => {
                health.healthy();
                *pause = PAUSE_FIRST;
            }
            Err(error) => {
                tracing::error!(error = %error, "a sent record cannot be removed; it is sent again");
                self.rest(pause).await;
            }
        }
    }

    /// Pauses between half of `pause` and all of it, and doubles it.
    async fn rest(&self, pause: &mut Duration) {
        let mut byte = [0];
        self.entropy.fill(&mut byte);
        sleep(pause.mul_f64(0.5 + f64::from(byte[0]) / 510.0)).await;
        *pause = (*pause * 2).min(PAUSE_MAX);
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Spool) -> Result<T, AgentError> + Send + 'static,
    ) -> Result<T, AgentError> {
        let spool = self.spool.clone();
        tokio::task::spawn_blocking(move || work(&mut spool.lock())).await.unwrap_or(Err(AgentError::Thread))
    }
}

#[cfg(test)]
mod tests;
