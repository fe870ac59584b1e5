//! Minutiae records: round trips, foreign templates against own ones, hostile bytes.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use ridgeline_fingerprint::formats::{
    FOREIGN_ENGINE, MAX_RECORD_BYTES, MinutiaType, Record, RecordError, RecordFamily, RecordFormat,
    UNREPORTED_MINUTIA_QUALITY, UNREPORTED_QUALITY,
};
use ridgeline_fingerprint::{Candidate, ENGINE, Minutia, MinutiaKind, Probe, Quality, Template, compare};

/// A generator of its own, so that a case can be named by its number for ever.
struct Numbers(u32);

impl Numbers {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % end
    }
}

fn template(seed: u32, count: usize) -> Template {
    let mut numbers = Numbers(seed.wrapping_mul(2_654_435_761).wrapping_add(77));
    let mut minutiae: Vec<Minutia> = Vec::new();
    while minutiae.len() < count {
        let (x, y) = (20 + numbers.below(360) as u16, 20 + numbers.below(460) as u16);
        let near = |m: &Minutia| m.x.abs_diff(x) < 12 && m.y.abs_diff(y) < 12;
        let direction = numbers.below(256) as u8;
        let kind = if numbers.below(2) == 0 { MinutiaKind::Ending } else { MinutiaKind::Bifurcation };
        let quality = 1 + numbers.below(100) as u8;
        if count > 100 || !minutiae.iter().any(near) {
            minutiae.push(Minutia { x, y, direction, kind, quality });
        }
    }
    Template::new(ENGINE, 400, 500, Quality::new(73), minutiae).unwrap()
}

/// Two fingers in one record; the second has extended data.
fn record(format: RecordFormat) -> Record {
    let mut record = Record::of_template(format, &template(1, 30), 2).unwrap();
    let mut other = Record::of_template(format, &template(2, 25), 7).unwrap().views.remove(0);
    let extension = |kind, data: &[u8]| ridgeline_fingerprint::formats::Extension { kind, data: data.to_vec().into() };
    other.extensions = vec![extension(1, &[1, 0, 1, 5]), extension(0x0221, b"vendor")];
    other.minutiae[3].kind = MinutiaType::Other;
    record.views.push(other);
    record
}

fn score(a: &Template, b: &Template) -> f32 {
    compare(&Probe::new(a), &Candidate::new(b)).value()
}

fn there_and_back(format: RecordFormat, template: &Template) -> Template {
    let bytes = Record::of_template(format, template, 1).unwrap().encode().unwrap();
    let record = Record::decode(&bytes, Some(format.family())).unwrap();
    assert_eq!(record.format, format);
    record.views[0].to_template(format).unwrap()
}

#[test]
fn own_templates_survive_every_format() {
    for format in RecordFormat::ALL {
        let own = template(5, 60);
        let back = there_and_back(format, &own);
        assert_eq!((back.width(), back.height(), back.quality()), (400, 500, Quality::new(73)), "{format}");
        assert_eq!(*back.engine(), FOREIGN_ENGINE);
        let unit = if format.family() == RecordFamily::Ansi378 { 1 } else { 0 };
        for (a, b) in own.minutiae().iter().zip(back.minutiae()) {
            assert!((a.x, a.y, a.kind, a.quality) == (b.x, b.y, b.kind, b.quality), "{format}");
            let turn = a.direction.wrapping_sub(b.direction);
            assert!(turn.min(turn.wrapping_neg()) <= unit, "{format}");
        }
    }
}

#[test]
fn foreign_templates_match_own_ones_and_nobody_elses() {
    for format in RecordFormat::ALL {
        for seed in 10..20 {
            let own = template(seed, 40);
            let foreign = there_and_back(format, &own);
            let itself = score(&own, &own);
            assert!(score(&own, &foreign) > 0.95 * itself && score(&foreign, &own) > 0.95 * itself, "{format} {seed}");
            for other in 20..30 {
                assert!(score(&template(other, 40), &foreign) < 0.25 * itself, "{format} {seed} {other}");
            }
        }
    }
}

