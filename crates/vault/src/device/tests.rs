//! Keys and signatures: vectors of others and our own, keys that must not pass, damaged input.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use proptest::prelude::*;
use ridgeline_testkit::covers;
use rsa::BigUint;
use serde_json::Value;

use super::*;
use crate::VaultError;
use crate::testing::{System, unhex};

const PAGE: &str = include_str!("../../../../docs/device-signatures.md");
const EC: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const NULL: &[u8] = &[5, 0];

/// Keys and signatures made once with another implementation; nobody has the private keys any more.
static FIXTURES: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("fixtures.json")).unwrap());

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn from_pem(algorithm: KeyAlgorithm, pem: &str) -> Result<DeviceKey, DeviceKeyError> {
    DeviceKey::from_pem(algorithm, Sensitive::new(pem.to_owned()))
}

fn from_text(text: &str) -> DeviceSignature {
    DeviceSignature::from_text(text).unwrap()
}

fn is_refused(key: &DeviceKey, message: &[u8], signature: &[u8]) -> bool {
    DeviceSignature::from_bytes(signature.to_vec())
        .and_then(|signature| key.verify(message, &signature))
        .is_err_and(|error| matches!(error, VaultError::Authentication | VaultError::TooLong { .. }))
}

/// A DER element.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    let header = match len {
        [0, short @ 0..=127] => vec![tag, short],
        [0, byte] => vec![tag, 0x81, byte],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [header, body].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, parts)
}

/// A positive DER integer.
fn integer(number: &BigUint) -> Vec<u8> {
    let bytes = number.to_bytes_be();
    let sign: &[u8] = if bytes[0] >= 0x80 { &[0] } else { &[] };
    element(2, &[sign, &bytes])
}

fn bits(bytes: &[u8]) -> Vec<u8> {
    element(3, &[&[0], bytes])
}

fn spki(algorithm: &[&[u8]], key: &[u8]) -> Vec<u8> {
    sequence(&[&sequence(algorithm), &bits(key)])
}

fn ec_spki(point: &[u8]) -> Vec<u8> {
    spki(&[EC, P256], point)
}

