//! Enrol, verify, extract, delete, and the opening of a search: everything that one matcher decides alone.

use ridgeline_domain::{Comparisons, DurationMs, Fmr, Liveness, Operation, Outcome, Position, Reason, RequestId};
use ridgeline_fingerprint::{Candidate, Matcher, Score, Template, calibration};

use crate::judgement::Judgement;
use crate::request::{Probe, Request, Sample, State, Unusable};

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
    /// Keyed digest of the image it came from.
    pub image_digest: Vec<u8>,
    /// The template; `None` if it is of another engine version.
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

/// What a matcher is asked, with what it gathered.
#[derive(Debug)]
pub enum Event {
    /// A verified and opened request; `enrolled` is `None` where nobody is enrolled under the subject id, or none is named.
    Request {
        /// The request.
        request: Request,
        /// Its samples, measured.
        samples: Vec<Sample>,
        /// The subject's templates.
        enrolled: Option<Enrolled>,
    },
    /// A record whose signature verifies and which can never be processed.
    Unprocessable {
        /// Why.
        reason: Reason,
        /// Whom it says it is about.
        subject: Option<ridgeline_domain::SubjectId>,
    },
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
    /// Seals this template for the caller, as a reference (enrolment) or a probe (extraction).
    Return(Template),
    /// Has every shard search for these; the merger decides.
    Search(Vec<Probe>),
    /// Ends the request.
    Decide(Judgement),
}

/// Decides. Exactly one of `Search` and `Decide` is the last effect.
#[must_use]
pub fn handle(state: &State<'_>, event: Event) -> Vec<Effect> {
    let (request, samples, enrolled) = match event {
        Event::Unprocessable { reason, subject } => return vec![Effect::Decide(Judgement::failed(reason, subject))],
        Event::Request { request, samples, enrolled } => (request, samples, enrolled),
    };
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
            Sample::Sealed(sealed) => sealed.template.as_ref().map_or(0, |template| template.quality().value()),
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
                let template = sealed.template.ok_or(Reason::TemplateIncompatible)?;
                (Probe { template, image_digest: None }, Some(sealed.id))
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
    let reference = best.first().map(|probe| Effect::Return(probe.template.clone()));
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
    probe.image_digest.is_some_and(|digest| enrolled.templates.iter().any(|template| template.image_digest == digest))
}

fn extract(request: &Request, probes: Vec<Probe>, quality: Vec<u8>) -> Vec<Effect> {
    let best = probes.into_iter().max_by_key(Probe::quality);
    let mut effects: Vec<_> = best.map(|probe| Effect::Return(probe.template)).into_iter().collect();
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
