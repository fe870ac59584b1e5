//! The key ring: what a deployment's processes share, in one file of mode 0600.
//!
//! For each [`Purpose`] one active key, which seals, and any number of retired ones, which only open; the key pairs
//! that samples are sealed to, likewise; and one key for digests. Old keys stay, because spools, topics, dead letters and
//! backups outlive a rotation. [`KeyRing::to_text`] describes the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ridgeline_domain::Sensitive;
use ridgeline_ports::Entropy;
use zeroize::Zeroizing;

use crate::sample::SealingPair;
use crate::{Purpose, SealingKey, VaultError, file, random, ring_text};

/// A symmetric key of the ring.
pub(crate) type Key = Sensitive<[u8; 32]>;

/// The version of a ring key, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyVersion(u32);

impl KeyVersion {
    /// The version of a purpose's first key.
    pub const FIRST: Self = Self(1);

    /// From the number that stands in a ciphertext or in the key ring file.
    #[must_use]
    pub const fn new(version: u32) -> Self {
        Self(version)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a ring key may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Seals and opens.
    Active,
    /// Only opens.
    Retired,
}

impl KeyState {
    /// The word in the key ring file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Active, Self::Retired].into_iter().find(|state| state.as_str() == word)
    }
}

/// One active entry and the retired ones. There is never a moment without an active one.
#[derive(Clone)]
pub(crate) struct Generations<I, K> {
    pub(crate) active: (I, K),
    pub(crate) retired: BTreeMap<I, K>,
}

impl<I: Ord + Clone, K> Generations<I, K> {
    pub(crate) const fn first(id: I, key: K) -> Self {
        Self { active: (id, key), retired: BTreeMap::new() }
    }

    pub(crate) fn get(&self, id: &I) -> Option<&K> {
        if self.active.0 == *id { Some(&self.active.1) } else { self.retired.get(id) }
    }

    fn succeed(&mut self, id: I, key: K) {
        let (old_id, old_key) = std::mem::replace(&mut self.active, (id, key));
        self.retired.insert(old_id, old_key);
    }

    /// Retired entries, then the active one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&I, KeyState, &K)> {
        let retired = self.retired.iter().map(|(id, key)| (id, KeyState::Retired, key));
        retired.chain(std::iter::once((&self.active.0, KeyState::Active, &self.active.1)))
    }
}

/// All keys of a deployment. `Debug` shows purposes, versions and states only.
#[derive(Clone)]
pub struct KeyRing {
    pub(crate) keys: BTreeMap<Purpose, Generations<KeyVersion, Key>>,
    pub(crate) samples: Generations<String, SealingPair>,
    /// Not rotated: a new key would forget which images are enrolled (V-4).
    pub(crate) digest: Key,
}

impl KeyRing {
    /// A ring with a first key for every purpose, a sealing pair and a digest key.
    ///
    /// # Errors
    /// [`VaultError::Randomness`] if `entropy` gives the same bits twice.
    pub fn create(entropy: &dyn Entropy) -> Result<Self, VaultError> {
        if random::public::<32>(entropy) == random::public::<32>(entropy) {
            return Err(VaultError::Randomness);
        }
        let first = |purpose: &Purpose| (*purpose, Generations::first(KeyVersion::FIRST, random::secret(entropy)));
        let pair = SealingPair::generate(entropy);
        Ok(Self {
            keys: Purpose::ALL.iter().map(first).collect(),
            samples: Generations::first(pair.key_id(), pair),
            digest: random::secret(entropy),
        })
    }

    /// Makes a new active key for `purpose` and retires the one before. Save the ring, and let every process that opens
    /// read it, before any process seals with it.
    ///
    /// # Errors
    /// [`VaultError::UnknownKey`] if the last version is reached.
    pub fn rotate(&mut self, purpose: Purpose, entropy: &dyn Entropy) -> Result<KeyVersion, VaultError> {
        let unknown = |version| VaultError::UnknownKey { purpose, version };
        let keys = self.keys.get_mut(&purpose).ok_or(unknown(KeyVersion::FIRST))?;
        let newest = keys.iter().map(|(version, ..)| *version).max().unwrap_or(KeyVersion::FIRST);
        let version = newest.next();
        if version == newest {
            return Err(unknown(version));
        }
        keys.succeed(version, random::secret(entropy));
        Ok(version)
    }

    /// Makes a new pair that samples are sealed to and retires the one before; returns its key id. Agents learn the new
    /// [`SealingKey`] afterwards and may go on using the old one.
    ///
    /// # Errors
    /// [`VaultError::Randomness`] if `entropy` repeats a key of the ring.
    pub fn rotate_sealing_key(&mut self, entropy: &dyn Entropy) -> Result<String, VaultError> {
        let pair = SealingPair::generate(entropy);
        let key_id = pair.key_id();
        if self.samples.get(&key_id).is_some() {
            return Err(VaultError::Randomness);
        }
        self.samples.succeed(key_id.clone(), pair);
        Ok(key_id)
    }

    /// The public key that agents and gateways seal samples to.
    #[must_use]
    pub fn sealing_key(&self) -> SealingKey {
        self.samples.active.1.public()
    }

    /// Versions and states of a purpose's keys, retired ones first.
    pub fn versions(&self, purpose: Purpose) -> impl Iterator<Item = (KeyVersion, KeyState)> {
        self.keys.get(&purpose).into_iter().flat_map(Generations::iter).map(|(version, state, _)| (*version, state))
    }

    /// Key ids and states of the sealing pairs, retired ones first.
    pub fn sealing_key_ids(&self) -> impl Iterator<Item = (&str, KeyState)> {
        self.samples.iter().map(|(key_id, state, _)| (key_id.as_str(), state))
    }

