//! Enrol, verify, extract, delete, and the opening of a search: everything that one matcher decides alone.

use ridgeline_domain::{Comparisons, DurationMs, Fmr, Liveness, Operation, Outcome, Position, Reason, RequestId};
use ridgeline_fingerprint::{Candidate, Matcher, Score, Template, calibration};

use crate::judgement::Judgement;
use crate::request::{ImageDigests, Probe, Request, Sample, State, Unusable};

/// A sealed probe stands for a sample taken now; after this it is a replay (V-4).
const PROBE_AGE_MAX: DurationMs = DurationMs::from_secs(60);
/// How far an agent's clock may be ahead of the log before its scans count as not yet valid.
const CLOCK_AHEAD_MAX: DurationMs = DurationMs::from_secs(60);
/// Templates kept for one finger; a person's fingers together stay far below a record's size.
const TEMPLATES_PER_POSITION_MAX: usize = 10;

/// A template that is enrolled.
#[derive(Debug, Clone)]
pub struct EnrolledTemplate {
    /// Which finger.
    pub position: Position,
    /// Of the image it came from.
    pub image: Option<ImageDigests>,
    /// The template; `None` if it is of another engine version, or was replaced.
    pub template: Option<Template>,
}

/// A subject's templates as stored.
#[derive(Debug, Clone, Default)]
pub struct Enrolled {
    /// All of them.
    pub templates: Vec<EnrolledTemplate>,
    /// The last requests that changed the subject.
    pub marks: Vec<RequestId>,
}

/// What a matcher is asked, with what it gathered: a verified and opened request.
#[derive(Debug)]
pub struct Event {
    /// The request.
    pub request: Request,
    /// Its samples, measured.
    pub samples: Vec<Sample>,
    /// The subject's templates; `None` where nobody is enrolled under the subject id, or none is named.
    pub enrolled: Option<Enrolled>,
}

/// What is to be done, in this order, before the offset may move.
#[derive(Debug)]
pub enum Effect {
    /// Marks sealed probes as used up by this request.
    UseProbe([u8; 16]),
    /// Replaces the templates of one finger by these.
    Enrol {
        /// The finger.
        position: Position,
        /// Its new templates.
        templates: Vec<Probe>,
    },
    /// Forgets the subject.
    Forget,
    /// Seals this for the caller, as a reference (enrolment) or a probe (extraction).
    Return(Probe),
    /// Has every shard search for these; the merger decides.
    Search(Vec<Probe>),
    /// Ends the request.
    Decide(Judgement),
}

/// Decides. Exactly one of `Search` and `Decide` is the last effect.
#[must_use]
pub fn handle(state: &State<'_>, event: Event) -> Vec<Effect> {
    let Event { request, samples, enrolled } = event;
    let quality = qualities(&samples);
    let refuse = |reason| vec![Effect::Decide(Judgement::rejected(reason, request.subject.clone(), quality.clone()))];
    if let Some(reason) = refused_unseen(state, &request) {
        return refuse(reason);
    }
    if request.operation == Operation::Delete {
        return delete(&request, enrolled.as_ref());
    }
    let probes = match usable(state, &request, samples) {
        Ok(probes) => probes,
        Err(reason) => return refuse(reason),
    };
    let mut effects: Vec<_> = probes.iter().filter_map(|one| one.used_up.map(Effect::UseProbe)).collect();
    let probes: Vec<_> = probes.into_iter().map(|one| one.probe).collect();
    match request.operation {
        Operation::Enrol => effects.extend(enrol(state, &request, probes, quality)),
        Operation::Verify => effects.push(Effect::Decide(verify(state, &request, &probes, enrolled.as_ref(), quality))),
        Operation::Identify => effects.push(Effect::Search(probes)),
        Operation::Extract | Operation::Delete => effects.extend(extract(&request, probes, quality)),
    }
    effects
}

/// What is refused before a sample is looked at.
fn refused_unseen(state: &State<'_>, request: &Request) -> Option<Reason> {
    if !request.granted {
        return Some(Reason::UnauthorisedSource);
    }
    let not_yet = request.captured_at > state.now.plus(CLOCK_AHEAD_MAX);
    let valid_until = request.valid_until.min(request.captured_at.plus(request.operation.validity()));
    (valid_until <= state.now || not_yet).then_some(Reason::Expired)
}

