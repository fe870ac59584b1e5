//! The first stage of a comparison: which minutiae look alike, and which motion most of them share.

use std::sync::OnceLock;

use crate::align::{Motion, Pair};
use crate::prepared::{CYLINDER_WORDS, MAX_CYLINDERS, Side, UNRANKED};

/// Pairs of minutiae kept for the search of a motion.
pub(crate) const PROPOSALS: usize = 28;
/// Least similarity of two cylinders for a proposal, 0 to 1.
const MIN_SIMILARITY: f32 = 0.3;
/// Greatest difference of two proposals' turns that agree, 1/256 turn.
const MAX_TURN: i32 = 20;

/// Similarities of all cylinders, and the proposals taken from them. Fixed size.
pub(crate) struct Proposer {
    similarity: Box<[[f32; MAX_CYLINDERS]; MAX_CYLINDERS]>,
    pub(crate) proposals: [Pair; PROPOSALS],
    pub(crate) count: usize,
    lanes: Lanes,
    /// Weight of the proposals that agree with each.
    pub(crate) support: [f32; PROPOSALS],
}

impl Proposer {
    pub(crate) fn new() -> Self {
        Self {
            similarity: Box::new([[0.0; MAX_CYLINDERS]; MAX_CYLINDERS]),
            proposals: [Pair::default(); PROPOSALS],
            count: 0,
            lanes: Lanes::default(),
            support: [0.0; PROPOSALS],
        }
    }

    /// Similarity of two minutiae's neighbourhoods; 0 where one has no cylinder.
    #[inline]
    pub(crate) fn similarity(&self, a: &Side<'_>, b: &Side<'_>, i: usize, j: usize) -> f32 {
        let (rank_a, rank_b) = (a.rank[i], b.rank[j]);
        if rank_a == UNRANKED || rank_b == UNRANKED {
            return 0.0;
        }
        self.similarity[usize::from(rank_a)][usize::from(rank_b)]
    }

    /// Mean similarity of the best ten proposals.
    pub(crate) fn local(&self) -> f32 {
        self.proposals[..self.count.min(10)].iter().map(|pair| pair.weight).sum::<f32>() / 10.0
    }

    /// Fills the similarity matrix, keeps the most similar pairs and finds which of them agree.
    pub(crate) fn run(&mut self, a: &Side<'_>, b: &Side<'_>) {
        self.count = 0;
        let (rows, columns) = (a.slot.len().min(MAX_CYLINDERS), b.slot.len().min(MAX_CYLINDERS));
        let mut roots = [0.0_f32; MAX_CYLINDERS];
        for (root, weight) in roots.iter_mut().zip(b.weight) {
            *root = inverse_root(*weight);
        }
        let mut least = MIN_SIMILARITY;
        for rank in 0..rows {
            let own: [u64; CYLINDER_WORDS] = std::array::from_fn(|word| a.words[word * rows + rank]);
            let row = &mut self.similarity[rank][..columns];
            if cosines(&own, inverse_root(a.weight[rank]), b.words, &roots[..columns], row) <= least {
                continue;
            }
            for column in 0..columns {
                let weight = self.similarity[rank][column];
                if weight > least {
                    let pair = Pair { a: a.slot[rank], b: b.slot[column], weight };
                    least = keep(&mut self.proposals, &mut self.count, pair).unwrap_or(least);
                }
            }
        }
        self.agree(a, b);
    }

    fn agree(&mut self, a: &Side<'_>, b: &Side<'_>) {
        self.lanes = Lanes::default();
        for (index, pair) in self.proposals.iter().enumerate().take(self.count) {
            self.lanes.set(a, b, index, pair);
        }
        for index in 0..self.count {
            let shares = self.lanes.shares(&Motion::of_pair(a, b, &self.proposals[index]), index);
            // Four sums at once, in an order that is the same everywhere.
            let mut sums = [0.0_f32; 4];
            for four in shares.as_chunks::<4>().0 {
                for (sum, share) in sums.iter_mut().zip(four) {
                    *sum += share;
                }
            }
            self.support[index] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        }
    }

