//! Device authentication: commands to the auth workers, revocations, and what a caller is answered. No `Debug` on what holds secrets.

use ridgeline_domain::{
    ActionId, AgentId, AuthOperation, DeviceFingerprint, DeviceId, DeviceName, DeviceType, KeyAlgorithm, Language,
    Refusal, RequestId, SessionId, Timestamp, TrustLevel,
};
use serde::{Deserialize, Serialize};

use crate::action::{ActionReply, ActionStart, ActionVote, DueItem, RevocationOrder};
use crate::message::SealedPart;
use crate::text::{display, display_opt, millis, millis_opt};

/// `auth.commands`: what somebody asks of the auth workers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthCommand {
    /// Confirmation id.
    #[serde(with = "display")]
    pub request_id: RequestId,
    /// What is asked.
    #[serde(with = "display")]
    pub operation: AuthOperation,
    /// Who published it: a gateway, or an auth worker for itself.
    #[serde(with = "display")]
    pub sender: AgentId,
    /// [`AuthBody`], sealed to the auth workers for this request, operation and key.
    pub body: SealedPart,
}

/// What a command asks for; only ever sealed.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuthBody {
    /// The caller's own token, as sent.
    pub credential: Option<String>,
    /// Proof of possession, as sent.
    pub proof: Option<String>,
    /// Where the caller called from.
    pub address: String,
    /// What the caller called with.
    pub user_agent: Option<String>,
    /// Of `register_challenge`.
    pub registration: Option<Registration>,
    /// Of `login_challenge`.
    pub login: Option<LoginStart>,
    /// Of `register` and `login`.
    pub answer: Option<ChallengeAnswer>,
    /// Of `refresh`.
    pub refresh_token: Option<String>,
    /// Of `remove_device` and `set_push_token`.
    #[serde(with = "display_opt")]
    pub device_id: Option<DeviceId>,
    /// Of `set_push_token`.
    pub push_token: Option<String>,
    /// Of `web_login`.
    pub password: Option<PasswordLogin>,
    /// Of `initiate_action`.
    pub action: Option<ActionStart>,
    /// Of everything else about an action.
    #[serde(with = "display_opt")]
    pub action_id: Option<ActionId>,
    /// Of `approve_action`.
    pub vote: Option<ActionVote>,
    /// Of `reject_action`.
    pub reason: Option<String>,
    /// Of `redeem_action`.
    pub action_token: Option<String>,
    /// Of `expire`.
    pub due: Option<DueItem>,
    /// Of `revoke`.
    pub revocation: Option<RevocationOrder>,
}

/// A device that wants to be registered; only ever sealed or encrypted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// How its owner calls it.
    #[serde(with = "display")]
    pub device_name: DeviceName,
    /// What it is.
    #[serde(with = "display")]
    pub device_type: DeviceType,
    /// What the installation calls itself.
    #[serde(with = "display")]
    pub device_fingerprint: DeviceFingerprint,
    /// PEM SubjectPublicKeyInfo.
    pub public_key: String,
    /// How it signs.
    #[serde(with = "display")]
    pub key_algorithm: KeyAlgorithm,
    /// What its user reads.
    #[serde(with = "display_opt")]
    pub language: Option<Language>,
    /// JWK of a second key that signs without asking the user.
    pub proof_key: Option<String>,
}

/// Who wants to sign in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginStart {
    /// What the installation calls itself.
    #[serde(with = "display")]
    pub device_fingerprint: DeviceFingerprint,
    /// Which of the devices of that name.
    #[serde(with = "display_opt")]
    pub device_id: Option<DeviceId>,
}

/// A signed challenge; only ever sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeAnswer {
    /// Which challenge.
    #[serde(with = "display")]
    pub session_id: SessionId,
    /// base64 or base64url of the signature.
    pub signature: String,
    /// Whether a refresh token is wanted.
    pub remember: bool,
}

/// E-mail and password of a user; only ever sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordLogin {
    /// As typed.
    pub email: String,
    /// As typed.
    pub password: String,
}

/// `revocations`: tokens that end before their time, and the heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// `user`, `device`, `family`, `all` or `heartbeat`.
    pub kind: String,
    /// Which; empty for all and for the heartbeat.
    pub id: String,
    /// Tokens issued up to this time are over.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// How a command ended, for its caller only; only ever encrypted.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuthReply {
    /// Why it was refused.
    #[serde(with = "display_opt")]
    pub refusal: Option<Refusal>,
    /// What a caller may know about that.
    pub detail: Option<String>,
    /// Of `register_challenge` and `login_challenge`.
    pub challenge: Option<ChallengeReply>,
    /// Of `register`.
    pub device: Option<DeviceReply>,
    /// Of `login`, `refresh` and `web_login`.
    pub tokens: Option<TokensReply>,
    /// Of `remove_device`.
    pub removed: Option<RemovedReply>,
    /// Of `set_push_token`.
    pub push: Option<PushReply>,
    /// Of everything about an action.
    pub action: Option<ActionReply>,
    /// Of `revoke`: how many families were marked.
    pub revoked: Option<i32>,
    /// Of `export_evidence`: the signed statement.
    pub evidence: Option<String>,
}

/// A challenge to sign.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeReply {
    /// Its session.
    #[serde(with = "display")]
    pub session_id: SessionId,
    /// The text to sign.
    pub challenge: String,
    /// An answer must reach the log before.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
}

/// A device that was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReply {
    /// Its id.
    #[serde(with = "display")]
    pub device_id: DeviceId,
    /// Its name.
    #[serde(with = "display")]
    pub device_name: DeviceName,
    /// What it is worth.
    #[serde(with = "display")]
    pub trust_level: TrustLevel,
    /// When.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
}

/// Tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensReply {
    /// Access token.
    pub access_token: String,
    /// Its end.
    #[serde(with = "millis")]
    pub access_expires_at: Timestamp,
    /// Refresh token.
    pub refresh_token: Option<String>,
    /// Its end.
    #[serde(with = "millis_opt")]
    pub refresh_expires_at: Option<Timestamp>,
    /// The device.
    #[serde(with = "display_opt")]
    pub device_id: Option<DeviceId>,
    /// What the session is worth.
    #[serde(with = "display_opt")]
    pub trust_level: Option<TrustLevel>,
    /// The session.
    #[serde(with = "display_opt")]
    pub session_id: Option<SessionId>,
    /// Whether the tokens need a proof of possession.
    pub bound: bool,
}

/// A device that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedReply {
    /// Which.
    #[serde(with = "display")]
    pub device_id: DeviceId,
    /// How many families went with it.
    pub revoked_tokens: i32,
}

/// A push token that was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushReply {
    /// Which device.
    #[serde(with = "display")]
    pub device_id: DeviceId,
    /// When.
    #[serde(with = "millis")]
    pub updated_at: Timestamp,
}
