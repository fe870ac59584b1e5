//! Refresh: a new generation of tokens for the live refresh token of a family, and the end of a family whose token was stolen (T-1).

use ridgeline_domain::{DurationMs, KeyAlgorithm, Refusal, RequestId, Timestamp};
use ridgeline_flow::auth::{Family, Presented, Rotation, rotate};
use ridgeline_identity::revocation::{self, RevocationKind, Subjects};
use ridgeline_ports::PlainWrite;
use ridgeline_runtime::StepError;
use ridgeline_vault::{DeviceKey, dpop};
use ridgeline_wire::auth::{AuthReply, Revocation};
use ridgeline_wire::auth_row::{DeviceRow, FamilyRow, RevokedRow, UsedProofRow, table};

use super::login::generation;
use super::mint::{REFRESH_LIFE, Session};
use super::register::{hex, stored_key};
use super::rows::{Loaded, insert, load, put, replace};
use super::{Halt, Work, credential, settle};

/// Where refresh tokens are sent.
const REFRESH_PATH: &str = "/api/v1/auth/mobile/refresh";

/// A proof counts so long around its `iat`; what was used up is remembered for longer.
const PROOF_REMEMBERED: DurationMs = DurationMs::from_secs(10 * 60);

/// The answer to the refresh before is stored by then, or never.
const ANSWER_AWAITED: DurationMs = DurationMs::from_secs(5 * 60);

