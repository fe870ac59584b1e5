//! From scores to false match rates.

use crate::template::Score;

/// What the fit rests on.
pub const BASIS: &str = "synthetic";
/// Smallest rate that the calibration data supports; below it the tail is extrapolated.
pub const SUPPORTED_FMR: f64 = 1e-5;

/// Score at and above which the tail is exponential, the rate there, and its decay per unit.
const TAIL_START: f64 = 9.7;
const TAIL_RATE: f64 = 1e-3;
const TAIL_DECAY: f64 = 0.70;

/// Scores and rates below the tail, between which the logarithm of the rate is linear.
const BODY: [(f64, f64); 7] =
    [(0.0, 1.0), (0.41, 0.5), (2.25, 0.2), (3.62, 0.1), (5.38, 3e-2), (6.73, 1e-2), (TAIL_START, TAIL_RATE)];

/// Estimated share of comparisons of different fingers that reach `score` or more.
///
/// Down to 1e-2 the quantiles of 499 500 cross comparisons of 1 000 fingers in small, distorted synthetic
/// impressions. Large undistorted ones make higher scores (10.54 at 1e-3, where the others make 9.19): the
/// exponential tail begins between the two and decays as slowly as theirs does. These are quantiles of the prints that ADR
/// 0004's extractor accepts; ADR 0013's accepts poorer ones and the same rates hold on public sets, while among
/// small, distorted synthetic impressions twice as many strangers reach a score. Strictly decreasing until
/// it leaves the range of `f64`; in (0, 1]. The example `calibrate` prints what a new fit needs.
pub fn fmr(score: Score) -> f64 {
    let score = f64::from(score.value());
    let rate = BODY.windows(2).find_map(|pair| match pair {
        [(low, high_rate), (high, low_rate)] if score < *high => {
            let part = (score - low) / (high - low);
            Some(high_rate.powf(1.0 - part) * low_rate.powf(part))
        }
        _ => None,
    });
    let tail = || TAIL_RATE * (-(score - TAIL_START) * TAIL_DECAY).exp();
    rate.unwrap_or_else(tail).clamp(f64::MIN_POSITIVE, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_meets_the_tail_and_the_tail_passes_measured_quantiles() {
        let at = |score| fmr(Score::new(score));
        assert!((at(0.0) - 1.0).abs() < 1e-9);
        assert!((at(9.6999) - at(9.7001)).abs() < 1e-6);
        assert!((at(6.73) / 1e-2).ln().abs() < 1e-3);
        // A share of 1e-4 reaches 11.54 among small impressions and 13.70 among large ones.
        assert!(at(11.54) > 1e-4 && at(13.70) < 1e-4 && at(13.70) > 4e-5);
    }
}
