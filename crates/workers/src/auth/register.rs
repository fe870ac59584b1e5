//! Registration: a signed-in user's new device gets a challenge, and proves by its signature that it holds the key.

use ridgeline_domain::{
    AuthOperation, DeviceId, DurationMs, ErrorCode, KeyAlgorithm, Language, Refusal, Sensitive, UserId,
};
use ridgeline_flow::auth::{Consumption, Handed, KnownDevice, Newcomer, admit, consume};
use ridgeline_identity::UserCaller;
use ridgeline_ports::{PlainWrite, RowKey};
use ridgeline_runtime::StepError;
use ridgeline_vault::{Challenge, DeviceKey, DeviceSignature, derive_id, dpop, request_digest};
use ridgeline_wire::action_row::{self, RoleUserRow};
use ridgeline_wire::auth::{AuthReply, ChallengeReply, DeviceReply, Registration};
use ridgeline_wire::auth_row::{
    ClientDetails, DeviceRow, FingerprintRow, KeyOwnerRow, SessionRow, UserChange, UserDevice, UserDevicesRow, table,
};
use ridgeline_wire::{decode, encode};

use super::due::DueKind;
use super::rows::{Loaded, insert, load, open, put, replace, seal};
use super::{Halt, Work};
use crate::platform::{Platform, cpu_fault, wire_fault};

/// How long a registration challenge may be answered.
const CHALLENGE_LIFE: DurationMs = DurationMs::from_secs(5 * 60);
/// Changes of a user's devices that are remembered: a redelivered request finds its own.
const CHANGES_MAX: usize = 32;

