//! Sealed samples: HPKE (RFC 9180) in base mode with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM.
//!
//! `info` is `ridgeline/scan/v1`; the associated data is the [`ScanBinding`], so a sample that is moved to another request,
//! subject or time does not open. Sealing needs only the public key: an agent cannot read what it has sealed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use ridgeline_domain::{ScanBinding, Sensitive, SubjectId};
use ridgeline_ports::Entropy;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::encode::{Cursor, Fields};
use crate::keyring::Generations;
use crate::random::PortRng;
use crate::{KeyRing, VaultError};

const INFO: &[u8] = b"ridgeline/scan/v1";
const PUBLIC_BYTES: usize = 65;
const TAG_BYTES: usize = 16;

/// How much longer a sealed sample is than the sample: the encapsulated key and the tag.
pub const SEALED_SAMPLE_OVERHEAD_BYTES: usize = PUBLIC_BYTES + TAG_BYTES;

/// Longest sealed sample: the message limit of the topic `scans`.
pub const SEALED_SAMPLE_BYTES_MAX: usize = 12 << 20;

type PublicKey = <DhP256HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <DhP256HkdfSha256 as Kem>::PrivateKey;
type EncappedKey = <DhP256HkdfSha256 as Kem>::EncappedKey;

/// request id ‖ agent ‖ operation ‖ subject ‖ captured_at ‖ valid_until.
fn aad(binding: &ScanBinding) -> Result<Vec<u8>, VaultError> {
    Fields::new()
        .text(&binding.request_id.to_string())
        .text(binding.agent.as_str())
        .text(binding.operation.as_str())
        .text(binding.subject.as_ref().map_or("", SubjectId::as_str))
        .time(binding.captured_at)
        .time(binding.valid_until)
        .finish()
}

/// A sample that only a matcher can read.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSample {
    /// Which key of the matchers opens it.
    pub key_id: String,
    /// Encapsulated key (65 bytes, an uncompressed point) ‖ ciphertext ‖ tag (16 bytes).
    pub bytes: Vec<u8>,
}

impl fmt::Debug for SealedSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSample({}, {} bytes)", self.key_id, self.bytes.len())
    }
}

/// The public key of the matchers, as agents and gateways hold it.
///
/// Its text form (`Display`, `FromStr`) is base64url without padding of the uncompressed point; its id is the first 64 bits
/// of the point's SHA-256 in hex, so key and id cannot be mixed up.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey {
    key_id: String,
    public: PublicKey,
}

impl SealingKey {
    /// From an uncompressed point, 65 bytes.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] if it is no point of P-256.
    pub fn from_public_bytes(bytes: &[u8]) -> Result<Self, VaultError> {
        let public = PublicKey::from_bytes(bytes).map_err(|_| VaultError::Malformed { what: "sealing key" })?;
        Ok(Self::of(public))
    }

    fn of(public: PublicKey) -> Self {
        let digest = Sha256::digest(public.to_bytes());
        let key_id = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { key_id, public }
    }

    /// The id that stands beside a sealed sample: 16 hex digits.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The uncompressed point.
    #[must_use]
    pub fn public_bytes(&self) -> [u8; PUBLIC_BYTES] {
        let mut bytes = [0; PUBLIC_BYTES];
        self.public.write_exact(&mut bytes);
        bytes
    }
}

impl fmt::Display for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.public_bytes()))
    }
}

impl FromStr for SealingKey {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, VaultError> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| VaultError::Malformed { what: "sealing key" })?;
        Self::from_public_bytes(&bytes)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.key_id)
    }
}

/// A key pair of the ring.
#[derive(Clone)]
pub(crate) struct SealingPair {
    private: PrivateKey,
    public: SealingKey,
}

impl SealingPair {
    pub(crate) fn generate(entropy: &dyn Entropy) -> Self {
        let (private, public) = DhP256HkdfSha256::gen_keypair(&mut PortRng(entropy));
        Self { private, public: SealingKey::of(public) }
    }

    pub(crate) fn from_private(bytes: &[u8; 32]) -> Result<Self, VaultError> {
        let private =
            PrivateKey::from_bytes(bytes).map_err(|_| VaultError::Malformed { what: "private sealing key" })?;
        let public = SealingKey::of(DhP256HkdfSha256::sk_to_pk(&private));
        Ok(Self { private, public })
    }

    pub(crate) fn private_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        self.private.write_exact(bytes.as_mut_slice());
        bytes
    }

    pub(crate) fn key_id(&self) -> String {
        self.public.key_id.clone()
    }

    pub(crate) fn public(&self) -> SealingKey {
        self.public.clone()
    }
}

