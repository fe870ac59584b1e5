//! Revocations in memory: a lookup costs no call of the store while the topic is followed closely, and is never older than a second.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ridgeline_domain::DurationMs;
use ridgeline_ports::{Clock, Delivery, EventLog, LogError, Store, StoreError, TailStart, TopicName};
use ridgeline_runtime::metric;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::known::{ENTRIES_MAX, Finding, Known};
use super::{Subjects, revoked_in_store};

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// The gauge is set this often.
const REPORT: Duration = Duration::from_secs(1);
/// Old entries are looked for this often.
const FORGET: Duration = Duration::from_secs(60);

/// Follows `revocations` from its beginning.
///
/// What it knows to be over is over. What it does not know counts as good only while it is fresh: the end of the topic was reached
/// once, and the last record (there is a heartbeat) was appended and was received at most one second ago. Else the store is asked.
/// It is asked too while a record could not be understood, and while there is no room for all revocations of the last 31 days.
pub struct RevocationCache {
    log: Arc<dyn EventLog>,
    topic: TopicName,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

impl std::fmt::Debug for RevocationCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevocationCache").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl RevocationCache {
    /// A cache that knows nothing; until it is [run](Self::run) the store answers. `clock` should be the one of the log, within
    /// a second: one that is further off makes lookups slower, not wrong.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>, topic: TopicName, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { log, topic, store, clock, known: Mutex::new(Known::new(ENTRIES_MAX)) }
    }

    /// Follows the topic until `stop`. A tail that ends is opened again.
    pub async fn run(&self, stop: CancellationToken) {
        let mut delay = RETRY_MIN;
        loop {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                ended = self.follow(|| delay = RETRY_MIN) => ended,
            };
            self.known.lock().restart();
            self.report();
            let reason = ended.err().map_or_else(|| "ended".to_owned(), |error| error.to_string());
            tracing::warn!(reason, "the tail of revocations is opened again; the store is asked meanwhile");
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep(delay) => delay = (delay * 2).min(RETRY_MAX),
            }
        }
    }

    /// Whether a token is over.
    ///
    /// # Errors
    /// What the store said where it had to be asked.
    pub async fn is_revoked(&self, subjects: &Subjects<'_>) -> Result<bool, StoreError> {
        let finding = self.known.lock().look(subjects, self.clock.now());
        let source = if finding == Finding::AskStore { "store" } else { "cache" };
        metrics::counter!(metric::REVOCATION_LOOKUPS, "source" => source).increment(1);
        match finding {
            Finding::Over => Ok(true),
            Finding::Good => Ok(false),
            Finding::AskStore => revoked_in_store(self.store.as_ref(), subjects).await,
        }
    }

    /// Age of the last record read; `None` while the end of the topic has not been reached.
    pub fn lag(&self) -> Option<DurationMs> {
        self.known.lock().lag(self.clock.now())
    }

    /// One tail, until it ends.
    async fn follow(&self, opened: impl FnOnce()) -> Result<(), LogError> {
        let mut tail = self.log.tail(&self.topic, TailStart::Beginning).await?;
        opened();
        let every = |period| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut reports, mut sweeps) = (every(REPORT), every(FORGET));
        loop {
            // All are cancel-safe: a tick or a delivery that is not taken stays.
            tokio::select! {
                biased;
                _ = sweeps.tick() => {
                    if self.forget() {
                        return Ok(());
                    }
                }
                _ = reports.tick() => self.report(),
                delivery = tail.deliveries.recv() => match delivery {
                    Some(delivery) => self.read(&delivery),
                    None => return Ok(()),
                },
            }
        }
    }

    fn read(&self, delivery: &Delivery) {
        let mut known = self.known.lock();
        match delivery {
            Delivery::End { .. } => known.end(),
            Delivery::Record { record, .. } => {
                if let Err(reason) = known.take(record, self.clock.now()) {
                    tracing::error!(
                        topic = %record.topic, partition = record.partition.0, offset = record.offset.0, reason,
                        "a revocation cannot be taken in; the store is asked from now on"
                    );
                }
            }
        }
    }

    /// Drops old entries. Whether the topic is to be read again.
    fn forget(&self) -> bool {
        let now = self.clock.now();
        let mut known = self.known.lock();
        known.forget(now);
        known.wants_rereading()
    }

    fn report(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge; spans of time are far below 2^52 ms")]
        let seconds = self.lag().map_or(f64::INFINITY, |lag| lag.0 as f64 / 1_000.0);
        metrics::gauge!(metric::REVOCATION_LAG).set(seconds);
    }
}

#[cfg(test)]
mod tests;
