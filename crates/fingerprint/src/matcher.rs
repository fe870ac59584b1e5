//! Comparison of two templates, in two stages.
//!
//! Cylinders propose pairs of minutiae, and pairs that agree on one rigid motion support each other.
//! Where too few agree, as between most strangers, the comparison ends. Otherwise the best supported
//! motions are refined and all minutiae are paired under them. The score weighs how many pairs agree,
//! how exactly, and how many minutiae of the common area stay alone.

use crate::align::{Motion, Pair, turn_distance};
use crate::prepared::{MAX_COMPARED, Prepared, Side};
use crate::propose::Proposer;
use crate::template::{Score, Template};

/// A template prepared once to be compared with many candidates. Wiped on drop.
#[derive(Clone)]
pub struct Probe(pub(crate) Prepared);

impl Probe {
    /// Prepares the strongest 96 minutiae of a template.
    pub fn new(template: &Template) -> Self {
        Self(Prepared::new(template))
    }
}

/// A template in the form a gallery keeps in memory, at most 2.5 KB. Wiped on drop.
#[derive(Clone)]
pub struct Candidate(pub(crate) Prepared);

impl Candidate {
    /// Prepares the strongest 96 minutiae of a template.
    pub fn new(template: &Template) -> Self {
        Self(Prepared::new(template))
    }
}

/// Compares once. Deterministic.
pub fn compare(probe: &Probe, candidate: &Candidate) -> Score {
    Matcher::new().compare(probe, candidate)
}

/// Motions that are refined and scored.
const MOTIONS: usize = 3;
/// Support of the best motion below which a comparison ends after the first stage.
const MIN_SUPPORT: f32 = 2.0;
/// How far apart minutiae may lie under a motion to be paired, before and after it is refined:
/// pixels, and 1/256 turn.
const FIRST_REACH: f32 = 16.0;
const FIRST_TURN: u8 = 22;
const REACH: f32 = 12.0;
const TURN: u8 = 18;
/// Pairings under a motion that are looked at; far more than any pair of fingers has.
const OPTIONS: usize = MAX_COMPARED * 8;

/// Scratch space for comparing; keep one for each thread. Comparing allocates nothing.
pub struct Matcher {
    proposer: Proposer,
    pairs: Vec<Pair>,
    options: Vec<u32>,
}

/// How a probe lies on a candidate.
pub(crate) struct Alignment {
    pub(crate) motion: Motion,
    pub(crate) pairs: Vec<Pair>,
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
            proposer: Proposer::new(),
            pairs: Vec::with_capacity(MAX_COMPARED),
            options: Vec::with_capacity(OPTIONS),
        }
    }

    /// Similarity of two templates.
    pub fn compare(&mut self, probe: &Probe, candidate: &Candidate) -> Score {
        self.compare_sides(&probe.0.side(), &candidate.0.side())
    }

    /// The evidence behind a score, for studies of the engine.
    pub fn evidence(&mut self, probe: &Probe, candidate: &Candidate) -> Evidence {
        self.weigh_up(&probe.0.side(), &candidate.0.side())
    }

    pub(crate) fn compare_sides(&mut self, a: &Side<'_>, b: &Side<'_>) -> Score {
        Score::new(score_of(&self.weigh_up(a, b)))
    }

    /// The motion of best score, with what is paired under it; None where nothing is.
    pub(crate) fn alignment(&mut self, probe: &Probe, candidate: &Candidate) -> Option<Alignment> {
        let (a, b) = (&probe.0.side(), &candidate.0.side());
        let (_, motion) = self.best(a, b);
        let motion = motion?;
        self.pair_up(a, b, &motion, REACH, TURN);
        Some(Alignment { motion, pairs: self.pairs.clone() })
    }

    fn weigh_up(&mut self, a: &Side<'_>, b: &Side<'_>) -> Evidence {
        self.best(a, b).0
    }

    fn best(&mut self, a: &Side<'_>, b: &Side<'_>) -> (Evidence, Option<Motion>) {
        self.proposer.run(a, b);
        let local = self.proposer.local();
        let mut used = 0_u32;
        let mut best = Evidence { local, ..Evidence::default() };
        let mut best_motion = None;
        for _ in 0..MOTIONS {
            let Some(seed) = self.proposer.next_seed(a, b, &mut used) else { break };
            let support = self.proposer.support[seed.0];
            best.support = best.support.max(support);
            if support < MIN_SUPPORT {
                break;
            }
            let rough = self.proposer.motion(a, b, seed);
            let Some((found, motion)) = self.judge(a, b, &rough) else { continue };
            let found = Evidence { support, local, ..found };
            if score_of(&found) > score_of(&best) {
                best = found;
                best_motion = Some(motion);
            }
        }
        (best, best_motion)
    }

    fn judge(&mut self, a: &Side<'_>, b: &Side<'_>, rough: &Motion) -> Option<(Evidence, Motion)> {
        self.pair_up(a, b, rough, FIRST_REACH, FIRST_TURN);
        if self.pairs.len() < 3 {
            return None;
        }
        let motion = rough.refined(a, b, &self.pairs);
        self.pair_up(a, b, &motion, REACH, TURN);
        Some((self.weigh(a, b, &motion), motion))
    }

    /// Pairs minutiae one to one under a motion, best fit first. `reach` in pixels, `turn` in 1/256.
    fn pair_up(&mut self, a: &Side<'_>, b: &Side<'_>, motion: &Motion, reach: f32, turn: u8) {
        self.options.clear();
        for i in 0..a.len() {
            let (x, y) = motion.place((f32::from(a.x[i]), f32::from(a.y[i])));
            let direction = a.direction[i].wrapping_add(motion.turn());
            let first = b.x.partition_point(|&left| f32::from(left) < x - reach);
            for j in first..b.len() {
                let (dx, dy) = (f32::from(b.x[j]) - x, f32::from(b.y[j]) - y);
                if dx > reach {
                    break;
                }
                let squared = dx * dx + dy * dy;
                let off = turn_distance(direction, b.direction[j]);
                if squared > reach * reach || off > turn || self.options.len() == OPTIONS {
                    continue;
                }
                let weight = fit(squared, off) * (0.5 + 0.5 * self.proposer.similarity(a, b, i, j));
                self.options.push(packed(weight, i, j));
            }
        }
        self.options.sort_unstable();
        let (mut used_a, mut used_b) = (0_u128, 0_u128);
        self.pairs.clear();
        for &option in &self.options {
            let pair = unpacked(option);
            let (bit_a, bit_b) = (1_u128 << pair.a, 1_u128 << pair.b);
            if used_a & bit_a == 0 && used_b & bit_b == 0 {
                used_a |= bit_a;
                used_b |= bit_b;
                self.pairs.push(pair);
            }
        }
    }

    fn weigh(&self, a: &Side<'_>, b: &Side<'_>, motion: &Motion) -> Evidence {
        let mut found = Evidence::default();
        for pair in &self.pairs {
            let (i, j) = (usize::from(pair.a), usize::from(pair.b));
            let ((x, y), to) = (motion.place(a.at(pair.a)), b.at(pair.b));
            let (dx, dy) = (x - to.0, y - to.1);
            let off = turn_distance(a.direction[i].wrapping_add(motion.turn()), b.direction[j]);
            let exact = fit(dx * dx + dy * dy, off);
            found.fit += exact;
            found.similar_fit += exact * self.proposer.similarity(a, b, i, j);
            found.same_kind += if a.kind[i] == b.kind[j] { exact } else { 0.0 };
        }
        let (common_a, common_b) = common(a, b, motion);
        let common = (common_a as f32 * common_b as f32).sqrt().max(self.pairs.len() as f32);
        found.common = common;
        found.share = self.pairs.len() as f32 / common.max(1.0);
        found
    }
}

