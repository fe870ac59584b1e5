//! What reading with a registry tells: name, unit, help and labels in one table.

use metrics::Unit;

/// A row of the table; all are counters.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name as exported.
    pub name: &'static str,
    /// Unit of its values.
    pub unit: Unit,
    /// One line for people.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
}

/// Schema ids that were looked up, by outcome.
pub const LOOKUPS: &str = "ridgeline_registry_lookups_total";

/// The table.
pub const ALL: &[Metric] = &[Metric {
    name: LOOKUPS,
    unit: Unit::Count,
    help: "Schema ids of records that the registry was asked for, by outcome: ours, foreign, failed.",
    labels: &["outcome"],
}];

/// Tells the installed recorder help and unit of every metric; call once after installing it.
pub fn describe_all() {
    for metric in ALL {
        metrics::describe_counter!(metric.name, metric.unit, metric.help);
    }
}

pub(crate) fn lookup(outcome: &'static str) {
    metrics::counter!(LOOKUPS, "outcome" => outcome).increment(1);
}
