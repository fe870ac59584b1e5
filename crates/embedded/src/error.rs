//! Why the directory could not be opened or used, and how storage errors appear at the ports.

use std::path::PathBuf;

use ridgeline_ports::{LogError, StoreError};

/// Why the embedded log and store could not be opened or swept.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Someone else has the directory open.
    #[error("data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The directory or its lock file cannot be made or opened.
    #[error("cannot open data directory {}", .dir.display())]
    Directory {
        /// Which directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A storage operation failed.
    #[error("storage failed")]
    Storage(#[from] fjall::Error),
    /// What was read is not what was written.
    #[error("stored data is damaged: {0}")]
    Corrupt(&'static str),
    /// A background thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// It was shut down.
    #[error("the data directory was closed")]
    Closed,
}

impl EmbeddedError {
    fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt(_) => true,
            Self::Storage(error) => !matches!(
                error,
                fjall::Error::Io(_)
                    | fjall::Error::Storage(fjall::LsmError::Io(_))
                    | fjall::Error::Poisoned
                    | fjall::Error::Locked
            ),
            Self::InUse(_) | Self::Directory { .. } | Self::Thread(_) | Self::Closed => false,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Storage(fjall::Error::Poisoned) => {
                "an earlier write failed; restart once the disk has room and works".into()
            }
            Self::Storage(source) => format!("{self}: {source}"),
            other => other.to_string(),
        }
    }
}

macro_rules! into_port_error {
    ($port:ident) => {
        impl From<&EmbeddedError> for $port {
            fn from(error: &EmbeddedError) -> Self {
                if error.is_damage() { Self::Corrupt(error.text()) } else { Self::Unavailable(error.text()) }
            }
        }
        impl From<EmbeddedError> for $port {
            fn from(error: EmbeddedError) -> Self {
                Self::from(&error)
            }
        }
    };
}
into_port_error!(LogError);
into_port_error!(StoreError);
