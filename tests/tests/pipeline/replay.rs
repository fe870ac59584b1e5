//! V-4: what was enrolled, used or kept is no live finger. D-1: a record that comes again changes nothing.

use ridgeline_domain::{Operation, Outcome, Reason};

use crate::fingers::{at_dpi, sample, sealed};
use crate::harness::{Pipeline, Site, until};

#[tokio::test(flavor = "multi_thread")]
async fn v4_nothing_that_was_enrolled_or_used_is_accepted() {
    let pipeline = Pipeline::start(&Site::new()).await;
    let enrolled = pipeline.ask(Operation::Enrol, Some("s0"), vec![sample(0, 0), sample(0, 1)]).await;
    assert_eq!(enrolled.outcome, Outcome::Enrolled);

    let again = pipeline.ask(Operation::Verify, Some("s0"), vec![sample(0, 0)]).await;
    assert_eq!((again.outcome, again.reason), (Outcome::Rejected, Some(Reason::Replay)), "the enrolled image itself");
    let searched = pipeline.ask(Operation::Identify, None, vec![sample(0, 1)]).await;
    assert_eq!((searched.outcome, searched.reason), (Outcome::Rejected, Some(Reason::Replay)), "and in a search");

    let reference = pipeline.details(enrolled.confirmation_id).await.template.unwrap();
    let handed_back = pipeline.ask(Operation::Verify, Some("s0"), vec![sealed(reference)]).await;
    assert_eq!(handed_back.reason, Some(Reason::Replay), "a reference as probe");

    let extracted = pipeline.ask(Operation::Extract, None, vec![sample(0, 2)]).await;
    assert_eq!(extracted.outcome, Outcome::Extracted);
    let probe = pipeline.details(extracted.confirmation_id).await.template.unwrap();
    let first = pipeline.ask(Operation::Verify, Some("s0"), vec![sealed(probe.clone())]).await;
    assert_eq!(first.outcome, Outcome::Match, "a fresh probe");
    let second = pipeline.ask(Operation::Verify, Some("s0"), vec![sealed(probe)]).await;
    assert_eq!(second.reason, Some(Reason::Replay), "the same probe again");
    pipeline.stop().await;
}

