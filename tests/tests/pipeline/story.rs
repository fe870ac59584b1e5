//! What a site does all day.

use ridgeline_domain::{Operation, Outcome, Reason};
use ridgeline_fingerprint::{Classical, Extractor, Limits, decode};
use ridgeline_vault::open_template;

use crate::fingers::{noise, sample, white};
use crate::harness::{Pipeline, Site};

#[tokio::test(flavor = "multi_thread")]
async fn fingers_are_enrolled_verified_identified_and_forgotten() {
    ridgeline_testkit::covers!("R-315", "R-041", "R-167", "R-173");
    let pipeline = Pipeline::start(&Site::new()).await;
    for (index, subject) in ["s0", "s1", "s2"].into_iter().enumerate() {
        let decision = pipeline.ask(Operation::Enrol, Some(subject), vec![sample(index, 0), sample(index, 1)]).await;
        assert_eq!((decision.outcome, decision.reason), (Outcome::Enrolled, None), "{subject}");
        assert!(decision.gallery_version == Some(1) && decision.confidence.is_none());
    }
    let genuine = pipeline.ask(Operation::Verify, Some("s0"), vec![sample(0, 2)]).await;
    assert_eq!(
        (genuine.outcome, genuine.modality.map(ridgeline_domain::Modality::as_str)),
        (Outcome::Match, Some("fingerprint"))
    );
    assert_eq!(genuine.duration_ms, genuine.decided_at.since(genuine.evaluated_at).0);
    assert!(genuine.confidence.is_some_and(|confidence| confidence >= 70.0));

    let impostor = pipeline.ask(Operation::Verify, Some("s1"), vec![sample(0, 2)]).await;
    assert_eq!((impostor.outcome, impostor.confidence), (Outcome::NoMatch, None));

    let found = pipeline.ask(Operation::Identify, None, vec![sample(1, 2)]).await;
    assert_eq!((found.outcome, found.subject_id.map(|s| s.to_string())), (Outcome::Match, Some("s1".to_owned())));
    let coverage = found.coverage.unwrap();
    assert_eq!((coverage.searched, coverage.total, coverage.templates), (8, 8, 6));
    assert_eq!(pipeline.details(found.confirmation_id).await.candidates[0].subject_id.as_str(), "s1");

    let stranger = pipeline.ask(Operation::Identify, None, vec![sample(3, 0)]).await;
    assert_eq!((stranger.outcome, stranger.subject_id, stranger.confidence), (Outcome::NoMatch, None, None));

    for no_finger in [noise(), white()] {
        let nothing = pipeline.ask(Operation::Verify, Some("s0"), vec![no_finger]).await;
        assert_eq!((nothing.outcome, nothing.reason), (Outcome::Rejected, Some(Reason::NotAFingerprint)));
    }

    let unknown = pipeline.ask(Operation::Verify, Some("nobody"), vec![sample(0, 2)]).await;
    assert_eq!(unknown.reason, Some(Reason::UnknownSubject));

    assert_eq!(pipeline.ask(Operation::Delete, Some("s0"), vec![]).await.outcome, Outcome::Deleted);
    assert_eq!(
        pipeline.ask(Operation::Verify, Some("s0"), vec![sample(0, 2)]).await.reason,
        Some(Reason::UnknownSubject)
    );
    let gone = pipeline.ask(Operation::Identify, None, vec![sample(0, 2)]).await;
    assert_eq!((gone.outcome, gone.coverage.map(|coverage| coverage.templates)), (Outcome::NoMatch, Some(4)));
    assert_eq!(pipeline.ask(Operation::Delete, Some("s0"), vec![]).await.reason, Some(Reason::UnknownSubject));

    for (decision, reason) in [(genuine, None), (unknown, Some("unknown_subject"))] {
        let audit = pipeline.seen.audit_of(decision.confirmation_id);
        assert_eq!(audit.len(), 1, "also of what concerns a subject that is gone");
        assert_eq!(
            (audit[0].event_type.as_str(), audit[0].outcome.as_str()),
            ("biometric.verify", decision.outcome.as_str())
        );
        assert_eq!(audit[0].reason.as_deref(), reason);
    }
    pipeline.stop().await;
}