/// Seals a sample to the matchers.
///
/// # Errors
/// [`VaultError::TooLong`] if the result would exceed [`SEALED_SAMPLE_BYTES_MAX`].
pub fn seal_sample(
    key: &SealingKey,
    binding: &ScanBinding,
    plaintext: &[u8],
    entropy: &dyn Entropy,
) -> Result<SealedSample, VaultError> {
    if plaintext.len() > SEALED_SAMPLE_BYTES_MAX - SEALED_SAMPLE_OVERHEAD_BYTES {
        return Err(VaultError::TooLong { what: "sample", bytes_max: SEALED_SAMPLE_BYTES_MAX });
    }
    let mut body = Zeroizing::new(plaintext.to_vec());
    let (encapped, tag) = hpke::single_shot_seal_in_place_detached::<AesGcm256, HkdfSha256, DhP256HkdfSha256, _>(
        &OpModeS::Base,
        &key.public,
        INFO,
        &mut body,
        &aad(binding)?,
        &mut PortRng(entropy),
    )
    .map_err(|_| VaultError::Malformed { what: "sealing key" })?;
    let bytes = [encapped.to_bytes().as_slice(), &body, tag.to_bytes().as_slice()].concat();
    Ok(SealedSample { key_id: key.key_id.clone(), bytes })
}

/// Opens samples with the private keys of a ring, retired ones included. Cheap to clone.
#[derive(Clone)]
pub struct SampleOpener {
    pairs: Arc<Generations<String, SealingPair>>,
}

impl SampleOpener {
    /// An opener with the private keys of `ring`.
    #[must_use]
    pub fn new(ring: &KeyRing) -> Self {
        Self { pairs: Arc::new(ring.samples.clone()) }
    }

    /// The sample that [`seal_sample`] sealed to `key_id` for `binding`.
    ///
    /// # Errors
    /// [`VaultError::UnknownSealingKey`] for a key id that the ring does not have, [`VaultError::TooLong`] or
    /// [`VaultError::Malformed`] for bytes that cannot be a sealed sample, [`VaultError::Authentication`] if key, binding
    /// and bytes do not belong together.
    pub fn open_sample(
        &self,
        key_id: &str,
        binding: &ScanBinding,
        bytes: &[u8],
    ) -> Result<Sensitive<Vec<u8>>, VaultError> {
        if bytes.len() > SEALED_SAMPLE_BYTES_MAX {
            return Err(VaultError::TooLong { what: "sealed sample", bytes_max: SEALED_SAMPLE_BYTES_MAX });
        }
        let pair = self.pairs.iter().find(|(id, ..)| id.as_str() == key_id).map(|(.., pair)| pair);
        let pair = pair.ok_or(VaultError::UnknownSealingKey)?;
        let mut cursor = Cursor::new("sealed sample", bytes);
        let encapped = EncappedKey::from_bytes(cursor.take(PUBLIC_BYTES)?).map_err(|_| cursor.malformed())?;
        let malformed = cursor.malformed();
        let body = cursor.rest();
        if body.len() < TAG_BYTES {
            return Err(malformed);
        }
        hpke::single_shot_open::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeR::Base,
            &pair.private,
            &encapped,
            INFO,
            body,
            &aad(binding)?,
        )
        .map(Sensitive::new)
        .map_err(|_| VaultError::Authentication)
    }
}

