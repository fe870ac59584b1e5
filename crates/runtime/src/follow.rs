//! How far behind a reader is that follows a topic outside the worker loop: a gallery shard, a gateway's tail.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;
use parking_lot::Mutex;
use ridgeline_domain::Timestamp;
use ridgeline_ports::{Clock, Delivery, EventLog, Offset, Partition, TopicName};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::metric;

/// End offsets are asked for this often, as in the worker loop.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// What a reader has read. Clones share it.
#[derive(Clone)]
pub struct Following {
    topic: TopicName,
    lag: Gauge,
    oldest: Gauge,
    read: Arc<Mutex<BTreeMap<Partition, Position>>>,
}

struct Position {
    next: Offset,
    last: Option<Timestamp>,
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Following {
    /// A reader of `topic` that has read nothing.
    #[must_use]
    pub fn new(role: &'static str, topic: TopicName) -> Self {
        let name = topic.as_str().to_owned();
        let lag = metrics::gauge!(metric::LAG, "topic" => name.clone(), "role" => role);
        let oldest = metrics::gauge!(metric::OLDEST, "topic" => name, "role" => role);
        Self { topic, lag, oldest, read: Arc::default() }
    }

    /// This was read.
    pub fn read(&self, delivery: &Delivery) {
        let mut read = self.read.lock();
        match delivery {
            Delivery::Record { record, .. } => {
                let position = Position { next: record.offset.next(), last: Some(record.append_time) };
                read.insert(record.partition, position);
            }
            Delivery::End { partition, next, .. } => {
                read.entry(*partition).or_insert(Position { next: *next, last: None }).next = *next;
            }
        }
    }

    /// The partition is read from `next` on.
    pub fn starts(&self, partition: Partition, next: Offset) {
        self.read.lock().insert(partition, Position { next, last: None });
    }

    /// These partitions are read by someone else.
    pub fn forget(&self, partitions: &[Partition]) {
        self.read.lock().retain(|partition, _| !partitions.contains(partition));
    }

    /// How many records are missing up to `ends` where it reads, and the age in milliseconds of the last one read where some are.
    fn behind(&self, ends: &[Offset], now: Timestamp) -> (u64, i64) {
        let (mut records, mut oldest) = (0, None::<Timestamp>);
        for (partition, position) in self.read.lock().iter() {
            let end = usize::try_from(partition.0).ok().and_then(|index| ends.get(index));
            let missing = end.map_or(0, |end| end.0.saturating_sub(position.next.0));
            records += missing;
            if let Some(last) = position.last.filter(|_| missing > 0) {
                oldest = Some(oldest.map_or(last, |known| known.min(last)));
            }
        }
        (records, oldest.map_or(0, |oldest| now.since(oldest).0.max(0)))
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges; a lag above 2^53 may be off by one")]
    fn report(&self, ends: &[Offset], now: Timestamp) {
        let (records, age_ms) = self.behind(ends, now);
        self.lag.set(records as f64);
        self.oldest.set(age_ms as f64 / 1_000.0);
    }

    /// Keeps the gauges true until `stop`.
    pub async fn measure(&self, log: &dyn EventLog, clock: &dyn Clock, stop: &CancellationToken) {
        let mut ticks = interval(MEASURE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = async {
                ticks.tick().await;
                log.end_offsets(&self.topic).await
            };
            // Cancel-safe: a measurement that is dropped has changed nothing.
            let ends = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                ends = step => ends,
            };
            if let Ok(ends) = ends {
                self.report(&ends, clock.now());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ridgeline_ports::Record;

    use super::*;

    fn record(partition: u32, offset: u64, append_ms: i64) -> Delivery {
        let record = Record {
            topic: TopicName::new("t"),
            partition: Partition(partition),
            offset: Offset(offset),
            append_time: Timestamp::from_millis(append_ms),
            key: Bytes::new(),
            value: None,
            headers: vec![],
        };
        Delivery::Record { record, epoch: 0 }
    }

    #[test]
    fn counts_what_is_missing_where_it_reads_and_how_old_that_is() {
        let following = Following::new("gateway", TopicName::new("t"));
        following.starts(Partition(0), Offset(0));
        following.read(&record(0, 4, 1_000));
        following.read(&record(1, 9, 3_000));
        let now = Timestamp::from_millis(11_000);
        assert_eq!(following.behind(&[Offset(7), Offset(10), Offset(99)], now), (2, 10_000));
        let end = Delivery::End { topic: TopicName::new("t"), partition: Partition(0), next: Offset(7), epoch: 0 };
        following.read(&end);
        assert_eq!(following.behind(&[Offset(7), Offset(10), Offset(99)], now), (0, 0));
        assert_eq!(following.behind(&[Offset(7), Offset(12)], now), (2, 8_000));
        following.forget(&[Partition(1)]);
        assert_eq!(following.behind(&[Offset(7), Offset(12)], now), (0, 0));
        following.report(&[], now);
    }
}