    /// The best supported proposal not yet in `used`, with all that agree with it, which `used` takes in:
    /// bit q for proposal q.
    pub(crate) fn next_seed(&self, a: &Side<'_>, b: &Side<'_>, used: &mut u32) -> Option<(usize, u32)> {
        let free = (0..self.count).filter(|index| *used & (1 << index) == 0);
        let best = free.reduce(|best, index| if self.support[index] > self.support[best] { index } else { best })?;
        let shares = self.lanes.shares(&Motion::of_pair(a, b, &self.proposals[best]), best);
        let agreeing =
            (0..self.count).filter(|index| shares[*index] > 0.0).fold(1 << best, |bits, index| bits | 1 << index);
        *used |= agreeing;
        Some((best, agreeing))
    }

    /// The motion of a seed, over all proposals that agree with it.
    pub(crate) fn motion(&self, a: &Side<'_>, b: &Side<'_>, (seed, bits): (usize, u32)) -> Motion {
        let own = Motion::of_pair(a, b, &self.proposals[seed]);
        let mut pairs = [Pair::default(); PROPOSALS];
        let agreeing = (0..self.count).filter(|index| bits & (1 << index) != 0);
        let mut count = 0;
        for (place, index) in pairs.iter_mut().zip(agreeing) {
            *place = self.proposals[index];
            count += 1;
        }
        if count < 2 { own } else { own.refined(a, b, &pairs[..count]) }
    }
}

/// The proposals as arrays, so that one motion is tried on four of them at once.
#[derive(Default)]
struct Lanes {
    ax: [f32; PROPOSALS],
    ay: [f32; PROPOSALS],
    bx: [f32; PROPOSALS],
    by: [f32; PROPOSALS],
    turn: [i32; PROPOSALS],
    /// 0 beyond the last proposal, so that nothing is added there.
    weight: [f32; PROPOSALS],
}

impl Lanes {
    fn set(&mut self, a: &Side<'_>, b: &Side<'_>, index: usize, pair: &Pair) {
        (self.ax[index], self.ay[index]) = a.at(pair.a);
        (self.bx[index], self.by[index]) = b.at(pair.b);
        let turn = b.direction[usize::from(pair.b)].wrapping_sub(a.direction[usize::from(pair.a)]);
        self.turn[index] = i32::from(turn);
        self.weight[index] = pair.weight;
    }

    /// Weights of the proposals that land where the motion of one of them says, 0 for the others.
    /// Tolerance grows with the distance from the seed, as skin stretches.
    fn shares(&self, motion: &Motion, seed: usize) -> [f32; PROPOSALS] {
        let (from_x, from_y, turn) = (self.bx[seed], self.by[seed], self.turn[seed]);
        let mut slack = [0.0_f32; PROPOSALS];
        let lanes = self.ax.iter().zip(&self.ay).zip(self.bx.iter().zip(&self.by));
        for (slack, ((ax, ay), (bx, by))) in slack.iter_mut().zip(lanes) {
            let (x, y) = motion.place((*ax, *ay));
            let (dx, dy, ex, ey) = (x - bx, y - by, bx - from_x, by - from_y);
            let tolerance = 7.0 + 0.13 * (ex * ex + ey * ey).sqrt();
            *slack = tolerance * tolerance - (dx * dx + dy * dy);
        }
        let mut out = [0.0; PROPOSALS];
        for index in 0..PROPOSALS {
            let near = ((self.turn[index] - turn + MAX_TURN) & 0xFF) <= 2 * MAX_TURN;
            out[index] = if near & (slack[index] >= 0.0) { self.weight[index] } else { 0.0 };
        }
        out
    }
}

/// Puts a pair among the best, most similar first; answers the least similarity that is still kept.
fn keep(proposals: &mut [Pair; PROPOSALS], count: &mut usize, pair: Pair) -> Option<f32> {
    let full = *count == PROPOSALS;
    let mut at = if full { PROPOSALS - 1 } else { *count };
    while at > 0 && proposals[at - 1].weight < pair.weight {
        proposals[at] = proposals[at - 1];
        at -= 1;
    }
    proposals[at] = pair;
    *count = (*count + 1).min(PROPOSALS);
    (*count == PROPOSALS).then(|| proposals[PROPOSALS - 1].weight)
}

