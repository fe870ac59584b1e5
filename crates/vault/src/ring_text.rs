//! The text form of the key ring: one line per key, read with suspicion.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ridgeline_domain::Sensitive;
use zeroize::Zeroizing;

use crate::keyring::{Generations, Key};
use crate::sealing::SealingPair;
use crate::{KeyRing, KeyState, KeyVersion, Purpose, VaultError};

const FIRST_LINE: &str = "ridgeline-key-ring 1";
const SAMPLE: &str = "sample";
const COMMAND: &str = "command-sealing";
const DIGEST: &str = "digest";
const KEY_BASE64_CHARS: usize = 44;
/// Longest line: word, key id, state, key, three spaces.
const LINE_CHARS_MAX: usize = 120;

pub(crate) fn write(ring: &KeyRing) -> Zeroizing<String> {
    let versions = ring.keys.values().map(|keys| keys.retired.len() + 1).sum::<usize>();
    let pairs = || std::iter::once((SAMPLE, &ring.samples)).chain(ring.commands.iter().map(|pairs| (COMMAND, pairs)));
    let count = versions + 1 + pairs().map(|(_, pairs)| pairs.retired.len() + 1).sum::<usize>();
    // Sized before it is filled: a buffer that grows leaves copies of the keys behind.
    let mut text = Zeroizing::new(String::with_capacity((count + 4) * LINE_CHARS_MAX));
    text.push_str(FIRST_LINE);
    text.push_str("\n# purpose version state key\n");
    for (purpose, keys) in &ring.keys {
        for (version, state, key) in keys.iter() {
            push_line(&mut text, purpose.as_str(), &version.to_string(), state, key.expose());
        }
    }
    push_line(&mut text, DIGEST, "1", KeyState::Active, ring.digest.expose());
    for (word, pairs) in pairs() {
        for (key_id, state, pair) in pairs.iter() {
            push_line(&mut text, word, key_id, state, &pair.private_bytes());
        }
    }
    text.push_str("end ");
    text.push_str(&count.to_string());
    text.push('\n');
    text
}

fn push_line(text: &mut String, word: &str, id: &str, state: KeyState, key: &[u8; 32]) {
    for part in [word, " ", id, " ", state.as_str(), " "] {
        text.push_str(part);
    }
    STANDARD.encode_string(key, text);
    text.push('\n');
}

pub(crate) fn read(text: &str) -> Result<KeyRing, VaultError> {
    let mut reader = Reader::default();
    let mut lines = (1_usize..).zip(text.lines());
    if lines.next().is_none_or(|(_, line)| line != FIRST_LINE) {
        return Err(VaultError::KeyRing { line: 1, problem: "is not the first line of a key ring of version 1" });
    }
    for (line, content) in lines {
        reader.line(content).map_err(|problem| VaultError::KeyRing { line, problem })?;
    }
    reader.finish().map_err(|problem| VaultError::KeyRing { line: text.lines().count(), problem })
}

/// A line's problem, in words that repeat nothing of the line.
type Problem = &'static str;

/// The keys of one kind while the file is being read.
struct Found<I, K> {
    active: Option<(I, K)>,
    retired: BTreeMap<I, K>,
}

impl<I, K> Default for Found<I, K> {
    fn default() -> Self {
        Self { active: None, retired: BTreeMap::new() }
    }
}

