//! Why a phone cannot do what it is asked to.

use std::path::PathBuf;

use ridgeline_vault::VaultError;

use crate::{ClientError, ConfirmationState};

/// A refusal by the phone itself, or by the service.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// The file cannot be read or written, others may read it, or a key cannot be made.
    #[error(transparent)]
    File(#[from] VaultError),
    /// The file is cut short, was edited, or is something else.
    #[error("{} is not a phone's file, or it is damaged (line {line})", path.display())]
    NotAPhone {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense, from 1.
        line: usize,
    },
    /// The file belongs to another version of this program.
    #[error("{} has version {found} of a phone's file; this program reads version {known}", path.display())]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The one version that is read.
        known: u64,
    },
    /// Another process works with the file.
    #[error("another process is working with {}", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be locked.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock's own file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There is no device yet.
    #[error("this phone is not registered")]
    NotRegistered,
    /// There is no session.
    #[error("this phone is not signed in")]
    NotSignedIn,
    /// The session is over and cannot be prolonged.
    #[error("the session is over: sign in again")]
    SessionOver,
    /// The service does not prolong the session.
    #[error(
        "the service has ended the session: sign in again; if that fails too, the device was removed or its clock is wrong"
    )]
    SessionEnded(#[source] ClientError),
    /// The service may have replaced the refresh token, and gives its answer no more. To present the old token now would
    /// look like a theft.
    #[error("the answer to a refresh was lost: sign in again")]
    AnswerLost,
    /// The service asks for the signature of something else than a challenge of this kind. It is not signed.
    #[error("the service sent no challenge of a registration or login: nothing was signed")]
    NoPlainChallenge,
    /// Only what is pending can be approved.
    #[error("the confirmation is {0}")]
    NotPending(ConfirmationState),
    /// A confirmation came without its challenge.
    #[error("the service sent no challenge with the confirmation: nothing was signed")]
    NoChallenge,
    /// The challenge approves something else than what is shown. It is not signed.
    #[error(
        "the challenge does not belong to the action that is shown: nothing was signed. Do not approve it elsewhere"
    )]
    OtherAction,
    /// The service answered about another device.
    #[error("the service signed another device in")]
    OtherDevice,
    /// A call failed.
    #[error(transparent)]
    Call(#[from] ClientError),
}
