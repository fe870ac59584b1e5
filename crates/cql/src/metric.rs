//! What the store tells about its requests: name, kind, unit, help and labels in one table.
//!
//! The table has the shape of the runtime's, which this crate does not link.

use metrics::Unit;

/// What a metric counts like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// A distribution.
    Histogram,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name as exported.
    pub name: &'static str,
    /// What it counts like.
    pub kind: Kind,
    /// Unit of its values.
    pub unit: Unit,
    /// One line for people.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
}

macro_rules! table {
    ($($ident:ident = $name:literal, $kind:ident, $unit:ident, [$($label:literal),*], $help:literal;)+) => {
        $(#[doc = $help] pub const $ident: &str = $name;)+

        /// The table, in the order of this file.
        pub const ALL: &[Metric] = &[$(Metric {
            name: $name, kind: Kind::$kind, unit: Unit::$unit, help: $help, labels: &[$($label),*],
        },)+];
    };
}

table! {
    REQUESTS = "ridgeline_cql_requests_total", Counter, Count, ["table", "request", "outcome"],
        "Requests to the database, by outcome: ok, conflict, or why there was no answer: unsent, unknown, refused, garbled.";
    DURATION = "ridgeline_cql_request_duration_seconds", Histogram, Seconds, ["table", "request"],
        "Time a request to the database took, all pages and the proof of a lost answer included.";
    LOST_ANSWERS = "ridgeline_cql_lost_answers_total", Counter, Count, ["table", "proof"],
        "Conditional writes whose answer was lost, by what a read then proved: applied, nothing.";
}

/// Tells the installed recorder help and unit of every metric; call once after installing it.
pub fn describe_all() {
    for metric in ALL {
        let (name, unit, help) = (metric.name, metric.unit, metric.help);
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(name, unit, help),
            Kind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
    }
}

pub(crate) fn request(table: &'static str, kind: &'static str, outcome: &'static str, took: std::time::Duration) {
    metrics::counter!(REQUESTS, "table" => table, "request" => kind, "outcome" => outcome).increment(1);
    metrics::histogram!(DURATION, "table" => table, "request" => kind).record(took);
}

pub(crate) fn lost_answer(table: &'static str, proof: &'static str) {
    metrics::counter!(LOST_ANSWERS, "table" => table, "proof" => proof).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_kind_and_unit_and_help_is_a_sentence() {
        for metric in ALL {
            assert!(metric.name.starts_with("ridgeline_cql_"), "{}", metric.name);
            assert_eq!(metric.unit == Unit::Seconds, metric.name.ends_with("_seconds"), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
        describe_all();
    }
}
