use proptest::prelude::*;

use super::*;
use crate::testing::{
    System, counting, golden_ring, golden_ring_with_commands, hex, is_refusal, refuses_other_lengths, unhex,
};
use crate::{SampleOpener, ScanBinding, seal_sample};

/// 16-byte-id in hex, `refresh`, a family id in hex.
const GOLDEN_AAD: &str = "002030303031303230333034303530363037303830393061306230633064306530660007726566726573680020666665\
    6564646363626261613939383837373636353534343333323231313030";
const GOLDEN_KEY_ID: &str = "6eacd2f79d5ba408";
const GOLDEN_KEY: &str = "BFRL_9d8uU5XB1Qf7tdd6gbkSld1HOItWnpaevjML-_n_FfAAksD2xZP4V4mthGz-nRTZWG2kkwGYMww2reDXHA";
const GOLDEN: &str = "04cfb264d85c7eb276cf60773c461d722e25b64bf345d077c1a8b10c05b8decb45b7ad849cce5e9660102f3f368afd\
    22fe797caf6c3a9cbcbe7657b27bbcddfdb1c8051a4a31696c0bbbe7b1a19f6969b0f28701992301280511";

const KEY: &str = "ffeeddccbbaa99887766554433221100";

fn binding() -> CommandBinding<'static> {
    CommandBinding { request_id: "000102030405060708090a0b0c0d0e0f".parse().unwrap(), kind: "refresh", key: KEY }
}

fn open(binding: &CommandBinding<'_>, bytes: &[u8]) -> Result<Sensitive<Vec<u8>>, VaultError> {
    CommandOpener::new(&golden_ring_with_commands()).unwrap().open(GOLDEN_KEY_ID, binding, bytes)
}

#[test]
fn golden_binding_key_and_sealed_command() {
    assert_eq!(hex(&binding().aad().unwrap()), GOLDEN_AAD);
    let key = golden_ring_with_commands().command_key().unwrap();
    assert_eq!((key.key_id(), key.to_string().as_str()), (GOLDEN_KEY_ID, GOLDEN_KEY));
    let sealed = key.seal(&binding(), b"a command", &counting()).unwrap();
    assert_eq!((hex(&sealed.bytes).as_str(), sealed.key_id.as_str()), (GOLDEN, GOLDEN_KEY_ID));
    assert_eq!(sealed.bytes.len(), b"a command".len() + SEALED_COMMAND_OVERHEAD_BYTES);
    assert_eq!(open(&binding(), &unhex(GOLDEN)).unwrap().expose(), b"a command");
}

#[test]
fn a_command_moved_to_another_binding_does_not_open() {
    let sealed = unhex(GOLDEN);
    for other in [
        CommandBinding { request_id: RequestId::from_bytes([7; 16]), ..binding() },
        CommandBinding { kind: "login", ..binding() },
        CommandBinding { kind: "", ..binding() },
        CommandBinding { key: "ffeeddccbbaa99887766554433221101", ..binding() },
        CommandBinding { kind: "refreshf", key: &KEY[1..], ..binding() },
    ] {
        assert!(matches!(open(&other, &sealed), Err(VaultError::Authentication)), "{other:?}");
    }
}

#[test]
fn samples_and_commands_do_not_open_as_each_other() {
    // The same scalar in both places: what keeps them apart is not the key alone.
    let lines = "command-sealing e4baa6e8fe2fe499 active UFFSU1RVVldYWVpbXF1eX2BhYmNkZWZnaGlqa2xtbm8=\nend 13";
    let ring = KeyRing::from_text(&crate::testing::GOLDEN_RING.replace("end 12", lines)).unwrap();
    let (key, scan) = (ring.command_key().unwrap(), crate::testing::binding());
    assert_eq!(key.key_id(), ring.sealing_key().key_id());
    let opener = CommandOpener::new(&ring).unwrap();
    let sample = seal_sample(&ring.sealing_key(), &scan, b"a sample", &System).unwrap();
    let as_command = opener.open(&sample.key_id, &binding(), &sample.bytes);
    assert!(matches!(as_command, Err(VaultError::Authentication)));
    // Not even where the associated data are the same bytes.
    let scan_aad = |scan: &ScanBinding| crate::sample::aad(scan).unwrap();
    let bare = |bytes: &[u8]| COMMANDS.open(&opener.pairs, key.key_id(), &scan_aad(&scan), bytes);
    assert!(matches!(bare(&sample.bytes), Err(VaultError::Authentication)));
    let command = key.seal(&binding(), b"a command", &System).unwrap();
    let as_sample = SampleOpener::new(&ring).open_sample(&command.key_id, &scan, &command.bytes);
    assert!(matches!(as_sample, Err(VaultError::Authentication)));
}

