//! Axes of charts with the marks that error rates are read at.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// How values become places along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    Linear,
    /// Values below the low end lie on it.
    Log,
}

/// An axis from `low` to `high`, drawn with lines and numbers at its marks.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    scale: Scale,
    marks: Vec<f64>,
    is_share: bool,
}

/// Marks that a linear axis has at most.
const MARKS_MAX: f64 = 7.0;
/// An axis of shares never reaches further down.
const LEAST_SHARE: f64 = 1e-7;

impl Axis {
    /// Shares up to 1, one decade after the other, the lowest holding `least`.
    pub(crate) fn log_share(least: f64) -> Self {
        let decades = (-least.clamp(LEAST_SHARE, 0.1).log10()).ceil() as i32;
        let marks: Vec<f64> = (0..=decades).rev().map(|decade| 10_f64.powi(-decade)).collect();
        Self { low: 10_f64.powi(-decades), high: 1.0, scale: Scale::Log, marks, is_share: true }
    }

    /// Shares from 0 to at least `most`.
    pub(crate) fn share(most: f64) -> Self {
        Self { is_share: true, ..Self::between(0.0, most.clamp(0.01, 1.0)) }
    }

    /// Shares from `least` or a little less to 1.
    pub(crate) fn upper_share(least: f64) -> Self {
        let axis = Self::between(least.clamp(0.0, 0.99), 1.0);
        Self { high: 1.0, is_share: true, ..axis }
    }

    /// Values from at most `low` to at least `high`; the ends lie on marks.
    pub(crate) fn between(low: f64, high: f64) -> Self {
        let span = if high > low { high - low } else { 1.0 };
        let rough = span / MARKS_MAX;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * decade).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let (first, last) = ((low / step).floor(), ((low + span) / step - 1e-9).ceil());
        let count = ((last - first) as usize).min(2 * MARKS_MAX as usize);
        let marks: Vec<f64> = (0..=count).map(|mark| (first + mark as f64) * step).collect();
        Self { low: first * step, high: last * step, scale: Scale::Linear, marks, is_share: false }
    }

    /// The value that stands at the low end.
    pub(crate) fn low(&self) -> f64 {
        self.low
    }

    /// The value that stands at the high end.
    pub(crate) fn high(&self) -> f64 {
        self.high
    }

    /// Place of a value, 0 at the low end and 1 at the high one; values outside lie on the ends.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).log10() / (self.high / self.low).log10(),
        }
    }
}

impl Ranged for Axis {
    type ValueType = f64;
    type FormatOption = NoDefaultFormatting;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (self.place(*value) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        if self.is_share { format!("{} %", short(100.0 * value)) } else { short(*value) }
    }
}

/// At most five decimals, none that are zero.
fn short(value: f64) -> String {
    let text = format!("{value:.5}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_what_they_were_made_for_and_end_on_marks() {
        for (low, high) in [(0.0, 0.37), (-3.2, 181.0), (5.0, 5.0), (0.0, 1.0), (100.0, 100.4), (0.0, 1e9)] {
            let axis = Axis::between(low, high);
            assert!(axis.low <= low && axis.high >= high && axis.high > axis.low, "{axis:?}");
            let (first, last) = (axis.marks[0], *axis.marks.last().unwrap());
            assert!((first - axis.low).abs() < 1e-9 * axis.high && (last - axis.high).abs() < 1e-9 * axis.high.abs());
            assert!((3..=9).contains(&axis.marks.len()), "{axis:?}");
        }
    }

    #[test]
    fn decades_are_evenly_spaced_and_zero_lies_on_the_edge() {
        let axis = Axis::log_share(1.0 / 2880.0);
        assert_eq!((axis.low, axis.marks.len()), (1e-4, 5));
        let places: Vec<f64> = [0.0, 1e-5, 1e-4, 1e-2, 1.0, 2.0].iter().map(|share| axis.place(*share)).collect();
        for (place, wanted) in places.iter().zip([0.0, 0.0, 0.0, 0.5, 1.0, 1.0]) {
            assert!((place - wanted).abs() < 1e-12);
        }
        assert_eq!(axis.format_ext(&1e-4), "0.01 %");
        assert_eq!(
            (Axis::share(0.5).format_ext(&0.3), Axis::between(0.0, 60.0).format_ext(&40.0)),
            ("30 %".into(), "40".into())
        );
        assert_eq!((Axis::log_share(0.0).low, Axis::log_share(1.0).low), (1e-7, 0.1));
        assert_eq!(Axis::upper_share(0.83).high, 1.0);
    }
}
