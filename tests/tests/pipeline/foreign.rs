//! Minutiae of other systems as samples: they enrol, verify and are found, and what holds for images holds for them.

use ridgeline_domain::{Operation, Outcome, Reason};
use ridgeline_fingerprint::formats::{Record, RecordFormat};
use ridgeline_fingerprint::{ENGINE, Minutia, MinutiaKind, Quality, Template};

use crate::fingers::{foreign, record, sample, sealed};
use crate::harness::{Pipeline, Site};

#[tokio::test(flavor = "multi_thread")]
async fn foreign_minutiae_and_images_are_compared_both_ways() {
    let pipeline = Pipeline::start(&Site::new()).await;
    let iso = pipeline.ask(Operation::Enrol, Some("s0"), vec![foreign(0, 0, RecordFormat::Iso2011)]).await;
    assert_eq!(iso.outcome, Outcome::Enrolled);
    let images = pipeline.ask(Operation::Enrol, Some("s1"), vec![sample(1, 0), sample(1, 1)]).await;
    assert_eq!(images.outcome, Outcome::Enrolled);

    let verified = pipeline.ask(Operation::Verify, Some("s0"), vec![sample(0, 1)]).await;
    assert_eq!(verified.outcome, Outcome::Match, "an image against foreign minutiae");
    let verified = pipeline.ask(Operation::Verify, Some("s1"), vec![foreign(1, 2, RecordFormat::Ansi2004)]).await;
    assert_eq!(verified.outcome, Outcome::Match, "foreign minutiae against images");
    let found = pipeline.ask(Operation::Identify, None, vec![foreign(0, 2, RecordFormat::Iso2005)]).await;
    assert_eq!((found.outcome, found.subject_id.unwrap().to_string()), (Outcome::Match, "s0".to_owned()));
    let stranger = pipeline.ask(Operation::Verify, Some("s0"), vec![foreign(2, 0, RecordFormat::Ansi2009)]).await;
    assert_ne!(stranger.outcome, Outcome::Match);
    let nobody = pipeline.ask(Operation::Identify, None, vec![foreign(3, 0, RecordFormat::Ansi2009Am1)]).await;
    assert_eq!(nobody.outcome, Outcome::NoMatch);

    let extracted = pipeline.ask(Operation::Extract, None, vec![foreign(0, 2, RecordFormat::Iso2011)]).await;
    let probe = pipeline.details(extracted.confirmation_id).await.template.unwrap();
    let by_probe = pipeline.ask(Operation::Verify, Some("s0"), vec![sealed(probe)]).await;
    assert_eq!(by_probe.outcome, Outcome::Match, "sealed on the way");
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v4_enrolled_minutiae_are_known_again_in_every_format() {
    let pipeline = Pipeline::start(&Site::new()).await;
    let enrolled = pipeline.ask(Operation::Enrol, Some("s0"), vec![foreign(0, 0, RecordFormat::Iso2011)]).await;
    assert_eq!(enrolled.outcome, Outcome::Enrolled);
    for format in [RecordFormat::Iso2011, RecordFormat::Iso2005] {
        for operation in [Operation::Verify, Operation::Identify] {
            let subject = operation.needs_subject().then_some("s0");
            let again = pipeline.ask(operation, subject, vec![foreign(0, 0, format)]).await;
            assert_eq!(
                (again.outcome, again.reason),
                (Outcome::Rejected, Some(Reason::Replay)),
                "{operation} {format}"
            );
        }
    }
    pipeline.stop().await;
}

/// A record's own quality is what the minima are held against, and too few minutiae are no finger.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_minutiae_have_to_be_good_enough() {
    let pipeline = Pipeline::start(&Site::new()).await;
    let of = |count: u16, quality: u8| {
        let minutia = |i: u16| Minutia {
            x: 40 + 50 * (i % 5),
            y: 40 + 50 * (i / 5),
            direction: (i * 37 % 256) as u8,
            kind: MinutiaKind::Ending,
            quality: 70,
        };
        let template =
            Template::new(ENGINE, 300, 400, Quality::new(quality), (0..count).map(minutia).collect()).unwrap();
        record(&Record::of_template(RecordFormat::Iso2005, &template, 0).unwrap())
    };
    for (count, quality, reason) in [
        (25, 59, Some(Reason::LowQuality)),
        (5, 90, Some(Reason::NotAFingerprint)),
        (0, 90, Some(Reason::NotAFingerprint)),
        (25, 60, None),
    ] {
        let enrolled = pipeline.ask(Operation::Enrol, Some("s0"), vec![of(count, quality)]).await;
        assert_eq!(enrolled.reason, reason, "{count} minutiae of quality {quality}");
    }
    pipeline.stop().await;
}
