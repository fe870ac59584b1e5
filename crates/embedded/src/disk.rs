//! The directory: its lock, the storage crate's database, topics, tables and committed offsets.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use bytes::{BufMut, Bytes};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use parking_lot::{Mutex, RwLock};
use ridgeline_domain::{DurationMs, Timestamp};
use ridgeline_ports::{
    Cleanup, GroupId, LogError, Offset, Partition, Record, StoreError, TableKind, TableSpec, TopicName, TopicSpec,
};
use tokio::sync::watch;

use crate::codec::{KeyParts, bound, decode, take};
use crate::error::EmbeddedError;
use crate::journal::Cut;

const LOCK_FILE: &str = "ridgeline.lock";
/// Journals beyond this make quiet keyspaces write their tables, which bounds the time to open.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;
const CACHE_BYTES: u64 = 64 << 20;
/// Larger values lie beside the tables and are not rewritten when tables are merged.
const BLOB_BYTES_MIN: u32 = 2 << 10;
/// Topics with records above this get a large write buffer.
const LARGE_RECORD_BYTES: usize = 1 << 20;
const PARTITIONS_MAX: u32 = 10_000;

/// Everything that lives in the directory.
pub(crate) struct Disk {
    pub(crate) db: Database,
    /// Topics, tables, floors of end offsets, committed offsets.
    pub(crate) meta: Keyspace,
    /// Rows of all tables.
    pub(crate) rows: Keyspace,
    /// Rows by the moment of their removal.
    pub(crate) due: Keyspace,
    pub(crate) fsync: bool,
    topics: RwLock<HashMap<TopicName, Arc<Topic>>>,
    tables: RwLock<HashMap<String, TableKind>>,
    /// Held while a topic or table is made.
    making: Mutex<()>,
    /// Declared last: released after the database is closed.
    _lock: File,
}

/// A topic and the state of its partitions.
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    pub(crate) records: Keyspace,
    pub(crate) partitions: Vec<PartitionState>,
    pub(crate) record_bytes_max: AtomicUsize,
    pub(crate) cleanup: Mutex<Cleanup>,
    /// Changes after each append to the topic.
    pub(crate) appended: watch::Sender<u64>,
}

/// Written by the writer thread only.
pub(crate) struct PartitionState {
    /// The next offset.
    end: AtomicU64,
    /// Nothing is stored below this offset.
    first: AtomicU64,
    /// Latest append time in milliseconds.
    last_time: AtomicI64,
}

impl PartitionState {
    pub(crate) fn end(&self) -> Offset {
        Offset(self.end.load(Ordering::Acquire))
    }

    pub(crate) fn first(&self) -> Offset {
        Offset(self.first.load(Ordering::Acquire))
    }

    pub(crate) fn last_time(&self) -> Timestamp {
        Timestamp::from_millis(self.last_time.load(Ordering::Acquire))
    }

    pub(crate) fn advance(&self, end: Offset, last_time: Timestamp) {
        self.last_time.store(last_time.millis(), Ordering::Release);
        self.end.store(end.0, Ordering::Release);
    }

    pub(crate) fn raise_first(&self, first: Offset) {
        self.first.fetch_max(first.0, Ordering::AcqRel);
    }
}

/// Records read in one go.
pub(crate) struct Chunk {
    pub(crate) records: Vec<Record>,
    /// Where to read on.
    pub(crate) next: Offset,
}

impl Topic {
    pub(crate) fn partition(&self, partition: Partition) -> Result<&PartitionState, LogError> {
        usize::try_from(partition.0)
            .ok()
            .and_then(|index| self.partitions.get(index))
            .ok_or_else(|| LogError::UnknownPartition(self.name.clone(), partition))
    }

