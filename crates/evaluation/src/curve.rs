//! What a report draws: score histograms, and how errors fall as poor images are set aside.

use crate::rates::Rates;

/// Shares of genuine and of impostor pairs in equal steps of the score.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Score at which the first step begins.
    pub low: f64,
    /// Width of a step, above 0.
    pub step: f64,
    /// Share of the genuine pairs in each step.
    pub genuine: Vec<f64>,
    /// Share of the impostor pairs in each step; as many steps.
    pub impostors: Vec<f64>,
}

impl Histogram {
    /// Counts scores in `steps` steps over the range of both groups; the last step holds its upper end too. None without
    /// scores, steps, or a finite range. An empty group has shares of 0.
    pub fn new(genuine: &[f64], impostors: &[f64], steps: usize) -> Option<Self> {
        let all = || genuine.iter().chain(impostors).copied();
        let (low, high) = (all().reduce(f64::min)?, all().reduce(f64::max)?);
        // Where all scores are equal there is no range to divide.
        let step = if high > low { (high - low) / steps as f64 } else { 1.0 };
        if steps == 0 || !low.is_finite() || !step.is_finite() {
            return None;
        }
        let shares = |scores: &[f64]| {
            let mut counts = vec![0_u64; steps];
            for score in scores {
                let place = (((score - low) / step) as usize).min(steps - 1);
                if let Some(count) = counts.get_mut(place) {
                    *count += 1;
                }
            }
            counts.into_iter().map(|count| count as f64 / scores.len().max(1) as f64).collect()
        };
        Some(Self { low, step, genuine: shares(genuine), impostors: shares(impostors) })
    }
}

/// FNMR of what is left when the pairs of least quality are set aside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reject {
    /// Share of the genuine pairs that is set aside, 0 to below 1.
    pub rejected: f64,
    /// Share of the others that does not match.
    pub fnmr: f64,
}

/// Error versus reject (Grother & Tabassi 2007): the FNMR at each level of quality, by rising share of rejected pairs.
///
/// `genuine` holds the quality of each pair, that of its worse image, and its score. The threshold is the least whose FMR
/// over all of `rates`' impostors is at most `limit`, and stays where it is while pairs are rejected: a system's threshold
/// does not move with what it turns away. Pairs of equal quality go together. None where the impostors cannot show `limit`.
pub fn error_versus_reject(genuine: &[(u8, f64)], rates: &Rates, limit: f64) -> Option<Vec<Reject>> {
    let threshold = rates.threshold_at(limit)?;
    let mut by_quality: Vec<(u8, bool)> =
        genuine.iter().map(|(quality, score)| (*quality, *score < threshold)).collect();
    by_quality.sort_unstable();
    let total = by_quality.len() as f64;
    let mut missed = by_quality.iter().filter(|(_, missed)| *missed).count();
    let mut left = by_quality.len();
    let mut curve = Vec::new();
    for level in by_quality.chunk_by(|a, b| a.0 == b.0) {
        curve.push(Reject { rejected: 1.0 - left as f64 / total, fnmr: missed as f64 / left as f64 });
        left -= level.len();
        missed -= level.iter().filter(|(_, missed)| *missed).count();
    }
    Some(curve)
}

/// The FNMR of a curve at a share of rejected pairs, on the straight line between the levels on either side. None past its end.
pub fn fnmr_at_reject(curve: &[Reject], share: f64) -> Option<f64> {
    let after = curve.partition_point(|point| point.rejected < share);
    let above = curve.get(after)?;
    let Some(below) = after.checked_sub(1).and_then(|before| curve.get(before)) else { return Some(above.fnmr) };
    let weight = (share - below.rejected) / (above.rejected - below.rejected);
    Some(below.fnmr + weight * (above.fnmr - below.fnmr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_score_is_in_one_step() {
        let histogram = Histogram::new(&[3.0, 4.0, 10.0], &[0.0, 0.5, 1.0, 10.0], 10).unwrap();
        assert_eq!((histogram.low, histogram.step), (0.0, 1.0));
        assert_eq!(histogram.genuine.iter().sum::<f64>(), 1.0);
        assert_eq!(histogram.impostors, [0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25]);
        assert_eq!(histogram.genuine[9], 1.0 / 3.0);
    }

    #[test]
    fn histograms_of_nothing_and_of_equal_scores() {
        assert_eq!(Histogram::new(&[], &[], 10), None);
        assert_eq!(Histogram::new(&[1.0], &[], 0), None);
        assert_eq!(Histogram::new(&[f64::INFINITY], &[0.0], 3), None);
        let equal = Histogram::new(&[2.0, 2.0], &[], 3).unwrap();
        assert_eq!((equal.low, equal.genuine, equal.impostors), (2.0, vec![1.0, 0.0, 0.0], vec![0.0; 3]));
    }

    #[test]
    fn errors_fall_as_the_worst_pairs_are_set_aside() {
        let genuine = [(10, 1.0), (20, 9.0), (20, 2.0), (90, 9.0), (80, 9.0)];
        let scores: Vec<f64> = genuine.iter().map(|pair| pair.1).collect();
        let rates = Rates::new(&scores, &[5.0; 100]).unwrap();
        let curve = error_versus_reject(&genuine, &rates, 1e-2).unwrap();
        let points: Vec<(f64, f64)> = curve.iter().map(|point| (point.rejected, point.fnmr)).collect();
        assert_eq!(points.len(), 4);
        for ((rejected, fnmr), wanted) in points.iter().zip([(0.0, 0.4), (0.2, 0.25), (0.6, 0.0), (0.8, 0.0)]) {
            assert!((rejected - wanted.0).abs() < 1e-12 && (fnmr - wanted.1).abs() < 1e-12, "{points:?}");
        }
        assert!((fnmr_at_reject(&curve, 0.1).unwrap() - 0.325).abs() < 1e-12);
        assert_eq!(fnmr_at_reject(&curve, 0.0), Some(0.4));
        assert_eq!(fnmr_at_reject(&curve, 0.9), None);
        assert!(error_versus_reject(&genuine, &rates, 1e-3).is_none(), "100 impostors cannot show 1 in 1 000");
        assert!(error_versus_reject(&[], &rates, 1e-2).unwrap().is_empty());
    }
}
