//! API keys: `rl_<id>_<secret>`, where the secret is 256 random bits in base64url without padding.
//!
//! The store holds id and digest. A plain SHA-256 is enough, because there is no list of likely secrets to try.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ridgeline_domain::{ApiKeyId, Sensitive};
use ridgeline_ports::Entropy;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{VaultError, random};

const PREFIX: &str = "rl_";
const SECRET_CHARS: usize = 43;
const LABEL: &[u8] = b"ridgeline/api-key/v1";
const MALFORMED: VaultError = VaultError::Malformed { what: "API key" };

/// An API key as a caller presents it. `Debug` shows its id only.
#[derive(Clone)]
pub struct ApiKey {
    id: ApiKeyId,
    secret: Sensitive<[u8; 32]>,
}

impl ApiKey {
    /// A fresh key; its id has 64 random bits.
    ///
    /// # Errors
    /// None in practice: [`VaultError::Malformed`] stands for an id that the type would not take.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, VaultError> {
        let id: String = random::public::<8>(entropy).iter().map(|byte| format!("{byte:02x}")).collect();
        let id = id.parse().map_err(|_| MALFORMED)?;
        Ok(Self { id, secret: random::secret(entropy) })
    }

    /// Reads what a caller sent.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] for anything but the one spelling of a key.
    pub fn parse(text: &str) -> Result<Self, VaultError> {
        let rest = text.strip_prefix(PREFIX).ok_or(MALFORMED)?;
        // Ids and secrets may both contain underscores; the length of the secret tells them apart.
        let at = rest.len().checked_sub(SECRET_CHARS).ok_or(MALFORMED)?;
        let (id, secret) = rest.split_at_checked(at).ok_or(MALFORMED)?;
        let id = id.strip_suffix('_').ok_or(MALFORMED)?.parse().map_err(|_| MALFORMED)?;
        let mut bytes = Zeroizing::new([0_u8; 33]);
        let len = URL_SAFE_NO_PAD.decode_slice(secret, bytes.as_mut_slice()).map_err(|_| MALFORMED)?;
        let secret = bytes.first_chunk::<32>().filter(|_| len == 32).ok_or(MALFORMED)?;
        Ok(Self { id, secret: Sensitive::new(*secret) })
    }

    /// The public part.
    #[must_use]
    pub const fn id(&self) -> &ApiKeyId {
        &self.id
    }

    /// The whole key in clear, for the one time that its owner is told.
    #[must_use]
    pub fn reveal(&self) -> Sensitive<String> {
        let id = self.id.as_str();
        // Sized before it is filled: a buffer that grows leaves copies of the secret behind.
        let mut text = String::with_capacity(PREFIX.len() + id.len() + 1 + SECRET_CHARS);
        text.push_str(PREFIX);
        text.push_str(id);
        text.push('_');
        URL_SAFE_NO_PAD.encode_string(self.secret.expose(), &mut text);
        Sensitive::new(text)
    }

    /// What is stored in its place.
    #[must_use]
    pub fn digest(&self) -> ApiKeyDigest {
        let digest = Sha256::new().chain_update(LABEL).chain_update(self.secret.expose());
        ApiKeyDigest(digest.finalize().into())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.id)
    }
}

/// The stored form of a key's secret. There is no `==`: compare with [`ApiKeyDigest::matches`].
#[derive(Clone)]
pub struct ApiKeyDigest([u8; 32]);

impl ApiKeyDigest {
    /// From the stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `key` is the key whose digest this is, in constant time.
    #[must_use]
    pub fn matches(&self, key: &ApiKey) -> bool {
        self.0.ct_eq(&key.digest().0).into()
    }
}

impl fmt::Debug for ApiKeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyDigest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, counting, hex};
    use proptest::prelude::*;
    use ridgeline_testkit::covers;

    const GOLDEN: &str = "rl_0001020304050607_CAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJic";
    const GOLDEN_DIGEST: &str = "c9b2fcc1927663d716833e6d6254144c0411d9d3d7f677de831ed4347b0b1f29";

    #[test]
    fn golden_key_and_digest() {
        covers!("R-143");
        let key = ApiKey::generate(&counting()).unwrap();
        assert_eq!(key.reveal().expose(), GOLDEN);
        assert_eq!(hex(key.digest().as_bytes()), GOLDEN_DIGEST);
        assert_eq!(key.id().as_str(), "0001020304050607");
    }

    #[test]
    fn only_the_key_matches_its_stored_digest() {
        let (key, other) = (ApiKey::generate(&System).unwrap(), ApiKey::generate(&System).unwrap());
        let stored = ApiKeyDigest::from_bytes(*key.digest().as_bytes());
        assert!(stored.matches(&ApiKey::parse(key.reveal().expose()).unwrap()));
        assert!(!stored.matches(&other));
    }

    #[test]
    fn a_key_has_one_spelling() {
        let secret = &GOLDEN[20..];
        let bad = [
            String::new(),
            "rl_".to_owned(),
            GOLDEN.to_uppercase(),
            GOLDEN[..GOLDEN.len() - 1].to_owned(),
            format!("{GOLDEN}A"),
            format!("{GOLDEN}="),
            format!(" {GOLDEN}"),
            format!("rl_{secret}"),
            format!("rl__{secret}"),
            format!("rl_a.b_{secret}"),
            format!("rl_{}_{secret}", "x".repeat(65)),
            GOLDEN.replace("ICEi", "IC+i"),
            // The last character carries two bits beyond the secret; only zero is the one spelling.
            GOLDEN.replace("Jic", "Jid"),
            format!("rl_a_{}", "\u{e9}".repeat(22)),
        ];
        for text in &bad {
            assert!(matches!(ApiKey::parse(text), Err(VaultError::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn debug_shows_the_id_only() {
        let key = ApiKey::parse(GOLDEN).unwrap();
        let shown = format!("{key:?} {:?} {:?}", key.digest(), key.reveal());
        assert_eq!(shown, "ApiKey(0001020304050607) ApiKeyDigest(..) Sensitive(..)");
    }

    proptest! {
        #[test]
        fn ids_and_secrets_with_underscores_read_back(id in "[A-Za-z0-9_-]{1,64}", secret: [u8; 32]) {
            let key = ApiKey { id: id.parse().unwrap(), secret: Sensitive::new(secret) };
            let read = ApiKey::parse(key.reveal().expose()).unwrap();
            prop_assert_eq!(read.id().as_str(), id);
            prop_assert_eq!(read.secret.expose(), &secret);
        }

        #[test]
        fn any_text_is_refused(text: String) {
            prop_assert!(ApiKey::parse(&text).is_err());
            let prefixed = format!("rl_{text}");
            prop_assert!(ApiKey::parse(&prefixed).is_err());
        }
    }
}
