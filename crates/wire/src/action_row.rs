//! Rows of actions that must be approved, of what is due, and of notifications. No `Debug` on what holds secrets.

use ridgeline_domain::{
    ActionId, ActionStatus, ActionType, DeliveryStatus, DeviceId, FamilyId, KeyAlgorithm, Language, RequestId,
    Timestamp, UserId,
};
use serde::{Deserialize, Serialize};

use crate::text::{display, display_list, display_opt, millis, millis_opt};

/// An action that must be approved.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionRow {
    /// Which.
    #[serde(with = "display")]
    pub action_id: ActionId,
    /// Who initiated it.
    #[serde(with = "display")]
    pub user: UserId,
    /// With what: the first of `azp`, `client_id` and `sid` of the token.
    pub client: String,
    /// Its kind.
    #[serde(with = "display")]
    pub action_type: ActionType,
    /// Ciphertext: JSON in canonical form (RFC 8785).
    #[serde(with = "apache_avro::serde::bytes")]
    pub payload: Vec<u8>,
    /// Ciphertext: the text to sign.
    #[serde(with = "apache_avro::serde::bytes")]
    pub challenge: Vec<u8>,
    /// Ciphertext: what approvers must type.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub display_code: Option<Vec<u8>>,
    /// What approvers without a language of their own read.
    #[serde(with = "display_opt")]
    pub language: Option<Language>,
    /// Ciphertext: who is told of the end.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub callback_url: Option<Vec<u8>>,
    /// Ciphertext: [`crate::auth_row::ClientDetails`] of the initiator.
    #[serde(with = "apache_avro::serde::bytes")]
    pub caller: Vec<u8>,
    /// Whether a step is open only when those before it are done.
    pub in_order: bool,
    /// All must be done.
    pub steps: Vec<ActionStep>,
    /// In order.
    pub approvals: Vec<ActionApproval>,
    /// Votes that brought a wrong display code.
    pub wrong_codes: Vec<WrongCode>,
    /// How far.
    #[serde(with = "display")]
    pub status: ActionStatus,
    /// The command that made it.
    #[serde(with = "display")]
    pub created_by: RequestId,
    /// When.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
    /// Whoever decides must be appended before.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
    /// The command that made it final.
    #[serde(with = "display_opt")]
    pub finished_by: Option<RequestId>,
    /// When.
    #[serde(with = "millis_opt")]
    pub finished_at: Option<Timestamp>,
    /// Who said no.
    #[serde(with = "display_opt")]
    pub rejected_by: Option<UserId>,
    /// With which device.
    #[serde(with = "display_opt")]
    pub rejected_with: Option<DeviceId>,
    /// Ciphertext: why, in their words.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub reason: Option<Vec<u8>>,
    /// Ciphertext for answers: the single-use token, once approved.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub token: Option<Vec<u8>>,
    /// Ciphertext: the nonce of that token.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub nonce: Option<Vec<u8>>,
    /// Its end.
    #[serde(with = "millis_opt")]
    pub token_expires_at: Option<Timestamp>,
    /// The command that used it up.
    #[serde(with = "display_opt")]
    pub redeemed_by: Option<RequestId>,
    /// When.
    #[serde(with = "millis_opt")]
    pub redeemed_at: Option<Timestamp>,
    /// Last change.
    #[serde(with = "millis")]
    pub updated_at: Timestamp,
}

/// Some of several must approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionStep {
    /// Who may.
    #[serde(with = "display_list")]
    pub approvers: Vec<UserId>,
    /// Those of them whom the rule names; others may by a role.
    #[serde(with = "display_list")]
    pub named: Vec<UserId>,
    /// The roles by which others may: the device that signs must have one.
    pub roles: Vec<String>,
    /// How many must.
    pub required: i32,
}

/// A vote that brought a wrong display code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongCode {
    /// By which command.
    #[serde(with = "display")]
    pub request_id: RequestId,
    /// Who.
    #[serde(with = "display")]
    pub user: UserId,
    /// With which device.
    #[serde(with = "display")]
    pub device_id: DeviceId,
}

