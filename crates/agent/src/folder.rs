//! A reader over a folder: images that appear there are scans.
//!
//! `<subject>.<ext>` or `<subject>.<anything>.<ext>`: the subject is what stands before the first dot; for identify and
//! extract the name means nothing. Names that begin with a dot, folders and empty files are left alone.
//!
//! A file whose size and time stood still between two looks is moved to `taken/<confirmation id>.<milliseconds>.<name>`,
//! so that a restart finds it again under the same confirmation id. From there it goes to `done/`, or to `refused/` with
//! a text file that says why, as `<confirmation id>.<name>`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ridgeline_domain::{Operation, Position, ReaderId, RequestId, Sensitive, SubjectId, Timestamp};
use ridgeline_intake::RawSample;
use ridgeline_ports::{Clock, Entropy};

use crate::{AgentError, Capture, Reader, Settled};

const TAKEN: &str = "taken";
const DONE: &str = "done";
const REFUSED: &str = "refused";

/// Larger files are no samples: the interface takes no larger body either.
const FILE_BYTES_MAX: u64 = 10 << 20;

/// What a folder's images ask for.
#[derive(Debug, Clone)]
pub struct FolderOptions {
    /// The folder.
    pub folder: PathBuf,
    /// The operation of every image.
    pub operation: Operation,
    /// Resolution of images that do not carry it, 250–1200.
    pub dpi: Option<u16>,
    /// Which finger.
    pub position: Position,
    /// Delete images once they are in the spool, in place of moving them to `done/`.
    pub delete_done: bool,
    /// Time between two looks into the folder.
    pub poll: Duration,
}

impl FolderOptions {
    /// Images of `folder` ask for `operation`; a look each 250 ms.
    #[must_use]
    pub fn new(folder: PathBuf, operation: Operation) -> Self {
        let (position, poll) = (Position::Unknown, Duration::from_millis(250));
        Self { folder, operation, dpi: None, position, delete_done: false, poll }
    }
}

/// A file that has been taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Taken {
    request_id: RequestId,
    captured_at: Timestamp,
    name: String,
}

impl Taken {
    fn file_name(&self) -> String {
        format!("{}.{}.{}", self.request_id, self.captured_at.millis(), self.name)
    }

    fn parse(file_name: &str) -> Option<Self> {
        let mut parts = file_name.splitn(3, '.');
        let (id, millis, name) = (parts.next()?, parts.next()?, parts.next()?);
        let captured_at = Timestamp::from_millis(millis.parse().ok()?);
        Some(Self { request_id: id.parse().ok()?, captured_at, name: name.to_owned() })
    }

    fn subject(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }
}

/// Size and time of a file at the last look.
type Seen = BTreeMap<String, (u64, Option<SystemTime>)>;

/// Watches a folder.
pub struct FolderReader {
    id: ReaderId,
    options: FolderOptions,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    seen: Seen,
    current: Option<Taken>,
}

impl std::fmt::Debug for FolderReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FolderReader").field("id", &self.id).field("options", &self.options).finish_non_exhaustive()
    }
}