/// Keyed digest of a fingerprint: it is an identifier of somebody's phone.
pub(super) fn fingerprint_digest(platform: &Platform, fingerprint: &str) -> Vec<u8> {
    request_digest(&platform.vault, [b"device-fingerprint".as_slice(), fingerprint.as_bytes()]).to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The keys of a registration, checked.
struct Keys {
    device: DeviceKey,
    proof: Option<DeviceKey>,
}

fn keys(registration: &Registration) -> Result<Keys, Halt> {
    let refused = |error: ridgeline_vault::DeviceKeyError| Halt::Refused(Refusal::KeyRefused, Some(error.to_string()));
    let pem = Sensitive::new(registration.public_key.clone());
    let device = DeviceKey::from_pem(registration.key_algorithm, pem).map_err(refused)?;
    let proof = registration.proof_key.as_deref().map(dpop::proof_key_from_jwk).transpose().map_err(refused)?;
    if proof.as_ref().is_some_and(|proof| proof.digest() == device.digest()) {
        let detail = "proofKey must be another key than publicKey";
        return Err(Halt::Refused(Refusal::KeyRefused, Some(detail.to_owned())));
    }
    Ok(Keys { device, proof })
}

impl Work<'_> {
    /// A challenge for a new device of the caller.
    pub(super) async fn register_challenge(&mut self) -> Result<AuthReply, Halt> {
        let UserCaller { user, roles, .. } = self.user().await?;
        let registration = self.needed(&self.command.body.registration)?;
        keys(registration)?;
        let platform = &self.auth.platform;
        let session = self.command.new_session();
        let sealed =
            self.sealed_column(&session.to_string(), "registration", &encode(registration).map_err(wire_fault)?)?;
        let row = SessionRow {
            user: Some(user),
            roles,
            registration: Some(sealed),
            fingerprint: fingerprint_digest(platform, registration.device_fingerprint.as_str()),
            ..self.session_row(AuthOperation::Register, CHALLENGE_LIFE)?
        };
        self.handed_out(row).await
    }

    fn sealed_column(&self, session: &str, column: &str, plaintext: &[u8]) -> Result<Vec<u8>, StepError> {
        seal(&self.auth.platform, table::SESSIONS, session, column, plaintext)
    }

    /// A session of this command with a fresh challenge.
    pub(super) fn session_row(&self, purpose: AuthOperation, life: DurationMs) -> Result<SessionRow, StepError> {
        let session_id = self.command.new_session();
        let key = session_id.to_string();
        let challenge = Challenge::generate(&*self.auth.platform.entropy);
        let body = &self.command.body;
        let client = ClientDetails { address: body.address.clone(), user_agent: body.user_agent.clone() };
        Ok(SessionRow {
            session_id,
            purpose,
            challenge: self.sealed_column(&key, "challenge", challenge.text().as_bytes())?,
            client: self.sealed_column(&key, "client", &encode(&client).map_err(wire_fault)?)?,
            user: None,
            roles: Vec::new(),
            registration: None,
            candidates: Vec::new(),
            fingerprint: Vec::new(),
            created_at: self.command.now,
            expires_at: self.command.now.plus(life),
            consumed_by: None,
            verified_at: None,
            device_id: None,
            trust_level: None,
        })
    }

    /// Stores the session and answers its challenge; a repeated command answers the one that is stored.
    pub(super) async fn handed_out(&mut self, row: SessionRow) -> Result<AuthReply, Halt> {
        let platform = &self.auth.platform;
        let key = row.session_id.to_string();
        let there = insert(platform, table::SESSIONS, &key, &row, Some(row.expires_at)).await?;
        let row = there.map_or(row, |there| there.row);
        self.about.session = Some(row.session_id);
        self.due(DueKind::Session, &key, row.expires_at).await?;
        let challenge = challenge_text(&self.auth.platform, &row)?;
        let challenge = ChallengeReply {
            session_id: row.session_id,
            challenge: challenge.expose().clone(),
            expires_at: row.expires_at,
        };
        Ok(AuthReply { challenge: Some(challenge), ..AuthReply::default() })
    }

    /// Registers the device whose signature answers the challenge.
    pub(super) async fn register(&mut self) -> Result<AuthReply, Halt> {
        let platform = &self.auth.platform;
        let answer = self.needed(&self.command.body.answer)?;
        let (id, now) = (self.command.id, self.command.now);
        let key = answer.session_id.to_string();
        let loaded = load::<SessionRow>(platform, table::SESSIONS, &key).await?;
        let mut loaded =
            loaded.filter(|loaded| loaded.row.purpose == AuthOperation::Register).ok_or(Refusal::UnknownSession)?;
        self.about.session = Some(loaded.row.session_id);
        self.about.user = loaded.row.user.clone();
        self.begun_by_a_living_token(&loaded.row).await?;
        let registration = registration_of(platform, &loaded.row)?;
        let keys = keys(&registration)?;
        let proven = self.signed_by(&keys.device, &loaded.row, &answer.signature).await?;
        let consumption = consume(Some(&handed(&loaded.row)), AuthOperation::Register, id, now, proven)?;
        let device = DeviceId::from_bytes(derive_id("device", id));
        self.about.device = Some(device);
        if consumption == Consumption::First {
            self.prove_possession(keys.proof.as_ref(), REGISTER_PATH).await?;
            loaded.row.consumed_by = Some(id);
            loaded.row.verified_at = Some(now);
            loaded.row.device_id = Some(device);
            replace(platform, table::SESSIONS, &key, &loaded, Some(loaded.row.expires_at)).await?;
            self.not_due(DueKind::Session, &key, loaded.row.expires_at).await?;
        }
        self.admitted(&loaded.row, &registration, &keys, device).await
    }

    /// Tokens that were ended since take the registrations with them that they began.
    async fn begun_by_a_living_token(&self, session: &SessionRow) -> Result<(), Halt> {
        if session.consumed_by == Some(self.command.id) {
            return Ok(());
        }
        let user = session.user.as_ref().ok_or(Refusal::UnknownSession)?;
        if self.is_revoked(user, None, session.created_at).await? { Err(Refusal::Revoked.into()) } else { Ok(()) }
    }

    /// Everything after the challenge was used up; each step finds what an earlier attempt of this request did.
    async fn admitted(
        &mut self,
        session: &SessionRow,
        registration: &Registration,
        keys: &Keys,
        device: DeviceId,
    ) -> Result<AuthReply, Halt> {
        let platform = &self.auth.platform;
        let now = self.command.now;
        let user = session.user.clone().ok_or(Refusal::UnknownSession)?;
        let owner = KeyOwnerRow { user: user.clone(), fingerprint: session.fingerprint.clone() };
        let key_digest = hex(&keys.device.digest());
        let there = insert(platform, table::KEY_OWNERS, &key_digest, &owner, None).await?;
        let newcomer = Newcomer {
            device,
            fingerprint: session.fingerprint.clone(),
            key_is_foreign: there.is_some_and(|there| there.row != owner),
        };
        // Before it is among its user's: who replaces it finds it, and without a place in the index nobody can use it.
        let row = self.device_row(&user, session, registration, (keys, device))?;
        insert(platform, table::DEVICES, &device.to_string(), &row, None).await?;
        let replaced = self.added(&user, &newcomer).await?;
        let row =
            load::<DeviceRow>(platform, table::DEVICES, &device.to_string()).await?.map_or(row, |there| there.row);
        if !row.is_active {
            // Another registration of the same installation has replaced it already.
            return Err(Refusal::Revoked.into());
        }
        let index = RowKey::new(hex(&session.fingerprint), device.to_string());
        let write = PlainWrite { at: now, expires_at: None };
        put(platform, table::DEVICE_FINGERPRINTS, &index, &FingerprintRow { user }, write).await?;
        for role in &row.roles {
            let key = RowKey::new(role.as_str(), row.user.as_str());
            let entry = RoleUserRow { registered_at: row.created_at };
            put(&self.auth.platform, action_row::table::ROLE_USERS, &key, &entry, write).await?;
        }
        if let Some(replaced) = replaced {
            self.end_device(replaced, "replaced").await?;
        }
        let level = self.auth.parts.config.trust.level(
            row.key_algorithm,
            row.device_type,
            row.proof_thumbprint.is_some(),
            now,
            now,
        );
        let reply =
            DeviceReply { device_id: device, device_name: row.name, trust_level: level, created_at: row.created_at };
        Ok(AuthReply { device: Some(reply), ..AuthReply::default() })
    }

    /// Adds the device to its user's; answers the one it replaces.
    async fn added(&self, user: &UserId, newcomer: &Newcomer) -> Result<Option<DeviceId>, Halt> {
        let (platform, id) = (&self.auth.platform, self.command.id);
        let loaded = load::<UserDevicesRow>(platform, table::USER_DEVICES, user.as_str()).await?;
        let done = loaded.as_ref().and_then(|loaded| loaded.row.changes.iter().find(|change| change.request_id == id));
        if let Some(change) = done {
            return Ok(change.removed);
        }
        let known = loaded.as_ref().map(|loaded| known(&loaded.row)).unwrap_or_default();
        let admission = admit(&known, newcomer)?;
        let change = UserChange { request_id: id, removed: admission.replaces };
        write_devices(platform, user, loaded, &admission.devices, change).await?;
        Ok(admission.replaces)
    }

    fn device_row(
        &self,
        user: &UserId,
        session: &SessionRow,
        registration: &Registration,
        (keys, device_id): (&Keys, DeviceId),
    ) -> Result<DeviceRow, StepError> {
        let (platform, now, key) = (&self.auth.platform, self.command.now, device_id.to_string());
        let column = |name, bytes: &[u8]| seal(platform, table::DEVICES, &key, name, bytes);
        Ok(DeviceRow {
            device_id,
            user: user.clone(),
            name: registration.device_name.clone(),
            device_type: registration.device_type,
            fingerprint: session.fingerprint.clone(),
            key_algorithm: registration.key_algorithm,
            public_key: column("public_key", keys.device.spki_der())?,
            proof_key: keys.proof.as_ref().map(|proof| column("proof_key", proof.spki_der())).transpose()?,
            proof_thumbprint: keys.proof.as_ref().map(DeviceKey::jwk_thumbprint),
            language: registration.language.unwrap_or(Language::En),
            push_token: None,
            roles: session.roles.clone(),
            is_active: true,
            registered_by: self.command.id,
            removed_by: None,
            last_used_at: now,
            created_at: now,
            updated_at: now,
        })
    }

    /// Whether `signature` is the key's over the session's challenge.
    async fn signed_by(&self, key: &DeviceKey, session: &SessionRow, signature: &str) -> Result<bool, Halt> {
        let Ok(signature) = DeviceSignature::from_text(signature) else { return Ok(false) };
        let challenge = challenge_text(&self.auth.platform, session)?;
        let key = key.clone();
        let check = move || key.verify(challenge.expose().as_bytes(), &signature).is_ok();
        Ok(self.auth.platform.cpu.run(check).await.map_err(cpu_fault)?)
    }
}

