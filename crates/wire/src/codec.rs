//! Confluent framing and Avro. Decoding is strict: known schema id, no trailing bytes, bounded allocation.

use std::collections::HashMap;
use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use ridgeline_domain::ErrorCode;
use serde::{Serialize, de::DeserializeOwned};

use crate::{action, action_row, auth, auth_row, message, row};

/// Largest single allocation while decoding; a record is at most 12 MiB.
const DECODE_BYTES_MAX: usize = 16 * 1024 * 1024;
const FRAME_BYTES: usize = 5;

/// Topic number × 1000 + version; rows count from 100 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaId(pub u32);

/// Why a value could not be encoded or decoded. Never carries content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Too short for the frame, or not starting with a zero byte.
    #[error("no schema id in front of the value")]
    NoFrame,
    /// The id belongs to no schema this version knows for the type.
    #[error("unknown schema id {0}")]
    UnknownSchema(u32),
    /// Not a value of the schema, or a field outside its type.
    #[error("not a valid {0}")]
    Invalid(&'static str),
    /// Bytes after the value.
    #[error("{0} is followed by further bytes")]
    Trailing(&'static str),
}

impl WireError {
    /// The public code of the error.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownSchema(_) => ErrorCode::SchemaUnknown,
            Self::NoFrame | Self::Invalid(_) | Self::Trailing(_) => ErrorCode::RecordUndecodable,
        }
    }
}

/// A type with an Avro schema of its own under `schemas/`.
pub trait Encoded: Serialize + DeserializeOwned {
    /// Name of the schema.
    const NAME: &'static str;
    /// Id written in front of every value.
    const ID: SchemaId;
    /// Text of the schema file.
    const SCHEMA: &'static str;
}

macro_rules! encoded {
    ($($type:ty = $id:literal, $path:literal;)+) => {
        $(impl Encoded for $type {
            const NAME: &'static str = $path;
            const ID: SchemaId = SchemaId($id);
            const SCHEMA: &'static str = include_str!(concat!("../../../schemas/", $path, "/v1/schema.avsc"));
        })+

        /// Name, id and text of every schema.
        const SCHEMAS: &[(&str, SchemaId, &str)] = &[$((<$type>::NAME, <$type>::ID, <$type>::SCHEMA),)+];
    };
}

encoded! {
    message::Scan = 1_001, "scans";
    message::Gallery = 2_001, "gallery";
    message::Probe = 3_001, "probes";
    message::Partials = 4_001, "partials";
    message::Decision = 5_001, "decisions";
    auth::AuthCommand = 6_001, "auth.commands";
    auth::Revocation = 7_001, "revocations";
    message::Audit = 8_001, "audit";
    action::Notice = 9_001, "notifications";
    message::DeadLetter = 13_001, "dead-letters";
    row::ScanDetails = 101_001, "rows/scan_details";
    row::TemplateSet = 102_001, "rows/template_set";
    row::Original = 103_001, "rows/original";
    row::RequestRow = 104_001, "rows/request";
    row::IdempotencyRow = 105_001, "rows/idempotency";
    row::AnswerRow = 106_001, "rows/answer";
    row::AnswerDetails = 107_001, "rows/answer_details";
    row::SubjectRow = 108_001, "rows/subject";
    row::UsedProbeRow = 109_001, "rows/used_probe";
    row::ApiKeyRow = 110_001, "rows/api_key";
    row::Metadata = 111_001, "rows/metadata";
    auth::AuthBody = 112_001, "rows/auth_body";
    auth::AuthReply = 113_001, "rows/auth_reply";
    auth_row::AuthAnswerRow = 114_001, "rows/auth_answer";
    auth::Registration = 115_001, "rows/registration";
    auth_row::ClientDetails = 116_001, "rows/client_details";
    auth_row::SessionRow = 117_001, "rows/session";
    auth_row::DeviceRow = 118_001, "rows/device";
    auth_row::UserDevicesRow = 119_001, "rows/user_devices";
    auth_row::FingerprintRow = 120_001, "rows/device_fingerprint";
    auth_row::KeyOwnerRow = 121_001, "rows/key_owner";
    auth_row::FamilyRow = 122_001, "rows/family";
    auth_row::DeviceFamilyRow = 123_001, "rows/device_family";
    auth_row::UserRow = 124_001, "rows/user";
    auth_row::RevokedRow = 125_001, "rows/revoked";
    auth_row::SigningKeysRow = 126_001, "rows/signing_keys";
    auth_row::UsedProofRow = 127_001, "rows/used_proof";
    auth_row::AuditDetails = 128_001, "rows/audit_details";
    action_row::ActionRow = 129_001, "rows/action";
    action_row::UserActionsRow = 130_001, "rows/user_actions";
    action_row::InboxRow = 131_001, "rows/action_inbox";
    action_row::RoleUserRow = 132_001, "rows/role_user";
    action_row::DueRow = 133_001, "rows/due";
    action_row::SweepRow = 134_001, "rows/sweep";
    action_row::DeliveryRow = 135_001, "rows/delivery";
}

