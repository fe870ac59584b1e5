//! Who may sign scans: this process's own sources and the agents' file, read again when it changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use parking_lot::{Mutex, RwLock};
use ridgeline_domain::{AgentId, Operation};
use ridgeline_gateway::AgentBook as _;
use ridgeline_vault::{AgentRegistry, VerifyingKey};
use tokio_util::sync::CancellationToken;

use crate::agents_file::AgentsFile;

/// How often the file is looked at. A worker that meets an unknown agent looks at once.
const LOOK: Duration = Duration::from_secs(1);

/// The registry of a process. Clones share it.
#[derive(Clone)]
pub(crate) struct Agents {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Arc<RwLock<AgentRegistry>>,
    file: Arc<AgentsFile>,
    /// Sources of this process that stand in no file.
    own: Mutex<Vec<Source>>,
    /// Size and time of the file as last read. Held while it is read, so that an older reading never replaces a younger one.
    seen: Mutex<Option<Stamp>>,
}

type Stamp = (u64, Option<SystemTime>);

#[derive(Clone)]
struct Source {
    id: AgentId,
    key: VerifyingKey,
    operations: Vec<Operation>,
}

impl Agents {
    /// Reads the file; it need not exist.
    ///
    /// # Errors
    /// An entry that cannot be read.
    pub(crate) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let inner = Inner {
            registry: Arc::new(RwLock::new(AgentRegistry::new())),
            file: Arc::new(AgentsFile::at(path)),
            own: Mutex::new(Vec::new()),
            seen: Mutex::new(None),
        };
        let agents = Self { inner: Arc::new(inner) };
        agents.read(&mut agents.inner.seen.lock())?;
        Ok(agents)
    }

    /// What verifies signatures.
    pub(crate) fn registry(&self) -> Arc<RwLock<AgentRegistry>> {
        self.inner.registry.clone()
    }

    /// What operators write to.
    pub(crate) fn file(&self) -> Arc<AgentsFile> {
        self.inner.file.clone()
    }

    /// Makes a source of this process known to this process alone.
    ///
    /// # Errors
    /// If the id is taken.
    pub(crate) fn add_own(&self, id: AgentId, key: VerifyingKey, operations: &[Operation]) -> anyhow::Result<()> {
        self.inner.registry.write().insert(id.clone(), key, operations.iter().copied())?;
        self.inner.own.lock().push(Source { id, key, operations: operations.to_vec() });
        Ok(())
    }

    /// Makes a source known to every process that reads the file; one that stands there with the same key is left.
    ///
    /// # Errors
    /// If the id stands there with another key, or the file cannot be written.
    pub(crate) fn publish(&self, id: &AgentId, key: &VerifyingKey, operations: &[Operation]) -> anyhow::Result<()> {
        let file = self.inner.file.path().display();
        if !self.knows(id, key)? {
            let added = self.inner.file.add(id, key, operations);
            added.with_context(|| format!("{id} cannot be added to agents file {file}"))?;
            self.read(&mut self.inner.seen.lock())?;
        }
        Ok(())
    }

    /// Whether the source stands in the file with this key.
    ///
    /// # Errors
    /// If it stands there with another one.
    pub(crate) fn knows(&self, id: &AgentId, key: &VerifyingKey) -> anyhow::Result<bool> {
        match self.inner.registry.read().key(id) {
            None => Ok(false),
            Some(known) if known == key => Ok(true),
            Some(_) => {
                let file = self.inner.file.path().display();
                bail!("agents file {file} knows {id} by another key; choose another name for this process")
            }
        }
    }

    /// Reads the file again if it has changed. One that cannot be read leaves everything as it is.
    pub(crate) fn refresh(&self) {
        let mut seen = self.inner.seen.lock();
        if *seen == self.stamp() {
            return;
        }
        match self.read(&mut seen) {
            Ok(()) => tracing::info!(agents = self.inner.registry.read().len(), "agents file read again"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the agents file cannot be read; the known agents stay");
            }
        }
    }

    /// Looks at the file until `stop`.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = look.tick() => {}
            }
            let own = self.clone();
            // A panic there would be a fault of the file's reader, and the known agents stay.
            let _ = tokio::task::spawn_blocking(move || own.refresh()).await;
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let metadata = std::fs::metadata(self.inner.file.path()).ok()?;
        Some((metadata.len(), metadata.modified().ok()))
    }

    fn read(&self, seen: &mut Option<Stamp>) -> anyhow::Result<()> {
        *seen = self.stamp();
        let mut fresh = AgentRegistry::new();
        for source in self.inner.own.lock().iter() {
            fresh.insert(source.id.clone(), source.key, source.operations.iter().copied())?;
        }
        self.inner.file.load(&mut fresh)?;
        *self.inner.registry.write() = fresh;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ridgeline_runtime::SystemEntropy;
    use ridgeline_vault::SigningKey;

    use super::*;

    fn key() -> VerifyingKey {
        SigningKey::generate(&SystemEntropy).unwrap().verifying_key()
    }

    #[test]
    fn what_another_process_adds_is_known_after_a_look_and_what_it_breaks_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agents.toml");
        let (one, other) = (Agents::open(path.clone()).unwrap(), Agents::open(path.clone()).unwrap());
        let (own, gate): (AgentId, AgentId) = ("gateway:a".parse().unwrap(), "gate-7".parse().unwrap());
        one.add_own(own.clone(), key(), Operation::ALL).unwrap();
        let gate_key = key();
        other.publish(&gate, &gate_key, &[Operation::Verify]).unwrap();
        other.publish(&gate, &gate_key, &[Operation::Verify]).unwrap();
        one.refresh();
        let known = |agents: &Agents, id: &AgentId| agents.registry().read().key(id).is_some();
        assert!(known(&one, &gate) && known(&one, &own) && !known(&other, &own));
        assert!(one.publish(&gate, &key(), &[]).is_err(), "an id stands for one key");
        std::fs::write(&path, "[[agent]]\nid = 7").unwrap();
        one.refresh();
        assert!(known(&one, &gate), "a broken file changes nothing");
        std::fs::write(&path, "").unwrap();
        one.refresh();
        assert!(!known(&one, &gate) && known(&one, &own), "a removed agent is no longer believed");
    }
}
