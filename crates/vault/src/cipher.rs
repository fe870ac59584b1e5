//! Ciphertexts: `RL1 ‖ purpose u8 ‖ key version u32 ‖ salt 16 ‖ nonce 12 ‖ data ‖ tag 16`, big endian.
//!
//! AES-256-GCM (NIST SP 800-38D). Each message has its own key, HKDF-SHA256 (RFC 5869) of the ring key with the salt, so the
//! number of messages under a ring key is not bounded by the 96 bits of the nonce.

use std::sync::Arc;

use aes_gcm::aead::AeadInPlace as _;
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce, Tag};
use hkdf::Hkdf;
use ridgeline_domain::Sensitive;
use ridgeline_ports::{Entropy, RowKey};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::encode::{Cursor, Fields};
use crate::keyring::Key;
use crate::{KeyRing, KeyVersion, Purpose, VaultError, random};

const MAGIC: &[u8] = b"RL1";
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = MAGIC.len() + 1 + 4 + SALT_BYTES + NONCE_BYTES;
const KEY_LABEL: &[u8] = b"ridgeline/ciphertext/v1";

/// How much longer a ciphertext is than its plaintext.
pub const CIPHERTEXT_OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

/// Longest ciphertext: five messages of the log, so a dead letter with its context always fits.
pub const CIPHERTEXT_BYTES_MAX: usize = 64 << 20;

/// Where a ciphertext lies: the associated data that keeps it from being moved.
///
/// Encoded as purpose ‖ table or topic ‖ primary key ‖ column; the purpose comes from the call that seals or opens.
#[derive(Clone)]
pub struct Aad(Fields);

impl Aad {
    /// `place` is a table, topic or file kind; `key` its record's key; `column` the field of the record.
    #[must_use]
    pub fn new(place: &str, key: &str, column: &str) -> Self {
        Self::compound(place, &[key], column)
    }

    /// The same for a key of several parts, each its own field. All records of a place have the same number of parts.
    #[must_use]
    pub fn compound(place: &str, key: &[&str], column: &str) -> Self {
        let fields = key.iter().fold(Fields::new().text(place), |fields, part| fields.text(part));
        Self(fields.text(column))
    }

    /// The place of a column of a stored row. An empty clustering key is no part of the key.
    #[must_use]
    pub fn row(table: &str, key: &RowKey, column: &str) -> Self {
        if key.clustering.is_empty() {
            Self::new(table, &key.partition, column)
        } else {
            Self::compound(table, &[&key.partition, &key.clustering], column)
        }
    }

    fn encode(&self, purpose: Purpose) -> Result<Vec<u8>, VaultError> {
        Fields::new().text(purpose.as_str()).and(&self.0).finish()
    }
}

/// Seals and opens under a key ring. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vault {
    ring: Arc<KeyRing>,
}

impl Vault {
    /// A vault over `ring`. A ring that is rotated later needs a new vault.
    #[must_use]
    pub fn new(ring: KeyRing) -> Self {
        Self { ring: Arc::new(ring) }
    }

    /// The ring.
    #[must_use]
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Encrypts `plaintext` under the active key of `purpose` for the place `aad`.
    ///
    /// # Errors
    /// [`VaultError::TooLong`] if a part of `aad` exceeds 65 535 bytes or the ciphertext [`CIPHERTEXT_BYTES_MAX`].
    pub fn seal(
        &self,
        purpose: Purpose,
        aad: &Aad,
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, VaultError> {
        const TOO_LONG: VaultError = VaultError::TooLong { what: "plaintext", bytes_max: CIPHERTEXT_BYTES_MAX };
        if plaintext.len() > CIPHERTEXT_BYTES_MAX - CIPHERTEXT_OVERHEAD_BYTES {
            return Err(TOO_LONG);
        }
        let (version, key) = self.ring.active(purpose)?;
        let aad = aad.encode(purpose)?;
        let salt = random::public::<SALT_BYTES>(entropy);
        let nonce = random::public::<NONCE_BYTES>(entropy);

        let mut out = Vec::with_capacity(plaintext.len() + CIPHERTEXT_OVERHEAD_BYTES);
        out.extend_from_slice(MAGIC);
        out.push(purpose.code());
        out.extend_from_slice(&version.get().to_be_bytes());
        out.extend_from_slice(&salt);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plaintext);
        let body = out.get_mut(HEADER_BYTES..).unwrap_or_default();
        let cipher = message_cipher(key, purpose, version, &salt)?;
        let tag = cipher.encrypt_in_place_detached(&Nonce::from(nonce), &aad, body).map_err(|_| TOO_LONG)?;
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Decrypts what [`Vault::seal`] made for the same `purpose` and place.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] or [`VaultError::TooLong`] for bytes that cannot be a ciphertext,
    /// [`VaultError::UnknownKey`] for a version that the ring does not have, [`VaultError::Authentication`] for
    /// everything else, another purpose or place included.
    pub fn open(&self, purpose: Purpose, aad: &Aad, ciphertext: &[u8]) -> Result<Sensitive<Vec<u8>>, VaultError> {
        if ciphertext.len() > CIPHERTEXT_BYTES_MAX {
            return Err(VaultError::TooLong { what: "ciphertext", bytes_max: CIPHERTEXT_BYTES_MAX });
        }
        let mut cursor = Cursor::new("ciphertext", ciphertext);
        cursor.expect(MAGIC)?;
        let sealed_for = Purpose::from_code(cursor.byte()?).ok_or_else(|| cursor.malformed())?;
        let version = KeyVersion::new(u32::from_be_bytes(cursor.array()?));
        let salt = cursor.array::<SALT_BYTES>()?;
        let nonce = cursor.array::<NONCE_BYTES>()?;
        let malformed = cursor.malformed();
        let (data, tag) = cursor.rest().split_last_chunk::<TAG_BYTES>().ok_or(malformed)?;
        if sealed_for != purpose {
            return Err(VaultError::Authentication);
        }
        let cipher = message_cipher(self.ring.key(purpose, version)?, purpose, version, &salt)?;
        let mut body = data.to_vec();
        cipher
            .decrypt_in_place_detached(&Nonce::from(nonce), &aad.encode(purpose)?, &mut body, &Tag::from(*tag))
            .map_err(|_| VaultError::Authentication)?;
        Ok(Sensitive::new(body))
    }
}

/// The cipher of one message: its key is bound to purpose, version and salt.
fn message_cipher(
    key: &Key,
    purpose: Purpose,
    version: KeyVersion,
    salt: &[u8; SALT_BYTES],
) -> Result<Aes256Gcm, VaultError> {
    let mut message_key = Zeroizing::new([0_u8; 32]);
    Hkdf::<Sha256>::new(Some(salt), key.expose())
        .expand_multi_info(&[KEY_LABEL, &[purpose.code()], &version.get().to_be_bytes()], message_key.as_mut_slice())
        .map_err(|_| VaultError::Malformed { what: "key" })?;
    Ok(Aes256Gcm::new((&*message_key).into()))
}
