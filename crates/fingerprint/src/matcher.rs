//! Comparison of two templates.
//!
//! Cylinders propose pairs of minutiae; pairs that agree on one rigid motion support each other; the
//! best supported motions are refined and all minutiae are paired under them. The score weighs how
//! many pairs agree, how exactly, and how many minutiae of the common area stay alone.

use crate::align::{Motion, Pair};
use crate::cylinder::{MAX_COMPARED, Prepared, distance};
use crate::template::{Score, Template};

/// A template prepared once to be compared with many candidates. Wiped on drop.
#[derive(Clone)]
pub struct Probe(pub(crate) Prepared);

impl Probe {
    /// Prepares the strongest 60 minutiae of a template.
    pub fn new(template: &Template) -> Self {
        Self(Prepared::new(template))
    }
}

/// A template in the form a gallery keeps in memory, at most 4 KB. Wiped on drop.
#[derive(Clone)]
pub struct Candidate(pub(crate) Prepared);

impl Candidate {
    /// Prepares the strongest 60 minutiae of a template.
    pub fn new(template: &Template) -> Self {
        Self(Prepared::new(template))
    }
}

/// Compares once; allocates nothing on the heap. Deterministic.
pub fn compare(probe: &Probe, candidate: &Candidate) -> Score {
    Matcher::new().compare(probe, candidate)
}

/// Pairs of minutiae kept for the search of a motion.
const PROPOSALS: usize = 28;
/// Motions that are refined and scored.
const MOTIONS: usize = 5;
/// Least similarity of two cylinders for a proposal, 0 to 1.
const MIN_SIMILARITY: f32 = 0.12;

/// Scratch space for comparing; keep one for each thread.
pub struct Matcher {
    similarity: Box<[[f32; MAX_COMPARED]; MAX_COMPARED]>,
    proposals: Vec<Pair>,
    pairs: Vec<Pair>,
    options: Vec<Pair>,
}

impl Default for Matcher {
    fn default() -> Self {
        Self::new()
    }
}

/// What the evidence for a common finger looks like under the best motion.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence {
    /// Paired minutiae, each weighted by how exactly it fits (0 to 1).
    pub fit: f32,
    /// The same, weighted by the similarity of the neighbourhoods too.
    pub similar_fit: f32,
    /// Share of the common area's minutiae that are paired, 0 to 1.
    pub share: f32,
    /// Paired minutiae of equal kind, weighted by fit.
    pub same_kind: f32,
    /// Minutiae of the common area, geometric mean of both sides.
    pub common: f32,
    /// Support of the motion among the proposals.
    pub support: f32,
    /// Mean similarity of the best proposals.
    pub local: f32,
}

impl Matcher {
    /// Scratch space for comparisons.
    pub fn new() -> Self {
        Self {
            similarity: Box::new([[0.0; MAX_COMPARED]; MAX_COMPARED]),
            proposals: Vec::with_capacity(PROPOSALS + 1),
            pairs: Vec::with_capacity(MAX_COMPARED),
            options: Vec::with_capacity(MAX_COMPARED * 8),
        }
    }

    /// Similarity of two templates.
    pub fn compare(&mut self, probe: &Probe, candidate: &Candidate) -> Score {
        Score::new(score_of(&self.evidence(probe, candidate)))
    }

