//! Rows of device authentication. No `Debug` on what holds secrets.

use ridgeline_domain::{
    ActionId, AuthOperation, DeviceId, DeviceName, DeviceType, FamilyId, KeyAlgorithm, Language, RequestId, SessionId,
    Severity, Timestamp, TrustLevel, UserId,
};
use serde::{Deserialize, Serialize};

use crate::action::Notice;
use crate::auth::Revocation;
use crate::text::{display, display_list, display_opt, millis, millis_opt};

/// The first answer of a command.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthAnswerRow {
    /// Confirmation id.
    #[serde(with = "display")]
    pub request_id: RequestId,
    /// The decision as published.
    #[serde(with = "apache_avro::serde::bytes")]
    pub decision: Vec<u8>,
    /// The audit entry as published.
    #[serde(with = "apache_avro::serde::bytes")]
    pub audit: Vec<u8>,
    /// Key of the audit record.
    pub audit_key: String,
    /// To be published before the decision.
    pub revocations: Vec<Revocation>,
    /// To be published before the decision.
    pub notices: Vec<Notice>,
    /// What the decision is about beside its request: an action.
    pub about: Option<String>,
    /// Ciphertext: [`crate::auth::AuthReply`].
    #[serde(with = "apache_avro::serde::bytes")]
    pub reply: Vec<u8>,
}

/// Where a call came from; only ever encrypted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientDetails {
    /// Address.
    pub address: String,
    /// User agent.
    pub user_agent: Option<String>,
}

/// A challenge that was handed out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Which.
    #[serde(with = "display")]
    pub session_id: SessionId,
    /// `register` or `login`.
    #[serde(with = "display")]
    pub purpose: AuthOperation,
    /// Ciphertext: the text to sign.
    #[serde(with = "apache_avro::serde::bytes")]
    pub challenge: Vec<u8>,
    /// Ciphertext: [`ClientDetails`].
    #[serde(with = "apache_avro::serde::bytes")]
    pub client: Vec<u8>,
    /// Of a registration: whose device it will be.
    #[serde(with = "display_opt")]
    pub user: Option<UserId>,
    /// Of a registration: the user's roles.
    pub roles: Vec<String>,
    /// Of a registration, ciphertext: [`crate::auth::Registration`].
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub registration: Option<Vec<u8>>,
    /// Of a login: devices of that fingerprint, at most 8.
    #[serde(with = "display_list")]
    pub candidates: Vec<DeviceId>,
    /// Keyed digest of the fingerprint.
    #[serde(with = "apache_avro::serde::bytes")]
    pub fingerprint: Vec<u8>,
    /// When.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
    /// An answer must reach the log before.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
    /// The request that answered it.
    #[serde(with = "display_opt")]
    pub consumed_by: Option<RequestId>,
    /// When that was.
    #[serde(with = "millis_opt")]
    pub verified_at: Option<Timestamp>,
    /// The device that answered or was registered.
    #[serde(with = "display_opt")]
    pub device_id: Option<DeviceId>,
    /// Of a login: what the session is worth.
    #[serde(with = "display_opt")]
    pub trust_level: Option<TrustLevel>,
}

/// A registered device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRow {
    /// Which.
    #[serde(with = "display")]
    pub device_id: DeviceId,
    /// Whose.
    #[serde(with = "display")]
    pub user: UserId,
    /// Its name.
    #[serde(with = "display")]
    pub name: DeviceName,
    /// What it is.
    #[serde(with = "display")]
    pub device_type: DeviceType,
    /// Keyed digest of the fingerprint.
    #[serde(with = "apache_avro::serde::bytes")]
    pub fingerprint: Vec<u8>,
    /// How it signs.
    #[serde(with = "display")]
    pub key_algorithm: KeyAlgorithm,
    /// Ciphertext: DER SubjectPublicKeyInfo.
    #[serde(with = "apache_avro::serde::bytes")]
    pub public_key: Vec<u8>,
    /// Ciphertext: DER SubjectPublicKeyInfo of the key that proves possession.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub proof_key: Option<Vec<u8>>,
    /// Thumbprint of that key.
    pub proof_thumbprint: Option<String>,
    /// What its user reads.
    #[serde(with = "display")]
    pub language: Language,
    /// Ciphertext: where notifications go.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub push_token: Option<Vec<u8>>,
    /// The user's roles at registration.
    pub roles: Vec<String>,
    /// Not removed.
    pub is_active: bool,
    /// The request that registered it.
    #[serde(with = "display")]
    pub registered_by: RequestId,
    /// The request that removed or replaced it.
    #[serde(with = "display_opt")]
    pub removed_by: Option<RequestId>,
    /// Last login or refresh; registration at first.
    #[serde(with = "millis")]
    pub last_used_at: Timestamp,
    /// When.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
    /// Last change.
    #[serde(with = "millis")]
    pub updated_at: Timestamp,
}

/// The devices of a user: what is unique, and how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDevicesRow {
    /// Whose.
    #[serde(with = "display")]
    pub user: UserId,
    /// At most 20.
    pub devices: Vec<UserDevice>,
    /// The last changes, newest last: a repeated request finds its own.
    pub changes: Vec<UserChange>,
}

/// One of a user's devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDevice {
    /// Which.
    #[serde(with = "display")]
    pub device_id: DeviceId,
    /// Keyed digest of the fingerprint.
    #[serde(with = "apache_avro::serde::bytes")]
    pub fingerprint: Vec<u8>,
}

/// Which request changed a user's devices, and which device it took away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserChange {
    /// The request.
    #[serde(with = "display")]
    pub request_id: RequestId,
    /// The device that went.
    #[serde(with = "display_opt")]
    pub removed: Option<DeviceId>,
}

