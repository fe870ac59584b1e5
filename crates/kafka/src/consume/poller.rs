//! The polling thread of a subscription. It never waits for the consumer of its deliveries: while their channel is full it
//! holds a few back, then pauses all partitions, and goes on looking for control work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::Offset as Place;
use ridgeline_ports::{Delivery, LogError, Offset, Partition, Record, TopicName};
use tokio::time::Instant;

use super::alarm::Alarm;
use super::listener::Listener;
use super::outbox::Outbox;
use super::rebalance::Group;
use crate::client::Shared;
use crate::topics::list;

/// Messages taken before anything else is looked at again.
const POLLS_PER_TURN: usize = 256;
/// While the channel is full the library's queue is looked at this often, for control work.
const LOOK: Duration = Duration::from_millis(50);
/// Longest rest. Everything of interest rings the alarm; a dropped subscription does not.
const REST_MAX: Duration = Duration::from_millis(100);

/// Where a subscription stands in one partition.
pub(super) struct Reading {
    pub(super) epoch: u64,
    next: Offset,
    /// The end when reading began. The log may end in a gap that compaction has left, where no record is.
    end_at_start: Offset,
    /// The end that was told last, unless a record has come since.
    told: Option<Offset>,
    /// By the consumer's wish.
    pub(super) paused: bool,
}

impl Reading {
    pub(super) fn new(epoch: u64, next: Offset, end_at_start: Offset) -> Self {
        Self { epoch, next, end_at_start, told: None, paused: false }
    }

    pub(super) fn seek(&mut self, epoch: u64, next: Offset) {
        *self = Self { paused: self.paused, ..Self::new(epoch, next, self.end_at_start) };
    }
}

/// Why a subscription ends.
pub(super) enum Ending {
    /// Nobody listens any more.
    Dropped,
    /// The member has come back, or the log is shut down.
    Replaced,
    /// As asked.
    Left,
    Failed(LogError),
}

/// Counts a thread as long as it runs.
pub(super) struct Running(pub(super) Arc<AtomicU64>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) struct Poller {
    pub(super) shared: Arc<Shared>,
    pub(super) consumer: Arc<BaseConsumer<Listener>>,
    pub(super) topic: TopicName,
    pub(super) alarm: Arc<Alarm>,
    pub(super) outbox: Outbox,
    pub(super) readings: BTreeMap<Partition, Reading>,
    /// `None` for a tail.
    pub(super) group: Option<Group>,
    /// All partitions are paused because too much is held back.
    pub(super) holding: bool,
    look_at: Instant,
}

impl Poller {
    pub(super) fn new(
        shared: Arc<Shared>,
        consumer: Arc<BaseConsumer<Listener>>,
        topic: TopicName,
        alarm: Arc<Alarm>,
        outbox: Outbox,
        group: Option<Group>,
    ) -> Self {
        let (readings, look_at) = (BTreeMap::new(), Instant::now());
        Self { shared, consumer, topic, alarm, outbox, readings, group, holding: false, look_at }
    }

    pub(super) fn run(mut self) {
        self.alarm.arm();
        let ending = loop {
            if let Some(ending) = self.turn() {
                break ending;
            }
        };
        self.finish(ending);
    }

    /// One round of everything. Nothing in here blocks but the waiting for an ack and calls with a bound of seconds.
    fn turn(&mut self) -> Option<Ending> {
        if let Some(ending) = self.is_over() {
            return Some(ending);
        }
        self.obey();
        if let Some(ending) = self.follow_changes() {
            return Some(ending);
        }
        let mut moved = self.outbox.flush();
        if self.holding && !self.outbox.is_stuck() {
            self.hold(false);
        }
        match self.poll() {
            Ok(polled) => moved |= polled,
            Err(ending) => return Some(ending),
        }
        if !moved {
            self.rest();
        }
        None
    }

    pub(super) fn is_over(&self) -> Option<Ending> {
        if let Some(fault) = self.shared.status.fault() {
            return Some(Ending::Failed(LogError::Broken(fault)));
        }
        if self.shared.status.is_stopped() || self.group.as_ref().is_some_and(|group| group.member.is_fenced()) {
            return Some(Ending::Replaced);
        }
        if self.outbox.is_closed() || self.group.as_ref().is_some_and(|group| group.control.is_closed()) {
            return Some(Ending::Dropped);
        }
        self.has_left().then_some(Ending::Left)
    }