impl<I: Ord, K> Found<I, K> {
    fn add(&mut self, id: I, state: KeyState, key: K) -> Result<(), Problem> {
        if self.retired.contains_key(&id) || self.active.as_ref().is_some_and(|(active, _)| *active == id) {
            return Err("repeats a version or key id");
        }
        match state {
            KeyState::Retired => drop(self.retired.insert(id, key)),
            KeyState::Active if self.active.is_some() => return Err("is a second active key"),
            KeyState::Active => self.active = Some((id, key)),
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.active.is_none() && self.retired.is_empty()
    }

    fn finish(self) -> Result<Generations<I, K>, Problem> {
        let active = self.active.ok_or("a purpose has no active key")?;
        Ok(Generations { active, retired: self.retired })
    }
}

impl Found<String, SealingPair> {
    fn add_pair(&mut self, id: &str, state: KeyState, key: &Key) -> Result<(), Problem> {
        let pair = SealingPair::from_private(key.expose()).map_err(|_| "has no valid private key")?;
        if pair.key_id() != id {
            return Err("has a key id that is not its key's");
        }
        self.add(id.to_owned(), state, pair)
    }
}

#[derive(Default)]
struct Reader {
    keys: BTreeMap<Purpose, Found<KeyVersion, Key>>,
    samples: Found<String, SealingPair>,
    commands: Found<String, SealingPair>,
    digest: Option<Key>,
    count: usize,
    ended: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), Problem> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if self.ended {
            return Err("follows the end");
        }
        if let Some(count) = line.strip_prefix("end ") {
            self.ended = true;
            let matches = count == self.count.to_string();
            return if matches { Ok(()) } else { Err("counts other keys than the file has") };
        }
        let mut words = line.split(' ');
        let (Some(word), Some(id), Some(state), Some(key), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return Err("does not have four words");
        };
        let state = KeyState::from_word(state).ok_or("has an unknown state")?;
        self.count += 1;
        self.entry(word, id, state, decode_key(key)?)
    }

    fn entry(&mut self, word: &str, id: &str, state: KeyState, key: Key) -> Result<(), Problem> {
        match word {
            SAMPLE => self.samples.add_pair(id, state, &key),
            COMMAND => self.commands.add_pair(id, state, &key),
            DIGEST => match (id, state, &self.digest) {
                ("1", KeyState::Active, None) => {
                    self.digest = Some(key);
                    Ok(())
                }
                _ => Err("is not the one digest key"),
            },
            word => {
                let purpose = Purpose::from_word(word).ok_or("has an unknown purpose")?;
                self.keys.entry(purpose).or_default().add(decode_version(id)?, state, key)
            }
        }
    }

    fn finish(self) -> Result<KeyRing, Problem> {
        if !self.ended {
            return Err("the file is cut short");
        }
        let keys = self.keys.into_iter().map(|(purpose, found)| Ok((purpose, found.finish()?)));
        let keys = keys.collect::<Result<BTreeMap<_, _>, Problem>>()?;
        if keys.len() != Purpose::ALL.len() {
            return Err("a purpose has no key");
        }
        let digest = self.digest.ok_or("there is no digest key")?;
        let commands = if self.commands.is_empty() { None } else { Some(self.commands.finish()?) };
        Ok(KeyRing { keys, samples: self.samples.finish()?, commands, digest })
    }
}

/// Versions are decimal without sign or leading zero, so that each has one spelling.
fn decode_version(text: &str) -> Result<KeyVersion, Problem> {
    let canonical = |version: &u32| *version > 0 && version.to_string() == text;
    let version = text.parse::<u32>().ok().filter(canonical);
    version.map(KeyVersion::new).ok_or("has a version that is no number from 1")
}

