//! The one thread that writes: everything that waits becomes one atomic batch and one fsync, then the answers go out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use fjall::OwnedWriteBatch;
use ridgeline_domain::Timestamp;
use ridgeline_ports::{Appended, Cas, Clock, GroupId, Offset, Partition, PlainWrite, Row, Version};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::codec::Encoded;
use crate::disk::{Disk, Topic, committed_key, encode_floor, floor_key};
use crate::error::EmbeddedError;
use crate::row::{StoredRow, due_key, row_of_due};

/// A batch is closed when it holds this much; what waits goes into the next one.
const BATCH_BYTES_MAX: usize = 8 << 20;
const BATCH_JOBS_MAX: usize = 4_096;

/// Why a write failed; shared by all writes of a batch.
pub(crate) type WriteError = Arc<EmbeddedError>;
pub(crate) type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// One wish to write.
pub(crate) enum Job {
    /// Appends a record.
    Append {
        topic: Arc<Topic>,
        partition: Partition,
        record: Encoded,
        /// Room in the queue, given back with the answer.
        room: OwnedSemaphorePermit,
        reply: Reply<Appended>,
    },
    /// Stores committed offsets.
    Commit { topic: Arc<Topic>, group: GroupId, offsets: Vec<(Partition, Offset)>, reply: Reply<()> },
    /// Writes a row under a condition or by time.
    Row { key: Vec<u8>, write: RowWrite, room: OwnedSemaphorePermit, reply: Reply<Cas> },
    /// Deletes records (storage keys), remembering the end of their partition.
    Purge { topic: Arc<Topic>, partition: Partition, keys: Vec<Bytes>, reply: Reply<()> },
    /// Removes rows whose time has come (due keys).
    Forget { due_keys: Vec<Bytes>, reply: Reply<()> },
}

/// What to do with a row.
pub(crate) enum RowWrite {
    Insert { value: Bytes, expires_at: Option<Timestamp> },
    Replace { expected: Version, value: Bytes, expires_at: Option<Timestamp> },
    Remove { expected: Version },
    Put { value: Bytes, write: PlainWrite },
    Delete { at: Timestamp },
}

impl RowWrite {
    pub(crate) fn value_bytes(&self) -> usize {
        match self {
            Self::Insert { value, .. } | Self::Replace { value, .. } | Self::Put { value, .. } => value.len(),
            Self::Remove { .. } | Self::Delete { .. } => 0,
        }
    }
}

/// The way to the writer thread.
pub(crate) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(disk: Arc<Disk>, clock: Arc<dyn Clock>) -> Result<Self, EmbeddedError> {
        let (jobs, waiting) = channel();
        let thread = std::thread::Builder::new()
            .name("ridgeline-writer".into())
            .spawn(move || run(&disk, &*clock, &waiting))
            .map_err(EmbeddedError::Thread)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Queues a job. If the thread is gone, the job's reply is dropped, which its waiter sees as closed.
    pub(crate) fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }

    /// A way of its own for the sweep.
    pub(crate) fn sender(&self) -> Option<Sender<Job>> {
        self.jobs.clone()
    }
}

impl Drop for Writer {
    /// Finishes what waits.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(disk: &Disk, clock: &dyn Clock, waiting: &Receiver<Job>) {
    while let Ok(first) = waiting.recv() {
        let mut batch = Batch::new(disk, clock.now());
        batch.add(first);
        while batch.has_room() {
            let Ok(job) = waiting.try_recv() else { break };
            batch.add(job);
        }
        batch.finish();
    }
}

/// An answer that waits for the batch to be durable.
enum Answer {
    Append(Reply<Appended>, Appended, OwnedSemaphorePermit),
    Row(Reply<Cas>, Cas, OwnedSemaphorePermit),
    Unit(Reply<()>),
}

impl Answer {
    fn give(self, outcome: Result<(), WriteError>) {
        // A waiter that has gone away does not want its answer.
        match self {
            Self::Append(reply, appended, _room) => drop(reply.send(outcome.map(|()| appended))),
            Self::Row(reply, cas, _room) => drop(reply.send(outcome.map(|()| cas))),
            Self::Unit(reply) => drop(reply.send(outcome)),
        }
    }
}

/// A partition as it will be after the batch.
struct Tip {
    topic: Arc<Topic>,
    partition: Partition,
    end: Offset,
    last_time: Timestamp,
}

