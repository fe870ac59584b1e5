//! The loop's metrics, looked up once.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use ridgeline_domain::ErrorCode;

use crate::{WorkerSpec, metric};

pub(super) struct Meters {
    topic: String,
    role: &'static str,
    pub(super) done: Counter,
    pub(super) late: Counter,
    pub(super) retries: Counter,
    pub(super) panics: Counter,
    pub(super) commits_ok: Counter,
    pub(super) commits_closed: Counter,
    pub(super) commits_failed: Counter,
    pub(super) running: Gauge,
    pub(super) unfinished: Gauge,
    pub(super) retrying: Gauge,
    pub(super) owned: Gauge,
    pub(super) paused: Gauge,
    pub(super) fuse_blown: Gauge,
    pub(super) lag: Gauge,
    pub(super) oldest: Gauge,
    pub(super) step_duration: Histogram,
    dead_lettered: Counter,
}

impl Meters {
    pub(super) fn new(spec: &WorkerSpec) -> Self {
        let (topic, role) = (spec.topic.as_str().to_owned(), spec.role);
        let count = |name: &'static str| counter!(name, "topic" => topic.clone(), "role" => role);
        let level = |name: &'static str| gauge!(name, "topic" => topic.clone(), "role" => role);
        let ending =
            |word: &'static str| counter!(metric::RECORDS, "topic" => topic.clone(), "role" => role, "ending" => word);
        let commit =
            |word: &'static str| counter!(metric::COMMITS, "topic" => topic.clone(), "role" => role, "outcome" => word);
        Self {
            role,
            done: ending("done"),
            dead_lettered: ending("dead_lettered"),
            late: count(metric::RECORDS_LATE),
            retries: count(metric::RETRIES),
            panics: count(metric::PANICS),
            commits_ok: commit("ok"),
            commits_closed: commit("closed"),
            commits_failed: commit("failed"),
            running: level(metric::RECORDS_RUNNING),
            unfinished: level(metric::RECORDS_UNFINISHED),
            retrying: level(metric::LANES_RETRYING),
            owned: level(metric::PARTITIONS_OWNED),
            paused: level(metric::PARTITIONS_PAUSED),
            fuse_blown: level(metric::FUSE_BLOWN),
            lag: level(metric::LAG),
            oldest: level(metric::OLDEST),
            step_duration: histogram!(metric::STEP_DURATION, "topic" => topic.clone(), "role" => role),
            topic,
        }
    }

    pub(super) const fn role(&self) -> &'static str {
        self.role
    }

    pub(super) fn dead_letters(&self, code: ErrorCode, records: u64) {
        self.dead_lettered.increment(records);
        let (topic, role) = (self.topic.clone(), self.role);
        counter!(metric::DEAD_LETTERS, "topic" => topic, "role" => role, "code" => code.as_str()).increment(records);
    }

    pub(super) fn rebalance(&self, kind: &'static str) {
        let (topic, role) = (self.topic.clone(), self.role);
        counter!(metric::REBALANCES, "topic" => topic, "role" => role, "kind" => kind).increment(1);
    }
}
