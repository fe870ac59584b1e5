//! Records on disk between capture and acknowledgement: one encrypted file each, in order.
//!
//! `<sequence>.record` is a ciphertext under purpose `spool`, bound to its own name. Files are written beside, synced and
//! renamed, so a crash leaves whole files only. What cannot be opened goes to `damaged/`, what the log will never take to
//! `refused/`; both wait there for an operator and count towards no bound. All calls block on the disk.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ridgeline_ports::{Entropy, NewRecord, TopicName};
use ridgeline_runtime::metric;
use ridgeline_vault::{Aad, Purpose, Vault, VaultError};
use ridgeline_wire::row::{Header, Original};

use crate::AgentError;

const EXTENSION: &str = "record";
const DAMAGED: &str = "damaged";
const REFUSED: &str = "refused";

/// Bounds of a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Records at most.
    pub records_max: usize,
    /// Bytes of record files at most.
    pub bytes_max: u64,
    /// Largest record file; the spool has room as long as one such still fits.
    pub record_bytes_max: u64,
}

impl Default for SpoolLimits {
    /// 10 000 records, 2 GiB, 13 MiB each: a message of 12 MiB and its envelope.
    fn default() -> Self {
        Self { records_max: 10_000, bytes_max: 2 << 30, record_bytes_max: 13 << 20 }
    }
}

/// Place of a record in the order of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(u64);

impl Sequence {
    fn file_name(self) -> String {
        format!("{:020}.{EXTENSION}", self.0)
    }

