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

/// The interval of the mean of `figure` over `sets`, from `resamplings` draws of the fingers of each set with
/// replacement (Efron 1979; over subjects as in Bolle et al. 2004). A pair of two draws of one finger is left out:
/// it would count genuine scores as impostors. Draws without impostors, or without the figure, are left out.
///
/// None when no draw has the figure. Equal arguments give equal intervals.
pub fn interval(
    sets: &[&ScoreSet],
    resamplings: u32,
    seed: u64,
    figure: impl Fn(&Rates) -> Option<f64>,
) -> Option<Interval> {
    let blocks: Vec<Blocks> = sets.iter().map(|set| Blocks::of(set)).collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut found = Vec::new();
    for _ in 0..resamplings {
        let values: Vec<Option<f64>> =
            blocks.iter().map(|set| set.drawn(&mut random).and_then(|rates| figure(&rates))).collect();
        let values: Option<Vec<f64>> = values.into_iter().collect();
        found.extend(values.filter(|v| !v.is_empty()).map(|v| v.iter().sum::<f64>() / v.len() as f64));
    }
    found.sort_by(f64::total_cmp);
    Some(Interval { low: quantile(&found, 0.025)?, high: quantile(&found, 0.975)? })
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

    #[test]
    fn a_single_finger_has_no_interval() {
        let run = Run::read("set,finger_a,imp_a,finger_b,imp_b,score\ns,1,1,1,2,3\n").unwrap();
        let sets: Vec<_> = run.sets.iter().collect();
        assert_eq!(interval(&sets, 10, 1, |rates| Some(rates.eer())), None);
        assert_eq!(interval(&[], 10, 1, |rates| Some(rates.eer())), None);
    }
}