/// Detours do not help: over a sealed template, under another resolution, after the finger was enrolled again.
#[tokio::test(flavor = "multi_thread")]
async fn v4_an_enrolled_image_is_known_again_on_every_way() {
    let pipeline = Pipeline::start(&Site::new()).await;
    let enrolled = pipeline.ask(Operation::Enrol, Some("s0"), vec![sample(0, 0), sample(0, 1)]).await;
    assert_eq!(enrolled.outcome, Outcome::Enrolled);
    for operation in [Operation::Verify, Operation::Identify] {
        let subject = operation.needs_subject().then_some("s0");
        let extracted = pipeline.ask(Operation::Extract, None, vec![sample(0, 0)]).await;
        let probe = pipeline.details(extracted.confirmation_id).await.template.unwrap();
        let laundered = pipeline.ask(operation, subject, vec![sealed(probe)]).await;
        assert_eq!(
            (laundered.outcome, laundered.reason),
            (Outcome::Rejected, Some(Reason::Replay)),
            "{operation} over extract"
        );
        let scaled = pipeline.ask(operation, subject, vec![at_dpi(0, 0, 505)]).await;
        assert_eq!(
            (scaled.outcome, scaled.reason),
            (Outcome::Rejected, Some(Reason::Replay)),
            "{operation} at 505 dpi"
        );
    }
    assert_eq!(
        pipeline.ask(Operation::Enrol, Some("s0"), vec![sample(0, 2), sample(0, 3)]).await.outcome,
        Outcome::Enrolled
    );
    for operation in [Operation::Verify, Operation::Identify] {
        let subject = operation.needs_subject().then_some("s0");
        let replaced = pipeline.ask(operation, subject, vec![sample(0, 0)]).await;
        assert_eq!(replaced.reason, Some(Reason::Replay), "{operation} with a replaced image");
        let fresh = pipeline.ask(operation, subject, vec![sample(0, 4)]).await;
        assert_eq!(fresh.outcome, Outcome::Match, "{operation} with a fresh one");
    }
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v4_a_sealed_template_serves_its_own_subject_only() {
    let pipeline = Pipeline::start(&Site::new()).await;
    for (index, subject) in ["s0", "s1"].into_iter().enumerate() {
        pipeline.ask(Operation::Enrol, Some(subject), vec![sample(index, 0)]).await;
    }
    let extracted = pipeline.ask(Operation::Extract, Some("s1"), vec![sample(0, 2)]).await;
    let mut probe = pipeline.details(extracted.confirmation_id).await.template.unwrap();
    let foreign = pipeline.ask(Operation::Verify, Some("s0"), vec![sealed(probe.clone())]).await;
    assert_eq!(foreign.reason, Some(Reason::TemplateIncompatible));
    let last = probe.len() - 1;
    probe[last] ^= 1;
    let bent = pipeline.ask(Operation::Verify, Some("s1"), vec![sealed(probe)]).await;
    assert_eq!(bent.reason, Some(Reason::TemplateIncompatible));
    pipeline.stop().await;
}

/// D-1: the same record three times gives the same bytes three times, one template set, one answer.
#[tokio::test(flavor = "multi_thread")]
async fn d1_a_redelivered_record_repeats_its_decision_byte_for_byte() {
    let pipeline = Pipeline::start(&Site::new()).await;
    for operation in [Operation::Enrol, Operation::Verify, Operation::Identify] {
        let subject = operation.needs_subject().then_some("s0");
        let request =
            Pipeline::request(operation, subject, vec![sample(0, if operation == Operation::Enrol { 0 } else { 1 })]);
        let record = pipeline.record(&request);
        for _ in 0..3 {
            pipeline.log.publish(record.clone()).await.unwrap();
        }
        let seen = pipeline.seen.clone();
        let all = until(|| Some(seen.decisions_of(request.request_id)).filter(|all| all.len() >= 3)).await;
        assert!(all.iter().all(|(_, bytes)| *bytes == all[0].1), "{operation}");
        assert_eq!(
            all[0].0.gallery_version,
            if operation == Operation::Identify { None } else { Some(1) },
            "{operation}"
        );
        let audit = seen.audit_of(request.request_id);
        assert!(audit.iter().all(|event| *event == audit[0]), "{operation}");
    }
    pipeline.stop().await;
}

/// An enrolment that comes again after the subject was deleted answers as it did and brings nobody back.
#[tokio::test(flavor = "multi_thread")]
async fn d1_an_old_enrolment_does_not_undo_a_deletion() {
    let pipeline = Pipeline::start(&Site::new()).await;
    let enrol = Pipeline::request(Operation::Enrol, Some("s0"), vec![sample(0, 0)]);
    let record = pipeline.record(&enrol);
    pipeline.log.publish(record.clone()).await.unwrap();
    pipeline.decision(enrol.request_id).await;
    assert_eq!(pipeline.ask(Operation::Delete, Some("s0"), vec![]).await.outcome, Outcome::Deleted);
    pipeline.log.publish(record).await.unwrap();
    let seen = pipeline.seen.clone();
    let twice = until(|| Some(seen.decisions_of(enrol.request_id)).filter(|all| all.len() == 2)).await;
    assert_eq!(twice[0].1, twice[1].1);
    assert_eq!(
        pipeline.ask(Operation::Verify, Some("s0"), vec![sample(0, 1)]).await.reason,
        Some(Reason::UnknownSubject)
    );
    let search = pipeline.ask(Operation::Identify, None, vec![sample(0, 1)]).await;
    assert_eq!((search.outcome, search.coverage.map(|coverage| coverage.templates)), (Outcome::NoMatch, Some(0)));
    pipeline.stop().await;
}