    /// The evidence behind a score, for studies of the engine.
    pub fn evidence(&mut self, probe: &Probe, candidate: &Candidate) -> Evidence {
        let (a, b) = (&probe.0, &candidate.0);
        self.propose(a, b);
        let mut seeds = [(0.0_f32, 0_usize); PROPOSALS];
        for (index, seed) in seeds.iter_mut().enumerate().take(self.proposals.len()) {
            *seed = (self.support(a, b, index), index);
        }
        let seeds = &mut seeds[..self.proposals.len()];
        seeds.sort_unstable_by(|x, y| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1)));
        let local_count = self.proposals.len().min(10);
        let local = self.proposals[..local_count].iter().map(|p| p.weight).sum::<f32>() / 10.0;
        let mut best = Evidence { local, ..Evidence::default() };
        for &(support, seed) in seeds.iter().take(MOTIONS) {
            let motion = Motion::of_pair(a, b, &self.proposals[seed]);
            let found = self.judge(a, b, motion);
            let found = Evidence { support, local, ..found };
            if score_of(&found) > score_of(&best) {
                best = found;
            }
        }
        best
    }

    /// Fills the similarity matrix and keeps the most similar pairs, best first.
    fn propose(&mut self, a: &Prepared, b: &Prepared) {
        self.proposals.clear();
        let mut least = MIN_SIMILARITY;
        for i in 0..a.len() {
            let row = &mut self.similarity[i];
            let own_root = f32::from(a.weight[i]).sqrt();
            for (j, cell) in row.iter_mut().enumerate().take(b.len()) {
                if a.weight[i] == 0 || b.weight[j] == 0 {
                    *cell = 0.0;
                    continue;
                }
                let differ = distance(&a.cylinders[i], &b.cylinders[j]) as f32;
                let value = 1.0 - differ.sqrt() / (own_root + f32::from(b.weight[j]).sqrt());
                *cell = value;
                if value > least {
                    let pair = Pair { a: i as u8, b: j as u8, weight: value };
                    let at = self.proposals.partition_point(|p| p.weight >= value);
                    self.proposals.insert(at, pair);
                    if self.proposals.len() > PROPOSALS {
                        self.proposals.truncate(PROPOSALS);
                        least = self.proposals[PROPOSALS - 1].weight;
                    }
                }
            }
        }
    }

    /// How much the other proposals agree with the motion of one.
    fn support(&self, a: &Prepared, b: &Prepared, seed: usize) -> f32 {
        let own = &self.proposals[seed];
        let motion = Motion::of_pair(a, b, own);
        let agreeing = self.proposals.iter().map(|p| motion.agreement(a, b, p, own));
        agreeing.sum()
    }

    fn judge(&mut self, a: &Prepared, b: &Prepared, seed: Motion) -> Evidence {
        let mut motion = seed;
        for (reach, turn) in [(18.0, 22), (13.0, 20)] {
            self.pair_up(a, b, &motion, reach, turn);
            if self.pairs.len() < 3 {
                return Evidence::default();
            }
            motion = motion.refined(a, b, &self.pairs);
        }
        self.pair_up(a, b, &motion, 12.0, 18);
        self.weigh(a, b, &motion)
    }

    /// Pairs minutiae one to one under a motion, closest first. `reach` in pixels, `turn` in 1/256.
    fn pair_up(&mut self, a: &Prepared, b: &Prepared, motion: &Motion, reach: f32, turn: u8) {
        self.options.clear();
        for i in 0..a.len() {
            let (x, y) = motion.place(f32::from(a.x[i]), f32::from(a.y[i]));
            let direction = a.direction[i].wrapping_add(motion.turn());
            for j in 0..b.len() {
                let (dx, dy) = (x - f32::from(b.x[j]), y - f32::from(b.y[j]));
                let off = turn_distance(direction, b.direction[j]);
                let squared = dx * dx + dy * dy;
                if squared > reach * reach || off > turn {
                    continue;
                }
                let weight = fit(squared, off) * (0.5 + 0.5 * self.similarity[i][j]);
                if self.options.len() < self.options.capacity() {
                    self.options.push(Pair { a: i as u8, b: j as u8, weight });
                }
            }
        }
        self.options.sort_unstable_by(|x, y| y.weight.total_cmp(&x.weight).then((x.a, x.b).cmp(&(y.a, y.b))));
        let (mut used_a, mut used_b) = (0_u64, 0_u64);
        self.pairs.clear();
        for option in &self.options {
            let (bit_a, bit_b) = (1_u64 << option.a, 1_u64 << option.b);
            if used_a & bit_a == 0 && used_b & bit_b == 0 {
                used_a |= bit_a;
                used_b |= bit_b;
                self.pairs.push(*option);
            }
        }
    }

    fn weigh(&self, a: &Prepared, b: &Prepared, motion: &Motion) -> Evidence {
        let mut found = Evidence::default();
        for pair in &self.pairs {
            let (i, j) = (usize::from(pair.a), usize::from(pair.b));
            let (x, y) = motion.place(f32::from(a.x[i]), f32::from(a.y[i]));
            let (dx, dy) = (x - f32::from(b.x[j]), y - f32::from(b.y[j]));
            let off = turn_distance(a.direction[i].wrapping_add(motion.turn()), b.direction[j]);
            let exact = fit(dx * dx + dy * dy, off);
            found.fit += exact;
            found.similar_fit += exact * self.similarity[i][j].max(0.0);
            found.same_kind += if a.bifurcation[i] == b.bifurcation[j] { exact } else { 0.0 };
        }
        let (common_a, common_b) = motion.common(a, b);
        let common = (common_a as f32 * common_b as f32).sqrt().max(self.pairs.len() as f32);
        found.common = common;
        found.share = self.pairs.len() as f32 / common.max(1.0);
        found
    }
}

/// 1 for an exact fit, falling with squared distance (pixels) and turn (1/256).
fn fit(squared: f32, turn: u8) -> f32 {
    let turn = f32::from(turn);
    (1.0 - squared / 288.0) * (1.0 - turn * turn / 900.0)
}

fn turn_distance(a: u8, b: u8) -> u8 {
    let difference = a.wrapping_sub(b);
    difference.min(difference.wrapping_neg())
}

/// Weights of the evidence, found by logistic regression of genuine against impostor pairs.
const SIMILAR: f32 = 0.25;
const SAME_KIND: f32 = 0.6;
const ALONE: f32 = 0.33;

fn score_of(evidence: &Evidence) -> f32 {
    let &Evidence { fit, similar_fit, same_kind, common, .. } = evidence;
    let sum = fit + SIMILAR * similar_fit + SAME_KIND * same_kind - ALONE * (common - fit);
    // Softplus: no score is negative, and weak evidence keeps its order.
    if sum > 20.0 { sum } else { 2.0 * (sum / 2.0).exp().ln_1p() }
}