fn rsa_spki(modulus: &BigUint, exponent: u64) -> Vec<u8> {
    spki(&[RSA, NULL], &sequence(&[&integer(modulus), &integer(&BigUint::from(exponent))]))
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// A number of exactly so many bits that no prime below 752 divides.
fn modulus(bits: usize) -> BigUint {
    let mut bytes = vec![0; bits.div_ceil(8)];
    getrandom::fill(&mut bytes).unwrap();
    let one = BigUint::from(1_u8);
    let top = &one << (bits - 1);
    let mut number = (BigUint::from_bytes_be(&bytes) % &top) | &top | &one;
    while (3_u32..752).any(|factor| &number % factor == BigUint::from(0_u8)) {
        number += 2_u8;
    }
    number
}

fn rsa_error(der: &[u8]) -> DeviceKeyError {
    let error = DeviceKey::from_spki_der(KeyAlgorithm::Ps256, der).unwrap_err();
    assert_eq!(DeviceKey::from_spki_der(KeyAlgorithm::Rs256, der).unwrap_err(), error);
    error
}

fn ec_error(der: &[u8]) -> DeviceKeyError {
    DeviceKey::from_spki_der(KeyAlgorithm::Es256, der).unwrap_err()
}

/// The vectors of the page for app authors.
struct Vector {
    algorithm: KeyAlgorithm,
    pem: String,
    message: String,
    signatures: Vec<String>,
    thumbprint: String,
}

impl Vector {
    fn key(&self) -> DeviceKey {
        from_pem(self.algorithm, &self.pem).unwrap()
    }
}

fn page_vectors() -> Vec<Vector> {
    let section = |algorithm: &KeyAlgorithm| {
        let (_, section) = PAGE.split_once(&format!("\n### {algorithm}\n")).unwrap();
        let fenced = |kind: &str| {
            let (_, rest) = section.split_once(&format!("```{kind}\n")).unwrap();
            rest.split_once("```").unwrap().0.to_owned()
        };
        let rows = fenced("text");
        let all = |name: &str| -> Vec<String> {
            let rows = rows.lines().filter_map(|line| line.strip_prefix(name));
            rows.map(|value| value.trim().to_owned()).collect()
        };
        let one = |name: &str| all(name).into_iter().next().unwrap();
        Vector {
            algorithm: *algorithm,
            pem: fenced("pem"),
            message: one("message"),
            signatures: all("signature"),
            thumbprint: one("thumbprint"),
        }
    };
    KeyAlgorithm::ALL.iter().map(section).collect()
}

fn page_vector(algorithm: KeyAlgorithm) -> Vector {
    page_vectors().into_iter().find(|vector| vector.algorithm == algorithm).unwrap()
}

#[test]
fn the_vectors_of_the_page_verify() {
    for vector in page_vectors() {
        let key = vector.key();
        assert_eq!(key.jwk_thumbprint(), vector.thumbprint);
        assert_eq!(vector.signatures.len(), if vector.algorithm == KeyAlgorithm::Es256 { 2 } else { 1 });
        // The messages are challenges as the service makes them.
        let challenge = Challenge::from_text(&vector.message).unwrap();
        for signature in &vector.signatures {
            key.verify(challenge.text().as_bytes(), &from_text(signature)).unwrap();
            assert!(is_refused(&key, &vector.message.as_bytes()[1..], from_text(signature).as_bytes()));
        }
    }
}

#[test]
fn the_page_tells_app_authors_what_they_must_see_to() {
    covers!("R-087");
    let (_, duties) = PAGE.split_once("\n## What the app must see to\n").unwrap();
    let titles: Vec<_> = duties.lines().filter_map(|line| line.strip_prefix("### ")).take(4).collect();
    let wanted = ["A biometric prompt before each signature", "Keys in hardware", "Certificate pinning"];
    assert_eq!(titles[..3], wanted);
    assert_eq!(titles[3], "Rooted and jailbroken devices");
    // The bytes that the page tells authors to put before a bare point.
    let header = ec_spki(&[4; 65])[..26].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(PAGE.contains(&format!("`{header}`")), "{header}");
}

#[test]
fn a_signature_verifies_with_the_registered_algorithm_only() {
    covers!("R-064");
    let (rs, ps) = (&FIXTURES["vectors"]["RS256"], &FIXTURES["vectors"]["PS256"]);
    for (vector, own, other) in
        [(rs, KeyAlgorithm::Rs256, KeyAlgorithm::Ps256), (ps, KeyAlgorithm::Ps256, KeyAlgorithm::Rs256)]
    {
        let message = text(&vector["message"]).as_bytes();
        let signature = from_text(text(&vector["signature"]));
        from_pem(own, text(&vector["pem"])).unwrap().verify(message, &signature).unwrap();
        assert!(is_refused(&from_pem(other, text(&vector["pem"])).unwrap(), message, signature.as_bytes()));
        // By the same private key over the same message: other digests, paddings and salts.
        for (name, variant) in vector["others"].as_object().unwrap() {
            let variant = from_text(text(variant));
            assert!(
                is_refused(&from_pem(own, text(&vector["pem"])).unwrap(), message, variant.as_bytes()),
                "{own} {name}"
            );
        }
    }
    for vector in page_vectors() {
        for other in page_vectors().iter().filter(|other| other.algorithm != vector.algorithm) {
            for signature in &other.signatures {
                assert!(is_refused(&vector.key(), other.message.as_bytes(), from_text(signature).as_bytes()));
            }
        }
    }
}

#[test]
fn rsa_keys_of_every_allowed_size_verify() {
    for (name, vector) in FIXTURES["vectors"].as_object().unwrap() {
        let key = from_pem(text(&vector["algorithm"]).parse().unwrap(), text(&vector["pem"])).unwrap();
        let (message, signature) = (text(&vector["message"]).as_bytes(), from_text(text(&vector["signature"])));
        key.verify(message, &signature).unwrap_or_else(|error| panic!("{name}: {error}"));
        let longer = [[0].as_slice(), signature.as_bytes()].concat();
        for other in [longer.as_slice(), &signature.as_bytes()[1..], &vec![0; signature.as_bytes().len()]] {
            assert!(is_refused(&key, message, other), "{name}");
        }
    }
}

#[test]
fn a_key_has_one_encoding() {
    for vector in page_vectors() {
        let key = vector.key();
        let der = key.spki_der().to_vec();
        assert_eq!(DeviceKey::from_spki_der(vector.algorithm, &der).unwrap(), key);
        assert_eq!(from_pem(vector.algorithm, &pem("PUBLIC KEY", &der)).unwrap().digest(), key.digest());
        if let Key::Rs256(key) = &key.key {
            assert_eq!(key.as_ref().to_public_key_der().unwrap().as_bytes(), der);
        }
    }
    let key = page_vector(KeyAlgorithm::Es256).key();
    let Key::Es256(point) = &key.key else { panic!("an EC key") };
    let compressed = DeviceKey::from_spki_der(KeyAlgorithm::Es256, &ec_spki(point.to_encoded_point(true).as_bytes()));
    assert_eq!(compressed.unwrap().digest(), key.digest());
    let point = point.to_encoded_point(false);
    let (x, y) = (URL_SAFE_NO_PAD.encode(point.x().unwrap()), URL_SAFE_NO_PAD.encode(point.y().unwrap()));
    assert_eq!(DeviceKey::from_jwk_coordinates(&x, &y).unwrap(), key);
    for (x, y) in [(&x, &x), (&"A".repeat(43), &"A".repeat(43))] {
        assert_eq!(DeviceKey::from_jwk_coordinates(x, y), Err(DeviceKeyError::PointNotOnCurve));
    }
    for bad in ["", &x[1..], &format!("{x}A"), &format!("{x}="), &format!("+{}", &x[1..])] {
        assert_eq!(DeviceKey::from_jwk_coordinates(bad, &y), Err(DeviceKeyError::PointForm), "{bad}");
    }
}

#[test]
fn an_rsa_key_serves_both_algorithms_and_is_equal_for_one() {
    let vector = page_vector(KeyAlgorithm::Rs256);
    let other = from_pem(KeyAlgorithm::Ps256, &vector.pem).unwrap();
    assert_ne!(other, vector.key());
    assert_eq!(other.digest(), vector.key().digest());
    assert_eq!(format!("{other:?}"), "DeviceKey(PS256)");
}

#[test]
fn a_public_key_is_valid_pem_of_the_right_kind_within_its_limit() {
    covers!("R-218");
    let ec = page_vector(KeyAlgorithm::Es256).pem;
    for vector in page_vectors() {
        let body = vector.pem.replace("-----BEGIN PUBLIC KEY-----\n", "").replace("\n-----END PUBLIC KEY-----\n", "");
        let with = |body: &str| format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----");
        let forms = [
            vector.pem.replace('\n', "\r\n"),
            with(&body.replace('\n', "")),
            format!("\n  {}  \r\n\t", vector.pem),
            format!("{}{}", vector.pem, " ".repeat(DEVICE_KEY_BYTES_MAX - vector.pem.len())),
        ];
        for form in &forms {
            assert_eq!(from_pem(vector.algorithm, form).unwrap(), vector.key());
        }
        for (algorithm, is_ec) in
            [(KeyAlgorithm::Es256, true), (KeyAlgorithm::Rs256, false), (KeyAlgorithm::Ps256, false)]
        {
            let read = from_pem(algorithm, &vector.pem);
            let fits = is_ec == (vector.algorithm == KeyAlgorithm::Es256);
            assert_eq!(read.err(), (!fits).then_some(DeviceKeyError::WrongKind { algorithm }));
        }
    }
    let too_long = format!("{ec}{}", " ".repeat(10_241 - ec.len()));
    assert_eq!(too_long.len(), 10_241);
    assert_eq!(from_pem(KeyAlgorithm::Es256, &too_long), Err(DeviceKeyError::TooLong));
    assert_eq!(ec_error(&vec![0x30; 10_241]), DeviceKeyError::TooLong);
}

#[test]
fn damaged_pem_is_refused_by_what_is_wrong() {
    let good = page_vector(KeyAlgorithm::Es256).pem;
    let lines: Vec<&str> = good.lines().collect();
    let cases = [
        (String::new(), DeviceKeyError::NotPem),
        ("\u{0}\u{7f}~~~ NO CARRIER".to_owned(), DeviceKeyError::NotPem),
        (lines[1..3].join("\n"), DeviceKeyError::NotPem),
        (good.replace('\n', " "), DeviceKeyError::NotPem),
        (good.trim_end().replace('\n', "\\n"), DeviceKeyError::NotPem),
        (good.replace("-----END", "----END"), DeviceKeyError::NotPem),
        (good.replace("END PUBLIC", "END RSA PUBLIC"), DeviceKeyError::NotPem),
        (good.replace("PUBLIC KEY", "CERTIFICATE"), DeviceKeyError::WrongLabel),
        (good.replace("PUBLIC KEY", "RSA PUBLIC KEY"), DeviceKeyError::WrongLabel),
        (good.replace("PUBLIC KEY", "public key"), DeviceKeyError::WrongLabel),
        (good.replace("BEGIN PUBLIC KEY-----", "BEGIN PUBLIC KEY"), DeviceKeyError::WrongLabel),
        (format!("{good}{good}"), DeviceKeyError::SeveralBlocks),
        (format!("{good}-----BEGIN CERTIFICATE-----\n"), DeviceKeyError::SeveralBlocks),
        (format!("{good}x"), DeviceKeyError::TextAround),
        (format!("{good}\u{feff}"), DeviceKeyError::TextAround),
        (format!("my key: {good}"), DeviceKeyError::TextAround),
        (good.replace(lines[1], &format!("{}\n", lines[1])), DeviceKeyError::Base64),
        (good.replace(lines[1], &format!("Comment: key\n{}", lines[1])), DeviceKeyError::Base64),
        (good.replace(lines[1], &format!(" {}", lines[1])), DeviceKeyError::Base64),
        (good.replace(lines[2], lines[2].trim_end_matches('=')), DeviceKeyError::Base64),
        (good.replace(lines[2], &format!("{}====", lines[2])), DeviceKeyError::Base64),
        (good.replace(lines[1], &lines[1].replace('E', "-")), DeviceKeyError::Base64),
        (good.replace(lines[2], "\u{e9}"), DeviceKeyError::Base64),
        (pem("PUBLIC KEY", &[]), DeviceKeyError::Base64),
        (pem("PUBLIC KEY", b"some text"), DeviceKeyError::Der),
    ];
    for (text, expected) in &cases {
        assert_eq!(from_pem(KeyAlgorithm::Es256, text).unwrap_err(), *expected, "{text}");
    }
}

#[test]
fn der_is_exact() {
    for vector in page_vectors() {
        let der = vector.key().spki_der().to_vec();
        let refused = |der: &[u8]| DeviceKey::from_spki_der(vector.algorithm, der).unwrap_err();
        assert_eq!(refused(&[der.as_slice(), &[0]].concat()), DeviceKeyError::Der);
        for len in 0..der.len() {
            assert_eq!(refused(&der[..len]), DeviceKeyError::Der, "{len}");
        }
        // BER: a length in more bytes than it needs, and an indefinite one.
        let body = &der[if der[1] == 0x82 { 4 } else { 2 }..];
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        assert_eq!(refused(&[[0x30, 0x83, 0, len[0], len[1]].as_slice(), body].concat()), DeviceKeyError::Der);
        assert_eq!(refused(&[[0x30, 0x80].as_slice(), body, &[0, 0]].concat()), DeviceKeyError::Der);
    }
    let n = modulus(2048);
    let e = integer(&BigUint::from(65_537_u32));
    let absent = spki(&[RSA], &sequence(&[&integer(&n), &e]));
    let extra = spki(&[RSA, NULL], &sequence(&[&integer(&n), &e, &e]));
    let trailing = spki(&[RSA, NULL], &[sequence(&[&integer(&n), &e]).as_slice(), &[0]].concat());
    let padded = spki(&[RSA, NULL], &sequence(&[&element(2, &[&[0, 0], &n.to_bytes_be()]), &e]));
    let negative = spki(&[RSA, NULL], &sequence(&[&element(2, &[&n.to_bytes_be()]), &e]));
    for der in [absent, extra, trailing, padded, negative] {
        assert_eq!(rsa_error(&der), DeviceKeyError::Der);
    }
    let unused_bits = sequence(&[&sequence(&[EC, P256]), &element(3, &[&[1], &[4; 65]])]);
    assert_eq!(ec_error(&unused_bits), DeviceKeyError::Der);
}

/// What a private key may look like: its label, and its DER.
fn private_keys() -> Vec<(&'static str, Vec<u8>)> {
    let key = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let pkcs8 = key.to_pkcs8_der().unwrap().as_bytes().to_vec();
    let sec1 = key.to_sec1_der().unwrap().to_vec();
    let number = |bits: usize| integer(&modulus(bits));
    let version = [2, 1, 0].as_slice();
    let pkcs1 = sequence(&[
        version,
        &number(2048),
        &integer(&BigUint::from(65_537_u32)),
        &number(2047),
        &number(1024),
        &number(1024),
        &number(1023),
        &number(1023),
        &number(1022),
    ]);
    let rsa_pkcs8 = sequence(&[version, &sequence(&[RSA, NULL]), &element(4, &[&pkcs1])]);
    let scheme = sequence(&[&element(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 0x0d]])]);
    let encrypted = sequence(&[&scheme, &element(4, &[&[9; 160]])]);
    let openssh = b"openssh-key-v1\0\0\0\0\x04none\0\0\0\x04none".to_vec();
    vec![
        ("PRIVATE KEY", pkcs8),
        ("EC PRIVATE KEY", sec1),
        ("RSA PRIVATE KEY", pkcs1),
        ("PRIVATE KEY", rsa_pkcs8),
        ("ENCRYPTED PRIVATE KEY", encrypted),
        ("OPENSSH PRIVATE KEY", openssh),
    ]
}