    pub(crate) fn partition_ids(&self) -> impl Iterator<Item = Partition> + use<> {
        // At most PARTITIONS_MAX, so the count fits.
        (0..u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)).map(Partition)
    }

    /// Reads from `from` up to `end`, at most so many records and bytes, but at least one record if there is one.
    pub(crate) fn read(
        &self,
        at: Partition,
        from: Offset,
        end: Offset,
        limit: ReadLimit,
    ) -> Result<Chunk, EmbeddedError> {
        let mut chunk = Chunk { records: Vec::new(), next: end };
        let mut bytes = 0;
        for guard in self.records.range(bound(at, from)..bound(at, end)) {
            let (key, value) = guard.into_inner()?;
            let (key, value) = (Bytes::from(key), Bytes::from(value));
            bytes += key.len() + value.len();
            let record = decode(&self.name, &key, &value)?;
            let next = record.offset.next();
            chunk.records.push(record);
            if chunk.records.len() >= limit.records || bytes >= limit.bytes {
                chunk.next = next;
                break;
            }
        }
        Ok(chunk)
    }

    /// The first offset whose record was appended at or after `time`, or the end.
    pub(crate) fn offset_at(&self, at: Partition, time: Timestamp) -> Result<Offset, EmbeddedError> {
        let Ok(state) = self.partition(at) else { return Ok(Offset(0)) };
        let end = state.end();
        let (mut low, mut high) = (state.first().0, end.0);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.records.range(bound(at, Offset(middle))..bound(at, Offset(high))).next();
            match found.map(fjall::Guard::key).transpose()? {
                None => high = middle,
                Some(key) => {
                    let parts = KeyParts::parse(&key)?;
                    if parts.time < time { low = parts.offset.next().0 } else { high = middle }
                }
            }
        }
        Ok(Offset(low))
    }
}

/// Bounds of one read.
#[derive(Clone, Copy)]
pub(crate) struct ReadLimit {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

impl Disk {
    pub(crate) fn open(dir: &Path, fsync: bool) -> Result<Self, EmbeddedError> {
        let lock = lock(dir)?;
        let db = open_or_repair(&dir.join("db"))?;
        let disk = Self {
            meta: db.keyspace("meta", small_keyspace)?,
            rows: db.keyspace("rows", row_keyspace)?,
            due: db.keyspace("due", small_keyspace)?,
            fsync,
            topics: RwLock::default(),
            tables: RwLock::default(),
            making: Mutex::default(),
            db,
            _lock: lock,
        };
        disk.load()?;
        Ok(disk)
    }

    fn load(&self) -> Result<(), EmbeddedError> {
        for guard in self.meta.prefix(TOPIC) {
            let (key, value) = guard.into_inner()?;
            let name = text(key.get(TOPIC.len()..))?;
            let spec = decode_spec(TopicName::new(name), &value)?;
            let topic = Arc::new(self.open_topic(&spec)?);
            self.topics.write().insert(spec.name, topic);
        }
        for guard in self.meta.prefix(TABLE) {
            let (key, value) = guard.into_inner()?;
            let kind = if value.first() == Some(&1) { TableKind::Plain } else { TableKind::Conditional };
            self.tables.write().insert(text(key.get(TABLE.len()..))?.to_owned(), kind);
        }
        Ok(())
    }

    fn open_topic(&self, spec: &TopicSpec) -> Result<Topic, EmbeddedError> {
        let large = spec.record_bytes_max > LARGE_RECORD_BYTES;
        let records = self.db.keyspace(&format!("log.{}", spec.name), || record_keyspace(large))?;
        let partitions = (0..spec.partitions)
            .map(|at| self.open_partition(&spec.name, &records, Partition(at)))
            .collect::<Result<_, _>>()?;
        Ok(Topic {
            name: spec.name.clone(),
            records,
            partitions,
            record_bytes_max: AtomicUsize::new(spec.record_bytes_max),
            cleanup: Mutex::new(spec.cleanup),
            appended: watch::Sender::new(0),
        })
    }

    /// The end is after the last record, but never below the floor that the sweep wrote when it deleted records.
    fn open_partition(
        &self,
        topic: &TopicName,
        records: &Keyspace,
        at: Partition,
    ) -> Result<PartitionState, EmbeddedError> {
        let (mut end, mut last_time) = match self.meta.get(floor_key(topic, at))? {
            Some(floor) => decode_floor(&floor)?,
            None => (Offset(0), Timestamp::from_millis(i64::MIN)),
        };
        if let Some(last) = records.prefix(at.0.to_be_bytes()).next_back() {
            let parts = KeyParts::parse(&last.key()?)?;
            end = end.max(parts.offset.next());
            last_time = last_time.max(parts.time);
        }
        Ok(PartitionState {
            end: AtomicU64::new(end.0),
            first: AtomicU64::new(0),
            last_time: AtomicI64::new(last_time.millis()),
        })
    }

    pub(crate) fn topic(&self, name: &TopicName) -> Result<Arc<Topic>, LogError> {
        self.topics.read().get(name).cloned().ok_or_else(|| LogError::UnknownTopic(name.clone()))
    }

    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().values().cloned().collect()
    }

