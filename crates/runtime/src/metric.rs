//! Every metric: name, kind, unit, help and labels in one table, so that nobody spells a name twice.

use metrics::Unit;

/// What a metric counts like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
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

        #[cfg(test)]
        const CONSTANTS: &[&str] = &[$($ident,)+];
    };
}

table! {
    RECORDS = "ridgeline_records_total", Counter, Count, ["topic", "role", "ending"],
        "Records that ended, by ending: done, dead_lettered.";
    RECORDS_RUNNING = "ridgeline_records_running", Gauge, Count, ["topic", "role"],
        "Records and timers being worked on.";
    RECORDS_UNFINISHED = "ridgeline_records_unfinished", Gauge, Count, ["topic", "role"],
        "Records read and not finished: queued, running, backing off or held.";
    RECORDS_LATE = "ridgeline_records_late_total", Counter, Count, ["topic", "role"],
        "Results dropped because their partition had gone.";
    RETRIES = "ridgeline_retries_total", Counter, Count, ["topic", "role"],
        "Attempts that failed and are made again.";
    LANES_RETRYING = "ridgeline_lanes_retrying", Gauge, Count, ["topic", "role"],
        "Lanes whose front has failed and is being tried again.";
    DEAD_LETTERS = "ridgeline_dead_letters_total", Counter, Count, ["topic", "role", "code"],
        "Records written to the dead letters, by error code.";
    PANICS = "ridgeline_panics_total", Counter, Count, ["topic", "role"],
        "Steps that panicked.";
    FUSE_BLOWN = "ridgeline_fuse_blown", Gauge, Count, ["topic", "role"],
        "1 while almost everything is poison and consumption is paused.";
    REBALANCES = "ridgeline_rebalances_total", Counter, Count, ["topic", "role", "kind"],
        "Membership changes, by kind: assigned, revoked, lost.";
    PARTITIONS_OWNED = "ridgeline_partitions_owned", Gauge, Count, ["topic", "role"],
        "Partitions this member owns.";
    PARTITIONS_PAUSED = "ridgeline_partitions_paused", Gauge, Count, ["topic", "role"],
        "Partitions paused because a lane is stuck.";
    COMMITS = "ridgeline_commits_total", Counter, Count, ["topic", "role", "outcome"],
        "Commits, by outcome: ok, closed, failed.";
    LAG = "ridgeline_lag_records", Gauge, Count, ["topic", "role"],
        "Records between the first unfinished one and the end, over the partitions this member owns.";
    OLDEST = "ridgeline_oldest_unfinished_seconds", Gauge, Seconds, ["topic", "role"],
        "Age of the oldest unfinished record, from its append time.";
    STEP_DURATION = "ridgeline_step_duration_seconds", Histogram, Seconds, ["topic", "role"],
        "Time one attempt at a record or timer took.";
    HTTP_REQUESTS = "ridgeline_http_requests_total", Counter, Count, ["route", "method", "status"],
        "HTTP requests answered.";
    HTTP_DURATION = "ridgeline_http_request_duration_seconds", Histogram, Seconds, ["route", "method"],
        "Time to answer an HTTP request.";
    HTTP_WAITERS = "ridgeline_http_waiters", Gauge, Count, [],
        "Requests that wait for a decision.";
    HTTP_PUBLISHES = "ridgeline_http_publishes", Gauge, Count, [],
        "Records that a gateway is publishing.";
    DECISIONS = "ridgeline_decisions_total", Counter, Count, ["operation", "outcome"],
        "Decisions published, repetitions included.";
    DECISION_DURATION = "ridgeline_decision_duration_seconds", Histogram, Seconds, ["operation"],
        "Time from the append of a request to its decision.";
    AUDIT_EVENTS = "ridgeline_audit_events_total", Counter, Count, ["role"],
        "Audit events published.";
    NOTIFICATIONS = "ridgeline_notifications_total", Counter, Count, ["kind", "status"],
        "Notifications that came to their end, by kind (push, callback) and status (sent, delivered, failed).";
    REVOCATION_LAG = "ridgeline_revocation_lag_seconds", Gauge, Seconds, [],
        "Age of the last record of revocations that a gateway has read; above 1 s it asks the store instead.";
    REVOCATION_LOOKUPS = "ridgeline_revocation_lookups_total", Counter, Count, ["source"],
        "Tokens looked up among the revocations, by source: cache, store.";
    CPU_QUEUE = "ridgeline_cpu_queue", Gauge, Count, [],
        "Computations that wait for a CPU thread or run on one.";
    CPU_DURATION = "ridgeline_cpu_duration_seconds", Histogram, Seconds, [],
        "Time a computation ran on a CPU thread.";
    GALLERY_SUBJECTS = "ridgeline_gallery_subjects", Gauge, Count, [],
        "Subjects in the gallery partitions this process searches.";
    GALLERY_REPAIRS = "ridgeline_gallery_repairs_total", Counter, Count, [],
        "Subjects whose gallery record lagged behind their row and was published again.";
    SPOOL_RECORDS = "ridgeline_spool_records", Gauge, Count, [],
        "Scans an agent has taken and the log has not acknowledged.";
    SPOOL_BYTES = "ridgeline_spool_bytes", Gauge, Bytes, [],
        "Bytes of the agent's spool on disk.";
    SPOOL_OLDEST = "ridgeline_spool_oldest_seconds", Gauge, Seconds, [],
        "Age of the oldest scan in the agent's spool.";
    VERIFICATION_REQUESTS = "biometric_verification_requests_total", Counter, Count, ["modality", "status"],
        "Verifications, by modality and status.";
    VERIFICATION_DURATION = "biometric_verification_duration_seconds", Histogram, Seconds, ["modality"],
        "Time from the append of a verification to its decision.";
    TEMPLATES_STORED = "biometric_templates_stored_total", Gauge, Count, ["modality"],
        "Templates stored.";
}

/// Tells the installed recorder help and unit of every metric; call once after installing it.
pub fn describe_all() {
    for metric in ALL {
        let (name, unit, help) = (metric.name, metric.unit, metric.help);
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(name, unit, help),
            Kind::Gauge => metrics::describe_gauge!(name, unit, help),
            Kind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constant_stands_in_the_table_exactly_once() {
        assert_eq!(CONSTANTS.len(), ALL.len());
        for name in CONSTANTS {
            assert_eq!(ALL.iter().filter(|metric| metric.name == *name).count(), 1, "{name}");
        }
    }

    #[test]
    fn names_tell_kind_and_unit_and_help_is_a_sentence() {
        for metric in ALL {
            let name = metric.name;
            assert!(name.starts_with("ridgeline_") || name.starts_with("biometric_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            let seconds = metric.unit == Unit::Seconds;
            assert_eq!(seconds, name.ends_with("_seconds"), "{name}");
            if metric.kind == Kind::Counter {
                assert!(name.ends_with("_total"), "{name}");
            }
            assert!(metric.help.ends_with('.'), "{name}");
        }
        describe_all();
    }

    #[test]
    fn the_platform_guides_names_are_kept() {
        let of = |name: &str| ALL.iter().find(|metric| metric.name == name).map(|metric| (metric.kind, metric.labels));
        let (counter, histogram, gauge) = (Kind::Counter, Kind::Histogram, Kind::Gauge);
        assert_eq!(of("biometric_verification_requests_total"), Some((counter, &["modality", "status"][..])));
        assert_eq!(of("biometric_verification_duration_seconds"), Some((histogram, &["modality"][..])));
        assert_eq!(of("biometric_templates_stored_total"), Some((gauge, &["modality"][..])));
    }
}