/// Cosine of one cylinder with each of the others: common bits over the root of both weights.
/// Answers the greatest.
fn cosines(own: &[u64; CYLINDER_WORDS], root: f32, words: &[u64], roots: &[f32], out: &mut [f32]) -> f32 {
    let columns = out.len();
    let [first, second, third, fourth] =
        std::array::from_fn(|word| words.get(word * columns..(word + 1) * columns).unwrap_or(&[]));
    // Two loops, so that each works on lanes of one width.
    let mut counts = [0_u64; MAX_CYLINDERS];
    let words = first.iter().zip(second).zip(third.iter().zip(fourth));
    for (count, ((w0, w1), (w2, w3))) in counts.iter_mut().zip(words) {
        *count = bits(&[w0 & own[0], w1 & own[1], w2 & own[2], w3 & own[3]]);
    }
    let mut best = [0.0_f32; 4];
    let whole = out.len() / 4 * 4;
    let (cells, rest) = out.as_chunks_mut::<4>();
    let (columns, _) = roots.as_chunks::<4>();
    let (count_lanes, _) = counts.as_chunks::<4>();
    for ((cell, column), count) in cells.iter_mut().zip(columns).zip(count_lanes) {
        for lane in 0..4 {
            cell[lane] = count[lane] as i32 as f32 * root * column[lane];
            best[lane] = if cell[lane] > best[lane] { cell[lane] } else { best[lane] };
        }
    }
    for ((cell, column), count) in rest.iter_mut().zip(roots.iter().skip(whole)).zip(counts.iter().skip(whole)) {
        *cell = *count as i32 as f32 * root * column;
        best[0] = if *cell > best[0] { *cell } else { best[0] };
    }
    best.iter().fold(0.0, |most, value| if *value > most { *value } else { most })
}

/// Set bits of four words of which the last is used to 48 bits at most.
#[inline]
fn bits(d: &[u64; CYLINDER_WORDS]) -> u64 {
    // A full adder folds three words into two; counts of pairs, then of fours, then of bytes are
    // added up before the one multiplication that sums the bytes.
    let (ones, twos) = (d[0] ^ d[1] ^ d[2], d[0] & d[1] | d[2] & (d[0] | d[1]));
    let fours = |w: u64| {
        let pairs = w - ((w >> 1) & 0x5555_5555_5555_5555);
        (pairs & 0x3333_3333_3333_3333) + ((pairs >> 2) & 0x3333_3333_3333_3333)
    };
    // At most 4 + 2 * 4 + 4 = 16 in each four bits would overflow: the twos are added as bytes.
    let low = fours(ones) + fours(d[3]);
    let high = fours(twos);
    let bytes = (low & 0x0F0F_0F0F_0F0F_0F0F)
        + ((low >> 4) & 0x0F0F_0F0F_0F0F_0F0F)
        + 2 * ((high & 0x0F0F_0F0F_0F0F_0F0F) + ((high >> 4) & 0x0F0F_0F0F_0F0F_0F0F));
    // Bytes hold at most 32 each, their sum at most 240.
    let folded = bytes + (bytes >> 32);
    let folded = folded + (folded >> 16);
    (folded + (folded >> 8)) & 0xFF
}

/// One over the square root of a weight.
fn inverse_root(weight: u8) -> f32 {
    static TABLE: OnceLock<[f32; 256]> = OnceLock::new();
    TABLE.get_or_init(|| std::array::from_fn(|weight| 1.0 / (weight.max(1) as f32).sqrt()))[usize::from(weight)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_population_count_equals_the_plain_one() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        let used = [u64::MAX, u64::MAX, u64::MAX, u64::MAX >> 16];
        let plain = |d: &[u64; 4]| d.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        assert_eq!(bits(&used), 240);
        for _ in 0..500 {
            let d: [u64; 4] = std::array::from_fn(|word| next() & used[word]);
            assert_eq!(bits(&d), plain(&d));
        }
    }
}
