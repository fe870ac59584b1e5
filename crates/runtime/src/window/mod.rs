//! The window over the log: which records are unfinished, which may run, and how far an offset may move.
//!
//! Pure and synchronous: time is an argument, nothing is awaited. Per partition it keeps
//!
//! * the *low-water mark*: the first unfinished offset. Only it is ever committed (D-2), and within an epoch it never falls.
//! * *lanes*: records of equal keys in log order, of which only the front runs (D-5). A front that backs off holds its lane alone.
//! * *holds*: records that are neither finished nor running until their key is released.
//!
//! Each handing over of a partition has an epoch. What was started under an earlier one is a *ghost*: its result is dropped,
//! but nothing of its partition starts until it has ended. So two runs of one key never overlap inside a process, and what
//! a handler keeps in memory about a partition is dropped before the partition is worked on again.

mod part;
#[cfg(test)]
mod tests;
mod types;

pub use types::{Committable, Job, Offer, PauseChanges, Task, Ticket, Work};

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ridgeline_domain::Timestamp;
use ridgeline_ports::{Assignment, Offset, Partition, Record};

use self::part::{Head, Part};
use crate::{HoldKey, Limits, Poison};

type LaneId = (Partition, u64, Bytes);

/// The window of one worker over all its partitions.
pub struct Window {
    limits: Limits,
    parts: BTreeMap<Partition, Part>,
    ready: VecDeque<LaneId>,
    ready_timers: VecDeque<LaneId>,
    deadlines: BTreeSet<(Timestamp, Partition, Bytes)>,
    ghosts: HashMap<Partition, Vec<Ticket>>,
    released: Vec<Partition>,
    running: usize,
    retrying: usize,
    bytes: usize,
}

impl fmt::Debug for Window {
    /// Names partitions and counts, never a key (P-1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("partitions", &self.partitions())
            .field("unfinished", &self.unfinished())
            .field("running", &self.running)
            .field("retrying", &self.retrying)
            .finish_non_exhaustive()
    }
}