    fn of_file(path: &Path) -> Option<Self> {
        let stem = path.file_name()?.to_str()?.strip_suffix(&format!(".{EXTENSION}"))?;
        stem.parse().ok().map(Self)
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    sequence: Sequence,
    bytes: u64,
}

/// An open spool. One at a time may have a folder open.
pub struct Spool {
    folder: PathBuf,
    topic: TopicName,
    vault: Vault,
    entropy: Arc<dyn Entropy>,
    limits: SpoolLimits,
    entries: VecDeque<Entry>,
    bytes: u64,
    next: Sequence,
    _lock: File,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool")
            .field("records", &self.entries.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Spool {
    /// Opens the folder, making it if it is missing, and takes up what an earlier run left there. Records go to `topic`.
    ///
    /// # Errors
    /// `SpoolInUse`, `File`.
    pub fn open(
        folder: &Path,
        topic: TopicName,
        vault: Vault,
        entropy: Arc<dyn Entropy>,
        limits: SpoolLimits,
    ) -> Result<Self, AgentError> {
        for folder in [folder.to_owned(), folder.join(DAMAGED), folder.join(REFUSED)] {
            fs::create_dir_all(&folder).map_err(|source| failed("make", &folder, source))?;
        }
        let lock = lock(&folder.join("lock"))?;
        let mut entries = Vec::new();
        let mut last = 0;
        for aside in [DAMAGED, REFUSED] {
            for path in files(&folder.join(aside))? {
                last = last.max(Sequence::of_file(&path).map_or(0, |sequence| sequence.0));
            }
        }
        for path in files(folder)? {
            if path.extension().is_some_and(|extension| extension == "new") {
                // Not renamed, so never counted as taken.
                fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
            } else if let Some(sequence) = Sequence::of_file(&path) {
                let metadata = fs::metadata(&path).map_err(|source| failed("read", &path, source))?;
                entries.push(Entry { sequence, bytes: metadata.len() });
                last = last.max(sequence.0);
            }
        }
        entries.sort_unstable_by_key(|entry| entry.sequence);
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        let next = Sequence(last + 1);
        let (folder, entries) = (folder.to_owned(), entries.into());
        let spool = Self { folder, topic, vault, entropy, limits, entries, bytes, next, _lock: lock };
        spool.measure();
        Ok(spool)
    }

    /// Whether a record of the largest size fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.entries.len() < self.limits.records_max
            && self.bytes + self.limits.record_bytes_max <= self.limits.bytes_max
    }

    /// Records waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no record waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the waiting records' files.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a record; it is on disk when this returns.
    ///
    /// # Errors
    /// `SpoolFull` and nothing is written; `Vault`, `Wire`; `File` if the disk refuses.
    pub fn push(&mut self, record: &NewRecord) -> Result<Sequence, AgentError> {
        let sequence = self.next;
        let plaintext = ridgeline_wire::encode(&original(record)).map_err(AgentError::Wire)?;
        let sealed = self.vault.seal(Purpose::Spool, &aad(sequence), &plaintext, self.entropy.as_ref());
        let sealed = sealed.map_err(AgentError::Vault)?;
        let bytes = sealed.len() as u64;
        if self.entries.len() >= self.limits.records_max || self.bytes + bytes > self.limits.bytes_max {
            return Err(AgentError::SpoolFull);
        }
        let path = self.path(sequence);
        write_synced(&path, &sealed).map_err(|source| failed("write", &path, source))?;
        self.next = Sequence(sequence.0 + 1);
        self.entries.push_back(Entry { sequence, bytes });
        self.bytes += bytes;
        self.measure();
        Ok(sequence)
    }

    /// The record to send next. Files that cannot be opened are set aside on the way.
    ///
    /// # Errors
    /// `Vault` if the key of a record is missing, which an operator can repair; `File`.
    pub fn oldest(&mut self) -> Result<Option<(Sequence, NewRecord)>, AgentError> {
        while let Some(Entry { sequence, .. }) = self.entries.front().copied() {
            let path = self.path(sequence);
            let sealed = match fs::read(&path) {
                Err(source) if source.kind() == io::ErrorKind::NotFound => {
                    tracing::error!(file = %path.display(), "a spooled record was removed by someone else");
                    self.drop_entry(sequence);
                    continue;
                }
                read => read.map_err(|source| failed("read", &path, source))?,
            };
            match self.vault.open(Purpose::Spool, &aad(sequence), &sealed) {
                Ok(plaintext) => {
                    if let Ok(original) = ridgeline_wire::decode::<Original>(plaintext.expose()) {
                        return Ok(Some((sequence, self.record(original))));
                    }
                }
                Err(error @ VaultError::UnknownKey { .. }) => return Err(AgentError::Vault(error)),
                Err(_) => {}
            }
            tracing::error!(
                file = %path.display(),
                "a spooled record is damaged and was set aside; its scan must be taken again"
            );
            self.set_aside(sequence, DAMAGED)?;
        }
        Ok(None)
    }

    /// Removes a record that the log has acknowledged.
    ///
    /// # Errors
    /// `File`.
    pub fn forget(&mut self, sequence: Sequence) -> Result<(), AgentError> {
        let path = self.path(sequence);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &path, source)),
            // Not synced: after a power loss the record may come back and is sent twice, which is harmless.
            _ => self.drop_entry(sequence),
        }
        Ok(())
    }

    /// Sets a record aside that the log will never take.
    ///
    /// # Errors
    /// `File`.
    pub fn refuse(&mut self, sequence: Sequence) -> Result<(), AgentError> {
        self.set_aside(sequence, REFUSED)
    }

    fn set_aside(&mut self, sequence: Sequence, place: &str) -> Result<(), AgentError> {
        let (from, folder) = (self.path(sequence), self.folder.join(place));
        let moved = fs::rename(&from, folder.join(sequence.file_name())).and_then(|()| sync_folder(&folder));
        moved.map_err(|source| failed("set aside", &from, source))?;
        self.drop_entry(sequence);
        Ok(())
    }

    fn drop_entry(&mut self, sequence: Sequence) {
        let at = self.entries.iter().position(|entry| entry.sequence == sequence);
        if let Some(entry) = at.and_then(|at| self.entries.remove(at)) {
            self.bytes -= entry.bytes;
        }
        self.measure();
    }

    fn record(&self, original: Original) -> NewRecord {
        NewRecord {
            topic: self.topic.clone(),
            partition: None,
            key: original.key.into(),
            value: original.value.map(Bytes::from),
            headers: original.headers.into_iter().map(|header| (header.name, header.value.into())).collect(),
        }
    }

    fn path(&self, sequence: Sequence) -> PathBuf {
        self.folder.join(sequence.file_name())
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
    pub(crate) fn measure(&self) {
        let oldest = self.entries.front().map(|entry| self.path(entry.sequence));
        let written = oldest.and_then(|path| fs::metadata(path).ok()?.modified().ok());
        // A clock that was put back makes it younger than nothing.
        let age = written.and_then(|written| written.elapsed().ok()).unwrap_or_default();
        metrics::gauge!(metric::SPOOL_OLDEST).set(age.as_secs_f64());
        metrics::gauge!(metric::SPOOL_RECORDS).set(self.entries.len() as f64);
        metrics::gauge!(metric::SPOOL_BYTES).set(self.bytes as f64);
    }
}

