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
        random::p256_key(entropy).map(Self)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, binding, counting, hex, unhex};
    use proptest::prelude::*;

    const GOLDEN_DIGEST: &str = "38578ee1fdff8ab1f753a4962571fa13dec2ebf8cc2a59e52d8a6f39e7f82788";
    const GOLDEN_MESSAGE: &str = "001b72696467656c696e652f7363616e2d7369676e61747572652f7631002030303031303230333034303530363037\
        3038303930613062306330643065306600076167656e742d3100087265616465723a300006766572696679000942616467655f372d62\
        0000018bcfe5680038578ee1fdff8ab1f753a4962571fa13dec2ebf8cc2a59e52d8a6f39e7f82788";
    const GOLDEN_SIGNATURE: &str = "84df79c72910d84ae6b89501d25495c6ea587e2866b019652d87072ab513aca0\
        1f3cd7768fd96fdc2c6dd80f17739328c4c1d271f416eb43ab346a3a985d7f84";
    const GOLDEN_KEY: &str = "AnpZMYCGDEA3yDwSdJhFyO4UJN0pf63LiV41glXSx9Ky";
    const GOLDEN_PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEelkxgIYMQDfIPBJ0mEXI7hQk3Sl/\n\
        rcuJXjWCVdLH0rKoyiVYDyYm/leQYv8bmf+RwkoNoG+zK1viAUjJJJ9WUA==\n\
        -----END PUBLIC KEY-----\n";

    /// The private scalar 00 01 02 … 1f.
    fn key() -> SigningKey {
        SigningKey::generate(&counting()).unwrap()
    }

    fn scan() -> ScanSignature {
        let parts: [&[u8]; 3] = [b"first", b"", b"second"];
        ScanSignature::new(&binding(), Some("reader:0".parse().unwrap()), sealed_digest(parts))
    }

    #[test]
    fn golden_digest_message_key_and_signature() {
        assert_eq!(hex(&scan().sealed_digest), GOLDEN_DIGEST);
        assert_eq!(hex(&scan().message().unwrap()), GOLDEN_MESSAGE);
        assert_eq!(hex(&scan().sign(&key()).unwrap()), GOLDEN_SIGNATURE);
        assert_eq!(key().verifying_key().to_string(), GOLDEN_KEY);
        assert_eq!(key().verifying_key().to_pem().unwrap(), GOLDEN_PEM);
        for text in [GOLDEN_KEY, GOLDEN_PEM] {
            let key: VerifyingKey = text.parse().unwrap();
            scan().verify(&key, &unhex(GOLDEN_SIGNATURE)).unwrap();
        }
    }

    #[test]
    fn signing_agrees_with_rfc_6979_a_2_5() {
        let scalar = unhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
        let key = SigningKey(p256::ecdsa::SigningKey::from_slice(&scalar).unwrap());
        let expected = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
            f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
        assert_eq!(hex(&key.sign(b"sample")), expected);
    }

    #[test]
    fn another_content_key_or_signature_does_not_verify() {
        let signature = unhex(GOLDEN_SIGNATURE);
        let changed = |change: fn(&mut ScanSignature)| {
            let mut other = scan();
            change(&mut other);
            matches!(other.verify(&key().verifying_key(), &signature), Err(VaultError::Authentication))
        };
        assert!(!changed(|_| ()));
        assert!(changed(|other| other.request_id = RequestId::from_bytes([7; 16])));
        assert!(changed(|other| other.agent = "agent-2".parse().unwrap()));
        assert!(changed(|other| other.reader = None));
        assert!(changed(|other| other.operation = Operation::Delete));
        assert!(changed(|other| other.subject = Some("Badge_8".parse().unwrap())));
        assert!(changed(|other| other.subject = None));
        assert!(changed(|other| other.captured_at = Timestamp::from_millis(0)));
        assert!(changed(|other| other.sealed_digest[31] ^= 1));
        let stranger = SigningKey::generate(&System).unwrap().verifying_key();
        assert!(matches!(scan().verify(&stranger, &signature), Err(VaultError::Authentication)));
        let longer = [signature.as_slice(), &[0]].concat();
        for other in [&signature[..63], &longer, &[0; 64], &[0xff; 64], &[]] {
            let refused = scan().verify(&key().verifying_key(), other);
            assert!(matches!(refused, Err(VaultError::Authentication)));
        }
    }

    #[test]
    fn sealed_parts_do_not_run_together() {
        let digest = |parts: &[&'static [u8]]| sealed_digest(parts.iter().copied());
        let digests = [digest(&[]), digest(&[b""]), digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]), digest(&[b"abc"])];
        let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }

    #[test]
    fn a_key_file_is_owner_only_and_reads_back() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent-key.pem");
        let key = SigningKey::generate(&System).unwrap();
        key.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SigningKey::load(&path).unwrap().verifying_key(), key.verifying_key());
        assert!(matches!(key.save(&path), Err(VaultError::File { action: "create", .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SigningKey::load(&path), Err(VaultError::Exposed { .. })));
    }

    #[test]
    fn hostile_keys_are_refused() {
        let mut off_curve = unhex("02");
        off_curve.extend([0xff; 32]);
        let uncompressed = URL_SAFE_NO_PAD.encode(key().verifying_key().0.to_encoded_point(false));
        let off_curve = URL_SAFE_NO_PAD.encode(off_curve);
        let private = key().to_pem().unwrap();
        for bad in ["", "AA", "AnpZ MYCG", &GOLDEN_KEY[..43], &uncompressed, &off_curve, &private, &GOLDEN_PEM[..90]] {
            assert!(matches!(bad.parse::<VerifyingKey>(), Err(VaultError::Malformed { .. })), "{}", bad.len());
        }
        assert!(matches!("A".repeat(5000).parse::<VerifyingKey>(), Err(VaultError::TooLong { .. })));
        assert!(matches!(SigningKey::from_pem(GOLDEN_PEM), Err(VaultError::Malformed { .. })));
    }

    #[test]
    fn debug_hides_the_private_key() {
        assert_eq!(format!("{:?}", key()), "SigningKey(..)");
        assert_eq!(format!("{:?}", key().verifying_key()), format!("VerifyingKey({GOLDEN_KEY})"));
    }

    #[test]
    fn verification_agrees_with_wycheproof() {
        let Some(data) = ridgeline_testkit::covers::test_data() else { return };
        let text = std::fs::read_to_string(data.join("crypto/ecdsa_secp256r1_sha256_test.json")).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut checked = [0; 2];
        for group in file["testGroups"].as_array().unwrap() {
            let key: VerifyingKey = group["publicKeyPem"].as_str().unwrap().parse().unwrap();
            for test in group["tests"].as_array().unwrap() {
                let field = |name: &str| unhex(test[name].as_str().unwrap());
                // The vectors are DER; what is no DER at all never reaches our 64 bytes.
                let Ok(signature) = Signature::from_der(&field("sig")) else {
                    assert_eq!(test["result"], "invalid", "test {}", test["tcId"]);
                    continue;
                };
                let verified = key.verify(&field("msg"), &signature.to_bytes());
                assert_eq!(verified.is_ok(), test["result"] == "valid", "test {}", test["tcId"]);
                checked[usize::from(verified.is_ok())] += 1;
            }
        }
        assert!(checked[0] > 20 && checked[1] > 150, "{checked:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_changed_bit_of_a_signature_is_noticed(at in 0..SIGNATURE_BYTES * 8) {
            let mut signature = unhex(GOLDEN_SIGNATURE);
            signature[at / 8] ^= 1 << (at % 8);
            prop_assert!(scan().verify(&key().verifying_key(), &signature).is_err());
        }

        #[test]
        fn any_text_is_a_key_or_refused(text: String) {
            prop_assert!(text.parse::<VerifyingKey>().is_err());
            prop_assert!(SigningKey::from_pem(&text).is_err());
        }
    }
}
