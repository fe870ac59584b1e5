//! What a request ends in.

use crate::{AuthOperation, Confidence, Operation, Position, SubjectId, UnknownWord, words};

words! {
    /// The outcome of a request, as published on `decisions`.
    Outcome as "outcome" {
        /// Templates were stored.
        Enrolled = "enrolled",
        /// The claimed or found subject is the one.
        Match = "match",
        /// Everything was compared and nothing reached the bound.
        NoMatch = "no_match",
        /// More than one subject reached the bound.
        Ambiguous = "ambiguous",
        /// Not the whole gallery was searched; says nothing about the rest (D-4).
        Incomplete = "incomplete",
        /// A sealed probe was made.
        Extracted = "extracted",
        /// The subject was forgotten.
        Deleted = "deleted",
        /// The auth workers did what was asked.
        Granted = "granted",
        /// Refused by a rule; `reason` says which.
        Rejected = "rejected",
        /// The pipeline could not process the record; `reason` says why.
        Failed = "failed",
    }
}

/// What a decision answers: a scan, or something asked of the auth workers. Their words never coincide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DecidedOperation {
    /// Of a scan.
    Scan(Operation),
    /// Of the auth workers.
    Auth(AuthOperation),
}

impl DecidedOperation {
    /// The one spelling on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scan(operation) => operation.as_str(),
            Self::Auth(operation) => operation.as_str(),
        }
    }
}

impl std::fmt::Display for DecidedOperation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for DecidedOperation {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        word.parse().map(Self::Auth).or_else(|_| word.parse().map(Self::Scan))
    }
}

words! {
    /// Why a request was refused or failed.
    Reason as "reason" {
        /// A sample is below the quality threshold of its operation.
        LowQuality = "low_quality",
        /// A sample shows no friction ridges.
        NotAFingerprint = "not_a_fingerprint",
        /// A sample or record could not be decoded or opened.
        Undecodable = "undecodable",
        /// Nobody is enrolled under the subject id.
        UnknownSubject = "unknown_subject",
        /// The finger is already enrolled under another subject.
        DuplicateSubject = "duplicate_subject",
        /// Too many failures; try later.
        Locked = "locked",
        /// The record reached the log after its `valid_until`.
        Expired = "expired",
        /// A presentation attack, or liveness could not be assessed where it must be.
        Liveness = "liveness",
        /// The samples of one enrolment are not of one finger.
        InconsistentSamples = "inconsistent_samples",
        /// Something enrolled, used or too old was presented as a fresh sample (V-4).
        Replay = "replay",
        /// The agent may not ask for this operation.
        UnauthorisedSource = "unauthorised_source",
        /// A sealed template of another subject, engine or key.
        TemplateIncompatible = "template_incompatible",
        /// A fault on our side.
        Internal = "internal",
    }
}

words! {
    /// Presentation attack detection, set by the matcher only.
    Liveness as "liveness" {
        /// Judged live.
        Live = "live",
        /// Judged an attack; never accepted.
        Spoof = "spoof",
        /// No detector looked at it.
        NotAssessed = "not_assessed",
    }
}

/// How much of the gallery a search saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Gallery partitions searched through their required offset.
    pub searched: u32,
    /// Gallery partitions there are.
    pub total: u32,
    /// Templates compared.
    pub templates: u64,
    /// Partitions that were not searched, ascending.
    pub missing: Vec<u32>,
}

impl Coverage {
    /// Whether every partition was searched (D-4).
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.searched == self.total && self.missing.is_empty() && self.total > 0
    }
}

/// A subject found by a search, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Who.
    pub subject: SubjectId,
    /// Which of the enrolled fingers.
    pub position: Position,
    /// Judged with all comparisons of the search.
    pub confidence: Confidence,
}

/// How a comparison was judged. `Accept` is built by `Policy::judge` alone (V-1); the constructor is private to this crate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    accepted: bool,
    confidence: Confidence,
}

impl Verdict {
    pub(crate) const fn new(accepted: bool, confidence: Confidence) -> Self {
        Self { accepted, confidence }
    }

    /// Whether the comparison is an accept.
    #[must_use]
    pub const fn is_accept(self) -> bool {
        self.accepted
    }

    /// The evidence it was judged by.
    #[must_use]
    pub const fn confidence(self) -> Confidence {
        self.confidence
    }
}
