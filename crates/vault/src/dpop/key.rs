//! The other side of a proof: a key that makes them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use ridgeline_domain::Timestamp;
use ridgeline_ports::Entropy;
use serde_json::json;
use zeroize::Zeroizing;

use super::{TYP, token_hash};
use crate::{DeviceKey, VaultError, random};

/// Length of a proof's random id.
const JTI_BYTES: usize = 16;
const MALFORMED: VaultError = VaultError::Malformed { what: "proof key" };

/// A key pair that makes proofs, for a client. `Debug` shows the thumbprint only.
#[derive(Clone)]
pub struct DpopKey {
    key: SigningKey,
    public: DeviceKey,
}

impl DpopKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`VaultError::Randomness`] if `entropy` keeps giving bits that are no private key.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, VaultError> {
        Self::of(random::p256_key(entropy)?)
    }

    /// From the 32 bytes of its scalar.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] if they are no private key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VaultError> {
        // The parser of the key would pad fewer bytes.
        let scalar: &[u8; 32] = bytes.try_into().map_err(|_| MALFORMED)?;
        Self::of(SigningKey::from_slice(scalar).map_err(|_| MALFORMED)?)
    }

    fn of(key: SigningKey) -> Result<Self, VaultError> {
        let public = DeviceKey::from_point(&key.verifying_key().into()).map_err(|_| MALFORMED)?;
        Ok(Self { key, public })
    }

    /// The 32 bytes of its scalar, to be kept.
    #[must_use]
    pub fn private_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes().into())
    }

    /// The public half as a JWK, as `proofKey` carries it.
    #[must_use]
    pub fn jwk(&self) -> String {
        self.public.jwk()
    }

    /// Its thumbprint (`cnf.jkt`).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.public.jwk_thumbprint()
    }

    /// A proof for one call, for its header `DPoP`. Query and fragment of `url` are left out of it; `access_token` is the token that
    /// the call carries, where it carries one.
    #[must_use]
    pub fn prove(
        &self,
        method: &str,
        url: &str,
        now: Timestamp,
        access_token: Option<&str>,
        entropy: &dyn Entropy,
    ) -> String {
        let header = format!(r#"{{"alg":"ES256","jwk":{},"typ":"{TYP}"}}"#, self.public.jwk());
        let mut claims = json!({
            "htm": method,
            "htu": url.split(['?', '#']).next().unwrap_or_default(),
            "iat": now.millis().div_euclid(1_000),
            "jti": URL_SAFE_NO_PAD.encode(random::public::<JTI_BYTES>(entropy)),
        });
        if let (Some(token), Some(claims)) = (access_token, claims.as_object_mut()) {
            claims.insert("ath".to_owned(), token_hash(token).into());
        }
        let mut proof = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature: Signature = self.key.sign(proof.as_bytes());
        proof.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.to_bytes(), &mut proof);
        proof
    }
}

impl fmt::Debug for DpopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DpopKey({})", self.thumbprint())
    }
}
