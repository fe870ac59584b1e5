//! Proof of possession (RFC 9449, DPoP): a token that was issued for a key is worth nothing without a fresh signature of that key
//! over the very call it is used for.

mod key;
mod url;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ridgeline_domain::{DurationMs, Timestamp};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::encode::Fields;
use crate::jose::Parts;
use crate::token::{TokenError, seconds, signed_by};
use crate::{DeviceKey, DeviceKeyError};

pub use key::DpopKey;

/// How far a proof's time may be from ours.
pub const PROOF_SKEW: DurationMs = DurationMs::from_secs(60);

/// How long the id of a used proof must be remembered: a proof may be dated [`PROOF_SKEW`] ahead and is good until the end of the
/// second that lies as far behind.
pub const PROOF_MEMORY: DurationMs = DurationMs::from_secs(121);

/// The header's `typ`.
const TYP: &str = "dpop+jwt";
/// Longest `jti`.
const JTI_CHARS_MAX: usize = 128;
const LABEL: &str = "ridgeline/dpop/v1";

/// What a proof must be about.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// The call's method.
    pub method: &'a str,
    /// The call's URL, as callers know it.
    pub url: &'a str,
    /// When the call is judged.
    pub now: Timestamp,
    /// The token that the call carries, where it carries one.
    pub access_token: Option<&'a str>,
    /// The thumbprint of the key (`cnf.jkt`).
    pub thumbprint: &'a str,
}

/// A DPoP proof: a JWT in the header `DPoP` of a call.
#[derive(Debug, Clone, Copy)]
pub struct DpopProof;

impl DpopProof {
    /// Checks a proof, but for its single use: whoever calls this refuses a [`ProofId`] that was seen before.
    ///
    /// # Errors
    /// The first rule that it breaks: [`TokenError::UnknownKey`] for another key than `thumbprint` names,
    /// [`TokenError::Audience`] for another method or URL, [`TokenError::Claims`] for another access token, [`TokenError::Expired`] and
    /// [`TokenError::NotYetValid`] for a time more than [`PROOF_SKEW`] away.
    pub fn verify(proof: &str, expected: &Expected<'_>) -> Result<ProofId, TokenError> {
        let parts = Parts::of(proof)?;
        if parts.parameter("typ") != Some(TYP) {
            return Err(TokenError::Type);
        }
        if parts.parameter("alg") != Some("ES256") {
            return Err(TokenError::Algorithm);
        }
        let jwk = parts.header.get("jwk").and_then(Value::as_object).ok_or(TokenError::Header)?;
        let key = DeviceKey::from_jwk_members(jwk).map_err(|_| TokenError::Header)?;
        if key.jwk_thumbprint() != expected.thumbprint {
            return Err(TokenError::UnknownKey);
        }
        signed_by(&key, &parts)?;
        let text = |name: &str| parts.claims.get(name).and_then(Value::as_str).ok_or(TokenError::Claims);
        if text("htm")? != expected.method || !url::is_same(text("htu")?, expected.url) {
            return Err(TokenError::Audience);
        }
        let made = seconds(&parts.claims, "iat")?.ok_or(TokenError::Claims)?;
        if made > expected.now.plus(PROOF_SKEW) {
            return Err(TokenError::NotYetValid);
        }
        // `iat` has whole seconds: a proof of this second may be 999 ms younger than it says.
        if made.plus(PROOF_SKEW).plus(DurationMs(999)) < expected.now {
            return Err(TokenError::Expired);
        }
        if expected.access_token.is_some_and(|token| text("ath") != Ok(token_hash(token).as_str())) {
            return Err(TokenError::Claims);
        }
        ProofId::of(expected.thumbprint, text("jti")?)
    }
}

/// What makes a proof this one: SHA-256 of the label `ridgeline/dpop/v1`, the key's thumbprint and the proof's `jti`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProofId([u8; 32]);

impl ProofId {
    fn of(thumbprint: &str, jti: &str) -> Result<Self, TokenError> {
        if !(1..=JTI_CHARS_MAX).contains(&jti.chars().count()) {
            return Err(TokenError::Claims);
        }
        let fields = Fields::new().text(LABEL).text(thumbprint).text(jti).finish().map_err(|_| TokenError::Claims)?;
        Ok(Self(Sha256::digest(fields).into()))
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ProofId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofId(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// The key of a device's proofs, from the text of its JWK; see [`DeviceKey::from_jwk`].
///
/// # Errors
/// [`DeviceKeyError`]; [`DeviceKeyError::PrivateKey`] for a JWK with a private member.
pub fn proof_key_from_jwk(json: &str) -> Result<DeviceKey, DeviceKeyError> {
    DeviceKey::from_jwk(json)
}

/// `ath`: what a proof says about an access token.
fn token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}

#[cfg(test)]
mod tests;