#[test]
fn a_private_key_is_refused_under_every_label_and_without_one() {
    let public = page_vector(KeyAlgorithm::Es256).pem;
    for (label, der) in private_keys() {
        let texts = [
            pem(label, &der),
            pem(&label.to_lowercase(), &der),
            pem("PUBLIC KEY", &der),
            pem("CERTIFICATE", &der),
            STANDARD.encode(&der),
            pem("PUBLIC KEY", &der).replace('\n', "\r\n"),
            format!("{public}{}", pem(label, &der)),
            format!("{}{public}", pem(label, &der)),
            // Half of one is one.
            pem("PUBLIC KEY", &der[..der.len() / 2]),
        ];
        for algorithm in KeyAlgorithm::ALL {
            for text in &texts {
                assert_eq!(from_pem(*algorithm, text), Err(DeviceKeyError::PrivateKey), "{label}");
            }
            assert_eq!(DeviceKey::from_spki_der(*algorithm, &der), Err(DeviceKeyError::PrivateKey), "{label}");
        }
    }
    let secret = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let crlf = secret.to_pkcs8_pem(LineEnding::CRLF).unwrap();
    let parameters = format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}", *crlf);
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"BwcH"}"#;
    for text in [crlf.as_str(), &parameters, jwk] {
        assert_eq!(from_pem(KeyAlgorithm::Es256, text), Err(DeviceKeyError::PrivateKey));
    }
}

