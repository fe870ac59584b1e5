//! Device authentication: users, their devices, and the confirmation of sensitive actions.
//!
//! Reads, and writes that say the same twice, are sent again like those of [`Client`](crate::Client); a proof of possession
//! is made anew for each attempt, because it works once.

mod body;
mod view;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use ridgeline_domain::{
    ActionId, ActionType, DeviceFingerprint, DeviceId, DeviceName, DeviceType, KeyAlgorithm, Language, Sensitive,
    SessionId, Timestamp,
};
use ridgeline_ports::{Clock, Entropy};
use ridgeline_vault::dpop::DpopKey;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::transport::{Call, Transport, WAIT_MAX, base};
use crate::{ClientError, ClientOptions};
use body::{Initiate, Login, PushToken, Redeem, Refresh, Registration, SignedChallenge};

pub use view::{
    Approval, AuthChallenge, Confirmation, ConfirmationState, Device, Initiated, PushTokenSet, Redeemed, Registered,
    Removed, Settled, TokenType, Tokens, WebToken, rfc3339,
};

const ROOT: &str = "api/v1/auth";
const DPOP: HeaderName = HeaderName::from_static("dpop");
/// Time for a refresh: a lost answer can be asked for again for 30 s only, so no attempt may use that up.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(8);

/// On whose behalf a call is made.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'a> {
    /// A token that needs no key: a user's, or that of a device without a proof key.
    Bearer(&'a Sensitive<String>),
    /// An access token that is worth nothing without its device's proof key.
    Bound {
        /// The token.
        token: &'a Sensitive<String>,
        /// Makes the proofs.
        key: &'a DpopKey,
    },
}

/// A device to be registered.
#[derive(Debug, Clone)]
pub struct NewDevice<'a> {
    /// How its owner calls it.
    pub name: &'a DeviceName,
    /// What kind of machine it is.
    pub device_type: DeviceType,
    /// What the installation calls itself.
    pub fingerprint: &'a DeviceFingerprint,
    /// The key that signs challenges: SPKI PEM.
    pub public_key: &'a str,
    /// How it signs.
    pub algorithm: KeyAlgorithm,
    /// What its owner reads.
    pub language: Option<Language>,
    /// The key that signs without a prompt.
    pub proof_key: Option<&'a DpopKey>,
}

/// An action that somebody is to confirm. `Debug` shows nothing of its payload.
#[derive(Clone)]
pub struct InitiateAction {
    /// Its kind.
    pub action_type: ActionType,
    /// What is shown to approvers, and signed by them.
    pub action_payload: Map<String, Value>,
    /// The language of the notification.
    pub language: Option<Language>,
    /// Whether approvers type a code that the user is shown.
    pub display_code: bool,
    /// Who is told the end: an https address.
    pub callback_url: Option<String>,
    /// How long approvals count, 120 to 300 s. Default of the service: 300 s.
    pub requested_expiry_seconds: Option<u32>,
}

impl fmt::Debug for InitiateAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InitiateAction").field("action_type", &self.action_type).finish_non_exhaustive()
    }
}

/// A client of device authentication. Clones share its connections.
#[derive(Clone)]
pub struct AuthClient {
    http: Transport,
    /// What proofs say of the service's address; without a slash at the end.
    public_url: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for AuthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthClient").field("public_url", &self.public_url).finish_non_exhaustive()
    }
}

impl AuthClient {
    /// A client; connects with the first call. `clock` and `entropy` go into proofs: a clock that is more than a minute off
    /// makes every proof worthless.
    ///
    /// # Errors
    /// `BadAddress`, `BadApiKey`, `Setup`.
    pub fn new(options: ClientOptions, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self, ClientError> {
        let public_url = options.base_url.trim_end_matches('/').to_owned();
        Ok(Self { http: Transport::new(options)?, public_url, clock, entropy })
    }

    /// For a service that is reached under another address than the one it knows itself by.
    ///
    /// # Errors
    /// `BadAddress`.
    pub fn with_public_url(self, url: &str) -> Result<Self, ClientError> {
        base(url)?;
        Ok(Self { public_url: url.trim_end_matches('/').to_owned(), ..self })
    }

    /// The address that calls go to.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.http.base_url()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        self.entropy.as_ref()
    }

