//! Ciphertexts: `RL1 ‖ purpose u8 ‖ key version u32 ‖ salt 16 ‖ nonce 12 ‖ data ‖ tag 16`, big endian.
//!
//! AES-256-GCM (NIST SP 800-38D). The key of a message is HKDF-SHA256 (RFC 5869) of the ring key with the salt. A vault keeps a salt for
//! [`SEALED_PER_SALT`] messages, each with a random nonce of its own, so the number of messages under a ring key is not bounded by
//! the 96 bits of the nonce, and two nonces under one salt are equal with a probability of 2^-65.

use std::collections::HashMap;
use std::sync::Arc;

use aes_gcm::aead::AeadInPlace as _;
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce, Tag};
use hkdf::Hkdf;
use parking_lot::Mutex;
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
/// Messages under one salt.
const SEALED_PER_SALT: u32 = 1 << 16;
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
#[derive(Clone)]
pub struct Vault {
    ring: Arc<KeyRing>,
    /// What messages of a purpose are sealed under now. Clones share it.
    batches: Arc<Mutex<HashMap<Purpose, Batch>>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("ring", &self.ring).finish_non_exhaustive()
    }
}

/// A salt, the key that it gives, and for how many messages more.
struct Batch {
    salt: [u8; SALT_BYTES],
    cipher: Arc<Aes256Gcm>,
    left: u32,
}

