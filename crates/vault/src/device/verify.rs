//! Signatures of devices: their text, and whether they are a key's over a message.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use p256::ecdsa::signature::Verifier as _;
use rsa::{pkcs1v15, pss};

use super::{DeviceKey, Key};
use crate::VaultError;

/// Longest signature: that of a 4096-bit RSA key.
pub const DEVICE_SIGNATURE_BYTES_MAX: usize = 512;

/// Longest text of a signature: that many bytes in base64 with padding.
pub const DEVICE_SIGNATURE_CHARS_MAX: usize = 684;

const MALFORMED: VaultError = VaultError::Malformed { what: "base64 signature" };

/// A signature as a device sends it. Its form is judged by the key that it is verified with.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceSignature(Vec<u8>);

impl DeviceSignature {
    /// Reads base64 or base64url, with its padding or without any. White space and line breaks are no part of either.
    ///
    /// # Errors
    /// [`VaultError::TooLong`] over [`DEVICE_SIGNATURE_CHARS_MAX`] characters; [`VaultError::Malformed`] for a mixture of both
    /// alphabets, wrong padding, bits beyond the last byte, and no characters at all.
    pub fn from_text(text: &str) -> Result<Self, VaultError> {
        if text.len() > DEVICE_SIGNATURE_CHARS_MAX {
            return Err(VaultError::TooLong { what: "signature", bytes_max: DEVICE_SIGNATURE_CHARS_MAX });
        }
        // Padding fills the last group of four, or it is none: the decoder then meets `=` and refuses.
        let padded =
            text.len().is_multiple_of(4).then(|| text.strip_suffix("==").or_else(|| text.strip_suffix('='))).flatten();
        let alphabet = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
        let bytes = GeneralPurpose::new(&alphabet, NO_PAD).decode(padded.unwrap_or(text)).map_err(|_| MALFORMED)?;
        if bytes.is_empty() { Err(MALFORMED) } else { Self::from_bytes(bytes) }
    }

    /// Takes decoded bytes.
    ///
    /// # Errors
    /// [`VaultError::TooLong`] over [`DEVICE_SIGNATURE_BYTES_MAX`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, VaultError> {
        if bytes.len() > DEVICE_SIGNATURE_BYTES_MAX {
            return Err(VaultError::TooLong { what: "signature", bytes_max: DEVICE_SIGNATURE_BYTES_MAX });
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for DeviceSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceSignature({} bytes)", self.0.len())
    }
}

impl DeviceKey {
    /// Checks that the owner of this key signed `message`, with the key's own algorithm.
    ///
    /// * ES256: strict DER (`SEQUENCE` of two minimal, positive `INTEGER`s) or the 64 bytes r ‖ s of IEEE P1363; r and s
    ///   from 1 to n − 1, s low or high.
    /// * RS256: RSASSA-PKCS1-v1_5 with SHA-256, the padding compared as a whole, the `NULL` of the digest's algorithm there.
    /// * PS256: RSASSA-PSS with SHA-256, MGF1 with SHA-256, a salt of exactly 32 bytes and the trailer 0xBC.
    ///
    /// RSA signatures have the length of the modulus and are less than it.
    ///
    /// # Errors
    /// [`VaultError::Authentication`], whatever the reason.
    pub fn verify(&self, message: &[u8], signature: &DeviceSignature) -> Result<(), VaultError> {
        let bytes = signature.as_bytes();
        let verified = match &self.key {
            Key::Es256(key) => is_es256(key, message, bytes),
            Key::Rs256(key) => pkcs1v15::Signature::try_from(bytes).is_ok_and(|it| key.verify(message, &it).is_ok()),
            Key::Ps256(key) => pss::Signature::try_from(bytes).is_ok_and(|it| key.verify(message, &it).is_ok()),
        };
        if verified { Ok(()) } else { Err(VaultError::Authentication) }
    }
}

/// A few strings of 64 bytes are both forms. Either reading needs the private key, so either is enough.
fn is_es256(key: &p256::ecdsa::VerifyingKey, message: &[u8], bytes: &[u8]) -> bool {
    let der = p256::ecdsa::Signature::from_der(bytes).ok();
    let p1363 = p256::ecdsa::Signature::from_slice(bytes).ok();
    der.into_iter().chain(p1363).any(|signature| key.verify(message, &signature).is_ok())
}
