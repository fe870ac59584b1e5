//! Every topic × example: today's code reads the committed bytes and writes the same ones.
//!
//! Committed examples live for ever (old consumers' bytes must stay readable). `RIDGELINE_BLESS=1` writes the missing ones.

mod auth;

use std::path::PathBuf;

use ridgeline_domain::{
    DecidedOperation, ErrorCode, Liveness, Modality, Operation, Outcome, Position, Reason, RequestId, Timestamp,
};
use ridgeline_wire::message::{
    Audit, Coverage, DeadLetter, Decision, Gallery, GalleryFilter, Opened, Partial, PartialCandidate, Partials, Probe,
    Scan, SealedPart,
};
use ridgeline_wire::{Encoded, Topic, WireError, decode, encode, schema_of, schemas};

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn id() -> RequestId {
    RequestId::from_bytes(*b"0123456789abcdef")
}

fn example_path(topic: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../schemas/{topic}/v1/examples/{name}.hex"))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.chunks(40).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n").collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn golden<T: Encoded + PartialEq>(name: &str, value: &T) {
    let path = example_path(T::NAME, name);
    let bytes = encode(value).unwrap();
    if !path.exists() && std::env::var_os("RIDGELINE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, to_hex(&bytes)).unwrap();
    }
    let committed =
        from_hex(&std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{} is missing", path.display())));
    assert!(bytes == committed, "{}/{name} is no longer written as committed", T::NAME);
    assert!(decode::<T>(&committed).unwrap() == *value, "{}/{name} is no longer read as committed", T::NAME);
    hostile::<T>(&committed);
}

/// Every prefix, a longer value, a foreign frame: an error, never a panic, never a value.
fn hostile<T: Encoded>(bytes: &[u8]) {
    for end in 0..bytes.len() {
        assert!(decode::<T>(&bytes[..end]).is_err(), "{} decodes from {end} bytes", T::NAME);
    }
    assert!(matches!(decode::<T>(&[bytes, &[0]].concat()), Err(WireError::Trailing(_))));
    let mut foreign = bytes.to_vec();
    foreign[4] ^= 0x55;
    assert!(matches!(decode::<T>(&foreign), Err(WireError::UnknownSchema(_))));
    foreign[0] = 1;
    assert_eq!(decode::<T>(&foreign).err(), Some(WireError::NoFrame));
    for at in 5..bytes.len() {
        let mut bent = bytes.to_vec();
        bent[at] ^= 0xff;
        let _ = decode::<T>(&bent);
    }
}

fn scan() -> Scan {
    let part = |byte| SealedPart { key_id: "matchers-1".into(), sealed: vec![byte; 80] };
    Scan {
        request_id: id(),
        agent: "gateway:local".parse().unwrap(),
        reader: Some("lobby-2".parse().unwrap()),
        operation: Operation::Enrol,
        subject_id: Some("badge-17".parse().unwrap()),
        captured_at: T0,
        valid_until: Timestamp::from_millis(1_700_000_060_000),
        samples: vec![part(1), part(2)],
        details: Some(part(3)),
        ticket: None,
        agent_signature: vec![7; 64],
    }
}

#[test]
fn scans() {
    golden("enrol", &scan());
    let delete = Scan {
        operation: Operation::Delete,
        reader: None,
        samples: vec![],
        details: None,
        ticket: Some(vec![1, 2]),
        ..scan()
    };
    golden("delete-with-ticket", &delete);
    assert_eq!(scan().sealed_parts().map(|part| part[0]).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn gallery_and_probes() {
    let gallery = Gallery {
        subject_id: "badge-17".parse().unwrap(),
        version: 3,
        engine: "engine/1".into(),
        updated_at: T0,
        attributes: None,
        templates: vec![9; 30],
    };
    golden("two-templates", &gallery);
    let filter = GalleryFilter {
        departments: vec!["icu".into()],
        positions: vec![Position::RightIndex],
        subject_ids: vec!["a".parse().unwrap()],
        ..GalleryFilter::default()
    };
    let probe = Probe {
        request_id: id(),
        mode: "identify".into(),
        engine: "engine/1".into(),
        deadline: T0,
        gallery_offsets: vec![0, 5, 9],
        filter: Some(filter),
        top_k: 10,
        template: vec![8; 20],
    };
    golden("identify", &probe);
}

fn opened() -> Opened {
    Opened {
        mode: "identify".into(),
        operation: Operation::Identify,
        modality: Modality::Fingerprint,
        agent: "gateway:local".parse().unwrap(),
        reader: None,
        api_key: Some("k1".into()),
        engine: "engine/1".into(),
        quality: vec![71],
        liveness: Liveness::NotAssessed,
        threshold_confidence: Some(80.0),
        top_k: 10,
        accepted_at: T0,
        valid_until: T0,
        session_requested: false,
        gallery_offsets: vec![4, 0],
        wait_ms: 10_000,
    }
}

#[test]
fn partials() {
    golden("opened", &Partials { request_id: id(), opened: Some(opened()), partial: None });
    let candidate = PartialCandidate {
        subject_id: "badge-17".parse().unwrap(),
        position: Position::LeftThumb,
        fmr: 1e-7,
        partition: 1,
        replay: false,
    };
    let partial = Partial {
        shard: "gallery-1".into(),
        partitions: vec![0, 1],
        through_offsets: vec![4, 0],
        compared: vec![38, 0],
        candidates: vec![candidate],
    };
    golden("partial", &Partials { request_id: id(), opened: None, partial: Some(partial) });
}

fn decision() -> Decision {
    Decision {
        confirmation_id: id(),
        operation: DecidedOperation::Scan(Operation::Verify),
        modality: Some(Modality::Fingerprint),
        outcome: Outcome::Match,
        reason: None,
        subject_id: Some("badge-17".parse().unwrap()),
        agent: "gateway:local".parse().unwrap(),
        reader: None,
        quality: vec![80],
        confidence: Some(92.5),
        confidence_basis: Some("synthetic".into()),
        liveness: Liveness::NotAssessed,
        coverage: None,
        engine: "engine/1".into(),
        gallery_version: Some(3),
        session_requested: true,
        valid_until: T0,
        evaluated_at: T0,
        decided_at: T0,
        duration_ms: 41,
    }
}

#[test]
fn decisions() {
    golden("match", &decision());
    let incomplete = Decision {
        operation: DecidedOperation::Scan(Operation::Identify),
        outcome: Outcome::Incomplete,
        subject_id: None,
        confidence: None,
        confidence_basis: None,
        coverage: Some(Coverage { searched: 7, total: 8, templates: 900, missing: vec![3] }),
        gallery_version: None,
        ..decision()
    };
    golden("incomplete", &incomplete);
    let rejected = Decision {
        outcome: Outcome::Rejected,
        reason: Some(Reason::LowQuality),
        confidence: None,
        confidence_basis: None,
        ..decision()
    };
    golden("rejected", &rejected);
}

#[test]
fn audit_and_dead_letters() {
    let audit = Audit {
        event_id: format!("{}:audit", id()),
        event_type: "biometric.verify".into(),
        occurred_at: T0,
        request_id: Some(id()),
        actor: "gateway:local".into(),
        reader: None,
        subject_id: Some("badge-17".parse().unwrap()),
        operation: Some(Operation::Verify),
        outcome: "match".into(),
        reason: None,
        details: Some(vec![1, 2, 3]),
    };
    golden("match", &audit);
    golden(
        "refused",
        &Audit { event_type: "record.refused".into(), request_id: None, actor: "unverified".into(), ..audit },
    );
    let letter = DeadLetter {
        topic: "scans".into(),
        partition: 3,
        offset: 77,
        append_time: T0,
        role: "matcher".into(),
        code: ErrorCode::SignatureInvalid,
        detail: "signature does not verify".into(),
        attempts: 1,
        original: Some(vec![5; 12]),
    };
    golden("bad-signature", &letter);
}

/// D-1, P-1: the public decision carries no score of a non-match and no bytes at all.
#[test]
fn p1_public_schemas_have_no_room_for_templates() {
    ridgeline_testkit::covers!("R-166");
    for topic in Topic::ALL.iter().filter(|topic| topic.row().public) {
        let schema = schema_of(topic.row().schema).unwrap();
        for forbidden in ["template\"", "image", "sample", "token", "challenge", "metadata"] {
            assert!(!schema.contains(&format!("\"name\": \"{forbidden}")), "{forbidden} in {}", topic.row().name);
        }
    }
}

#[test]
fn every_schema_parses_and_every_topic_has_examples() {
    for (name, id) in schemas() {
        apache_avro::Schema::parse_str(schema_of(id).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for topic in Topic::ALL {
        let folder = example_path(topic.row().name, "x").parent().unwrap().to_owned();
        assert!(
            std::fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some()),
            "no example of {}",
            topic.row().name
        );
    }
}

#[test]
fn a_declared_length_beyond_the_limit_is_refused_before_it_is_allocated() {
    let mut bytes = encode(&scan()).unwrap()[..5].to_vec();
    bytes.extend([0xfe, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(decode::<Scan>(&bytes).is_err());
}