fn qualities(samples: &[Sample]) -> Vec<u8> {
    samples
        .iter()
        .map(|sample| match sample {
            Sample::Image(Ok(probe)) => probe.quality(),
            Sample::Image(Err(_)) => 0,
            Sample::Sealed(sealed) => sealed.probe.as_ref().map_or(0, Probe::quality),
        })
        .collect()
}

/// A sample that may be compared, and the sealed probe that is used up by doing so.
struct Usable {
    probe: Probe,
    used_up: Option<[u8; 16]>,
}

/// Every sample must be usable; the first that is not gives the reason.
fn usable(state: &State<'_>, request: &Request, samples: Vec<Sample>) -> Result<Vec<Usable>, Reason> {
    let required = state.policy.required_quality(request.operation, request.strict);
    let mut probes = Vec::with_capacity(samples.len());
    for sample in samples {
        let (probe, used_up) = match sample {
            Sample::Image(Ok(probe)) => (probe, None),
            Sample::Image(Err(Unusable::Undecodable)) => return Err(Reason::Undecodable),
            Sample::Image(Err(Unusable::NotAFingerprint)) => return Err(Reason::NotAFingerprint),
            Sample::Sealed(sealed) => {
                if !sealed.is_probe || matches!(request.operation, Operation::Enrol | Operation::Extract) {
                    return Err(Reason::Replay);
                }
                let used = sealed.used_by.is_some_and(|by| by != request.id);
                let age = state.now.since(sealed.made_at);
                if used || age > PROBE_AGE_MAX || age < DurationMs(-CLOCK_AHEAD_MAX.0) {
                    return Err(Reason::Replay);
                }
                if sealed.subject.is_some() && sealed.subject != request.subject {
                    return Err(Reason::TemplateIncompatible);
                }
                (sealed.probe.ok_or(Reason::TemplateIncompatible)?, Some(sealed.id))
            }
        };
        if probe.quality() < required {
            return Err(Reason::LowQuality);
        }
        probes.push(Usable { probe, used_up });
    }
    if probes.is_empty() { Err(Reason::Undecodable) } else { Ok(probes) }
}

fn enrol(state: &State<'_>, request: &Request, probes: Vec<Probe>, quality: Vec<u8>) -> Vec<Effect> {
    let subject = request.subject.clone();
    if !consistent(state, &probes) {
        return vec![Effect::Decide(Judgement::rejected(Reason::InconsistentSamples, subject, quality))];
    }
    let mut best: Vec<_> = probes;
    best.sort_by_key(|probe| std::cmp::Reverse(probe.quality()));
    best.truncate(TEMPLATES_PER_POSITION_MAX);
    let reference = best.first().map(|probe| Effect::Return(probe.clone()));
    let mut effects = vec![Effect::Enrol { position: request.position, templates: best }];
    effects.extend(reference);
    effects.push(Effect::Decide(Judgement::plain(Outcome::Enrolled, subject, quality)));
    effects
}

/// Each sample agrees with at least one earlier one, so that no foreign finger slips into an enrolment.
fn consistent(state: &State<'_>, probes: &[Probe]) -> bool {
    let mut matcher = Matcher::new();
    let candidates: Vec<_> = probes.iter().map(|probe| Candidate::new(&probe.template)).collect();
    (1..probes.len()).all(|later| {
        let Some(probe) = probes.get(later).map(|probe| ridgeline_fingerprint::Probe::new(&probe.template)) else {
            return false;
        };
        let best = best_score(&mut matcher, &probe, candidates.iter().take(later));
        best.is_some_and(|score| {
            let confidence = ridgeline_domain::Confidence::from_fmr(Fmr::new(calibration::fmr(score)));
            confidence >= state.policy.consistency
        })
    })
}

fn best_score<'a>(
    matcher: &mut Matcher,
    probe: &ridgeline_fingerprint::Probe,
    candidates: impl Iterator<Item = &'a Candidate>,
) -> Option<Score> {
    candidates.map(|candidate| matcher.compare(probe, candidate)).max_by(|a, b| a.value().total_cmp(&b.value()))
}

