//! From scores to false match rates.

use crate::template::Score;

/// What the fit rests on.
pub const BASIS: &str = "synthetic";
/// Smallest rate that the calibration data supports; below it the tail is extrapolated.
pub const SUPPORTED_FMR: f64 = 1e-5;

/// Score at and above which the tail is exponential, the rate there, and its decay per unit.
const TAIL_START: f64 = 4.0;
const TAIL_RATE: f64 = 1e-2;
const TAIL_DECAY: f64 = 1.0;

/// Estimated share of comparisons of different fingers that reach `score` or more.
///
/// Strictly decreasing until it leaves the range of `f64`; in (0, 1].
pub fn fmr(score: Score) -> f64 {
    let score = f64::from(score.value());
    let rate = if score >= TAIL_START {
        TAIL_RATE * (-(score - TAIL_START) * TAIL_DECAY).exp()
    } else {
        TAIL_RATE.powf(score / TAIL_START)
    };
    rate.clamp(f64::MIN_POSITIVE, 1.0)
}