/// A finger enrolled again replaces its templates; another finger of the same person is kept beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_finger_is_kept_beside_the_first() {
    let pipeline = Pipeline::start(&Site::new()).await;
    for (index, position) in [(0, "right_index"), (1, "left_index"), (0, "right_index")] {
        let mut request = Pipeline::request(Operation::Enrol, Some("two-hands"), vec![sample(index, 0)]);
        request.position = position.parse().unwrap();
        let id = pipeline.send(&request).await;
        assert_eq!(pipeline.decision(id).await.outcome, Outcome::Enrolled);
    }
    for index in [0, 1] {
        let decision = pipeline.ask(Operation::Verify, Some("two-hands"), vec![sample(index, 1)]).await;
        assert_eq!((decision.outcome, decision.gallery_version), (Outcome::Match, Some(3)), "finger {index}");
    }
    let mixed = pipeline.ask(Operation::Enrol, Some("mixed"), vec![sample(0, 0), sample(2, 0)]).await;
    assert_eq!(mixed.reason, Some(Reason::InconsistentSamples));
    pipeline.stop().await;
}

/// What a restart finds on disk is what was there before.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_subjects_and_rebuilds_the_gallery() {
    ridgeline_testkit::covers!("R-023", "R-313");
    let site = Site::new();
    let pipeline = Pipeline::start(&site).await;
    let samples = vec![sample(0, 0), sample(0, 1)];
    let enrolled = pipeline.ask(Operation::Enrol, Some("kept"), samples.clone()).await;
    assert_eq!(enrolled.outcome, Outcome::Enrolled);
    assert!(enrolled.quality.len() == 2 && enrolled.quality.iter().all(|quality| (60..=100).contains(quality)));
    pipeline.stop().await;
    let pipeline = Pipeline::start(&site).await;
    let kept = pipeline.details(enrolled.confirmation_id).await.template.unwrap();
    let (_, kept) = open_template(&pipeline.vault, &kept).unwrap();
    let unchanged = samples.iter().any(|sample| {
        let image = decode(sample.bytes(), None, None, &Limits::default()).unwrap();
        kept.expose().ends_with(&Classical.extract(&image).unwrap().template.to_bytes())
    });
    assert!(unchanged, "what comes back is not what was extracted");
    assert_eq!(pipeline.ask(Operation::Verify, Some("kept"), vec![sample(0, 2)]).await.outcome, Outcome::Match);
    assert_eq!(pipeline.ask(Operation::Identify, None, vec![sample(0, 3)]).await.outcome, Outcome::Match);
    pipeline.stop().await;
}

/// Two members of every group: partitions are shared, a search still sees the whole gallery, everything is answered once.
#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_the_work() {
    ridgeline_testkit::covers!("R-270");
    let site = Site::new();
    let pipeline = Pipeline::with(&site, Operation::ALL, &["a", "b"]).await;
    for (index, subject) in ["s0", "s1"].into_iter().enumerate() {
        assert_eq!(
            pipeline.ask(Operation::Enrol, Some(subject), vec![sample(index, 0), sample(index, 1)]).await.outcome,
            Outcome::Enrolled
        );
    }
    for index in [0, 1] {
        let found = pipeline.ask(Operation::Identify, None, vec![sample(index, 2)]).await;
        assert_eq!((found.outcome, found.coverage.map(|coverage| coverage.searched)), (Outcome::Match, Some(8)));
        assert_eq!(pipeline.seen.decisions_of(found.confirmation_id).len(), 1);
    }
    pipeline.stop().await;
}

/// D-4: without shards nothing was searched; the answer comes at the deadline, names every partition and concludes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn d4_a_search_that_nobody_made_is_incomplete() {
    let pipeline = Pipeline::of(&Site::new(), Operation::ALL, &["a"], &[]).await;
    let decision = pipeline.ask(Operation::Identify, None, vec![sample(0, 0)]).await;
    let coverage = decision.coverage.unwrap();
    assert_eq!((decision.outcome, coverage.searched, coverage.total), (Outcome::Incomplete, 0, 8));
    assert_eq!(coverage.missing, [0, 1, 2, 3, 4, 5, 6, 7]);
    pipeline.stop().await;
}

/// A shard that joins while a search is open answers for what it takes over.
#[tokio::test(flavor = "multi_thread")]
async fn d4_a_shard_that_comes_late_still_answers() {
    let site = Site::new();
    let pipeline = Pipeline::start(&site).await;
    assert_eq!(
        pipeline.ask(Operation::Enrol, Some("s0"), vec![sample(0, 0), sample(0, 1)]).await.outcome,
        Outcome::Enrolled
    );
    pipeline.stop().await;
    let mut pipeline = Pipeline::of(&site, Operation::ALL, &["a"], &[]).await;
    let id = pipeline.send(&Pipeline::request(Operation::Identify, None, vec![sample(0, 2)])).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    pipeline.add_shard("late".to_owned());
    let decision = pipeline.decision(id).await;
    assert_eq!((decision.outcome, decision.coverage.map(|coverage| coverage.searched)), (Outcome::Match, Some(8)));
    pipeline.stop().await;
}