#[test]
fn retired_keys_open_and_unknown_keys_are_refused() {
    let mut ring = KeyRing::create(&System).unwrap();
    let sealed = ring.command_key().unwrap().seal(&binding(), b"a command", &System).unwrap();
    let new = ring.rotate_command_key(&System).unwrap();
    assert_eq!(ring.command_key().unwrap().key_id(), new);
    let opener = CommandOpener::new(&ring).unwrap();
    assert_eq!(opener.open(&sealed.key_id, &binding(), &sealed.bytes).unwrap().expose(), b"a command");
    assert!(matches!(opener.open(&new, &binding(), &sealed.bytes), Err(VaultError::Authentication)));
    for unknown in ["", "0123456789abcdef", ring.sealing_key().key_id()] {
        let refused = opener.open(unknown, &binding(), &sealed.bytes);
        assert!(matches!(refused, Err(VaultError::UnknownSealingKey)));
    }
}

#[test]
fn a_ring_without_command_keys_says_so_and_takes_them_once() {
    let mut ring = golden_ring();
    assert!(matches!(CommandOpener::new(&ring), Err(VaultError::NoCommandKeys)));
    assert!(matches!(ring.command_key(), Err(VaultError::NoCommandKeys)));
    assert!(matches!(ring.rotate_command_key(&System), Err(VaultError::NoCommandKeys)));
    assert_eq!(ring.command_key_ids().count(), 0);
    assert!(ring.ensure_command_keys(&System).unwrap());
    let key = ring.command_key().unwrap();
    assert!(!ring.ensure_command_keys(&System).unwrap());
    assert_eq!(ring.command_key().unwrap(), key, "the keys stay");
    let read = KeyRing::from_text(&ring.to_text()).unwrap();
    let sealed = key.seal(&binding(), b"a command", &System).unwrap();
    assert!(CommandOpener::new(&read).unwrap().open(&sealed.key_id, &binding(), &sealed.bytes).is_ok());
}

#[test]
fn no_other_length_opens() {
    refuses_other_lengths(&unhex(GOLDEN), |bytes| open(&binding(), bytes));
}

#[test]
fn limits_hold() {
    let key = golden_ring_with_commands().command_key().unwrap();
    let longest = vec![0; SEALED_COMMAND_BYTES_MAX - SEALED_COMMAND_OVERHEAD_BYTES];
    let sealed = key.seal(&binding(), &longest, &System).unwrap();
    assert_eq!(sealed.bytes.len(), SEALED_COMMAND_BYTES_MAX);
    assert_eq!(open(&binding(), &sealed.bytes).unwrap().expose(), &longest);
    let too_long = |error| matches!(error, VaultError::TooLong { bytes_max: SEALED_COMMAND_BYTES_MAX, .. });
    assert!(too_long(key.seal(&binding(), &[longest.as_slice(), &[0]].concat(), &System).unwrap_err()));
    assert!(too_long(open(&binding(), &vec![4; SEALED_COMMAND_BYTES_MAX + 1]).unwrap_err()));
    let wide = CommandBinding { key: &"k".repeat(65_536), ..binding() };
    assert!(matches!(key.seal(&wide, b"a command", &System), Err(VaultError::TooLong { what: "field", .. })));
}

#[test]
fn the_public_key_has_a_text_form() {
    let key = golden_ring_with_commands().command_key().unwrap();
    assert_eq!(GOLDEN_KEY.parse::<CommandKey>().unwrap(), key);
    assert_eq!(CommandKey::from_public_bytes(&key.public_bytes()).unwrap(), key);
    for bad in ["", "not base64!", &GOLDEN_KEY[..86]] {
        assert!(matches!(bad.parse::<CommandKey>(), Err(VaultError::Malformed { .. })));
    }
}

#[test]
fn debug_shows_ids_and_sizes_only() {
    let ring = golden_ring_with_commands();
    let key = ring.command_key().unwrap();
    let sealed = key.seal(&binding(), b"a command", &counting()).unwrap();
    let shown = format!("{:?} {sealed:?} {key:?}", CommandOpener::new(&ring).unwrap());
    let ids: Vec<_> = ring.command_key_ids().map(|(key_id, _)| key_id).collect();
    assert_eq!(
        shown,
        format!("CommandOpener({ids:?}) SealedCommand({GOLDEN_KEY_ID}, 90 bytes) CommandKey({GOLDEN_KEY_ID})")
    );
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
    fn what_is_sealed_opens(command: Vec<u8>, kind in ".{0,12}", key in ".{0,12}") {
        let binding = CommandBinding { kind: &kind, key: &key, ..binding() };
        let sealed = golden_ring_with_commands().command_key().unwrap().seal(&binding, &command, &System).unwrap();
        let opened = open(&binding, &sealed.bytes).unwrap();
        prop_assert_eq!(opened.expose(), &command);
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(open(&binding(), &bytes).is_err());
    }
}
