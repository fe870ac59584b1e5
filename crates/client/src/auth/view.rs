//! What device authentication answers.

use std::fmt;
use std::str::FromStr;

use ridgeline_domain::{
    ActionId, ActionType, DeviceId, DeviceName, DeviceType, KeyAlgorithm, Sensitive, SessionId, Timestamp, TrustLevel,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Success, in its envelope.
#[derive(Deserialize)]
pub(super) struct Data<T> {
    pub(super) data: T,
}

/// What a user may do here, for an hour or as long as a provider says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebToken {
    /// The token.
    #[serde(deserialize_with = "secret")]
    pub access_token: Sensitive<String>,
    /// When it is over.
    #[serde(rename = "accessTokenExpiresAt", deserialize_with = "time")]
    pub expires_at: Timestamp,
}

/// What a device is to sign to register or to sign in.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthChallenge {
    /// Names it in the answer.
    #[serde(deserialize_with = "word")]
    pub session_id: SessionId,
    /// The text to be signed.
    #[serde(rename = "challenge", deserialize_with = "secret")]
    pub text: Sensitive<String>,
    /// Until when it is taken.
    #[serde(deserialize_with = "time")]
    pub expires_at: Timestamp,
}

/// A device that was registered.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// Its id.
    #[serde(deserialize_with = "word")]
    pub device_id: DeviceId,
    /// Its name as it is kept.
    #[serde(deserialize_with = "word")]
    pub device_name: DeviceName,
    /// What a session on it is worth.
    #[serde(deserialize_with = "word")]
    pub trust_level: TrustLevel,
    /// Since when.
    #[serde(deserialize_with = "time")]
    pub created_at: Timestamp,
}

/// What a device got for a login or a refresh token.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// For calls.
    #[serde(deserialize_with = "secret")]
    pub access_token: Sensitive<String>,
    /// When it is over.
    #[serde(deserialize_with = "time")]
    pub access_token_expires_at: Timestamp,
    /// For the next tokens; none where the login asked for none.
    #[serde(default, deserialize_with = "optional_secret")]
    pub refresh_token: Option<Sensitive<String>>,
    /// When that is over.
    #[serde(default, deserialize_with = "optional_time")]
    pub refresh_token_expires_at: Option<Timestamp>,
    /// Whether calls need a proof.
    pub token_type: TokenType,
    /// The device.
    #[serde(default, deserialize_with = "optional_word")]
    pub device_id: Option<DeviceId>,
    /// What the session is worth.
    #[serde(default, deserialize_with = "optional_word")]
    pub trust_level: Option<TrustLevel>,
}

/// How an access token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TokenType {
    /// Alone.
    Bearer,
    /// With a proof of possession (RFC 9449).
    #[serde(rename = "DPoP")]
    Dpop,
}

/// How far the confirmation of an action is. All but the first are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfirmationState {
    /// Approvals are missing.
    Pending,
    /// All approvals are there.
    Approved,
    /// Somebody refused.
    Rejected,
    /// Nobody answered in time.
    Expired,
}

impl fmt::Display for ConfirmationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        })
    }
}

/// A confirmation that was asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Initiated {
    /// Its id.
    #[serde(deserialize_with = "word")]
    pub confirmation_id: ActionId,
    /// What approvers sign.
    #[serde(deserialize_with = "secret")]
    pub challenge: Sensitive<String>,
    /// What is shown to the user, who types it on the phone.
    #[serde(default, deserialize_with = "optional_secret")]
    pub display_code: Option<Sensitive<String>>,
    /// How far it is.
    pub status: ConfirmationState,
    /// Until when approvals count.
    #[serde(deserialize_with = "time")]
    pub expires_at: Timestamp,
    /// How many devices were told.
    pub notified_devices: u32,
}

