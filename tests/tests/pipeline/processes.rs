//! What several processes, wrong clocks and moved offsets must not change.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ridgeline_domain::{DurationMs, Operation, Outcome, Reason, RequestId};
use ridgeline_ports::{Cas, NewRecord, Record, RowKey, TraceContext};
use ridgeline_wire::row::{SubjectRow, table};
use ridgeline_wire::{GALLERY_VERSION, Topic, decode, encode};

use crate::fingers::sample;
use crate::harness::{Pipeline, Site, until};

async fn subject_row(pipeline: &Pipeline, subject: &str) -> (ridgeline_ports::Version, SubjectRow) {
    let row = pipeline.store.get(table::SUBJECTS, &RowKey::single(subject)).await.unwrap().unwrap();
    (row.version, decode(&row.value).unwrap())
}

fn version_of(record: &Record) -> i64 {
    std::str::from_utf8(record.header(GALLERY_VERSION).unwrap()).unwrap().parse().unwrap()
}

/// What compaction keeps of every subject is its row.
async fn gallery_is_as_the_rows_say(pipeline: &Pipeline, subjects: &[&str]) {
    let last = pipeline.last_records(Topic::Gallery).await;
    assert_eq!(last.len(), subjects.len());
    for subject in subjects {
        let (_, row) = subject_row(pipeline, subject).await;
        let record = &last[subject.as_bytes()];
        assert_eq!((version_of(record), record.value.is_none()), (row.version, row.deleted), "{subject}");
    }
}

/// Publishes a record again as a matcher would that has long lost its partition.
async fn late(pipeline: &Pipeline, record: &Record) {
    let Record { topic, key, value, headers, .. } = record.clone();
    pipeline.log.publish(NewRecord { topic, partition: None, key, value, headers }).await.unwrap();
}

async fn in_gallery(pipeline: &Pipeline) -> i64 {
    let search = pipeline.ask(Operation::Identify, None, vec![sample(0, 5)]).await;
    assert_ne!(search.outcome, Outcome::Incomplete);
    search.coverage.unwrap().templates
}

/// Fault 7: offsets moved back over everything, a subject enrolled, verified, searched for and deleted since. D-1, every answer byte
/// for byte; no second template, nobody back.
#[tokio::test(flavor = "multi_thread")]
async fn d1_moved_offsets_repeat_every_answer_and_bring_nobody_back() {
    let mut pipeline = Pipeline::start(&Site::new()).await;
    let mut ids: Vec<RequestId> = Vec::new();
    let mut asked = async |pipeline: &Pipeline, operation: Operation, subject: Option<&str>, samples, outcome| {
        let decision = pipeline.ask(operation, subject, samples).await;
        assert_eq!(decision.outcome, outcome, "{operation}");
        ids.push(decision.confirmation_id);
    };
    for (index, subject) in ["kept", "gone"].into_iter().enumerate() {
        let samples = vec![sample(index, 0), sample(index, 1)];
        asked(&pipeline, Operation::Enrol, Some(subject), samples, Outcome::Enrolled).await;
        asked(&pipeline, Operation::Verify, Some(subject), vec![sample(index, 2)], Outcome::Match).await;
        asked(&pipeline, Operation::Identify, None, vec![sample(index, 3)], Outcome::Match).await;
    }
    asked(&pipeline, Operation::Delete, Some("gone"), vec![], Outcome::Deleted).await;
    asked(&pipeline, Operation::Verify, Some("gone"), vec![sample(1, 4)], Outcome::Rejected).await;
    let before: BTreeMap<_, _> = ids.iter().map(|id| (*id, pipeline.seen.decisions_of(*id))).collect();
    let rows = [subject_row(&pipeline, "kept").await, subject_row(&pipeline, "gone").await];

    pipeline.stop_roles().await;
    for (group, topic) in [("matcher", Topic::Scans), ("merger", Topic::Partials)] {
        pipeline.rewind(group, topic, 500).await;
    }
    // Offsets moved back by hand come with new members, and with what compaction has left meanwhile.
    pipeline.compact().await;
    pipeline.start_roles(&["b", "c"], &["b"]);
    for (id, first) in &before {
        let seen = pipeline.seen.clone();
        let again = until(|| Some(seen.decisions_of(*id)).filter(|all| all.len() > first.len())).await;
        assert!(again.iter().all(|(_, bytes)| *bytes == first[0].1), "the same bytes");
        let audit = seen.audit_of(*id);
        assert!(audit.len() > 1 && audit.iter().all(|event| *event == audit[0]), "one audit event, repeated");
    }
    let after = [subject_row(&pipeline, "kept").await, subject_row(&pipeline, "gone").await];
    assert!(after == rows, "no row was written again");
    gallery_is_as_the_rows_say(&pipeline, &["kept", "gone"]).await;
    assert_eq!(in_gallery(&pipeline).await, 2, "the templates of one subject");
    pipeline.stop().await;
}

