//! Login: a device that is known by its fingerprint signs a challenge and gets tokens.
//!
//! A fingerprint that nobody has gets a challenge by the same calls and of the same sizes, with a candidate that does not exist; its
//! answer is checked against a key that nobody holds.

use ridgeline_domain::{AuthOperation, DeviceId, DurationMs, FamilyId, Refusal, TrustLevel};
use ridgeline_flow::auth::{Consumption, consume};
use ridgeline_ports::{PlainWrite, RowKey};
use ridgeline_runtime::StepError;
use ridgeline_vault::{DeviceSignature, derive_id};
use ridgeline_wire::auth::AuthReply;
use ridgeline_wire::auth_row::{DeviceFamilyRow, DeviceRow, FamilyRow, SessionRow, table};

use super::due::DueKind;
use super::mint::{AUTH_METHOD, REFRESH_LIFE, Session};
use super::register::{challenge_text, fingerprint_digest, handed, hex, stored_key};
use super::rows::{Loaded, insert, load, put, replace};
use super::{Halt, Work};
use crate::platform::cpu_fault;

/// How long a login challenge may be answered.
const CHALLENGE_LIFE: DurationMs = DurationMs::from_secs(2 * 60);
/// Devices of one fingerprint that a session covers; the signature decides among them.
const CANDIDATES_MAX: usize = 8;
/// The time of last use is written this often at most: it is asked in days.
pub(super) const USE_NOTED_EVERY: DurationMs = DurationMs::from_secs(3_600);

