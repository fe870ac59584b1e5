//! Rows of the store and encodings that only ever exist sealed or encrypted inside other values. No `Debug` on what holds biometrics.

use std::collections::BTreeMap;

use ridgeline_domain::{AgentId, Modality, Operation, Position, RequestId, SubjectId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::message::GalleryFilter;
use crate::text::{display, display_list, millis};

/// What a scan asks for beside its clear header; travels sealed inside the record.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanDetails {
    /// Kind of biometric characteristic.
    #[serde(with = "display")]
    pub modality: Modality,
    /// Finger position.
    #[serde(with = "display")]
    pub position: Position,
    /// Per sample: `image` (8-bit grey PNG with its resolution) or `sealed` (template made by this service).
    pub formats: Vec<String>,
    /// Per sample: SHA-256 over size and pixels as they came, before cropping and scaling; empty for a sealed template.
    pub source_digests: Vec<Digest>,
    /// Raises the accept bound; cannot lower it.
    pub threshold_confidence: Option<f64>,
    /// How many candidates to return, 1–100.
    pub top_k: Option<i32>,
    /// Search for the finger under other subjects before enrolling.
    pub dedup: bool,
    /// Hold samples to the recommended quality.
    pub strict_quality: bool,
    /// Restricts an identification.
    pub filter: Option<GalleryFilter>,
    /// Stored encrypted with the subject.
    pub metadata: BTreeMap<String, String>,
    /// Public id of the API key that asked.
    pub api_key: Option<String>,
    /// Open a session after a match.
    pub session_requested: bool,
}

/// A digest on the wire.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(#[serde(with = "apache_avro::serde::bytes")] pub Vec<u8>);

/// Templates of one subject; only ever stored encrypted.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TemplateSet {
    /// The templates.
    pub templates: Vec<StoredTemplate>,
}

/// One template.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTemplate {
    /// Finger position.
    #[serde(with = "display")]
    pub position: Position,
    /// 0–100.
    pub quality: i32,
    /// Engine name and version.
    pub engine: String,
    /// Append time of the enrolling record.
    #[serde(with = "millis")]
    pub enrolled_at: Timestamp,
    /// Keyed digests of the enrolled image, as compared and as it came: 64 bytes.
    #[serde(with = "apache_avro::serde::bytes")]
    pub image_digest: Vec<u8>,
    /// The engine's encoding; empty where a template was replaced and only its digests are kept, so that it stays a replay.
    #[serde(with = "apache_avro::serde::bytes")]
    pub template: Vec<u8>,
}

/// A record as it was; only ever stored encrypted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// Key.
    #[serde(with = "apache_avro::serde::bytes")]
    pub key: Vec<u8>,
    /// Value.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<Header>,
}

/// One header.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Name.
    pub name: String,
    /// Value.
    #[serde(with = "apache_avro::serde::bytes")]
    pub value: Vec<u8>,
}

/// That a request was accepted, and from whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRow {
    /// Public id of the API key; absent for agents.
    pub api_key: Option<String>,
    /// Who signed it.
    #[serde(with = "display")]
    pub agent: AgentId,
    /// What was asked.
    #[serde(with = "display")]
    pub operation: Operation,
    /// When the gateway accepted it.
    #[serde(with = "millis")]
    pub accepted_at: Timestamp,
}

/// Which request an Idempotency-Key belongs to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRow {
    /// The first confirmation id.
    #[serde(with = "display")]
    pub request_id: RequestId,
    /// Keyed digest over fields and sample digests.
    #[serde(with = "apache_avro::serde::bytes")]
    pub request_digest: Vec<u8>,
}

/// The first answer of a request.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRow {
    /// Confirmation id.
    #[serde(with = "display")]
    pub request_id: RequestId,
    /// Who signed the request.
    #[serde(with = "display")]
    pub agent: AgentId,
    /// Public id of the API key that asked.
    pub api_key: Option<String>,
    /// The decision as published.
    #[serde(with = "apache_avro::serde::bytes")]
    pub decision: Vec<u8>,
    /// The audit entry as published.
    #[serde(with = "apache_avro::serde::bytes")]
    pub audit: Vec<u8>,
    /// Key of the audit record.
    pub audit_key: String,
    /// Subject whose gallery record must be published again.
    pub gallery_subject: Option<String>,
    /// Version of that subject's row.
    pub gallery_version: Option<i64>,
    /// Ciphertext: [`AnswerDetails`].
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub details: Option<Vec<u8>>,
}