/// A set that arrives after its subject's tombstone, from a publisher that nobody waits for any more: no search finds the subject,
/// and the tombstone is published again, so that neither a compaction nor a shard that starts from it brings the subject back.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_set_behind_a_tombstone_brings_nobody_back() {
    let mut pipeline = Pipeline::start(&Site::new()).await;
    let enrolled = pipeline.ask(Operation::Enrol, Some("gone"), vec![sample(0, 0), sample(0, 1)]).await;
    assert_eq!(enrolled.outcome, Outcome::Enrolled);
    let old = pipeline.last_records(Topic::Gallery).await[&b"gone"[..]].clone();
    assert_eq!(pipeline.ask(Operation::Delete, Some("gone"), vec![]).await.outcome, Outcome::Deleted);
    late(&pipeline, &old).await;
    assert_eq!(in_gallery(&pipeline).await, 0, "at once");
    assert_eq!(last_version(&pipeline, 2).await, None, "a tombstone, published again");

    // The worst case: the set is all that is left, and the shard that starts knows nothing else.
    pipeline.stop_roles().await;
    late(&pipeline, &old).await;
    pipeline.compact().await;
    pipeline.start_roles(&["b"], &["b"]);
    let found = pipeline.ask(Operation::Identify, None, vec![sample(0, 2)]).await;
    assert_eq!((found.outcome, found.subject_id), (Outcome::NoMatch, None), "the row has the last word");
    assert!(pipeline.details(found.confirmation_id).await.candidates.is_empty());
    assert_eq!(last_version(&pipeline, 2).await, None);
    assert_eq!(in_gallery(&pipeline).await, 0);
    gallery_is_as_the_rows_say(&pipeline, &["gone"]).await;
    pipeline.stop().await;
}

/// Waits until the last record of `gone` has this version; answers its value.
async fn last_version(pipeline: &Pipeline, version: i64) -> Option<Bytes> {
    for _ in 0..600 {
        let last = pipeline.last_records(Topic::Gallery).await;
        let record = &last[&b"gone"[..]];
        if version_of(record) == version {
            return record.value.clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the row was not published again");
}

/// A row that nobody published: its record of `scans` will not come again. The shards' walk over the rows finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_nobody_published_is_found() {
    let mut pipeline = Pipeline::start(&Site::new()).await;
    assert_eq!(
        pipeline.ask(Operation::Enrol, Some("gone"), vec![sample(0, 0), sample(0, 1)]).await.outcome,
        Outcome::Enrolled
    );
    pipeline.stop_roles().await;
    let (version, row) = subject_row(&pipeline, "gone").await;
    let row = SubjectRow { version: row.version + 1, deleted: true, ..row };
    let value = encode(&row).unwrap().into();
    let written = pipeline.store.replace(table::SUBJECTS, &RowKey::single("gone"), version, value, None).await;
    assert!(matches!(written, Ok(Cas::Applied(_))));
    pipeline.start_roles(&["a"], &["a"]);
    assert_eq!(last_version(&pipeline, 2).await, None);
    assert_eq!(in_gallery(&pipeline).await, 0);
    pipeline.stop().await;
}

/// Fault 9: roles whose clock is ten minutes off, either way, decide alike, and no decision is stamped outside its validity.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_changes_no_decision() {
    for minutes in [10, -10] {
        let site = Site::new();
        let pipeline = Pipeline::with_wrong_clock(&site, DurationMs::from_secs(60 * minutes)).await;
        let enrolled = pipeline.ask(Operation::Enrol, Some("s0"), vec![sample(0, 0), sample(0, 1)]).await;
        let verified = pipeline.ask(Operation::Verify, Some("s0"), vec![sample(0, 2)]).await;
        let found = pipeline.ask(Operation::Identify, None, vec![sample(0, 3)]).await;
        let outcomes = [&enrolled, &verified, &found].map(|decision| decision.outcome);
        assert_eq!(outcomes, [Outcome::Enrolled, Outcome::Match, Outcome::Match], "{minutes} minutes");
        for decision in [enrolled, verified, found] {
            assert!(decision.evaluated_at <= decision.decided_at && decision.decided_at < decision.valid_until);
            assert!(decision.duration_ms < 60_000, "{minutes} minutes: {}", decision.duration_ms);
        }
        pipeline.stop().await;

        // Without shards a search ends at its deadline, which a clock that is ahead does not hasten and one behind not delay.
        let mut pipeline = Pipeline::with_wrong_clock(&site, DurationMs::from_secs(60 * minutes)).await;
        pipeline.stop_roles().await;
        pipeline.start_roles(&["a"], &[]);
        let begun = tokio::time::Instant::now();
        let missed = pipeline.ask(Operation::Identify, None, vec![sample(0, 4)]).await;
        assert_eq!(missed.outcome, Outcome::Incomplete);
        assert!(begun.elapsed() >= Duration::from_secs(9), "{minutes} minutes: not before the shards' time is over");
        pipeline.stop().await;
    }
}