#[test]
fn records_are_read_as_they_were_written() {
    for format in RecordFormat::ALL {
        let written = record(format);
        let bytes = written.encode().unwrap();
        for family in [None, Some(format.family())] {
            assert!(Record::decode(&bytes, family).unwrap() == written, "{format}");
        }
        let other = match format.family() {
            RecordFamily::Iso19794 => RecordFamily::Ansi378,
            RecordFamily::Ansi378 => RecordFamily::Iso19794,
        };
        let refused = Record::decode(&bytes, Some(other));
        // The amendment has a version of its own.
        assert_eq!(refused.unwrap_err(), RecordError::OtherStandard { found: format });
        assert_eq!(format.name().parse(), Ok(format));
    }
    assert_eq!("iso".parse::<RecordFormat>(), Err(RecordError::UnknownFormat));
}

#[test]
fn every_prefix_and_every_suffix_is_refused() {
    for format in RecordFormat::ALL {
        let bytes = record(format).encode().unwrap();
        for length in 0..bytes.len() {
            for family in [None, Some(RecordFamily::Iso19794), Some(RecordFamily::Ansi378)] {
                assert!(Record::decode(&bytes[..length], family).is_err(), "{format} cut to {length}");
            }
            let expected = if length == 0 { RecordError::NotARecord } else { RecordError::Truncated };
            assert_eq!(
                Record::decode(&bytes[..length], Some(format.family())).unwrap_err(),
                expected,
                "{format} {length}"
            );
        }
        let mut longer = bytes.clone();
        longer.push(0);
        let refused = Record::decode(&longer, Some(format.family())).unwrap_err();
        // A header may count too few bytes, but for ISO 2011; there it is the parts that show the surplus.
        let expected = match format {
            RecordFormat::Iso2011 => RecordError::BadLength { actual: longer.len() },
            _ => RecordError::Trailing { bytes: 1 },
        };
        assert_eq!(refused, expected, "{format}");
    }
}

#[test]
fn records_are_converted_between_all_formats() {
    for from in RecordFormat::ALL {
        for to in RecordFormat::ALL {
            let original = record(from);
            let converted = original.converted(to).unwrap();
            let read = Record::decode(&converted.encode().unwrap(), Some(to.family())).unwrap();
            assert!(read == converted && read.format == to && read.views.len() == 2, "{from} to {to}");
            for (a, b) in original.views.iter().zip(&read.views) {
                assert_eq!((a.position, a.quality(), a.resolution_x), (b.position, b.quality(), b.resolution_x));
                let (a, b) = (a.to_template(from).unwrap(), b.to_template(to).unwrap());
                assert!(score(&a, &b) > 0.95 * score(&a, &a), "{from} to {to}");
            }
        }
    }
    let mut unrated = record(RecordFormat::Iso2011);
    unrated.views[0].qualities.clear();
    unrated.views[0].minutiae[0].quality = 254;
    assert!(matches!(unrated.converted(RecordFormat::Iso2005), Err(RecordError::Inexpressible { .. })));
    let ansi = unrated.converted(RecordFormat::Ansi2009).unwrap();
    assert_eq!((ansi.views[0].quality(), ansi.views[0].minutiae[0].quality), (None, 254));
    assert_eq!(ansi.converted(RecordFormat::Iso2011).unwrap().views[0].quality(), None);
}

/// Where the record's own length stands.
fn length_field(format: RecordFormat) -> std::ops::Range<usize> {
    if format == RecordFormat::Ansi2004 { 8..10 } else { 8..12 }
}

fn with_length(format: RecordFormat, mut bytes: Vec<u8>) -> Vec<u8> {
    let field = length_field(format);
    let length = (bytes.len() as u32).to_be_bytes();
    let width = field.len();
    bytes[field].copy_from_slice(&length[4 - width..]);
    bytes
}

