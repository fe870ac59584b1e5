use bytes::Bytes;
use ridgeline_domain::{DeviceId, FamilyId, UserId};
use ridgeline_ports::{Offset, TopicName};

use super::*;

const DAY: DurationMs = DurationMs::from_days(1);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn raw(partition: u32, appended: i64, value: Option<Vec<u8>>) -> Record {
    Record {
        topic: TopicName::new("revocations"),
        partition: Partition(partition),
        offset: Offset(0),
        append_time: at(appended),
        key: Bytes::new(),
        value: value.map(Bytes::from),
        headers: vec![],
    }
}

fn record(kind: &str, id: &str, up_to: i64, appended: i64) -> Record {
    let revocation = Revocation { kind: kind.to_owned(), id: id.to_owned(), at: at(up_to), reason: "test".to_owned() };
    raw(0, appended, Some(ridgeline_wire::encode(&revocation).unwrap()))
}

fn family(number: u8) -> FamilyId {
    FamilyId::from_bytes([number; 16])
}

/// A token of one user and device, issued at 5 000.
fn find(known: &Known, family: &FamilyId, now: i64) -> Finding {
    let (user, device) = (UserId::new("ridgeline", "u1").unwrap(), DeviceId::from_bytes([1; 16]));
    known.look(&Subjects { user: &user, device: Some(&device), family: Some(family), issued_at: at(5_000) }, at(now))
}

/// Read to the end with a heartbeat at 10 000.
fn fresh() -> Known {
    let mut known = Known::new(4);
    known.take(&record(HEARTBEAT, "", 0, 10_000), at(10_000)).unwrap();
    known.end();
    known
}

#[test]
fn each_kind_ends_what_it_speaks_of() {
    let device = DeviceId::from_bytes([1; 16]).to_string();
    let other = DeviceId::from_bytes([2; 16]).to_string();
    let cases: [(&str, &str, i64, Finding); 11] = [
        ("user", "ridgeline|u1", 4_999, Finding::Good),
        ("user", "ridgeline|u1", 5_000, Finding::Over),
        ("user", "ridgeline|u2", 9_999, Finding::Good),
        ("device", &device, 0, Finding::Over),
        ("device", &other, 9_999, Finding::Good),
        ("family", &family(7).to_string(), 0, Finding::Over),
        ("family", &family(8).to_string(), 9_999, Finding::Good),
        ("all", "", 4_999, Finding::Good),
        ("all", "", 5_000, Finding::Over),
        (HEARTBEAT, "", 9_999, Finding::Good),
        ("family", &device, 9_999, Finding::Good),
    ];
    for (kind, id, up_to, finding) in cases {
        let mut known = fresh();
        known.take(&record(kind, id, up_to, 10_000), at(10_000)).unwrap();
        assert_eq!(find(&known, &family(7), 10_000), finding, "{kind} {id} {up_to}");
    }
}

#[test]
fn a_miss_counts_for_a_second_after_append_and_receipt_and_not_before_the_end_was_reached() {
    let known = fresh();
    for (now, finding) in [
        (10_000, Finding::Good),
        (11_000, Finding::Good),
        (11_001, Finding::AskStore),
        (9_000, Finding::Good),
        (8_999, Finding::AskStore),
    ] {
        assert_eq!(find(&known, &family(7), now), finding, "{now}");
    }
    // What arrives late says nothing about now.
    let mut known = fresh();
    known.take(&record(HEARTBEAT, "", 0, 10_250), at(11_251)).unwrap();
    assert_eq!(find(&known, &family(7), 11_251), Finding::AskStore);
    // A clock of the log that is ahead does not make old receipts young.
    let mut known = fresh();
    known.take(&record(HEARTBEAT, "", 0, 10_900), at(10_000)).unwrap();
    assert_eq!(find(&known, &family(7), 11_000), Finding::Good);
    assert_eq!(find(&known, &family(7), 11_001), Finding::AskStore);

    let mut known = Known::new(4);
    assert_eq!(find(&known, &family(7), 10_000), Finding::AskStore);
    known.end();
    assert_eq!(find(&known, &family(7), 10_000), Finding::AskStore, "an empty topic has no heartbeat");
    known.take(&record(HEARTBEAT, "", 0, 10_000), at(10_000)).unwrap();
    assert_eq!(find(&known, &family(7), 10_000), Finding::Good);
    known.restart();
    assert_eq!((find(&known, &family(7), 10_000), known.lag(at(10_000))), (Finding::AskStore, None));
}

