//! The group's side of a polling thread: assignments, revocations, and what the handle asks for.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc as jobs};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as Cause;
use rdkafka::topic_partition_list::Offset as Place;
use ridgeline_ports::{Assignment, Control, LogError, Offset, Partition, StartAt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::listener::{Change, Listener};
use super::member::{Command, Job, Membership, Reply};
use super::poller::{Ending, Poller, Reading};
use crate::client::{MemberKey, Shared};
use crate::error::unavailable;
use crate::topics::{list, offsets_at, raw};

/// How long the polling thread waits for one answer of a broker.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Pause before a question is asked again.
const RETRY: Duration = Duration::from_millis(200);
/// An assignment whose offsets cannot be read for so long ends the subscription.
const ASSIGN_MAX: Duration = Duration::from_secs(60);
/// How long a partition that has just been assigned may refuse a seek.
const SEEK_MAX: Duration = Duration::from_secs(10);
/// How long leaving may take beyond the time an ack may take.
const LEAVE_MAX: Duration = Duration::from_secs(5);
/// How long a commit of an acked revocation may take beyond the deadline of the ack.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// What the polling thread of a member has beside that of a tail.
pub(super) struct Group {
    pub(super) key: MemberKey,
    pub(super) member: Arc<Membership>,
    /// Set for a static member.
    pub(super) instance: Option<String>,
    pub(super) control: mpsc::UnboundedSender<Control>,
    pub(super) committer: Option<JoinHandle<()>>,
    start: StartAt,
    changes: VecDeque<Change>,
    /// The change in front could not be carried out; since when, and when to try again.
    waiting: Option<(Instant, Instant)>,
    seeking: Option<(Instant, Instant)>,
    leaving: Option<Leaving>,
}

struct Leaving {
    reply: Option<Reply>,
    until: Instant,
}

impl Group {
    pub(super) fn new(
        key: MemberKey,
        member: Arc<Membership>,
        start: StartAt,
        control: mpsc::UnboundedSender<Control>,
    ) -> Self {
        // Static only for tables: a shard that restarts in time takes up its own partitions, and nobody else rebuilds them.
        let instance = (start == StartAt::Beginning).then(|| instance_of(&key.2.0));
        let (changes, committer) = (VecDeque::new(), None);
        Self { key, member, instance, control, committer, start, changes, waiting: None, seeking: None, leaving: None }
    }

    /// Tells the consumer how it ended; nothing is owned any more.
    pub(super) fn tell(&self, ending: Ending, owned: Vec<Partition>, consumer: &BaseConsumer<Listener>) {
        let left = matches!(ending, Ending::Left);
        self.member.end();
        if !owned.is_empty() {
            let _ = self.control.send(Control::Lost(owned));
        }
        if let Ending::Failed(error) = ending {
            let _ = self.control.send(Control::Failed(error));
        }
        if let Some(instance) = self.instance.as_ref().filter(|_| left) {
            await_departure(consumer, &self.key.1.0, instance);
        }
    }

    /// The client is closed: the name is free, and whoever asked for the end is answered.
    pub(super) fn dismiss(mut self, shared: &Shared) {
        shared.forget_member(&self.member);
        if let Some(reply) = self.leaving.take().and_then(|leaving| leaving.reply) {
            let _ = reply.send(Ok(()));
        }
    }
}

/// Ids that Kafka takes for static members: `[A-Za-z0-9._-]`, at most 249.
fn instance_of(member: &str) -> String {
    let good = |char: char| if char.is_ascii_alphanumeric() || "._-".contains(char) { char } else { '-' };
    member.chars().take(249).map(good).collect()
}

/// Closing a client does not take a static member out of its group, unsubscribing does, on the library's own time. It is waited
/// for, because a client that closes earlier stays a member until its session times out.
fn await_departure(consumer: &BaseConsumer<Listener>, group: &str, instance: &str) {
    let until = Instant::now() + LEAVE_MAX;
    let prefix = format!("{instance}-");
    while Instant::now() < until {
        let Ok(found) = consumer.fetch_group_list(Some(group), ANSWER_MAX) else { return };
        let mut members = found.groups().iter().flat_map(|group| group.members());
        // Brokers name a static member by its instance and a random part.
        if !members.any(|member| member.id().starts_with(&prefix)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    tracing::warn!(group, instance, "a static member could not leave; its partitions move when its session times out");
}

impl Poller {
    /// Carries out what the handle asks for.
    pub(super) fn obey(&mut self) {
        let now = Instant::now();
        let Some(member) = self.group.as_ref().map(|group| Arc::clone(&group.member)) else { return };
        if self.group.as_ref().and_then(|group| group.seeking).is_some_and(|(_, again)| now < again) {
            return;
        }
        while let Some(command) = member.take_command() {
            match command {
                Command::Pause(partitions, reply) => self.obey_pause(&partitions, true, reply),
                Command::Resume(partitions, reply) => self.obey_pause(&partitions, false, reply),
                Command::Leave(reply) => self.start_leaving(reply),
                Command::Seek(partition, offset, reply) => {
                    if let Some(later) = self.seek(partition, offset, reply) {
                        return member.put_back(later);
                    }
                }
            }
        }
    }

    fn obey_pause(&mut self, partitions: &[Partition], pause: bool, reply: Reply) {
        let mut owned = Vec::new();
        for at in partitions {
            if let Some(reading) = self.readings.get_mut(at) {
                reading.paused = pause;
                owned.push(*at);
            }
        }
        // What is held back waits for the whole subscription to go on.
        if !self.holding {
            self.set_paused(&owned, pause);
        }
        let _ = reply.send(Ok(()));
    }

    /// Moves a partition, or gives the command back where the library is not ready to.
    fn seek(&mut self, partition: Partition, offset: Offset, reply: Reply) -> Option<Command> {
        let group = self.group.as_mut()?;
        if !self.readings.contains_key(&partition) {
            group.seeking = None;
            let _ = reply.send(Err(LogError::Closed));
            return None;
        }
        let now = Instant::now();
        let place = Place::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX));
        let sought = list(&self.topic, [(partition, place)].into_iter())
            .and_then(|list| self.consumer.seek_partitions(list, ANSWER_MAX))
            .and_then(|list| list.elements().first().map_or(Ok(()), |element| element.error()));
        let (since, _) = group.seeking.unwrap_or((now, now));
        match sought {
            Ok(()) => {
                group.seeking = None;
                let epoch = self.shared.next_epoch();
                self.outbox.forget(&[partition]);
                let _ = group.control.send(Control::Assigned(vec![Assignment { partition, epoch, start: offset }]));
                if let Some(reading) = self.readings.get_mut(&partition) {
                    reading.seek(epoch, offset);
                }
                let _ = reply.send(Ok(()));
                None
            }
            // A partition whose reading has not begun yet cannot be moved.
            Err(_) if now < since + SEEK_MAX => {
                group.seeking = Some((since, now + RETRY.min(Duration::from_millis(20))));
                Some(Command::Seek(partition, offset, reply))
            }
            Err(cause) => {
                group.seeking = None;
                let _ = reply.send(Err(unavailable("cannot seek", &cause, &self.shared.status)));
                None
            }
        }
    }

    fn start_leaving(&mut self, reply: Reply) {
        let until = Instant::now() + self.shared.config.revocation() + SETTLE_MAX + LEAVE_MAX;
        let Some(group) = &mut self.group else { return };
        match &group.leaving {
            Some(_) => drop(reply.send(Err(LogError::Closed))),
            None => {
                group.leaving = Some(Leaving { reply: Some(reply), until });
                // Takes also a static member out of the group, which closing alone does not.
                self.consumer.unsubscribe();
            }
        }
    }

    /// Whether everything has been handed back, or there is no more time for it.
    pub(super) fn has_left(&self) -> bool {
        let Some(group) = &self.group else { return false };
        let Some(leaving) = &group.leaving else { return false };
        let handed_back = self.readings.is_empty()
            && group.changes.is_empty()
            && self.consumer.assignment().is_ok_and(|assigned| assigned.count() == 0);
        handed_back || Instant::now() >= leaving.until
    }

    /// Carries membership changes out, in their order.
    pub(super) fn follow_changes(&mut self) -> Option<Ending> {
        let now = Instant::now();
        let group = self.group.as_mut()?;
        group.changes.append(&mut self.consumer.context().take_changes());
        if group.waiting.is_some_and(|(_, again)| now < again) {
            return None;
        }
        while let Some(change) = self.group.as_mut().and_then(|group| group.changes.pop_front()) {
            match change {
                Change::Revoke { partitions, lost } => self.revoke(&partitions, lost),
                Change::Assign(partitions) => {
                    if let Err(cause) = self.assign(&partitions) {
                        return self.assign_later(partitions, &cause, now);
                    }
                }
            }
            if let Some(group) = &mut self.group {
                group.waiting = None;
            }
        }
        None
    }

    /// The brokers do not say where to start; the library waits as long as we do.
    fn assign_later(&mut self, partitions: Vec<Partition>, cause: &Cause, now: Instant) -> Option<Ending> {
        let group = self.group.as_mut()?;
        let (since, _) = group.waiting.unwrap_or((now, now));
        if now >= since + ASSIGN_MAX {
            let error = unavailable("cannot read where to start", cause, &self.shared.status);
            return Some(Ending::Failed(error));
        }
        group.waiting = Some((since, Instant::now() + RETRY));
        group.changes.push_front(Change::Assign(partitions));
        None
    }

    fn assign(&mut self, partitions: &[Partition]) -> Result<(), Cause> {
        let starts = self.starts(partitions)?;
        let ends = offsets_at(&*self.consumer, &self.topic, partitions, Place::End, ANSWER_MAX)?;
        let Some(group) = &self.group else { return Ok(()) };
        let mut assignments = Vec::with_capacity(partitions.len());
        for ((at, start), end) in partitions.iter().zip(&starts).zip(ends) {
            let epoch = self.shared.next_epoch();
            assignments.push(Assignment { partition: *at, epoch, start: *start });
            // A table may end in a gap that compaction has left. What a group commits never goes past what was delivered: an end
            // read from another leader may lie ahead of the one that is fetched from.
            let end = if group.start == StartAt::Beginning { end } else { *start };
            self.readings.insert(*at, Reading::new(epoch, *start, end));
        }
        group.member.own(partitions.iter().copied());
        // Sent before the library is told, so before the first delivery.
        if !assignments.is_empty() {
            let _ = group.control.send(Control::Assigned(assignments));
        }
        let place = |start: &Offset| match group.start {
            StartAt::Beginning => Place::Beginning,
            StartAt::Committed => Place::Offset(i64::try_from(start.0).unwrap_or(i64::MAX)),
        };
        let places = list(&self.topic, partitions.iter().copied().zip(starts.iter().map(place)))?;
        if let Err(error) = self.consumer.incremental_assign(&places) {
            tracing::error!(topic = %self.topic, %error, "an assignment was refused");
        }
        // A partition may still be paused from an earlier time that it was ours.
        self.set_paused(partitions, self.holding);
        Ok(())
    }

    /// Where each partition starts.
    fn starts(&self, partitions: &[Partition]) -> Result<Vec<Offset>, Cause> {
        let committed = self.group.as_ref().is_some_and(|group| group.start == StartAt::Committed);
        if !committed || partitions.is_empty() {
            return Ok(vec![Offset(0); partitions.len()]);
        }
        let wanted = list(&self.topic, partitions.iter().map(|at| (*at, Place::Invalid)))?;
        let found = self.consumer.committed_offsets(wanted, ANSWER_MAX)?;
        let start_of = |at: &Partition| {
            let Some(element) = found.find_partition(self.topic.as_str(), raw(*at)) else { return Ok(Offset(0)) };
            element.error()?;
            Ok(match element.offset() {
                Place::Offset(offset) => Offset(u64::try_from(offset).unwrap_or(0)),
                _ => Offset(0),
            })
        };
        partitions.iter().map(start_of).collect()
    }

    /// Hands partitions back: the consumer finishes what runs, its offsets are committed, and only then the group goes on.
    fn revoke(&mut self, partitions: &[Partition], lost: bool) {
        let known: Vec<_> = partitions.iter().copied().filter(|at| self.readings.contains_key(at)).collect();
        self.outbox.forget(&known);
        self.readings.retain(|at, _| !known.contains(at));
        if !known.is_empty() {
            let kept = !lost && self.hand_back(&known);
            let Some(group) = &self.group else { return };
            group.member.disown(&known);
            if !kept {
                let _ = group.control.send(Control::Lost(known));
            }
        }
        let places = list(&self.topic, partitions.iter().map(|at| (*at, Place::Invalid)));
        if let Err(error) = places.and_then(|places| self.consumer.incremental_unassign(&places)) {
            tracing::error!(topic = %self.topic, %error, "a revocation was refused");
        }
    }

    /// Asks for the offsets and commits them. `false` if no ack came in time.
    fn hand_back(&self, partitions: &[Partition]) -> bool {
        let Some(group) = &self.group else { return false };
        let (ack, answer) = oneshot::channel();
        let _ = group.control.send(Control::Revoked { partitions: partitions.to_vec(), ack });
        let Some(mut offsets) = self.await_ack(answer) else { return false };
        group.member.settle(partitions);
        offsets.retain(|(at, _)| partitions.contains(at));
        let (reply, done) = jobs::sync_channel(1);
        if !offsets.is_empty() && group.member.submit(Job::Settle { offsets, reply }).is_ok() {
            // After the commits that came before it. A failure has been logged: the records will be read again.
            let _ = done.recv_timeout(SETTLE_MAX);
        }
        true
    }

    fn await_ack(&self, mut answer: oneshot::Receiver<Vec<(Partition, Offset)>>) -> Option<Vec<(Partition, Offset)>> {
        let until = Instant::now() + self.shared.config.revocation();
        loop {
            if let Poll::Ready(ended) = self.alarm.poll(&mut answer) {
                return ended.ok();
            }
            let now = Instant::now();
            let gone = matches!(self.is_over(), Some(Ending::Dropped | Ending::Replaced | Ending::Failed(_)));
            if now >= until || gone {
                return None;
            }
            self.alarm.rest((until - now).min(Duration::from_millis(100)));
        }
    }
}