impl Vault {
    /// A vault over `ring`. A ring that is rotated later needs a new vault.
    #[must_use]
    pub fn new(ring: KeyRing) -> Self {
        Self { ring: Arc::new(ring), batches: Arc::default() }
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
        let (salt, cipher) = self.batch((key, purpose, version), entropy)?;
        let nonce = random::public::<NONCE_BYTES>(entropy);

        let mut out = Vec::with_capacity(plaintext.len() + CIPHERTEXT_OVERHEAD_BYTES);
        out.extend_from_slice(MAGIC);
        out.push(purpose.code());
        out.extend_from_slice(&version.get().to_be_bytes());
        out.extend_from_slice(&salt);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plaintext);
        let body = out.get_mut(HEADER_BYTES..).unwrap_or_default();
        let tag = cipher.encrypt_in_place_detached(&Nonce::from(nonce), &aad, body).map_err(|_| TOO_LONG)?;
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Salt and cipher of the next message.
    fn batch(
        &self,
        (key, purpose, version): (&Key, Purpose, KeyVersion),
        entropy: &dyn Entropy,
    ) -> Result<([u8; SALT_BYTES], Arc<Aes256Gcm>), VaultError> {
        let mut batches = self.batches.lock();
        if let Some(batch) = batches.get_mut(&purpose).filter(|batch| batch.left > 0) {
            batch.left -= 1;
            return Ok((batch.salt, batch.cipher.clone()));
        }
        let salt = random::public::<SALT_BYTES>(entropy);
        let cipher = Arc::new(message_cipher(key, purpose, version, &salt)?);
        batches.insert(purpose, Batch { salt, cipher: cipher.clone(), left: SEALED_PER_SALT - 1 });
        Ok((salt, cipher))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{System, counting, golden_ring, golden_vault, hex, is_refusal, refuses_other_lengths, unhex};
    use proptest::prelude::*;
    use ridgeline_testkit::covers;

    const PLAINTEXT: &[u8] = b"ridges and valleys";
    const GOLDEN_AAD: &str = "000874656d706c617465000974656d706c61746573000942616467655f372d620004626f6479";
    const GOLDEN: &str = "524c310100000002000102030405060708090a0b0c0d0e0f101112131415161718191a1b\
        b0415947242addde22fa4056625894fff9dcffaf4593d64badceb06e31a3aac4d71d";
    /// The same plaintext and place under version 1, which is retired in the golden ring.
    const GOLDEN_OLD: &str = "524c310100000001000102030405060708090a0b0c0d0e0f101112131415161718191a1b\
        a96f2e2db0af9821a3542b75100cbe5f7c02a6414bfe5b8ea10764a6bbd3215a6e9f";

    fn place() -> Aad {
        Aad::new("templates", "Badge_7-b", "body")
    }

    #[test]
    fn golden_ciphertext_and_associated_data() {
        covers!("R-201", "R-202");
        assert_eq!(hex(&place().encode(Purpose::Template).unwrap()), GOLDEN_AAD);
        let sealed = golden_vault().seal(Purpose::Template, &place(), PLAINTEXT, &counting()).unwrap();
        assert_eq!(hex(&sealed), GOLDEN);
        assert_eq!(sealed.len(), PLAINTEXT.len() + CIPHERTEXT_OVERHEAD_BYTES);
    }

    #[test]
    fn golden_ciphertexts_of_active_and_retired_keys_open() {
        for golden in [GOLDEN, GOLDEN_OLD] {
            let opened = golden_vault().open(Purpose::Template, &place(), &unhex(golden)).unwrap();
            assert_eq!(opened.expose(), PLAINTEXT);
        }
    }

    #[test]
    fn equal_plaintexts_have_unequal_ciphertexts() {
        let vault = golden_vault();
        let seal = || vault.seal(Purpose::Field, &place(), PLAINTEXT, &System).unwrap();
        assert_ne!(seal()[8..], seal()[8..]);
    }

    #[test]
    fn a_salt_is_kept_for_its_messages_and_no_longer() {
        let vault = golden_vault();
        let salt = |purpose| vault.seal(purpose, &place(), PLAINTEXT, &System).unwrap()[8..8 + SALT_BYTES].to_vec();
        let first = salt(Purpose::Field);
        assert_eq!((first == salt(Purpose::Field), first == salt(Purpose::Answer)), (true, false));
        vault.batches.lock().get_mut(&Purpose::Field).unwrap().left = 1;
        assert_eq!(salt(Purpose::Field), first);
        assert_ne!(salt(Purpose::Field), first);
        // Another process, or the same one after a start, has its own.
        assert_ne!(
            salt(Purpose::Template),
            golden_vault().seal(Purpose::Template, &place(), b"", &System).unwrap()[8..24]
        );
    }

    #[test]
    fn another_purpose_place_tag_or_version_does_not_open() {
        covers!("R-205");
        let (vault, sealed) = (golden_vault(), unhex(GOLDEN));
        let refused = |purpose, aad: &Aad, bytes: &[u8]| {
            matches!(vault.open(purpose, aad, bytes), Err(VaultError::Authentication))
        };
        assert!(vault.open(Purpose::Template, &place(), &sealed).is_ok(), "its own place opens");
        for &purpose in Purpose::ALL.iter().filter(|purpose| **purpose != Purpose::Template) {
            assert!(refused(purpose, &place(), &sealed), "{purpose}");
            let mut relabelled = sealed.clone();
            relabelled[3] = purpose.code();
            assert!(refused(Purpose::Template, &place(), &relabelled), "{purpose}");
        }
        let elsewhere = [
            Aad::new("answers", "Badge_7-b", "body"),
            Aad::new("templates", "Badge_7", "body"),
            Aad::new("templates", "Badge_7-b", "header"),
            Aad::compound("templates", &["Badge_7-b", "body"], "body"),
            Aad::compound("templates", &[], "Badge_7-bbody"),
        ];
        assert!(elsewhere.iter().all(|aad| refused(Purpose::Template, aad, &sealed)));
        let mut other_tag = sealed.clone();
        *other_tag.last_mut().unwrap() ^= 1;
        assert!(refused(Purpose::Template, &place(), &other_tag));
        let mut other_version = sealed;
        other_version[7] = 1;
        assert!(refused(Purpose::Template, &place(), &other_version));
    }

    #[test]
    fn a_version_that_the_ring_lacks_is_named() {
        let mut sealed = unhex(GOLDEN);
        sealed[7] = 9;
        let error = golden_vault().open(Purpose::Template, &place(), &sealed).unwrap_err();
        assert!(matches!(error, VaultError::UnknownKey { purpose: Purpose::Template, version } if version.get() == 9));
        assert_eq!(error.disposition(), ridgeline_ports::Disposition::Retry);
    }

    #[test]
    fn what_was_sealed_before_a_rotation_opens_after_it() {
        let mut ring = KeyRing::create(&System).unwrap();
        let before = Vault::new(ring.clone()).seal(Purpose::Spool, &place(), PLAINTEXT, &System).unwrap();
        assert_eq!(ring.rotate(Purpose::Spool, &System).unwrap().get(), 2);
        let vault = Vault::new(ring);
        let after = vault.seal(Purpose::Spool, &place(), PLAINTEXT, &System).unwrap();
        assert_eq!((before[7], after[7]), (1, 2));
        for sealed in [before, after] {
            assert_eq!(vault.open(Purpose::Spool, &place(), &sealed).unwrap().expose(), PLAINTEXT);
        }
    }

    #[test]
    fn no_other_length_opens() {
        let vault = golden_vault();
        refuses_other_lengths(&unhex(GOLDEN), |bytes| vault.open(Purpose::Template, &place(), bytes));
    }

    #[test]
    fn limits_hold_for_plaintext_ciphertext_and_place() {
        let vault = golden_vault();
        let most = vec![0; CIPHERTEXT_BYTES_MAX - CIPHERTEXT_OVERHEAD_BYTES + 1];
        let too_long = |error| matches!(error, VaultError::TooLong { .. });
        assert!(too_long(vault.seal(Purpose::Topic, &place(), &most, &System).unwrap_err()));
        assert!(too_long(vault.open(Purpose::Topic, &place(), &vec![0; CIPHERTEXT_BYTES_MAX + 1]).unwrap_err()));
        let place = Aad::new("templates", &"x".repeat(65_536), "body");
        assert!(too_long(vault.seal(Purpose::Topic, &place, b"", &System).unwrap_err()));
    }

    #[test]
    fn a_row_key_with_and_without_clustering_is_told_apart() {
        let single = Aad::row("templates", &RowKey::single("Badge_7-b"), "body");
        let clustered = RowKey { partition: "Badge_7-b".to_owned(), clustering: "1".to_owned() };
        let encode = |aad: &Aad| aad.encode(Purpose::Template).unwrap();
        assert_eq!(hex(&encode(&single)), GOLDEN_AAD);
        assert_ne!(encode(&Aad::row("templates", &clustered, "body")), encode(&single));
    }

    #[test]
    fn debug_shows_states_but_no_keys() {
        let shown = format!("{:?}", golden_vault());
        assert!(shown.contains("Retired") && shown.contains("e4baa6e8fe2fe499"), "{shown}");
        for line in golden_ring().to_text().lines().filter(|line| line.ends_with('=')) {
            assert!(!shown.contains(line.rsplit(' ').next().unwrap()), "a key as base64");
        }
        assert!(!shown.contains("2, 3, 4") && !shown.contains("020304"), "a key as numbers or as hex");
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_in_its_place(plaintext: Vec<u8>, key in ".{0,20}", code in 1_u8..=8) {
            let (vault, purpose) = (golden_vault(), Purpose::from_code(code).unwrap());
            let aad = Aad::new("table", &key, "column");
            let sealed = vault.seal(purpose, &aad, &plaintext, &System).unwrap();
            let opened = vault.open(purpose, &aad, &sealed).unwrap();
            prop_assert_eq!(opened.expose(), &plaintext);
        }

        #[test]
        fn every_changed_bit_is_noticed(at in 0..GOLDEN.len() * 4) {
            let mut sealed = unhex(GOLDEN);
            sealed[at / 8] ^= 1 << (at % 8);
            let error = golden_vault().open(Purpose::Template, &place(), &sealed).unwrap_err();
            prop_assert!(is_refusal(&error), "{}", error);
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes: Vec<u8>, headed: bool) {
            let bytes = if headed { [b"RL1\x01\0\0\0\x02".as_slice(), &bytes].concat() } else { bytes };
            prop_assert!(golden_vault().open(Purpose::Template, &place(), &bytes).is_err());
        }
    }

    #[test]
    fn the_cipher_agrees_with_wycheproof() {
        let Some(data) = ridgeline_testkit::covers::test_data() else { return };
        covers!("R-202", "R-205");
        let text = std::fs::read_to_string(data.join("crypto/aes_gcm_test.json")).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let bits = |group: &serde_json::Value, name: &str| group[name].as_u64().unwrap();
        let ours = |group: &&serde_json::Value| bits(group, "ivSize") == 96 && bits(group, "keySize") == 256;
        let mut checked = 0;
        for test in file["testGroups"]
            .as_array()
            .unwrap()
            .iter()
            .filter(ours)
            .flat_map(|group| group["tests"].as_array().unwrap())
        {
            let field = |name: &str| unhex(test[name].as_str().unwrap());
            let (key, nonce, tag) = (field("key"), field("iv"), field("tag"));
            let mut body = field("ct");
            let cipher = Aes256Gcm::new(key.as_slice().into());
            let opened = cipher.decrypt_in_place_detached(
                Nonce::from_slice(&nonce),
                &field("aad"),
                &mut body,
                Tag::from_slice(&tag),
            );
            assert_eq!(opened.is_ok(), test["result"] == "valid", "test {}", test["tcId"]);
            assert!(opened.is_err() || body == field("msg"), "test {}", test["tcId"]);
            checked += 1;
        }
        assert!(checked > 50, "{checked} vectors of this size");
    }
}
