//! Intervals from resampled fingers. Pairs are not resampled: those of one finger depend on each other.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use crate::rates::Rates;
use crate::run::ScoreSet;

/// A 95 % interval of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The 2.5 % quantile of the resamplings.
    pub low: f64,
    /// Their 97.5 % quantile.
    pub high: f64,
}

/// One figure under many draws of the fingers of a set with replacement (Efron 1979; over subjects as in Bolle et al.
/// 2004). Draws without the figure hold none.
#[derive(Clone, Debug, PartialEq)]
pub struct Draws {
    values: Vec<Option<f64>>,
}

impl ScoreSet {
    /// Figures of the set under `resamplings` draws of its fingers. A pair of two draws of one finger is left out: it
    /// would count genuine scores as impostors.
    ///
    /// Equal arguments give equal draws, and so do sets of equal fingers: their draws can be subtracted.
    pub fn draws<const N: usize>(
        &self,
        resamplings: u32,
        seed: u64,
        figures: impl Fn(&Rates) -> [Option<f64>; N],
    ) -> [Draws; N] {
        let blocks = Blocks::of(self);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut found = std::array::from_fn(|_| Draws { values: Vec::new() });
        for _ in 0..resamplings {
            let rates = blocks.drawn(&mut random);
            let values = rates.map_or([None; N], |rates| figures(&rates));
            found.iter_mut().zip(values).for_each(|(draws, value): (&mut Draws, _)| draws.values.push(value));
        }
        found
    }
}

impl Draws {
    /// The middle 95 % of the draws that have the figure. None where none has.
    pub fn interval(&self) -> Option<Interval> {
        let mut found: Vec<f64> = self.values.iter().flatten().copied().collect();
        found.sort_by(f64::total_cmp);
        Some(Interval { low: quantile(&found, 0.025)?, high: quantile(&found, 0.975)? })
    }

    /// The mean over sets, draw by draw; a draw that one set lacks has none. None of no sets.
    pub fn mean(sets: &[Self]) -> Option<Self> {
        let draws = sets.iter().map(|set| set.values.len()).min()?;
        let mean = |draw: usize| {
            let values: Option<Vec<f64>> = sets.iter().map(|set| set.values.get(draw).copied().flatten()).collect();
            values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
        };
        Some(Self { values: (0..draws).map(mean).collect() })
    }

    /// The difference of two runs over equal fingers, draw by draw: chance that befalls both alike cancels.
    pub fn minus(&self, other: &Self) -> Self {
        let both = self.values.iter().zip(&other.values);
        Self { values: both.map(|(ours, theirs)| Some((*ours)? - (*theirs)?)).collect() }
    }
}

/// The scores of a set by their two fingers, the lower first.
struct Blocks {
    fingers: Vec<u32>,
    scores: BTreeMap<(u32, u32), Vec<f64>>,
}

impl Blocks {
    fn of(set: &ScoreSet) -> Self {
        let mut scores: BTreeMap<(u32, u32), Vec<f64>> = BTreeMap::new();
        let mut fingers = Vec::new();
        for pair in &set.pairs {
            let (a, b) = (pair.a.0, pair.b.0);
            scores.entry((a.min(b), a.max(b))).or_default().push(pair.score);
            fingers.extend([a, b]);
        }
        fingers.sort_unstable();
        fingers.dedup();
        Self { fingers, scores }
    }

    fn drawn(&self, random: &mut ChaCha8Rng) -> Option<Rates> {
        let count = self.fingers.len() as u64;
        let drawn: Vec<u32> = self
            .fingers
            .iter()
            .filter_map(|_| {
                // The high half of the product is uniform to one part in 2^64 over the count.
                let place = (u128::from(random.next_u64()) * u128::from(count)) >> 64;
                self.fingers.get(usize::try_from(place).ok()?).copied()
            })
            .collect();
        let (mut genuine, mut impostors) = (Vec::new(), Vec::new());
        for (place, one) in drawn.iter().enumerate() {
            genuine.extend(self.scores.get(&(*one, *one)).into_iter().flatten());
            for other in drawn.iter().take(place).filter(|other| *other != one) {
                impostors.extend(self.scores.get(&(*one.min(other), *one.max(other))).into_iter().flatten());
            }
        }
        Rates::new(&genuine, &impostors)
    }
}

/// The quantile on the straight line between the values on either side. None of nothing.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let below = *sorted.get(place as usize)?;
    let above = sorted.get(place as usize + 1).copied().unwrap_or(below);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Run;

    #[test]
    fn quantiles_lie_on_the_line_between_values() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0], 0.975), Some(3.0));
        assert_eq!(quantile(&[0.0, 1.0, 2.0, 3.0], 0.5), Some(1.5));
    }

    const EER: fn(&Rates) -> [Option<f64>; 1] = |rates| [Some(rates.eer())];

    #[test]
    fn a_single_finger_has_no_interval() {
        let run = Run::read("set,finger_a,imp_a,finger_b,imp_b,score\ns,1,1,1,2,3\n").unwrap();
        let [draws] = run.sets[0].draws(10, 1, EER);
        assert_eq!(draws.interval(), None);
        assert_eq!(draws.minus(&draws).interval(), None);
        assert_eq!(Draws::mean(&[]), None);
    }

    #[test]
    fn a_difference_is_over_the_same_fingers() {
        let header = "set,finger_a,imp_a,finger_b,imp_b,score\n";
        let lines = |shift: u32| -> String {
            let pair = |a: u32, b: u32| {
                let score = if a == b { 10 + 7 * a % 5 } else { 8 + (3 * a + 5 * b) % 6 + shift };
                format!("s,{a},1,{b},2,{score}\n")
            };
            (1..=6).flat_map(|a| (a..=6).map(move |b| (a, b))).map(|(a, b)| pair(a, b)).collect()
        };
        let [one, same, worse] = [0, 0, 2].map(|shift| {
            let run = Run::read(&format!("{header}{}", lines(shift))).unwrap();
            let [draws] = run.sets[0].draws(200, 3, EER);
            draws
        });
        assert_eq!(one.minus(&same).interval(), Some(Interval { low: 0.0, high: 0.0 }));
        let found = worse.minus(&one).interval().unwrap();
        assert!(found.low > 0.0, "higher impostors err more under every draw: {found:?}");
        assert_eq!(Draws::mean(&[one.clone(), same]), Some(one));
    }
}