#[test]
fn no_refusal_repeats_what_was_sent() {
    let everything = [
        DeviceKeyError::TooLong,
        DeviceKeyError::PrivateKey,
        DeviceKeyError::NotPem,
        DeviceKeyError::WrongLabel,
        DeviceKeyError::SeveralBlocks,
        DeviceKeyError::TextAround,
        DeviceKeyError::Base64,
        DeviceKeyError::Der,
        DeviceKeyError::UnknownKind,
        DeviceKeyError::PointForm,
        DeviceKeyError::PointAtInfinity,
        DeviceKeyError::PointNotOnCurve,
        DeviceKeyError::ModulusFactor,
        DeviceKeyError::Roca,
        DeviceKeyError::Exponent,
    ];
    let texts: BTreeSet<String> = everything.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), everything.len(), "each says something of its own");
    let secret = p256::SecretKey::from_slice(&[7; 32]).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap();
    let body = secret.lines().nth(1).unwrap();
    for text in [secret.replace("PRIVATE", "PUBLIC"), secret.to_string(), format!("{body}\n-----END PUBLIC KEY-----")] {
        let error = from_pem(KeyAlgorithm::Es256, &text).unwrap_err();
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains(&body[..16]), "{shown}");
        }
        assert_eq!(error.disposition(), ridgeline_ports::Disposition::Poison);
    }
}

