//! A phone in software: its keys, its session, and what it approves. For tools and tests, and to read how an app does it.
//!
//! All it knows lies in one file of mode 0600. Processes may share the file: whoever changes it holds a lock and reads it
//! again first, and a refresh token is replaced in the file before the new tokens are used.
//!
//! It signs two things: challenges that approve nothing, to register and to sign in, and the challenge of an action whose
//! digest is that of the action it was shown. A service cannot pass one off as the other.

mod error;
mod show;
mod state;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ridgeline_domain::{
    ActionId, DeviceFingerprint, DeviceId, DeviceName, DeviceType, DurationMs, KeyAlgorithm, Language, Sensitive,
    Timestamp, TrustLevel,
};
use ridgeline_ports::Entropy;
use ridgeline_vault::dpop::DpopKey;
use ridgeline_vault::{Challenge, DeviceSigner, action_digest};

use crate::{
    AuthClient, ClientError, Confirmation, Credential, Device, NewDevice, Registered, Settled, TokenType, Tokens,
};
use state::{Registration, Session, State, damaged_at, lock};

pub use error::PhoneError;
pub use show::{shown_payload, visible};

/// An access token with less time than this left is replaced before it is used.
const ACCESS_LEFT_MIN: DurationMs = DurationMs::from_secs(60);
/// The service gives the answer of a refresh again for 30 s; what is missing here is for the way.
const REPEAT_WITHIN: DurationMs = DurationMs::from_secs(25);
/// First pause before a refresh is sent again; doubles each time.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// How often nobody is found at the address until that counts as the answer.
const CONNECTS_MAX: u32 = 3;

/// A phone and its file. `Debug` shows nothing of its keys and tokens.
pub struct Phone {
    path: PathBuf,
    signer: DeviceSigner,
    proof: DpopKey,
    state: State,
}

impl std::fmt::Debug for Phone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Phone").field("path", &self.path).field("device", &self.device_id()).finish_non_exhaustive()
    }
}

/// How a phone presents itself.
#[derive(Debug, Clone)]
pub struct Profile {
    /// How its owner calls it.
    pub name: DeviceName,
    /// What kind of machine it is.
    pub device_type: DeviceType,
    /// What its owner reads.
    pub language: Option<Language>,
}

/// How long a phone is signed in, and what that is worth.
#[derive(Debug, Clone, Copy)]
pub struct SignedIn {
    /// When the access token is over.
    pub access_expires_at: Timestamp,
    /// When the session is over unless it is prolonged until then.
    pub refresh_expires_at: Option<Timestamp>,
    /// What the session is worth.
    pub trust_level: Option<TrustLevel>,
}

/// An access token that is good for a while.
#[derive(Debug, Clone)]
pub struct Access {
    token: Sensitive<String>,
    is_bound: bool,
}

