//! What a process holds of Kafka.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ridgeline_ports::{EventLog, GroupId, LogError, MemberId, TopicName};
use tokio::time::{Instant, sleep};

use crate::config::KafkaConfig;
use crate::consume::Membership;
use crate::error::KafkaError;
use crate::log::KafkaLog;
use crate::producer::Producer;
use crate::status::Status;
use crate::topics::{Topics, blocking};

/// How long a stop waits for acknowledgements that are still to come.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// How long a stop waits for subscriptions to end.
const CLOSE_MAX: Duration = Duration::from_secs(20);

/// A member of a group in this process.
pub(crate) type MemberKey = (TopicName, GroupId, MemberId);

/// The clients of a process. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Kafka {
    shared: Arc<Shared>,
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

/// What the log and its subscriptions share.
pub(crate) struct Shared {
    pub(crate) config: Arc<KafkaConfig>,
    pub(crate) status: Arc<Status>,
    pub(crate) topics: Topics,
    pub(crate) producer: Producer,
    pub(crate) members: Mutex<HashMap<MemberKey, Arc<Membership>>>,
    /// Ends of the polling threads are counted here.
    pub(crate) running: Arc<AtomicU64>,
    epochs: AtomicU64,
}

impl Shared {
    /// Epochs rise over all partitions and subscriptions of the process.
    pub(crate) fn next_epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Fails when nothing can succeed any more.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        match self.status.fault() {
            Some(fault) => Err(LogError::Broken(fault)),
            None if self.status.is_stopped() => Err(LogError::Unavailable("the log is shut down".into())),
            None => Ok(()),
        }
    }
}

impl Kafka {
    /// Sets the clients up. Brokers are not waited for: calls fail with `Unavailable` while none can be reached.
    ///
    /// # Errors
    /// `Setting` for a setting that the library refuses, `Client` for instance for a certificate that cannot be read.
    pub fn connect(config: KafkaConfig) -> Result<Self, KafkaError> {
        let config = Arc::new(config);
        let status = Arc::<Status>::default();
        let topics = Topics::new(Arc::clone(&config), Arc::clone(&status))?;
        let producer = Producer::new(&config, Arc::clone(&status))?;
        listen(&topics, &status)?;
        let shared = Shared {
            config,
            status,
            topics,
            producer,
            members: Mutex::default(),
            running: Arc::default(),
            epochs: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The event log.
    #[must_use]
    pub fn log(&self) -> Arc<dyn EventLog> {
        Arc::new(KafkaLog::new(Arc::clone(&self.shared)))
    }

    /// How long a member may take to answer `Control::Revoked`.
    #[must_use]
    pub fn revocation(&self) -> Duration {
        self.shared.config.revocation()
    }

    /// Waits until nothing can succeed any more, and says why: the producer has lost its place in a partition, or was fenced. What a
    /// process can do then is to end.
    pub async fn broken(&self) -> String {
        self.shared.status.broken().await
    }

    /// Waits for acknowledgements that are under way, up to 5 s, then ends all subscriptions as a crash would (members that are
    /// not static leave their groups). Later calls fail with `Unavailable`.
    pub async fn shutdown(&self) {
        let until = Instant::now() + FLUSH_MAX;
        while self.shared.producer.unacknowledged() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(5)).await;
        }
        self.shared.status.stop();
        let members: Vec<_> = self.shared.members.lock().values().cloned().collect();
        members.iter().for_each(|member| member.ring());
        let until = Instant::now() + CLOSE_MAX;
        while self.shared.running.load(Ordering::Acquire) > 0 && Instant::now() < until {
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Deletes the topics whose names begin with `prefix`, which must not be empty. For tests and for throw-away deployments.
    ///
    /// # Errors
    /// When the brokers cannot be reached or refuse.
    pub async fn delete_topics(&self, prefix: &str) -> Result<(), KafkaError> {
        let deleted = self.shared.topics.delete(prefix).await;
        deleted.map_err(|source| KafkaError::Log { what: "delete topics", source })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.status.stop();
    }
}

/// Hears what the client for questions has to tell, until the process stops using Kafka.
fn listen(topics: &Topics, status: &Arc<Status>) -> Result<(), KafkaError> {
    let (asker, status) = (Arc::downgrade(topics.asker()), Arc::clone(status));
    let listening = move || {
        while !status.is_stopped() {
            let Some(asker) = asker.upgrade() else { return };
            // Nothing is assigned, so only log lines and errors come.
            drop(asker.poll(Duration::from_millis(200)));
        }
    };
    let thread = std::thread::Builder::new().name("kafka-questions".into()).spawn(listening);
    thread.map(drop).map_err(KafkaError::Thread)
}

/// Ends a call that may take long off the reactor.
pub(crate) async fn off_the_reactor<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    blocking(call).await?
}