#[test]
fn other_curves_and_kinds_are_refused_by_name() {
    let refused = &FIXTURES["refused"];
    let curves = [
        ("P-384", "P-384 (`secp384r1`)"),
        ("P-521", "P-521 (`secp521r1`)"),
        ("secp256k1", "`secp256k1`"),
        ("P-224", "P-224 (`secp224r1`)"),
        ("bp256", "`brainpoolP256r1`"),
        ("explicit", "a curve that is not given by name"),
    ];
    for (name, curve) in curves {
        let error = from_pem(KeyAlgorithm::Es256, text(&refused[name])).unwrap_err();
        assert_eq!(error, DeviceKeyError::WrongCurve { curve });
        assert!(error.to_string().contains(curve), "{error}");
    }
    let unknown = spki(&[EC, &[6, 3, 0x2a, 3, 4]], &[4; 65]);
    assert_eq!(ec_error(&unknown), DeviceKeyError::WrongCurve { curve: "another curve" });
    let unnamed = spki(&[EC], &[4; 65]);
    assert_eq!(ec_error(&unnamed), DeviceKeyError::WrongCurve { curve: "a curve that is not given by name" });
    for name in ["ed25519", "x25519", "rsassa-pss"] {
        for algorithm in KeyAlgorithm::ALL {
            assert_eq!(from_pem(*algorithm, text(&refused[name])), Err(DeviceKeyError::UnknownKind), "{name}");
        }
    }
}

#[test]
fn points_off_the_curve_and_at_infinity_are_refused() {
    let Key::Es256(key) = page_vector(KeyAlgorithm::Es256).key().key else { panic!("an EC key") };
    let good = key.to_encoded_point(false).as_bytes().to_vec();
    let mut off = good.clone();
    off[64] ^= 1;
    let zero = [vec![4], vec![0; 64]].concat();
    let beyond = [vec![4], vec![0xff; 64]].concat();
    // x = 5 is on the curve, x = 4 is not.
    let no_root = [vec![2], vec![0; 31], vec![4]].concat();
    for point in [&off, &zero, &beyond, &no_root] {
        assert_eq!(ec_error(&ec_spki(point)), DeviceKeyError::PointNotOnCurve);
    }
    assert!(DeviceKey::from_spki_der(KeyAlgorithm::Es256, &ec_spki(&[vec![2], vec![0; 31], vec![5]].concat())).is_ok());
    assert_eq!(ec_error(&ec_spki(&[0])), DeviceKeyError::PointAtInfinity);
    let hybrid = [[6 + (good[64] & 1)].as_slice(), &good[1..]].concat();
    let compact = [[5].as_slice(), &good[1..33]].concat();
    let longer = [good.as_slice(), &[0]].concat();
    let compressed_length = [[4].as_slice(), &good[1..33]].concat();
    for point in [&hybrid, &compact, &longer, &compressed_length, &good[..64].to_vec(), &vec![], &vec![0; 65]] {
        assert_eq!(ec_error(&ec_spki(point)), DeviceKeyError::PointForm, "{point:?}");
    }
}