    /// Takes messages as long as there is room for them. Whether anything came.
    fn poll(&mut self) -> Result<bool, Ending> {
        let now = Instant::now();
        let polls = match (self.outbox.is_stuck(), now >= self.look_at) {
            (false, _) => POLLS_PER_TURN,
            (true, true) => 1,
            (true, false) => 0,
        };
        let mut moved = false;
        for _ in 0..polls {
            self.look_at = now + LOOK;
            let heard = self.consumer.context().heard();
            let polled = self.consumer.poll(Duration::ZERO);
            match polled.map(|message| message.map(|message| super::record::record_of(&message, &self.topic))) {
                Some(Ok(record)) => record.into_iter().for_each(|record| self.take_in(record)),
                Some(Err(cause)) => self.hear(&cause)?,
                None if self.consumer.context().heard() == heard => break,
                None => {}
            }
            moved = true;
            if self.outbox.is_stuck() {
                break;
            }
        }
        Ok(moved)
    }

    fn take_in(&mut self, record: Record) {
        // What is not ours any more was read before it was taken away.
        let Some(reading) = self.readings.get_mut(&record.partition) else { return };
        reading.next = record.offset.next();
        reading.told = None;
        let epoch = reading.epoch;
        self.outbox.push(Delivery::Record { record, epoch });
    }

    fn hear(&mut self, cause: &Cause) -> Result<(), Ending> {
        match cause {
            Cause::PartitionEOF(partition) => self.tell_end(*partition),
            Cause::MessageConsumptionFatal(code) => {
                let fault = self.consumer.client().fatal_error();
                let why = fault.map_or_else(|| code.to_string(), |(code, reason)| format!("{code}: {reason}"));
                return Err(Ending::Failed(LogError::Broken(why)));
            }
            // Told only once the library has given the brokers half a minute to know the topic.
            Cause::MessageConsumption(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                return Err(Ending::Failed(LogError::UnknownTopic(self.topic.clone())));
            }
            // The listener has noted it, and the library goes on by itself.
            _ => {}
        }
        Ok(())
    }

    fn tell_end(&mut self, partition: i32) {
        let Ok(partition) = u32::try_from(partition).map(Partition) else { return };
        let Some(reading) = self.readings.get_mut(&partition) else { return };
        reading.next = reading.next.max(reading.end_at_start);
        // The library tells an end again after a rebalance that took nothing away.
        if reading.told.replace(reading.next) == Some(reading.next) {
            return;
        }
        let (next, epoch) = (reading.next, reading.epoch);
        self.outbox.push(Delivery::End { topic: self.topic.clone(), partition, next, epoch });
    }

    fn rest(&mut self) {
        if !self.outbox.is_stuck() {
            return self.alarm.rest(REST_MAX);
        }
        if self.outbox.is_over() && !self.holding {
            self.hold(true);
        }
        self.outbox.rest(&self.alarm, LOOK);
    }

    /// Pauses everything, or lets what the consumer has not paused go on. The library forgets what it has read ahead of a
    /// paused partition and reads it again.
    fn hold(&mut self, hold: bool) {
        self.holding = hold;
        let partitions: Vec<_> =
            self.readings.iter().filter(|(_, reading)| !reading.paused).map(|(at, _)| *at).collect();
        self.set_paused(&partitions, hold);
    }

    pub(super) fn set_paused(&self, partitions: &[Partition], pause: bool) {
        if partitions.is_empty() {
            return;
        }
        let changed = list(&self.topic, partitions.iter().map(|at| (*at, Place::Invalid)))
            .and_then(|list| if pause { self.consumer.pause(&list) } else { self.consumer.resume(&list) });
        if let Err(error) = changed {
            tracing::debug!(topic = %self.topic, %error, pause, "partitions that are not assigned cannot be paused");
        }
    }

    /// Ends the membership and closes the client.
    fn finish(mut self, ending: Ending) {
        if let (None, Ending::Failed(error)) = (&self.group, &ending) {
            tracing::error!(topic = %self.topic, %error, "a tail cannot go on");
        }
        let group = self.group.take();
        if let Some(group) = &group {
            let owned: Vec<Partition> = self.readings.keys().copied().collect();
            group.tell(ending, owned, &self.consumer);
        }
        self.consumer.context().close();
        let shared = Arc::clone(&self.shared);
        // Closes the client, which leaves the group unless the member is static.
        drop(self);
        if let Some(group) = group {
            group.dismiss(&shared);
        }
    }
}