/// A pairing as one number that sorts by falling weight, then by probe and candidate minutia.
fn packed(weight: f32, i: usize, j: usize) -> u32 {
    let rank = WEIGHT_STEPS - (weight.clamp(0.0, 1.0) * WEIGHT_STEPS as f32) as u32;
    rank << 16 | (i as u32) << 8 | j as u32
}

fn unpacked(option: u32) -> Pair {
    let weight = (WEIGHT_STEPS - (option >> 16)) as f32 / WEIGHT_STEPS as f32;
    Pair { a: (option >> 8) as u8, b: option as u8, weight }
}

const WEIGHT_STEPS: u32 = 65_535;

/// Minutiae of each side that lie in the other's area (its bounding box, slightly widened).
fn common(a: &Side<'_>, b: &Side<'_>, motion: &Motion) -> (usize, usize) {
    let margin = 8.0;
    let inside = |(x, y): (f32, f32), [left, right, top, bottom]: [f32; 4]| {
        x >= left - margin && x <= right + margin && y >= top - margin && y <= bottom + margin
    };
    let (area_a, area_b) = (a.bounds(), b.bounds());
    let at = |side: &Side<'_>, i: usize| (f32::from(side.x[i]), f32::from(side.y[i]));
    let in_b = (0..a.len()).filter(|&i| inside(motion.place(at(a, i)), area_b)).count();
    let in_a = (0..b.len()).filter(|&j| inside(motion.place_back(at(b, j)), area_a)).count();
    (in_b, in_a)
}

/// 1 for an exact fit, falling with squared distance (pixels) and turn (1/256).
fn fit(squared: f32, turn: u8) -> f32 {
    let turn = f32::from(turn);
    (1.0 - squared / 288.0) * (1.0 - turn * turn / 900.0)
}

/// Weights of the evidence, found by logistic regression of genuine against impostor pairs.
const SIMILAR: f32 = 0.25;
const SAME_KIND: f32 = 0.6;
const ALONE: f32 = 0.33;

/// Score for a unit of support while nothing is paired.
const PROPOSED: f32 = 0.3;

fn score_of(evidence: &Evidence) -> f32 {
    let &Evidence { fit, similar_fit, same_kind, common, support, .. } = evidence;
    if fit <= 0.0 {
        // Below whatever has pairs, and in the order of the first stage.
        return PROPOSED * support.min(MIN_SUPPORT);
    }
    let sum = fit + SIMILAR * similar_fit + SAME_KIND * same_kind - ALONE * (common - fit);
    // Softplus: no score is negative, and weak evidence keeps its order.
    let bent = if sum > 20.0 { sum } else { 2.0 * (sum / 2.0).exp().ln_1p() };
    PROPOSED * MIN_SUPPORT + bent
}
