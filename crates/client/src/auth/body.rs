//! What device authentication is sent.

use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Serialize)]
pub(super) struct Login<'a> {
    pub(super) email: &'a str,
    pub(super) password: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Registration<'a> {
    pub(super) device_name: &'a str,
    pub(super) device_type: &'a str,
    pub(super) device_fingerprint: &'a str,
    pub(super) public_key: &'a str,
    pub(super) key_algorithm: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) language: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) proof_key: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignedChallenge<'a> {
    pub(super) session_id: String,
    pub(super) signed_challenge: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remember_me: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refresh<'a> {
    pub(super) refresh_token: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Initiate<'a> {
    pub(super) action_type: &'a str,
    pub(super) action_payload: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) language: Option<&'a str>,
    pub(super) display_code: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) callback_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requested_expiry_seconds: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Redeem<'a> {
    pub(super) confirmation_token: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PushToken<'a> {
    pub(super) fcm_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device_id: Option<String>,
}