/// Where the answer to a registration challenge is sent.
const REGISTER_PATH: &str = "/api/v1/auth/devices/register/verify";

/// What deciding code sees of a session.
pub(super) fn handed(row: &SessionRow) -> Handed {
    Handed { purpose: row.purpose, expires_at: row.expires_at, consumed_by: row.consumed_by }
}

/// The text that a session's device signs.
pub(super) fn challenge_text(platform: &Platform, row: &SessionRow) -> Result<Sensitive<String>, StepError> {
    let text = open(platform, table::SESSIONS, &row.session_id.to_string(), "challenge", &row.challenge)?;
    let text = std::str::from_utf8(text.expose()).map_err(|_| damaged())?;
    Ok(Sensitive::new(text.to_owned()))
}

fn registration_of(platform: &Platform, row: &SessionRow) -> Result<Registration, StepError> {
    let sealed = row.registration.as_deref().ok_or_else(damaged)?;
    let bytes = open(platform, table::SESSIONS, &row.session_id.to_string(), "registration", sealed)?;
    decode(bytes.expose()).map_err(wire_fault)
}

/// The public key in a column of a device's row.
pub(super) fn stored_key(
    platform: &Platform,
    device: DeviceId,
    (column, algorithm): (&str, KeyAlgorithm),
    ciphertext: &[u8],
) -> Result<DeviceKey, StepError> {
    let der = open(platform, table::DEVICES, &device.to_string(), column, ciphertext)?;
    DeviceKey::from_spki_der(algorithm, der.expose()).map_err(|_| damaged())
}

