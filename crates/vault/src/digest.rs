//! Keyed digests: equal inputs are recognised, and a stolen digest cannot be tested against a guessed image.
//!
//! HMAC-SHA256 (RFC 2104) under the ring's digest key. It is computed as HKDF-Extract, which RFC 5869 §2.2 defines as HMAC
//! with the salt as the key.

use hkdf::HkdfExtract;
use sha2::Sha256;

use crate::Vault;

/// The digest by which V-4 recognises a sample that was seen before. `pixels` are the canonical bytes of the sample.
#[must_use]
pub fn image_digest(vault: &Vault, pixels: &[u8]) -> [u8; 32] {
    keyed(vault, b"ridgeline/image-digest/v1", [pixels].into_iter())
}

/// The digest by which two requests under one Idempotency-Key are compared; the parts do not run together.
#[must_use]
pub fn request_digest<'a>(vault: &Vault, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    keyed(vault, b"ridgeline/request-digest/v1", parts.into_iter())
}

/// HMAC over label and parts, each as its length (u64, big endian) and its bytes.
fn keyed<'a>(vault: &Vault, label: &'a [u8], parts: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut mac = HkdfExtract::<Sha256>::new(Some(vault.ring().digest.expose()));
    for part in std::iter::once(label).chain(parts) {
        mac.input_ikm(&(part.len() as u64).to_be_bytes());
        mac.input_ikm(part);
    }
    mac.finalize().0.into()
}
