//! Sealed samples: HPKE as in [`sealing`], to the key pair of the matchers.
//!
//! `info` is `ridgeline/scan/v1`; the associated data is the [`ScanBinding`], so a sample that is moved to another request,
//! subject or time does not open. An agent cannot read what it has sealed.

use std::fmt;
use std::sync::Arc;

use ridgeline_domain::{ScanBinding, Sensitive, SubjectId};
use ridgeline_ports::Entropy;

use crate::encode::Fields;
use crate::keyring::Generations;
use crate::sealing::{self, Scheme, SealingPair};
use crate::{KeyRing, SealingKey, VaultError};

/// How much longer a sealed sample is than the sample: the encapsulated key and the tag.
pub const SEALED_SAMPLE_OVERHEAD_BYTES: usize = sealing::OVERHEAD_BYTES;

/// Longest sealed sample: the message limit of the topic `scans`.
pub const SEALED_SAMPLE_BYTES_MAX: usize = 12 << 20;

const SAMPLES: Scheme =
    Scheme { info: b"ridgeline/scan/v1", what: "sealed sample", bytes_max: SEALED_SAMPLE_BYTES_MAX };

/// request id ‖ agent ‖ operation ‖ subject ‖ captured_at ‖ valid_until.
pub(crate) fn aad(binding: &ScanBinding) -> Result<Vec<u8>, VaultError> {
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
    let bytes = SAMPLES.seal(key, &aad(binding)?, plaintext, entropy)?;
    Ok(SealedSample { key_id: key.key_id().to_owned(), bytes })
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
        SAMPLES.open(&self.pairs, key_id, &aad(binding)?, bytes)
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
