//! Templates as bytes: what is written, what is still read, and what is refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use ridgeline_fingerprint::formats::{FOREIGN_ENGINE, FOREIGN_ENGINE_VERSION};
use ridgeline_fingerprint::{ENGINE, ENGINE_NAME, Engine, Minutia, MinutiaKind, Quality, Template, TemplateError};

/// Written by layout 1: version 2, 300 × 400, quality 77, three minutiae.
const OLD: &str = "524d01 0002 012c 0190 4d 03  80c8 0064 40 5a  000a 0014 ff 32  012b 018f 00 32";
/// The same minutiae in layout 2.
const GOLDEN: &str = "524d02 0002 13 72696467656c696e652d636c6173736963616c 012c 0190 4d 03 \
    6419103681414ff3295e3c00c8";

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn minutia(x: u16, y: u16, direction: u8, bifurcation: bool, quality: u8) -> Minutia {
    let kind = if bifurcation { MinutiaKind::Bifurcation } else { MinutiaKind::Ending };
    Minutia { x, y, direction, kind, quality }
}

fn three(engine: Engine) -> Template {
    let minutiae =
        vec![minutia(299, 399, 0, false, 50), minutia(200, 100, 64, true, 90), minutia(10, 20, 255, false, 50)];
    Template::new(engine, 300, 400, Quality::new(77), minutiae).unwrap()
}

struct Random(u32);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % limit
    }
}

/// As large as a template gets, with sides of 14 bits.
fn largest() -> Template {
    let mut random = Random(5);
    let minutiae = (0..255).map(|_| {
        let (x, y) = (random.below(16_383) as u16, random.below(16_383) as u16);
        minutia(x, y, random.below(256) as u8, random.below(2) == 0, random.below(101) as u8)
    });
    let minutiae = minutiae.collect();
    let engine = Engine::new("a-name-of-thirty-two-bytes.1.2.3", 0xFFFF);
    Template::new(engine, 16_383, 16_383, Quality::new(100), minutiae).unwrap()
}

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let few = |count: usize| {
        let minutiae = three(ENGINE).minutiae()[..count].to_vec();
        Template::new(ENGINE, 300, 400, Quality::new(1), minutiae).unwrap().to_bytes()
    };
    let point = Template::new(ENGINE, 1, 1, Quality::new(0), vec![minutia(0, 0, 1, false, 1); 9]).unwrap();
    vec![
        ("layout1.template", unhex(OLD)),
        ("layout2.template", unhex(GOLDEN)),
        ("foreign.template", three(FOREIGN_ENGINE).to_bytes()),
        ("empty.template", few(0)),
        ("one.template", few(1)),
        ("point.template", point.to_bytes()),
        ("largest.template", largest().to_bytes()),
    ]
}

/// What is read is written in the same bytes, or was of layout 1.
fn check(bytes: &[u8]) -> Result<(), TemplateError> {
    let template = Template::from_bytes(bytes)?;
    let again = template.to_bytes();
    assert!(again == bytes || bytes[2] == 1);
    assert!(Template::from_bytes(&again).is_ok_and(|read| read == template));
    Ok(())
}

#[test]
fn golden_layout_2() {
    assert_eq!(three(ENGINE).to_bytes(), unhex(GOLDEN));
    let read = Template::from_bytes(&unhex(GOLDEN)).unwrap();
    assert!(read == three(ENGINE));
    assert_eq!((read.engine().name(), read.engine_version()), (ENGINE_NAME, 2));
}

#[test]
fn layout_1_stays_readable() {
    let read = Template::from_bytes(&unhex(OLD)).unwrap();
    assert!(read == three(Engine::new(ENGINE_NAME, 2)));
    let mut foreign = unhex(OLD);
    foreign[3..5].copy_from_slice(&FOREIGN_ENGINE_VERSION.to_be_bytes());
    assert_eq!(*Template::from_bytes(&foreign).unwrap().engine(), FOREIGN_ENGINE);
}

#[test]
fn engines_are_named_within_their_form() {
    let made = |name| Template::new(Engine::new(name, 1), 9, 9, Quality::new(1), vec![]);
    assert!(made("learned-2.1").is_ok_and(|template| template.engine().to_string() == "learned-2.1/1"));
    for name in ["", "Upper", "two words", "a/b", "ü", "x\n", "a-name-that-has-thirty-three-bytes"] {
        assert!(made(name).is_err_and(|error| error == TemplateError::BadField), "{name:?}");
    }
}

#[test]
fn every_prefix_and_every_longer_form_is_refused() {
    for (name, bytes) in samples() {
        check(&bytes).unwrap();
        for length in 0..bytes.len() {
            assert!(Template::from_bytes(&bytes[..length]).is_err(), "{name} cut to {length}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Template::from_bytes(&longer).unwrap_err(), TemplateError::BadLength, "{name}");
    }
}

#[test]
fn lies_about_lengths_are_refused() {
    let refused = |at: usize, value: u8| {
        let mut bytes = unhex(GOLDEN);
        bytes[at] = value;
        Template::from_bytes(&bytes).unwrap_err()
    };
    let count = unhex(GOLDEN).len() - 14;
    for value in (0..=255).filter(|value| *value != 3) {
        assert_eq!(refused(count, value), TemplateError::BadLength, "{value} minutiae");
    }
    for value in (0..=255).filter(|value| *value != 19) {
        let error = refused(5, value);
        assert!([TemplateError::BadLength, TemplateError::BadField].contains(&error), "a name of {value} bytes");
    }
    // Sides of other widths in bits, up to those no template has.
    for (at, value) in [(25, 0x11), (25, 0), (27, 0xFF), (28, 1)] {
        let error = refused(at, value);
        assert!([TemplateError::BadLength, TemplateError::BadField].contains(&error), "side {value} at {at}");
    }
}

#[test]
fn other_forms_of_the_same_template_are_refused() {
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = unhex(GOLDEN);
        change(&mut bytes);
        Template::from_bytes(&bytes).unwrap_err()
    };
    assert_eq!(with(|bytes| bytes[2] = 3), TemplateError::UnsupportedLayout(3));
    assert_eq!(with(|bytes| bytes[2] = 0), TemplateError::UnsupportedLayout(0));
    assert_eq!(with(|bytes| bytes[0] = b'X'), TemplateError::BadMagic);
    assert_eq!(with(|bytes| bytes[6] = b'R'), TemplateError::BadField);
    assert_eq!(with(|bytes| *bytes.last_mut().unwrap() |= 1), TemplateError::BadField, "unused bits");
    let mut swapped = unhex(OLD);
    swapped[11..23].rotate_left(6);
    assert_eq!(Template::from_bytes(&swapped).unwrap_err(), TemplateError::BadField, "another order");
}

/// The seeds of the fuzz target `template` are this file's; whatever else lies there was found once and is tried again. Each
/// is tried as it is, and with bytes changed, cut and repeated.
#[test]
fn the_corpus_is_replayed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/template");
    for (name, bytes) in samples() {
        if std::env::var_os("RIDGELINE_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), &bytes).unwrap();
        }
        assert!(std::fs::read(folder.join(name)).unwrap() == bytes, "{name} is written otherwise than before");
    }
    let mut random = Random(2);
    let (mut read, mut refused) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let original = std::fs::read(entry.unwrap().path()).unwrap();
        let _ = check(&original);
        for _ in 0..2_000 {
            let mut bytes = original.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                match random.below(8) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes.extend_from_within(at..),
                    _ => bytes[at] = random.below(256) as u8,
                }
            }
            match check(&bytes) {
                Ok(()) => read += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read > 500 && refused > 5_000, "{read} read, {refused} refused");
}
