//! The part of the gallery that a process holds in memory, and how it is searched. No I/O.

use std::collections::HashMap;

use ridgeline_domain::{Fmr, Position, SubjectId};
use ridgeline_fingerprint::{Candidate, Matcher, Probe, Score, calibration};
use ridgeline_flow::ImageDigests;
use ridgeline_wire::message::GalleryFilter;
use ridgeline_wire::row::TemplateSet;

use crate::subject::usable;

/// One enrolled template, ready to be compared.
struct Entry {
    position: Position,
    image: Option<ImageDigests>,
    /// `None` for a replaced template, whose image is still known as a replay.
    candidate: Option<Candidate>,
}

/// One partition of the gallery, as far as it has been applied.
#[derive(Default)]
pub(crate) struct Shard {
    subjects: HashMap<SubjectId, (i64, Vec<Entry>)>,
}

/// A probe, prepared once for all partitions.
pub(crate) struct Prepared {
    probes: Vec<(Probe, Option<ImageDigests>)>,
    filter: Option<GalleryFilter>,
    keep: usize,
}

/// The best comparison of a subject.
pub(crate) struct Hit {
    pub(crate) subject: SubjectId,
    pub(crate) position: Position,
    pub(crate) fmr: Fmr,
    pub(crate) replay: bool,
}

/// What one partition holds for a probe.
pub(crate) struct Searched {
    pub(crate) compared: u64,
    pub(crate) hits: Vec<Hit>,
}

/// A subject's new state, decoded and prepared; made off the shard so that searches are not held up.
pub(crate) struct Update {
    subject: SubjectId,
    state: Option<(i64, Vec<Entry>)>,
}

impl Update {
    /// The subject's whole set; templates of other engine versions cannot be searched and are left out.
    pub(crate) fn set(subject: SubjectId, version: i64, set: &TemplateSet) -> Self {
        let entries = set.templates.iter().map(|stored| Entry {
            position: stored.position,
            image: ImageDigests::from_bytes(&stored.image_digest),
            candidate: usable(&stored.template).as_ref().map(Candidate::new),
        });
        Self { subject, state: Some((version, entries.collect())) }
    }

    /// The subject is forgotten.
    pub(crate) const fn forget(subject: SubjectId) -> Self {
        Self { subject, state: None }
    }
}

impl Shard {
    /// Applies updates in log order. A set older than the one that is there (a replay) changes nothing.
    pub(crate) fn apply(&mut self, updates: Vec<Update>) {
        for Update { subject, state } in updates {
            match state {
                None => drop(self.subjects.remove(&subject)),
                Some((version, entries)) => {
                    if self.subjects.get(&subject).is_none_or(|(known, _)| version >= *known) {
                        self.subjects.insert(subject, (version, entries));
                    }
                }
            }
        }
    }

    pub(crate) fn subjects(&self) -> usize {
        self.subjects.len()
    }

    /// Compares with everything that the filter admits. Counts every comparison made.
    pub(crate) fn search(&self, prepared: &Prepared, matcher: &mut Matcher) -> Searched {
        let mut compared = 0;
        let mut hits = Vec::new();
        for (subject, (_, entries)) in self.subjects.iter().filter(|(subject, _)| prepared.admits_subject(subject)) {
            let mut best: Option<(Score, Position)> = None;
            let mut replay = false;
            for entry in entries.iter().filter(|entry| prepared.admits_position(entry.position)) {
                for (probe, image) in &prepared.probes {
                    replay |= image.zip(entry.image).is_some_and(|(a, b)| a.is_same_image(&b));
                    let Some(candidate) = &entry.candidate else { continue };
                    compared += 1;
                    let score = matcher.compare(probe, candidate);
                    if best.is_none_or(|(known, _)| score.value() > known.value()) {
                        best = Some((score, entry.position));
                    }
                }
            }
            if let Some((score, position)) = best {
                hits.push((score, Hit { subject: subject.clone(), position, fmr: Fmr::new(1.0), replay }));
            }
        }
        hits.sort_by(|(a, x), (b, y)| b.value().total_cmp(&a.value()).then_with(|| x.subject.cmp(&y.subject)));
        hits.truncate(prepared.keep);
        let hits = hits.into_iter().map(|(score, hit)| Hit { fmr: Fmr::new(calibration::fmr(score)), ..hit }).collect();
        Searched { compared, hits }
    }
}

impl Prepared {
    /// Prepares the probe's templates. At least two subjects are kept, so that an ambiguity shows.
    pub(crate) fn new(set: &TemplateSet, filter: Option<GalleryFilter>, top_k: i32) -> Self {
        let probes = set.templates.iter().filter_map(|stored| {
            Some((Probe::new(&usable(&stored.template)?), ImageDigests::from_bytes(&stored.image_digest)))
        });
        Self { probes: probes.collect(), filter, keep: usize::try_from(top_k).unwrap_or(0).clamp(2, 100) }
    }

    fn admits_subject(&self, subject: &SubjectId) -> bool {
        self.filter.as_ref().is_none_or(|filter| {
            // Subjects carry no department or site in this version, so a filter by them admits nobody.
            let unknown_attributes = filter.departments.is_empty() && filter.sites.is_empty();
            unknown_attributes && (filter.subject_ids.is_empty() || filter.subject_ids.contains(subject))
        })
    }

    fn admits_position(&self, position: Position) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.positions.is_empty() || filter.positions.contains(&position))
    }
}