impl Work<'_> {
    /// A challenge for whatever devices have the fingerprint.
    pub(super) async fn login_challenge(&mut self) -> Result<AuthReply, Halt> {
        let platform = &self.auth.platform;
        let start = self.needed(&self.command.body.login)?;
        let fingerprint = fingerprint_digest(platform, start.device_fingerprint.as_str());
        let index = hex(&fingerprint);
        let mut candidates: Vec<DeviceId> = match start.device_id {
            // By its own place in the index, wherever that is among others of the fingerprint.
            Some(wanted) => {
                let key = RowKey::new(index, wanted.to_string());
                let found = platform.store.get(table::DEVICE_FINGERPRINTS, &key).await?;
                found.map(|_| wanted).into_iter().collect()
            }
            None => {
                let found = platform.store.range(table::DEVICE_FINGERPRINTS, &index, None, CANDIDATES_MAX).await?;
                found.iter().filter_map(|(key, _)| key.clustering.parse().ok()).collect()
            }
        };
        if candidates.is_empty() {
            candidates.push(DeviceId::from_bytes(derive_id("decoy", self.command.id)));
        }
        let row = SessionRow { candidates, fingerprint, ..self.session_row(AuthOperation::Login, CHALLENGE_LIFE)? };
        self.handed_out(row).await
    }

    /// Tokens for the device whose signature answers the challenge.
    pub(super) async fn login(&mut self) -> Result<AuthReply, Halt> {
        let platform = &self.auth.platform;
        let answer = self.needed(&self.command.body.answer)?;
        let (id, now) = (self.command.id, self.command.now);
        let key = answer.session_id.to_string();
        let loaded = load::<SessionRow>(platform, table::SESSIONS, &key).await?;
        let mut loaded =
            loaded.filter(|loaded| loaded.row.purpose == AuthOperation::Login).ok_or(Refusal::UnknownSession)?;
        self.about.session = Some(loaded.row.session_id);
        let signer = self.signer(&loaded.row, &answer.signature).await?;
        let consumption = consume(Some(&handed(&loaded.row)), AuthOperation::Login, id, now, signer.is_some())?;
        // A repeated command whose device was removed meanwhile has nobody to give tokens to.
        let mut device = signer.ok_or(Refusal::BadSignature)?;
        (self.about.user, self.about.device) = (Some(device.row.user.clone()), Some(device.row.device_id));
        if consumption == Consumption::Again && loaded.row.device_id != Some(device.row.device_id) {
            return Err(Refusal::BadSignature.into());
        }
        if consumption == Consumption::First {
            loaded.row.consumed_by = Some(id);
            loaded.row.verified_at = Some(now);
            loaded.row.device_id = Some(device.row.device_id);
            loaded.row.trust_level = Some(self.trust(&device.row));
            replace(platform, table::SESSIONS, &key, &loaded, Some(loaded.row.expires_at)).await?;
            self.not_due(DueKind::Session, &key, loaded.row.expires_at).await?;
        }
        // As it was when the challenge was answered, however often the command comes.
        let trust = loaded.row.trust_level.unwrap_or(TrustLevel::Low);
        let (family, trust) = if answer.remember {
            let family = self.family(&loaded.row, &device.row, trust).await?;
            (Some((family.family_id, generation(&family))), family.trust_level)
        } else {
            (None, trust)
        };
        self.about.family = family.map(|(family, _)| family);
        let session = Session {
            user: &device.row.user,
            device: device.row.device_id,
            session: loaded.row.session_id,
            trust,
            thumbprint: device.row.proof_thumbprint.as_deref(),
            family,
        };
        let tokens = self.tokens(&session).await?;
        self.note_use(&mut device).await?;
        Ok(AuthReply { tokens: Some(tokens), ..AuthReply::default() })
    }

    /// The candidate whose key made the signature. Every candidate is read and checked, there or not.
    async fn signer(&self, session: &SessionRow, signature: &str) -> Result<Option<Loaded<DeviceRow>>, Halt> {
        let platform = &self.auth.platform;
        let mut devices = Vec::with_capacity(session.candidates.len());
        for candidate in &session.candidates {
            let loaded = load::<DeviceRow>(platform, table::DEVICES, &candidate.to_string()).await?;
            devices.push(loaded.filter(|loaded| loaded.row.is_active));
        }
        let mut keys = Vec::with_capacity(devices.len());
        for device in &devices {
            let stored = device.as_ref().map(|device| {
                let row = &device.row;
                stored_key(platform, row.device_id, ("public_key", row.key_algorithm), &row.public_key)
            });
            keys.push(stored.transpose()?.unwrap_or_else(|| self.auth.nobodys.clone()));
        }
        let Ok(signature) = DeviceSignature::from_text(signature) else { return Ok(None) };
        let challenge = challenge_text(platform, session)?;
        let check = move || {
            let message = challenge.expose().as_bytes();
            let verifies: Vec<_> = keys.iter().map(|key| key.verify(message, &signature).is_ok()).collect();
            verifies
        };
        let verifies = platform.cpu.run(check).await.map_err(cpu_fault)?;
        Ok(devices.into_iter().zip(verifies).find_map(|(device, verifies)| device.filter(|_| verifies)))
    }

    /// What a session that begins now on the device is worth.
    pub(super) fn trust(&self, device: &DeviceRow) -> TrustLevel {
        self.auth.parts.config.trust.level(
            device.key_algorithm,
            device.device_type,
            device.proof_thumbprint.is_some(),
            device.last_used_at,
            self.command.now,
        )
    }

    /// The family that this login opens; a repeated command finds it, and what was said of it then.
    async fn family(
        &self,
        session: &SessionRow,
        device: &DeviceRow,
        trust_level: TrustLevel,
    ) -> Result<FamilyRow, StepError> {
        let (platform, id, now) = (&self.auth.platform, self.command.id, self.command.now);
        let family_id = FamilyId::from_bytes(derive_id("family", id));
        let row = FamilyRow {
            family_id,
            user: device.user.clone(),
            device_id: device.device_id,
            session_id: session.session_id,
            auth_method: AUTH_METHOD.to_owned(),
            trust_level,
            rotation_count: 0,
            rotated_by: id,
            rotated_at: now,
            revoked_by: None,
            revoked_because: None,
            expires_at: now.plus(REFRESH_LIFE),
            last_used_at: now,
            created_at: now,
        };
        let there = insert(platform, table::FAMILIES, &family_id.to_string(), &row, Some(row.expires_at)).await?;
        let row = there.map_or(row, |there| there.row);
        self.index(&row).await?;
        Ok(row)
    }

    /// Notes a family among its device's, for as long as its live refresh token.
    pub(super) async fn index(&self, family: &FamilyRow) -> Result<(), StepError> {
        let key = RowKey::new(family.device_id.to_string(), family.family_id.to_string());
        let write = PlainWrite { at: self.command.now, expires_at: Some(family.expires_at) };
        let row = DeviceFamilyRow { created_at: family.created_at };
        put(&self.auth.platform, table::DEVICE_FAMILIES, &key, &row, write).await
    }

    /// Notes that the device was used, if that was not noted lately. Who else writes the row at the moment says more than we would.
    pub(super) async fn note_use(&self, device: &mut Loaded<DeviceRow>) -> Result<(), Halt> {
        let now = self.command.now;
        if now.since(device.row.last_used_at) < USE_NOTED_EVERY {
            return Ok(());
        }
        device.row.last_used_at = now;
        let key = device.row.device_id.to_string();
        match replace(&self.auth.platform, table::DEVICES, &key, device, None).await {
            Err(Halt::Raced) => Ok(()),
            other => other,
        }
    }
}

/// Generations are counted from 0 and stored as an Avro int.
pub(super) fn generation(family: &FamilyRow) -> u32 {
    u32::try_from(family.rotation_count).unwrap_or(u32::MAX)
}