/// One trace from the scan to everything that follows, and a replay repeats each step's id.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_through_the_whole_path() {
    let pipeline = Pipeline::start(&Site::new()).await;
    let given = TraceContext::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
    for operation in [Operation::Enrol, Operation::Verify, Operation::Identify] {
        let samples = if operation == Operation::Enrol { vec![sample(0, 0), sample(0, 1)] } else { vec![sample(0, 2)] };
        let request = Pipeline::request(operation, operation.needs_subject().then_some("s0"), samples);
        let mut record = pipeline.record(&request);
        record.headers.retain(|(name, _)| name != TraceContext::HEADER);
        record.headers.push(given.header());
        for times in 1..=2 {
            pipeline.log.publish(record.clone()).await.unwrap();
            let seen = pipeline.seen.clone();
            until(|| (seen.decisions_of(request.request_id).len() >= times).then_some(())).await;
        }
    }
    for topic in [Topic::Gallery, Topic::Probes, Topic::Partials, Topic::Decisions, Topic::Audit] {
        let all = pipeline.all_records(topic).await;
        assert!(!all.is_empty(), "{topic:?}");
        let mut spans: BTreeMap<Bytes, TraceContext> = BTreeMap::new();
        for record in &all {
            let trace = TraceContext::of(&record.headers).unwrap();
            assert_eq!(trace.trace_id(), given.trace_id(), "{topic:?}");
            assert_ne!(trace, given, "{topic:?}: a step of its own");
            let id = record.header("ce_id").unwrap().clone();
            let known = *spans.entry(id).or_insert(trace);
            assert_eq!(known, trace, "{topic:?}: repeated with the same id");
        }
        let distinct: std::collections::HashSet<_> = spans.values().map(ToString::to_string).collect();
        assert_eq!(distinct.len(), spans.len(), "{topic:?}: every step differs");
    }
    let broken = Pipeline::request(Operation::Verify, Some("s0"), vec![sample(0, 3)]);
    let mut record = pipeline.record(&broken);
    record.headers.retain(|(name, _)| name != TraceContext::HEADER);
    record.headers.push((TraceContext::HEADER.to_owned(), Bytes::from_static(b"00-not-a-trace-01")));
    pipeline.log.publish(record).await.unwrap();
    assert_eq!(pipeline.decision(broken.request_id).await.outcome, Outcome::Match);
    let decisions = pipeline.last_records(Topic::Decisions).await;
    let own = TraceContext::of(&decisions[broken.request_id.to_string().as_bytes()].headers).unwrap();
    assert_eq!(own.trace_id(), TraceContext::about(broken.request_id).trace_id(), "its own, the same at every replay");
    assert_eq!(
        pipeline.ask(Operation::Verify, Some("nobody"), vec![sample(0, 4)]).await.reason,
        Some(Reason::UnknownSubject)
    );
    pipeline.stop().await;
}
