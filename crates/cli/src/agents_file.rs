//! `agents.toml`: the capture agents a data directory knows, written by the admin port or by people.
//!
//! ```toml
//! [[agent]]
//! id = "gate-7"
//! public_key = "…"            # 44 characters, as `ridgeline agent` prints it, or PEM
//! operations = ["verify"]
//! ```

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ridgeline_domain::{AgentId, Operation};
use ridgeline_gateway::AgentBook;
use ridgeline_vault::{AgentRegistry, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::keys::replace;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    #[serde(default)]
    agent: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    public_key: String,
    operations: Vec<String>,
}

/// The file of a data directory.
pub(crate) struct AgentsFile {
    path: PathBuf,
}

impl AgentsFile {
    /// The file at `path`; it need not exist.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds every agent of the file to `registry`.
    ///
    /// # Errors
    /// An entry that cannot be read, or an id that is taken.
    pub(crate) fn load(&self, registry: &mut AgentRegistry) -> anyhow::Result<()> {
        let context = || format!("agents file {}", self.path.display());
        for entry in self.read().with_context(context)?.agent {
            let context = || format!("{}, agent {:?}", context(), entry.id);
            let id: AgentId = entry.id.parse().with_context(context)?;
            let key: VerifyingKey = entry.public_key.parse().with_context(context)?;
            let operations = entry.operations.iter().map(|word| word.parse::<Operation>());
            let operations: Vec<_> = operations.collect::<Result<_, _>>().with_context(context)?;
            registry.insert(id, key, operations).with_context(context)?;
        }
        Ok(())
    }

    fn read(&self) -> anyhow::Result<Book> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(toml::from_str(&text)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Book::default()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AgentBook for AgentsFile {
    fn add(&self, id: &AgentId, key: &VerifyingKey, operations: &[Operation]) -> std::io::Result<()> {
        // Released with the file. Other processes write here too, and each replaces the whole file.
        let mut beside = self.path.as_os_str().to_owned();
        beside.push(".lock");
        let writing = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(beside)?;
        writing.lock()?;
        let mut book = self.read().map_err(std::io::Error::other)?;
        // Two requests for one id may both have passed the look into the registry; a file with both would keep the next start from succeeding.
        if book.agent.iter().any(|known| known.id == id.as_str()) {
            return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "the agent is registered already"));
        }
        book.agent.push(Entry {
            id: id.to_string(),
            public_key: key.to_string(),
            operations: operations.iter().map(ToString::to_string).collect(),
        });
        let text = toml::to_string(&book).map_err(std::io::Error::other)?;
        replace(&self.path, &text, 0o600).map_err(std::io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use ridgeline_runtime::SystemEntropy;
    use ridgeline_vault::SigningKey;

    use super::*;

    #[test]
    fn what_is_added_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = AgentsFile::at(dir.path().join("agents.toml"));
        let mut registry = AgentRegistry::new();
        file.load(&mut registry).unwrap();
        assert!(registry.is_empty());
        let key = SigningKey::generate(&SystemEntropy).unwrap().verifying_key();
        for id in ["gate-7", "gate-8"] {
            file.add(&id.parse().unwrap(), &key, &[Operation::Verify]).unwrap();
        }
        AgentsFile::at(dir.path().join("agents.toml")).load(&mut registry).unwrap();
        let id = "gate-8".parse().unwrap();
        assert!(registry.key(&id) == Some(&key));
        assert!(registry.allows(&id, Operation::Verify) && !registry.allows(&id, Operation::Enrol));
        assert!(file.load(&mut registry).is_err(), "an id stands for one key");
    }

    #[test]
    fn a_wrong_entry_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[[agent]]\nid = \"gate-7\"\npublic_key = \"AAAA\"\noperations = [\"verify\"]\n";
        std::fs::write(dir.path().join("agents.toml"), text).unwrap();
        let error = AgentsFile::at(dir.path().join("agents.toml")).load(&mut AgentRegistry::new()).unwrap_err();
        assert!(format!("{error:#}").contains("gate-7"), "{error:#}");
    }

    #[test]
    fn writers_of_several_processes_lose_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agents.toml");
        let key = SigningKey::generate(&SystemEntropy).unwrap().verifying_key();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (path, id) = (path.clone(), format!("gate-{number}"));
                // Each has a file of its own, as another process would.
                scope
                    .spawn(move || AgentsFile::at(path).add(&id.parse().unwrap(), &key, &[Operation::Verify]).unwrap());
            }
        });
        let mut registry = AgentRegistry::new();
        AgentsFile::at(path).load(&mut registry).unwrap();
        assert_eq!(registry.len(), 8);
    }
}
