//! The part of the gallery that a process holds in memory, and how it is searched. No I/O.

use std::collections::{HashMap, VecDeque};

use ridgeline_domain::{DurationMs, Fmr, Position, SubjectId, Timestamp};
use ridgeline_fingerprint::{Candidate, Gallery, Matcher, Probe, Score, calibration};
use ridgeline_flow::ImageDigests;
use ridgeline_wire::message::GalleryFilter;
use ridgeline_wire::row::TemplateSet;

use crate::subject::{Standing, usable};

/// How long a forgotten subject's version is remembered: as long as its tombstone stays readable.
const REMEMBERED: DurationMs = DurationMs::from_days(7);
/// Forgotten subjects remembered in one partition, about 10 MiB of them; beyond it the oldest go early.
const FORGOTTEN_MAX: usize = 100_000;
/// Subjects of one partition in doubt at once; the sweep finds those again that do not fit.
const DOUBTS_MAX: usize = 10_000;

/// One enrolled template, ready to be compared.
struct Entry {
    position: Position,
    image: Option<ImageDigests>,
    /// `None` for a replaced template, whose image is still known as a replay.
    candidate: Option<Candidate>,
}

/// What a subject has in the shard.
struct Enrolled {
    version: i64,
    images: Vec<(Position, ImageDigests)>,
    /// Keys of its templates in the gallery.
    keys: Vec<u64>,
}

/// One partition of the gallery, as far as it has been applied.
///
/// Holds the highest version of each subject that it has read, whatever the order of the records, forgotten subjects included:
/// an old set that is published after a tombstone brings nobody back. Such a subject is in doubt until its row was published again.
#[derive(Default)]
pub(crate) struct Shard {
    subjects: HashMap<SubjectId, Enrolled>,
    gallery: Gallery,
    /// Whose a template of the gallery is.
    holders: HashMap<u64, (SubjectId, Position)>,
    /// A key that no template has had.
    next_key: u64,
    /// Version of the latest tombstone, and when it was appended.
    forgotten: HashMap<SubjectId, (i64, Timestamp)>,
    /// The same in the order in which they were forgotten.
    forgotten_order: VecDeque<(Timestamp, SubjectId, i64)>,
    doubts: HashMap<SubjectId, Doubt>,
}

/// The topic's last record of a subject may be older than its row.
struct Doubt {
    /// A record of at least this version ends the doubt.
    version: i64,
    /// Looked at before; what is on its way has had the time to arrive.
    aged: bool,
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
    version: Option<i64>,
    state: State,
}

enum State {
    Enrolled(Vec<Entry>),
    Forgotten { at: Timestamp },
}

impl Update {
    /// The subject's whole set; templates of other engine versions cannot be searched and are left out.
    pub(crate) fn set(subject: SubjectId, version: i64, set: &TemplateSet) -> Self {
        let entries = set.templates.iter().map(|stored| Entry {
            position: stored.position,
            image: ImageDigests::from_bytes(&stored.image_digest),
            candidate: usable(&stored.template).as_ref().map(Candidate::new),
        });
        Self { subject, version: Some(version), state: State::Enrolled(entries.collect()) }
    }

    /// The subject is forgotten, by a tombstone appended `at`. One that does not say its version has the highest read so far.
    pub(crate) const fn forget(subject: SubjectId, version: Option<i64>, at: Timestamp) -> Self {
        Self { subject, version, state: State::Forgotten { at } }
    }
}

impl Shard {
    /// Applies updates in log order.
    pub(crate) fn apply(&mut self, updates: Vec<Update>) {
        for Update { subject, version, state } in updates {
            let known = self.known(&subject);
            let version = version.or(known).unwrap_or(0);
            // A version is either a set or a tombstone: the one a tombstone took is no set any more.
            let revives = matches!(state, State::Enrolled(_)) && self.forgotten.contains_key(&subject);
            if let Some(known) = known.filter(|known| version < *known || (revives && version == *known)) {
                self.doubt(subject, known);
                continue;
            }
            if self.doubts.get(&subject).is_some_and(|doubt| version >= doubt.version) {
                self.doubts.remove(&subject);
            }
            match state {
                State::Enrolled(entries) => {
                    self.forgotten.remove(&subject);
                    self.drop_templates(&subject);
                    self.hold(subject, version, &entries);
                }
                State::Forgotten { at } => {
                    self.drop_templates(&subject);
                    self.forgotten.insert(subject.clone(), (version, at));
                    self.forgotten_order.push_back((at, subject, version));
                    self.expire(at);
                }
            }
        }
    }