    pub(crate) fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let _making = self.making.lock();
        if let Ok(topic) = self.topic(&spec.name) {
            return self.adjust(&topic, spec);
        }
        if !valid_name(spec.name.as_str()) || spec.partitions == 0 || spec.partitions > PARTITIONS_MAX {
            return Err(LogError::Incompatible(spec.name.clone()));
        }
        let topic = self.open_topic(spec)?;
        self.write_meta(topic_key(&spec.name), encode_spec(spec))?;
        self.topics.write().insert(spec.name.clone(), Arc::new(topic));
        Ok(())
    }

    /// Times and limits of an existing topic may change, its shape may not.
    fn adjust(&self, topic: &Topic, spec: &TopicSpec) -> Result<(), LogError> {
        let current = TopicSpec {
            name: topic.name.clone(),
            partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
            cleanup: *topic.cleanup.lock(),
            record_bytes_max: topic.record_bytes_max.load(Ordering::Relaxed),
        };
        let same_kind = std::mem::discriminant(&current.cleanup) == std::mem::discriminant(&spec.cleanup);
        if current.partitions != spec.partitions || !same_kind {
            return Err(LogError::Incompatible(spec.name.clone()));
        }
        if current != *spec {
            self.write_meta(topic_key(&spec.name), encode_spec(spec))?;
            *topic.cleanup.lock() = spec.cleanup;
            topic.record_bytes_max.store(spec.record_bytes_max, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn ensure_table(&self, spec: TableSpec) -> Result<(), StoreError> {
        let _making = self.making.lock();
        let known = self.tables.read().get(spec.name).copied();
        match known {
            Some(kind) if kind == spec.kind => return Ok(()),
            Some(_) => return Err(StoreError::Misuse { table: spec.name, what: "the table exists with another kind" }),
            None => {}
        }
        let named =
            (1..=48).contains(&spec.name.len()) && spec.name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
        if !named {
            return Err(StoreError::Misuse { table: spec.name, what: "a table name outside [a-z_]{1,48}" });
        }
        self.write_meta([TABLE, spec.name.as_bytes()].concat(), vec![u8::from(spec.kind == TableKind::Plain)])?;
        self.tables.write().insert(spec.name.to_owned(), spec.kind);
        Ok(())
    }

    /// Checks that the table was made with this kind.
    pub(crate) fn check_table(&self, spec: TableSpec) -> Result<(), StoreError> {
        match self.tables.read().get(spec.name) {
            Some(kind) if *kind == spec.kind => Ok(()),
            Some(_) => Err(StoreError::Misuse { table: spec.name, what: "the table exists with another kind" }),
            None => Err(StoreError::Misuse { table: spec.name, what: "the table was not made" }),
        }
    }

    pub(crate) fn committed(&self, topic: &Topic, group: &GroupId) -> Result<Vec<Option<Offset>>, EmbeddedError> {
        let read = |at| -> Result<Option<Offset>, EmbeddedError> {
            let Some(stored) = self.meta.get(committed_key(&topic.name, group, at))? else { return Ok(None) };
            let offset = take::<8>(&mut &stored[..]).ok_or(EmbeddedError::Corrupt("committed offset"))?;
            Ok(Some(Offset(u64::from_be_bytes(offset))))
        };
        topic.partition_ids().map(read).collect()
    }

    /// How a batch is made durable.
    pub(crate) fn durability(&self) -> Option<PersistMode> {
        Some(if self.fsync { PersistMode::SyncData } else { PersistMode::Buffer })
    }

    fn write_meta(&self, key: Vec<u8>, value: Vec<u8>) -> Result<(), EmbeddedError> {
        let mut batch = self.db.batch().durability(self.durability());
        batch.insert(&self.meta, key, value);
        Ok(batch.commit()?)
    }
}

fn open_database(dir: &Path) -> fjall::Result<Database> {
    Database::builder(dir)
        .cache_size(CACHE_BYTES)
        // Values are mostly ciphertext.
        .journal_compression(CompressionType::None)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .manual_journal_persist(true)
        .worker_threads(2)
        .open()
}

/// Opens the database; a last batch with holes, which a power cut may leave, is cut off first.
fn open_or_repair(dir: &Path) -> Result<Database, EmbeddedError> {
    let holes = |error: &fjall::Error| {
        matches!(error, fjall::Error::JournalRecovery(fjall::JournalRecoveryError::ChecksumMismatch))
    };
    let error = match open_database(dir) {
        Err(error) if holes(&error) => error,
        outcome => return Ok(outcome?),
    };
    let directory = |source| EmbeddedError::Directory { dir: dir.to_owned(), source };
    let Some(cut) = Cut::last_batch(dir).map_err(directory)? else { return Err(error.into()) };
    match open_database(dir) {
        Ok(db) => {
            tracing::warn!("cut off an unfinished batch that was never acknowledged");
            Ok(db)
        }
        Err(again) => {
            cut.undo().map_err(directory)?;
            Err(again.into())
        }
    }
}

fn lock(dir: &Path) -> Result<File, EmbeddedError> {
    let directory = |source| EmbeddedError::Directory { dir: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(directory)?;
    let file = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK_FILE)).map_err(directory)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EmbeddedError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(directory(source)),
    }
}

