//! The figures of this crate, by name.

use metrics::Unit;

/// Requests, by kind and outcome: ok, conflict, or why there was no answer.
pub const REQUESTS: &str = "ridgeline_store_requests_total";
/// Time a request took.
pub const DURATION: &str = "ridgeline_store_request_duration_seconds";
/// Conditional writes whose answer was lost, by what a read proved: applied, nothing.
pub const LOST_ANSWERS: &str = "ridgeline_store_lost_answers_total";

/// Tells the installed recorder help and unit of every metric; call once after installing it.
pub fn describe_all() {
    metrics::describe_counter!(REQUESTS, Unit::Count, "Requests to the database, by kind and outcome.");
    metrics::describe_histogram!(DURATION, Unit::Seconds, "Time a request to the database took.");
    metrics::describe_counter!(
        LOST_ANSWERS,
        Unit::Count,
        "Conditional writes without an answer, by what a read proved: applied, nothing."
    );
}

pub(crate) fn request(kind: &'static str, outcome: &'static str, took: std::time::Duration) {
    metrics::counter!(REQUESTS, "kind" => kind, "outcome" => outcome).increment(1);
    metrics::histogram!(DURATION, "kind" => kind).record(took);
}

pub(crate) fn lost_answer(proof: &'static str) {
    metrics::counter!(LOST_ANSWERS, "proof" => proof).increment(1);
}
