//! The task behind a subscription: follows the ends of its partitions and fills the channel of deliveries.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use ridgeline_ports::{Control, Delivery, Offset, Partition, Record};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::disk::{Chunk, ReadLimit, Topic};
use crate::error::EmbeddedError;

/// One turn of a partition; then the next partition has its turn.
const TURN: ReadLimit = ReadLimit { records: 128, bytes: 4 << 20 };
/// Records this near to the end were just written and lie in memory: they are read without leaving the task.
const NEAR_END: u64 = 1_024;
/// Topics with larger records are always read outside the task.
const INLINE_RECORD_BYTES_MAX: usize = 1 << 20;

/// Where a subscription stands in one partition.
pub(crate) struct Cursor {
    pub(crate) partition: Partition,
    pub(crate) epoch: u64,
    pub(crate) next: Offset,
    pub(crate) paused: bool,
    /// The end at `next` was told.
    pub(crate) end_told: bool,
}

impl Cursor {
    pub(crate) fn new(partition: Partition, epoch: u64, next: Offset) -> Self {
        Self { partition, epoch, next, paused: false, end_told: false }
    }
}

/// The cursors of a subscription; changed by its reader and by rebalances.
#[derive(Default)]
pub(crate) struct Cursors {
    list: Mutex<Vec<Cursor>>,
    changed: Notify,
}

impl Cursors {
    /// Changes the list and lets the reader look again.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Vec<Cursor>) -> T) -> T {
        let result = change(&mut self.list.lock());
        self.changed.notify_one();
        result
    }
}

/// Bounded by count through the channel and by bytes through what is known to wait in it.
struct Outbox {
    channel: mpsc::Sender<Delivery>,
    /// Sizes of the last deliveries; the newest that still wait in the channel count.
    sizes: VecDeque<usize>,
    bytes_max: usize,
}

impl Outbox {
    /// Waits until a delivery of that size fits. `None`: the receiver is gone. Cancel-safe.
    async fn room(&mut self, size: usize) -> Option<mpsc::Permit<'_, Delivery>> {
        let capacity = self.channel.max_capacity();
        let queued = capacity - self.channel.capacity();
        while self.sizes.len() > queued {
            self.sizes.pop_front();
        }
        let mut total = size;
        let may_wait = self
            .sizes
            .iter()
            .rev()
            .take_while(|waiting| {
                total = total.saturating_add(**waiting);
                total <= self.bytes_max
            })
            .count();
        // Free slots beyond the one needed stand for large deliveries that must have been taken first.
        let slots = if may_wait == self.sizes.len() { 1 } else { capacity - may_wait };
        let permit = self.channel.reserve_many(slots.max(1)).await.ok()?.next()?;
        self.sizes.push_back(size);
        Some(permit)
    }
}

/// What the reader does next.
enum Work {
    TellEnd { partition: Partition, epoch: u64 },
    Read { partition: Partition, epoch: u64, from: Offset, end: Offset },
}

/// How a step went.
enum Step {
    Moved,
    Idle,
    Closed,
}

/// Fills one subscription's channel.
pub(crate) struct Reader {
    topic: Arc<Topic>,
    cursors: Arc<Cursors>,
    outbox: Outbox,
    /// Group members: without a listener there the subscription has been dropped.
    control: Option<mpsc::UnboundedSender<Control>>,
    /// Which cursor has the next turn.
    turn: usize,
}

impl Reader {
    pub(crate) fn new(
        topic: Arc<Topic>,
        cursors: Arc<Cursors>,
        channel: mpsc::Sender<Delivery>,
        bytes_max: usize,
        control: Option<mpsc::UnboundedSender<Control>>,
    ) -> Self {
        Self { topic, cursors, outbox: Outbox { channel, sizes: VecDeque::new(), bytes_max }, control, turn: 0 }
    }

