//! Hostile and broken records on `scans`: each ends as the rules say, and the pipeline goes on.

use bytes::Bytes;
use ridgeline_domain::{ErrorCode, Operation, Outcome, Reason};
use ridgeline_intake::Signer;
use ridgeline_ports::{NewRecord, RowKey};
use ridgeline_runtime::SystemEntropy;
use ridgeline_vault::{KeyRing, SigningKey};
use ridgeline_wire::message::Scan;
use ridgeline_wire::row::{SubjectRow, table};
use ridgeline_wire::{Topic, decode, encode};

use crate::fingers::sample;
use crate::harness::{Pipeline, Site, agent, minutes_ago, until};

fn raw(key: &str, value: &[u8]) -> NewRecord {
    NewRecord {
        topic: Topic::Scans.name(""),
        partition: None,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Some(Bytes::copy_from_slice(value)),
        headers: vec![],
    }
}

fn scan(record: &NewRecord) -> Scan {
    decode(record.value.as_ref().unwrap()).unwrap()
}

fn changed(record: &NewRecord, change: impl FnOnce(&mut Scan)) -> NewRecord {
    let mut scan = scan(record);
    change(&mut scan);
    NewRecord { value: Some(encode(&scan).unwrap().into()), ..record.clone() }
}

/// D-3: nobody vouches for these. Dead letter with the reason, an audit event, nothing stored under their ids; the next record is served.
#[tokio::test(flavor = "multi_thread")]
async fn d3_records_nobody_vouches_for_are_buried_and_audited() {
    let pipeline = Pipeline::start(&Site::new()).await;
    let request = Pipeline::request(Operation::Enrol, Some("s0"), vec![sample(0, 0)]);
    let good = pipeline.record(&request);
    let mut unknown_schema = good.value.clone().unwrap().to_vec();
    unknown_schema[4] = 99;
    let stranger = Signer::new(
        "agent:stranger".parse().unwrap(),
        SigningKey::generate(&SystemEntropy).unwrap(),
        KeyRing::create(&SystemEntropy).unwrap().sealing_key(),
    );
    let other_id = Pipeline::request(Operation::Enrol, Some("s0"), vec![]).request_id;
    let cases = [
        (raw("s0", b"not avro at all"), ErrorCode::RecordUndecodable),
        (raw("s0", b""), ErrorCode::RecordUndecodable),
        (NewRecord { value: None, ..raw("s0", b"") }, ErrorCode::RecordUndecodable),
        (raw("s0", &unknown_schema), ErrorCode::SchemaUnknown),
        (raw("s0", &good.value.as_ref().unwrap()[..40]), ErrorCode::RecordUndecodable),
        (changed(&good, |scan| scan.agent_signature[10] ^= 1), ErrorCode::SignatureInvalid),
        (changed(&good, |scan| scan.agent_signature.clear()), ErrorCode::SignatureInvalid),
        (changed(&good, |scan| scan.request_id = other_id), ErrorCode::SignatureInvalid),
        (changed(&good, |scan| scan.operation = Operation::Verify), ErrorCode::SignatureInvalid),
        (changed(&good, |scan| scan.samples[0].sealed[100] ^= 1), ErrorCode::SignatureInvalid),
        (NewRecord { key: "elsewhere".into(), ..good.clone() }, ErrorCode::RecordInvalid),
        (stranger.scan_record(Topic::Scans.name(""), &request, &SystemEntropy).unwrap(), ErrorCode::AgentUnknown),
    ];
    let codes: Vec<_> = cases.iter().map(|(_, code)| *code).collect();
    for (record, _) in cases {
        pipeline.log.publish(record).await.unwrap();
    }
    let after = pipeline.ask(Operation::Enrol, Some("s0"), vec![sample(0, 0)]).await;
    assert_eq!(after.outcome, Outcome::Enrolled, "the pipeline goes on");
    let seen = pipeline.seen.clone();
    let letters = until(|| Some(seen.dead()).filter(|dead| dead.len() == codes.len())).await;
    let mut found: Vec<_> = letters.iter().map(|letter| letter.code).collect();
    let mut expected = codes;
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(letters.iter().all(|letter| letter.role == "matcher" && letter.original.is_some()));
    let refused = until(|| {
        Some(seen.audit())
            .map(|all| all.into_iter().filter(|a| a.event_type == "record.refused").collect::<Vec<_>>())
            .filter(|all| all.len() == found.len())
    })
    .await;
    assert!(refused.iter().all(|event| event.actor == "unverified" && event.request_id.is_none()));
    assert!(seen.decisions_of(request.request_id).is_empty() && seen.decisions_of(other_id).is_empty());
    pipeline.stop().await;
}

/// D-3: signed, but never processable: the asker learns that it failed, and the record is kept.
#[tokio::test(flavor = "multi_thread")]
async fn d3_a_signed_record_sealed_to_another_key_fails_for_its_asker() {
    let site = Site::new();
    let pipeline = Pipeline::start(&site).await;
    let foreign = KeyRing::create(&SystemEntropy).unwrap().sealing_key();
    let signer = pipeline.signer.sealing_to(foreign);
    let request = Pipeline::request(Operation::Verify, Some("s0"), vec![sample(0, 0)]);
    pipeline.log.publish(signer.scan_record(Topic::Scans.name(""), &request, &SystemEntropy).unwrap()).await.unwrap();
    let decision = pipeline.decision(request.request_id).await;
    assert_eq!((decision.outcome, decision.reason), (Outcome::Failed, Some(Reason::Undecodable)));
    let seen = pipeline.seen.clone();
    let letters = until(|| Some(seen.dead()).filter(|dead| !dead.is_empty())).await;
    assert_eq!(letters[0].code, ErrorCode::CannotBeOpened);
    assert_eq!(seen.audit_of(request.request_id).len(), 1);
    pipeline.stop().await;
}