    /// The text of the key ring file. It holds every key in clear.
    ///
    /// ```text
    /// ridgeline-key-ring 1
    /// # purpose version state key
    /// template 1 retired <base64 of 32 bytes>
    /// template 2 active <base64 of 32 bytes>
    /// digest 1 active <base64 of 32 bytes>
    /// sample <key id> active <base64 of the private scalar>
    /// end 4
    /// ```
    ///
    /// One space between the words of a line; empty lines and lines that start with `#` are skipped; base64 is the
    /// standard alphabet with padding. `end` repeats the number of keys, so that a file cut short is noticed.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        ring_text::write(self)
    }

    /// Reads the form that [`KeyRing::to_text`] describes.
    ///
    /// # Errors
    /// [`VaultError::KeyRing`] with line and problem, never with content: an unknown word, a key of another length, a
    /// version or key id that stands twice, a purpose without exactly one active key, a wrong `end`.
    pub fn from_text(text: &str) -> Result<Self, VaultError> {
        ring_text::read(text)
    }

    /// The key that seals for `purpose`.
    pub(crate) fn active(&self, purpose: Purpose) -> Result<(KeyVersion, &Key), VaultError> {
        let keys = self.keys.get(&purpose);
        let active = keys.map(|keys| (keys.active.0, &keys.active.1));
        active.ok_or(VaultError::UnknownKey { purpose, version: KeyVersion::FIRST })
    }

    /// A key that opens for `purpose`.
    pub(crate) fn key(&self, purpose: Purpose, version: KeyVersion) -> Result<&Key, VaultError> {
        let key = self.keys.get(&purpose).and_then(|keys| keys.get(&version));
        key.ok_or(VaultError::UnknownKey { purpose, version })
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for purpose in Purpose::ALL {
            map.entry(&purpose.as_str(), &self.versions(*purpose).collect::<Vec<_>>());
        }
        map.entry(&"sample", &self.sealing_key_ids().collect::<Vec<_>>()).finish()
    }
}

/// Reads a key ring file.
///
/// # Errors
/// [`VaultError::Exposed`] if others may read it, [`VaultError::File`] if it cannot be read, [`VaultError::KeyRing`] if
/// it is damaged.
pub fn load(path: &Path) -> Result<KeyRing, VaultError> {
    KeyRing::from_text(&file::read(path)?)
}

/// Writes the ring in the place of the file, atomically, mode 0600.
///
/// # Errors
/// [`VaultError::File`].
pub fn save(path: &Path, ring: &KeyRing) -> Result<(), VaultError> {
    file::replace(path, &ring.to_text())
}

/// Makes a new ring and its file, mode 0600. An existing file is never replaced: its keys would be lost.
///
/// # Errors
/// [`VaultError::File`], with kind `AlreadyExists` if there is one.
pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<KeyRing, VaultError> {
    let ring = KeyRing::create(entropy)?;
    file::create(path, &ring.to_text())?;
    Ok(ring)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::testing::System;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_file_is_owner_only_and_survives_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key-ring");
        let mut ring = create(&path, &System).unwrap();
        assert_eq!(mode(&path), 0o600);
        ring.rotate(Purpose::Field, &System).unwrap();
        let beside = format!("key-ring.{}.new", std::process::id());
        std::fs::write(folder.path().join(beside), "left by a crash").unwrap();
        save(&path, &ring).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(*load(&path).unwrap().to_text(), *ring.to_text());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn saving_closes_a_file_that_was_open_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key-ring");
        let ring = create(&path, &System).unwrap();
        set_mode(&path, 0o644);
        save(&path, &ring).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_second_create_keeps_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key-ring");
        let first = create(&path, &System).unwrap();
        let error = create(&path, &System).unwrap_err();
        let VaultError::File { action: "create", source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(*load(&path).unwrap().to_text(), *first.to_text());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_others_may_touch_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key-ring");
        create(&path, &System).unwrap();
        for open in [0o640, 0o604, 0o620, 0o602, 0o644, 0o666] {
            set_mode(&path, open);
            let error = load(&path).unwrap_err();
            assert!(matches!(error, VaultError::Exposed { mode, .. } if mode == open), "{error}");
            assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        set_mode(&path, 0o400);
        assert!(load(&path).is_ok());
    }

    #[test]
    fn what_is_no_key_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key-ring");
        assert!(matches!(load(&path), Err(VaultError::File { action: "read", .. })));
        assert!(matches!(load(folder.path()), Err(VaultError::File { .. })));
        for (bytes, limit) in [(vec![0xff; 8], false), (vec![b'#'; (1 << 20) + 1], true)] {
            std::fs::write(&path, bytes).unwrap();
            set_mode(&path, 0o600);
            assert_eq!(matches!(load(&path).unwrap_err(), VaultError::TooLong { .. }), limit);
        }
    }

    #[test]
    fn a_random_source_that_stands_still_makes_no_ring() {
        struct Stuck;
        impl Entropy for Stuck {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(0xff);
            }
        }
        assert!(matches!(KeyRing::create(&Stuck), Err(VaultError::Randomness)));
        let mut ring = KeyRing::create(&System).unwrap();
        ring.rotate_sealing_key(&Stuck).unwrap();
        assert!(matches!(ring.rotate_sealing_key(&Stuck), Err(VaultError::Randomness)));
        assert!(matches!(crate::SigningKey::generate(&Stuck), Err(VaultError::Randomness)));
    }

    #[test]
    fn keys_of_a_ring_differ() {
        let ring = KeyRing::create(&System).unwrap();
        let text = ring.to_text();
        let keys: std::collections::BTreeSet<_> =
            text.lines().filter_map(|line| line.rsplit_once(" active ")).map(|(_, key)| key).collect();
        assert_eq!(keys.len(), Purpose::ALL.len() + 2);
    }
}