impl Work<'_> {
    /// New tokens for a refresh token.
    pub(super) async fn refresh(&mut self) -> Result<AuthReply, Halt> {
        let platform = &self.auth.platform;
        let (id, now) = (self.command.id, self.command.now);
        let token = self.needed(&self.command.body.refresh_token)?;
        let caller = self.auth.parts.identity.refresh(token, now).await.map_err(credential)?;
        (self.about.user, self.about.device) = (Some(caller.user.clone()), Some(caller.device));
        (self.about.session, self.about.family) = (Some(caller.session), Some(caller.family));
        let key = caller.family.to_string();
        if key != self.command.key {
            return Err(Refusal::BadCredential.into());
        }
        let mut loaded = load::<FamilyRow>(platform, table::FAMILIES, &key).await?.ok_or(Refusal::Revoked)?;
        if loaded.row.revoked_by == Some(id) {
            return self.ended_before(&loaded.row).await;
        }
        let device = load::<DeviceRow>(platform, table::DEVICES, &loaded.row.device_id.to_string()).await?;
        let mut device = device.filter(|device| device.row.is_active).ok_or(Refusal::Revoked)?;
        let subjects = Subjects {
            user: &loaded.row.user,
            device: Some(&loaded.row.device_id),
            family: Some(&loaded.row.family_id),
            // The login: a session does not outlive what ended it by having been refreshed since.
            issued_at: loaded.row.created_at.min(caller.issued_at),
        };
        if revocation::revoked_in_store(&*platform.store, &subjects).await? {
            return Err(Refusal::Revoked.into());
        }
        let proof = self.proof_of(&device.row, loaded.row.rotated_by == id).await?;
        let presented = Presented { device: caller.device, generation: caller.rotation_count, proof };
        match rotate(&family_of(&loaded.row), &presented, id, now)? {
            Rotation::Next(next) => {
                loaded.row.rotation_count = i32::try_from(next).map_err(|_| Refusal::Revoked)?;
                loaded.row.rotated_by = id;
                loaded.row.rotated_at = now;
                loaded.row.last_used_at = now;
                loaded.row.expires_at = now.plus(REFRESH_LIFE);
                let expires = Some(loaded.row.expires_at);
                replace(platform, table::FAMILIES, &key, &loaded, expires).await?;
                self.index(&loaded.row).await?;
                self.note_use(&mut device).await?;
                self.given(&loaded.row, &device.row).await
            }
            Rotation::Repeat { made_by } if made_by == id => {
                self.index(&loaded.row).await?;
                self.given(&loaded.row, &device.row).await
            }
            Rotation::Repeat { made_by } => self.given_again(made_by, loaded.row.rotated_at).await,
            Rotation::End(refusal) => {
                self.end_family(loaded, refusal.as_str()).await?;
                Err(refusal.into())
            }
        }
    }

    /// This command has ended the family and was interrupted: what follows from that is done again, and the same is answered.
    async fn ended_before(&mut self, family: &FamilyRow) -> Result<AuthReply, Halt> {
        let why = family.revoked_because.as_deref().unwrap_or_default();
        let refusal: Refusal = why.parse().unwrap_or(Refusal::RefreshTokenReused);
        self.revoke(RevocationKind::Family, &family.family_id.to_string(), refusal.as_str()).await?;
        Err(refusal.into())
    }

    /// The live generation's tokens, as made by this request.
    async fn given(&self, family: &FamilyRow, device: &DeviceRow) -> Result<AuthReply, Halt> {
        let session = Session {
            user: &family.user,
            device: family.device_id,
            session: family.session_id,
            trust: family.trust_level,
            thumbprint: device.proof_thumbprint.as_deref(),
            family: Some((family.family_id, generation(family))),
        };
        let tokens = self.tokens(&session).await?;
        Ok(AuthReply { tokens: Some(tokens), ..AuthReply::default() })
    }

    /// The same tokens that another request was given: its answer may have been lost on the way.
    async fn given_again(&self, made_by: RequestId, made_at: Timestamp) -> Result<AuthReply, Halt> {
        let platform = &self.auth.platform;
        let Some(row) = settle::find(platform, made_by).await? else {
            // One that never comes must not hold up those behind.
            if platform.log_time.is_past(made_at.plus(ANSWER_AWAITED)) {
                return Err(Refusal::Revoked.into());
            }
            return Err(Halt::Step(StepError::Retry("the answer that holds the tokens is not stored yet".to_owned())));
        };
        Ok(settle::opened(platform, &row)?)
    }

    /// Whether the command proves possession of the device's second key; `None` if it has none. A proof works once.
    async fn proof_of(&self, device: &DeviceRow, is_repeated: bool) -> Result<Option<bool>, Halt> {
        let Some(sealed) = device.proof_key.as_deref() else { return Ok(None) };
        if is_repeated {
            return Ok(Some(true));
        }
        let key = stored_key(&self.auth.platform, device.device_id, ("proof_key", KeyAlgorithm::Es256), sealed)?;
        match self.prove_possession(Some(&key), REFRESH_PATH).await {
            Ok(()) => Ok(Some(true)),
            Err(Halt::Refused(Refusal::BadProof | Refusal::ProofUsed, _)) => Ok(Some(false)),
            Err(other) => Err(other),
        }
    }

    /// Checks the command's proof by `key` for a POST to `path`, and uses it up. Without a key there is nothing to prove.
    pub(super) async fn prove_possession(&self, key: Option<&DeviceKey>, path: &str) -> Result<(), Halt> {
        let Some(key) = key else { return Ok(()) };
        let proof = self.command.body.proof.as_deref().ok_or(Refusal::BadProof)?;
        let url = format!("{}{path}", self.auth.parts.config.public_url);
        let expected = dpop::Expected {
            method: "POST",
            url: &url,
            now: self.command.now,
            access_token: None,
            thumbprint: &key.jwk_thumbprint(),
        };
        self.use_up(proof, &expected).await
    }

    /// Checks a proof and marks it as used by this command.
    pub(super) async fn use_up(&self, proof: &str, expected: &dpop::Expected<'_>) -> Result<(), Halt> {
        let id = dpop::DpopProof::verify(proof, expected).map_err(|_| Refusal::BadProof)?;
        let row = UsedProofRow { request_id: self.command.id };
        let expires = Some(self.command.now.plus(PROOF_REMEMBERED));
        let there = insert(&self.auth.platform, table::USED_PROOFS, &hex(id.as_bytes()), &row, expires).await?;
        match there {
            Some(there) if there.row.request_id != self.command.id => Err(Refusal::ProofUsed.into()),
            _ => Ok(()),
        }
    }

    /// Ends a family, and says so to the gateways. Ending it twice changes nothing.
    pub(super) async fn end_family(&mut self, family: Loaded<FamilyRow>, why: &str) -> Result<(), Halt> {
        let id = family.row.family_id.to_string();
        self.mark_ended(family, why).await?;
        self.revoke(RevocationKind::Family, &id, why).await
    }

    /// Marks a family as ended by this command, unless it is already.
    pub(super) async fn mark_ended(&self, mut family: Loaded<FamilyRow>, why: &str) -> Result<(), Halt> {
        if family.row.revoked_by.is_some() {
            return Ok(());
        }
        family.row.revoked_by = Some(self.command.id);
        family.row.revoked_because = Some(why.to_owned());
        let (id, expires) = (family.row.family_id.to_string(), Some(family.row.expires_at));
        replace(&self.auth.platform, table::FAMILIES, &id, &family, expires).await
    }

    /// Tokens of `kind` and `id` issued up to now are over: in the store first, then, with the answer, for all gateways.
    pub(super) async fn revoke(&mut self, kind: RevocationKind, id: &str, why: &str) -> Result<(), Halt> {
        let at = self.command.now;
        let row = RevokedRow { at, reason: why.to_owned() };
        let write = PlainWrite { at, expires_at: Some(at.plus(REFRESH_LIFE)) };
        put(&self.auth.platform, table::REVOKED, &revocation::row_key(kind, id), &row, write).await?;
        let revocation = Revocation { kind: kind.to_string(), id: id.to_owned(), at, reason: why.to_owned() };
        self.follows.revocations.push(revocation);
        Ok(())
    }
}

fn family_of(row: &FamilyRow) -> Family {
    Family {
        device: row.device_id,
        generation: generation(row),
        made_by: row.rotated_by,
        made_at: row.rotated_at,
        revoked: row.revoked_by.is_some(),
    }
}