#[test]
fn lying_lengths_and_counts_are_refused() {
    for format in RecordFormat::ALL {
        let bytes = record(format).encode().unwrap();
        let family = Some(format.family());
        for (value, expected) in [
            (bytes.len() + 1, RecordError::Truncated),
            (bytes.len() - 5, RecordError::BadLength { actual: bytes.len() }),
            (7, RecordError::BadLength { actual: bytes.len() }),
        ] {
            let mut lying = bytes.clone();
            let field = length_field(format);
            let width = field.len();
            lying[field].copy_from_slice(&(value as u32).to_be_bytes()[4 - width..]);
            assert_eq!(Record::decode(&lying, family).unwrap_err(), expected, "{format}");
        }
        let count_at = match format {
            RecordFormat::Iso2005 => 22,
            RecordFormat::Iso2011 => 13,
            RecordFormat::Ansi2004 => 24,
            RecordFormat::Ansi2009 | RecordFormat::Ansi2009Am1 => 19,
        };
        assert_eq!(bytes[count_at], 2, "{format}");
        for count in [0, 1, 3, 255] {
            let mut lying = bytes.clone();
            lying[count_at] = count;
            assert!(Record::decode(&lying, family).is_err(), "{format}: {count} views");
        }
        let tail = with_length(format, [bytes.as_slice(), &[0; 5]].concat());
        assert!(Record::decode(&tail, family).is_err(), "{format}: bytes after the last view");
        let minutiae_at = bytes.len() - 2 - (4 + 4 + 4 + 6) - 25 * 6 - 1;
        assert_eq!(bytes[minutiae_at], 25, "{format}");
        for count in [0, 24, 26, 255] {
            let mut lying = bytes.clone();
            lying[minutiae_at] = count;
            assert!(Record::decode(&lying, family).is_err(), "{format}: {count} minutiae");
        }
    }
}

#[test]
fn fields_outside_their_range_are_refused() {
    let refused = |bytes: &[u8]| Record::decode(bytes, None).unwrap_err();
    for format in RecordFormat::ALL {
        let bytes = record(format).encode().unwrap();
        let last = bytes.len() - 2 - 18 - 6;
        let change = |at: usize, to: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = to;
            bytes
        };
        assert_eq!(refused(&change(last, 0xC0)), RecordError::BadField("type of a minutia"), "{format}");
        assert_eq!(refused(&change(last, 0x7F)), RecordError::OutsideImage, "{format}: x");
        assert_eq!(refused(&change(last + 2, 0x3F)), RecordError::OutsideImage, "{format}: y");
        assert_eq!(refused(&change(bytes.len() - 7, 99)), RecordError::BadExtension, "{format}");
        let mut outside = record(format);
        outside.views[0].minutiae[0].x = 400;
        assert_eq!(outside.encode().unwrap_err(), RecordError::OutsideImage);
    }
    let mut iso = record(RecordFormat::Iso2005).encode().unwrap();
    iso[24] = 11;
    assert_eq!(refused(&iso), RecordError::BadField("finger position"));
    iso[24] = 0;
    iso[18..20].copy_from_slice(&[0, 0]);
    assert_eq!(refused(&iso), RecordError::BadField("resolution"));
    iso[14..16].copy_from_slice(&[0, 0]);
    assert_eq!(refused(&iso), RecordError::BadField("image size"));
}

#[test]
fn unsupported_records_say_what_was_found() {
    let text = |bytes: &[u8]| Record::decode(bytes, None).unwrap_err().to_string();
    let of = |format: &str, version: &str| {
        format!("records of format \"{format}\" and version \"{version}\" are not supported")
    };
    assert_eq!(text(b"FMR\0 40\0............"), of("FMR", " 40"));
    assert_eq!(text(b"FIR\x00010\0............"), of("FIR", "010"));
    assert_eq!(text(b"FMR\0\xFF\n1\0............"), of("FMR", "\\xff\\n1"));
    let unread = [b"".as_slice(), b"\0\0\0\0\0\0\0\0", b"hello, world", b"\x89PNG\r\n\x1a\n", b"FMX"];
    for bytes in unread {
        assert_eq!(Record::decode(bytes, None).unwrap_err(), RecordError::NotARecord, "{bytes:?}");
    }
    assert_eq!(Record::decode(&[0x7F, 0x2E, 0x82, 1, 2], None).unwrap_err(), RecordError::CardFormat);
    let large = vec![0; MAX_RECORD_BYTES + 1];
    assert_eq!(Record::decode(&large, None).unwrap_err(), RecordError::TooLarge { max: MAX_RECORD_BYTES });
}

