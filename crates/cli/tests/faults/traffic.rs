//! Callers under load, and what they were told; and a follower of `decisions`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ridgeline_client::{Client, ClientError, Submitted};
use ridgeline_ports::{Delivery, EventLog, TailStart};
use ridgeline_wire::Topic;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::scans;
use crate::site::Site;

const PAUSE: Duration = Duration::from_millis(5);
/// After a refusal or a broken connection.
const PAUSE_REFUSED: Duration = Duration::from_millis(200);
const BUSY: u16 = 503;

/// What callers were told. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    accepted: HashMap<String, Instant>,
    busy: usize,
    broken: usize,
    odd: Vec<String>,
}

impl Ledger {
    /// Ids that were answered with 202.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.0.lock().accepted.keys().cloned().collect()
    }

    /// When each was.
    pub(crate) fn times(&self) -> HashMap<String, Instant> {
        self.0.lock().accepted.clone()
    }

    /// How often the answer was 503.
    pub(crate) fn busy(&self) -> usize {
        self.0.lock().busy
    }

    /// How often there was no answer.
    pub(crate) fn broken(&self) -> usize {
        self.0.lock().broken
    }

    /// Answers that are neither.
    pub(crate) fn odd(&self) -> Vec<String> {
        self.0.lock().odd.clone()
    }

    /// Sends one request; says whether it was accepted.
    pub(crate) async fn submit(&self, client: &Client, scan: &ridgeline_client::Scan) -> Option<String> {
        let answer = client.submit(scan, None, None).await;
        let mut told = self.0.lock();
        match answer {
            Ok(Submitted::Accepted { confirmation_id }) => {
                told.accepted.insert(confirmation_id.clone(), Instant::now());
                return Some(confirmation_id);
            }
            Err(ClientError::Refused(problem)) if problem.status == BUSY => told.busy += 1,
            Err(ClientError::Unreachable { .. }) => told.broken += 1,
            other => told.odd.push(format!("{other:?}")),
        }
        None
    }
}

/// How much is asked.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// Callers at once.
    pub(crate) callers: usize,
    /// Requests that may wait for their decision before callers hold back.
    pub(crate) undecided_max: usize,
    /// Requests in all; `None`: until it is stopped.
    pub(crate) requests: Option<usize>,
}

impl Load {
    /// Until it is stopped.
    pub(crate) const STEADY: Self = Self { callers: 16, undecided_max: 200, requests: None };

    /// So many requests.
    pub(crate) const fn of(requests: usize) -> Self {
        Self { requests: Some(requests), ..Self::STEADY }
    }
}

/// Callers at work.
pub(crate) struct Traffic {
    stop: CancellationToken,
    callers: JoinSet<()>,
}

impl Traffic {
    /// Begins to ask, each caller one of the gateways.
    pub(crate) fn start(site: &Site, clients: &[Client], ledger: &Ledger, load: Load) -> Self {
        let (stop, next) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let mut callers = JoinSet::new();
        for caller in 0..load.callers {
            let (client, ledger, stop) = (clients[caller % clients.len()].clone(), ledger.clone(), stop.clone());
            let (next, images, watcher) = (next.clone(), site.images.clone(), site.watcher.clone());
            callers.spawn(async move {
                while !stop.is_cancelled() {
                    if ledger.0.lock().accepted.len() >= watcher.decided() + load.undecided_max {
                        sleep(PAUSE).await;
                        continue;
                    }
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if load.requests.is_some_and(|limit| number >= limit) {
                        return;
                    }
                    if ledger.submit(&client, &scans::scan(number, &images)).await.is_none() {
                        sleep(PAUSE_REFUSED).await;
                    }
                }
            });
        }
        Self { stop, callers }
    }

    /// Waits until all was asked.
    pub(crate) async fn done(mut self) {
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
    }

    /// Stops asking.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.done().await;
    }
}

/// Follows `decisions`. Clones share it.
#[derive(Clone)]
pub(crate) struct Watcher {
    heard: Arc<Mutex<Heard>>,
    /// Ends with the last clone.
    _task: Arc<Following>,
}

struct Following(JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Default)]
struct Heard {
    first: HashMap<String, Instant>,
    records: usize,
    last: Option<Instant>,
    gap_max: Duration,
}

impl Watcher {
    pub(crate) async fn start(log: &Arc<dyn EventLog>, prefix: &str) -> Self {
        let heard = Arc::<Mutex<Heard>>::default();
        let mut tail = log.tail(&Topic::Decisions.name(prefix), TailStart::Beginning).await.unwrap();
        let into = heard.clone();
        let task = tokio::spawn(async move {
            while let Some(delivery) = tail.deliveries.recv().await {
                let Delivery::Record { record, .. } = delivery else { continue };
                let (now, mut heard) = (Instant::now(), into.lock());
                let gap = heard.last.replace(now).map_or(Duration::ZERO, |last| now - last);
                heard.gap_max = heard.gap_max.max(gap);
                heard.records += 1;
                let id = String::from_utf8(record.key.to_vec()).unwrap();
                heard.first.entry(id).or_insert(now);
            }
        });
        Self { heard, _task: Arc::new(Following(task)) }
    }

    /// How many requests are decided.
    pub(crate) fn decided(&self) -> usize {
        self.heard.lock().first.len()
    }

    /// How many records came, repetitions included.
    pub(crate) fn records(&self) -> usize {
        self.heard.lock().records
    }

    /// Whether this one is.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.heard.lock().first.contains_key(id)
    }

    /// Measures gaps from now on.
    pub(crate) fn begin_gap(&self) {
        let mut heard = self.heard.lock();
        heard.gap_max = Duration::ZERO;
        heard.last = Some(Instant::now());
    }

    /// The longest time without a decision since `begin_gap`, the present one included.
    pub(crate) fn gap(&self) -> Duration {
        let heard = self.heard.lock();
        heard.gap_max.max(heard.last.map_or(Duration::ZERO, |last| last.elapsed()))
    }

    /// The longest time that one of these waited for its decision.
    pub(crate) fn longest_wait(&self, asked: &HashMap<String, Instant>) -> Duration {
        let heard = self.heard.lock();
        let waits = asked.iter().filter_map(|(id, at)| Some(heard.first.get(id)?.saturating_duration_since(*at)));
        waits.max().unwrap_or_default()
    }
}