/// Another agent that learns a request id gets nothing out of it: no answer repeated, none of its own, but a trace.
#[tokio::test(flavor = "multi_thread")]
async fn d1_an_id_belongs_to_the_agent_that_used_it_first() {
    let site = Site::new();
    let pipeline = Pipeline::start(&site).await;
    let first = pipeline.ask(Operation::Delete, Some("s0"), vec![]).await;
    let other = pipeline.other_agent(&site);
    let mut request = Pipeline::request(Operation::Delete, Some("s1"), vec![]);
    request.request_id = first.confirmation_id;
    pipeline.log.publish(other.scan_record(Topic::Scans.name(""), &request, &SystemEntropy).unwrap()).await.unwrap();
    let seen = pipeline.seen.clone();
    let letters = until(|| Some(seen.dead()).filter(|dead| !dead.is_empty())).await;
    assert_eq!(letters[0].code, ErrorCode::RecordInvalid);
    let refused = |event: &ridgeline_wire::message::Audit| event.event_type == "record.refused";
    until(|| seen.audit().iter().any(refused).then_some(())).await;
    assert_eq!((seen.decisions_of(first.confirmation_id).len(), seen.audit_of(first.confirmation_id).len()), (1, 1));
    pipeline.stop().await;
}

/// One agent with a stale key does not stop the others: its records are buried one by one, however many come in a row.
#[tokio::test(flavor = "multi_thread")]
async fn d3_many_records_sealed_to_another_key_do_not_trip_the_fuse() {
    let pipeline = Pipeline::start(&Site::new()).await;
    let stale = pipeline.signer.sealing_to(KeyRing::create(&SystemEntropy).unwrap().sealing_key());
    for _ in 0..60 {
        let request = Pipeline::request(Operation::Delete, Some("s0"), vec![]);
        pipeline
            .log
            .publish(stale.scan_record(Topic::Scans.name(""), &request, &SystemEntropy).unwrap())
            .await
            .unwrap();
    }
    let decision = pipeline.ask(Operation::Delete, Some("s0"), vec![]).await;
    assert_eq!(decision.reason, Some(Reason::UnknownSubject));
    assert_eq!(pipeline.seen.dead().len(), 60);
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_early_records_are_refused_with_their_reason() {
    let pipeline = Pipeline::start(&Site::new()).await;
    for minutes in [2, -5] {
        let mut request = Pipeline::request(Operation::Verify, Some("s0"), vec![sample(0, 0)]);
        request.captured_at = minutes_ago(minutes);
        let id = pipeline.send(&request).await;
        assert_eq!(pipeline.decision(id).await.reason, Some(Reason::Expired), "{minutes} minutes old");
    }
    assert!(pipeline.seen.dead().is_empty());
    pipeline.stop().await;
}

/// A spooled enrolment may be old; one that nobody allowed this agent may not be at all.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_does_only_what_it_was_granted() {
    let pipeline = Pipeline::with(&Site::new(), &[Operation::Verify, Operation::Identify], &["a"]).await;
    for (operation, samples) in [(Operation::Enrol, vec![sample(0, 0)]), (Operation::Delete, vec![])] {
        let decision = pipeline.ask(operation, Some("s0"), samples).await;
        assert_eq!(
            (decision.outcome, decision.reason),
            (Outcome::Rejected, Some(Reason::UnauthorisedSource)),
            "{operation}"
        );
        assert_eq!(decision.agent, agent());
    }
    pipeline.stop().await;
}

/// P-1, P-2: what lies in the directory shows neither image nor template nor metadata, and the public topics carry none.
#[tokio::test(flavor = "multi_thread")]
async fn p2_nothing_biometric_is_plaintext_on_disk() {
    ridgeline_testkit::covers!("R-179");
    let site = Site::new();
    let pipeline = Pipeline::start(&site).await;
    let mut request = Pipeline::request(Operation::Enrol, Some("s0"), vec![sample(0, 0)]);
    request.metadata.insert("name".into(), "A-Person-Of-Interest".into());
    let id = pipeline.send(&request).await;
    let decision = pipeline.decision(id).await;
    assert_eq!(decision.outcome, Outcome::Enrolled);
    let row = pipeline.store.get(table::SUBJECTS, &RowKey::single("s0")).await.unwrap().unwrap();
    let row: SubjectRow = decode(&row.value).unwrap();
    assert_eq!(row.positions[0].enrolled_at, decision.evaluated_at);
    let image = request.samples[0].bytes()[40..72].to_vec();
    pipeline.stop().await;
    let mut files = vec![site.dir.path().to_owned()];
    let mut read = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        read += bytes.len();
        for needle in [&image[..], b"IDAT", b"A-Person-Of-Interest"] {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "plaintext in a file of the store");
        }
    }
    assert!(read > 1_000);
}
