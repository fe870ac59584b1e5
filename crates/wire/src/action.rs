//! Actions that must be approved: parts of commands and answers, and who must be told. No `Debug` on what holds secrets.

use ridgeline_domain::{ActionId, ActionStatus, ActionType, DeviceId, Language, RequestId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::text::{display, display_list, display_opt, millis, millis_opt};

/// An action that a user wants approved; only ever sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionStart {
    /// Its kind.
    #[serde(with = "display")]
    pub action_type: ActionType,
    /// JSON object of at most 4 KiB: what is to be approved.
    pub payload: String,
    /// What approvers without a language of their own read.
    #[serde(with = "display_opt")]
    pub language: Option<Language>,
    /// Whether approvers must type what the initiating client shows.
    pub display_code: bool,
    /// Who is told of the end.
    pub callback_url: Option<String>,
    /// How long it waits: 120 to 300.
    pub life_seconds: i32,
}

/// A signed approval; only ever sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionVote {
    /// Which device signed.
    #[serde(with = "display")]
    pub device_id: DeviceId,
    /// base64 or base64url of the signature over the action's challenge.
    pub signature: String,
    /// As typed.
    pub display_code: Option<String>,
}

/// Something whose time is over; only ever sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueItem {
    /// `action` or `session`.
    pub kind: String,
    /// Which.
    pub id: String,
    /// Where it stands in `due_by_minute`.
    pub bucket: String,
}

/// What an operator ends; only ever sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationOrder {
    /// `user`, `device`, `family` or `all`.
    pub kind: String,
    /// Which; empty for all.
    pub id: String,
    /// Of user and all: only tokens issued up to this time; absent: up to now.
    #[serde(with = "millis_opt")]
    pub before: Option<Timestamp>,
}

/// How far an action is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionReply {
    /// Which.
    #[serde(with = "display")]
    pub action_id: ActionId,
    /// How far.
    #[serde(with = "display")]
    pub status: ActionStatus,
    /// Its kind.
    #[serde(with = "display")]
    pub action_type: ActionType,
    /// Of `initiate_action`: the text to sign.
    pub challenge: Option<String>,
    /// Of `initiate_action`: what the initiating client shows.
    pub display_code: Option<String>,
    /// Whoever decides must be appended before.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
    /// Of `initiate_action`: how many devices are told.
    pub notified_devices: i32,
    /// Of `redeem_action`.
    #[serde(with = "millis_opt")]
    pub redeemed_at: Option<Timestamp>,
}

/// `notifications`: what somebody must be told of. What exactly stands in the action's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The command that it follows from.
    #[serde(with = "display")]
    pub request_id: RequestId,
    /// `confirmation_request` or `callback`.
    pub kind: String,
    /// About which action.
    #[serde(with = "display")]
    pub action_id: ActionId,
    /// Whom: an approver, or the initiator.
    #[serde(with = "display")]
    pub user: UserId,
    /// On which devices; none for a callback.
    #[serde(with = "display_list")]
    pub devices: Vec<DeviceId>,
    /// Of a callback: what is sent, signed.
    pub statement: Option<String>,
    /// When.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
    /// Not to be told any more from then on.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
}
