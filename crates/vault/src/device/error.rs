//! Why a device's key is not taken. Texts go back to whoever sent the key, so none repeats a part of it.

use ridgeline_domain::KeyAlgorithm;
use ridgeline_ports::Disposition;

use super::{DEVICE_JWK_BYTES_MAX, DEVICE_KEY_BYTES_MAX};

/// A refusal of a device's public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceKeyError {
    /// The text is over its limit.
    #[error("the public key is longer than {DEVICE_KEY_BYTES_MAX} bytes: send one PEM block with one key")]
    TooLong,
    /// What was sent holds a private key, whole or in part.
    #[error(
        "this is a private key. It was not stored, but it has left its device: make a new key pair in the device's key \
         store and send the public half"
    )]
    PrivateKey,
    /// No PEM block, or one that is not complete.
    #[error(
        "this is not a whole PEM block: send everything from `-----BEGIN PUBLIC KEY-----` to `-----END PUBLIC KEY-----`, \
         each on a line of its own"
    )]
    NotPem,
    /// A PEM block of something else.
    #[error("the PEM block is not labelled `PUBLIC KEY`: export the public key as SubjectPublicKeyInfo")]
    WrongLabel,
    /// More than one PEM block.
    #[error("there are several PEM blocks: send one key")]
    SeveralBlocks,
    /// Text before or after the block.
    #[error("there is text before or after the PEM block: send the block alone")]
    TextAround,
    /// The lines between the labels are not base64.
    #[error("the lines of the PEM block are not base64 with its padding, without spaces and empty lines")]
    Base64,
    /// The content is not exactly one SubjectPublicKeyInfo in DER.
    #[error("the key is not exactly one DER SubjectPublicKeyInfo: export it again")]
    Der,
    /// No JSON object, one that names a member twice, or too long.
    #[error("this is not a JWK: send one JSON object of at most {DEVICE_JWK_BYTES_MAX} bytes")]
    NotJwk,
    /// A key type that no accepted algorithm uses.
    #[error("the key is neither an EC key nor an RSA key (`rsaEncryption`): make one of these")]
    UnknownKind,
    /// A sound kind of key, declared with an algorithm of the other kind.
    #[error("{algorithm} signatures need {}: declare the key's own algorithm or send another key", needs(*algorithm))]
    WrongKind {
        /// What was declared.
        algorithm: KeyAlgorithm,
    },
    /// An EC key on another curve.
    #[error("the key is on {curve}: ES256 needs P-256 (`secp256r1`, `prime256v1`), given by name")]
    WrongCurve {
        /// The curve's name, from our own table.
        curve: &'static str,
    },
    /// The point has a wrong length or a form other than compressed or uncompressed; in a JWK, coordinates that are no base64url
    /// of 32 bytes.
    #[error("the P-256 point is neither in compressed nor in uncompressed form: export the key again")]
    PointForm,
    /// The neutral element is no key.
    #[error("the P-256 point is the point at infinity: make a new key")]
    PointAtInfinity,
    /// No such point is on the curve.
    #[error("the point is not on P-256: export the key again")]
    PointNotOnCurve,
    /// An RSA modulus of a wrong size.
    #[error("the RSA key has {bits} bits: make one of 2048 to 4096 bits")]
    ModulusBits {
        /// Its size.
        bits: usize,
    },
    /// An RSA modulus that is no product of two large primes.
    #[error("the RSA modulus is even or has a small prime factor: make a new key")]
    ModulusFactor,
    /// A modulus of the form that a faulty library made: its factors can be found.
    #[error(
        "the RSA key comes from a faulty generator (ROCA, CVE-2017-15361), its private half can be computed: make a new key elsewhere"
    )]
    Roca,
    /// An exponent out of range.
    #[error("the RSA exponent must be odd, at least 65537 and below 2^33: make a key with 65537")]
    Exponent,
}

impl DeviceKeyError {
    /// What the runtime does about it: another try reads the same key.
    #[must_use]
    pub const fn disposition(self) -> Disposition {
        Disposition::Poison
    }
}

const fn needs(algorithm: KeyAlgorithm) -> &'static str {
    match algorithm {
        KeyAlgorithm::Es256 => "an EC key on P-256",
        KeyAlgorithm::Rs256 | KeyAlgorithm::Ps256 => "an RSA key",
    }
}
