//! Sealing to a key pair: HPKE (RFC 9180) in base mode with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM.
//!
//! Sealing needs only the public key: who seals cannot read what was sealed. Each use is a [`Scheme`] with an `info` and key
//! pairs of its own, so that nothing sealed for one use opens in another.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use ridgeline_domain::Sensitive;
use ridgeline_ports::Entropy;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::VaultError;
use crate::encode::Cursor;
use crate::keyring::Generations;
use crate::random::PortRng;

const PUBLIC_BYTES: usize = 65;
const TAG_BYTES: usize = 16;

/// How much longer a sealed message is than the message: the encapsulated key and the tag.
pub(crate) const OVERHEAD_BYTES: usize = PUBLIC_BYTES + TAG_BYTES;

type PublicKey = <DhP256HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <DhP256HkdfSha256 as Kem>::PrivateKey;
type EncappedKey = <DhP256HkdfSha256 as Kem>::EncappedKey;

/// What one use of sealing has of its own.
pub(crate) struct Scheme {
    /// `info` of HPKE.
    pub(crate) info: &'static [u8],
    /// What is sealed, in errors.
    pub(crate) what: &'static str,
    /// Longest sealed message.
    pub(crate) bytes_max: usize,
}

impl Scheme {
    const fn too_long(&self) -> VaultError {
        VaultError::TooLong { what: self.what, bytes_max: self.bytes_max }
    }

    /// Encapsulated key (65 bytes, an uncompressed point) ‖ ciphertext ‖ tag (16 bytes).
    pub(crate) fn seal(
        &self,
        key: &SealingKey,
        aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, VaultError> {
        if plaintext.len() > self.bytes_max - OVERHEAD_BYTES {
            return Err(self.too_long());
        }
        let mut body = Zeroizing::new(plaintext.to_vec());
        let (encapped, tag) = hpke::single_shot_seal_in_place_detached::<AesGcm256, HkdfSha256, DhP256HkdfSha256, _>(
            &OpModeS::Base,
            &key.public,
            self.info,
            &mut body,
            aad,
            &mut PortRng(entropy),
        )
        .map_err(|_| VaultError::Malformed { what: "sealing key" })?;
        Ok([encapped.to_bytes().as_slice(), &body, tag.to_bytes().as_slice()].concat())
    }

    /// What [`Scheme::seal`] sealed to the pair of `key_id`, retired pairs included.
    pub(crate) fn open(
        &self,
        pairs: &Generations<String, SealingPair>,
        key_id: &str,
        aad: &[u8],
        bytes: &[u8],
    ) -> Result<Sensitive<Vec<u8>>, VaultError> {
        if bytes.len() > self.bytes_max {
            return Err(self.too_long());
        }
        let pair = pairs.iter().find(|(id, ..)| id.as_str() == key_id).map(|(.., pair)| pair);
        let pair = pair.ok_or(VaultError::UnknownSealingKey)?;
        let mut cursor = Cursor::new(self.what, bytes);
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
            self.info,
            body,
            aad,
        )
        .map(Sensitive::new)
        .map_err(|_| VaultError::Authentication)
    }
}

/// The public key of a use's key pair, as those who seal hold it: agents and gateways that of the matchers.
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

    /// The id that stands beside what is sealed: 16 hex digits.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::golden_ring;

    const GOLDEN_KEY_ID: &str = "e4baa6e8fe2fe499";
    const GOLDEN_KEY: &str = "BLeePX3Po_ERgfRvJHr1bAZ7DvUyUPwY6b6Cwj5vgz_uiSRwQWN6hkQvRYt4pcQ5YLuszD6xTInlrpra9PeUVTA";

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
}