impl FolderReader {
    /// A reader over the folder, which is made with its sub-folders if they are missing.
    ///
    /// # Errors
    /// `File`.
    pub fn open(
        id: ReaderId,
        options: FolderOptions,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, AgentError> {
        for place in [TAKEN, DONE, REFUSED] {
            let path = options.folder.join(place);
            let made = fs::create_dir_all(&path);
            made.map_err(|source| AgentError::File { action: "make", path, source })?;
        }
        Ok(Self { id, options, clock, entropy, seen: Seen::new(), current: None })
    }

    /// What lies in `taken/` already, else the next file that stands still.
    fn take(&mut self) -> io::Result<Option<Taken>> {
        let taken = self.options.folder.join(TAKEN);
        let mut left: Vec<Taken> = names(&taken)?.iter().filter_map(|(name, ..)| Taken::parse(name)).collect();
        left.sort_by_key(|taken| taken.captured_at);
        if let Some(found) = left.into_iter().next() {
            return Ok(Some(found));
        }
        let now: Seen =
            names(&self.options.folder)?.into_iter().map(|(name, size, time)| (name, (size, time))).collect();
        let still = now.iter().find(|(name, state)| state.0 > 0 && self.seen.get(*name) == Some(state));
        let found = still.map(|(name, _)| Taken {
            request_id: self.entropy.request_id(),
            captured_at: self.clock.now(),
            name: name.clone(),
        });
        if let Some(found) = &found {
            fs::rename(self.options.folder.join(&found.name), taken.join(found.file_name()))?;
        }
        self.seen = now;
        Ok(found)
    }

    /// Reads a taken file into a capture; the text says why it cannot be one.
    fn capture(&self, taken: &Taken) -> io::Result<Result<Capture, String>> {
        let path = self.options.folder.join(TAKEN).join(taken.file_name());
        if fs::metadata(&path)?.len() > FILE_BYTES_MAX {
            return Ok(Err(format!("the file is larger than {FILE_BYTES_MAX} bytes")));
        }
        let operation = self.options.operation;
        let subject = match taken.subject().parse::<SubjectId>() {
            Ok(subject) if operation.needs_subject() => Some(subject),
            Err(error) if operation.needs_subject() => {
                return Ok(Err(format!("the name before the first dot is no subject id: it {error}")));
            }
            _ => None,
        };
        let bytes = Sensitive::new(fs::read(&path)?);
        Ok(Ok(Capture {
            request_id: taken.request_id,
            operation,
            subject,
            position: self.options.position,
            captured_at: taken.captured_at,
            samples: vec![RawSample { format: None, bytes, dpi: self.options.dpi }],
        }))
    }

    fn finish(&self, taken: &Taken, settled: &Settled) -> io::Result<()> {
        let from = self.options.folder.join(TAKEN).join(taken.file_name());
        let name = format!("{}.{}", taken.request_id, taken.name);
        match settled {
            Settled::Spooled if self.options.delete_done => fs::remove_file(from),
            Settled::Spooled => fs::rename(from, self.options.folder.join(DONE).join(name)),
            Settled::Refused(reason) => {
                let folder = self.options.folder.join(REFUSED);
                fs::write(folder.join(format!("{name}.reason.txt")), format!("{reason}\n"))?;
                fs::rename(from, folder.join(name))
            }
        }
    }

    /// One look into the folder.
    fn look(&mut self) -> io::Result<Option<Capture>> {
        while let Some(taken) = self.take()? {
            match self.capture(&taken)? {
                Ok(capture) => {
                    self.current = Some(taken);
                    return Ok(Some(capture));
                }
                Err(reason) => {
                    tracing::warn!(reader = %self.id, reason = %reason, "a file was refused");
                    self.finish(&taken, &Settled::Refused(reason))?;
                }
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Reader for FolderReader {
    fn id(&self) -> &ReaderId {
        &self.id
    }

    async fn next(&mut self) -> Option<Capture> {
        loop {
            // Looks are short, and this task has nothing else to do.
            match self.look() {
                Ok(Some(capture)) => return Some(capture),
                Ok(None) => {}
                Err(error) => tracing::warn!(reader = %self.id, error = %error, "the folder cannot be read"),
            }
            tokio::time::sleep(self.options.poll).await;
        }
    }

    async fn settle(&mut self, request_id: RequestId, settled: Settled) {
        let Some(taken) = self.current.take().filter(|taken| taken.request_id == request_id) else { return };
        match &settled {
            Settled::Spooled => tracing::info!(reader = %self.id, request_id = %request_id, "image taken"),
            Settled::Refused(reason) => {
                tracing::warn!(reader = %self.id, request_id = %request_id, reason = %reason, "image refused");
            }
        }
        if let Err(error) = self.finish(&taken, &settled) {
            // It stays in `taken/`; sent again under the same id it is answered once.
            tracing::warn!(reader = %self.id, error = %error, "a finished image could not be moved");
        }
    }
}

/// Names, sizes and times of the regular files of a folder that are not hidden.
fn names(folder: &Path) -> io::Result<Vec<(String, u64, Option<SystemTime>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() && !name.starts_with('.') => {
                found.push((name, metadata.len(), metadata.modified().ok()));
            }
            // Gone since it was listed, or none of ours.
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use ridgeline_runtime::{SystemClock, SystemEntropy};

    use super::*;

    fn reader(folder: &Path, operation: Operation) -> FolderReader {
        let mut options = FolderOptions::new(folder.to_owned(), operation);
        options.poll = Duration::from_millis(5);
        let id = "folder-1".parse().unwrap();
        FolderReader::open(id, options, Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap()
    }

    fn listing(folder: &Path) -> Vec<String> {
        names(folder).unwrap().into_iter().map(|(name, ..)| name).collect()
    }

    #[tokio::test]
    async fn a_file_becomes_a_capture_once_it_stands_still() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = reader(folder.path(), Operation::Verify);
        fs::write(folder.path().join("alice.2.png"), "half").unwrap();
        assert!(reader.look().unwrap().is_none(), "the first look only remembers it");
        fs::write(folder.path().join("alice.2.png"), "half and half").unwrap();
        assert!(reader.look().unwrap().is_none(), "it grew");
        let capture = reader.look().unwrap().unwrap();
        assert_eq!(capture.subject.unwrap().as_str(), "alice");
        assert_eq!(capture.samples[0].bytes.expose(), b"half and half");
        reader.settle(capture.request_id, Settled::Spooled).await;
        assert_eq!(listing(&folder.path().join(DONE)), [format!("{}.alice.2.png", capture.request_id)]);
        assert!(listing(folder.path()).is_empty() && listing(&folder.path().join(TAKEN)).is_empty());
    }

    #[tokio::test]
    async fn a_restart_finds_what_was_taken_under_the_same_id() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("bob.png"), "image").unwrap();
        let first = reader(folder.path(), Operation::Enrol).next().await.unwrap();
        let second = reader(folder.path(), Operation::Enrol).next().await.unwrap();
        assert_eq!((first.request_id, first.captured_at), (second.request_id, second.captured_at));
    }

    #[tokio::test]
    async fn refused_files_say_why() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("not a subject.png"), "image").unwrap();
        fs::write(folder.path().join(".hidden"), "image").unwrap();
        fs::write(folder.path().join("empty.png"), "").unwrap();
        let mut reader = reader(folder.path(), Operation::Enrol);
        assert!(reader.look().unwrap().is_none() && reader.look().unwrap().is_none());
        let refused = listing(&folder.path().join(REFUSED));
        let reason = refused.iter().find(|name| name.ends_with(".not a subject.png.reason.txt")).unwrap();
        let text = fs::read_to_string(folder.path().join(REFUSED).join(reason)).unwrap();
        assert!(text.contains("no subject id"), "{text}");
        assert_eq!((refused.len(), listing(folder.path())), (2, vec!["empty.png".to_owned()]));

        fs::write(folder.path().join("carol.png"), "image").unwrap();
        let capture = reader.next().await.unwrap();
        reader.settle(capture.request_id, Settled::Refused("not an image".to_owned())).await;
        let reason = folder.path().join(REFUSED).join(format!("{}.carol.png.reason.txt", capture.request_id));
        assert_eq!(fs::read_to_string(reason).unwrap(), "not an image\n");
    }

    #[test]
    fn names_of_taken_files_read_back() {
        let taken = Taken {
            request_id: SystemEntropy.request_id(),
            captured_at: Timestamp::from_millis(17),
            name: "a.b.c".to_owned(),
        };
        assert_eq!(Taken::parse(&taken.file_name()), Some(taken));
        assert_eq!(Taken::parse("README.md"), None);
    }
}