#[test]
fn rsa_moduli_have_2048_to_4096_bits_and_no_small_factor() {
    for bits in [2048, 2049, 3072, 4095, 4096] {
        let der = rsa_spki(&modulus(bits), 65_537);
        assert!(DeviceKey::from_spki_der(KeyAlgorithm::Rs256, &der).is_ok(), "{bits}");
        assert!(DeviceKey::from_spki_der(KeyAlgorithm::Ps256, &der).is_ok(), "{bits}");
    }
    for bits in [512, 1024, 2040, 2047, 4097, 8192] {
        assert_eq!(rsa_error(&rsa_spki(&modulus(bits), 65_537)), DeviceKeyError::ModulusBits { bits });
    }
    let zero = rsa_spki(&BigUint::from(0_u8), 65_537);
    assert_eq!(rsa_error(&zero), DeviceKeyError::ModulusBits { bits: 0 });
    let pem = text(&FIXTURES["refused"]["rsa1024"]);
    assert_eq!(from_pem(KeyAlgorithm::Rs256, pem), Err(DeviceKeyError::ModulusBits { bits: 1024 }));
    for factor in [2_u32, 3, 5, 167, 173, 743, 751] {
        let number = modulus(2060) * factor;
        assert_eq!(rsa_error(&rsa_spki(&number, 65_537)), DeviceKeyError::ModulusFactor, "{factor}");
    }
}

#[test]
fn rsa_exponents_are_odd_and_neither_small_nor_huge() {
    let n = modulus(2048);
    for exponent in [65_537, 65_539, (1 << 33) - 1] {
        assert!(DeviceKey::from_spki_der(KeyAlgorithm::Rs256, &rsa_spki(&n, exponent)).is_ok(), "{exponent}");
    }
    for exponent in [0, 1, 3, 17, 257, 65_535, 65_536, 65_538, 1 << 33, (1 << 33) + 1, u64::MAX] {
        assert_eq!(rsa_error(&rsa_spki(&n, exponent)), DeviceKeyError::Exponent, "{exponent}");
    }
    let huge = spki(&[RSA, NULL], &sequence(&[&integer(&n), &integer(&modulus(2047))]));
    assert_eq!(rsa_error(&huge), DeviceKeyError::Exponent);
    let pem = text(&FIXTURES["refused"]["rsa_e3"]);
    assert_eq!(from_pem(KeyAlgorithm::Ps256, pem), Err(DeviceKeyError::Exponent));
}

/// k · M + (65537^a mod M), where M is the product of the first primes: the form of both primes of a weak key.
fn roca_half(bits: usize) -> BigUint {
    let primes = (2_u32..702).filter(|number| (2..*number).all(|factor| number % factor != 0));
    let product = primes.fold(BigUint::from(1_u8), |product, prime| product * prime);
    let mut seed = [0; 12];
    getrandom::fill(&mut seed).unwrap();
    let power = BigUint::from(65_537_u32).modpow(&BigUint::from_bytes_be(&seed), &product);
    let top = BigUint::from(3_u8) << (bits - 2);
    let multiple = &top / &product + BigUint::from_bytes_be(&seed[..4]);
    multiple * product + power
}

#[test]
fn moduli_of_the_roca_form_are_refused() {
    for bits in [1024, 1536, 2048] {
        // A factor between 701 and 752 would be found first.
        let weak = (0..20).map(|_| rsa_error(&rsa_spki(&(roca_half(bits) * roca_half(bits)), 65_537)));
        let errors: Vec<_> = weak.collect();
        assert!(errors.iter().filter(|error| **error == DeviceKeyError::Roca).count() > 10, "{errors:?}");
        assert!(errors.iter().all(|error| matches!(error, DeviceKeyError::Roca | DeviceKeyError::ModulusFactor)));
        // One weak prime alone does not have the form.
        let half = rsa_spki(&(roca_half(bits) * modulus(bits)), 65_537);
        assert!(!matches!(DeviceKey::from_spki_der(KeyAlgorithm::Rs256, &half), Err(DeviceKeyError::Roca)));
    }
}

#[test]
fn every_prefix_of_a_pem_is_refused() {
    for vector in page_vectors() {
        let whole = vector.pem.trim_end();
        for len in 0..whole.len() {
            let error = from_pem(vector.algorithm, &whole[..len]).unwrap_err();
            let expected = [DeviceKeyError::NotPem, DeviceKeyError::WrongLabel];
            assert!(expected.contains(&error), "{len}: {error}");
        }
        assert!(from_pem(vector.algorithm, whole).is_ok());
    }
}

#[test]
fn every_prefix_of_a_signature_is_refused() {
    for vector in page_vectors() {
        for text in &vector.signatures {
            let signature = from_text(text).as_bytes().to_vec();
            for len in 0..signature.len() {
                assert!(is_refused(&vector.key(), vector.message.as_bytes(), &signature[..len]), "{len}");
            }
            let longer = [signature.as_slice(), &[0]].concat();
            assert!(is_refused(&vector.key(), vector.message.as_bytes(), &longer));
        }
    }
}