/// A confirmation and what it asks to approve. `Debug` shows nothing of the payload.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirmation {
    /// Its id.
    #[serde(deserialize_with = "word")]
    pub confirmation_id: ActionId,
    /// How far it is.
    pub status: ConfirmationState,
    /// The kind of the action.
    #[serde(deserialize_with = "word")]
    pub action_type: ActionType,
    /// The action itself.
    pub action_payload: Map<String, Value>,
    /// What a device signs to approve; only devices see it, and only while approvals are missing.
    #[serde(default, deserialize_with = "optional_secret")]
    pub challenge: Option<Sensitive<String>>,
    /// Who approved.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// How many approvals it takes.
    #[serde(default = "one")]
    pub required_approvals: u32,
    /// Whether an approval must name the code that the user is shown; `None` where the service does not say.
    #[serde(default)]
    pub needs_display_code: Option<bool>,
    /// When it was asked for.
    #[serde(deserialize_with = "time")]
    pub created_at: Timestamp,
    /// Until when approvals count.
    #[serde(deserialize_with = "time")]
    pub expires_at: Timestamp,
    /// When the last approval came.
    #[serde(default, deserialize_with = "optional_time")]
    pub approved_at: Option<Timestamp>,
    /// When somebody refused.
    #[serde(default, deserialize_with = "optional_time")]
    pub rejected_at: Option<Timestamp>,
    /// What the action is carried out with, once; only who asked for it sees it.
    #[serde(default, deserialize_with = "optional_secret")]
    pub confirmation_token: Option<Sensitive<String>>,
}

const fn one() -> u32 {
    1
}

impl fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Confirmation");
        shown.field("confirmation_id", &self.confirmation_id).field("status", &self.status);
        shown.field("action_type", &self.action_type).finish_non_exhaustive()
    }
}

/// One approval.
#[derive(Debug, Clone, Deserialize)]
pub struct Approval {
    /// Whose.
    pub approver: String,
    /// When.
    #[serde(deserialize_with = "time")]
    pub at: Timestamp,
}

/// What an answer to a confirmation led to.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// The confirmation.
    #[serde(deserialize_with = "word")]
    pub confirmation_id: ActionId,
    /// How far it is now; `Pending` while other approvals are missing.
    pub status: ConfirmationState,
}

/// A confirmation that was carried out.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redeemed {
    /// The confirmation.
    #[serde(deserialize_with = "word")]
    pub confirmation_id: ActionId,
    /// The kind of the action.
    #[serde(deserialize_with = "word")]
    pub action_type: ActionType,
    /// When.
    #[serde(deserialize_with = "time")]
    pub redeemed_at: Timestamp,
}

/// One of a user's devices.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its id.
    #[serde(deserialize_with = "word")]
    pub device_id: DeviceId,
    /// How its owner calls it.
    #[serde(deserialize_with = "word")]
    pub device_name: DeviceName,
    /// What kind of machine it is.
    #[serde(deserialize_with = "word")]
    pub device_type: DeviceType,
    /// How it signs.
    #[serde(deserialize_with = "word")]
    pub key_algorithm: KeyAlgorithm,
    /// What a session on it is worth.
    #[serde(deserialize_with = "word")]
    pub trust_level: TrustLevel,
    /// Whether it may sign in.
    pub is_active: bool,
    /// Whether it can be notified.
    pub has_push_token: bool,
    /// When it was used last.
    #[serde(deserialize_with = "time")]
    pub last_used_at: Timestamp,
    /// When it was registered.
    #[serde(deserialize_with = "time")]
    pub created_at: Timestamp,
}

/// A device that is no more.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// The device.
    #[serde(deserialize_with = "word")]
    pub device_id: DeviceId,
    /// How many sessions ended with it.
    pub revoked_tokens: u32,
}

/// Where a device is notified from now on.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushTokenSet {
    /// The device.
    #[serde(deserialize_with = "word")]
    pub device_id: DeviceId,
    /// Since when.
    #[serde(deserialize_with = "time")]
    pub updated_at: Timestamp,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sensitive<String>, D::Error> {
    String::deserialize(deserializer).map(Sensitive::new)
}

fn optional_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Sensitive<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Sensitive::new))
}

/// A word or an id. Errors name no value: it may stand where a secret belongs.
fn word<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(|_| D::Error::custom("not a word of its kind"))
}

fn optional_word<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse()).transpose().map_err(|_| D::Error::custom("not a word of its kind"))
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    timestamp(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not a time"))
}

fn optional_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| timestamp(&text).ok_or_else(|| D::Error::custom("not a time"))).transpose()
}

/// Reads RFC 3339.
fn timestamp(text: &str) -> Option<Timestamp> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok().map(Timestamp::from_millis)
}

/// A time in RFC 3339, UTC, whole seconds. What no calendar knows is the epoch.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    let time = OffsetDateTime::from_unix_timestamp(at.millis().div_euclid(1_000));
    time.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(&Rfc3339).unwrap_or_default()
}
