//! 1:N: what all shards found together.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use ridgeline_domain::{
    Candidate, Comparisons, Confidence, Coverage, Fmr, Liveness, Outcome, Position, Reason, SubjectId,
};

use crate::judgement::Judgement;
use crate::request::State;

/// A search as it was opened.
#[derive(Debug, Clone)]
pub struct Search {
    /// Per gallery partition: the offset it must have been searched through.
    pub required: Vec<u64>,
    /// Per sample, 0–100.
    pub quality: Vec<u8>,
    /// Raises the accept bound.
    pub threshold: Option<Confidence>,
    /// Candidates to return.
    pub top_k: usize,
    /// Set by the matcher.
    pub liveness: Liveness,
}

/// A subject that a shard found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Who.
    pub subject: SubjectId,
    /// Which finger.
    pub position: Position,
    /// Of the comparison alone.
    pub fmr: Fmr,
    /// Where.
    pub partition: u32,
    /// The probe is byte-equal to an enrolled image (V-4).
    pub replay: bool,
}

/// One shard's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardAnswer {
    /// Per covered partition: its number, applied through which offset, how many templates compared.
    pub partitions: Vec<(u32, u64, u64)>,
    /// Best first within the answer.
    pub found: Vec<Found>,
}

/// What the answers so far add up to: each partition counts once, from the first answer that saw enough of it.
#[derive(Debug, Clone, PartialEq)]
struct Merged {
    coverage: Coverage,
    found: Vec<Found>,
}

impl Search {
    /// Whether every partition has been searched through its required offset.
    #[must_use]
    pub fn is_complete(&self, answers: &[ShardAnswer]) -> bool {
        self.merged(answers).coverage.is_complete()
    }

    fn merged(&self, answers: &[ShardAnswer]) -> Merged {
        let mut templates_of = BTreeMap::new();
        let mut found: BTreeMap<SubjectId, Found> = BTreeMap::new();
        for answer in answers {
            let enough = |(partition, through, _): &(u32, u64, u64)| {
                usize::try_from(*partition)
                    .ok()
                    .and_then(|index| self.required.get(index))
                    .is_some_and(|required| through >= required)
            };
            let mut credited = Vec::new();
            for (partition, _, templates) in answer.partitions.iter().filter(|covered| enough(covered)) {
                if !templates_of.contains_key(partition) {
                    templates_of.insert(*partition, *templates);
                    credited.push(*partition);
                }
            }
            for one in answer.found.iter().filter(|one| credited.contains(&one.partition)) {
                let better = found.get(&one.subject).is_none_or(|known| better_first(one, known) == Ordering::Less);
                if better {
                    found.insert(one.subject.clone(), one.clone());
                }
            }
        }
        let total = u32::try_from(self.required.len()).unwrap_or(u32::MAX);
        let missing: Vec<_> = (0..total).filter(|partition| !templates_of.contains_key(partition)).collect();
        let searched = total - u32::try_from(missing.len()).unwrap_or(total);
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_by(better_first);
        Merged { coverage: Coverage { searched, total, templates: templates_of.values().sum(), missing }, found }
    }
}

/// Lower rate first; equal rates by subject, so that the order never depends on who answered first.
fn better_first(a: &Found, b: &Found) -> Ordering {
    a.fmr.get().total_cmp(&b.fmr.get()).then_with(|| a.subject.cmp(&b.subject))
}

