//! Keyed digests: equal inputs are recognised, and a stolen digest cannot be tested against a guessed image.
//!
//! HMAC-SHA256 (RFC 2104) under the ring's digest key. It is computed as HKDF-Extract, which RFC 5869 §2.2 defines as HMAC
//! with the salt as the key.

use hkdf::HkdfExtract;
use ridgeline_domain::RequestId;
use sha2::{Digest as _, Sha256};

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

/// What shows that an operator's order to end tokens comes from somebody who holds the deployment's key ring. 64 hexadecimal digits.
#[must_use]
pub fn order_seal(vault: &Vault, request: RequestId, kind: &str, id: &str) -> String {
    let request = request.to_string();
    let parts = [request.as_bytes(), kind.as_bytes(), id.as_bytes()];
    let seal = keyed(vault, b"ridgeline/operator-order/v1", parts.into_iter());
    seal.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in hexadecimal, of what is public.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyRing;
    use crate::testing::{System, golden_vault, hex};

    #[test]
    fn golden_digests() {
        let vault = golden_vault();
        let image = "67e3b838bba1772b0188c98dc94805c8611b128c70eae70813fff86dc4564021";
        assert_eq!(hex(&image_digest(&vault, b"pixels")), image);
        let parts: [&[u8]; 3] = [b"a", b"", b"bc"];
        let request = "e6091af11913626456dc7893ac0398f002c0cd4605fffc9cad51ebac05b49890";
        assert_eq!(hex(&request_digest(&vault, parts)), request);
    }

    #[test]
    fn digests_depend_on_key_use_and_boundaries_but_not_on_rotation() {
        let mut ring = KeyRing::create(&System).unwrap();
        let vault = Vault::new(ring.clone());
        let digest = image_digest(&vault, b"pixels");
        assert_ne!(digest, image_digest(&golden_vault(), b"pixels"));
        assert_ne!(digest, request_digest(&vault, [b"pixels".as_slice()]));
        let split = |parts: [&'static [u8]; 2]| request_digest(&vault, parts);
        assert_ne!(split([b"ab", b"c"]), split([b"a", b"bc"]));
        for &purpose in crate::Purpose::ALL {
            ring.rotate(purpose, &System).unwrap();
        }
        assert_eq!(image_digest(&Vault::new(ring), b"pixels"), digest, "V-4 must survive a rotation");
    }
}