static PARSED: LazyLock<HashMap<SchemaId, Schema>> = LazyLock::new(|| {
    apache_avro::util::max_allocation_bytes(DECODE_BYTES_MAX);
    // A schema file that does not parse is absent here; the golden test over all of them fails then, before anything runs.
    SCHEMAS.iter().filter_map(|(_, id, text)| Some((*id, Schema::parse_str(text).ok()?))).collect()
});

/// The text of the schema with this id, for `/schemas/ids/{id}`.
#[must_use]
pub fn schema_of(id: SchemaId) -> Option<&'static str> {
    SCHEMAS.iter().find(|(_, known, _)| *known == id).map(|(_, _, text)| *text)
}

/// Name (path under `schemas/`) and id of every schema.
pub fn schemas() -> impl Iterator<Item = (&'static str, SchemaId)> {
    SCHEMAS.iter().map(|(name, id, _)| (*name, *id))
}

/// Encodes a value behind its frame.
///
/// # Errors
/// `Invalid` if the value does not fit its schema, which the golden tests exclude for the types here.
pub fn encode<T: Encoded>(value: &T) -> Result<Vec<u8>, WireError> {
    let schema = PARSED.get(&T::ID).ok_or(WireError::UnknownSchema(T::ID.0))?;
    let writer =
        GenericDatumWriter::builder(schema).human_readable(false).build().map_err(|_| WireError::Invalid(T::NAME))?;
    let mut bytes = vec![0];
    bytes.extend(T::ID.0.to_be_bytes());
    writer.write_ser(&mut bytes, value).map_err(|_| WireError::Invalid(T::NAME))?;
    Ok(bytes)
}

/// Decodes a framed value of a known schema.
///
/// # Errors
/// `NoFrame`, `UnknownSchema`, `Invalid` or `Trailing`; none of them carries content.
pub fn decode<T: Encoded>(bytes: &[u8]) -> Result<T, WireError> {
    let Some((frame, mut body)) = bytes.split_at_checked(FRAME_BYTES) else { return Err(WireError::NoFrame) };
    let [0, id @ ..] = frame else { return Err(WireError::NoFrame) };
    let id = id.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    if id != T::ID.0 {
        return Err(WireError::UnknownSchema(id));
    }
    let schema = PARSED.get(&T::ID).ok_or(WireError::UnknownSchema(id))?;
    let reader =
        GenericDatumReader::builder(schema).human_readable(false).build().map_err(|_| WireError::Invalid(T::NAME))?;
    let value = reader.read_deser(&mut body).map_err(|_| WireError::Invalid(T::NAME))?;
    if body.is_empty() { Ok(value) } else { Err(WireError::Trailing(T::NAME)) }
}