fn verify(
    state: &State<'_>,
    request: &Request,
    probes: &[Probe],
    enrolled: Option<&Enrolled>,
    quality: Vec<u8>,
) -> Judgement {
    let subject = request.subject.clone();
    let Some(enrolled) = enrolled.filter(|enrolled| !enrolled.templates.is_empty()) else {
        return Judgement::rejected(Reason::UnknownSubject, subject, quality);
    };
    if probes.iter().any(|probe| is_enrolled_image(probe, enrolled)) {
        return Judgement::rejected(Reason::Replay, subject, quality);
    }
    let wanted = |template: &&EnrolledTemplate| {
        request.position == Position::Unknown
            || template.position == Position::Unknown
            || template.position == request.position
    };
    let candidates: Vec<_> =
        enrolled.templates.iter().filter(wanted).filter_map(|one| one.template.as_ref()).map(Candidate::new).collect();
    let mut matcher = Matcher::new();
    let best = probes
        .iter()
        .filter_map(|probe| {
            best_score(&mut matcher, &ridgeline_fingerprint::Probe::new(&probe.template), candidates.iter())
        })
        .max_by(|a, b| a.value().total_cmp(&b.value()));
    let Some(score) = best else { return Judgement::rejected(Reason::TemplateIncompatible, subject, quality) };
    let comparisons = Comparisons((probes.len() * candidates.len()) as u64);
    let verdict =
        state.policy.judge(Fmr::new(calibration::fmr(score)), comparisons, request.threshold, Liveness::NotAssessed);
    Judgement::compared(state, verdict, subject, quality)
}

/// V-4: the very image a subject was enrolled from is no live finger.
fn is_enrolled_image(probe: &Probe, enrolled: &Enrolled) -> bool {
    enrolled
        .templates
        .iter()
        .filter_map(|template| template.image.as_ref())
        .any(|image| image.is_same_image(&probe.image))
}

fn extract(request: &Request, probes: Vec<Probe>, quality: Vec<u8>) -> Vec<Effect> {
    let best = probes.into_iter().max_by_key(Probe::quality);
    let mut effects: Vec<_> = best.map(Effect::Return).into_iter().collect();
    effects.push(Effect::Decide(Judgement::plain(Outcome::Extracted, request.subject.clone(), quality)));
    effects
}

