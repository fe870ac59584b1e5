//! What the clients tell about themselves: name, kind, unit, help and labels in one table.
//!
//! The table has the shape of the runtime's, which this crate does not link.

use metrics::Unit;
use rdkafka::Statistics;

/// A row of the table; all are gauges.
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

macro_rules! table {
    ($($ident:ident = $name:literal, $unit:ident, [$($label:literal),*], $help:literal;)+) => {
        $(#[doc = $help] pub const $ident: &str = $name;)+

        /// The table, in the order of this file.
        pub const ALL: &[Metric] = &[$(Metric {
            name: $name, unit: Unit::$unit, help: $help, labels: &[$($label),*],
        },)+];
    };
}

table! {
    LAG = "ridgeline_kafka_lag_records", Count, ["topic", "group"],
        "Records between the committed or read offset and the end, over the partitions this member owns.";
    READ_AHEAD = "ridgeline_kafka_read_ahead_records", Count, ["topic", "group"],
        "Records read ahead and not yet delivered.";
    BROKER_RTT = "ridgeline_kafka_broker_rtt_seconds", Seconds, ["client", "broker", "quantile"],
        "Round-trip time of requests to a broker over the last interval.";
    BROKER_ERRORS = "ridgeline_kafka_broker_errors", Count, ["client", "broker"],
        "Requests to a broker that failed or timed out since the client started.";
    PRODUCER_QUEUE = "ridgeline_kafka_producer_queue_records", Count, [],
        "Records that wait for their acknowledgement.";
    PRODUCER_QUEUE_BYTES = "ridgeline_kafka_producer_queue_bytes", Bytes, [],
        "Bytes of the records that wait for their acknowledgement.";
}

/// Tells the installed recorder help and unit of every metric; call once after installing it.
pub fn describe_all() {
    for metric in ALL {
        metrics::describe_gauge!(metric.name, metric.unit, metric.help);
    }
}

/// Sets the gauges of a group's member, or of a reader without a group.
pub(crate) fn consumer(statistics: &Statistics, group: &str) {
    brokers(statistics, "consumer");
    for (name, topic) in &statistics.topics {
        // -1 stands for partitions without a leader and for offsets not known yet.
        let owned = || topic.partitions.values().filter(|partition| partition.partition >= 0);
        let lag: i64 = owned().map(|partition| partition.consumer_lag.max(0)).sum();
        let ahead: i64 = owned().map(|partition| partition.fetchq_cnt).sum();
        metrics::gauge!(LAG, "topic" => name.clone(), "group" => group.to_owned()).set(float(lag));
        metrics::gauge!(READ_AHEAD, "topic" => name.clone(), "group" => group.to_owned()).set(float(ahead));
    }
}

/// Sets the gauges of the producer.
pub(crate) fn producer(statistics: &Statistics) {
    brokers(statistics, "producer");
    metrics::gauge!(PRODUCER_QUEUE).set(float(i64::try_from(statistics.msg_cnt).unwrap_or(i64::MAX)));
    metrics::gauge!(PRODUCER_QUEUE_BYTES).set(float(i64::try_from(statistics.msg_size).unwrap_or(i64::MAX)));
}

fn brokers(statistics: &Statistics, client: &'static str) {
    // Bootstrap entries and the coordinator's logical name have no number; their connections are counted under the broker's.
    for broker in statistics.brokers.values().filter(|broker| broker.nodeid >= 0) {
        let name = broker.nodeid.to_string();
        let errors = broker.txerrs.saturating_add(broker.rxerrs).saturating_add(broker.req_timeouts);
        let errors = i64::try_from(errors).unwrap_or(i64::MAX);
        metrics::gauge!(BROKER_ERRORS, "client" => client, "broker" => name.clone()).set(float(errors));
        if let Some(rtt) = broker.rtt.as_ref().filter(|rtt| rtt.cnt > 0) {
            for (quantile, micros) in [("0.5", rtt.p50), ("0.99", rtt.p99)] {
                let labels =
                    [("client", client.to_owned()), ("broker", name.clone()), ("quantile", quantile.to_owned())];
                metrics::gauge!(BROKER_RTT, &labels).set(float(micros) / 1e6);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge; counts stay far below 2^52")]
fn float(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_unit_and_help_is_a_sentence() {
        for metric in ALL {
            assert!(metric.name.starts_with("ridgeline_kafka_"), "{}", metric.name);
            assert_eq!(metric.unit == Unit::Seconds, metric.name.ends_with("_seconds"), "{}", metric.name);
            assert_eq!(metric.unit == Unit::Bytes, metric.name.ends_with("_bytes"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
        describe_all();
    }
}
