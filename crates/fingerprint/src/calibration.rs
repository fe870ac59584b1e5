//! From scores to false match rates.

use crate::template::Score;

/// What the fit rests on.
pub const BASIS: &str = "synthetic";
/// Smallest rate that the calibration data supports; below it the tail is extrapolated.
pub const SUPPORTED_FMR: f64 = 1e-5;

/// Score at and above which the tail is exponential, the rate there, and its decay per unit.
const TAIL_START: f64 = 7.735;
const TAIL_RATE: f64 = 1e-2;
const TAIL_DECAY: f64 = 0.756;

/// Scores and rates below the tail, between which the logarithm of the rate is linear.
const BODY: [(f64, f64); 4] = [(0.0, 1.0), (2.105, 0.5), (4.612, 0.1), (TAIL_START, TAIL_RATE)];

/// Estimated share of comparisons of different fingers that reach `score` or more.
///
/// Fitted on the 499 500 cross comparisons of 1 000 synthetic fingers: quantiles below, an exponential
/// tail above the 99th that passes the 99.99th. Strictly decreasing until it leaves the range of `f64`; in (0, 1].
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
        assert!((at(7.7349) - at(7.7351)).abs() < 1e-4);
        assert!((at(13.82) / 1e-4).ln().abs() < 0.3);
        assert!((at(16.13) / 1e-5).ln().abs() < 0.6);
    }
}