impl fmt::Debug for SampleOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SampleOpener").field(&self.pairs.iter().map(|(key_id, ..)| key_id).collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use ridgeline_domain::{Operation, RequestId, Timestamp};

    use super::*;
    use crate::testing::{System, binding, counting, golden_ring, hex, is_refusal, refuses_other_lengths, unhex};
    use proptest::prelude::*;

    const GOLDEN_AAD: &str = "0020303030313032303330343035303630373038303930613062306330643065306600076167656e742d31\
        0006766572696679000942616467655f372d620000018bcfe568000000018bcfe65260";
    const GOLDEN_KEY_ID: &str = "e4baa6e8fe2fe499";
    const GOLDEN_KEY: &str = "BLeePX3Po_ERgfRvJHr1bAZ7DvUyUPwY6b6Cwj5vgz_uiSRwQWN6hkQvRYt4pcQ5YLuszD6xTInlrpra9PeUVTA";
    const GOLDEN: &str = "04cfb264d85c7eb276cf60773c461d722e25b64bf345d077c1a8b10c05b8decb45b7ad849cce5e9660102f3f368afd22\
        fe797caf6c3a9cbcbe7657b27bbcddfdb1fc56a3c7e514aa8031f736256716f33974d3edce031c6851";

    fn open(binding: &ScanBinding, bytes: &[u8]) -> Result<Sensitive<Vec<u8>>, VaultError> {
        SampleOpener::new(&golden_ring()).open_sample(GOLDEN_KEY_ID, binding, bytes)
    }

    #[test]
    fn golden_binding_key_and_sealed_sample() {
        assert_eq!(hex(&aad(&binding()).unwrap()), GOLDEN_AAD);
        let key = golden_ring().sealing_key();
        assert_eq!((key.key_id(), key.to_string().as_str()), (GOLDEN_KEY_ID, GOLDEN_KEY));
        let sealed = seal_sample(&key, &binding(), b"a sample", &counting()).unwrap();
        assert_eq!(hex(&sealed.bytes), GOLDEN);
        assert_eq!(sealed.bytes.len(), b"a sample".len() + SEALED_SAMPLE_OVERHEAD_BYTES);
        assert_eq!(open(&binding(), &unhex(GOLDEN)).unwrap().expose(), b"a sample");
    }

    #[test]
    fn a_sample_moved_to_another_binding_does_not_open() {
        let moved = |change: fn(&mut ScanBinding)| {
            let mut other = binding();
            change(&mut other);
            matches!(open(&other, &unhex(GOLDEN)), Err(VaultError::Authentication))
        };
        assert!(moved(|other| other.request_id = RequestId::from_bytes([7; 16])));
        assert!(moved(|other| other.agent = "agent-2".parse().unwrap()));
        assert!(moved(|other| other.operation = Operation::Enrol));
        assert!(moved(|other| other.subject = Some("Badge_8".parse().unwrap())));
        assert!(moved(|other| other.subject = None));
        assert!(moved(|other| other.captured_at = Timestamp::from_millis(0)));
        assert!(moved(|other| other.valid_until = Timestamp::from_millis(i64::MAX)));
    }

    #[test]
    fn retired_keys_open_and_unknown_keys_are_refused() {
        let mut ring = KeyRing::create(&System).unwrap();
        let old = ring.sealing_key();
        let sealed = seal_sample(&old, &binding(), b"a sample", &System).unwrap();
        let new = ring.rotate_sealing_key(&System).unwrap();
        assert_eq!(ring.sealing_key().key_id(), new);
        let opener = SampleOpener::new(&ring);
        assert_eq!(opener.open_sample(&sealed.key_id, &binding(), &sealed.bytes).unwrap().expose(), b"a sample");
        let relabelled = opener.open_sample(&new, &binding(), &sealed.bytes);
        assert!(matches!(relabelled, Err(VaultError::Authentication)));
        for unknown in ["", "0123456789abcdef", GOLDEN_KEY_ID] {
            let refused = opener.open_sample(unknown, &binding(), &sealed.bytes);
            assert!(matches!(refused, Err(VaultError::UnknownSealingKey)));
        }
    }

    #[test]
    fn no_other_length_opens() {
        refuses_other_lengths(&unhex(GOLDEN), |bytes| open(&binding(), bytes));
    }

    #[test]
    fn limits_hold() {
        let too_long = |error| matches!(error, VaultError::TooLong { .. });
        let sample = vec![0; SEALED_SAMPLE_BYTES_MAX - SEALED_SAMPLE_OVERHEAD_BYTES + 1];
        assert!(too_long(seal_sample(&golden_ring().sealing_key(), &binding(), &sample, &System).unwrap_err()));
        assert!(too_long(open(&binding(), &vec![4; SEALED_SAMPLE_BYTES_MAX + 1]).unwrap_err()));
    }

    #[test]
    fn a_sealing_key_is_an_uncompressed_point_of_the_curve() {
        assert_eq!(GOLDEN_KEY.parse::<SealingKey>().unwrap(), golden_ring().sealing_key());
        let bytes = golden_ring().sealing_key().public_bytes();
        assert_eq!(SealingKey::from_public_bytes(&bytes).unwrap().key_id(), GOLDEN_KEY_ID);
        let mut off_curve = bytes;
        off_curve[64] ^= 1;
        for bad in [&bytes[..64], &off_curve, &[0; 65], &[0], &[]] {
            assert!(matches!(SealingKey::from_public_bytes(bad), Err(VaultError::Malformed { .. })));
        }
        assert!("not base64!".parse::<SealingKey>().is_err());
    }

    #[test]
    fn debug_shows_ids_and_sizes_only() {
        let ring = golden_ring();
        let sealed = seal_sample(&ring.sealing_key(), &binding(), b"a sample", &counting()).unwrap();
        let shown = format!("{:?} {sealed:?} {:?}", SampleOpener::new(&ring), ring.sealing_key());
        let expected = "SampleOpener([\"4d5b0b6697ec9846\", \"e4baa6e8fe2fe499\"]) \
            SealedSample(e4baa6e8fe2fe499, 89 bytes) SealingKey(e4baa6e8fe2fe499)";
        assert_eq!(shown, expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_changed_bit_is_noticed(at in 0..GOLDEN.len() * 4) {
            let mut sealed = unhex(GOLDEN);
            sealed[at / 8] ^= 1 << (at % 8);
            let error = open(&binding(), &sealed).unwrap_err();
            prop_assert!(is_refusal(&error), "{}", error);
        }

        #[test]
        fn what_is_sealed_opens(sample: Vec<u8>) {
            let ring = golden_ring();
            let sealed = seal_sample(&ring.sealing_key(), &binding(), &sample, &System).unwrap();
            let opened = open(&binding(), &sealed.bytes).unwrap();
            prop_assert_eq!(opened.expose(), &sample);
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes: Vec<u8>) {
            prop_assert!(open(&binding(), &bytes).is_err());
        }
    }
}