    /// Signs a user of the service's own in.
    ///
    /// # Errors
    /// `Refused` (401 for a wrong password, 429 for too many attempts), `Unreachable`, `TooLarge`, `Unexpected`; of all calls.
    pub async fn web_login(&self, email: &str, password: &Sensitive<String>) -> Result<WebToken, ClientError> {
        let body = Login { email, password: password.expose() };
        let call = post("login", &body, "a login")?;
        self.send(call, "a login").await
    }

    /// Asks for the challenge of a new device, on behalf of its user on the web.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`]; 422 for a key that may not be registered.
    pub async fn register_challenge(
        &self,
        web_token: &Sensitive<String>,
        device: &NewDevice<'_>,
    ) -> Result<AuthChallenge, ClientError> {
        const WHAT: &str = "a registration";
        let proof_key = device.proof_key.map(|key| serde_json::from_str(&key.jwk())).transpose();
        let body = Registration {
            device_name: device.name.as_str(),
            device_type: device.device_type.as_str(),
            device_fingerprint: device.fingerprint.as_str(),
            public_key: device.public_key,
            key_algorithm: device.algorithm.as_str(),
            language: device.language.map(Language::as_str),
            proof_key: proof_key.map_err(|_| ClientError::Unexpected { what: WHAT })?,
        };
        let call = post("devices/register/challenge", &body, WHAT)?;
        self.send(self.with(call, Credential::Bearer(web_token))?, WHAT).await
    }

    /// Answers the challenge of a new device. `proof_key` is the one that the challenge was asked for with.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`].
    pub async fn register_verify(
        &self,
        session: SessionId,
        signed_challenge: &str,
        proof_key: Option<&DpopKey>,
    ) -> Result<Registered, ClientError> {
        const WHAT: &str = "a registration";
        let body = SignedChallenge { session_id: session.to_string(), signed_challenge, remember_me: None };
        let mut call = post("devices/register/verify", &body, WHAT)?;
        self.prove(&mut call, proof_key, None);
        self.send(call, WHAT).await
    }

    /// Asks for the challenge of a login. Any fingerprint gets one, so that nobody learns which are registered.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`].
    pub async fn login_challenge(
        &self,
        fingerprint: &DeviceFingerprint,
        device: Option<DeviceId>,
    ) -> Result<AuthChallenge, ClientError> {
        let mut body = json!({ "deviceFingerprint": fingerprint.as_str() });
        if let Some(device) = device {
            body["deviceId"] = device.to_string().into();
        }
        let call = post("mobile/challenge", &body, "a login")?;
        self.send(call, "a login").await
    }

    /// Answers the challenge of a login. Without `remember` there is no refresh token.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`].
    pub async fn login(
        &self,
        session: SessionId,
        signed_challenge: &str,
        remember: bool,
    ) -> Result<Tokens, ClientError> {
        let remember_me = Some(remember);
        let body = SignedChallenge { session_id: session.to_string(), signed_challenge, remember_me };
        let call = post("mobile/biometric", &body, "a login")?;
        self.send(call, "a login").await
    }

    /// Exchanges a refresh token, which works once. Sent once: whoever lost the answer may ask again within 30 s, with the
    /// device's proof key and the same token.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`]; 401 also says that the session has ended.
    pub async fn refresh(
        &self,
        refresh_token: &Sensitive<String>,
        proof_key: Option<&DpopKey>,
    ) -> Result<Tokens, ClientError> {
        let body = Refresh { refresh_token: refresh_token.expose() };
        let mut call = post("mobile/refresh", &body, "a refresh")?;
        call.timeout = Some(REFRESH_TIMEOUT);
        self.prove(&mut call, proof_key, None);
        self.send(call, "a refresh").await
    }