#[test]
fn no_minutiae_and_255_minutiae_are_carried() {
    for format in RecordFormat::ALL {
        for count in [0, 1, 2, 255] {
            let own = template(3, count);
            assert_eq!(there_and_back(format, &own).minutiae().len(), own.minutiae().len(), "{format}");
            let _ = score(&own, &there_and_back(format, &own));
        }
        let mut full = Record::of_template(format, &template(3, 255), 1).unwrap();
        let again = full.views[0].minutiae[0];
        full.views[0].minutiae.push(again);
        assert!(matches!(full.encode().unwrap_err(), RecordError::Inexpressible { .. }), "{format}");
        full.views.clear();
        assert_eq!(full.encode().unwrap_err(), RecordError::NoViews);
        assert!(Record::of_template(format, &template(3, 5), 11).is_err());
    }
}

/// A record longer than two bytes can count.
#[test]
fn ansi_2004_lengths_of_six_bytes() {
    let mut long = record(RecordFormat::Ansi2004);
    let extension = long.views[1].extensions[1].clone();
    for view in &mut long.views {
        let mut large = extension.clone();
        large.data = vec![7; 60_000].into();
        view.extensions = vec![large];
    }
    let bytes = long.encode().unwrap();
    assert!(bytes.len() > 120_000 && bytes[8..10] == [0, 0]);
    for family in [None, Some(RecordFamily::Ansi378)] {
        assert!(Record::decode(&bytes, family).unwrap() == long);
    }
}

#[test]
fn resolutions_and_unreported_qualities_are_converted() {
    let mut record = Record::of_template(RecordFormat::Iso2011, &template(8, 20), 0).unwrap();
    let view = &mut record.views[0];
    view.minutiae.truncate(1);
    view.minutiae[0].x = 200;
    view.minutiae[0].y = 400;
    let mut placed = |per_cm: u16| {
        (view.resolution_x, view.resolution_y) = (per_cm, per_cm);
        view.to_template(RecordFormat::Iso2011).map(|t| (t.width(), t.height(), t.minutiae()[0].x, t.minutiae()[0].y))
    };
    for exact in [196, 197] {
        assert_eq!(placed(exact).unwrap(), (400, 500, 200, 400));
    }
    for thousand in [393, 394] {
        assert_eq!(placed(thousand).unwrap(), (200, 250, 100, 200));
    }
    assert_eq!(placed(98).unwrap(), (800, 1000, 400, 800));
    // 118 pixels per cm are 299.72 dpi.
    assert_eq!(placed(118).unwrap(), (667, 834, 334, 667));
    for outside in [97, 474] {
        assert_eq!(placed(outside).unwrap_err(), RecordError::Resolution { per_cm: outside });
    }
    view.resolution_x = 197;
    view.resolution_y = 200;
    assert_eq!(view.to_template(RecordFormat::Iso2011).unwrap_err(), RecordError::UnevenResolution);
    view.resolution_y = 197;
    view.qualities[0].value = 254;
    view.minutiae[0].quality = 255;
    let template = view.to_template(RecordFormat::Iso2011).unwrap();
    assert_eq!(template.quality().value(), UNREPORTED_QUALITY);
    assert_eq!(template.minutiae()[0].quality, UNREPORTED_MINUTIA_QUALITY);
    view.qualities.clear();
    assert_eq!(view.quality(), None);
    view.width = 60_000;
    view.resolution_x = 98;
    view.resolution_y = 98;
    assert_eq!(view.to_template(RecordFormat::Iso2011).unwrap_err(), RecordError::TooLargeImage);
}

