//! Published minutiae records: every field of their descriptions, and what their editions have in common.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::path::PathBuf;

use ridgeline_fingerprint::formats::{MinutiaType, Record, RecordFormat, View};
use ridgeline_fingerprint::{Candidate, Probe, Template, compare};
use serde_json::Value;

fn score(a: &Template, b: &Template) -> f32 {
    compare(&Probe::new(a), &Candidate::new(b)).value()
}

/// The samples are read where RIDGELINE_TEST_DATA names the folder that holds `templates/`.
fn samples() -> Option<PathBuf> {
    let Ok(root) = std::env::var("RIDGELINE_TEST_DATA") else {
        println!("skipped: RIDGELINE_TEST_DATA is not set");
        return None;
    };
    Some(PathBuf::from(root).join("templates"))
}

const FINGERS: [&str; 11] = [
    "UNKNOWN",
    "RIGHT_THUMB",
    "RIGHT_INDEX",
    "RIGHT_MIDDLE",
    "RIGHT_RING",
    "RIGHT_LITTLE",
    "LEFT_THUMB",
    "LEFT_INDEX",
    "LEFT_MIDDLE",
    "LEFT_RING",
    "LEFT_LITTLE",
];

#[test]
fn published_samples_have_the_fields_of_their_descriptions() {
    let Some(folder) = samples() else { return };
    for (name, format) in [
        ("iso19794p2v2005", RecordFormat::Iso2005),
        ("iso19794p2v2011", RecordFormat::Iso2011),
        ("ansi378v2004", RecordFormat::Ansi2004),
        ("ansi378v2009", RecordFormat::Ansi2009),
        ("ansi378v2009am1", RecordFormat::Ansi2009Am1),
    ] {
        let bytes = std::fs::read(folder.join(format!("{name}-sample.dat"))).unwrap();
        let json: Value =
            serde_json::from_slice(&std::fs::read(folder.join(format!("{name}-sample.json"))).unwrap()).unwrap();
        let record = Record::decode(&bytes, None).unwrap();
        assert_eq!(record.format, format);
        let fingers = json["fingerprints"].as_array().unwrap();
        assert_eq!(record.views.len(), fingers.len());
        for (view, finger) in record.views.iter().zip(fingers) {
            same_view(&record, view, &json, finger);
            assert_eq!(view.to_template(format).unwrap().minutiae().len(), view.minutiae.len());
        }
        let mut written = record.encode().unwrap();
        written[4] = bytes[4];
        if format == RecordFormat::Ansi2009 {
            // The sample declares one byte too few.
            assert_eq!((written[11], bytes[11]), (0x6C, 0x6B));
            written[11] = 0x6B;
        }
        if format == RecordFormat::Ansi2004 {
            // The sample declares two bytes too few.
            assert_eq!((written[9], bytes[9]), (0x56, 0x54));
            written[9] = 0x54;
        }
        if format == RecordFormat::Iso2005 {
            // The sample counts the length of its block of extended data without the header.
            let at = written.len() - 7;
            assert_eq!((written[at], bytes[at]), (10, 6));
            written[at] = 6;
        }
        assert!(written == bytes, "{name}");
        assert!(Record::decode(&record.encode().unwrap(), None).unwrap() == record, "{name}");
    }
}

/// Each field of the description, wherever the edition keeps it.
fn same_view(record: &Record, view: &View, json: &Value, finger: &Value) {
    let mut seen = 0;
    let mut number = |name: &str, value: u64| {
        let field = if finger[name].is_null() { &json[name] } else { &finger[name] };
        if !field.is_null() {
            assert_eq!(field.as_u64().unwrap(), value, "{name}");
            seen += 1;
        }
    };
    number("width", view.width.into());
    number("height", view.height.into());
    number("resolutionX", view.resolution_x.into());
    number("resolutionY", view.resolution_y.into());
    number("view", view.number.into());
    number("sensorId", view.device.id.into());
    number("sensorVendor", view.device.vendor.into());
    number("vendorId", record.owner.into());
    number("subformat", record.product.into());
    number("quality", view.qualities[0].value.into());
    number("qualityVendorId", view.qualities[0].vendor.into());
    number("qualityAlgorithmId", view.qualities[0].algorithm.into());
    assert!(seen >= 6, "a description names at least six numbers");
    assert_eq!(finger["position"], FINGERS[usize::from(view.position)]);
    assert_eq!(finger["scanType"], "LIVE_PLAIN");
    assert_eq!(view.impression, 0);
    assert_eq!(view.device.compliance, 0);
    if record.format == RecordFormat::Iso2011 {
        let time = &finger["datetime"];
        let captured = view.captured;
        assert_eq!(
            (time["year"].as_u64(), time["month"].as_u64()),
            (Some(captured.year.into()), Some(captured.month.into()))
        );
        assert_eq!(
            (time["day"].as_u64(), time["hour"].as_u64()),
            (Some(captured.day.into()), Some(captured.hour.into()))
        );
        assert_eq!(
            (time["minute"].as_u64(), time["second"].as_u64()),
            (Some(captured.minute.into()), Some(captured.second.into()))
        );
        assert_eq!(time["millisecond"].as_u64(), Some(captured.millisecond.into()));
        let quality = &finger["qrecords"][0];
        assert_eq!(quality["quality"].as_u64(), Some(view.qualities[0].value.into()));
        assert_eq!(quality["vendor"].as_u64(), Some(view.qualities[0].vendor.into()));
        assert_eq!(quality["algorithm"].as_u64(), Some(view.qualities[0].algorithm.into()));
        assert_eq!((view.device.technology, view.ending_place, view.certificates.len()), (0, 0, 0));
    }
    let minutiae = finger["minutiae"].as_array().unwrap();
    assert_eq!(minutiae.len(), view.minutiae.len());
    for (json, minutia) in minutiae.iter().zip(view.minutiae.iter()) {
        let kind = match json["type"].as_str().unwrap() {
            "ENDING" => MinutiaType::Ending,
            "BIFURCATION" => MinutiaType::Bifurcation,
            _ => MinutiaType::Other,
        };
        assert!(kind == minutia.kind);
        assert_eq!(json["positionX"].as_u64(), Some(minutia.x.into()));
        assert_eq!(json["positionY"].as_u64(), Some(minutia.y.into()));
        assert_eq!(json["angle"].as_u64(), Some(minutia.angle.into()));
        assert_eq!(json["quality"].as_u64(), Some(minutia.quality.into()));
    }
    same_extensions(view, finger);
}

