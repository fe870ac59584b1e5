//! What an agent signs: ES256 (ECDSA P-256 with SHA-256), deterministic (RFC 6979), 64 bytes r ‖ s (IEEE P1363).

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::Signature;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding,
};
use ridgeline_domain::{AgentId, Operation, ReaderId, RequestId, SubjectId, Timestamp};
use ridgeline_ports::Entropy;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::encode::Fields;
use crate::{ScanBinding, VaultError, file, random};

/// Length of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Keeps a scan's signature from being taken for anything else that an agent may come to sign.
const DOMAIN: &str = "ridgeline/scan-signature/v1";

/// A scalar is out of range once in 2³² draws; so many in a row mean that the source is broken.
const KEY_DRAWS_MAX: usize = 8;

/// Longest PEM text of a P-256 key, with room to spare.
const PEM_BYTES_MAX: usize = 4096;

/// The private key of an agent or a gateway. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct SigningKey(p256::ecdsa::SigningKey);

impl SigningKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`VaultError::Randomness`] if `entropy` keeps giving bits that are no private key.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, VaultError> {
        let draw = |_| p256::ecdsa::SigningKey::from_slice(random::secret(entropy).expose()).ok();
        (0..KEY_DRAWS_MAX).find_map(draw).map(Self).ok_or(VaultError::Randomness)
    }

    /// From PKCS#8 PEM.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] if it is no P-256 private key.
    pub fn from_pem(pem: &str) -> Result<Self, VaultError> {
        let key = p256::ecdsa::SigningKey::from_pkcs8_pem(pem);
        key.map(Self).map_err(|_| VaultError::Malformed { what: "PKCS#8 private key" })
    }

    /// As PKCS#8 PEM.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], if the key has no such form.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, VaultError> {
        self.0.to_pkcs8_pem(LineEnding::LF).map_err(|_| VaultError::Malformed { what: "PKCS#8 private key" })
    }

    /// Reads a PEM file.
    ///
    /// # Errors
    /// [`VaultError::Exposed`] if others may read it, [`VaultError::File`], [`VaultError::Malformed`].
    pub fn load(path: &Path) -> Result<Self, VaultError> {
        Self::from_pem(&file::read(path)?)
    }

    /// Writes a new PEM file of mode 0600; an existing file is never replaced.
    ///
    /// # Errors
    /// [`VaultError::File`], with kind `AlreadyExists` if there is one.
    pub fn save(&self, path: &Path) -> Result<(), VaultError> {
        file::create(path, &self.to_pem()?)
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(*self.0.verifying_key())
    }

    fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let signature: Signature = self.0.sign(message);
        signature.to_bytes().into()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// The public key of an agent.
///
/// Its text form (`Display`) is base64url without padding of the compressed point, 44 characters; `FromStr` also reads SPKI
/// PEM.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(p256::ecdsa::VerifyingKey);

impl VerifyingKey {
    /// As SPKI PEM.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], if the key has no such form.
    pub fn to_pem(&self) -> Result<String, VaultError> {
        self.0.to_public_key_pem(LineEnding::LF).map_err(|_| VaultError::Malformed { what: "public key" })
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), VaultError> {
        let signature = Signature::from_slice(signature).map_err(|_| VaultError::Authentication)?;
        self.0.verify(message, &signature).map_err(|_| VaultError::Authentication)
    }
}

impl FromStr for VerifyingKey {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, VaultError> {
        let malformed = || VaultError::Malformed { what: "public key" };
        if text.len() > PEM_BYTES_MAX {
            return Err(VaultError::TooLong { what: "public key", bytes_max: PEM_BYTES_MAX });
        }
        let text = text.trim();
        if text.starts_with("-----BEGIN") {
            return p256::ecdsa::VerifyingKey::from_public_key_pem(text).map(Self).map_err(|_| malformed());
        }
        // One spelling only: the compressed point has 33 bytes.
        let point = URL_SAFE_NO_PAD.decode(text).ok().filter(|point| point.len() == 33).ok_or_else(malformed)?;
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).map(Self).map_err(|_| malformed())
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.to_encoded_point(true)))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({self})")
    }
}

/// The content of an agent's signature under a scan.
///
/// `valid_until` is not part of it: it is authenticated with each sample (see [`ScanBinding`]) and judged at append time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanSignature {
    /// The request.
    pub request_id: RequestId,
    /// Who signs.
    pub agent: AgentId,
    /// The device that took the samples, if one did.
    pub reader: Option<ReaderId>,
    /// What is asked for.
    pub operation: Operation,
    /// About whom, where the operation names somebody.
    pub subject: Option<SubjectId>,
    /// When the samples were taken.
    pub captured_at: Timestamp,
    /// [`sealed_digest`] over the sealed samples in their order.
    pub sealed_digest: [u8; 32],
}

impl ScanSignature {
    /// The content for a scan whose samples are sealed under `binding`.
    #[must_use]
    pub fn new(binding: &ScanBinding, reader: Option<ReaderId>, sealed_digest: [u8; 32]) -> Self {
        Self {
            request_id: binding.request_id,
            agent: binding.agent.clone(),
            reader,
            operation: binding.operation,
            subject: binding.subject.clone(),
            captured_at: binding.captured_at,
            sealed_digest,
        }
    }

    /// Signs with the agent's key. Equal content gives equal bytes.
    ///
    /// # Errors
    /// None for ids that parsed; [`VaultError::TooLong`] stands for a field beyond 65 535 bytes.
    pub fn sign(&self, key: &SigningKey) -> Result<[u8; SIGNATURE_BYTES], VaultError> {
        Ok(key.sign(&self.message()?))
    }

    /// Checks the signature of the agent whose key this is.
    ///
    /// # Errors
    /// [`VaultError::Authentication`] if it is not 64 bytes, or not this key's over this content.
    pub fn verify(&self, key: &VerifyingKey, signature: &[u8]) -> Result<(), VaultError> {
        key.verify(&self.message()?, signature)
    }

    /// domain ‖ request id ‖ agent ‖ reader ‖ operation ‖ subject ‖ captured_at ‖ digest (32 bytes).
    fn message(&self) -> Result<Vec<u8>, VaultError> {
        Fields::new()
            .text(DOMAIN)
            .text(&self.request_id.to_string())
            .text(self.agent.as_str())
            .text(self.reader.as_ref().map_or("", ReaderId::as_str))
            .text(self.operation.as_str())
            .text(self.subject.as_ref().map_or("", SubjectId::as_str))
            .time(self.captured_at)
            .fixed(&self.sealed_digest)
            .finish()
    }
}

/// SHA-256 over sealed samples, each as its length (u32, big endian) and its bytes, so that parts do not run together.
///
/// No part comes near the 4 GiB of its length field; a length beyond it counts as the field's largest value.
pub fn sealed_digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
