//! The key ring: what a deployment's processes share, in one file of mode 0600.
//!
//! For each [`Purpose`] one active key, which seals, and any number of retired ones, which only open; the key pairs
//! that samples and those that commands are sealed to, likewise; and one key for digests. Old keys stay, because spools, topics, dead letters and
//! backups outlive a rotation. [`KeyRing::to_text`] describes the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ridgeline_domain::Sensitive;
use ridgeline_ports::Entropy;
use zeroize::Zeroizing;

use crate::command::CommandKey;
use crate::sealing::SealingPair;
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

    /// Retires the active entry.
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

impl Generations<String, SealingPair> {
    fn first_pair(entropy: &dyn Entropy) -> Self {
        let pair = SealingPair::generate(entropy);
        Self::first(pair.key_id(), pair)
    }

    fn succeed_pair(&mut self, entropy: &dyn Entropy) -> Result<String, VaultError> {
        let pair = SealingPair::generate(entropy);
        let key_id = pair.key_id();
        if self.get(&key_id).is_some() {
            return Err(VaultError::Randomness);
        }
        self.succeed(key_id.clone(), pair);
        Ok(key_id)
    }
}

/// All keys of a deployment. `Debug` shows purposes, versions and states only.
#[derive(Clone)]
pub struct KeyRing {
    pub(crate) keys: BTreeMap<Purpose, Generations<KeyVersion, Key>>,
    pub(crate) samples: Generations<String, SealingPair>,
    /// `None` in a ring that was made before devices could be authenticated.
    pub(crate) commands: Option<Generations<String, SealingPair>>,
    /// Not rotated: a new key would forget which images are enrolled (V-4).
    pub(crate) digest: Key,
}

