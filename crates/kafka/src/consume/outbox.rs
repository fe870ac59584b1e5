//! The channel of deliveries, bounded by count and by bytes, filled from a thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ridgeline_ports::{Delivery, Partition, Record};
use tokio::sync::mpsc;

use super::alarm::Alarm;

/// Records that wait for room outside the channel before all partitions are paused: some looks at a standing channel.
const HELD_MAX: usize = 64;
/// The same in bytes.
const HELD_BYTES_MAX: usize = 8 << 20;

struct Held {
    delivery: Delivery,
    bytes: usize,
}

/// What was read and waits, in order, for the consumer.
pub(super) struct Outbox {
    channel: mpsc::Sender<Delivery>,
    /// Sizes of the last deliveries sent; the newest that still wait in the channel count.
    sizes: VecDeque<usize>,
    bytes_max: usize,
    held: VecDeque<Held>,
    held_bytes: usize,
}

impl Outbox {
    pub(super) fn new(channel: mpsc::Sender<Delivery>, bytes_max: usize) -> Self {
        Self { channel, sizes: VecDeque::new(), bytes_max, held: VecDeque::new(), held_bytes: 0 }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }

    /// Whether something waits because the channel is full.
    pub(super) fn is_stuck(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether nothing more should be read at all.
    pub(super) fn is_over(&self) -> bool {
        self.held.len() >= HELD_MAX || self.held_bytes >= HELD_BYTES_MAX
    }

    /// Sends, or holds behind what is held already.
    pub(super) fn push(&mut self, delivery: Delivery) {
        let bytes = match &delivery {
            Delivery::Record { record, .. } => size_of(record),
            Delivery::End { .. } => 0,
        };
        self.held_bytes += bytes;
        self.held.push_back(Held { delivery, bytes });
        self.flush();
    }

    /// Sends what fits. Whether anything was sent.
    pub(super) fn flush(&mut self) -> bool {
        let mut moved = false;
        while let Some(bytes) = self.held.front().map(|front| front.bytes) {
            let slots = self.slots(bytes);
            let Ok(Some(permit)) = self.channel.try_reserve_many(slots).map(|mut permits| permits.next()) else {
                break;
            };
            let Some(front) = self.held.pop_front() else { break };
            permit.send(front.delivery);
            self.held_bytes -= bytes;
            self.sizes.push_back(bytes);
            moved = true;
        }
        moved
    }

    /// Rests until there may be room, or the alarm rings.
    pub(super) fn rest(&mut self, alarm: &Arc<Alarm>, at_most: Duration) {
        let slots = self.held.front().map_or(0, |front| front.bytes);
        let slots = self.slots(slots);
        let channel = self.channel.clone();
        let mut room = Box::pin(channel.reserve_many(slots));
        if alarm.poll(&mut room).is_pending() {
            alarm.rest(at_most);
        }
    }

    /// Forgets what is held of partitions that go away.
    pub(super) fn forget(&mut self, partitions: &[Partition]) {
        self.held.retain(|held| !partitions.contains(&partition_of(&held.delivery)));
        self.held_bytes = self.held.iter().map(|held| held.bytes).sum();
    }

    /// Slots of the channel that must be free before `bytes` fit: one, and those of large deliveries that must be taken first.
    fn slots(&mut self, bytes: usize) -> usize {
        let capacity = self.channel.max_capacity();
        let queued = capacity - self.channel.capacity();
        while self.sizes.len() > queued {
            self.sizes.pop_front();
        }
        let mut total = bytes;
        let fits = |waiting: &&usize| {
            total = total.saturating_add(**waiting);
            total <= self.bytes_max
        };
        let may_wait = self.sizes.iter().rev().take_while(fits).count();
        if may_wait == self.sizes.len() { 1 } else { (capacity - may_wait).max(1) }
    }
}

fn partition_of(delivery: &Delivery) -> Partition {
    match delivery {
        Delivery::Record { record, .. } => record.partition,
        Delivery::End { partition, .. } => *partition,
    }
}

fn size_of(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len) + headers
}