fn damaged() -> StepError {
    StepError::poison(ErrorCode::Internal, "a stored row of device authentication cannot be read")
}

pub(super) fn known(row: &UserDevicesRow) -> Vec<KnownDevice> {
    let of = |one: &UserDevice| KnownDevice { device: one.device_id, fingerprint: one.fingerprint.clone() };
    row.devices.iter().map(of).collect()
}

/// Writes a user's devices under the version that was read, with the mark of the change.
pub(super) async fn write_devices(
    platform: &Platform,
    user: &UserId,
    loaded: Option<Loaded<UserDevicesRow>>,
    devices: &[KnownDevice],
    change: UserChange,
) -> Result<(), Halt> {
    let mut changes = loaded.as_ref().map(|loaded| loaded.row.changes.clone()).unwrap_or_default();
    changes.push(change);
    changes.drain(..changes.len().saturating_sub(CHANGES_MAX));
    let of = |one: &KnownDevice| UserDevice { device_id: one.device, fingerprint: one.fingerprint.clone() };
    let row = UserDevicesRow { user: user.clone(), devices: devices.iter().map(of).collect(), changes };
    match loaded {
        Some(loaded) => {
            let changed = Loaded { row, version: loaded.version };
            replace(platform, table::USER_DEVICES, user.as_str(), &changed, None).await
        }
        None => match insert(platform, table::USER_DEVICES, user.as_str(), &row, None).await? {
            None => Ok(()),
            Some(_) => Err(Halt::Raced),
        },
    }
}
