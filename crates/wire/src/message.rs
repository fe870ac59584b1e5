//! The values of the topics. `Debug` is left out where a value holds ciphertext or ids that have no place in a log line.

use ridgeline_domain::{
    AgentId, DecidedOperation, ErrorCode, Liveness, Modality, Operation, Outcome, Position, ReaderId, Reason,
    RequestId, ScanBinding, SubjectId, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::text::{display, display_list, display_opt, display_or_none, millis};

/// HPKE ciphertext for one key of the matchers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedPart {
    /// Which of the matchers' keys it is sealed to.
    pub key_id: String,
    /// Encapsulated key, then ciphertext.
    #[serde(with = "apache_avro::serde::bytes")]
    pub sealed: Vec<u8>,
}

/// `scans`: a request to the pipeline.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// Confirmation id.
    #[serde(with = "display")]
    pub request_id: RequestId,
    /// Who signed it.
    #[serde(with = "display")]
    pub agent: AgentId,
    /// The device the samples came from.
    #[serde(with = "display_opt")]
    pub reader: Option<ReaderId>,
    /// What is asked.
    #[serde(with = "display")]
    pub operation: Operation,
    /// Whom it is about.
    #[serde(with = "display_opt")]
    pub subject_id: Option<SubjectId>,
    /// When the sample was taken, by the agent's clock.
    #[serde(with = "millis")]
    pub captured_at: Timestamp,
    /// The log must have appended the record before this time.
    #[serde(with = "millis")]
    pub valid_until: Timestamp,
    /// The samples, each sealed on its own.
    pub samples: Vec<SealedPart>,
    /// Sealed [`crate::row::ScanDetails`].
    pub details: Option<SealedPart>,
    /// Signed capture ticket, where the scan was commanded.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub ticket: Option<Vec<u8>>,
    /// ES256 over ids, operation, subject, time and the digest of all sealed bytes.
    #[serde(with = "apache_avro::serde::bytes")]
    pub agent_signature: Vec<u8>,
}

impl Scan {
    /// The key it must lie under: everything about one subject in one lane; what is about nobody yet under its own id.
    #[must_use]
    pub fn key(&self) -> String {
        match &self.subject_id {
            Some(subject) if self.operation.needs_subject() => subject.to_string(),
            _ => self.request_id.to_string(),
        }
    }

    /// What its samples are sealed and signed for.
    #[must_use]
    pub fn binding(&self) -> ScanBinding {
        ScanBinding {
            request_id: self.request_id,
            agent: self.agent.clone(),
            operation: self.operation,
            subject: self.subject_id.clone(),
            captured_at: self.captured_at,
            valid_until: self.valid_until,
        }
    }

    /// All sealed parts in the order in which the signature's digest takes them: samples, then details.
    pub fn sealed_parts(&self) -> impl Iterator<Item = &[u8]> {
        self.samples.iter().chain(&self.details).map(|part| part.sealed.as_slice())
    }
}

/// `gallery`: a subject's whole template set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gallery {
    /// Whose templates.
    #[serde(with = "display")]
    pub subject_id: SubjectId,
    /// Version of the subject's row this was built from.
    pub version: i64,
    /// Engine name and version.
    pub engine: String,
    /// When the subject's row was written.
    #[serde(with = "millis")]
    pub updated_at: Timestamp,
    /// Ciphertext: attributes that searches filter by.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub attributes: Option<Vec<u8>>,
    /// Ciphertext: [`crate::row::TemplateSet`].
    #[serde(with = "apache_avro::serde::bytes")]
    pub templates: Vec<u8>,
}

/// Restricts a search to part of the gallery; an empty list restricts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GalleryFilter {
    /// Departments.
    pub departments: Vec<String>,
    /// Sites.
    pub sites: Vec<String>,
    /// Finger positions.
    #[serde(with = "display_list")]
    pub positions: Vec<Position>,
    /// Subjects.
    #[serde(with = "display_list")]
    pub subject_ids: Vec<SubjectId>,
}

/// `probes`: a template to be searched by every gallery shard.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Confirmation id.
    #[serde(with = "display")]
    pub request_id: RequestId,
    /// `identify` or `dedup`.
    pub mode: String,
    /// Engine name and version of the templates.
    pub engine: String,
    /// Answers after this time are not waited for.
    #[serde(with = "millis")]
    pub deadline: Timestamp,
    /// Per gallery partition: the offset a shard must have applied before it answers.
    pub gallery_offsets: Vec<i64>,
    /// Restricts the search.
    pub filter: Option<GalleryFilter>,
    /// How many candidates a shard returns at most.
    pub top_k: i32,
    /// Ciphertext: [`crate::row::TemplateSet`] of the probe's samples.
    #[serde(with = "apache_avro::serde::bytes")]
    pub template: Vec<u8>,
}

/// `partials`: either the announcement of a search or one shard's part of its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partials {
    /// Confirmation id.
    #[serde(with = "display")]
    pub request_id: RequestId,
    /// Announcement by the matcher.
    pub opened: Option<Opened>,
    /// Answer of a shard.
    pub partial: Option<Partial>,
}

