//! How a request ended, before ids and times are written beside it.

use ridgeline_domain::{Candidate, Confidence, ConfidenceBasis, Coverage, Outcome, Reason, SubjectId, Verdict};

use crate::request::State;

/// The content of a decision. The public record shows a confidence of an accept only; the rest is for the asking caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused.
    pub reason: Option<Reason>,
    /// Whom it is about, or who was found.
    pub subject: Option<SubjectId>,
    /// Per sample, 0–100.
    pub quality: Vec<u8>,
    /// What may be shown of the evidence.
    pub confidence: Option<(Confidence, ConfidenceBasis)>,
    /// Best first; for callers with permission to analyse.
    pub candidates: Vec<Candidate>,
    /// Of a search.
    pub coverage: Option<Coverage>,
}

impl Judgement {
    /// An ending without comparison.
    #[must_use]
    pub const fn plain(outcome: Outcome, subject: Option<SubjectId>, quality: Vec<u8>) -> Self {
        Self { outcome, reason: None, subject, quality, confidence: None, candidates: Vec::new(), coverage: None }
    }

    /// A refusal.
    #[must_use]
    pub fn rejected(reason: Reason, subject: Option<SubjectId>, quality: Vec<u8>) -> Self {
        Self { reason: Some(reason), ..Self::plain(Outcome::Rejected, subject, quality) }
    }

    /// The pipeline could not process the record.
    #[must_use]
    pub fn failed(reason: Reason, subject: Option<SubjectId>) -> Self {
        Self { reason: Some(reason), ..Self::plain(Outcome::Failed, subject, Vec::new()) }
    }

    /// The ending of a 1:1 comparison: `match` exactly if the verdict is an accept.
    #[must_use]
    pub fn compared(state: &State<'_>, verdict: Verdict, subject: Option<SubjectId>, quality: Vec<u8>) -> Self {
        let outcome = if verdict.is_accept() { Outcome::Match } else { Outcome::NoMatch };
        Self { confidence: Some(verdict.confidence().shown(state.supported)), ..Self::plain(outcome, subject, quality) }
    }

    /// Whether it says that somebody was recognised.
    #[must_use]
    pub fn is_match(&self) -> bool {
        self.outcome == Outcome::Match
    }
}
