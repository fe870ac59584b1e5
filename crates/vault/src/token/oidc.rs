//! Tokens of a configured OpenID Connect provider.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ridgeline_domain::{KeyAlgorithm, Timestamp};
use rsa::pkcs8::EncodePublicKey as _;
use serde_json::Value;

use super::verify::{in_time, signed_by};
use super::{Claims, TokenError};
use crate::DeviceKey;
use crate::jose::{Parts, object};

/// Longest set of keys that is read.
const JWKS_BYTES_MAX: usize = 256 * 1024;
/// Keys of a provider at most.
const KEYS_MAX: usize = 64;
/// Members that only private and secret keys have (RFC 7518, 6.2.2, 6.3.2, 6.4.1). Who publishes one has lost the key.
const SECRET_MEMBERS: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The keys of a provider that we can verify with, by id.
#[derive(Debug, Clone, Default)]
pub struct OidcKeys(BTreeMap<String, Vec<DeviceKey>>);

impl OidcKeys {
    /// Reads a JWK set. Keys without an id, of other kinds, for other uses, with their private half, or below our policy (RSA
    /// below 2048 bits) are left out; an RSA key without `alg` verifies RS256 and PS256.
    ///
    /// # Errors
    /// [`TokenError::Malformed`] if it is no JWK set, too large, or gives two usable keys one id.
    pub fn from_jwks_json(text: &str) -> Result<Self, TokenError> {
        if text.len() > JWKS_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let set = object(text.as_bytes())?;
        let keys = set.get("keys").and_then(Value::as_array).filter(|keys| keys.len() <= KEYS_MAX);
        let mut all = BTreeMap::new();
        for jwk in keys.ok_or(TokenError::Malformed)? {
            let Some(kid) = jwk.get("kid").and_then(Value::as_str) else { continue };
            let keys = usable(jwk);
            if !keys.is_empty() && all.insert(kid.to_owned(), keys).is_some() {
                return Err(TokenError::Malformed);
            }
        }
        Ok(Self(all))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The key with each algorithm that it may be used with.
fn usable(jwk: &Value) -> Vec<DeviceKey> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let is_secret = SECRET_MEMBERS.iter().any(|name| jwk.get(name).is_some());
    if is_secret || !is_for_signatures(jwk) {
        return Vec::new();
    }
    let may = |algorithm: &KeyAlgorithm| jwk.get("alg").is_none_or(|alg| alg.as_str() == Some(algorithm.as_str()));
    match (text("kty"), text("crv")) {
        (Some("EC"), Some("P-256")) => {
            let key = text("x").zip(text("y")).and_then(|(x, y)| DeviceKey::from_jwk_coordinates(x, y).ok());
            key.filter(|key| may(&key.algorithm())).into_iter().collect()
        }
        (Some("RSA"), _) => {
            let number = |name| {
                let bytes = URL_SAFE_NO_PAD.decode(text(name)?).ok()?;
                Some(rsa::BigUint::from_bytes_be(&bytes))
            };
            let key = number("n").zip(number("e")).and_then(|(n, e)| rsa::RsaPublicKey::new(n, e).ok());
            let Some(der) = key.and_then(|key| key.to_public_key_der().ok()) else { return Vec::new() };
            let algorithms = [KeyAlgorithm::Rs256, KeyAlgorithm::Ps256].into_iter().filter(may);
            algorithms.filter_map(|algorithm| DeviceKey::from_spki_der(algorithm, der.as_bytes()).ok()).collect()
        }
        _ => Vec::new(),
    }
}

/// `use` and `key_ops`, where they are there, allow to verify.
fn is_for_signatures(jwk: &Value) -> bool {
    let is_use = jwk.get("use").is_none_or(|usage| usage.as_str() == Some("sig"));
    let may_verify = |operations: &Value| {
        operations.as_array().is_some_and(|all| all.iter().any(|operation| operation.as_str() == Some("verify")))
    };
    is_use && jwk.get("key_ops").is_none_or(may_verify)
}

/// Verifies tokens of a provider.
#[derive(Debug, Clone)]
pub struct OidcVerifier {
    /// Its `iss`.
    pub issuer: String,
    /// What must be in `aud`.
    pub audience: String,
    /// Its keys.
    pub keys: OidcKeys,
}

impl OidcVerifier {
    /// The claims of a token that is good at `now`: those that any issuer may make. Its devices, sessions and trust are not
    /// read, and a token bound to a key is refused.
    ///
    /// # Errors
    /// The first rule that it breaks. [`TokenError::UnknownKey`] may mean that the provider's keys have changed.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let parts = Parts::of(token)?;
        if parts.header.contains_key("jwk") {
            return Err(TokenError::Header);
        }
        let typ = parts.header.get("typ").map(|typ| typ.as_str().unwrap_or_default().to_ascii_lowercase());
        if typ.is_some_and(|typ| !matches!(typ.as_str(), "jwt" | "at+jwt" | "application/at+jwt")) {
            return Err(TokenError::Type);
        }
        let algorithm: KeyAlgorithm =
            parts.parameter("alg").and_then(|alg| alg.parse().ok()).ok_or(TokenError::Algorithm)?;
        let kid = parts.parameter("kid").ok_or(TokenError::UnknownKey)?;
        let keys = self.keys.0.get(kid).ok_or(TokenError::UnknownKey)?;
        let key = keys.iter().find(|key| key.algorithm() == algorithm).ok_or(TokenError::Algorithm)?;
        signed_by(key, &parts)?;
        let is_for_us = match parts.claims.get("aud") {
            Some(Value::String(aud)) => *aud == self.audience,
            Some(Value::Array(all)) => all.iter().any(|aud| aud.as_str() == Some(&self.audience)),
            _ => false,
        };
        if !is_for_us {
            return Err(TokenError::Audience);
        }
        let claims = Claims::of_provider(&parts.claims, &self.audience)?;
        if claims.iss != self.issuer {
            return Err(TokenError::Issuer);
        }
        in_time(&parts.claims, &claims, now)?;
        Ok(claims)
    }
}
