//! Verification of our own tokens, and the rules about time that hold for all.

use ridgeline_domain::{DurationMs, Timestamp};
use serde_json::{Map, Value};

use super::claims::seconds;
use super::{Claims, TokenError, TokenKind, TokenPublicKey};
use crate::jose::Parts;
use crate::{DeviceKey, DeviceSignature};

/// How far clocks may be apart.
pub const CLOCK_SKEW: DurationMs = DurationMs::from_secs(10);
/// No token lives longer: a refresh token and a margin.
const LIFE_MAX: DurationMs = DurationMs::from_days(31);
/// ES256 in a JWS is r ‖ s and nothing else (RFC 7518 3.4).
const ES256_BYTES: usize = 64;

/// How many parameters the header of our own tokens has.
const HEADER_PARAMETERS: usize = 3;

/// Verifies tokens of one issuer.
#[derive(Debug, Clone)]
pub struct TokenVerifier {
    issuer: String,
    keys: Vec<TokenPublicKey>,
}

impl TokenVerifier {
    /// Of an issuer with these keys.
    #[must_use]
    pub fn new(issuer: impl Into<String>, keys: Vec<TokenPublicKey>) -> Self {
        Self { issuer: issuer.into(), keys }
    }

    /// The claims of a token of this kind that is good at `now`.
    ///
    /// # Errors
    /// The first rule that it breaks. [`TokenError::UnknownKey`] may mean that keys have changed.
    pub fn verify(&self, kind: TokenKind, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let parts = Parts::of(token)?;
        if parts.header.contains_key("jwk") {
            return Err(TokenError::Header);
        }
        if parts.parameter("alg") != Some("ES256") {
            return Err(TokenError::Algorithm);
        }
        if parts.parameter("typ") != Some(kind.typ()) {
            return Err(TokenError::Type);
        }
        let kid = parts.parameter("kid").ok_or(TokenError::UnknownKey)?;
        // What our keys sign names algorithm, type and key, and nothing else.
        if parts.header.len() != HEADER_PARAMETERS {
            return Err(TokenError::Header);
        }
        let key = self.keys.iter().find(|key| key.kid() == kid).ok_or(TokenError::UnknownKey)?;
        signed_by(key.key(), &parts)?;
        if parts.claims.get("aud").and_then(Value::as_str) != Some(kind.aud()) {
            return Err(TokenError::Audience);
        }
        let claims = Claims::of_ours(&parts.claims, kind.aud())?;
        if claims.iss != self.issuer {
            return Err(TokenError::Issuer);
        }
        in_time(&parts.claims, &claims, now)?;
        Ok(claims)
    }
}

/// Checks the signature with the key's own algorithm.
pub(crate) fn signed_by(key: &DeviceKey, parts: &Parts<'_>) -> Result<(), TokenError> {
    let is_ecdsa = key.algorithm() == ridgeline_domain::KeyAlgorithm::Es256;
    if is_ecdsa && parts.signature.len() != ES256_BYTES {
        return Err(TokenError::Signature);
    }
    let signature = DeviceSignature::from_bytes(parts.signature.clone()).map_err(|_| TokenError::Signature)?;
    key.verify(parts.signed.as_bytes(), &signature).map_err(|_| TokenError::Signature)
}

/// Whether the token is good at `now`, give or take the skew.
pub(super) fn in_time(json: &Map<String, Value>, claims: &Claims, now: Timestamp) -> Result<(), TokenError> {
    let latest = now.plus(CLOCK_SKEW);
    if claims.iat > latest || seconds(json, "nbf")?.is_some_and(|from| from > latest) {
        return Err(TokenError::NotYetValid);
    }
    if !is_life(claims) {
        return Err(TokenError::Claims);
    }
    if claims.exp.plus(CLOCK_SKEW) <= now {
        return Err(TokenError::Expired);
    }
    Ok(())
}

/// Whether the token lives at all, and not for too long.
pub(super) fn is_life(claims: &Claims) -> bool {
    claims.exp > claims.iat && claims.exp.since(claims.iat) <= LIFE_MAX
}