fn delete(request: &Request, enrolled: Option<&Enrolled>) -> Vec<Effect> {
    let subject = request.subject.clone();
    let done = Effect::Decide(Judgement::plain(Outcome::Deleted, subject.clone(), Vec::new()));
    match enrolled {
        Some(enrolled) if !enrolled.templates.is_empty() => vec![Effect::Forget, done],
        // The request itself removed the templates before it was interrupted.
        Some(enrolled) if enrolled.marks.contains(&request.id) => vec![Effect::Forget, done],
        _ => vec![Effect::Decide(Judgement::rejected(Reason::UnknownSubject, subject, Vec::new()))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ridgeline_domain::{Policy, Timestamp};
    use ridgeline_fingerprint::{ENGINE, Minutia, MinutiaKind, Quality};

    use crate::request::SealedProbe;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn decide(event: Event) -> Vec<Effect> {
        let policy = Policy::default();
        handle(&State { policy: &policy, now: NOW, supported: Fmr::new(1e-5) }, event)
    }

    fn ending(effects: &[Effect]) -> (Outcome, Option<Reason>) {
        match effects.last() {
            Some(Effect::Decide(judgement)) => (judgement.outcome, judgement.reason),
            other => panic!("not decided: {other:?}"),
        }
    }

    /// A pattern of minutiae that is its own and nobody else's.
    fn template(seed: u32, quality: u8) -> Template {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u16::try_from((state >> 8) % below).unwrap()
        };
        let minutiae = (0..40)
            .map(|_| Minutia {
                x: 20 + next(260),
                y: 20 + next(340),
                direction: u8::try_from(next(256)).unwrap(),
                kind: if next(2) == 0 { MinutiaKind::Ending } else { MinutiaKind::Bifurcation },
                quality: 80,
            })
            .collect();
        Template::new(ENGINE, 300, 380, Quality::new(quality), minutiae).unwrap()
    }

    fn probe(seed: u32, quality: u8) -> Probe {
        Probe { template: template(seed, quality), image: image_of(u8::try_from(seed % 250).unwrap()) }
    }

    fn image_of(number: u8) -> ImageDigests {
        ImageDigests { seen: [number; 32], source: [number; 32] }
    }

    fn image(seed: u32, quality: u8) -> Sample {
        Sample::Image(Ok(probe(seed, quality)))
    }

    fn request(operation: Operation) -> Request {
        Request {
            id: RequestId::from_bytes([1; 16]),
            operation,
            subject: operation.needs_subject().then(|| "s0".parse().unwrap()),
            position: Position::Unknown,
            captured_at: NOW,
            valid_until: NOW.plus(operation.validity()),
            granted: true,
            strict: false,
            threshold: None,
        }
    }

    fn enrolled(seed: u32) -> Enrolled {
        let template = EnrolledTemplate {
            position: Position::Unknown,
            image: Some(image_of(255)),
            template: Some(template(seed, 80)),
        };
        Enrolled { templates: vec![template], marks: vec![] }
    }

    fn event(request: Request, samples: Vec<Sample>, enrolled: Option<Enrolled>) -> Event {
        Event { request, samples, enrolled }
    }

    fn sealed(change: impl FnOnce(&mut SealedProbe)) -> Sample {
        let mut sealed = SealedProbe {
            is_probe: true,
            id: [7; 16],
            subject: None,
            made_at: NOW,
            used_by: None,
            probe: Some(probe(1, 80)),
        };
        change(&mut sealed);
        Sample::Sealed(sealed)
    }

    #[test]
    fn the_same_pattern_matches_and_another_does_not() {
        let verify = |seed| decide(event(request(Operation::Verify), vec![image(seed, 80)], Some(enrolled(1))));
        assert_eq!(ending(&verify(1)).0, Outcome::Match);
        assert_eq!(ending(&verify(2)).0, Outcome::NoMatch);
    }

    #[test]
    fn every_reason_to_refuse_is_given_before_anything_is_written() {
        let verify = |samples| ending(&decide(event(request(Operation::Verify), samples, Some(enrolled(1))))).1;
        assert_eq!(verify(vec![image(1, 49)]), Some(Reason::LowQuality));
        assert_eq!(verify(vec![]), Some(Reason::Undecodable));
        assert_eq!(verify(vec![Sample::Image(Err(Unusable::NotAFingerprint))]), Some(Reason::NotAFingerprint));
        assert_eq!(verify(vec![image(1, 80), Sample::Image(Err(Unusable::Undecodable))]), Some(Reason::Undecodable));
        let mut late = request(Operation::Verify);
        late.captured_at = NOW.plus(DurationMs::from_secs(-61));
        assert_eq!(
            ending(&decide(event(late.clone(), vec![image(1, 80)], Some(enrolled(1))))).1,
            Some(Reason::Expired),
            "however long it says it is valid"
        );
        late.granted = false;
        assert_eq!(ending(&decide(event(late, vec![image(1, 80)], None))).1, Some(Reason::UnauthorisedSource));
        let effects = decide(event(request(Operation::Enrol), vec![image(1, 59)], None));
        assert_eq!((effects.len(), ending(&effects).1), (1, Some(Reason::LowQuality)));
        let mut strict = request(Operation::Enrol);
        strict.strict = true;
        assert_eq!(ending(&decide(event(strict, vec![image(1, 69)], None))).1, Some(Reason::LowQuality));
    }

    #[test]
    fn v4_sealed_probes_are_fresh_unused_and_of_their_subject() {
        let verify = |sample| ending(&decide(event(request(Operation::Verify), vec![sample], Some(enrolled(1)))));
        assert_eq!(verify(sealed(|_| {})).0, Outcome::Match);
        assert_eq!(verify(sealed(|s| s.is_probe = false)).1, Some(Reason::Replay));
        assert_eq!(verify(sealed(|s| s.made_at = NOW.plus(DurationMs::from_secs(-61)))).1, Some(Reason::Replay));
        assert_eq!(verify(sealed(|s| s.made_at = NOW.plus(DurationMs::from_secs(3_600)))).1, Some(Reason::Replay));
        assert_eq!(verify(sealed(|s| s.used_by = Some(RequestId::from_bytes([2; 16])))).1, Some(Reason::Replay));
        assert_eq!(
            verify(sealed(|s| s.used_by = Some(RequestId::from_bytes([1; 16])))).0,
            Outcome::Match,
            "its own mark"
        );
        assert_eq!(verify(sealed(|s| s.subject = Some("s9".parse().unwrap()))).1, Some(Reason::TemplateIncompatible));
        assert_eq!(verify(sealed(|s| s.probe = None)).1, Some(Reason::TemplateIncompatible));
        let enrol = decide(event(request(Operation::Enrol), vec![sealed(|_| {})], None));
        assert_eq!(ending(&enrol).1, Some(Reason::Replay), "nobody is enrolled from a template handed back");
    }

    #[test]
    fn v4_the_enrolled_image_is_a_replay() {
        let mut known = enrolled(1);
        known.templates[0].image = Some(ImageDigests { seen: [9; 32], ..image_of(1) });
        assert_eq!(
            ending(&decide(event(request(Operation::Verify), vec![image(1, 80)], Some(known)))).1,
            Some(Reason::Replay)
        );
    }

    #[test]
    fn enrolment_returns_a_reference_and_refuses_mixed_fingers() {
        let effects = decide(event(request(Operation::Enrol), vec![image(1, 70), image(1, 90)], None));
        assert!(matches!(&effects[..], [Effect::Enrol { templates, .. }, Effect::Return(best), Effect::Decide(_)]
            if templates.len() == 2 && best.quality() == 90));
        let mixed = decide(event(request(Operation::Enrol), vec![image(1, 80), image(2, 80)], None));
        assert_eq!((mixed.len(), ending(&mixed).1), (1, Some(Reason::InconsistentSamples)));
    }

    #[test]
    fn a_deletion_interrupted_after_its_write_goes_on() {
        let own = Enrolled { templates: vec![], marks: vec![RequestId::from_bytes([1; 16])] };
        let delete = |enrolled| decide(event(request(Operation::Delete), vec![], enrolled));
        assert!(matches!(&delete(Some(own))[..], [Effect::Forget, Effect::Decide(_)]));
        assert_eq!(ending(&delete(Some(Enrolled::default()))).1, Some(Reason::UnknownSubject));
        assert_eq!(ending(&delete(None)).1, Some(Reason::UnknownSubject));
    }

    #[test]
    fn templates_of_another_engine_are_not_compared() {
        let mut foreign = enrolled(1);
        foreign.templates[0].template = None;
        assert_eq!(
            ending(&decide(event(request(Operation::Verify), vec![image(1, 80)], Some(foreign)))).1,
            Some(Reason::TemplateIncompatible)
        );
    }

    proptest! {
        /// V-1, D-1: whatever comes in, exactly one ending, at the end; and a match only for a granted, timely, fresh sample of quality.
        #[test]
        fn v1_one_ending_and_no_match_by_accident(
            operation in proptest::sample::select(Operation::ALL),
            granted: bool, age in -200_i64..200, quality in 0_u8..=100, is_probe: bool, sealed_sample: bool, seed in 1_u32..3, known: bool,
        ) {
            let mut asked = request(operation);
            asked.granted = granted;
            asked.captured_at = NOW.plus(DurationMs::from_secs(-age));
            let sample = if sealed_sample { sealed(|s| { s.is_probe = is_probe; s.probe = Some(probe(seed, quality)); }) } else { image(seed, quality) };
            let effects = decide(event(asked, vec![sample], known.then(|| enrolled(1))));
            let endings = effects.iter().filter(|effect| matches!(effect, Effect::Decide(_) | Effect::Search(_))).count();
            prop_assert_eq!(endings, 1);
            prop_assert!(matches!(effects.last(), Some(Effect::Decide(_) | Effect::Search(_))));
            if let Some(Effect::Decide(judgement)) = effects.last() && judgement.is_match() {
                prop_assert!(operation == Operation::Verify && granted && known && seed == 1 && quality >= 50 && (-60..60).contains(&age) && (!sealed_sample || is_probe));
            }
        }
    }
}