/// r and s of a P1363 signature with s replaced by n − s.
fn with_other_s(signature: &[u8]) -> Vec<u8> {
    let order = BigUint::from_bytes_be(&unhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"));
    let other = (order - BigUint::from_bytes_be(&signature[32..])).to_bytes_be();
    [&signature[..32], &vec![0; 32 - other.len()], &other].concat()
}

#[test]
fn es256_takes_low_and_high_s_in_both_forms_and_no_number_out_of_range() {
    let vector = page_vector(KeyAlgorithm::Es256);
    let (key, message) = (vector.key(), vector.message.as_bytes());
    let p1363 = from_text(&vector.signatures[1]).as_bytes().to_vec();
    assert_eq!(p1363.len(), 64);
    let other = with_other_s(&p1363);
    assert_ne!(other, p1363);
    let as_der = |bytes: &[u8]| {
        let [r, s] = [0, 32].map(|at| integer(&BigUint::from_bytes_be(&bytes[at..at + 32])));
        sequence(&[&r, &s])
    };
    assert_eq!(as_der(&p1363), from_text(&vector.signatures[0]).as_bytes());
    for bytes in [&p1363, &other, &as_der(&p1363), &as_der(&other)] {
        key.verify(message, &DeviceSignature::from_bytes(bytes.clone()).unwrap()).unwrap();
    }
    let order = unhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    for (at, number) in [(0, vec![0; 32]), (32, vec![0; 32]), (0, order.clone()), (32, order), (0, vec![0xff; 32])] {
        let mut bad = p1363.clone();
        bad[at..at + 32].copy_from_slice(&number);
        assert!(is_refused(&key, message, &bad));
        assert!(is_refused(&key, message, &as_der(&bad)));
    }
}

#[test]
fn the_text_of_a_signature_is_base64_of_either_alphabet_with_a_limit() {
    covers!("R-219");
    let bytes: Vec<u8> = (0..=255).rev().collect();
    for len in 1..=bytes.len() {
        let bytes = &bytes[..len];
        for text in [STANDARD.encode(bytes), URL_SAFE.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)] {
            assert_eq!(from_text(&text).as_bytes(), bytes);
            assert_eq!(from_text(text.trim_end_matches('=')).as_bytes(), bytes);
        }
    }
    assert_eq!(from_text(&STANDARD.encode([0xfb; 512])).as_bytes(), [0xfb; 512]);
    let too_long = |text: &str| matches!(DeviceSignature::from_text(text), Err(VaultError::TooLong { .. }));
    assert!(too_long(&STANDARD.encode([1; 514])) && too_long(&URL_SAFE_NO_PAD.encode([1; 513])));
    assert!(too_long(&"A".repeat(1 << 20)));
    assert!(matches!(DeviceSignature::from_bytes(vec![0; 513]), Err(VaultError::TooLong { .. })));
    let malformed = [
        "", "=", "==", "====", "A", "AA=", "AAA==", "AA==A", "AA=A", "AAAA=", "AAAA==", "AAAA====", "A===", "=AAA",
        "AAAAA", // Both alphabets; bits beyond the last byte; characters of neither; white space.
        "-+==", "_/AA", "+-AA", "/_AA", "AB", "AB==", "AAB", "-B", "AA\n", "AA==\n", "A A=", " AAAA", "AA*A", "AA.A",
        "\u{e9}A",
    ];
    for text in malformed {
        let refused = matches!(DeviceSignature::from_text(text), Err(VaultError::Malformed { .. }));
        assert!(refused, "{text:?}");
    }
    assert_eq!(format!("{:?}", from_text("AAAA")), "DeviceSignature(3 bytes)");
}

/// Tests of a Wycheproof file with the group that each belongs to.
fn wycheproof(name: &str) -> Option<Vec<(Value, Value)>> {
    let file = ridgeline_testkit::covers::test_data()?.join("crypto").join(name);
    let file: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let tests = |group: &Value| -> Vec<_> {
        group["tests"].as_array().unwrap().iter().map(|test| (group.clone(), test.clone())).collect()
    };
    Some(file["testGroups"].as_array().unwrap().iter().flat_map(tests).collect())
}

/// Verifies every test, and returns how many were refused and accepted, and the names of those that policy alone refuses.
fn judge(algorithm: KeyAlgorithm, tests: &[(Value, Value)]) -> ([usize; 2], Vec<String>) {
    let (mut counts, mut policy) = ([0; 2], Vec::new());
    for (group, test) in tests {
        let field = |name: &str| unhex(text(&test[name]));
        let name = || format!("{} {} {}", test["tcId"], text(&test["comment"]), test["flags"]);
        let key = from_pem(algorithm, text(&group["publicKeyPem"]));
        let verified = match (&key, DeviceSignature::from_bytes(field("sig"))) {
            (Ok(key), Ok(signature)) => key.verify(&field("msg"), &signature).is_ok(),
            _ => false,
        };
        counts[usize::from(verified)] += 1;
        match (text(&test["result"]), verified) {
            ("valid", true) | ("invalid", false) => {}
            ("valid" | "acceptable", false) => {
                policy.push(format!("{}: {}", name(), key.err().map_or("signature", reason)));
            }
            (result, _) => panic!("{}: {result}, verified: {verified}", name()),
        }
    }
    (counts, policy)
}