impl Phone {
    /// A new phone with keys of its own, in a new file.
    ///
    /// # Errors
    /// `File`, with kind `AlreadyExists` if there is one: the keys in it would be lost.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, PhoneError> {
        let signer = DeviceSigner::generate(entropy)?;
        let proof = DpopKey::generate(entropy)?;
        let scalar = URL_SAFE_NO_PAD.encode(proof.private_bytes().as_slice());
        let state = State::new(&signer.to_pem()?, scalar, fingerprint(entropy, path)?);
        state.create(path)?;
        Ok(Self { path: path.to_owned(), signer, proof, state })
    }

    /// The phone of a file.
    ///
    /// # Errors
    /// `File` if it is missing or others may read it, `NotAPhone`, `OtherVersion`.
    pub fn open(path: &Path) -> Result<Self, PhoneError> {
        let state = State::read(path)?;
        let damaged = || damaged_at(path, 1);
        let signer = DeviceSigner::from_pem(state.signing_key.expose()).map_err(|_| damaged())?;
        let scalar = Sensitive::new(URL_SAFE_NO_PAD.decode(state.proof_key.expose()).map_err(|_| damaged())?);
        let proof = DpopKey::from_bytes(scalar.expose()).map_err(|_| damaged())?;
        Ok(Self { path: path.to_owned(), signer, proof, state })
    }

    /// What the installation calls itself.
    #[must_use]
    pub const fn fingerprint(&self) -> &DeviceFingerprint {
        &self.state.fingerprint
    }

    /// Its id, once it is registered.
    #[must_use]
    pub fn device_id(&self) -> Option<DeviceId> {
        self.state.registered.as_ref().map(|registered| registered.device)
    }

    /// Address of the service where it is registered.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.state.registered.as_ref().map(|registered| registered.service.as_str())
    }

    /// Registers the phone for the user of `web_token`, or once more, which ends its session.
    ///
    /// # Errors
    /// `Call`, `NoPlainChallenge`, and those of the file.
    pub async fn register(
        &mut self,
        client: &AuthClient,
        web_token: &Sensitive<String>,
        profile: &Profile,
    ) -> Result<Registered, PhoneError> {
        let _lock = self.lock().await?;
        let device = NewDevice {
            name: &profile.name,
            device_type: profile.device_type,
            fingerprint: &self.state.fingerprint,
            public_key: &self.signer.public_pem()?,
            algorithm: KeyAlgorithm::Es256,
            language: profile.language,
            proof_key: Some(&self.proof),
        };
        let challenge = client.register_challenge(web_token, &device).await?;
        let signed = self.sign_plain(&challenge.text)?;
        let registered = client.register_verify(challenge.session_id, &signed, Some(&self.proof)).await?;
        let service = client.base_url().to_owned();
        self.state.registered = Some(Registration { device: registered.device_id, service });
        self.state.session = None;
        self.state.replace(&self.path)?;
        Ok(registered)
    }

    /// Signs in. A session that is open stays open with the service until it is over.
    ///
    /// # Errors
    /// `NotRegistered`, `Call`, `NoPlainChallenge`, `OtherDevice`, and those of the file.
    pub async fn login(&mut self, client: &AuthClient) -> Result<SignedIn, PhoneError> {
        let _lock = self.lock().await?;
        let device = self.device_id().ok_or(PhoneError::NotRegistered)?;
        let challenge = client.login_challenge(&self.state.fingerprint, Some(device)).await?;
        let signed = self.sign_plain(&challenge.text)?;
        let tokens = client.login(challenge.session_id, &signed, true).await?;
        self.keep(tokens)
    }

    /// Replaces the tokens. When the answer is lost, asks for it again while the service still gives it.
    ///
    /// # Errors
    /// `NotSignedIn`, `SessionOver`, `SessionEnded`, `AnswerLost`, `Call`, and those of the file.
    pub async fn refresh(&mut self, client: &AuthClient) -> Result<SignedIn, PhoneError> {
        let _lock = self.lock().await?;
        self.rotate(client).await
    }

    /// A token for calls. Refreshes when less than 60 s are left.
    ///
    /// # Errors
    /// As [`Phone::refresh`].
    pub async fn access(&mut self, client: &AuthClient) -> Result<Access, PhoneError> {
        self.reload()?;
        if let Some(access) = self.live_access(client.now()) {
            return Ok(access);
        }
        let _lock = self.lock().await?;
        // Another process may have refreshed while this one waited.
        if let Some(access) = self.live_access(client.now()) {
            return Ok(access);
        }
        self.rotate(client).await?;
        self.state.session.as_ref().map(Session::access).ok_or(PhoneError::NotSignedIn)
    }

    /// The confirmations that wait for the phone's user.
    ///
    /// # Errors
    /// As [`Phone::access`].
    pub async fn pending(&mut self, client: &AuthClient) -> Result<Vec<Confirmation>, PhoneError> {
        let access = self.access(client).await?;
        Ok(client.pending(self.credential(&access)).await?)
    }

    /// One confirmation; waits up to `wait` (at most 30 s) for its end.
    ///
    /// # Errors
    /// As [`Phone::access`].
    pub async fn confirmation(
        &mut self,
        client: &AuthClient,
        id: ActionId,
        wait: Duration,
    ) -> Result<Confirmation, PhoneError> {
        let access = self.access(client).await?;
        Ok(client.status(self.credential(&access), id, wait).await?)
    }

    /// Approves what was shown: takes the confirmation itself and not its id, so that nothing can be put in its place
    /// between the showing and the signing.
    ///
    /// # Errors
    /// `OtherAction` if the challenge approves anything but the shown action, `NotPending`, `NoChallenge`, `NotRegistered`:
    /// nothing was signed then. And as [`Phone::access`].
    pub async fn approve(
        &mut self,
        client: &AuthClient,
        shown: &Confirmation,
        display_code: Option<&str>,
    ) -> Result<Settled, PhoneError> {
        let access = self.access(client).await?;
        let device = self.device_id().ok_or(PhoneError::NotRegistered)?;
        let signed = self.sign_action(shown)?;
        let (credential, id) = (self.credential(&access), shown.confirmation_id);
        Ok(client.verify(credential, id, device, &signed, display_code).await?)
    }

    /// Refuses an action.
    ///
    /// # Errors
    /// As [`Phone::access`].
    pub async fn reject(
        &mut self,
        client: &AuthClient,
        id: ActionId,
        reason: Option<&str>,
    ) -> Result<Settled, PhoneError> {
        let access = self.access(client).await?;
        Ok(client.reject(self.credential(&access), id, reason).await?)
    }

    /// Says that a confirmation was shown to the phone's user.
    ///
    /// # Errors
    /// As [`Phone::access`].
    pub async fn received(&mut self, client: &AuthClient, id: ActionId) -> Result<Settled, PhoneError> {
        let access = self.access(client).await?;
        Ok(client.received(self.credential(&access), id).await?)
    }

    /// Lets the service know that the phone looks for what waits by itself, so that it counts among those that are told.
    ///
    /// # Errors
    /// As [`Phone::access`].
    pub async fn watches(&mut self, client: &AuthClient) -> Result<(), PhoneError> {
        let access = self.access(client).await?;
        let device = self.device_id().ok_or(PhoneError::NotRegistered)?;
        let name = Sensitive::new(format!("watch:{device}"));
        client.set_push_token(self.credential(&access), &name, None).await?;
        Ok(())
    }

    /// The devices of the phone's user.
    ///
    /// # Errors
    /// As [`Phone::access`].
    pub async fn devices(&mut self, client: &AuthClient) -> Result<Vec<Device>, PhoneError> {
        let access = self.access(client).await?;
        Ok(client.devices(self.credential(&access)).await?)
    }

    /// What a call with this token is made with.
    #[must_use]
    pub const fn credential<'a>(&'a self, access: &'a Access) -> Credential<'a> {
        if access.is_bound {
            Credential::Bound { token: &access.token, key: &self.proof }
        } else {
            Credential::Bearer(&access.token)
        }
    }

    /// The lock, and what the file says under it.
    async fn lock(&mut self) -> Result<std::fs::File, PhoneError> {
        let lock = lock(&self.path).await?;
        self.reload()?;
        Ok(lock)
    }

    fn reload(&mut self) -> Result<(), PhoneError> {
        *self = Self::open(&self.path)?;
        Ok(())
    }

    fn live_access(&self, now: Timestamp) -> Option<Access> {
        let session = self.state.session.as_ref()?;
        let left = Timestamp::from_millis(session.access_expires_at_ms).since(now);
        (left > ACCESS_LEFT_MIN).then(|| session.access())
    }

    /// Makes the exchange of the refresh token, under the lock. The file says that it is on its way before it is sent: a
    /// token that may have been replaced is presented again only while the service takes that for a lost answer.
    async fn rotate(&mut self, client: &AuthClient) -> Result<SignedIn, PhoneError> {
        let session = self.state.session.as_ref().ok_or(PhoneError::NotSignedIn)?;
        let token = session.refresh_token.clone().ok_or(PhoneError::SessionOver)?;
        let mut has_arrived = session.refresh_sent_at_ms.is_some();
        let first = session.refresh_sent_at_ms.map_or_else(|| client.now(), Timestamp::from_millis);
        if !may_repeat(first, client.now()) {
            return Err(PhoneError::AnswerLost);
        }
        self.mark_sent(Some(first))?;
        let (mut pause, mut attempts) = (PAUSE_FIRST, 0);
        loop {
            let error = match client.refresh(&token, Some(&self.proof)).await {
                Ok(tokens) => return self.keep(tokens),
                Err(error) => error,
            };
            attempts += 1;
            if error.problem().is_some_and(|problem| problem.status == 401) {
                self.state.session = None;
                self.state.replace(&self.path)?;
                return Err(PhoneError::SessionEnded(error));
            }
            has_arrived |= may_have_arrived(&error);
            let is_worth_it = if has_arrived { is_open(&error) } else { is_open(&error) && attempts < CONNECTS_MAX };
            if !is_worth_it || !may_repeat(first, client.now().plus(millis(pause))) {
                if !has_arrived {
                    self.mark_sent(None)?;
                }
                return Err(error.into());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn mark_sent(&mut self, at: Option<Timestamp>) -> Result<(), PhoneError> {
        let Some(session) = &mut self.state.session else { return Ok(()) };
        session.refresh_sent_at_ms = at.map(Timestamp::millis);
        self.state.replace(&self.path)
    }

    /// Puts new tokens into the file; only then they are used.
    fn keep(&mut self, tokens: Tokens) -> Result<SignedIn, PhoneError> {
        if tokens.device_id.is_some_and(|device| self.device_id() != Some(device)) {
            return Err(PhoneError::OtherDevice);
        }
        let signed_in = SignedIn {
            access_expires_at: tokens.access_token_expires_at,
            refresh_expires_at: tokens.refresh_token_expires_at,
            trust_level: tokens.trust_level,
        };
        self.state.session = Some(Session {
            access_token: tokens.access_token,
            access_expires_at_ms: tokens.access_token_expires_at.millis(),
            is_bound: tokens.token_type == TokenType::Dpop,
            refresh_token: tokens.refresh_token,
            refresh_sent_at_ms: None,
        });
        self.state.replace(&self.path)?;
        Ok(signed_in)
    }

    /// Signs to register or to sign in. A challenge that approves an action is refused: nobody was shown it.
    fn sign_plain(&self, text: &Sensitive<String>) -> Result<String, PhoneError> {
        let challenge = Challenge::from_text(text.expose()).map_err(|_| PhoneError::NoPlainChallenge)?;
        if !challenge.is_plain() {
            return Err(PhoneError::NoPlainChallenge);
        }
        Ok(self.signer.sign(&challenge))
    }

    /// Signs to approve the action that was shown, and no other.
    fn sign_action(&self, shown: &Confirmation) -> Result<String, PhoneError> {
        if shown.status != crate::ConfirmationState::Pending {
            return Err(PhoneError::NotPending(shown.status));
        }
        let text = shown.challenge.as_ref().ok_or(PhoneError::NoChallenge)?;
        let challenge = Challenge::from_text(text.expose()).map_err(|_| PhoneError::OtherAction)?;
        let payload = serde_json::to_string(&shown.action_payload).map_err(|_| PhoneError::OtherAction)?;
        let digest = action_digest(shown.action_type.as_str(), &payload).map_err(|_| PhoneError::OtherAction)?;
        if !challenge.approves(&digest) {
            return Err(PhoneError::OtherAction);
        }
        Ok(self.signer.sign(&challenge))
    }
}

impl Session {
    fn access(&self) -> Access {
        Access { token: self.access_token.clone(), is_bound: self.is_bound }
    }
}

/// Whether a refresh token that was first presented at `first` may be presented at `now`.
fn may_repeat(first: Timestamp, now: Timestamp) -> bool {
    (0..=REPEAT_WITHIN.0).contains(&now.since(first).0)
}

/// Whether the service may have carried the refresh out although it did not say so.
fn may_have_arrived(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { source, .. } => !source.is_connect(),
        ClientError::Refused(problem) => problem.status >= 500,
        _ => true,
    }
}

/// Whether the next attempt may end otherwise. A service that holds callers to a rate only lets them wait longer.
fn is_open(error: &ClientError) -> bool {
    match error {
        ClientError::Refused(problem) => problem.status >= 500,
        ClientError::Unreachable { .. } | ClientError::TooLarge { .. } | ClientError::Unexpected { .. } => true,
        _ => false,
    }
}

fn millis(span: Duration) -> DurationMs {
    DurationMs(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

/// A random UUID (RFC 9562, version 4).
fn fingerprint(entropy: &dyn Entropy, path: &Path) -> Result<DeviceFingerprint, PhoneError> {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    let bits = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
    parts.join("-").parse().map_err(|_| damaged_at(path, 1))
}

#[cfg(test)]
mod tests;