/// One approval, with all that proves it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionApproval {
    /// Who.
    #[serde(with = "display")]
    pub user: UserId,
    /// With which device.
    #[serde(with = "display")]
    pub device_id: DeviceId,
    /// By which command.
    #[serde(with = "display")]
    pub request_id: RequestId,
    /// When.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// In which session.
    #[serde(with = "display_opt")]
    pub family_id: Option<FamilyId>,
    /// When the token was issued that it came with.
    #[serde(with = "millis")]
    pub issued_at: Timestamp,
    /// How the device signs.
    #[serde(with = "display")]
    pub key_algorithm: KeyAlgorithm,
    /// Ciphertext: DER SubjectPublicKeyInfo of the device at that time.
    #[serde(with = "apache_avro::serde::bytes")]
    pub public_key: Vec<u8>,
    /// Ciphertext: the signature over the challenge, as sent.
    #[serde(with = "apache_avro::serde::bytes")]
    pub signature: Vec<u8>,
    /// Ciphertext: [`crate::auth_row::ClientDetails`] of the device.
    #[serde(with = "apache_avro::serde::bytes")]
    pub caller: Vec<u8>,
}

/// Actions of a user that may still wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserActionsRow {
    /// Whose.
    #[serde(with = "display")]
    pub user: UserId,
    /// At most 3 that wait.
    pub open: Vec<OpenAction>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAction {
    /// Which.
    #[serde(with = "display")]
    pub action_id: ActionId,
    /// It waits no longer than this.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
}

/// That a user may approve an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxRow {
    /// When it waits no longer.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
}

/// That a user had a role when he registered a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleUserRow {
    /// When.
    #[serde(with = "millis")]
    pub registered_at: Timestamp,
}

/// That something is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueRow {
    /// When.
    #[serde(with = "millis")]
    pub at: Timestamp,
}

/// How far what is due has been looked through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepRow {
    /// Up to the end of this minute.
    #[serde(with = "millis")]
    pub through: Timestamp,
}

/// A notification to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// About which action.
    #[serde(with = "display")]
    pub action_id: ActionId,
    /// Whose device.
    #[serde(with = "display")]
    pub user: UserId,
    /// Which; none for a callback.
    #[serde(with = "display_opt")]
    pub device_id: Option<DeviceId>,
    /// `confirmation_request` or `callback`.
    pub kind: String,
    /// How far.
    #[serde(with = "display")]
    pub status: DeliveryStatus,
    /// How often it was sent.
    pub attempts: i32,
    /// What the push service calls it.
    pub message_id: Option<String>,
    /// Why it failed, in our words.
    pub error: Option<String>,
    /// When.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
    /// When the push service took it.
    #[serde(with = "millis_opt")]
    pub sent_at: Option<Timestamp>,
    /// When the device said so.
    #[serde(with = "millis_opt")]
    pub delivered_at: Option<Timestamp>,
    /// Not to be sent any more from then on.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
    /// Last change.
    #[serde(with = "millis")]
    pub updated_at: Timestamp,
}

/// The tables and how each is written.
pub mod table {
    use ridgeline_ports::{TableKind, TableSpec};

    /// By action id.
    pub const ACTIONS: TableSpec = TableSpec { name: "actions", kind: TableKind::Conditional };
    /// By user id.
    pub const USER_ACTIONS: TableSpec = TableSpec { name: "user_actions", kind: TableKind::Conditional };
    /// By approver, then action id: an index.
    pub const ACTION_INBOX: TableSpec = TableSpec { name: "action_inbox", kind: TableKind::Plain };
    /// By role, then user id: an index.
    pub const ROLE_USERS: TableSpec = TableSpec { name: "role_users", kind: TableKind::Plain };
    /// By minute and partition of `auth.commands`, then kind and id of what is due.
    pub const DUE_BY_MINUTE: TableSpec = TableSpec { name: "due_by_minute", kind: TableKind::Plain };
    /// By partition of `auth.commands`.
    pub const SWEEPS: TableSpec = TableSpec { name: "sweeps", kind: TableKind::Plain };
    /// By action id, then device id.
    pub const NOTIFICATIONS: TableSpec = TableSpec { name: "notifications", kind: TableKind::Conditional };
}