struct Batch<'a> {
    disk: &'a Disk,
    now: Timestamp,
    writes: OwnedWriteBatch,
    bytes: usize,
    /// By topic (its address) and partition.
    tips: HashMap<(usize, Partition), Tip>,
    /// Rows written by this batch.
    rows: HashMap<Vec<u8>, Option<StoredRow>>,
    answers: Vec<Answer>,
}

impl<'a> Batch<'a> {
    fn new(disk: &'a Disk, now: Timestamp) -> Self {
        let writes = disk.db.batch().durability(disk.durability());
        Self { disk, now, writes, bytes: 0, tips: HashMap::new(), rows: HashMap::new(), answers: Vec::new() }
    }

    fn has_room(&self) -> bool {
        self.bytes < BATCH_BYTES_MAX && self.answers.len() < BATCH_JOBS_MAX
    }

    fn add(&mut self, job: Job) {
        match job {
            Job::Append { topic, partition, record, room, reply } => {
                if let Some(appended) = self.append(&topic, partition, &record) {
                    self.answers.push(Answer::Append(reply, appended, room));
                }
            }
            Job::Commit { topic, group, offsets, reply } => {
                for (partition, offset) in offsets {
                    let key = committed_key(&topic.name, &group, partition);
                    self.writes.insert(&self.disk.meta, key, offset.0.to_be_bytes());
                }
                self.answers.push(Answer::Unit(reply));
            }
            Job::Row { key, write, room, reply } => match self.row(key, write) {
                Ok(cas) => self.answers.push(Answer::Row(reply, cas, room)),
                Err(error) => drop(reply.send(Err(Arc::new(error)))),
            },
            Job::Purge { topic, partition, keys, reply } => {
                self.purge(&topic, partition, keys);
                self.answers.push(Answer::Unit(reply));
            }
            Job::Forget { due_keys, reply } => {
                let outcome = due_keys.iter().try_for_each(|due_key| self.forget(due_key));
                match outcome {
                    Ok(()) => self.answers.push(Answer::Unit(reply)),
                    Err(error) => drop(reply.send(Err(Arc::new(error)))),
                }
            }
        }
    }

    /// `None` only for a partition that does not exist, which the caller has checked.
    fn append(&mut self, topic: &Arc<Topic>, partition: Partition, record: &Encoded) -> Option<Appended> {
        let now = self.now;
        let tip = self.tip(topic, partition)?;
        let (offset, append_time) = (tip.end, tip.last_time.max(now));
        (tip.end, tip.last_time) = (offset.next(), append_time);
        let key = record.storage_key(partition, offset, append_time);
        self.bytes += key.len() + record.body.len();
        self.writes.insert(&topic.records, key, record.body.clone());
        Some(Appended { partition, offset, append_time })
    }

    fn tip(&mut self, topic: &Arc<Topic>, partition: Partition) -> Option<&mut Tip> {
        let state = topic.partition(partition).ok()?;
        Some(self.tips.entry((Arc::as_ptr(topic).addr(), partition)).or_insert_with(|| Tip {
            topic: Arc::clone(topic),
            partition,
            end: state.end(),
            last_time: state.last_time(),
        }))
    }

    fn purge(&mut self, topic: &Arc<Topic>, partition: Partition, keys: Vec<Bytes>) {
        let Some(tip) = self.tip(topic, partition) else { return };
        let floor = encode_floor(tip.end, tip.last_time);
        self.writes.insert(&self.disk.meta, floor_key(&topic.name, partition), floor);
        for key in keys {
            self.bytes += key.len();
            self.writes.remove(&topic.records, key);
        }
    }

    fn current_row(&self, key: &[u8]) -> Result<Option<StoredRow>, EmbeddedError> {
        if let Some(row) = self.rows.get(key) {
            return Ok(row.clone());
        }
        self.disk.rows.get(key)?.map(|stored| StoredRow::decode(&stored.into())).transpose()
    }

    fn row(&mut self, key: Vec<u8>, write: RowWrite) -> Result<Cas, EmbeddedError> {
        let current = self.current_row(&key)?;
        match decide(current, write, self.now) {
            Decided::Keep(cas) => Ok(cas),
            Decided::Store(row, cas) => {
                self.store(key, row);
                Ok(cas)
            }
            Decided::Remove(cas) => {
                self.writes.remove(&self.disk.rows, key.as_slice());
                self.rows.insert(key, None);
                Ok(cas)
            }
        }
    }