/// That a device has this fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FingerprintRow {
    /// Whose it is.
    #[serde(with = "display")]
    pub user: UserId,
}

/// Which installation a public key belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOwnerRow {
    /// Whose it is.
    #[serde(with = "display")]
    pub user: UserId,
    /// Keyed digest of the installation's fingerprint.
    #[serde(with = "apache_avro::serde::bytes")]
    pub fingerprint: Vec<u8>,
}

/// A refresh token family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyRow {
    /// Which.
    #[serde(with = "display")]
    pub family_id: FamilyId,
    /// Whose.
    #[serde(with = "display")]
    pub user: UserId,
    /// On which device.
    #[serde(with = "display")]
    pub device_id: DeviceId,
    /// The login.
    #[serde(with = "display")]
    pub session_id: SessionId,
    /// How the user signed in.
    pub auth_method: String,
    /// What the session is worth.
    #[serde(with = "display")]
    pub trust_level: TrustLevel,
    /// The one live generation.
    pub rotation_count: i32,
    /// The request that made it.
    #[serde(with = "display")]
    pub rotated_by: RequestId,
    /// When.
    #[serde(with = "millis")]
    pub rotated_at: Timestamp,
    /// The request that ended the family.
    #[serde(with = "display_opt")]
    pub revoked_by: Option<RequestId>,
    /// Why.
    pub revoked_because: Option<String>,
    /// End of the live refresh token.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
    /// Last refresh.
    #[serde(with = "millis")]
    pub last_used_at: Timestamp,
    /// The login.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
}

/// That a device has this family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFamilyRow {
    /// The login.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
}

/// A user of the service's own.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// The `sub` of the user's tokens.
    pub user_id: String,
    /// As it was added.
    pub email: String,
    /// PHC string of Argon2id.
    pub password: String,
    /// Roles.
    pub roles: Vec<String>,
    /// Department.
    pub department: Option<String>,
    /// May not sign in.
    pub disabled: bool,
    /// When.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
}

/// Tokens up to a time are over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedRow {
    /// Issued up to this time.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// The keys that sign tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeysRow {
    /// Oldest first.
    pub keys: Vec<SigningKeyEntry>,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeyEntry {
    /// Its id: the thumbprint.
    pub kid: String,
    /// The uncompressed point.
    #[serde(with = "apache_avro::serde::bytes")]
    pub public: Vec<u8>,
    /// Ciphertext of the private key, for auth workers only.
    #[serde(with = "apache_avro::serde::bytes")]
    pub private: Vec<u8>,
    /// Signs what is issued from then on.
    #[serde(with = "millis")]
    pub signs_from: Timestamp,
    /// Its tokens are over by then; absent for the newest.
    #[serde(with = "millis_opt")]
    pub verifies_until: Option<Timestamp>,
}

/// Which request used a proof of possession up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedProofRow {
    /// The request.
    #[serde(with = "display")]
    pub request_id: RequestId,
}

/// What an audit event says to investigators; only ever encrypted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditDetails {
    /// How much attention it wants.
    #[serde(with = "display")]
    pub severity: Severity,
    /// Who.
    #[serde(with = "display_opt")]
    pub user: Option<UserId>,
    /// On which device.
    #[serde(with = "display_opt")]
    pub device_id: Option<DeviceId>,
    /// In which session.
    #[serde(with = "display_opt")]
    pub session_id: Option<SessionId>,
    /// Of which token family.
    #[serde(with = "display_opt")]
    pub family_id: Option<FamilyId>,
    /// About which action.
    #[serde(with = "display_opt")]
    pub action_id: Option<ActionId>,
    /// From where.
    pub address: String,
    /// With what.
    pub user_agent: Option<String>,
}

/// The tables and how each is written.
pub mod table {
    use ridgeline_ports::{TableKind, TableSpec};

    /// By confirmation id of the command.
    pub const AUTH_ANSWERS: TableSpec = TableSpec { name: "auth_answers", kind: TableKind::Conditional };
    /// By session id.
    pub const SESSIONS: TableSpec = TableSpec { name: "sessions", kind: TableKind::Conditional };
    /// By device id.
    pub const DEVICES: TableSpec = TableSpec { name: "devices", kind: TableKind::Conditional };
    /// By user id.
    pub const USER_DEVICES: TableSpec = TableSpec { name: "user_devices", kind: TableKind::Conditional };
    /// By digest of the fingerprint, then device id: an index.
    pub const DEVICE_FINGERPRINTS: TableSpec = TableSpec { name: "device_fingerprints", kind: TableKind::Plain };
    /// By digest of the public key.
    pub const KEY_OWNERS: TableSpec = TableSpec { name: "key_owners", kind: TableKind::Conditional };
    /// By family id.
    pub const FAMILIES: TableSpec = TableSpec { name: "families", kind: TableKind::Conditional };
    /// By device id, then family id: an index.
    pub const DEVICE_FAMILIES: TableSpec = TableSpec { name: "device_families", kind: TableKind::Plain };
    /// By e-mail in lower case.
    pub const USERS: TableSpec = TableSpec { name: "users", kind: TableKind::Conditional };
    /// By kind and id of what was revoked.
    pub const REVOKED: TableSpec = TableSpec { name: "revoked", kind: TableKind::Plain };
    /// One row, by name.
    pub const SIGNING_KEYS: TableSpec = TableSpec { name: "signing_keys", kind: TableKind::Conditional };
    /// By digest of the proof's key and id.
    pub const USED_PROOFS: TableSpec = TableSpec { name: "used_proofs", kind: TableKind::Conditional };
}