#[test]
fn nothing_of_a_finger_is_printed() {
    let record = record(RecordFormat::Ansi2009);
    assert_eq!(format!("{:?} {:?}", record.views[1], record.views[1].minutiae[0]), "View(25 minutiae) RecordMinutia");
    assert_eq!(format!("{:?}", record.views[1].extensions[1]), "Extension(6 bytes)");
}

/// 40 000 damaged records: an error or a record that can be written and read again, never a panic.
#[test]
fn damaged_records_never_panic() {
    let mut numbers = Numbers(20_240_607);
    let whole: Vec<Vec<u8>> = RecordFormat::ALL.iter().map(|format| record(*format).encode().unwrap()).collect();
    let (mut read, mut converted) = (0, 0);
    for _ in 0..40_000 {
        let mut bytes = whole[numbers.below(5) as usize].clone();
        for _ in 0..1 + numbers.below(4) {
            // Half of the damage goes to the headers, where it decides most.
            let end = if numbers.below(2) == 0 { 40 } else { bytes.len() as u32 };
            let at = numbers.below(end.min(bytes.len() as u32)) as usize;
            match numbers.below(6) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.insert(at, numbers.below(256) as u8),
                2 => bytes[at] ^= 1 << numbers.below(8),
                3 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][numbers.below(5) as usize],
                _ => bytes[at] = numbers.below(256) as u8,
            }
        }
        for family in [None, Some(RecordFamily::Iso19794), Some(RecordFamily::Ansi378)] {
            let Ok(record) = Record::decode(&bytes, family) else { continue };
            read += 1;
            let again = record.encode().unwrap();
            assert!(Record::decode(&again, family).unwrap() == record);
            converted += record.views.iter().filter(|view| view.to_template(record.format).is_ok()).count();
        }
    }
    assert!(read > 1_000 && converted > 1_000, "{read} read, {converted} converted");
}

/// The seeds of the fuzz target `record` are this file's records, so their bytes stay what they are; whatever else lies
/// there was found once and is tried again.
#[test]
fn the_corpus_is_replayed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/record");
    for format in RecordFormat::ALL {
        let seed = folder.join(format!("{}.fmr", format.name()));
        let bytes = record(format).encode().unwrap();
        if std::env::var_os("RIDGELINE_BLESS").is_some() {
            std::fs::write(&seed, &bytes).unwrap();
        }
        assert!(std::fs::read(&seed).unwrap() == bytes, "{format} is written otherwise than before");
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for family in [None, Some(RecordFamily::Iso19794), Some(RecordFamily::Ansi378)] {
            let Ok(record) = Record::decode(&bytes, family) else { continue };
            assert!(Record::decode(&record.encode().unwrap(), family).unwrap() == record);
            RecordFormat::ALL.iter().for_each(|format| drop(record.converted(*format)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn garbage_is_refused(version in 0..4_usize, garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
        let version = [b" 20\0", b"030\0", b"035\0", b"020\0"][version];
        let bytes = [b"FMR\0".as_slice(), version, &garbage].concat();
        for family in [None, Some(RecordFamily::Iso19794), Some(RecordFamily::Ansi378)] {
            let _ = Record::decode(&bytes, family);
            let _ = Record::decode(&garbage, family);
        }
    }

    #[test]
    fn directions_survive_within_the_unit(direction in any::<u8>()) {
        let one = Minutia { x: 5, y: 6, direction, kind: MinutiaKind::Ending, quality: 40 };
        let own = Template::new(ENGINE, 10, 10, Quality::new(9), vec![one]).unwrap();
        for format in RecordFormat::ALL {
            let back = there_and_back(format, &own).minutiae()[0].direction.wrapping_sub(direction);
            let off = back.min(back.wrapping_neg());
            prop_assert!(off <= u8::from(format.family() == RecordFamily::Ansi378));
        }
    }
}
