//! The other side of a device's key: a device in software, for tools and tests.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use ridgeline_ports::Entropy;
use zeroize::Zeroizing;

use super::Challenge;
use crate::{VaultError, random};

const MALFORMED: VaultError = VaultError::Malformed { what: "PKCS#8 private key" };

/// The private ES256 key of a device. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct DeviceSigner(SigningKey);

impl DeviceSigner {
    /// A fresh key.
    ///
    /// # Errors
    /// [`VaultError::Randomness`] if `entropy` keeps giving bits that are no private key.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, VaultError> {
        random::p256_key(entropy).map(Self)
    }

    /// From PKCS#8 PEM.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] if it is no P-256 private key.
    pub fn from_pem(pem: &str) -> Result<Self, VaultError> {
        SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|_| MALFORMED)
    }

    /// As PKCS#8 PEM, to be kept.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], if the key has no such form.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, VaultError> {
        self.0.to_pkcs8_pem(LineEnding::LF).map_err(|_| MALFORMED)
    }

    /// The public half as SPKI PEM, as a registration carries it.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], if the key has no such form.
    pub fn public_pem(&self) -> Result<String, VaultError> {
        self.0.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|_| MALFORMED)
    }

    /// The signature of a challenge's text: r ‖ s in base64url without padding.
    #[must_use]
    pub fn sign(&self, challenge: &Challenge) -> String {
        let signature: Signature = self.0.sign(challenge.text().as_bytes());
        URL_SAFE_NO_PAD.encode(signature.to_bytes())
    }
}

impl fmt::Debug for DeviceSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceSigner(..)")
    }
}

#[cfg(test)]
mod tests {
    use ridgeline_domain::{KeyAlgorithm, Sensitive};

    use super::*;
    use crate::testing::System;
    use crate::{DeviceKey, DeviceSignature};

    #[test]
    fn what_it_signs_verifies_under_what_it_registers() {
        let signer = DeviceSigner::generate(&System).unwrap();
        let kept = DeviceSigner::from_pem(&signer.to_pem().unwrap()).unwrap();
        let public = Sensitive::new(kept.public_pem().unwrap());
        let key = DeviceKey::from_pem(KeyAlgorithm::Es256, public).unwrap();
        for challenge in [Challenge::generate(&System), Challenge::for_action(&System, &[7; 32])] {
            let signature = DeviceSignature::from_text(&signer.sign(&challenge)).unwrap();
            key.verify(challenge.text().as_bytes(), &signature).unwrap();
            assert!(key.verify(Challenge::generate(&System).text().as_bytes(), &signature).is_err());
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_a_key_is_not_shown() {
        let pem = DeviceSigner::generate(&System).unwrap().to_pem().unwrap();
        // Without its last line break it is whole.
        for len in 0..pem.len() - 1 {
            assert!(matches!(DeviceSigner::from_pem(&pem[..len]), Err(VaultError::Malformed { .. })), "{len}");
        }
        let signer = DeviceSigner::from_pem(&pem).unwrap();
        assert!(DeviceSigner::from_pem(&signer.public_pem().unwrap()).is_err());
        assert_eq!(format!("{signer:?}"), "DeviceSigner(..)");
    }
}
