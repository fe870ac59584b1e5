//! Model test of the window: a naive reference keeps every piece of work in one flat list per partition and recomputes
//! everything from it, and both must agree after every step of any schedule.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const PARTITIONS: u32 = 2;
const KEYS: u8 = 3;

/// A step of a schedule. Indices are taken modulo what there is.
#[derive(Debug, Clone)]
enum Op {
    /// A record of this key is appended to the log, leaving a gap before it.
    Append {
        partition: u32,
        key: u8,
        gap: u64,
    },
    /// The next record of the log is delivered, or its end if there is none.
    Deliver {
        partition: u32,
    },
    /// A record of an epoch that is over, or one already seen, is delivered.
    DeliverOld {
        partition: u32,
        back: u64,
    },
    Start,
    StartTimer,
    End {
        running: usize,
        how: How,
    },
    Wake {
        waiting: usize,
    },
    Tick,
    Commit,
    /// The partition is revoked: intake stops.
    Revoke {
        partition: u32,
    },
    /// The deadline of the revoke: what is finished is committed, the rest is fenced.
    GiveBack {
        partition: u32,
    },
    Lose {
        partition: u32,
    },
    /// The partition is assigned (again) from the committed offset.
    Open {
        partition: u32,
    },
}

#[derive(Debug, Clone, Copy)]
enum How {
    Done,
    DeadLetter,
    Retry,
    Hold { key: u8, after: Option<i64> },
    Release { key: u8 },
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        5 => Just(How::Done),
        1 => Just(How::DeadLetter),
        2 => Just(How::Retry),
        2 => (0..KEYS, proptest::option::of(0..4_i64)).prop_map(|(key, after)| How::Hold { key, after }),
        2 => (0..KEYS).prop_map(|key| How::Release { key }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let partition = 0..PARTITIONS;
    prop_oneof![
        6 => (partition.clone(), 0..KEYS, prop_oneof![4 => Just(0_u64), 1 => 1..4_u64])
            .prop_map(|(partition, key, gap)| Op::Append { partition, key, gap }),
        8 => partition.clone().prop_map(|partition| Op::Deliver { partition }),
        1 => (partition.clone(), 1..4_u64).prop_map(|(partition, back)| Op::DeliverOld { partition, back }),
        8 => Just(Op::Start),
        2 => Just(Op::StartTimer),
        10 => (0..8_usize, how()).prop_map(|(running, how)| Op::End { running, how }),
        3 => (0..8_usize).prop_map(|waiting| Op::Wake { waiting }),
        2 => Just(Op::Tick),
        2 => Just(Op::Commit),
        1 => partition.clone().prop_map(|partition| Op::Revoke { partition }),
        1 => partition.clone().prop_map(|partition| Op::GiveBack { partition }),
        1 => partition.clone().prop_map(|partition| Op::Lose { partition }),
        3 => partition.prop_map(|partition| Op::Open { partition }),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Running,
    Waiting,
    Held,
    Ended,
}

#[derive(Debug, Clone)]
struct Entry {
    lane: Bytes,
    work: Work,
    state: State,
    failed: bool,
}

impl Entry {
    fn holds_lane(&self) -> bool {
        matches!(self.state, State::Ready | State::Running | State::Waiting)
    }
}

#[derive(Debug, Default)]
struct ModelHold {
    offsets: Vec<u64>,
    deadline: Option<i64>,
    timer_queued: bool,
}

/// One owned partition, naively.
#[derive(Debug)]
struct ModelPart {
    epoch: u64,
    /// How far the log has delivered.
    read: u64,
    /// How far the window has taken what was delivered.
    next: u64,
    committed: u64,
    draining: bool,
    paused: bool,
    entries: Vec<Entry>,
    holds: BTreeMap<Bytes, ModelHold>,
}

impl ModelPart {
    fn low_water(&self) -> u64 {
        let unfinished = self.entries.iter().filter(|entry| entry.state != State::Ended);
        let offsets = unfinished.filter_map(|entry| match entry.work {
            Work::Record(offset) => Some(offset.0),
            Work::Timer(_) => None,
        });
        offsets.min().unwrap_or(self.next)
    }

    /// Works that may start: first of their lane.
    fn startable(&self, timers: bool) -> Vec<&Entry> {
        let mut seen = BTreeSet::new();
        let fronts = self.entries.iter().filter(|entry| entry.holds_lane() && seen.insert(entry.lane.clone()));
        let ready = fronts.filter(|entry| entry.state == State::Ready && !self.draining);
        ready.filter(|entry| matches!(entry.work, Work::Timer(_)) == timers).collect()
    }

    /// Timers at the front of their lane whose hold has gone are skipped by the window when it comes to them.
    fn is_moot(&self, entry: &Entry) -> bool {
        match &entry.work {
            Work::Timer(key) => self.holds.get(key).is_none_or(|hold| !hold.timer_queued),
            Work::Record(_) => false,
        }
    }

    fn set(&mut self, ticket: &Ticket, from: State, to: State) {
        let found = self.entries.iter_mut().find(|entry| entry.work == ticket.work && entry.state == from);
        let found = found.expect("the model has what the window started");
        found.state = to;
        found.failed |= to == State::Waiting;
    }
}

struct World {
    window: Window,
    limits: Limits,
    /// Appended records per partition: offset and key.
    log: Vec<Vec<(u64, u8)>>,
    /// Next offset per partition; above the last record's where compaction has left a gap at the end.
    ends: Vec<u64>,
    /// Committed offsets, as the broker has them.
    broker: Vec<u64>,
    model: BTreeMap<u32, ModelPart>,
    running: Vec<Ticket>,
    waiting: Vec<Ticket>,
    /// Records whose effects are durable, whatever became of their offset.
    effects: BTreeSet<(u32, u64)>,
    /// How often a record was counted as finished, per epoch.
    finished: BTreeMap<(u32, u64, u64), u32>,
    now: i64,
    epoch: u64,
}

fn lane_of(key: u8) -> Bytes {
    Bytes::from(vec![key])
}

fn record(partition: u32, offset: u64, key: u8) -> Arc<Record> {
    Arc::new(Record {
        topic: ridgeline_ports::TopicName::new("t"),
        partition: Partition(partition),
        offset: Offset(offset),
        append_time: Timestamp::from_millis(i64::try_from(offset).unwrap()),
        key: lane_of(key),
        value: None,
        headers: Vec::new(),
    })
}

impl World {
    fn new() -> Self {
        let limits = Limits { running_max: 3, span_max: 8, ..Limits::default() };
        let partitions = usize::try_from(PARTITIONS).unwrap();
        Self {
            window: Window::new(limits.clone()),
            limits,
            log: vec![Vec::new(); partitions],
            ends: vec![0; partitions],
            broker: vec![0; partitions],
            model: BTreeMap::new(),
            running: Vec::new(),
            waiting: Vec::new(),
            effects: BTreeSet::new(),
            finished: BTreeMap::new(),
            now: 0,
            epoch: 0,
        }
    }

    fn log(&self, partition: u32) -> &Vec<(u64, u8)> {
        &self.log[usize::try_from(partition).unwrap()]
    }

    fn broker(&mut self, partition: u32) -> &mut u64 {
        &mut self.broker[usize::try_from(partition).unwrap()]
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { partition, key, gap } => {
                let index = usize::try_from(*partition).unwrap();
                let offset = self.ends[index] + gap;
                self.log[index].push((offset, *key));
                self.ends[index] = offset + 1;
            }
            Op::Deliver { partition } => self.deliver(*partition),
            Op::DeliverOld { partition, back } => self.deliver_old(*partition, *back),
            Op::Start => drop(self.start(false)),
            Op::StartTimer => drop(self.start(true)),
            Op::End { running, how } => self.end_one(*running, *how),
            Op::Wake { waiting } => self.wake(*waiting),
            Op::Tick => self.tick(),
            Op::Commit => self.commit(),
            Op::Revoke { partition } => {
                self.window.drain(&[Partition(*partition)]);
                if let Some(part) = self.model.get_mut(partition) {
                    part.draining = true;
                }
            }
            Op::GiveBack { partition } => self.give_back(*partition),
            Op::Lose { partition } => {
                self.window.close(&[Partition(*partition)]);
                self.model.remove(partition);
            }
            Op::Open { partition } => self.open(*partition),
        }
    }

    fn open(&mut self, partition: u32) {
        self.epoch += 1;
        let start = *self.broker(partition);
        self.window.open(Assignment { partition: Partition(partition), epoch: self.epoch, start: Offset(start) });
        let part = ModelPart {
            epoch: self.epoch,
            read: start,
            next: start,
            committed: start,
            draining: false,
            paused: false,
            entries: Vec::new(),
            holds: BTreeMap::new(),
        };
        self.model.insert(partition, part);
    }

    fn deliver(&mut self, partition: u32) {
        let Some(part) = self.model.get_mut(&partition) else { return };
        let index = usize::try_from(partition).unwrap();
        let Some((offset, key)) = self.log[index].iter().find(|(offset, _)| *offset >= part.read).copied() else {
            self.ends[index] += u64::from(self.ends[index] % 5 == 4);
            part.read = self.ends[index];
            if !part.draining {
                part.next = part.read;
            }
            self.window.reached(Partition(partition), part.epoch, Offset(part.read));
            self.window.reached(Partition(partition), part.epoch, Offset(part.read.saturating_sub(1)));
            self.window.reached(Partition(partition), part.epoch - 1, Offset(part.read + 9));
            return;
        };
        part.read = offset + 1;
        let offered = self.window.offer(record(partition, offset, key), part.epoch, lane_of(key));
        if part.draining {
            assert_eq!(offered, Offer::Stale);
            return;
        }
        assert_eq!(offered, Offer::Accepted);
        part.next = offset + 1;
        part.entries.push(Entry {
            lane: lane_of(key),
            work: Work::Record(Offset(offset)),
            state: State::Ready,
            failed: false,
        });
    }

    fn deliver_old(&mut self, partition: u32, back: u64) {
        let Some(part) = self.model.get(&partition) else {
            assert_eq!(self.window.offer(record(partition, 9, 0), self.epoch, lane_of(0)), Offer::Stale);
            return;
        };
        let stale = self.window.offer(record(partition, part.next, 0), part.epoch - 1, lane_of(0));
        assert_eq!(stale, Offer::Stale, "an epoch that is over");
        if let Some(offset) = part.next.checked_sub(back).filter(|_| !part.draining) {
            let again = self.window.offer(record(partition, offset, 0), part.epoch, lane_of(0));
            assert_eq!(again, Offer::Duplicate);
        }
    }

    fn has_ghosts(&self, partition: u32) -> bool {
        let live = self.model.get(&partition).map(|part| part.epoch);
        self.running.iter().any(|ticket| ticket.partition.0 == partition && Some(ticket.epoch) != live)
    }

    fn startable(&self, timers: bool) -> BTreeSet<(u32, Work)> {
        let parts = self.model.iter();
        parts
            .flat_map(|(partition, part)| part.startable(timers).into_iter().map(move |entry| (*partition, entry)))
            .filter(|(partition, _)| !self.has_ghosts(*partition))
            .map(|(partition, entry)| (partition, entry.work.clone()))
            .collect()
    }

    /// Starts what the window says, and checks it against what may start.
    fn start(&mut self, timer: bool) -> Option<Ticket> {
        let full = self.running.len() >= self.limits.running_max;
        self.skip_moot_timers(timer && !full);
        let may = self.startable(timer);
        let job = if timer { self.window.next_timer() } else { self.window.next_runnable() };
        let Some(job) = job else {
            assert!(full || may.is_empty(), "nothing started although {may:?} may run");
            return None;
        };
        assert!(!full, "the running limit holds");
        let ticket = job.ticket;
        let place = (ticket.partition.0, ticket.work.clone());
        assert!(may.contains(&place), "D-5: {ticket:?} started out of turn");
        let alone =
            !self.running.iter().any(|other| (other.partition, &other.lane) == (ticket.partition, &ticket.lane));
        assert!(alone, "D-5: two runs of one lane overlap");
        let part = self.model.get_mut(&ticket.partition.0).unwrap();
        if let (Work::Timer(key), Task::Timer { held, .. }) = (&ticket.work, &job.task) {
            let hold = part.holds.get_mut(key).unwrap();
            hold.timer_queued = false;
            assert_eq!(held.iter().map(|record| record.offset.0).collect::<Vec<_>>(), hold.offsets);
        }
        part.set(&ticket, State::Ready, State::Running);
        self.running.push(ticket.clone());
        Some(ticket)
    }

    /// The window drops a timer without a hold when it reaches it; the model drops it before it asks.
    fn skip_moot_timers(&mut self, asked: bool) {
        let moot: Vec<_> = self
            .startable(true)
            .into_iter()
            .filter(|(partition, work)| {
                let part = &self.model[partition];
                part.entries.iter().any(|entry| entry.work == *work && entry.holds_lane() && part.is_moot(entry))
            })
            .collect();
        if !asked || moot.is_empty() {
            return;
        }
        for (partition, work) in moot {
            let part = self.model.get_mut(&partition).unwrap();
            let entry = part.entries.iter_mut().find(|entry| entry.work == work && entry.state == State::Ready);
            entry.unwrap().state = State::Ended;
        }
        self.skip_moot_timers(true);
    }

    fn end_one(&mut self, running: usize, how: How) {
        if self.running.is_empty() {
            return;
        }
        let ticket = self.running.swap_remove(running % self.running.len());
        self.end(&ticket, how);
    }

    fn end(&mut self, ticket: &Ticket, how: How) {
        let (partition, now) = (ticket.partition.0, self.now);
        if let (Work::Record(offset), How::Done | How::DeadLetter | How::Hold { .. } | How::Release { .. }) =
            (&ticket.work, how)
        {
            self.effects.insert((partition, offset.0));
        }
        let is_live = self.model.get(&partition).is_some_and(|part| part.epoch == ticket.epoch);
        let counted = match how {
            How::Done | How::DeadLetter => self.window.finish(ticket),
            How::Retry => self.window.retry(ticket, None).map(|_| 0),
            How::Hold { key, after } => {
                let deadline = after.map(|after| Timestamp::from_millis(now + after));
                self.window.hold(ticket, &lane_of(key), deadline).map(|()| 0)
            }
            How::Release { key } => self.window.release(ticket, &lane_of(key)),
        };
        assert_eq!(counted.is_some(), is_live, "late results are dropped, others are not");
        if is_live {
            let ended = self.end_in_model(ticket, how);
            assert_eq!(counted, Some(ended.len()));
            for offset in ended {
                *self.finished.entry((partition, ticket.epoch, offset)).or_default() += 1;
            }
        }
        assert_eq!(self.window.finish(ticket), None, "a result counts once");
        let released = !is_live && !self.has_ghosts(partition);
        let expected = if released { vec![Partition(partition)] } else { Vec::new() };
        assert_eq!(self.window.take_released(), expected, "told once, with the last ghost");
    }

    /// Answers the offsets that this finished.
    fn end_in_model(&mut self, ticket: &Ticket, how: How) -> Vec<u64> {
        let now = self.now;
        let part = self.model.get_mut(&ticket.partition.0).unwrap();
        let own: Vec<u64> = match ticket.work {
            Work::Record(offset) => vec![offset.0],
            Work::Timer(_) => Vec::new(),
        };
        match how {
            How::Done | How::DeadLetter => part.set(ticket, State::Running, State::Ended),
            How::Retry => {
                part.set(ticket, State::Running, State::Waiting);
                if let Work::Timer(key) = &ticket.work
                    && let Some(hold) = part.holds.get_mut(key)
                {
                    hold.timer_queued = true;
                }
                self.waiting.push(ticket.clone());
                return Vec::new();
            }
            How::Hold { key, after } => {
                let is_record = !own.is_empty();
                part.set(ticket, State::Running, if is_record { State::Held } else { State::Ended });
                if is_record || part.holds.contains_key(&lane_of(key)) {
                    let hold = part.holds.entry(lane_of(key)).or_default();
                    hold.offsets.extend(own);
                    hold.deadline = after.map(|after| now + after).or(hold.deadline);
                }
                return Vec::new();
            }
            How::Release { key } => {
                part.set(ticket, State::Running, State::Ended);
                let held = part.holds.remove(&lane_of(key)).map_or(Vec::new(), |hold| hold.offsets);
                for offset in &held {
                    let work = Work::Record(Offset(*offset));
                    part.entries.iter_mut().find(|entry| entry.work == work).unwrap().state = State::Ended;
                }
                return own.into_iter().chain(held).collect();
            }
        }
        own
    }

    fn wake(&mut self, waiting: usize) {
        if self.waiting.is_empty() {
            return;
        }
        let ticket = self.waiting.swap_remove(waiting % self.waiting.len());
        self.window.wake(&ticket);
        if let Some(part) = self.model.get_mut(&ticket.partition.0).filter(|part| part.epoch == ticket.epoch) {
            part.set(&ticket, State::Waiting, State::Ready);
        }
    }

    fn tick(&mut self) {
        self.now += 1;
        self.window.due(Timestamp::from_millis(self.now));
        let now = self.now;
        for part in self.model.values_mut() {
            let mut due: Vec<_> =
                part.holds.iter_mut().filter(|(_, hold)| hold.deadline.is_some_and(|at| at <= now)).collect();
            due.sort_by_key(|(key, hold)| (hold.deadline, (*key).clone()));
            for (key, hold) in due {
                hold.deadline = None;
                if !std::mem::replace(&mut hold.timer_queued, true) {
                    let entry =
                        Entry { lane: key.clone(), work: Work::Timer(key.clone()), state: State::Ready, failed: false };
                    part.entries.push(entry);
                }
            }
        }
    }

    fn commit(&mut self) {
        let offsets = self.window.committable();
        let expected: Vec<_> = self
            .model
            .iter()
            .filter(|(_, part)| !part.draining && part.low_water() > part.committed)
            .map(|(partition, part)| (*partition, part.epoch, part.low_water()))
            .collect();
        let got: Vec<_> = offsets.iter().map(|commit| (commit.partition.0, commit.epoch, commit.offset.0)).collect();
        assert_eq!(got, expected);
        self.window.committed(&offsets);
        for (partition, _, offset) in got {
            self.model.get_mut(&partition).unwrap().committed = offset;
            self.commit_at_broker(partition, offset);
        }
    }

    fn commit_at_broker(&mut self, partition: u32, offset: u64) {
        let before = std::mem::replace(self.broker(partition), offset);
        assert!(before <= offset, "D-2: a committed offset never falls");
        let below = self.log(partition).iter().filter(|(below, _)| *below < offset);
        for (below, _) in below {
            assert!(self.effects.contains(&(partition, *below)), "D-2: {below} committed without effects");
        }
    }

    fn give_back(&mut self, partition: u32) {
        let offsets = self.window.close(&[Partition(partition)]);
        let Some(part) = self.model.remove(&partition) else {
            assert_eq!(offsets, []);
            return;
        };
        if let Some((_, offset)) = offsets.first() {
            assert_eq!(offset.0, part.low_water(), "the ack carries the exact low-water mark");
            self.commit_at_broker(partition, offset.0);
        }
    }

    fn check(&mut self) {
        let lows: Vec<_> = self.window.low_waters().map(|(partition, low)| (partition.0, low.0)).collect();
        let expected: Vec<_> = self.model.iter().map(|(partition, part)| (*partition, part.low_water())).collect();
        assert_eq!(lows, expected, "low-water marks");
        assert_eq!(self.window.running(), self.running.len());
        let failed = |part: &ModelPart| part.entries.iter().filter(|entry| entry.failed && entry.holds_lane()).count();
        assert_eq!(self.window.retrying(), self.model.values().map(failed).sum::<usize>());
        let unfinished = |part: &ModelPart| {
            let records = part.entries.iter().filter(|entry| matches!(entry.work, Work::Record(_)));
            records.filter(|entry| entry.state != State::Ended).count()
        };
        assert_eq!(self.window.unfinished(), self.model.values().map(unfinished).sum::<usize>());
        assert!(self.finished.values().all(|times| *times == 1), "D-3: a record ends once in an epoch");
        self.check_pauses();
    }

    fn check_pauses(&mut self) {
        let changes = self.window.pauses();
        let (span_max, mut expected) = (self.limits.span_max, PauseChanges::default());
        for (partition, part) in self.model.iter_mut().filter(|(_, part)| !part.draining) {
            let span = part.next - part.low_water();
            if !part.paused && span >= span_max {
                part.paused = true;
                expected.pause.push(Partition(*partition));
            } else if part.paused && span <= span_max / 2 {
                part.paused = false;
                expected.resume.push(Partition(*partition));
            }
        }
        assert_eq!(changes, expected);
    }

    /// From any state: the partitions come back, nothing fails any more, and everything ends.
    fn settle(&mut self) {
        while let Some(ticket) = self.running.pop() {
            self.end(&ticket, How::Retry);
        }
        for partition in 0..PARTITIONS {
            self.open(partition);
            let records = self.log(partition).len();
            (0..records).for_each(|_| self.deliver(partition));
        }
        self.check();
        while let Some(ticket) = self.start(false) {
            self.running.retain(|other| *other != ticket);
            self.end(&ticket, How::Done);
            self.check();
        }
        self.commit();
        for partition in 0..PARTITIONS {
            let end = self.log(partition).last().map_or(0, |(offset, _)| offset + 1);
            assert!(*self.broker(partition) >= end, "D-3: every record has ended");
        }
        assert_eq!((self.window.running(), self.window.unfinished(), self.window.retrying()), (0, 0, 0));
        assert!(self.window.has_room() && self.window.ghosts.is_empty() && self.window.bytes == 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// D-2, D-3, D-5 for any schedule of completions, retries, holds, releases, revokes, losses and redeliveries.
    #[test]
    fn the_window_agrees_with_the_model_on_any_schedule(ops in proptest::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        (0..PARTITIONS).for_each(|partition| world.open(partition));
        for op in &ops {
            world.apply(op);
            world.check();
        }
        world.settle();
    }
}

fn open_window(limits: Limits) -> Window {
    let mut window = Window::new(limits);
    window.open(Assignment { partition: Partition(0), epoch: 1, start: Offset(0) });
    window
}

fn offer(window: &mut Window, offset: u64, key: u8) {
    assert_eq!(window.offer(record(0, offset, key), 1, lane_of(key)), Offer::Accepted);
}

#[test]
fn a_later_success_never_commits_past_an_earlier_unfinished_record() {
    let mut window = open_window(Limits::default());
    (0..3).for_each(|offset| offer(&mut window, offset, u8::try_from(offset).unwrap()));
    let jobs: Vec<_> = std::iter::from_fn(|| window.next_runnable()).collect();
    assert_eq!(window.finish(&jobs[2].ticket), Some(1));
    assert_eq!(window.finish(&jobs[1].ticket), Some(1));
    assert_eq!(window.committable(), [], "0 is unfinished");
    assert_eq!(window.finish(&jobs[0].ticket), Some(1));
    assert_eq!(window.committable()[0].offset, Offset(3));
}

#[test]
fn an_end_behind_a_record_that_a_revoke_has_dropped_moves_no_offset() {
    let mut window = open_window(Limits::default());
    offer(&mut window, 0, 7);
    let first = window.next_runnable().unwrap();
    window.drain(&[Partition(0)]);
    assert_eq!(window.offer(record(0, 1, 8), 1, lane_of(8)), Offer::Stale);
    window.reached(Partition(0), 1, Offset(2));
    assert_eq!(window.finish(&first.ticket), Some(1));
    assert_eq!(window.close(&[Partition(0)]), [(Partition(0), Offset(1))]);
}

#[test]
fn a_retrying_record_holds_its_lane_only_and_keeps_its_poison() {
    let mut window = open_window(Limits::default());
    [(0, 7), (1, 7), (2, 8)].into_iter().for_each(|(offset, key)| offer(&mut window, offset, key));
    let first = window.next_runnable().unwrap();
    let poison = Poison::new(ridgeline_domain::ErrorCode::RecordInvalid, "x");
    assert_eq!(window.retry(&first.ticket, Some(poison.clone())), Some(1));
    let other = window.next_runnable().unwrap();
    assert_eq!(other.ticket.work, Work::Record(Offset(2)));
    assert!(window.next_runnable().is_none(), "1 waits behind 0");
    window.wake(&first.ticket);
    let again = window.next_runnable().unwrap();
    assert_eq!((again.ticket.clone(), again.attempts, again.poison), (first.ticket, 1, Some(poison)));
    window.finish(&again.ticket);
    let behind = window.next_runnable().unwrap();
    assert_eq!((behind.attempts, behind.poison), (0, None), "the next record starts fresh");
}

#[test]
fn a_ghost_keeps_its_partition_closed_until_it_has_ended() {
    let mut window = open_window(Limits::default());
    offer(&mut window, 0, 7);
    let ghost = window.next_runnable().unwrap();
    window.open(Assignment { partition: Partition(0), epoch: 2, start: Offset(0) });
    assert_eq!(window.offer(record(0, 0, 7), 2, lane_of(7)), Offer::Accepted);
    assert_eq!(window.offer(record(0, 1, 8), 2, lane_of(8)), Offer::Accepted);
    assert!(window.next_runnable().is_none(), "the run of the lost epoch has not ended");
    assert_eq!((window.finish(&ghost.ticket), window.take_released()), (None, vec![Partition(0)]));
    let job = window.next_runnable().unwrap();
    assert_eq!(job.ticket.epoch, 2);
    assert_eq!(window.finish(&job.ticket), Some(1));
}

#[test]
fn bytes_pause_a_partition_and_close_the_room() {
    let one = 256 + 1;
    let limits = Limits { partition_bytes_max: 2 * one, bytes_max: 3 * one, ..Limits::default() };
    let mut window = open_window(limits);
    offer(&mut window, 0, 0);
    assert_eq!(window.pauses(), PauseChanges::default());
    offer(&mut window, 1, 0);
    assert_eq!(window.pauses().pause, [Partition(0)]);
    assert!(window.has_room());
    offer(&mut window, 2, 0);
    assert!(!window.has_room());
    let job = window.next_runnable().unwrap();
    window.finish(&job.ticket);
    assert!(window.has_room());
    assert_eq!(window.pauses(), PauseChanges::default(), "still more than half");
    let job = window.next_runnable().unwrap();
    window.finish(&job.ticket);
    assert_eq!(window.pauses().resume, [Partition(0)]);
}

#[test]
fn nothing_of_a_window_that_is_shown_tells_a_key() {
    let mut window = open_window(Limits::default());
    assert_eq!(window.offer(record(0, 0, 1), 1, Bytes::from_static(b"subject-7")), Offer::Accepted);
    let job = window.next_runnable().unwrap();
    let shown = format!("{window:?} {job:?} {:?}", job.ticket);
    assert!(!shown.contains("subject"), "{shown}");
}