    fn hold(&mut self, subject: SubjectId, version: i64, entries: &[Entry]) {
        let images = entries.iter().filter_map(|entry| Some((entry.position, entry.image?))).collect();
        let mut keys = Vec::with_capacity(entries.len());
        for (entry, candidate) in entries.iter().filter_map(|entry| Some((entry, entry.candidate.as_ref()?))) {
            let key = self.next_key;
            self.next_key += 1;
            self.gallery.insert(key, candidate);
            self.holders.insert(key, (subject.clone(), entry.position));
            keys.push(key);
        }
        self.subjects.insert(subject, Enrolled { version, images, keys });
    }

    fn drop_templates(&mut self, subject: &SubjectId) {
        for key in self.subjects.remove(subject).into_iter().flat_map(|enrolled| enrolled.keys) {
            self.gallery.remove(key);
            self.holders.remove(&key);
        }
    }

    /// The highest version read of a subject, enrolled or forgotten.
    fn known(&self, subject: &SubjectId) -> Option<i64> {
        self.subjects
            .get(subject)
            .map(|enrolled| enrolled.version)
            .or_else(|| self.forgotten.get(subject).map(|(version, _)| *version))
    }

    /// Lets go of what was forgotten long before `now`, the append time of the latest record.
    fn expire(&mut self, now: Timestamp) {
        while let Some((at, subject, version)) = self.forgotten_order.front() {
            if self.forgotten_order.len() <= FORGOTTEN_MAX && now.since(*at) < REMEMBERED {
                return;
            }
            if self.forgotten.get(subject) == Some(&(*version, *at)) {
                self.forgotten.remove(subject);
            }
            self.forgotten_order.pop_front();
        }
    }

    /// Compares with the subject's row as it stands in the store; what lags is in doubt from now on.
    pub(crate) fn compare(&mut self, subject: &SubjectId, row: Standing) {
        let behind = match self.known(subject) {
            Some(known) => known < row.version,
            None => !row.deleted,
        };
        if behind {
            self.doubt(subject.clone(), row.version);
        }
    }

    fn doubt(&mut self, subject: SubjectId, version: i64) {
        if self.doubts.len() >= DOUBTS_MAX && !self.doubts.contains_key(&subject) {
            return;
        }
        let doubt = self.doubts.entry(subject).or_insert(Doubt { version, aged: false });
        doubt.version = doubt.version.max(version);
    }

    /// Subjects that were in doubt the last time already, with the version that is missing.
    pub(crate) fn long_in_doubt(&mut self) -> Vec<(SubjectId, i64)> {
        let mut found = Vec::new();
        for (subject, doubt) in &mut self.doubts {
            if std::mem::replace(&mut doubt.aged, true) {
                found.push((subject.clone(), doubt.version));
            }
        }
        found
    }

    /// The subject's row cannot end the doubt: it is older than what was read.
    pub(crate) fn give_up(&mut self, subject: &SubjectId) {
        self.doubts.remove(subject);
    }

    pub(crate) fn subjects(&self) -> usize {
        self.subjects.len()
    }