/// What only the asking caller may see; only ever stored encrypted.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AnswerDetails {
    /// 0–100, also of a non-match.
    pub confidence: Option<f64>,
    /// Best first.
    pub candidates: Vec<AnswerCandidate>,
    /// Sealed template.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub template: Option<Vec<u8>>,
}

/// A subject found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerCandidate {
    /// Who.
    #[serde(with = "display")]
    pub subject_id: SubjectId,
    /// Which finger.
    #[serde(with = "display")]
    pub position: Position,
    /// 0–100.
    pub confidence: f64,
}

/// A subject: the whole state, versioned.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectRow {
    /// Who.
    #[serde(with = "display")]
    pub subject_id: SubjectId,
    /// Rises by one with each change; equals the row's version.
    pub version: i64,
    /// Forgotten; the row stays so that versions do not restart.
    pub deleted: bool,
    /// Engine of the templates.
    pub engine: String,
    /// What is enrolled.
    pub positions: Vec<EnrolledPosition>,
    /// Ciphertext: [`TemplateSet`].
    #[serde(with = "apache_avro::serde::bytes")]
    pub templates: Vec<u8>,
    /// Ciphertext: [`Metadata`].
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub metadata: Option<Vec<u8>>,
    /// The last requests that changed the row, newest last.
    #[serde(with = "display_list")]
    pub marks: Vec<RequestId>,
    /// First enrolment.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
    /// Last change.
    #[serde(with = "millis")]
    pub updated_at: Timestamp,
}

/// What a caller stored with a subject; only ever stored encrypted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Names and values.
    pub entries: BTreeMap<String, String>,
}

/// One enrolled finger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledPosition {
    /// Which.
    #[serde(with = "display")]
    pub position: Position,
    /// Best quality, 0–100.
    pub quality: i32,
    /// How many templates.
    pub templates: i32,
    /// When.
    #[serde(with = "millis")]
    pub enrolled_at: Timestamp,
}

/// Which request used a sealed probe up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedProbeRow {
    /// The request.
    #[serde(with = "display")]
    pub request_id: RequestId,
}

/// An API key; the secret is stored as a digest only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRow {
    /// For people.
    pub name: String,
    /// Digest of the secret.
    #[serde(with = "apache_avro::serde::bytes")]
    pub digest: Vec<u8>,
    /// What it may do.
    #[serde(with = "display_list")]
    pub permissions: Vec<ridgeline_domain::Permission>,
    /// When it was made.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
    /// No longer valid.
    pub revoked: bool,
}

/// The tables and how each is written.
pub mod table {
    use ridgeline_ports::{TableKind, TableSpec};

    use crate::action_row::table as action;
    use crate::auth_row::table as auth;

    /// By confirmation id.
    pub const REQUESTS: TableSpec = TableSpec { name: "requests", kind: TableKind::Plain };
    /// By digest of API key and Idempotency-Key.
    pub const IDEMPOTENCY: TableSpec = TableSpec { name: "idempotency", kind: TableKind::Conditional };
    /// By confirmation id.
    pub const ANSWERS: TableSpec = TableSpec { name: "answers", kind: TableKind::Conditional };
    /// By subject id.
    pub const SUBJECTS: TableSpec = TableSpec { name: "subjects", kind: TableKind::Conditional };
    /// By template id of the sealed probe.
    pub const USED_PROBES: TableSpec = TableSpec { name: "used_probes", kind: TableKind::Conditional };
    /// By public id of the key.
    pub const API_KEYS: TableSpec = TableSpec { name: "api_keys", kind: TableKind::Conditional };
    /// One row, by name: a ciphertext that only the deployment's own key ring opens.
    pub const DEPLOYMENT: TableSpec = TableSpec { name: "deployment", kind: TableKind::Conditional };
    /// All of them.
    pub const ALL: &[TableSpec] = &[
        REQUESTS,
        IDEMPOTENCY,
        ANSWERS,
        SUBJECTS,
        USED_PROBES,
        API_KEYS,
        DEPLOYMENT,
        auth::AUTH_ANSWERS,
        auth::SESSIONS,
        auth::DEVICES,
        auth::USER_DEVICES,
        auth::DEVICE_FINGERPRINTS,
        auth::KEY_OWNERS,
        auth::FAMILIES,
        auth::DEVICE_FAMILIES,
        auth::USERS,
        auth::REVOKED,
        auth::SIGNING_KEYS,
        auth::USED_PROOFS,
        action::ACTIONS,
        action::USER_ACTIONS,
        action::ACTION_INBOX,
        action::ROLE_USERS,
        action::DUE_BY_MINUTE,
        action::SWEEPS,
        action::NOTIFICATIONS,
    ];
}
