//! From a DER SubjectPublicKeyInfo to a key of a kind that is used here.

use p256::elliptic_curve::sec1::FromEncodedPoint as _;
use p256::pkcs8::der::Decode as _;
use p256::pkcs8::der::asn1::{AnyRef, ObjectIdentifier};
use p256::pkcs8::spki::SubjectPublicKeyInfoRef;
use ridgeline_domain::KeyAlgorithm;
use rsa::RsaPublicKey;

use super::{DEVICE_KEY_BYTES_MAX, DeviceKeyError, armor, rsa_policy};

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// Curves that key stores offer, so that a refusal can name the mistake.
const OTHER_CURVES: &[(ObjectIdentifier, &str)] = &[
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.1"), "P-192 (`secp192r1`)"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.33"), "P-224 (`secp224r1`)"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), "P-384 (`secp384r1`)"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), "P-521 (`secp521r1`)"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.10"), "`secp256k1`"),
    (ObjectIdentifier::new_unwrap("1.3.36.3.3.2.8.1.1.7"), "`brainpoolP256r1`"),
    (ObjectIdentifier::new_unwrap("1.3.36.3.3.2.8.1.1.11"), "`brainpoolP384r1`"),
    (ObjectIdentifier::new_unwrap("1.3.36.3.3.2.8.1.1.13"), "`brainpoolP512r1`"),
    (ObjectIdentifier::new_unwrap("1.2.156.10197.1.301"), "`sm2p256v1`"),
];

/// A checked key.
pub(super) enum Public {
    P256(p256::PublicKey),
    Rsa(RsaPublicKey),
}

/// Reads and checks. The kind is held against `algorithm` first: what else is wrong with a key of the other kind is no matter.
pub(super) fn read(algorithm: KeyAlgorithm, der: &[u8]) -> Result<Public, DeviceKeyError> {
    if der.len() > DEVICE_KEY_BYTES_MAX {
        return Err(DeviceKeyError::TooLong);
    }
    if armor::is_private(der) {
        return Err(DeviceKeyError::PrivateKey);
    }
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| DeviceKeyError::Der)?;
    let key = info.subject_public_key.as_bytes().ok_or(DeviceKeyError::Der)?;
    let wants_ec = algorithm == KeyAlgorithm::Es256;
    match info.algorithm.oid {
        EC if wants_ec => {
            named_p256(info.algorithm.parameters)?;
            point(key).map(Public::P256)
        }
        // RFC 3279, 2.3.1: the parameters are there and NULL.
        RSA if !wants_ec && info.algorithm.parameters != Some(AnyRef::NULL) => Err(DeviceKeyError::Der),
        RSA if !wants_ec => rsa_policy::read(key).map(Public::Rsa),
        EC | RSA => Err(DeviceKeyError::WrongKind { algorithm }),
        _ => Err(DeviceKeyError::UnknownKind),
    }
}

fn named_p256(parameters: Option<AnyRef<'_>>) -> Result<(), DeviceKeyError> {
    let unnamed = DeviceKeyError::WrongCurve { curve: "a curve that is not given by name" };
    let curve = parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok()).ok_or(unnamed)?;
    if curve == P256 {
        return Ok(());
    }
    let known = OTHER_CURVES.iter().find(|(oid, _)| *oid == curve);
    Err(DeviceKeyError::WrongCurve { curve: known.map_or("another curve", |(_, name)| *name) })
}

/// SEC 1, 2.3.4, without the hybrid form. The cofactor is 1, so every point of the curve but infinity is a key.
fn point(bytes: &[u8]) -> Result<p256::PublicKey, DeviceKeyError> {
    match bytes {
        [0] => Err(DeviceKeyError::PointAtInfinity),
        [2..=4, ..] => on_curve(&p256::EncodedPoint::from_bytes(bytes).map_err(|_| DeviceKeyError::PointForm)?),
        _ => Err(DeviceKeyError::PointForm),
    }
}

/// The point, if it is on P-256.
pub(super) fn on_curve(point: &p256::EncodedPoint) -> Result<p256::PublicKey, DeviceKeyError> {
    Option::from(p256::PublicKey::from_encoded_point(point)).ok_or(DeviceKeyError::PointNotOnCurve)
}