    fn store(&mut self, key: Vec<u8>, row: StoredRow) {
        if let Some(due) = row.due() {
            self.writes.insert(&self.disk.due, due_key(due, &key), Bytes::new());
        }
        let stored = row.encode();
        self.bytes += key.len() + stored.len();
        self.writes.insert(&self.disk.rows, key.as_slice(), stored);
        self.rows.insert(key, Some(row));
    }

    /// Removes the row if this entry is the one that counts, and the entry in any case.
    fn forget(&mut self, entry: &Bytes) -> Result<(), EmbeddedError> {
        let key = row_of_due(entry);
        let current = self.current_row(key)?;
        let is_due = current.and_then(|row| row.due()).is_some_and(|due| due <= self.now);
        if is_due {
            self.writes.remove(&self.disk.rows, key);
            self.rows.insert(key.to_vec(), None);
        }
        self.bytes += entry.len();
        self.writes.remove(&self.disk.due, entry.clone());
        Ok(())
    }

    /// Makes the batch durable, shows the new ends to readers, answers.
    fn finish(self) {
        let outcome = self.writes.commit().map_err(|error| Arc::new(EmbeddedError::from(error)));
        match &outcome {
            Ok(()) => show(self.tips.into_values()),
            Err(error) => tracing::error!(%error, "a batch could not be written"),
        }
        for answer in self.answers {
            answer.give(outcome.clone());
        }
    }
}

fn show(tips: impl Iterator<Item = Tip>) {
    let mut topics: HashMap<usize, Arc<Topic>> = HashMap::new();
    for tip in tips {
        if let Ok(state) = tip.topic.partition(tip.partition) {
            state.advance(tip.end, tip.last_time);
        }
        topics.insert(Arc::as_ptr(&tip.topic).addr(), tip.topic);
    }
    for topic in topics.values() {
        topic.appended.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// What a row write comes to.
enum Decided {
    Keep(Cas),
    Store(StoredRow, Cas),
    Remove(Cas),
}

/// Decides a row write against the row that is there. Plain writes answer `Applied(0)` either way.
fn decide(current: Option<StoredRow>, write: RowWrite, now: Timestamp) -> Decided {
    let plain = Cas::Applied(Version(0));
    match (write, current) {
        (RowWrite::Insert { value, expires_at }, None) => Decided::conditional(1, value, expires_at),
        (RowWrite::Replace { expected, value, expires_at }, Some(row)) if row.version == expected.0 => {
            Decided::conditional(row.version + 1, value, expires_at)
        }
        (RowWrite::Remove { expected }, Some(row)) if row.version == expected.0 => {
            Decided::Remove(Cas::Applied(expected))
        }
        (RowWrite::Insert { .. } | RowWrite::Replace { .. } | RowWrite::Remove { .. }, current) => {
            Decided::Keep(Cas::Conflict(current.and_then(into_row)))
        }
        (RowWrite::Put { value, write }, current) => {
            if current.is_some_and(|row| beats(&row, write.at, &value)) {
                return Decided::Keep(plain);
            }
            let row = StoredRow { version: 0, at: write.at, deleted: false, expires_at: write.expires_at, value };
            Decided::Store(row, plain)
        }
        (RowWrite::Delete { at }, current) => {
            if current.is_some_and(|row| row.at > at) {
                return Decided::Keep(plain);
            }
            let marker = StoredRow { version: 0, at, deleted: true, expires_at: Some(now), value: Bytes::new() };
            Decided::Store(marker, plain)
        }
    }
}

impl Decided {
    fn conditional(version: u64, value: Bytes, expires_at: Option<Timestamp>) -> Self {
        let row = StoredRow { version, at: Timestamp::from_millis(0), deleted: false, expires_at, value };
        Self::Store(row, Cas::Applied(Version(version)))
    }
}

/// Whether the row that is there wins over a put: later, or of the same time and deleted or not smaller.
fn beats(row: &StoredRow, at: Timestamp, value: &Bytes) -> bool {
    row.at > at || (row.at == at && (row.deleted || row.value >= *value))
}

fn into_row(row: StoredRow) -> Option<Row> {
    row.into_row()
}
