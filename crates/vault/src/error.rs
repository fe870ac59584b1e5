//! Why the vault refused. No variant carries a key, a plaintext or bytes of a ciphertext.

use std::path::PathBuf;

use ridgeline_ports::Disposition;

use crate::{KeyVersion, Purpose};

/// A refusal of the vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The bytes or the text do not have the documented form.
    #[error("this is not a well-formed {what}")]
    Malformed {
        /// What was being read, for instance `ciphertext`.
        what: &'static str,
    },
    /// An input is longer than its limit.
    #[error("the {what} is longer than {bytes_max} bytes")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its limit in bytes.
        bytes_max: usize,
    },
    /// An input is shorter than it must be.
    #[error("the {what} is shorter than {bytes_min} bytes")]
    TooShort {
        /// What is too short.
        what: &'static str,
        /// Its least length in bytes.
        bytes_min: usize,
    },
    /// The key ring has no such version; a ring that was rotated elsewhere may not have arrived here yet.
    #[error("the key ring has no `{purpose}` key of version {version}")]
    UnknownKey {
        /// The purpose that was asked for.
        purpose: Purpose,
        /// The version that the ciphertext names.
        version: KeyVersion,
    },
    /// A sample or command is sealed to a key that this ring does not hold.
    #[error("this is sealed to a key that the key ring does not hold")]
    UnknownSealingKey,
    /// The ring was made before devices could be authenticated.
    #[error(
        "the key ring has no key pair for commands to the auth workers: add one to its file, then give every process that file"
    )]
    NoCommandKeys,
    /// No agent of that id is registered.
    #[error("the agent is not registered")]
    UnknownAgent,
    /// An agent of that id is registered already.
    #[error("the agent is registered twice")]
    DuplicateAgent,
    /// Key, associated data, tag or signature do not belong together. Which of them is not told.
    #[error("the authenticity check failed")]
    Authentication,
    /// The random source repeats itself: no key can be made from it.
    #[error("the random source does not give usable randomness")]
    Randomness,
    /// The key ring file is damaged or was edited.
    #[error("key ring line {line}: {problem}")]
    KeyRing {
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A key file that others may read is not trusted.
    #[error("the key file {} can be read or changed by others (mode {mode:03o}): run `chmod 600 {}`; if others could read it, rotate its keys", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file could not be read or written.
    #[error("cannot {action} the key file {}", path.display())]
    File {
        /// What was attempted, for instance `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl VaultError {
    /// What the runtime does about it.
    ///
    /// A missing ring key is retried, because a rotation reaches the processes one after the other and a record that
    /// is judged before the key arrives would be judged wrongly for ever.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::UnknownKey { .. } => Disposition::Retry,
            Self::Malformed { .. }
            | Self::TooLong { .. }
            | Self::TooShort { .. }
            | Self::UnknownSealingKey
            | Self::UnknownAgent
            | Self::DuplicateAgent
            | Self::Authentication => Disposition::Poison,
            Self::NoCommandKeys
            | Self::Randomness
            | Self::KeyRing { .. }
            | Self::Exposed { .. }
            | Self::File { .. } => Disposition::Fatal,
        }
    }
}