impl KeyRing {
    /// A ring with a first key for every purpose, a pair for samples, one for commands and a digest key.
    ///
    /// # Errors
    /// [`VaultError::Randomness`] if `entropy` gives the same bits twice.
    pub fn create(entropy: &dyn Entropy) -> Result<Self, VaultError> {
        random::check(entropy)?;
        let first = |purpose: &Purpose| (*purpose, Generations::first(KeyVersion::FIRST, random::secret(entropy)));
        Ok(Self {
            keys: Purpose::ALL.iter().map(first).collect(),
            samples: Generations::first_pair(entropy),
            commands: Some(Generations::first_pair(entropy)),
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
        self.samples.succeed_pair(entropy)
    }

    /// Adds a first pair for commands to a ring that has none; `true` if it did, and then the ring must be saved, and every
    /// process given that file, before anything is sealed to it. [`keyring::complete`](complete) does this for a file.
    ///
    /// # Errors
    /// [`VaultError::Randomness`] if `entropy` gives the same bits twice.
    pub fn ensure_command_keys(&mut self, entropy: &dyn Entropy) -> Result<bool, VaultError> {
        if self.commands.is_some() {
            return Ok(false);
        }
        random::check(entropy)?;
        self.commands = Some(Generations::first_pair(entropy));
        Ok(true)
    }

    /// Makes a new pair that commands are sealed to and retires the one before; returns its key id. Save the ring, and let every
    /// auth worker read it, before a gateway does.
    ///
    /// # Errors
    /// [`VaultError::NoCommandKeys`] if there is none yet, [`VaultError::Randomness`] if `entropy` repeats a key of the ring.
    pub fn rotate_command_key(&mut self, entropy: &dyn Entropy) -> Result<String, VaultError> {
        self.commands.as_mut().ok_or(VaultError::NoCommandKeys)?.succeed_pair(entropy)
    }

    /// The public key that gateways seal commands to.
    ///
    /// # Errors
    /// [`VaultError::NoCommandKeys`] if the ring has none.
    pub fn command_key(&self) -> Result<CommandKey, VaultError> {
        self.commands.as_ref().map(|pairs| CommandKey::of(pairs.active.1.public())).ok_or(VaultError::NoCommandKeys)
    }

    /// Key ids and states of the pairs for commands, retired ones first.
    pub fn command_key_ids(&self) -> impl Iterator<Item = (&str, KeyState)> {
        let pairs = self.commands.iter().flat_map(Generations::iter);
        pairs.map(|(key_id, state, _)| (key_id.as_str(), state))
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
    /// command-sealing <key id> active <base64 of the private scalar>
    /// end 5
    /// ```
    ///
    /// One space between the words of a line; empty lines and lines that start with `#` are skipped; base64 is the
    /// standard alphabet with padding. `end` repeats the number of keys, so that a file cut short is noticed. A file
    /// without any `command-sealing` line is complete but for [`KeyRing::ensure_command_keys`].
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
        map.entry(&"sample", &self.sealing_key_ids().collect::<Vec<_>>());
        map.entry(&"command-sealing", &self.command_key_ids().collect::<Vec<_>>()).finish()
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

/// Reads a key ring file and adds the keys that a ring made by an older version lacks; see [`KeyRing::ensure_command_keys`].
///
/// Processes of one machine that start at once agree on the keys: one adds them, the others wait and read. Processes that have
/// files of their own do not; there the operator completes one file and hands it out.
///
/// # Errors
/// Those of [`load`], [`save`] and [`KeyRing::ensure_command_keys`].
pub fn complete(path: &Path, entropy: &dyn Entropy) -> Result<KeyRing, VaultError> {
    let ring = load(path)?;
    if ring.commands.is_some() {
        return Ok(ring);
    }
    let _lock = file::lock(path)?;
    // Whoever held the lock before may have put a new file here.
    let mut ring = load(path)?;
    if ring.ensure_command_keys(entropy)? {
        save(path, &ring)?;
    }
    Ok(ring)
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
    use crate::testing::{GOLDEN_RING, System, golden_ring};

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
        ring.rotate_command_key(&Stuck).unwrap();
        assert!(matches!(ring.rotate_command_key(&Stuck), Err(VaultError::Randomness)));
        assert!(matches!(golden_ring().ensure_command_keys(&Stuck), Err(VaultError::Randomness)));
        assert!(matches!(crate::SigningKey::generate(&Stuck), Err(VaultError::Randomness)));
    }

    #[test]
    fn an_older_file_is_completed_once_however_many_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key-ring");
        for _ in 0..10 {
            std::fs::write(&path, GOLDEN_RING).unwrap();
            set_mode(&path, 0o600);
            assert!(load(&path).unwrap().command_key().is_err(), "reading alone makes no key");
            let start = std::sync::Barrier::new(4);
            let one = || {
                start.wait();
                complete(&path, &System).unwrap().to_text()
            };
            let rings: Vec<_> = std::thread::scope(|scope| {
                let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
                all.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let saved = load(&path).unwrap().to_text();
            assert!(saved.starts_with(GOLDEN_RING.strip_suffix("end 12\n").unwrap()), "the old keys stay");
            for ring in rings {
                assert_eq!(*ring, *saved);
            }
        }
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_completed_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key-ring");
        assert!(matches!(complete(&path, &System), Err(VaultError::File { action: "read", .. })));
        std::fs::write(&path, GOLDEN_RING.replace("end 12", "end 11")).unwrap();
        set_mode(&path, 0o600);
        assert!(matches!(complete(&path, &System), Err(VaultError::KeyRing { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), GOLDEN_RING.replace("end 12", "end 11"));
    }

    #[test]
    fn keys_of_a_ring_differ() {
        let ring = KeyRing::create(&System).unwrap();
        let text = ring.to_text();
        let keys: std::collections::BTreeSet<_> =
            text.lines().filter_map(|line| line.rsplit_once(" active ")).map(|(_, key)| key).collect();
        assert_eq!(keys.len(), Purpose::ALL.len() + 3);
    }
}