#[test]
fn a_hit_is_a_hit_however_old_and_neither_a_tombstone_nor_an_earlier_time_takes_it_back() {
    let mut known = fresh();
    known.take(&record("user", "ridgeline|u1", 5_000, 10_000), at(10_000)).unwrap();
    known.take(&record("user", "ridgeline|u1", 1_000, 10_000), at(10_000)).unwrap();
    known.take(&raw(0, 10_000, None), at(10_000)).unwrap();
    assert_eq!(find(&known, &family(7), 10_000), Finding::Over);
    known.restart();
    assert_eq!(find(&known, &family(7), 10_000 + 30 * DAY.0), Finding::Over);
}

#[test]
fn what_cannot_be_understood_makes_the_store_answer_until_the_topic_is_read_again() {
    let good = record("family", &family(7).to_string(), 0, 10_000).value.unwrap().to_vec();
    let mut bad: Vec<Record> = (0..good.len()).map(|length| raw(0, 10_000, Some(good[..length].to_vec()))).collect();
    bad.push(raw(0, 10_000, Some([&good[..], b"x"].concat())));
    bad.push(raw(0, 10_000, Some(vec![0xff; 1_000])));
    bad.push(raw(1, 10_000, Some(good.clone())));
    bad.push(record("Family", &family(7).to_string(), 0, 10_000));
    bad.push(record("", "", 0, 10_000));
    bad.push(record("user", &"u".repeat(ID_BYTES_MAX + 1), 0, 10_000));
    for record in bad {
        let mut known = fresh();
        assert!(known.take(&record, at(10_000)).is_err());
        known.take(&self::record(HEARTBEAT, "", 0, 10_000), at(10_000)).unwrap();
        assert_eq!(find(&known, &family(7), 10_000), Finding::AskStore);
        assert!(!known.wants_rereading(), "reading it again would not help");
        known.restart();
        known.take(&self::record(HEARTBEAT, "", 0, 10_000), at(10_000)).unwrap();
        known.end();
        assert_eq!(find(&known, &family(7), 10_000), Finding::Good);
    }
}

#[test]
fn entries_go_after_31_days_by_both_clocks() {
    let mut known = fresh();
    known.take(&record("family", &family(7).to_string(), 10_000, 10_000), at(10_000)).unwrap();
    let (day_31, later) = (10_000 + 31 * DAY.0, 10_001 + 31 * DAY.0);
    known.forget(at(later));
    assert_eq!(find(&known, &family(7), later), Finding::Over, "the log has not come so far");
    known.take(&record(HEARTBEAT, "", 0, later), at(later)).unwrap();
    known.forget(at(day_31));
    assert_eq!(find(&known, &family(7), later), Finding::Over);
    known.forget(at(later));
    assert_eq!(find(&known, &family(7), later), Finding::Good);
    known.take(&record("family", &family(7).to_string(), 10_000, 10_000), at(later)).unwrap();
    assert!(known.entries.is_empty(), "not taken in again when the topic is read again");
}

#[test]
fn at_the_bound_the_store_answers_and_the_topic_is_read_again_once_there_is_room() {
    let mut known = fresh();
    for number in 0..4 {
        known.take(&record("family", &family(number).to_string(), 0, 10_000), at(10_000)).unwrap();
        assert_eq!(find(&known, &family(7), 10_000), Finding::Good);
    }
    known.take(&record("family", &family(3).to_string(), 0, 10_000), at(10_000)).unwrap();
    assert_eq!(find(&known, &family(7), 10_000), Finding::Good, "a known one takes no room");
    known.take(&record("family", &family(7).to_string(), 0, 10_000), at(10_000)).unwrap();
    assert_eq!((known.entries.len(), find(&known, &family(7), 10_000)), (4, Finding::AskStore));
    assert_eq!(find(&known, &family(0), 10_000), Finding::Over);
    assert!(!known.wants_rereading());

    let later = 10_001 + 31 * DAY.0;
    known.take(&record(HEARTBEAT, "", 0, later), at(later)).unwrap();
    known.forget(at(later));
    assert!(known.wants_rereading());
    known.restart();
    assert!(!known.wants_rereading());
}
