//! One partition of the window: its unfinished records by offset, its lanes, its holds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ridgeline_domain::Timestamp;
use ridgeline_ports::{Assignment, Offset, Record};

use super::Work;
use crate::Poison;

/// What a record costs besides its bytes: slot, lane and record headers, in bytes.
const RECORD_OVERHEAD: usize = 256;

/// An unfinished record.
pub(super) struct Slot {
    pub(super) record: Arc<Record>,
    bytes: usize,
}

/// What the front of a lane is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Ready,
    Running,
    /// Backs off after a failed attempt.
    Waiting,
}

/// Work of equal keys, in log order; only the front ever runs.
pub(super) struct Lane {
    pub(super) queue: VecDeque<Work>,
    pub(super) head: Head,
    /// Failed attempts of the front.
    pub(super) attempts: u32,
    /// Set once the front has turned out poison and only its burial is left.
    pub(super) poison: Option<Poison>,
}

/// Records that wait for one key.
#[derive(Default)]
pub(super) struct Hold {
    pub(super) offsets: Vec<Offset>,
    pub(super) deadline: Option<Timestamp>,
    /// A timer of this key stands in its lane and has not started.
    pub(super) timer_queued: bool,
}

pub(super) struct Part {
    pub(super) epoch: u64,
    /// First offset of the assignment.
    start: Offset,
    /// Offset after the last one read.
    next: Offset,
    /// What the log has committed for us.
    pub(super) committed: Offset,
    pub(super) slots: BTreeMap<Offset, Slot>,
    pub(super) lanes: HashMap<Bytes, Lane>,
    pub(super) holds: HashMap<Bytes, Hold>,
    pub(super) bytes: usize,
    pub(super) running: usize,
    pub(super) paused: bool,
    /// Being given back: nothing is read or started any more.
    pub(super) draining: bool,
}

impl Part {
    pub(super) fn new(assignment: Assignment) -> Self {
        Self {
            epoch: assignment.epoch,
            start: assignment.start,
            next: assignment.start,
            committed: assignment.start,
            slots: BTreeMap::new(),
            lanes: HashMap::new(),
            holds: HashMap::new(),
            bytes: 0,
            running: 0,
            paused: false,
            draining: false,
        }
    }

    /// D-2: everything below is finished.
    pub(super) fn low_water(&self) -> Offset {
        self.slots.first_key_value().map_or(self.next, |(offset, _)| *offset)
    }

    /// The low-water mark, if it moved since the assignment.
    pub(super) fn progress(&self) -> Option<Offset> {
        let low = self.low_water();
        (low > self.start).then_some(low)
    }

    pub(super) fn span(&self) -> u64 {
        self.next.0 - self.low_water().0
    }

    /// Whether the record was already read under this epoch.
    pub(super) fn has_seen(&self, offset: Offset) -> bool {
        offset < self.next
    }

    /// The log has nothing below `next` that was not delivered (compaction leaves gaps at the end, too).
    pub(super) fn reached(&mut self, next: Offset) {
        self.next = self.next.max(next);
    }

    /// Takes a record in; returns its size.
    pub(super) fn insert(&mut self, record: Arc<Record>) -> usize {
        let bytes = size_of(&record);
        self.next = record.offset.next();
        self.bytes += bytes;
        self.slots.insert(record.offset, Slot { record, bytes });
        bytes
    }

    /// Finishes a record; returns its size, 0 if it was finished already.
    pub(super) fn finish(&mut self, offset: Offset) -> usize {
        let bytes = self.slots.remove(&offset).map_or(0, |slot| slot.bytes);
        self.bytes -= bytes;
        bytes
    }

    /// Appends work to a lane; true if it stands at the front.
    pub(super) fn enqueue(&mut self, lane: &Bytes, work: Work) -> bool {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.queue.push_back(work);
            return false;
        }
        let queue = VecDeque::from([work]);
        self.lanes.insert(lane.clone(), Lane { queue, head: Head::Ready, attempts: 0, poison: None });
        true
    }

    /// Removes the front of a lane; true if there is a next one, which is ready now.
    pub(super) fn advance(&mut self, lane: &Bytes) -> bool {
        let Some(found) = self.lanes.get_mut(lane) else { return false };
        found.queue.pop_front();
        if found.queue.is_empty() {
            self.lanes.remove(lane);
            return false;
        }
        found.head = Head::Ready;
        found.attempts = 0;
        found.poison = None;
        true
    }

    /// The lanes whose front is ready, each with that front.
    pub(super) fn ready_lanes(&self) -> Vec<(Work, Bytes)> {
        let ready = self.lanes.iter().filter(|(_, lane)| lane.head == Head::Ready);
        ready.filter_map(|(name, lane)| Some((lane.queue.front()?.clone(), name.clone()))).collect()
    }

    /// The lane, if its front is this work in this state.
    pub(super) fn head_is(&mut self, lane: &Bytes, work: &Work, head: Head) -> Option<&mut Lane> {
        self.lanes.get_mut(lane).filter(|found| found.head == head && found.queue.front() == Some(work))
    }

    /// The records held under a key, in log order.
    pub(super) fn held(&self, key: &Bytes) -> Vec<Arc<Record>> {
        let offsets = self.holds.get(key).map(|hold| hold.offsets.as_slice()).unwrap_or_default();
        offsets.iter().filter_map(|offset| self.slots.get(offset)).map(|slot| slot.record.clone()).collect()
    }
}

fn size_of(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    RECORD_OVERHEAD + record.key.len() + record.value.as_ref().map_or(0, Bytes::len) + headers
}
