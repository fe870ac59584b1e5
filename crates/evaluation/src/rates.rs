//! False match and false non-match rates over all thresholds, as FVC defines them (Maio et al., FVC2000).

/// The two rates at one threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Scores of at least this match; infinite for the threshold above all scores.
    pub threshold: f64,
    /// Share of impostor scores that match.
    pub fmr: f64,
    /// Share of genuine scores that do not.
    pub fnmr: f64,
}

/// The rates at every distinct score and above them all, by ascending threshold.
#[derive(Clone, Debug)]
pub struct Rates {
    points: Vec<Point>,
    genuine: usize,
    impostors: usize,
}

/// The figures of a set that are compared between engines. Shares, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Genuine pairs.
    pub genuine: usize,
    /// Impostor pairs.
    pub impostors: usize,
    /// Where the rates cross, on the straight line between the thresholds on either side.
    pub eer: f64,
    /// Least FNMR with FMR ≤ 1 %; none with fewer than 100 impostor pairs.
    pub fmr100: Option<f64>,
    /// Least FNMR with FMR ≤ 0.1 %; none with fewer than 1 000 impostor pairs.
    pub fmr1000: Option<f64>,
    /// Least FNMR with FMR ≤ 0.01 %; none with fewer than 10 000 impostor pairs.
    pub fmr10000: Option<f64>,
    /// Least FNMR with no false match.
    pub zero_fmr: f64,
}

/// Keeps a share that equals its limit below it in spite of rounding.
const ROUNDING: f64 = 1e-12;

impl Rates {
    /// The rates of two groups of scores. None when one of them is empty or holds a score that is not finite.
    pub fn new(genuine: &[f64], impostors: &[f64]) -> Option<Self> {
        let usable = |scores: &[f64]| !scores.is_empty() && scores.iter().all(|score| score.is_finite());
        if !usable(genuine) || !usable(impostors) {
            return None;
        }
        let (genuine, impostors) = (sorted(genuine), sorted(impostors));
        let mut thresholds: Vec<f64> = genuine.iter().chain(&impostors).copied().collect();
        thresholds.sort_by(f64::total_cmp);
        // Zero and minus zero are one threshold, so equality and not the total order decides.
        thresholds.dedup_by(|a, b| a == b);
        thresholds.push(f64::INFINITY);
        let share_below = |scores: &[f64], t: f64| scores.partition_point(|s| *s < t) as f64 / scores.len() as f64;
        let at = |threshold| Point {
            threshold,
            fmr: 1.0 - share_below(&impostors, threshold),
            fnmr: share_below(&genuine, threshold),
        };
        let points = thresholds.into_iter().map(at).collect();
        Some(Self { points, genuine: genuine.len(), impostors: impostors.len() })
    }

    /// All points, for curves; FMR falls and FNMR rises along them.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The equal error rate.
    pub fn eer(&self) -> f64 {
        let after = self.points.partition_point(|point| point.fnmr < point.fmr);
        let Some(above) = self.points.get(after) else { return 1.0 };
        let below = self.points.get(after.saturating_sub(1)).unwrap_or(above);
        let (before, beyond) = (below.fmr - below.fnmr, above.fnmr - above.fmr);
        let weight = if before + beyond > 0.0 { before / (before + beyond) } else { 0.0 };
        below.fnmr + weight * (above.fnmr - below.fnmr)
    }

    /// Least FNMR whose FMR is at most `limit`. None when there are too few impostors to show such a rate.
    pub fn fnmr_at(&self, limit: f64) -> Option<f64> {
        self.first_within(limit).map(|point| point.fnmr)
    }

    /// The least threshold whose FMR is at most `limit`; infinite when only the one above all scores is. None as above.
    pub fn threshold_at(&self, limit: f64) -> Option<f64> {
        self.first_within(limit).map(|point| point.threshold)
    }

    /// The share of impostor scores of at least `score`.
    pub fn fmr_of(&self, score: f64) -> f64 {
        let first = self.points.partition_point(|point| point.threshold < score);
        self.points.get(first).map_or(0.0, |point| point.fmr)
    }

    fn first_within(&self, limit: f64) -> Option<&Point> {
        if limit > 0.0 && (self.impostors as f64) * limit < 1.0 {
            return None;
        }
        self.points.get(self.points.partition_point(|point| point.fmr > limit + ROUNDING))
    }

    /// The figures of a table row.
    pub fn summary(&self) -> Summary {
        Summary {
            genuine: self.genuine,
            impostors: self.impostors,
            eer: self.eer(),
            fmr100: self.fnmr_at(1e-2),
            fmr1000: self.fnmr_at(1e-3),
            fmr10000: self.fnmr_at(1e-4),
            zero_fmr: self.fnmr_at(0.0).unwrap_or(1.0),
        }
    }
}

fn sorted(scores: &[f64]) -> Vec<f64> {
    let mut scores = scores.to_vec();
    scores.sort_by(f64::total_cmp);
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separate_groups_have_no_error_and_equal_groups_err_by_half() {
        let apart = Rates::new(&[5.0, 6.0], &[1.0, 2.0]).unwrap().summary();
        assert_eq!((apart.eer, apart.zero_fmr), (0.0, 0.0));
        assert_eq!(Rates::new(&[1.0, 2.0], &[1.0, 2.0]).unwrap().eer(), 0.5);
        assert_eq!(Rates::new(&[1.0], &[2.0]).unwrap().eer(), 1.0);
    }

    #[test]
    fn empty_groups_and_scores_that_are_no_numbers_have_no_rates() {
        assert!(Rates::new(&[], &[1.0]).is_none());
        assert!(Rates::new(&[1.0], &[]).is_none());
        assert!(Rates::new(&[1.0, f64::NAN], &[1.0]).is_none());
        assert!(Rates::new(&[1.0], &[f64::INFINITY]).is_none());
    }

    #[test]
    fn a_rate_that_the_impostors_cannot_show_is_not_given() {
        let impostors = vec![0.0; 999];
        let rates = Rates::new(&[1.0], &impostors).unwrap().summary();
        assert_eq!((rates.fmr100, rates.fmr1000, rates.fmr10000), (Some(0.0), None, None));
    }

    #[test]
    fn thresholds_and_scores_have_their_rates() {
        let rates = Rates::new(&[5.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((rates.threshold_at(0.25), rates.threshold_at(0.3)), (Some(4.0), Some(4.0)));
        assert_eq!((rates.threshold_at(0.0), rates.threshold_at(0.1)), (Some(5.0), None));
        assert_eq!(
            (rates.fmr_of(3.5), rates.fmr_of(4.0), rates.fmr_of(4.5), rates.fmr_of(9.0)),
            (0.25, 0.25, 0.0, 0.0)
        );
        assert_eq!(Rates::new(&[1.0], &[2.0]).unwrap().threshold_at(0.0), Some(f64::INFINITY));
    }
}
