//! The table that a bench ends with: what, ours, bare, ratio, must.

use std::fmt::Write as _;
use std::process::ExitCode;

/// What is asked of a ratio or a value.
#[derive(Debug, Clone, Copy)]
pub enum Must {
    /// Reported only.
    Nothing,
    /// The larger, the worse.
    AtMost(f64),
    /// The smaller, the worse.
    AtLeast(f64),
    /// Within both bounds.
    Between(f64, f64),
}

impl Must {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Nothing => true,
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
            Self::Between(least, most) => (least..=most).contains(&value),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::Between(least, most) => format!("{least} to {most}"),
        }
    }
}

/// Rows as they come.
#[derive(Debug, Default)]
pub struct Table {
    text: String,
    missed: usize,
}

impl Table {
    /// Ours beside something bare, and their ratio.
    pub fn ratio(&mut self, what: &str, ours: f64, bare: f64, must: Must) {
        let ratio = ours / bare;
        self.row(what, &number(ours), &number(bare), ratio, must);
    }

    /// A figure that stands alone and is judged itself.
    pub fn judged(&mut self, what: &str, value: f64, must: Must) {
        self.row(what, "", "", value, must);
    }

    /// A figure that is only reported.
    pub fn reported(&mut self, what: &str, value: f64) {
        let _ = writeln!(self.text, "{what:<58} {:>10}", number(value));
    }

    fn row(&mut self, what: &str, ours: &str, bare: &str, judged: f64, must: Must) {
        let word = match (must, must.holds(judged)) {
            (Must::Nothing, _) => "",
            (_, true) => "met",
            (_, false) => "MISSED",
        };
        self.missed += usize::from(word == "MISSED");
        let must = must.text();
        let _ = writeln!(self.text, "{what:<58} {ours:>10} {bare:>10} {judged:>9.3} {must:>12} {word}");
    }

    /// Prints the table. A missed figure is a failure only with `--strict`.
    #[expect(clippy::print_stdout, reason = "a bench prints its figures")]
    #[must_use]
    pub fn finish(&self) -> ExitCode {
        println!("\n{:<58} {:>10} {:>10} {:>9} {:>12}", "what", "ours", "bare", "ratio", "must");
        print!("{}", self.text);
        let strict = std::env::args().any(|argument| argument == "--strict");
        if strict && self.missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// The middle one of several measurements.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
