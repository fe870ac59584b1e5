//! Keys of registered devices and what they sign.
//!
//! A [`DeviceKey`] is read from what a device's owner sends, checked, and bound to one [`KeyAlgorithm`]: a signature of
//! another algorithm never verifies under it. A [`Challenge`] is what a device signs.

mod armor;
mod challenge;
mod error;
mod form;
mod jwk;
mod rsa_policy;
mod signer;
mod verify;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::pkcs8::EncodePublicKey as _;
use ridgeline_domain::{KeyAlgorithm, Sensitive};
use rsa::traits::PublicKeyParts as _;
use rsa::{pkcs1v15, pss};
use sha2::{Digest as _, Sha256};

pub use challenge::{CHALLENGE_RANDOM_BYTES, Challenge};
pub use error::DeviceKeyError;
pub use jwk::DEVICE_JWK_BYTES_MAX;
pub use signer::DeviceSigner;
pub use verify::{DEVICE_SIGNATURE_BYTES_MAX, DEVICE_SIGNATURE_CHARS_MAX, DeviceSignature};

/// Longest text of a public key. The PEM of a 4096-bit RSA key has 800 bytes.
pub const DEVICE_KEY_BYTES_MAX: usize = 10_240;

/// Length of one coordinate of a P-256 point.
const COORDINATE_BYTES: usize = 32;

/// The public key of a device, with the one algorithm it is used with.
///
/// `Debug` names the algorithm only: the key itself is stored encrypted.
#[derive(Clone)]
pub struct DeviceKey {
    key: Key,
    /// The one DER encoding of this key.
    spki_der: Vec<u8>,
}

/// Ready to verify.
#[derive(Clone)]
enum Key {
    Es256(p256::ecdsa::VerifyingKey),
    Rs256(pkcs1v15::VerifyingKey<Sha256>),
    Ps256(pss::VerifyingKey<Sha256>),
}

impl DeviceKey {
    /// Reads one PEM block labelled `PUBLIC KEY` (RFC 7468) with nothing but white space around it.
    ///
    /// Lines may have any length and end in LF or CRLF. The text is overwritten with zeros when this returns, whatever it
    /// was: it may be a private key. Copies that the caller keeps are the caller's to erase.
    ///
    /// # Errors
    /// [`DeviceKeyError`] for everything but a key that [`DeviceKey::from_spki_der`] takes.
    pub fn from_pem(algorithm: KeyAlgorithm, pem: Sensitive<String>) -> Result<Self, DeviceKeyError> {
        Self::from_spki_der(algorithm, &armor::open(pem.expose())?)
    }

    /// Reads a DER SubjectPublicKeyInfo (RFC 5280): a P-256 key (RFC 5480, the curve named, the point compressed or not)
    /// for ES256, an `rsaEncryption` key (RFC 3279) for RS256 and PS256.
    ///
    /// RSA moduli have 2048 to 4096 bits, no prime factor below 752 (NIST SP 800-89, 5.3.3) and not the form of ROCA
    /// (CVE-2017-15361); exponents are odd, at least 65537 and below 2³³.
    ///
    /// # Errors
    /// [`DeviceKeyError`]; which one says what the owner can do about it.
    pub fn from_spki_der(algorithm: KeyAlgorithm, der: &[u8]) -> Result<Self, DeviceKeyError> {
        match (algorithm, form::read(algorithm, der)?) {
            (KeyAlgorithm::Es256, form::Public::P256(point)) => Self::from_point(&point),
            (KeyAlgorithm::Rs256, form::Public::Rsa(key)) => {
                Ok(Self { key: Key::Rs256(pkcs1v15::VerifyingKey::new(key)), spki_der: der.to_vec() })
            }
            (KeyAlgorithm::Ps256, form::Public::Rsa(key)) => {
                Ok(Self { key: Key::Ps256(pss::VerifyingKey::new(key)), spki_der: der.to_vec() })
            }
            (algorithm, _) => Err(DeviceKeyError::WrongKind { algorithm }),
        }
    }

    /// An ES256 key from the members `x` and `y` of its JWK (RFC 7518, 6.2.1): base64url without padding, 43 characters each.
    ///
    /// # Errors
    /// [`DeviceKeyError::PointForm`], [`DeviceKeyError::PointNotOnCurve`].
    pub fn from_jwk_coordinates(x: &str, y: &str) -> Result<Self, DeviceKeyError> {
        // The decoder wants room for what a text of this length could hold at most.
        let coordinate = |text: &str| {
            let mut bytes = [0; COORDINATE_BYTES + 1];
            let len = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
            bytes.first_chunk::<COORDINATE_BYTES>().filter(|_| len == COORDINATE_BYTES).copied()
        };
        let (x, y) = coordinate(x).zip(coordinate(y)).ok_or(DeviceKeyError::PointForm)?;
        let point = p256::EncodedPoint::from_affine_coordinates(&x.into(), &y.into(), false);
        Self::from_point(&form::on_curve(&point)?)
    }

    pub(crate) fn from_point(point: &p256::PublicKey) -> Result<Self, DeviceKeyError> {
        let der = point.to_public_key_der().map_err(|_| DeviceKeyError::PointForm)?;
        Ok(Self { key: Key::Es256(point.into()), spki_der: der.into_vec() })
    }

    /// The algorithm of every signature that this key verifies.
    #[must_use]
    pub const fn algorithm(&self) -> KeyAlgorithm {
        match self.key {
            Key::Es256(_) => KeyAlgorithm::Es256,
            Key::Rs256(_) => KeyAlgorithm::Rs256,
            Key::Ps256(_) => KeyAlgorithm::Ps256,
        }
    }

    /// The key as DER SubjectPublicKeyInfo. Equal keys have equal bytes, however they were sent: a P-256 point is uncompressed.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// SHA-256 of [`DeviceKey::spki_der`]: finds a key that is registered already.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.spki_der).into()
    }

    /// The JWK (RFC 7517) with the members that the key's type requires, in the order of RFC 7638.
    #[must_use]
    pub fn jwk(&self) -> String {
        let word = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let of_rsa = |key: &rsa::RsaPublicKey| {
            let (e, n) = (word(&key.e().to_bytes_be()), word(&key.n().to_bytes_be()));
            format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
        };
        match &self.key {
            Key::Es256(key) => {
                let point = key.to_encoded_point(false);
                let (x, y) = (point.x().map(|x| word(x)), point.y().map(|y| word(y)));
                format!(
                    r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                    x.unwrap_or_default(),
                    y.unwrap_or_default()
                )
            }
            Key::Rs256(key) => of_rsa(key.as_ref()),
            Key::Ps256(key) => of_rsa(key.as_ref()),
        }
    }

    /// The JWK thumbprint (RFC 7638, SHA-256) in base64url without padding, as `cnf.jkt` carries it (RFC 9449).
    #[must_use]
    pub fn jwk_thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.jwk()))
    }
}

impl PartialEq for DeviceKey {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm() == other.algorithm() && self.spki_der == other.spki_der
    }
}

impl Eq for DeviceKey {}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", self.algorithm())
    }
}

#[cfg(test)]
mod tests;