/// A file moved to another place in the order does not open.
fn aad(sequence: Sequence) -> Aad {
    Aad::new("spool", &sequence.file_name(), "record")
}

fn original(record: &NewRecord) -> Original {
    let header = |(name, value): &(String, Bytes)| Header { name: name.clone(), value: value.to_vec() };
    Original {
        key: record.key.to_vec(),
        value: record.value.as_ref().map(|value| value.to_vec()),
        headers: record.headers.iter().map(header).collect(),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> AgentError {
    AgentError::File { action, path: path.to_owned(), source }
}

/// The regular files of a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, AgentError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    };
    list().map_err(|source| failed("list", folder, source))
}

fn lock(path: &Path) -> Result<File, AgentError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(|source| failed("open", path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(AgentError::SpoolInUse(path.parent().unwrap_or_else(|| Path::new(".")).to_owned()))
        }
        Err(fs::TryLockError::Error(source)) => Err(failed("lock", path, source)),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(path.parent().unwrap_or_else(|| Path::new(".")))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use ridgeline_runtime::SystemEntropy;
    use ridgeline_vault::KeyRing;

    use super::*;

    pub(super) fn vault() -> Vault {
        Vault::new(KeyRing::create(&SystemEntropy).unwrap())
    }

    fn open(folder: &Path, vault: &Vault, limits: SpoolLimits) -> Result<Spool, AgentError> {
        Spool::open(folder, TopicName::new("scans"), vault.clone(), Arc::new(SystemEntropy), limits)
    }

    fn record(text: &str) -> NewRecord {
        NewRecord {
            topic: TopicName::new("scans"),
            partition: None,
            key: Bytes::from_static(b"alice"),
            value: Some(Bytes::copy_from_slice(text.as_bytes())),
            headers: vec![("ce_id".to_owned(), Bytes::from_static(b"7"))],
        }
    }

    fn drain(spool: &mut Spool) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some((sequence, record)) = spool.oldest().unwrap() {
            assert_eq!((record.key.as_ref(), record.headers.len()), (&b"alice"[..], 1));
            texts.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
            spool.forget(sequence).unwrap();
        }
        texts
    }

    #[test]
    fn records_come_back_in_order_after_a_restart() {
        let (folder, vault) = (tempfile::tempdir().unwrap(), vault());
        let mut spool = open(folder.path(), &vault, SpoolLimits::default()).unwrap();
        for text in ["one", "two", "three"] {
            spool.push(&record(text)).unwrap();
        }
        let (first, _) = spool.oldest().unwrap().unwrap();
        spool.forget(first).unwrap();
        drop(spool);
        fs::write(folder.path().join("00000000000000000009.new"), "half a reco").unwrap();
        let mut spool = open(folder.path(), &vault, SpoolLimits::default()).unwrap();
        spool.push(&record("four")).unwrap();
        assert_eq!(drain(&mut spool), ["two", "three", "four"]);
        assert_eq!((spool.len(), spool.bytes()), (0, 0));
        assert!(!folder.path().join("00000000000000000009.new").exists());
    }

    #[test]
    fn both_bounds_hold_and_room_comes_back() {
        let (folder, vault) = (tempfile::tempdir().unwrap(), vault());
        let limits = SpoolLimits { records_max: 2, ..SpoolLimits::default() };
        let mut spool = open(folder.path(), &vault, limits).unwrap();
        let first = spool.push(&record("one")).unwrap();
        spool.push(&record("two")).unwrap();
        assert!(!spool.has_room());
        assert!(matches!(spool.push(&record("three")), Err(AgentError::SpoolFull)));
        spool.forget(first).unwrap();
        assert!(spool.has_room());
        let file_bytes = spool.bytes();
        drop(spool);
        let limits = SpoolLimits { bytes_max: file_bytes + 10, record_bytes_max: 1, ..SpoolLimits::default() };
        let mut spool = open(folder.path(), &vault, limits).unwrap();
        assert!(matches!(spool.push(&record("four")), Err(AgentError::SpoolFull)));
        assert_eq!(drain(&mut spool), ["two"]);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_nothing_else_is_lost() {
        let (folder, vault) = (tempfile::tempdir().unwrap(), vault());
        let mut spool = open(folder.path(), &vault, SpoolLimits::default()).unwrap();
        let all: Vec<_> = ["one", "two", "three", "four"].map(|text| spool.push(&record(text)).unwrap()).into();
        let second = spool.path(all[1]);
        let mut bytes = fs::read(&second).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&second, &bytes).unwrap();
        // A whole record in another's place is damage as well.
        fs::copy(spool.path(all[0]), spool.path(all[2])).unwrap();
        drop(spool);
        let mut spool = open(folder.path(), &vault, SpoolLimits::default()).unwrap();
        assert_eq!(drain(&mut spool), ["one", "four"]);
        assert_eq!(fs::read_dir(folder.path().join(DAMAGED)).unwrap().count(), 2);
        assert!(fs::read(folder.path().join(DAMAGED).join(all[1].file_name())).is_ok_and(|kept| kept == bytes));
    }

    #[test]
    fn a_missing_key_keeps_the_records() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = KeyRing::create(&SystemEntropy).unwrap();
        let old = Vault::new(ring.clone());
        ring.rotate(Purpose::Spool, &SystemEntropy).unwrap();
        let mut spool = open(folder.path(), &Vault::new(ring.clone()), SpoolLimits::default()).unwrap();
        spool.push(&record("one")).unwrap();
        drop(spool);
        let mut spool = open(folder.path(), &old, SpoolLimits::default()).unwrap();
        assert!(matches!(spool.oldest(), Err(AgentError::Vault(_))));
        drop(spool);
        let mut spool = open(folder.path(), &Vault::new(ring), SpoolLimits::default()).unwrap();
        assert_eq!(drain(&mut spool), ["one"]);
    }

    #[test]
    fn refused_records_are_kept_apart() {
        let (folder, vault) = (tempfile::tempdir().unwrap(), vault());
        let mut spool = open(folder.path(), &vault, SpoolLimits::default()).unwrap();
        let first = spool.push(&record("one")).unwrap();
        spool.push(&record("two")).unwrap();
        spool.refuse(first).unwrap();
        assert_eq!(drain(&mut spool), ["two"]);
        assert!(folder.path().join(REFUSED).join(first.file_name()).exists());
    }

    #[test]
    fn a_spool_has_one_user() {
        let (folder, vault) = (tempfile::tempdir().unwrap(), vault());
        let spool = open(folder.path(), &vault, SpoolLimits::default()).unwrap();
        let second = open(folder.path(), &vault, SpoolLimits::default());
        assert!(matches!(second, Err(AgentError::SpoolInUse(_))));
        drop(spool);
        assert!(open(folder.path(), &vault, SpoolLimits::default()).is_ok());
    }
}