/// Judges a search that is complete or whose deadline has passed. D-4: without full coverage it is `incomplete`, whatever was found.
#[must_use]
pub fn merge(state: &State<'_>, search: &Search, answers: &[ShardAnswer]) -> Judgement {
    let Merged { coverage, found } = search.merged(answers);
    let comparisons = Comparisons(coverage.templates.max(1));
    let judged: Vec<_> = found
        .iter()
        .map(|one| (one, state.policy.judge(one.fmr, comparisons, search.threshold, search.liveness)))
        .collect();
    let candidates = judged
        .iter()
        .take(search.top_k)
        .map(|(one, verdict)| Candidate {
            subject: one.subject.clone(),
            position: one.position,
            confidence: verdict.confidence().shown(state.supported).0,
        })
        .collect();
    let best = judged.first().map(|(_, verdict)| verdict.confidence().shown(state.supported));
    let complete = coverage.is_complete();
    let mut accepted = judged.iter().filter(|(_, verdict)| verdict.is_accept());
    let (outcome, reason, subject) = match (complete, accepted.next(), accepted.next()) {
        (false, ..) => (Outcome::Incomplete, None, None),
        (true, None, _) => (Outcome::NoMatch, None, None),
        (true, Some((one, _)), _) if one.replay => (Outcome::Rejected, Some(Reason::Replay), None),
        (true, Some((one, _)), None) => (Outcome::Match, None, Some(one.subject.clone())),
        (true, Some(_), Some(_)) => (Outcome::Ambiguous, None, None),
    };
    Judgement {
        outcome,
        reason,
        subject,
        quality: search.quality.clone(),
        confidence: best,
        candidates,
        coverage: Some(coverage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ridgeline_domain::{Policy, Timestamp};

    fn state(policy: &Policy) -> State<'_> {
        State { policy, now: Timestamp::from_millis(0), supported: Fmr::new(1e-5) }
    }

    fn search(required: Vec<u64>) -> Search {
        Search { required, quality: vec![80], threshold: None, top_k: 10, liveness: Liveness::NotAssessed }
    }

    fn found(subject: &str, fmr: f64, partition: u32) -> Found {
        Found {
            subject: subject.parse().unwrap(),
            position: Position::Unknown,
            fmr: Fmr::new(fmr),
            partition,
            replay: false,
        }
    }

    fn answer(partitions: &[(u32, u64, u64)], found: Vec<Found>) -> ShardAnswer {
        ShardAnswer { partitions: partitions.to_vec(), found }
    }

    #[test]
    fn d4_a_partition_that_was_not_searched_far_enough_is_named_and_nothing_is_concluded() {
        let policy = Policy::default();
        let answers = [answer(&[(0, 5, 10), (1, 3, 10)], vec![found("a", 1e-12, 0)])];
        let judgement = merge(&state(&policy), &search(vec![5, 4]), &answers);
        assert_eq!((judgement.outcome, judgement.subject), (Outcome::Incomplete, None));
        assert_eq!(judgement.coverage.unwrap().missing, [1]);
        let nobody = merge(&state(&policy), &search(vec![5, 4]), &[]);
        assert_eq!(nobody.outcome, Outcome::Incomplete);
    }

    #[test]
    fn all_comparisons_of_the_search_count_against_the_evidence() {
        let policy = Policy::default();
        let few = merge(&state(&policy), &search(vec![0]), &[answer(&[(0, 0, 10)], vec![found("a", 5e-6, 0)])]);
        let many = merge(&state(&policy), &search(vec![0]), &[answer(&[(0, 0, 1_000)], vec![found("a", 5e-6, 0)])]);
        assert_eq!((few.outcome, many.outcome), (Outcome::Match, Outcome::NoMatch));
    }

    #[test]
    fn two_subjects_over_the_bound_are_ambiguous_and_an_enrolled_image_is_a_replay() {
        let policy = Policy::default();
        let two = vec![found("a", 1e-9, 0), found("b", 1e-8, 0)];
        assert_eq!(merge(&state(&policy), &search(vec![0]), &[answer(&[(0, 0, 2)], two)]).outcome, Outcome::Ambiguous);
        let replayed = vec![Found { replay: true, ..found("a", 1e-12, 0) }];
        let judgement = merge(&state(&policy), &search(vec![0]), &[answer(&[(0, 0, 2)], replayed)]);
        assert_eq!((judgement.outcome, judgement.reason), (Outcome::Rejected, Some(Reason::Replay)));
    }

    proptest! {
        /// Doubled and reordered answers of the same partitions change nothing.
        #[test]
        fn redelivered_answers_change_nothing(order in Just((0..4_usize).collect::<Vec<_>>()).prop_shuffle(), doubled in 0..4_usize) {
            let policy = Policy::default();
            let answers: Vec<_> = (0..4_u32)
                .map(|p| answer(&[(p, 9, 5)], vec![found(&format!("s{p}"), 10_f64.powi(-3 - i32::try_from(p).unwrap()), p)]))
                .collect();
            let expected = merge(&state(&policy), &search(vec![9; 4]), &answers);
            let mut shuffled: Vec<_> = order.iter().map(|&i| answers[i].clone()).collect();
            shuffled.push(answers[doubled].clone());
            prop_assert_eq!(merge(&state(&policy), &search(vec![9; 4]), &shuffled), expected);
        }

        /// D-4 for any coverage: `no_match` and `match` only when every partition was searched through its offset.
        #[test]
        fn d4_only_full_coverage_concludes(through in proptest::collection::vec(0..4_u64, 3), fmr in 1e-12_f64..1.0) {
            let policy = Policy::default();
            let covered: Vec<_> = (0..3_u32).zip(&through).map(|(p, t)| (p, *t, 4)).collect();
            let judgement = merge(&state(&policy), &search(vec![2; 3]), &[answer(&covered, vec![found("a", fmr, 0)])]);
            let full = through.iter().all(|t| *t >= 2);
            prop_assert_eq!(judgement.outcome == Outcome::Incomplete, !full);
        }
    }
}