    /// Asks for an action to be confirmed.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`]; 422 where a rule forbids it, for instance without a registered device.
    pub async fn initiate(
        &self,
        web_token: &Sensitive<String>,
        action: &InitiateAction,
    ) -> Result<Initiated, ClientError> {
        const WHAT: &str = "the start of a confirmation";
        let body = Initiate {
            action_type: action.action_type.as_str(),
            action_payload: &action.action_payload,
            language: action.language.map(Language::as_str),
            display_code: action.display_code,
            callback_url: action.callback_url.as_deref(),
            requested_expiry_seconds: action.requested_expiry_seconds,
        };
        let call = post("confirmation/initiate", &body, WHAT)?;
        self.send(self.with(call, Credential::Bearer(web_token))?, WHAT).await
    }

    /// How far a confirmation is; waits up to `wait` (at most 30 s, whole seconds) for its end.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`]; 404 for one that is not the caller's.
    pub async fn status(
        &self,
        credential: Credential<'_>,
        id: ActionId,
        wait: Duration,
    ) -> Result<Confirmation, ClientError> {
        let wait = wait.min(WAIT_MAX);
        let query = if wait.as_secs() > 0 { format!("?wait={}", wait.as_secs()) } else { String::new() };
        let mut call = Call::new(Method::GET, format!("{ROOT}/confirmation/{id}/status{query}"));
        call.wait = wait;
        self.send(self.with(call, credential)?, "the status of a confirmation").await
    }

    /// The confirmations that wait for the caller.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`].
    pub async fn pending(&self, credential: Credential<'_>) -> Result<Vec<Confirmation>, ClientError> {
        let call = Call::new(Method::GET, format!("{ROOT}/confirmation?status=pending"));
        self.send(self.with(call, credential)?, "the list of confirmations").await
    }

    /// Approves an action with the signature of its challenge. `display_code` where the initiator asked for one.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`]; 409 for one that has ended.
    pub async fn verify(
        &self,
        credential: Credential<'_>,
        id: ActionId,
        device: DeviceId,
        signed_challenge: &str,
        display_code: Option<&str>,
    ) -> Result<Settled, ClientError> {
        const WHAT: &str = "an approval";
        let mut body = json!({ "deviceId": device.to_string(), "signedChallenge": signed_challenge });
        if let Some(code) = display_code {
            body["displayCode"] = code.into();
        }
        let call = post(&format!("confirmation/{id}/verify"), &body, WHAT)?;
        self.send(self.with(call, credential)?, WHAT).await
    }

    /// Refuses an action; `reason` has at most 500 characters.
    ///
    /// # Errors
    /// As [`AuthClient::verify`].
    pub async fn reject(
        &self,
        credential: Credential<'_>,
        id: ActionId,
        reason: Option<&str>,
    ) -> Result<Settled, ClientError> {
        const WHAT: &str = "a refusal";
        let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
        let call = post(&format!("confirmation/{id}/reject"), &body, WHAT)?;
        self.send(self.with(call, credential)?, WHAT).await
    }

    /// Says that the device has shown a confirmation to its user.
    ///
    /// # Errors
    /// As [`AuthClient::verify`].
    pub async fn received(&self, credential: Credential<'_>, id: ActionId) -> Result<Settled, ClientError> {
        const WHAT: &str = "a receipt";
        let mut call = post(&format!("confirmation/{id}/received"), &json!({}), WHAT)?;
        call.repeatable = true;
        self.send(self.with(call, credential)?, WHAT).await
    }

    /// Uses up the token of an approved action, before the action is carried out.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`]; 409 for a token that was used.
    pub async fn redeem(
        &self,
        web_token: &Sensitive<String>,
        id: ActionId,
        confirmation_token: &Sensitive<String>,
    ) -> Result<Redeemed, ClientError> {
        const WHAT: &str = "the redemption of a confirmation";
        let body = Redeem { confirmation_token: confirmation_token.expose() };
        let call = post(&format!("confirmation/{id}/redeem"), &body, WHAT)?;
        self.send(self.with(call, Credential::Bearer(web_token))?, WHAT).await
    }