fn same_extensions(view: &View, finger: &Value) {
    let mut expected = Vec::new();
    if let Some(edges) = finger["counts"]["edges"].as_array() {
        assert_eq!(finger["counts"]["type"], "QUADRANTS");
        let edge = |edge: &Value| ["from", "to", "count"].map(|name| edge[name].as_u64().unwrap() as u8);
        let data: Vec<u8> = std::iter::once(1).chain(edges.iter().flat_map(edge)).collect();
        expected.push((1, data));
    }
    for extension in finger["extensions"].as_array().unwrap() {
        // Base64 of the one sample that has any: 01 44 BC 36 21 43.
        assert_eq!(extension["data"], "AUS8NiFD");
        expected.push((extension["type"].as_u64().unwrap() as u16, vec![1, 0x44, 0xBC, 0x36, 0x21, 0x43]));
    }
    let mut found: Vec<(u16, Vec<u8>)> = view.extensions.iter().map(|e| (e.kind, e.data.to_vec())).collect();
    for (_, data) in found.iter_mut().filter(|(kind, _)| *kind == 1) {
        // A description lists whole edges; one sample has two bytes of another.
        data.truncate(data.len() - (data.len() - 1) % 3);
    }
    assert_eq!(found, expected);
}

#[test]
fn worked_examples_of_the_standards_are_read() {
    let Some(folder) = samples() else { return };
    let read = |name: &str| {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        (Record::decode(&bytes, None).unwrap(), bytes)
    };
    for (name, format, counts, extensions) in [
        ("ansi378-2004-appendix-b2.fmr", RecordFormat::Ansi2004, vec![27, 22], vec![0, 1]),
        ("iso19794-2-2005-appendix-c2.fmr", RecordFormat::Iso2005, vec![27, 22], vec![0, 1]),
        ("fmr.ansi2004", RecordFormat::Ansi2004, vec![27, 22, 28], vec![0, 1, 2]),
        ("fmr.ansi2007", RecordFormat::Ansi2009, vec![27, 22], vec![0, 1]),
        // Its extended data claim one byte more than there is.
        ("fmr.iso2005", RecordFormat::Iso2005, vec![27, 22], vec![0, 0]),
    ] {
        let (record, bytes) = read(name);
        assert_eq!(record.format, format, "{name}");
        assert_eq!(record.views.iter().map(|view| view.minutiae.len()).collect::<Vec<_>>(), counts, "{name}");
        assert_eq!(record.views.iter().map(|view| view.extensions.len()).collect::<Vec<_>>(), extensions, "{name}");
        assert_eq!(record.views[0].device.id, 0xB5, "{name}");
        assert_eq!((record.views[0].position, record.views[1].position), (7, 2), "{name}");
        assert_eq!((record.views[0].quality(), record.views[1].quality()), (Some(90), Some(70)), "{name}");
        let first = record.views[0].minutiae[0];
        assert_eq!((first.x, first.y, first.quality), (100, 14, 90), "{name}");
        // 0x38 units of 2 degrees and 0x50 units of 1/256 of a turn are the same direction.
        let direction = record.views[0].to_template(format).unwrap();
        let direction = direction.minutiae().iter().find(|m| (m.x, m.y) == (100, 14)).unwrap().direction;
        assert_eq!(direction, 0x50, "{name}");
        let written = record.encode().unwrap();
        assert!(Record::decode(&written, None).unwrap() == record);
        match name {
            // A draft: its header is one byte shorter.
            "fmr.ansi2007" => assert_eq!(written.len(), bytes.len() + 1),
            // Two bytes more than its parts.
            "fmr.ansi2004" => assert!(written[10..] == bytes[10..bytes.len() - 2]),
            "fmr.iso2005" => assert!(written[12..written.len() - 2] == bytes[12..328]),
            // Declares one byte too few.
            "iso19794-2-2005-appendix-c2.fmr" => assert!(written[..11] == bytes[..11] && written[12..] == bytes[12..]),
            _ => assert!(written == bytes, "{name}"),
        }
    }
    let (ansi, _) = read("fmr.ansi2004");
    assert_eq!((ansi.views[2].position, ansi.views[2].number, ansi.views[2].impression), (3, 0, 1));
    // The same two fingers in all standards: what differs is rounding of angles.
    let one = |name: &str| {
        let (record, _) = read(name);
        record.views[0].to_template(record.format).unwrap()
    };
    let (iso, ansi) = (one("iso19794-2-2005-appendix-c2.fmr"), one("ansi378-2004-appendix-b2.fmr"));
    assert!(score(&iso, &ansi) > 0.8 * score(&iso, &iso));
}
