//! What the shell has gathered and measured before anything is decided.

use ridgeline_domain::{Confidence, Fmr, Operation, Policy, Position, RequestId, SubjectId, Timestamp};
use ridgeline_fingerprint::Template;

/// The surroundings of a decision.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// The rules of the deployment.
    pub policy: &'a Policy,
    /// The record's append time.
    pub now: Timestamp,
    /// The smallest false match rate that the calibration data supports.
    pub supported: Fmr,
}

/// A request whose record was verified and opened.
#[derive(Debug, Clone)]
pub struct Request {
    /// Confirmation id.
    pub id: RequestId,
    /// What is asked.
    pub operation: Operation,
    /// Whom it is about.
    pub subject: Option<SubjectId>,
    /// Which finger.
    pub position: Position,
    /// When the sample was taken, by the agent's clock.
    pub captured_at: Timestamp,
    /// The log must have appended the record before this time.
    pub valid_until: Timestamp,
    /// Whether the agent may ask for this.
    pub granted: bool,
    /// Hold samples to the recommended quality.
    pub strict: bool,
    /// Raises the accept bound.
    pub threshold: Option<Confidence>,
}

/// Why a sample gives no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Cannot be decoded.
    Undecodable,
    /// Shows no friction ridges, or too little of them.
    NotAFingerprint,
}

/// A sample turned into something comparable.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its minutiae; carries the quality.
    pub template: Template,
    /// Of the image it came from, also when it came back as a sealed template; of the minutiae themselves where there was none.
    pub image: ImageDigests,
}

/// Keyed digests of an image: as the engine saw it, and as it came before cropping and scaling. Either is enough to know it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageDigests {
    /// Of the canonical pixels.
    pub seen: [u8; 32],
    /// Of the pixels as they came, where the sealing party stated them.
    pub source: [u8; 32],
}

impl ImageDigests {
    /// Both, as stored.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        [self.seen, self.source].concat()
    }

    /// Reads what `to_bytes` wrote; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (seen, source) = bytes.split_at_checked(32)?;
        Some(Self { seen: seen.try_into().ok()?, source: source.try_into().ok()? })
    }

    /// Whether both are of one image.
    #[must_use]
    pub fn is_same_image(&self, other: &Self) -> bool {
        self.seen == other.seen || self.source == other.source
    }
}

impl Probe {
    /// 0–100.
    #[must_use]
    pub fn quality(&self) -> u8 {
        self.template.quality().value()
    }
}

/// A template that this service returned, handed back.
#[derive(Debug, Clone)]
pub struct SealedProbe {
    /// Whether it is a probe; a reference is what enrolment returned and proves nothing about a live finger.
    pub is_probe: bool,
    /// Its identity.
    pub id: [u8; 16],
    /// Whom it is bound to.
    pub subject: Option<SubjectId>,
    /// When it was made.
    pub made_at: Timestamp,
    /// Which request used it up, if one did.
    pub used_by: Option<RequestId>,
    /// The template and the image it came from, if it is of this engine and authentic.
    pub probe: Option<Probe>,
}

/// One sample of a request, measured.
#[derive(Debug, Clone)]
pub enum Sample {
    /// An image, extracted; or minutiae of another system, taken over.
    Image(Result<Probe, Unusable>),
    /// A sealed template.
    Sealed(SealedProbe),
}
