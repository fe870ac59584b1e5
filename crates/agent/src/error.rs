//! Why an agent cannot go on. No variant carries content.

use std::path::PathBuf;

use ridgeline_vault::VaultError;
use ridgeline_wire::WireError;

/// A failure of the spool or of the agent itself.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A file or folder could not be used.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another agent uses the spool.
    #[error("the spool {} is in use by another agent", .0.display())]
    SpoolInUse(PathBuf),
    /// The spool has no room for the record.
    #[error("the spool is full")]
    SpoolFull,
    /// Encryption failed, or its key is missing.
    #[error("cannot encrypt or decrypt a spooled record")]
    Vault(#[source] VaultError),
    /// A record could not be encoded.
    #[error("cannot encode a spooled record")]
    Wire(#[source] WireError),
    /// A background thread ended early.
    #[error("a background thread of the agent ended")]
    Thread,
}
