//! The background thread that forgets: retention, compaction, expired rows. It reads by itself and deletes through the
//! writer in small batches, so that appends wait for one batch at most.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use ridgeline_domain::{DurationMs, Timestamp};
use ridgeline_ports::{Cleanup, Clock, Offset, Partition};
use tokio::sync::oneshot;

use crate::codec::{KeyParts, bound, decode, short_key};
use crate::disk::{Disk, Topic};
use crate::error::EmbeddedError;
use crate::row::due_bound;
use crate::writer::{Job, Reply};

/// Deletions in one batch of the writer.
const BATCH_KEYS: usize = 512;
/// A compacted partition is looked at again when this part of it is new …
const DIRTY_PART: u64 = 10;
/// … or after this time.
const COMPACTION_LAG: DurationMs = DurationMs::from_secs(3_600);

type Done = oneshot::Sender<Result<(), EmbeddedError>>;

/// The way to the sweeping thread.
pub(crate) struct Sweeper {
    requests: Option<Sender<Done>>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    pub(crate) fn start(
        disk: Arc<Disk>,
        clock: Arc<dyn Clock>,
        writer: Option<Sender<Job>>,
        interval: Duration,
    ) -> Result<Self, EmbeddedError> {
        let (requests, waiting) = channel();
        let writer = writer.ok_or(EmbeddedError::Closed)?;
        let sweep =
            Sweep { disk, clock, writer, compacted: HashMap::new(), hashes: [RandomState::new(), RandomState::new()] };
        let thread = std::thread::Builder::new()
            .name("ridgeline-sweep".into())
            .spawn(move || run(sweep, &waiting, interval))
            .map_err(EmbeddedError::Thread)?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Sweeps everything now, whatever is new.
    pub(crate) async fn sweep_now(&self) -> Result<(), EmbeddedError> {
        let (done, answer) = oneshot::channel();
        if let Some(requests) = &self.requests {
            let _ = requests.send(done);
        }
        answer.await.unwrap_or(Err(EmbeddedError::Closed))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(mut sweep: Sweep, requests: &Receiver<Done>, interval: Duration) {
    loop {
        match requests.recv_timeout(interval) {
            Ok(done) => drop(done.send(sweep.sweep(true))),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = sweep.sweep(false) {
                    tracing::warn!(%error, "a sweep failed; the next one tries again");
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What the last compaction of a partition saw.
#[derive(Clone, Copy)]
struct Compacted {
    end: Offset,
    records: u64,
    at: Timestamp,
}

struct Sweep {
    disk: Arc<Disk>,
    clock: Arc<dyn Clock>,
    writer: Sender<Job>,
    compacted: HashMap<(usize, Partition), Compacted>,
    hashes: [RandomState; 2],
}

impl Sweep {
    fn sweep(&mut self, all: bool) -> Result<(), EmbeddedError> {
        let now = self.clock.now();
        for topic in self.disk.topics() {
            let cleanup = *topic.cleanup.lock();
            for at in topic.partition_ids() {
                match cleanup {
                    Cleanup::Delete { retention } => self.retain(&topic, at, now, retention)?,
                    Cleanup::Compact { delete_retention } => {
                        if all || self.is_dirty(&topic, at, now) {
                            self.compact(&topic, at, now, delete_retention)?;
                        }
                    }
                }
            }
        }
        self.forget_rows(now)
    }

    /// Deletes from the front until a record is young enough; append times never fall.
    fn retain(
        &self,
        topic: &Arc<Topic>,
        at: Partition,
        now: Timestamp,
        retention: DurationMs,
    ) -> Result<(), EmbeddedError> {
        let Ok(state) = topic.partition(at) else { return Ok(()) };
        let mut purge = Purge::new(self, topic, at);
        let end = state.end();
        let mut first = end;
        for guard in topic.records.range(bound(at, state.first())..bound(at, end)) {
            let key = guard.key()?;
            let parts = KeyParts::parse(&key)?;
            if parts.time.plus(retention) > now {
                first = parts.offset;
                break;
            }
            purge.add(key.into())?;
        }
        purge.finish()?;
        state.raise_first(first);
        Ok(())
    }

    fn is_dirty(&self, topic: &Arc<Topic>, at: Partition, now: Timestamp) -> bool {
        let (Some(last), Ok(state)) = (self.compacted.get(&(Arc::as_ptr(topic).addr(), at)), topic.partition(at))
        else {
            return true;
        };
        let new = state.end().0.saturating_sub(last.end.0);
        new * DIRTY_PART > last.records || now.since(last.at) > COMPACTION_LAG
    }

    /// Walks from the newest record to the oldest and deletes each whose key it has met. Old tombstones go last, so that a
    /// crash in between brings no older value back to life.
    fn compact(
        &mut self,
        topic: &Arc<Topic>,
        at: Partition,
        now: Timestamp,
        keep: DurationMs,
    ) -> Result<(), EmbeddedError> {
        let Ok(state) = topic.partition(at) else { return Ok(()) };
        let end = state.end();
        let (mut met, mut records, mut tombstones) = (HashSet::new(), 0, Vec::new());
        let mut purge = Purge::new(self, topic, at);
        for guard in topic.records.range(bound(at, Offset(0))..bound(at, end)).rev() {
            let key = Bytes::from(guard.key()?);
            let parts = KeyParts::parse(&key)?;
            if !met.insert(self.hash_key(topic, &parts, &key)?) {
                purge.add(key)?;
            } else if parts.is_tombstone() && parts.time.plus(keep) <= now {
                tombstones.push(key);
            } else {
                records += 1;
            }
        }
        purge.flush()?;
        for key in tombstones {
            purge.add(key)?;
        }
        purge.finish()?;
        self.compacted.insert((Arc::as_ptr(topic).addr(), at), Compacted { end, records, at: now });
        Ok(())
    }

    /// 128 bits under keys of this process stand for a record key.
    fn hash_key(&self, topic: &Topic, parts: &KeyParts, key: &Bytes) -> Result<[u64; 2], EmbeddedError> {
        let [left, right] = &self.hashes;
        let hash = |record_key: &[u8]| [left.hash_one(record_key), right.hash_one(record_key)];
        if !parts.key_is_in_value() {
            return Ok(hash(short_key(key)));
        }
        match topic.records.get(key)? {
            Some(body) => Ok(hash(&decode(&topic.name, key, &body.into())?.key)),
            None => Err(EmbeddedError::Corrupt("a record vanished")),
        }
    }

    fn forget_rows(&self, now: Timestamp) -> Result<(), EmbeddedError> {
        let mut due_keys = Vec::new();
        for guard in self.disk.due.range(..=[&due_bound(now)[..], &[0xff]].concat()) {
            due_keys.push(Bytes::from(guard.key()?));
            if due_keys.len() == BATCH_KEYS {
                let due_keys = std::mem::take(&mut due_keys);
                self.ask(|reply| Job::Forget { due_keys, reply })?;
            }
        }
        if due_keys.is_empty() {
            return Ok(());
        }
        self.ask(|reply| Job::Forget { due_keys, reply })
    }

    /// Hands a job to the writer and waits until it is done, so that one deletion batch at most stands in the queue.
    fn ask(&self, job: impl FnOnce(Reply<()>) -> Job) -> Result<(), EmbeddedError> {
        let (reply, answer) = oneshot::channel();
        self.writer.send(job(reply)).map_err(|_| EmbeddedError::Closed)?;
        match answer.blocking_recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(EmbeddedError::Storage(fjall::Error::Poisoned)),
            Err(_) => Err(EmbeddedError::Closed),
        }
    }
}

/// Collects deletions in one partition into batches.
struct Purge<'a> {
    sweep: &'a Sweep,
    topic: &'a Arc<Topic>,
    partition: Partition,
    keys: Vec<Bytes>,
}

impl<'a> Purge<'a> {
    fn new(sweep: &'a Sweep, topic: &'a Arc<Topic>, partition: Partition) -> Self {
        Self { sweep, topic, partition, keys: Vec::new() }
    }

    fn add(&mut self, key: Bytes) -> Result<(), EmbeddedError> {
        self.keys.push(key);
        if self.keys.len() < BATCH_KEYS { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), EmbeddedError> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let keys = std::mem::take(&mut self.keys);
        let (topic, partition) = (Arc::clone(self.topic), self.partition);
        self.sweep.ask(|reply| Job::Purge { topic, partition, keys, reply })
    }

    fn finish(mut self) -> Result<(), EmbeddedError> {
        self.flush()
    }
}
