//! Calibrated confidence: what a comparison is worth as evidence.

/// A false match rate in (0, 1]: the share of comparisons of different fingers that score at least as high.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Fmr(f64);

impl Fmr {
    /// Smallest rate that is represented; the tail fit says nothing below it.
    pub const MIN: f64 = 1e-15;

    /// Clamps `rate` into `[1e-15, 1]`; not-a-number counts as 1, no evidence.
    #[must_use]
    pub fn new(rate: f64) -> Self {
        Self(if rate.is_nan() { 1.0 } else { rate.clamp(Self::MIN, 1.0) })
    }

    /// The rate, in `[1e-15, 1]`.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The bound for the best of `comparisons` independent comparisons: rate × comparisons, at most 1.
    #[must_use]
    pub fn over(self, comparisons: Comparisons) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "counts of comparisons stay far below 2^52")]
        Self::new(self.0 * comparisons.0.max(1) as f64)
    }
}

/// How many template comparisons a decision rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Comparisons(pub u64);

/// `30 − 10·log10(FMR)`, clamped to 0–100: 70 is a false match rate of 1 in 10 000, 30 is no evidence.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Confidence(f64);

/// What a shown confidence rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfidenceBasis {
    /// Fitted on synthetic fingers, within what they support.
    Synthetic,
    /// The tail fit beyond what the calibration data supports; the value shown is capped.
    Extrapolated,
}

impl ConfidenceBasis {
    /// The spelling on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synthetic => "synthetic",
            Self::Extrapolated => "extrapolated",
        }
    }
}

impl Confidence {
    /// The confidence that a false match rate stands for.
    #[must_use]
    pub fn from_fmr(fmr: Fmr) -> Self {
        Self((30.0 - 10.0 * fmr.get().log10()).clamp(0.0, 100.0))
    }

    /// Clamps a number on the 0–100 scale; not-a-number counts as 0.
    #[must_use]
    pub fn new(value: f64) -> Self {
        Self(if value.is_nan() { 0.0 } else { value.clamp(0.0, 100.0) })
    }

    /// The value, 0–100.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// What may be shown of it: at most the confidence that `supported` stands for, rounded to a tenth, and whether it was capped.
    #[must_use]
    pub fn shown(self, supported: Fmr) -> (Self, ConfidenceBasis) {
        let cap = Self::from_fmr(supported);
        let tenth = |value: f64| (value * 10.0).round() / 10.0;
        if self.0 > cap.0 {
            (Self(tenth(cap.0)), ConfidenceBasis::Extrapolated)
        } else {
            (Self(tenth(self.0)), ConfidenceBasis::Synthetic)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seventy_is_one_in_ten_thousand_and_thirty_is_no_evidence() {
        ridgeline_testkit::covers!("R-039");
        assert!((Confidence::from_fmr(Fmr::new(1e-4)).get() - 70.0).abs() < 1e-9);
        assert!((Confidence::from_fmr(Fmr::new(1.0)).get() - 30.0).abs() < 1e-9);
        assert!((Confidence::from_fmr(Fmr::new(f64::NAN)).get() - 30.0).abs() < 1e-9);
    }

    #[test]
    fn more_comparisons_weaken_the_evidence() {
        let one = Confidence::from_fmr(Fmr::new(1e-6));
        let thousand = Confidence::from_fmr(Fmr::new(1e-6).over(Comparisons(1_000)));
        assert!((one.get() - thousand.get() - 30.0).abs() < 1e-9);
    }

    #[test]
    fn beyond_the_calibration_data_the_value_is_capped_and_marked() {
        let (shown, basis) = Confidence::from_fmr(Fmr::new(1e-9)).shown(Fmr::new(1e-5));
        assert_eq!((shown.get(), basis), (80.0, ConfidenceBasis::Extrapolated));
    }

    proptest! {
        #[test]
        fn confidence_falls_with_fmr(a in 1e-14_f64..1.0, b in 1e-14_f64..1.0) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(Confidence::from_fmr(Fmr::new(low)) >= Confidence::from_fmr(Fmr::new(high)));
        }
    }
}