/// A search exists; what the merger needs to judge and answer it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// `identify` or `dedup`.
    pub mode: String,
    /// The operation of the scan.
    #[serde(with = "display")]
    pub operation: Operation,
    /// Kind of biometric characteristic.
    #[serde(with = "display")]
    pub modality: Modality,
    /// Who signed the scan.
    #[serde(with = "display")]
    pub agent: AgentId,
    /// The device.
    #[serde(with = "display_opt")]
    pub reader: Option<ReaderId>,
    /// Public id of the API key that asked.
    pub api_key: Option<String>,
    /// Engine name and version.
    pub engine: String,
    /// Per sample, 0–100.
    pub quality: Vec<i32>,
    /// Set by the matcher.
    #[serde(with = "display")]
    pub liveness: Liveness,
    /// Raises the accept bound.
    pub threshold_confidence: Option<f64>,
    /// How many candidates to return.
    pub top_k: i32,
    /// Append time of the scan; the `now` of its decision.
    #[serde(with = "millis")]
    pub accepted_at: Timestamp,
    /// From the scan.
    #[serde(with = "millis")]
    pub valid_until: Timestamp,
    /// Open a session after a match.
    pub session_requested: bool,
    /// Required offset per gallery partition; their number is the coverage total.
    pub gallery_offsets: Vec<i64>,
    /// How long after this record's append time the merger waits for shards, in milliseconds.
    pub wait_ms: i64,
}

/// What one shard found in the partitions it owns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partial {
    /// Which member answered.
    pub shard: String,
    /// Gallery partitions this answer covers.
    pub partitions: Vec<i32>,
    /// Per covered partition: applied up to this offset when it was searched.
    pub through_offsets: Vec<i64>,
    /// Per covered partition: templates compared.
    pub compared: Vec<i64>,
    /// Best first.
    pub candidates: Vec<PartialCandidate>,
}

/// A subject worth considering.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialCandidate {
    /// Who.
    #[serde(with = "display")]
    pub subject_id: SubjectId,
    /// Which finger.
    #[serde(with = "display")]
    pub position: Position,
    /// False match rate of the comparison alone, (0, 1].
    pub fmr: f64,
    /// Gallery partition it was found in.
    pub partition: i32,
    /// The probe is byte-equal to an image this subject was enrolled from (V-4).
    pub replay: bool,
}

/// `decisions`: how a request ended. Public.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Confirmation id.
    #[serde(with = "display")]
    pub confirmation_id: RequestId,
    /// What was asked.
    #[serde(with = "display")]
    pub operation: DecidedOperation,
    /// Kind of biometric characteristic; `none` for what has nothing to do with one.
    #[serde(with = "display_or_none")]
    pub modality: Option<Modality>,
    /// How it ended.
    #[serde(with = "display")]
    pub outcome: Outcome,
    /// Why it was refused or failed.
    #[serde(with = "display_opt")]
    pub reason: Option<Reason>,
    /// The subject that was enrolled, verified, found or deleted.
    #[serde(with = "display_opt")]
    pub subject_id: Option<SubjectId>,
    /// Who signed the scan.
    #[serde(with = "display")]
    pub agent: AgentId,
    /// The device.
    #[serde(with = "display_opt")]
    pub reader: Option<ReaderId>,
    /// Per sample, 0–100.
    pub quality: Vec<i32>,
    /// 0–100, of an accept only.
    pub confidence: Option<f64>,
    /// `synthetic` or `extrapolated`.
    pub confidence_basis: Option<String>,
    /// Set by the matcher.
    #[serde(with = "display")]
    pub liveness: Liveness,
    /// Of a search.
    pub coverage: Option<Coverage>,
    /// Engine name and version.
    pub engine: String,
    /// Version of the subject's templates it used or made.
    pub gallery_version: Option<i64>,
    /// The request asked for a session after a match.
    pub session_requested: bool,
    /// A relying party must refuse the decision after this time.
    #[serde(with = "millis")]
    pub valid_until: Timestamp,
    /// The time it was judged for.
    #[serde(with = "millis")]
    pub evaluated_at: Timestamp,
    /// When it was first stored.
    #[serde(with = "millis")]
    pub decided_at: Timestamp,
    /// From append to decision, milliseconds.
    pub duration_ms: i64,
}

/// How much of the gallery a search saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Partitions searched.
    pub searched: i32,
    /// Partitions there are.
    pub total: i32,
    /// Templates compared.
    pub templates: i64,
    /// Partitions not searched.
    pub missing: Vec<i32>,
}

/// `audit`: something happened that must be accounted for. Public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Derived from the request id.
    pub event_id: String,
    /// `biometric.<operation>` or `record.refused`.
    pub event_type: String,
    /// Append time of the record it is about.
    #[serde(with = "millis")]
    pub occurred_at: Timestamp,
    /// Confirmation id.
    #[serde(with = "display_opt")]
    pub request_id: Option<RequestId>,
    /// The agent, or `unverified`.
    pub actor: String,
    /// The device.
    #[serde(with = "display_opt")]
    pub reader: Option<ReaderId>,
    /// Whom it is about.
    #[serde(with = "display_opt")]
    pub subject_id: Option<SubjectId>,
    /// What was asked.
    #[serde(with = "display_opt")]
    pub operation: Option<Operation>,
    /// As in the decision; `refused` for a record that got none.
    pub outcome: String,
    /// Why.
    pub reason: Option<String>,
    /// Ciphertext: further facts for investigators.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub details: Option<Vec<u8>>,
}

/// `dead-letters`: a record that could not be processed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Where it was.
    pub topic: String,
    /// Which partition.
    pub partition: i32,
    /// Which offset.
    pub offset: i64,
    /// When it was appended.
    #[serde(with = "millis")]
    pub append_time: Timestamp,
    /// Which worker gave it up.
    pub role: String,
    /// Why.
    #[serde(with = "display")]
    pub code: ErrorCode,
    /// What was wrong, without content.
    pub detail: String,
    /// How often it was tried.
    pub attempts: i32,
    /// Ciphertext: [`crate::row::Original`].
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub original: Option<Vec<u8>>,
}