fn decode_key(text: &str) -> Result<Key, Problem> {
    const PROBLEM: Problem = "has a key that is not 32 bytes of base64";
    if text.len() != KEY_BASE64_CHARS {
        return Err(PROBLEM);
    }
    let mut bytes = Zeroizing::new([0_u8; 33]);
    match STANDARD.decode_slice(text, bytes.as_mut_slice()) {
        Ok(32) => bytes.first_chunk::<32>().map(|key| Sensitive::new(*key)).ok_or(PROBLEM),
        _ => Err(PROBLEM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{GOLDEN_COMMAND_LINES, GOLDEN_RING, System, golden_ring, golden_ring_with_commands};
    use proptest::prelude::*;

    const KEY: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

    fn problem(text: &str) -> (usize, &'static str) {
        match read(text) {
            Err(VaultError::KeyRing { line, problem }) => (line, problem),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("read"),
        }
    }

    #[test]
    fn the_golden_file_is_read_and_written_byte_for_byte() {
        assert_eq!(*write(&golden_ring()), GOLDEN_RING);
        let states: Vec<_> = golden_ring().versions(Purpose::Template).map(|(id, state)| (id.get(), state)).collect();
        assert_eq!(states, [(1, KeyState::Retired), (2, KeyState::Active)]);
        let with_commands = golden_ring_with_commands();
        assert_eq!(*write(&with_commands), GOLDEN_RING.replace("end 12\n", GOLDEN_COMMAND_LINES));
        let states: Vec<_> = with_commands.command_key_ids().map(|(_, state)| state).collect();
        assert_eq!(states, [KeyState::Retired, KeyState::Active]);
    }

    #[test]
    fn a_rotated_ring_survives_its_text() {
        let mut ring = KeyRing::create(&System).unwrap();
        for _ in 0..3 {
            for &purpose in Purpose::ALL {
                ring.rotate(purpose, &System).unwrap();
            }
            ring.rotate_sealing_key(&System).unwrap();
            ring.rotate_command_key(&System).unwrap();
        }
        let text = write(&ring);
        assert_eq!(*write(&read(&text).unwrap()), *text);
        assert!(text.lines().all(|line| line.len() < LINE_CHARS_MAX));
    }

    #[test]
    fn hostile_lines_are_refused_with_their_number() {
        let third = |line: &str| problem(&GOLDEN_RING.replacen("template 1 retired ", line, 1));
        assert_eq!(third("templates 1 retired "), (3, "has an unknown purpose"));
        assert_eq!(third("template 1 lost "), (3, "has an unknown state"));
        assert_eq!(third("template 1  retired "), (3, "does not have four words"));
        for version in ["0", "-1", "+1", "01", "4294967296", "x", "1\u{661}"] {
            let found = third(&format!("template {version} retired "));
            assert_eq!(found, (3, "has a version that is no number from 1"), "{version}");
        }
        assert_eq!(third("template 1 active ").1, "is a second active key");
        assert_eq!(third("template 2 retired ").1, "repeats a version or key id");
        assert_eq!(third("template 1 retired A"), (3, "has a key that is not 32 bytes of base64"));
        assert_eq!(third("end 0\ntemplate 1 retired ").1, "follows the end");
        assert_eq!(third("end 7\ntemplate 1 retired "), (3, "counts other keys than the file has"));
        assert_eq!(third("digest 1 active ").1, "is not the one digest key");
        assert_eq!(third("sample 0123456789abcdef retired "), (3, "has a key id that is not its key's"));
        assert_eq!(problem(&GOLDEN_RING.replace("ring 1", "ring 2")).0, 1);
        assert_eq!(
            problem(&GOLDEN_RING.replace(KEY, &"\u{e9}".repeat(22))).1,
            "has a key that is not 32 bytes of base64"
        );
    }

    #[test]
    fn private_keys_outside_the_curve_order_are_refused() {
        for (word, scalar) in ["sample", "command-sealing"].into_iter().zip([[0_u8; 32], [0xff; 32]].repeat(2)) {
            let line = format!("{word} 0123456789abcdef retired {}\nend 13", STANDARD.encode(scalar));
            assert_eq!(problem(&GOLDEN_RING.replace("end 12", &line)).1, "has no valid private key");
        }
    }

    #[test]
    fn a_missing_key_is_noticed_even_with_the_right_count() {
        for word in ["answer", "digest", "sample"] {
            let kept: Vec<_> =
                GOLDEN_RING.lines().filter(|line| !line.starts_with(word) && !line.starts_with("end")).collect();
            let text = format!("{}\nend {}\n", kept.join("\n"), kept.len() - 2);
            assert!(problem(&text).1.contains("no"), "{word}");
        }
        let retired = GOLDEN_RING.replacen("active", "retired", 1);
        assert_eq!(problem(&retired).1, "a purpose has no active key");
    }

    #[test]
    fn pairs_for_commands_are_read_with_the_same_suspicion() {
        let lines =
            |from: &str, to: &str| problem(&GOLDEN_RING.replace("end 12\n", &GOLDEN_COMMAND_LINES.replace(from, to))).1;
        assert_eq!(lines("active", "retired"), "a purpose has no active key");
        assert_eq!(lines("retired", "active"), "is a second active key");
        assert_eq!(lines("df6da844bf893e9a", "0123456789abcdef"), "has a key id that is not its key's");
        assert_eq!(lines("command-sealing", "command_sealing"), "has an unknown purpose");
        assert_eq!(lines("end 14", "end 12"), "counts other keys than the file has");
        let (first, _) = GOLDEN_COMMAND_LINES.split_once('\n').unwrap();
        assert_eq!(lines("end 14", &format!("{first}\nend 15")), "repeats a version or key id");
    }

    #[test]
    fn a_file_cut_short_anywhere_is_refused() {
        for ring in [GOLDEN_RING, &GOLDEN_RING.replace("end 12\n", GOLDEN_COMMAND_LINES)] {
            let whole = ring.trim_end();
            assert!(read(whole).is_ok());
            for len in 0..whole.len() {
                assert!(read(&whole[..len]).is_err(), "{len} bytes");
            }
        }
    }

    #[test]
    fn errors_repeat_nothing_of_the_file() {
        for line in ["template 1 retired x", "oops 1 retired ", "template 1 x"] {
            let error = read(&GOLDEN_RING.replacen("template 1 retired ", line, 1)).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("AQIDBA"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            prop_assert!(read(&text).is_err());
            let headed = format!("{FIRST_LINE}\n{text}");
            prop_assert!(read(&headed).is_err());
        }

        #[test]
        fn a_changed_byte_is_refused_or_changes_a_key(at in 0..GOLDEN_RING.len(), to in 0x20_u8..0x7f) {
            let mut bytes = GOLDEN_RING.as_bytes().to_vec();
            bytes[at] = to;
            let text = String::from_utf8(bytes).unwrap();
            if let Ok(ring) = read(&text) {
                prop_assert!(*write(&ring) == text || text.lines().nth(1).unwrap().starts_with('#'));
            }
        }
    }
}