    /// The caller's devices, the oldest first.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`].
    pub async fn devices(&self, credential: Credential<'_>) -> Result<Vec<Device>, ClientError> {
        let call = Call::new(Method::GET, format!("{ROOT}/devices"));
        self.send(self.with(call, credential)?, "the list of devices").await
    }

    /// Removes a device and ends its sessions.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`]; 404 for one that is not the caller's.
    pub async fn remove_device(&self, credential: Credential<'_>, device: DeviceId) -> Result<Removed, ClientError> {
        let call = Call::new(Method::DELETE, format!("{ROOT}/devices/{device}"));
        self.send(self.with(call, credential)?, "the removal of a device").await
    }

    /// Says where a device is notified. `device` is needed with a user's token.
    ///
    /// # Errors
    /// As [`AuthClient::web_login`].
    pub async fn set_push_token(
        &self,
        credential: Credential<'_>,
        push_token: &Sensitive<String>,
        device: Option<DeviceId>,
    ) -> Result<PushTokenSet, ClientError> {
        const WHAT: &str = "a push token";
        let body = PushToken { fcm_token: push_token.expose(), device_id: device.map(|id| id.to_string()) };
        let mut call = post("devices/fcm-token", &body, WHAT)?;
        call.method = Method::PUT;
        call.repeatable = true;
        self.send(self.with(call, credential)?, WHAT).await
    }

    async fn send<T: DeserializeOwned>(&self, call: Call<'_>, what: &'static str) -> Result<T, ClientError> {
        let (_, bytes) = self.http.exchange(&call).await?;
        let bytes = Sensitive::new(bytes);
        let answer = serde_json::from_slice::<view::Data<T>>(bytes.expose());
        answer.map(|answer| answer.data).map_err(|_| ClientError::Unexpected { what })
    }

    /// Makes the call on somebody's behalf.
    fn with<'a>(&'a self, mut call: Call<'a>, credential: Credential<'a>) -> Result<Call<'a>, ClientError> {
        let (scheme, token) = match credential {
            Credential::Bearer(token) => ("Bearer", token),
            Credential::Bound { token, key } => {
                self.prove(&mut call, Some(key), Some(token));
                ("DPoP", token)
            }
        };
        let value = Sensitive::new(format!("{scheme} {}", token.expose()));
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| ClientError::BadToken)?;
        value.set_sensitive(true);
        call.headers.insert(AUTHORIZATION, value);
        Ok(call)
    }

    /// Puts a fresh proof on each attempt.
    fn prove<'a>(&'a self, call: &mut Call<'a>, key: Option<&'a DpopKey>, token: Option<&'a Sensitive<String>>) {
        let Some(key) = key else { return };
        let (method, url) = (call.method.clone(), format!("{}/{}", self.public_url, call.path));
        call.fresh = Some(Box::new(move || {
            let token = token.map(|token| token.expose().as_str());
            let proof = key.prove(method.as_str(), &url, self.now(), token, self.entropy());
            let mut value = HeaderValue::from_str(&proof).map_err(|_| ClientError::BadToken)?;
            value.set_sensitive(true);
            Ok(HeaderMap::from_iter([(DPOP, value)]))
        }));
    }
}

/// A call with a body.
fn post<'a>(path: &str, body: &impl Serialize, what: &'static str) -> Result<Call<'a>, ClientError> {
    let mut call = Call::new(Method::POST, format!("{ROOT}/{path}"));
    let bytes = serde_json::to_vec(body).map_err(|_| ClientError::Unexpected { what })?;
    call.body = Some((HeaderValue::from_static("application/json"), bytes));
    Ok(call)
}

#[cfg(test)]
mod tests;