fn blobs() -> KvSeparationOptions {
    KvSeparationOptions::default().compression(CompressionType::None).separation_threshold(BLOB_BYTES_MIN)
}

fn record_keyspace(large: bool) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().with_kv_separation(Some(blobs())).max_memtable_size(if large {
        64 << 20
    } else {
        16 << 20
    })
}

fn row_keyspace() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().with_kv_separation(Some(blobs())).max_memtable_size(32 << 20)
}

fn small_keyspace() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(8 << 20)
}

const TOPIC: &[u8] = b"t/";
const TABLE: &[u8] = b"k/";

fn topic_key(topic: &TopicName) -> Vec<u8> {
    [TOPIC, topic.as_str().as_bytes()].concat()
}

/// Where the floor of a partition's end offset lies.
pub(crate) fn floor_key(topic: &TopicName, at: Partition) -> Vec<u8> {
    [b"f/", topic.as_str().as_bytes(), b"\0", &at.0.to_be_bytes()[..]].concat()
}

/// Where a committed offset lies. Topic names hold no NUL, so two keys never meet.
pub(crate) fn committed_key(topic: &TopicName, group: &GroupId, at: Partition) -> Vec<u8> {
    [b"c/", topic.as_str().as_bytes(), b"\0", group.0.as_bytes(), b"\0", &at.0.to_be_bytes()[..]].concat()
}

/// End offset and last append time, so that neither goes back when all records are gone.
pub(crate) fn encode_floor(end: Offset, last_time: Timestamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    out.put_u64(end.0);
    out.put_i64(last_time.millis());
    out
}

fn decode_floor(mut bytes: &[u8]) -> Result<(Offset, Timestamp), EmbeddedError> {
    match (take::<8>(&mut bytes), take::<8>(&mut bytes)) {
        (Some(end), Some(time)) => {
            Ok((Offset(u64::from_be_bytes(end)), Timestamp::from_millis(i64::from_be_bytes(time))))
        }
        _ => Err(EmbeddedError::Corrupt("end offset")),
    }
}

fn valid_name(name: &str) -> bool {
    (1..=200).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
}

fn encode_spec(spec: &TopicSpec) -> Vec<u8> {
    let (kind, span) = match spec.cleanup {
        Cleanup::Delete { retention } => (0, retention),
        Cleanup::Compact { delete_retention } => (1, delete_retention),
    };
    let mut out = Vec::with_capacity(21);
    out.put_u32(spec.partitions);
    out.put_u8(kind);
    out.put_i64(span.0);
    out.put_u64(spec.record_bytes_max as u64);
    out
}

fn decode_spec(name: TopicName, mut bytes: &[u8]) -> Result<TopicSpec, EmbeddedError> {
    let bytes = &mut bytes;
    let (Some(partitions), Some([kind]), Some(span), Some(max)) =
        (take::<4>(bytes), take::<1>(bytes), take::<8>(bytes), take::<8>(bytes))
    else {
        return Err(EmbeddedError::Corrupt("topic"));
    };
    let span = DurationMs(i64::from_be_bytes(span));
    Ok(TopicSpec {
        name,
        partitions: u32::from_be_bytes(partitions),
        cleanup: if kind == 0 {
            Cleanup::Delete { retention: span }
        } else {
            Cleanup::Compact { delete_retention: span }
        },
        record_bytes_max: usize::try_from(u64::from_be_bytes(max)).unwrap_or(usize::MAX),
    })
}

fn text(bytes: Option<&[u8]>) -> Result<&str, EmbeddedError> {
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(EmbeddedError::Corrupt("name"))
}