    /// Compares with everything that the filter admits. Counts every comparison made. Of a subject's equal scores that of the first
    /// position counts, so that the order in memory decides nothing.
    pub(crate) fn search(&self, prepared: &Prepared, matcher: &mut Matcher) -> Searched {
        let mut compared = 0;
        let mut best: HashMap<&SubjectId, (Score, Position)> = HashMap::new();
        for (probe, _) in &prepared.probes {
            let is_wanted = |(subject, position): &(SubjectId, Position)| prepared.admits(subject, *position);
            let admits = |key| prepared.filter.is_none() || self.holders.get(&key).is_some_and(is_wanted);
            for found in self.gallery.scores(probe, matcher, admits) {
                compared += 1;
                let Some((subject, position)) = self.holders.get(&found.key) else { continue };
                let known = best.entry(subject).or_insert((found.score, *position));
                let order = found.score.value().total_cmp(&known.0.value());
                if order.is_gt() || (order.is_eq() && position.iso_code() < known.1.iso_code()) {
                    *known = (found.score, *position);
                }
            }
        }
        let mut best: Vec<_> = best.into_iter().collect();
        best.sort_by(|(x, (a, _)), (y, (b, _))| b.value().total_cmp(&a.value()).then_with(|| x.cmp(y)));
        best.truncate(prepared.keep);
        let hit = |(subject, (score, position)): (&SubjectId, (Score, Position))| Hit {
            subject: subject.clone(),
            position,
            fmr: Fmr::new(calibration::fmr(score)),
            replay: self.subjects.get(subject).is_some_and(|enrolled| prepared.replays(enrolled)),
        };
        Searched { compared, hits: best.into_iter().map(hit).collect() }
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

    fn admits(&self, subject: &SubjectId, position: Position) -> bool {
        self.admits_position(position) && self.admits_subject(subject)
    }

    /// Whether a probe was made from the very image of an enrolled template, or of a replaced one.
    fn replays(&self, enrolled: &Enrolled) -> bool {
        let images = enrolled.images.iter().filter(|(position, _)| self.admits_position(*position));
        images.into_iter().any(|(_, image)| {
            self.probes.iter().filter_map(|(_, probe)| *probe).any(|probe| probe.is_same_image(image))
        })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ridgeline_fingerprint::{ENGINE, Engine, Minutia, MinutiaKind, Quality, Template};
    use ridgeline_wire::row::StoredTemplate;

    use super::*;

    fn subject(index: usize) -> SubjectId {
        format!("s{index}").parse().unwrap()
    }

    fn enrolled(index: usize, version: i64) -> Update {
        Update::set(subject(index), version, &TemplateSet::default())
    }

    fn forgotten(index: usize, version: i64, day: i64) -> Update {
        Update::forget(subject(index), Some(version), at(day))
    }

    fn at(day: i64) -> Timestamp {
        Timestamp::from_millis(0).plus(DurationMs::from_days(day))
    }

    /// A template with minutiae of its own for each number; its image has the number in every byte.
    fn template(number: u8, engine: Engine, position: Position) -> StoredTemplate {
        let mut state = u32::from(number) + 1;
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        let minutiae = (0..35).map(|_| Minutia {
            x: u16::try_from(next(300)).unwrap(),
            y: u16::try_from(next(300)).unwrap(),
            direction: u8::try_from(next(256)).unwrap(),
            kind: MinutiaKind::Ending,
            quality: 60,
        });
        let made = Template::new(engine, 300, 300, Quality::new(60), minutiae.collect()).unwrap();
        StoredTemplate {
            position,
            quality: 60,
            engine: made.engine().to_string(),
            enrolled_at: at(0),
            image_digest: vec![number; 64],
            template: made.to_bytes(),
        }
    }

    fn set(templates: Vec<StoredTemplate>) -> TemplateSet {
        TemplateSet { templates }
    }

    /// One template each, and subject 3 with the same minutiae on two fingers.
    fn gallery() -> Shard {
        let mut shard = Shard::default();
        let thumb = |number| template(number, ENGINE, Position::RightThumb);
        shard.apply((0..5).map(|n| Update::set(subject(n.into()), 1, &set(vec![thumb(n)]))).collect());
        let both = set(vec![template(3, ENGINE, Position::LeftIndex), thumb(3)]);
        shard.apply(vec![Update::set(subject(3), 2, &both)]);
        shard
    }

    fn probe(number: u8, image: u8) -> TemplateSet {
        set(vec![StoredTemplate { image_digest: vec![image; 64], ..template(number, ENGINE, Position::Unknown) }])
    }

    fn found(
        shard: &Shard,
        probe: &TemplateSet,
        filter: Option<GalleryFilter>,
    ) -> (u64, Vec<(SubjectId, Position, bool)>) {
        let Searched { compared, hits } = shard.search(&Prepared::new(probe, filter, 2), &mut Matcher::new());
        (compared, hits.into_iter().map(|hit| (hit.subject, hit.position, hit.replay)).collect())
    }

    #[test]
    fn the_best_of_each_subject_counts_and_of_equal_ones_the_first_finger() {
        let shard = gallery();
        let (compared, hits) = found(&shard, &probe(3, 99), None);
        assert_eq!((compared, hits.len()), (6, 2));
        assert_eq!(hits[0], (subject(3), Position::RightThumb, false));
        let both = set([probe(3, 99).templates, probe(1, 98).templates].concat());
        let (compared, hits) = found(&shard, &both, None);
        let mut subjects: Vec<_> = hits.into_iter().map(|(subject, ..)| subject).collect();
        subjects.sort();
        assert_eq!((compared, subjects), (12, vec![subject(1), subject(3)]), "each probe with every template");
    }

    #[test]
    fn a_filter_is_applied_before_anything_is_compared() {
        let left = GalleryFilter { positions: vec![Position::LeftIndex], ..GalleryFilter::default() };
        let (compared, hits) = found(&gallery(), &probe(3, 99), Some(left));
        assert_eq!((compared, hits), (1, vec![(subject(3), Position::LeftIndex, false)]));
        let named = GalleryFilter { subject_ids: vec![subject(0), subject(9)], ..GalleryFilter::default() };
        let (compared, hits) = found(&gallery(), &probe(3, 99), Some(named));
        assert_eq!((compared, hits.len()), (1, 1));
        assert_eq!(hits[0].0, subject(0));
    }

    #[test]
    fn the_image_of_a_template_that_cannot_be_compared_any_more_is_still_a_replay() {
        let mut shard = gallery();
        let old = template(7, Engine::new("of-old", 1), Position::LeftIndex);
        let both = set(vec![old, template(3, ENGINE, Position::RightThumb)]);
        shard.apply(vec![Update::set(subject(3), 3, &both)]);
        let (compared, hits) = found(&shard, &probe(3, 7), None);
        assert_eq!((compared, &hits[0]), (5, &(subject(3), Position::RightThumb, true)));
        assert!(!found(&shard, &probe(3, 8), None).1[0].2);
    }

    #[test]
    fn what_was_replaced_or_forgotten_is_not_found() {
        let mut shard = gallery();
        let other = set(vec![template(8, ENGINE, Position::RightThumb)]);
        shard.apply(vec![Update::set(subject(3), 3, &other), forgotten(1, 2, 0)]);
        let (compared, hits) = found(&shard, &probe(8, 99), None);
        assert_eq!((compared, &hits[0].0), (4, &subject(3)));
        assert_eq!((shard.gallery.len(), shard.holders.len()), (4, 4));
    }

    #[test]
    fn an_old_set_behind_a_tombstone_brings_nobody_back_and_leaves_a_doubt() {
        let mut shard = Shard::default();
        shard.apply(vec![enrolled(0, 1), forgotten(0, 2, 0), enrolled(0, 1)]);
        assert_eq!(shard.subjects(), 0);
        assert!(shard.long_in_doubt().is_empty(), "it may be on its way");
        assert_eq!(shard.long_in_doubt(), [(subject(0), 2)]);
        shard.apply(vec![forgotten(0, 2, 0)]);
        assert!(shard.long_in_doubt().is_empty() && shard.doubts.is_empty());
        shard.apply(vec![enrolled(0, 3)]);
        assert_eq!(shard.subjects(), 1, "a new enrolment does");
    }

    #[test]
    fn a_tombstone_without_a_version_is_newer_than_what_was_read() {
        for repeated in [4, 5] {
            let mut shard = Shard::default();
            shard.apply(vec![enrolled(0, 5), Update::forget(subject(0), None, at(0)), enrolled(0, repeated)]);
            assert_eq!((shard.subjects(), shard.known(&subject(0))), (0, Some(5)), "{repeated}");
            shard.apply(vec![enrolled(0, 6)]);
            assert_eq!(shard.subjects(), 1, "a new enrolment does");
        }
    }

    #[test]
    fn forgotten_versions_are_kept_as_long_as_tombstones() {
        let mut shard = Shard::default();
        shard.apply(vec![forgotten(0, 2, 0), forgotten(1, 2, 6), forgotten(0, 4, 6)]);
        assert_eq!((shard.known(&subject(0)), shard.known(&subject(1))), (Some(4), Some(2)));
        shard.apply(vec![forgotten(2, 1, 8)]);
        assert_eq!(shard.known(&subject(0)), Some(4), "its later tombstone counts");
        shard.apply(vec![forgotten(2, 1, 14)]);
        assert_eq!((shard.known(&subject(0)), shard.known(&subject(1))), (None, None));
        let many = (0..FORGOTTEN_MAX + 10).map(|index| forgotten(index, 1, 14));
        shard.apply(many.collect());
        assert!(shard.forgotten.len() <= FORGOTTEN_MAX && shard.forgotten_order.len() <= FORGOTTEN_MAX);
    }

    #[test]
    fn a_repeated_tombstone_is_remembered_from_then_on() {
        let mut shard = Shard::default();
        shard.apply(vec![forgotten(0, 2, 0), forgotten(0, 2, 6), forgotten(1, 1, 8)]);
        assert_eq!(shard.known(&subject(0)), Some(2));
        shard.apply(vec![forgotten(1, 1, 13)]);
        assert_eq!(shard.known(&subject(0)), None);
    }

    #[test]
    fn rows_ahead_of_what_was_read_are_in_doubt() {
        let mut shard = Shard::default();
        shard.apply(vec![enrolled(0, 2), forgotten(1, 3, 0)]);
        let live = |version| Standing { version, deleted: false };
        let gone = |version| Standing { version, deleted: true };
        for (index, row) in [(0, live(2)), (0, live(1)), (1, gone(3)), (2, gone(9))] {
            shard.compare(&subject(index), row);
        }
        assert!(shard.doubts.is_empty(), "they agree, or there is nothing to publish");
        for (index, row) in [(0, gone(3)), (1, live(4)), (3, live(1))] {
            shard.compare(&subject(index), row);
        }
        shard.long_in_doubt();
        let mut found = shard.long_in_doubt();
        found.sort();
        assert_eq!(found, [(subject(0), 3), (subject(1), 4), (subject(3), 1)]);
        shard.give_up(&subject(3));
        assert_eq!(shard.long_in_doubt().len(), 2);
    }

    proptest! {
        /// Whatever order the records of a subject arrive in, and however many of them compaction has removed: as long as the
        /// newest one is among them, every shard ends at the same state.
        #[test]
        fn every_order_and_every_compaction_ends_alike(
            states in proptest::collection::vec(any::<bool>(), 1..8),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..24),
            newest_at in any::<prop::sample::Index>(),
        ) {
            let newest = states.len() - 1;
            let record = |version: usize| {
                let number = i64::try_from(version).unwrap();
                if states[version] { enrolled(0, number) } else { forgotten(0, number, 0) }
            };
            let mut versions: Vec<_> = order.iter().map(|index| index.index(states.len())).collect();
            versions.insert(newest_at.index(versions.len() + 1), newest);
            let mut shard = Shard::default();
            shard.apply(versions.iter().map(|version| record(*version)).collect());
            prop_assert_eq!(shard.subjects(), usize::from(states[newest]));
            prop_assert_eq!(shard.known(&subject(0)), Some(i64::try_from(newest).unwrap()));
            let stale = versions.last().is_some_and(|last| *last != newest);
            prop_assert_eq!(shard.doubts.contains_key(&subject(0)), stale, "in doubt exactly if the last record is not the newest");
        }
    }
}
