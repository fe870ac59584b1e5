//! What a device signs: the text of a challenge, exactly as it was sent.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ridgeline_domain::Sensitive;
use ridgeline_ports::Entropy;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::VaultError;

/// How many bytes of a challenge are random.
pub const CHALLENGE_RANDOM_BYTES: usize = 64;

const ACTION_DIGEST_BYTES: usize = 32;
const ACTION_BYTES: usize = CHALLENGE_RANDOM_BYTES + ACTION_DIGEST_BYTES;

const LABEL: &[u8] = b"ridgeline/challenge/v1";
const MALFORMED: VaultError = VaultError::Malformed { what: "challenge" };

/// A challenge: base64url without padding of 64 random bytes, and of an action's digest behind them if there is one.
///
/// `Debug` shows nothing of it. There is no `==`: compare with [`Challenge::matches`].
#[derive(Clone)]
pub struct Challenge(Sensitive<String>);

impl Challenge {
    /// A fresh challenge for a registration or a login: 86 characters.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; CHALLENGE_RANDOM_BYTES]);
        entropy.fill(bytes.as_mut_slice());
        Self::of(bytes.as_slice())
    }

    /// A fresh challenge whose signature approves one action: 128 characters. `action_digest` is SHA-256 of the canonical
    /// JSON (RFC 8785) of what is approved, so that a device that shows the action can check what it signs.
    #[must_use]
    pub fn for_action(entropy: &dyn Entropy, action_digest: &[u8; 32]) -> Self {
        let mut bytes = Zeroizing::new([0; ACTION_BYTES]);
        if let Some((random, digest)) = bytes.split_first_chunk_mut::<CHALLENGE_RANDOM_BYTES>() {
            entropy.fill(random);
            digest.copy_from_slice(action_digest);
        }
        Self::of(bytes.as_slice())
    }

    /// Reads the text of a challenge that was kept.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] for anything but the one spelling of 64 or 96 bytes.
    pub fn from_text(text: &str) -> Result<Self, VaultError> {
        let mut bytes = Zeroizing::new([0; ACTION_BYTES]);
        let len = URL_SAFE_NO_PAD.decode_slice(text, bytes.as_mut_slice()).map_err(|_| MALFORMED)?;
        let is_whole = [CHALLENGE_RANDOM_BYTES, ACTION_BYTES].contains(&len);
        if is_whole { Ok(Self(Sensitive::new(text.to_owned()))) } else { Err(MALFORMED) }
    }

    /// The text. Its ASCII bytes are the message that a device signs.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.expose()
    }

    /// What a store may hold in its place where only recognition is needed: SHA-256 of a label and the text.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new().chain_update(LABEL).chain_update(self.text()).finalize().into()
    }

    /// Whether `text` is this challenge's, in constant time for texts of its length.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.text().as_bytes().ct_eq(text.as_bytes()).into()
    }

    /// Whether a signature under it approves nothing: the challenge of a registration or a login.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.action_digest().is_none()
    }

    /// Whether a signature under it approves the action of this digest, and no other.
    #[must_use]
    pub fn approves(&self, action_digest: &[u8; 32]) -> bool {
        self.action_digest().is_some_and(|digest| digest == *action_digest)
    }

    fn action_digest(&self) -> Option<[u8; ACTION_DIGEST_BYTES]> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(self.text()).ok()?);
        bytes.get(CHALLENGE_RANDOM_BYTES..)?.try_into().ok()
    }

    fn of(bytes: &[u8]) -> Self {
        Self(Sensitive::new(URL_SAFE_NO_PAD.encode(bytes)))
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, counting, hex};
    use proptest::prelude::*;
    use ridgeline_testkit::covers;

    const GOLDEN: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0-Pw";

    #[test]
    fn a_challenge_is_64_random_bytes_in_base64url() {
        covers!("R-069");
        assert_eq!(Challenge::generate(&counting()).text(), GOLDEN);
        let texts: std::collections::BTreeSet<_> =
            (0..100).map(|_| Challenge::generate(&System).text().to_owned()).collect();
        assert_eq!(texts.len(), 100, "they do not repeat");
        for text in &texts {
            assert_eq!(URL_SAFE_NO_PAD.decode(text).unwrap().len(), 64);
        }
    }

    #[test]
    fn the_challenge_of_an_action_ends_in_its_digest() {
        let challenge = Challenge::for_action(&counting(), &[0xa5; 32]);
        assert_eq!(challenge.text().len(), 128);
        let bytes = URL_SAFE_NO_PAD.decode(challenge.text()).unwrap();
        assert_eq!(bytes[..64], (0..64).collect::<Vec<u8>>());
        assert_eq!(bytes[64..], [0xa5; 32]);
    }

    #[test]
    fn a_challenge_approves_its_own_action_only() {
        let action = Challenge::for_action(&counting(), &[0xa5; 32]);
        let mut other = [0xa5; 32];
        other[31] ^= 1;
        assert!(action.approves(&[0xa5; 32]) && !action.approves(&other) && !action.is_plain());
        let plain = Challenge::generate(&counting());
        assert!(plain.is_plain() && !plain.approves(&[0xa5; 32]) && !plain.approves(&[0; 32]));
    }

    #[test]
    fn golden_digest() {
        let digest = "4a666640b82653210c434f5095ca0668b0972443d1402674b7affdfcb26c479a";
        assert_eq!(hex(&Challenge::from_text(GOLDEN).unwrap().digest()), digest);
    }

    #[test]
    fn only_its_own_text_matches() {
        let challenge = Challenge::generate(&System);
        assert!(challenge.matches(challenge.text()));
        for other in [GOLDEN, "", &challenge.text()[..85], &format!("{}A", challenge.text())] {
            assert!(!challenge.matches(other), "{other}");
        }
    }

    #[test]
    fn a_challenge_has_one_spelling() {
        for len in 0..GOLDEN.len() {
            assert!(matches!(Challenge::from_text(&GOLDEN[..len]), Err(VaultError::Malformed { .. })), "{len}");
        }
        let longer = "A".repeat(132);
        let padded = format!("{GOLDEN}==");
        let other_alphabet = GOLDEN.replace('-', "+");
        // The last character carries four bits beyond the last byte; only zero is the one spelling.
        let other_bits = GOLDEN.replace("Pw", "Px");
        for text in [&longer, &padded, &other_alphabet, &other_bits, &"A".repeat(87), &"\u{e9}".repeat(43)] {
            assert!(matches!(Challenge::from_text(text), Err(VaultError::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Challenge::generate(&System)), "Challenge(..)");
    }

    proptest! {
        #[test]
        fn a_kept_text_reads_back(digest: [u8; 32], of_action: bool) {
            let made = if of_action { Challenge::for_action(&System, &digest) } else { Challenge::generate(&System) };
            prop_assert!(Challenge::from_text(made.text()).unwrap().matches(made.text()));
        }

        #[test]
        fn any_text_is_refused(text: String) {
            prop_assert!(Challenge::from_text(&text).is_err());
        }
    }
}