fn reason(error: DeviceKeyError) -> &'static str {
    match error {
        DeviceKeyError::Exponent => "exponent below 65537",
        _ => "another reason",
    }
}

#[test]
fn es256_agrees_with_wycheproof() {
    let Some(tests) = wycheproof("ecdsa_secp256r1_sha256_test.json") else { return };
    covers!("R-072");
    let (counts, policy) = judge(KeyAlgorithm::Es256, &tests);
    assert_eq!(counts, [310, 174]);
    assert_eq!(policy, [""; 0], "policy refuses none");
    for (group, test) in &tests {
        // What is strict DER has a P1363 form, and both are right or wrong together.
        let Ok(signature) = p256::ecdsa::Signature::from_der(&unhex(text(&test["sig"]))) else { continue };
        let key = from_pem(KeyAlgorithm::Es256, text(&group["publicKeyPem"])).unwrap();
        let p1363 = DeviceSignature::from_bytes(signature.to_bytes().to_vec()).unwrap();
        let verified = key.verify(&unhex(text(&test["msg"])), &p1363).is_ok();
        assert_eq!(verified, test["result"] == "valid", "{}", test["tcId"]);
    }
}

#[test]
fn rs256_agrees_with_wycheproof() {
    let Some(tests) = wycheproof("rsa_signature_2048_sha256_test.json") else { return };
    covers!("R-073");
    let (counts, policy) = judge(KeyAlgorithm::Rs256, &tests);
    assert_eq!(counts, [252, 7]);
    let refused = [
        r#"8 Missing NULL in the ASN encoding ["MissingNull"]: signature"#,
        r#"258 small signature ["SmallSignature","SmallPublicKey"]: exponent below 65537"#,
        r#"259 signature is close to n ["EdgeCaseSignature","SmallPublicKey"]: exponent below 65537"#,
    ];
    assert_eq!(policy, refused);
}

#[test]
fn ps256_agrees_with_wycheproof() {
    let Some(tests) = wycheproof("rsa_pss_2048_sha256_mgf1_32_test.json") else { return };
    covers!("R-074");
    let (counts, policy) = judge(KeyAlgorithm::Ps256, &tests);
    assert_eq!(counts, [45, 63]);
    assert_eq!(policy, [""; 0], "policy refuses none");
}

/// RUSTSEC-2023-0071 is about operations with a private RSA key. The product has none, so nobody can time them.
#[test]
fn the_product_has_no_private_rsa_key() {
    let word = concat!("RsaPrivate", "Key");
    let (mut folders, mut sources) =
        (vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let (inner, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        folders.extend(inner);
        sources.extend(files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "rs")));
    }
    let named: Vec<_> = sources.iter().filter(|path| std::fs::read_to_string(path).unwrap().contains(word)).collect();
    assert!(sources.len() > 25);
    assert!(named.is_empty(), "{named:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_changed_bit_of_a_signature_is_noticed(which in 0_usize..3, at: prop::sample::Index) {
        let vector = page_vectors().swap_remove(which);
        let mut signature = from_text(&vector.signatures[0]).as_bytes().to_vec();
        let at = at.index(signature.len() * 8);
        signature[at / 8] ^= 1 << (at % 8);
        prop_assert!(is_refused(&vector.key(), vector.message.as_bytes(), &signature));
    }

    #[test]
    fn a_changed_key_never_verifies(which in 0_usize..3, at: prop::sample::Index, bit in 0_u32..8) {
        let vector = page_vectors().swap_remove(which);
        let mut der = vector.key().spki_der().to_vec();
        let at = at.index(der.len());
        der[at] ^= 1 << bit;
        if let Ok(key) = DeviceKey::from_spki_der(vector.algorithm, &der) {
            prop_assert!(is_refused(&key, vector.message.as_bytes(), from_text(&vector.signatures[0]).as_bytes()));
        }
    }

    #[test]
    fn any_text_and_any_bytes_are_refused(text in ".{0,200}", bytes: Vec<u8>, labelled: bool) {
        let text = if labelled { pem("PUBLIC KEY", &bytes) } else { text };
        for algorithm in KeyAlgorithm::ALL {
            prop_assert!(from_pem(*algorithm, &text).is_err());
            prop_assert!(DeviceKey::from_spki_der(*algorithm, &bytes).is_err());
        }
        let key = DeviceKey::from_spki_der(KeyAlgorithm::Es256, &ec_spki(&[vec![2], vec![0; 31], vec![5]].concat())).unwrap();
        let sent = crate::SigningKey::generate(&System).unwrap().verifying_key().to_string();
        prop_assert!(is_refused(&key, sent.as_bytes(), &bytes));
    }
}