    /// Reads until stopped or until nobody listens any more.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), EmbeddedError> {
        let mut appended = self.topic.appended.subscribe();
        let channel = self.outbox.channel.clone();
        let control = self.control.clone();
        let abandoned = async {
            tokio::select! {
                () = channel.closed() => {}
                () = closed(control.as_ref()) => {}
            }
        };
        tokio::pin!(abandoned);
        let cursors = Arc::clone(&self.cursors);
        loop {
            // Marked before looking, so that an append after the look wakes this task.
            appended.mark_unchanged();
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = &mut abandoned => return Ok(()),
                step = self.step() => step?,
            };
            match step {
                Step::Moved => {}
                Step::Closed => return Ok(()),
                Step::Idle => tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(()),
                    () = &mut abandoned => return Ok(()),
                    () = cursors.changed.notified() => {}
                    _ = appended.changed() => {}
                },
            }
        }
    }

    async fn step(&mut self) -> Result<Step, EmbeddedError> {
        match self.pick() {
            None => Ok(Step::Idle),
            Some(Work::TellEnd { partition, epoch }) => Ok(self.tell_end(partition, epoch).await),
            Some(Work::Read { partition, epoch, from, end }) => {
                let chunk = self.read(partition, from, end).await?;
                Ok(self.deliver(partition, epoch, chunk).await)
            }
        }
    }

    /// The next cursor, in turn, that has something to do.
    fn pick(&mut self) -> Option<Work> {
        let cursors = self.cursors.list.lock();
        let count = cursors.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let cursor = cursors.get(index)?;
            if cursor.paused {
                continue;
            }
            let end = self.topic.partition(cursor.partition).ok()?.end();
            let (partition, epoch, from) = (cursor.partition, cursor.epoch, cursor.next);
            if from < end {
                self.turn = index + 1;
                return Some(Work::Read { partition, epoch, from, end });
            }
            if !cursor.end_told {
                self.turn = index + 1;
                return Some(Work::TellEnd { partition, epoch });
            }
        }
        None
    }

    async fn read(&self, partition: Partition, from: Offset, end: Offset) -> Result<Chunk, EmbeddedError> {
        let from = from.max(self.topic.partition(partition).map_or(from, |state| state.first().min(end)));
        let small = self.topic.record_bytes_max.load(Ordering::Relaxed) <= INLINE_RECORD_BYTES_MAX;
        if small && end.0 - from.0 <= NEAR_END {
            return self.topic.read(partition, from, end, TURN);
        }
        let topic = Arc::clone(&self.topic);
        match tokio::task::spawn_blocking(move || topic.read(partition, from, end, TURN)).await {
            Ok(chunk) => chunk,
            Err(_) => Err(EmbeddedError::Closed),
        }
    }

    /// Sends what was read as long as the cursor still stands where it was read from.
    async fn deliver(&mut self, partition: Partition, epoch: u64, chunk: Chunk) -> Step {
        for record in chunk.records {
            let Some(room) = self.outbox.room(size_of(&record)).await else { return Step::Closed };
            let next = record.offset.next();
            if !move_to(&self.cursors, partition, epoch, next) {
                return Step::Moved;
            }
            room.send(Delivery::Record { record, epoch });
        }
        move_to(&self.cursors, partition, epoch, chunk.next);
        Step::Moved
    }

    async fn tell_end(&mut self, partition: Partition, epoch: u64) -> Step {
        let Some(room) = self.outbox.room(0).await else { return Step::Closed };
        let Ok(state) = self.topic.partition(partition) else { return Step::Closed };
        let mut cursors = self.cursors.list.lock();
        let cursor = cursors.iter_mut().find(|cursor| cursor.partition == partition && cursor.epoch == epoch);
        if let Some(cursor) = cursor.filter(|cursor| !cursor.paused && cursor.next >= state.end()) {
            cursor.end_told = true;
            let (topic, next) = (self.topic.name.clone(), cursor.next);
            room.send(Delivery::End { topic, partition, next, epoch });
        }
        Step::Moved
    }
}

/// Moves a cursor forward; `false` if it was taken away, sought or paused since.
fn move_to(cursors: &Cursors, partition: Partition, epoch: u64, next: Offset) -> bool {
    let mut cursors = cursors.list.lock();
    let cursor = cursors.iter_mut().find(|cursor| cursor.partition == partition && cursor.epoch == epoch);
    let Some(cursor) = cursor.filter(|cursor| !cursor.paused) else { return false };
    cursor.next = next;
    cursor.end_told = false;
    true
}

fn size_of(record: &Record) -> usize {
    record.key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len)
}

async fn closed(control: Option<&mpsc::UnboundedSender<Control>>) {
    match control {
        Some(control) => control.closed().await,
        None => std::future::pending().await,
    }
}