impl Window {
    /// An empty window; uses the limits of running records, span and bytes.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            parts: BTreeMap::new(),
            ready: VecDeque::new(),
            ready_timers: VecDeque::new(),
            deadlines: BTreeSet::new(),
            ghosts: HashMap::new(),
            released: Vec::new(),
            running: 0,
            retrying: 0,
            bytes: 0,
        }
    }

    /// Takes a partition over. Whatever was known of it under an earlier epoch is dropped.
    pub fn open(&mut self, assignment: Assignment) {
        self.close(&[assignment.partition]);
        self.parts.insert(assignment.partition, Part::new(assignment));
    }

    /// Takes a record in. Offsets may have gaps, never a step back within an epoch.
    pub fn offer(&mut self, record: Arc<Record>, epoch: u64, lane: Bytes) -> Offer {
        let (partition, offset) = (record.partition, record.offset);
        let Some(part) = self.parts.get_mut(&partition).filter(|part| part.epoch == epoch && !part.draining) else {
            return Offer::Stale;
        };
        if part.has_seen(offset) {
            return Offer::Duplicate;
        }
        self.bytes += part.insert(record);
        if part.enqueue(&lane, Work::Record(offset)) {
            self.make_ready(partition, epoch, lane);
        }
        Offer::Accepted
    }

    /// The end of a partition was read: nothing below `next` is missing. Of a partition that is being given back, the records
    /// before that end may have been dropped, so its end says nothing.
    pub fn reached(&mut self, partition: Partition, epoch: u64, next: Offset) {
        if let Some(part) = self.live(partition, epoch).filter(|part| !part.draining) {
            part.reached(next);
        }
    }

    /// Whether more should be read: few enough wait to be started, and their bytes fit.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.ready.len() < self.limits.running_max && self.bytes < self.limits.bytes_max
    }

    /// Whether a record could start.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty() && self.running < self.limits.running_max
    }

    /// Starts the next timer, if one is due and the running limit allows.
    pub fn next_timer(&mut self) -> Option<Job> {
        while self.running < self.limits.running_max {
            let lane = self.ready_timers.pop_front()?;
            if let Some(job) = self.start(lane) {
                return Some(job);
            }
        }
        None
    }

    /// Starts the next record, if one is ready and the running limit allows.
    pub fn next_runnable(&mut self) -> Option<Job> {
        while self.running < self.limits.running_max {
            let lane = self.ready.pop_front()?;
            if let Some(job) = self.start(lane) {
                return Some(job);
            }
        }
        None
    }

    /// The work ended well (or as a dead letter). Answers how many records that finished; `None`: too late, nothing happened.
    pub fn finish(&mut self, ticket: &Ticket) -> Option<usize> {
        let finished = self.end(ticket)?;
        self.advance(ticket);
        Some(finished)
    }

    /// The record waits for `key`, until `deadline` by the clock that [`Window::due`] is told. Answers `None` if that came too late. For a timer this only renews the deadline.
    pub fn hold(&mut self, ticket: &Ticket, key: &Bytes, deadline: Option<Timestamp>) -> Option<()> {
        self.take_running(ticket)?;
        let part = self.parts.get_mut(&ticket.partition)?;
        let hold = match ticket.work {
            Work::Record(offset) => {
                let hold = part.holds.entry(key.clone()).or_default();
                hold.offsets.push(offset);
                Some(hold)
            }
            Work::Timer(_) => part.holds.get_mut(key),
        };
        if let (Some(hold), Some(at)) = (hold, deadline) {
            let before = hold.deadline.replace(at);
            if let Some(before) = before {
                self.deadlines.remove(&(before, ticket.partition, key.clone()));
            }
            self.deadlines.insert((at, ticket.partition, key.clone()));
        }
        self.advance(ticket);
        Some(())
    }

    /// The work ended, and with it all records held under `key`. Answers how many records that finished; `None`: too late.
    pub fn release(&mut self, ticket: &Ticket, key: &Bytes) -> Option<usize> {
        let mut finished = self.end(ticket)?;
        let part = self.parts.get_mut(&ticket.partition)?;
        if let Some(hold) = part.holds.remove(key) {
            finished += hold.offsets.len();
            for offset in hold.offsets {
                self.bytes -= part.finish(offset);
            }
            if let Some(at) = hold.deadline {
                self.deadlines.remove(&(at, ticket.partition, key.clone()));
            }
        }
        self.advance(ticket);
        Some(finished)
    }

    /// The attempt failed; the lane waits for [`Window::wake`]. Answers how many attempts have failed; `None`: too late.
    pub fn retry(&mut self, ticket: &Ticket, poison: Option<Poison>) -> Option<u32> {
        let lane = self.take_running(ticket)?.lanes.get_mut(&ticket.lane)?;
        lane.head = Head::Waiting;
        lane.attempts = lane.attempts.saturating_add(1);
        lane.poison = poison;
        let attempts = lane.attempts;
        self.retrying += usize::from(attempts == 1);
        if let Work::Timer(key) = &ticket.work
            && let Some(hold) = self.live(ticket.partition, ticket.epoch).and_then(|part| part.holds.get_mut(key))
        {
            hold.timer_queued = true;
        }
        Some(attempts)
    }

    /// The back-off is over: the work is ready again.
    pub fn wake(&mut self, ticket: &Ticket) {
        let Some(part) = self.live(ticket.partition, ticket.epoch) else { return };
        let Some(lane) = part.head_is(&ticket.lane, &ticket.work, Head::Waiting) else { return };
        lane.head = Head::Ready;
        self.make_ready(ticket.partition, ticket.epoch, ticket.lane.clone());
    }

    /// Puts the timers of all deadlines up to `now` into their lanes.
    pub fn due(&mut self, now: Timestamp) {
        while self.next_deadline().is_some_and(|at| at <= now) {
            let Some((_, partition, key)) = self.deadlines.pop_first() else { return };
            let Some(part) = self.parts.get_mut(&partition) else { continue };
            let epoch = part.epoch;
            let Some(hold) = part.holds.get_mut(&key) else { continue };
            hold.deadline = None;
            let queued = std::mem::replace(&mut hold.timer_queued, true);
            if !queued && part.enqueue(&key, Work::Timer(key.clone())) {
                self.make_ready(partition, epoch, key);
            }
        }
    }

    /// The earliest deadline of a hold.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _, _)| *at)
    }

    /// Offsets that moved since they were last committed, of partitions that are not being given back.
    #[must_use]
    pub fn committable(&self) -> Vec<Committable> {
        let moved = self.parts.iter().filter(|(_, part)| !part.draining && part.low_water() > part.committed);
        moved
            .map(|(partition, part)| Committable { partition: *partition, epoch: part.epoch, offset: part.low_water() })
            .collect()
    }

    /// The log has these offsets.
    pub fn committed(&mut self, offsets: &[Committable]) {
        for commit in offsets {
            if let Some(part) = self.live(commit.partition, commit.epoch) {
                part.committed = part.committed.max(commit.offset);
            }
        }
    }

    /// The first unfinished offset of each partition; the next one to read where all is finished.
    pub fn low_waters(&self) -> impl Iterator<Item = (Partition, Offset)> {
        self.parts.iter().map(|(partition, part)| (*partition, part.low_water()))
    }

    /// Stops reading and starting work of these partitions; what runs goes on.
    pub fn drain(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(part) = self.parts.get_mut(partition) {
                part.draining = true;
            }
        }
        self.ready.retain(|(partition, _, _)| !partitions.contains(partition));
        self.ready_timers.retain(|(partition, _, _)| !partitions.contains(partition));
    }

    /// Whether nothing of these partitions runs.
    #[must_use]
    pub fn is_quiet(&self, partitions: &[Partition]) -> bool {
        partitions.iter().filter_map(|partition| self.parts.get(partition)).all(|part| part.running == 0)
    }

    /// Forgets these partitions and answers their low-water marks where these moved. Late results are dropped from now on.
    pub fn close(&mut self, partitions: &[Partition]) -> Vec<(Partition, Offset)> {
        let mut offsets = Vec::new();
        for partition in partitions {
            let Some(part) = self.parts.remove(partition) else { continue };
            offsets.extend(part.progress().map(|low| (*partition, low)));
            self.bytes -= part.bytes;
            for (lane, found) in part.lanes {
                self.retrying -= usize::from(found.attempts > 0);
                if let (Head::Running, Some(work)) = (found.head, found.queue.front()) {
                    let (partition, work) = (*partition, work.clone());
                    let ghost = Ticket { partition, epoch: part.epoch, lane, work };
                    self.ghosts.entry(partition).or_default().push(ghost);
                }
            }
        }
        self.ready.retain(|(partition, _, _)| !partitions.contains(partition));
        self.ready_timers.retain(|(partition, _, _)| !partitions.contains(partition));
        self.deadlines.retain(|(_, partition, _)| !partitions.contains(partition));
        offsets
    }

    /// Partitions whose last ghost has ended since this was last asked. Each must be released again before the next start:
    /// the ghost may have left something in memory after the first time.
    pub fn take_released(&mut self) -> Vec<Partition> {
        std::mem::take(&mut self.released)
    }

    /// Which partitions must be paused or read again. Answers each change once.
    pub fn pauses(&mut self) -> PauseChanges {
        let mut changes = PauseChanges::default();
        let (span_max, bytes_max) = (self.limits.span_max, self.limits.partition_bytes_max);
        for (partition, part) in self.parts.iter_mut().filter(|(_, part)| !part.draining) {
            let (span, bytes) = (part.span(), part.bytes);
            if !part.paused && (span >= span_max || bytes >= bytes_max) {
                part.paused = true;
                changes.pause.push(*partition);
            } else if part.paused && span <= span_max / 2 && bytes <= bytes_max / 2 {
                part.paused = false;
                changes.resume.push(*partition);
            }
        }
        changes
    }

    /// All partitions in the window.
    #[must_use]
    pub fn partitions(&self) -> Vec<Partition> {
        self.parts.keys().copied().collect()
    }

    /// Work that runs, ghosts included.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// Lanes whose front has failed and is being tried again.
    #[must_use]
    pub fn retrying(&self) -> usize {
        self.retrying
    }

    /// Partitions that are paused.
    #[must_use]
    pub fn paused(&self) -> usize {
        self.parts.values().filter(|part| part.paused).count()
    }

    /// Records in the window, held ones included.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.parts.values().map(|part| part.slots.len()).sum()
    }

    /// Append time of the first unfinished record, the oldest of all partitions.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.parts
            .values()
            .filter_map(|part| part.slots.first_key_value())
            .map(|(_, slot)| slot.record.append_time)
            .min()
    }

    fn live(&mut self, partition: Partition, epoch: u64) -> Option<&mut Part> {
        self.parts.get_mut(&partition).filter(|part| part.epoch == epoch)
    }

    /// Puts a lane whose front is ready where it will be started, unless its partition is being given back or has ghosts.
    fn make_ready(&mut self, partition: Partition, epoch: u64, lane: Bytes) {
        if self.ghosts.contains_key(&partition) {
            return;
        }
        let Some(part) = self.parts.get(&partition).filter(|part| !part.draining) else { return };
        match part.lanes.get(&lane).and_then(|lane| lane.queue.front()) {
            Some(Work::Timer(_)) => self.ready_timers.push_back((partition, epoch, lane)),
            Some(Work::Record(_)) => self.ready.push_back((partition, epoch, lane)),
            None => {}
        }
    }

    /// Starts the front of a lane; `None` if it is a timer whose hold has been released meanwhile.
    fn start(&mut self, (partition, epoch, lane): LaneId) -> Option<Job> {
        let part = self.parts.get_mut(&partition).filter(|part| part.epoch == epoch)?;
        let found = part.lanes.get_mut(&lane).filter(|found| found.head == Head::Ready)?;
        let work = found.queue.front()?.clone();
        let (attempts, poison) = (found.attempts, found.poison.clone());
        let task = match &work {
            Work::Record(offset) => part.slots.get(offset).map(|slot| Task::Record(slot.record.clone())),
            Work::Timer(key) => {
                let due = part.holds.get_mut(key).is_some_and(|hold| std::mem::take(&mut hold.timer_queued));
                let key = HoldKey { partition, bytes: key.clone() };
                due.then(|| Task::Timer { held: part.held(&key.bytes), key })
            }
        };
        let ticket = Ticket { partition, epoch, lane, work };
        let Some(task) = task else {
            self.advance(&ticket);
            return None;
        };
        if let Some(found) = part.lanes.get_mut(&ticket.lane) {
            found.head = Head::Running;
        }
        part.running += 1;
        self.running += 1;
        Some(Job { ticket, task, attempts, poison })
    }

    /// Ends a run. `None`: it was a ghost (its lane opens now) or is unknown.
    fn take_running(&mut self, ticket: &Ticket) -> Option<&mut Part> {
        let live = self.live(ticket.partition, ticket.epoch);
        if live.is_none_or(|part| part.head_is(&ticket.lane, &ticket.work, Head::Running).is_none()) {
            self.end_ghost(ticket);
            return None;
        }
        self.running -= 1;
        let part = self.parts.get_mut(&ticket.partition)?;
        part.running -= 1;
        Some(part)
    }

    /// Ends a run and finishes its record; answers how many records that finished.
    fn end(&mut self, ticket: &Ticket) -> Option<usize> {
        let part = self.take_running(ticket)?;
        match ticket.work {
            Work::Record(offset) => {
                let bytes = part.finish(offset);
                self.bytes -= bytes;
                Some(1)
            }
            Work::Timer(_) => Some(0),
        }
    }

    /// Opens the lane of an ended run for what stands behind it.
    fn advance(&mut self, ticket: &Ticket) {
        let Some(part) = self.live(ticket.partition, ticket.epoch) else { return };
        let had_failed = part.lanes.get(&ticket.lane).is_some_and(|lane| lane.attempts > 0);
        let has_next = part.advance(&ticket.lane);
        self.retrying -= usize::from(had_failed);
        if has_next {
            self.make_ready(ticket.partition, ticket.epoch, ticket.lane.clone());
        }
    }

    fn end_ghost(&mut self, ticket: &Ticket) {
        let partition = ticket.partition;
        let Some(ghosts) = self.ghosts.get_mut(&partition) else { return };
        let Some(at) = ghosts.iter().position(|ghost| ghost == ticket) else { return };
        ghosts.swap_remove(at);
        self.running -= 1;
        if !ghosts.is_empty() {
            return;
        }
        self.ghosts.remove(&partition);
        self.released.push(partition);
        let Some(part) = self.parts.get(&partition) else { return };
        let (epoch, mut lanes) = (part.epoch, part.ready_lanes());
        lanes.sort_unstable();
        for (_, lane) in lanes {
            self.make_ready(partition, epoch, lane);
        }
    }
}
