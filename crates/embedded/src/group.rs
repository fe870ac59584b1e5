//! Who owns which partition: joining, leaving, sticky and cooperative rebalances, fencing, commits.
//!
//! A partition is free, owned, or on its way from one member to nobody. Only a free partition is handed out, so no two
//! members ever own it. Everything is decided under one lock; waiting for an ack happens outside.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ridgeline_ports::{
    Assignment, Control, GroupId, LogError, MemberId, Offset, Partition, RevokeAck, StartAt, TopicName,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::disk::Topic;
use crate::reader::{Cursor, Cursors};

/// A group and the topic it reads; groups of one name on two topics know nothing of each other.
pub(crate) type GroupKey = (TopicName, GroupId);

/// One joining of a member; a member that comes back has a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Session(u64);

/// All groups, by topic and name.
pub(crate) type Groups = HashMap<GroupKey, Group>;

/// The members and partitions of one group.
pub(crate) struct Group {
    topic: Arc<Topic>,
    /// By session, so in the order of joining.
    members: BTreeMap<Session, Member>,
    slots: Vec<Slot>,
    sessions: u64,
    tickets: u64,
}

/// A living member.
pub(crate) struct Member {
    pub(crate) id: MemberId,
    pub(crate) start: StartAt,
    pub(crate) control: mpsc::UnboundedSender<Control>,
    pub(crate) cursors: Arc<Cursors>,
    /// Cancelled when the member is out.
    pub(crate) gone: CancellationToken,
    leaving: bool,
}

impl Member {
    pub(crate) fn new(id: MemberId, start: StartAt, control: mpsc::UnboundedSender<Control>) -> Self {
        Self { id, start, control, cursors: Arc::default(), gone: CancellationToken::new(), leaving: false }
    }
}

struct Slot {
    epoch: u64,
    /// Durable or queued before anything later.
    committed: Option<Offset>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Owned(Session),
    /// Asked back; the owner may still commit.
    Revoking {
        from: Session,
        ticket: u64,
    },
    /// The ack is here and its offsets are being stored; nobody may commit.
    Settling {
        ticket: u64,
    },
}

/// An asking back that someone must wait for.
pub(crate) struct Revocation {
    pub(crate) session: Session,
    pub(crate) ack: oneshot::Receiver<Vec<(Partition, Offset)>>,
    ticket: u64,
}

impl Group {
    pub(crate) fn new(topic: Arc<Topic>, committed: Vec<Option<Offset>>) -> Self {
        let slots = committed.into_iter().map(|committed| Slot { epoch: 0, committed, state: State::Free }).collect();
        Self { topic, members: BTreeMap::new(), slots, sessions: 0, tickets: 0 }
    }

    /// Adds a member; a living one of the same name loses everything at once.
    pub(crate) fn join(&mut self, member: Member) -> (Session, Vec<Revocation>) {
        let former = self.members.iter().find(|(_, other)| other.id == member.id).map(|(session, _)| *session);
        if let Some(former) = former {
            self.expel(former);
        }
        self.sessions += 1;
        let session = Session(self.sessions);
        self.members.insert(session, member);
        (session, self.rebalance())
    }

    /// Starts to leave. The member's `gone` is cancelled when all is handed back.
    pub(crate) fn leave(&mut self, session: Session) -> Vec<Revocation> {
        let Some(member) = self.members.get_mut(&session) else { return Vec::new() };
        member.leaving = true;
        self.rebalance()
    }

    /// Takes a member out as if it had crashed: nothing is committed for it, except an ack that is already on its way.
    pub(crate) fn drop_member(&mut self, session: Session) -> Vec<Revocation> {
        self.expel(session);
        self.rebalance()
    }

    fn expel(&mut self, session: Session) {
        let Some(member) = self.members.remove(&session) else { return };
        let lost: Vec<Partition> = self.free(|state| state == State::Owned(session));
        member.cursors.change(Vec::clear);
        if !lost.is_empty() {
            let _ = member.control.send(Control::Lost(lost));
        }
        member.gone.cancel();
    }

    /// Frees the slots in such a state and names them.
    fn free(&mut self, is_meant: impl Fn(State) -> bool) -> Vec<Partition> {
        let mut freed = Vec::new();
        for (at, slot) in self.topic.partition_ids().zip(&mut self.slots) {
            if is_meant(slot.state) {
                slot.state = State::Free;
                freed.push(at);
            }
        }
        freed
    }

    /// The ack came in time: the offsets that count, in a group that now refuses other commits for these partitions.
    pub(crate) fn settle(
        &mut self,
        revocation: &Revocation,
        acked: &[(Partition, Offset)],
    ) -> Vec<(Partition, Offset)> {
        let ticket = revocation.ticket;
        let mut counted = Vec::new();
        for (at, slot) in self.topic.partition_ids().zip(&mut self.slots) {
            if !matches!(slot.state, State::Revoking { ticket: asked, .. } if asked == ticket) {
                continue;
            }
            slot.state = State::Settling { ticket };
            if let Some((_, offset)) = acked.iter().rfind(|(partition, _)| *partition == at) {
                slot.committed = Some(*offset);
                counted.push((at, *offset));
            }
        }
        counted
    }

    /// The acked offsets are stored: the partitions are free.
    pub(crate) fn settled(&mut self, revocation: &Revocation) -> Vec<Revocation> {
        self.free(|state| state == State::Settling { ticket: revocation.ticket });
        self.rebalance()
    }

    /// No ack came in time: the partitions are lost to the member.
    pub(crate) fn overdue(&mut self, revocation: &Revocation) -> Vec<Revocation> {
        let ticket = revocation.ticket;
        let lost = self.free(|state| matches!(state, State::Revoking { ticket: asked, .. } if asked == ticket));
        if let Some(member) = self.members.get(&revocation.session).filter(|_| !lost.is_empty()) {
            let _ = member.control.send(Control::Lost(lost));
        }
        self.rebalance()
    }

    /// Brings every member to its share: takes what is above, hands out what is free. Moves as little as possible.
    fn rebalance(&mut self) -> Vec<Revocation> {
        let mut revocations = Vec::new();
        for (session, share) in self.shares() {
            let owned = self.owned_by(session);
            if let Some(surplus) = owned.get(share..).filter(|surplus| !surplus.is_empty()) {
                revocations.extend(self.ask_back(session, surplus));
            } else {
                self.hand_out(session, share - owned.len());
            }
        }
        self.dismiss_leavers();
        revocations
    }

    /// How many partitions each member shall own. Those who own most come first for the remainder, so that it stays.
    fn shares(&self) -> Vec<(Session, usize)> {
        let mut staying: Vec<Session> =
            self.members.iter().filter(|(_, member)| !member.leaving).map(|(session, _)| *session).collect();
        staying.sort_by_key(|session| (std::cmp::Reverse(self.owned_by(*session).len()), *session));
        let (each, remainder) = match staying.len() {
            0 => (0, 0),
            count => (self.slots.len() / count, self.slots.len() % count),
        };
        let leaving = self.members.iter().filter(|(_, member)| member.leaving).map(|(session, _)| (*session, 0));
        let staying =
            staying.iter().enumerate().map(|(rank, session)| (*session, each + usize::from(rank < remainder)));
        leaving.chain(staying).collect()
    }

    fn owned_by(&self, session: Session) -> Vec<Partition> {
        self.topic
            .partition_ids()
            .zip(&self.slots)
            .filter(|(_, slot)| slot.state == State::Owned(session))
            .map(|(at, _)| at)
            .collect()
    }

    fn ask_back(&mut self, session: Session, partitions: &[Partition]) -> Option<Revocation> {
        self.tickets += 1;
        let ticket = self.tickets;
        for at in partitions {
            if let Some(slot) = slot_mut(&mut self.slots, *at) {
                slot.state = State::Revoking { from: session, ticket };
            }
        }
        let member = self.members.get(&session)?;
        member.cursors.change(|cursors| cursors.retain(|cursor| !partitions.contains(&cursor.partition)));
        let (ack, answer): (RevokeAck, _) = oneshot::channel();
        let _ = member.control.send(Control::Revoked { partitions: partitions.to_vec(), ack });
        Some(Revocation { session, ack: answer, ticket })
    }

    fn hand_out(&mut self, session: Session, count: usize) {
        let Some(member) = self.members.get(&session) else { return };
        let mut assignments = Vec::new();
        for (at, slot) in self.topic.partition_ids().zip(&mut self.slots) {
            if assignments.len() < count && slot.state == State::Free {
                slot.state = State::Owned(session);
                slot.epoch += 1;
                let start = match member.start {
                    StartAt::Committed => slot.committed.unwrap_or(Offset(0)),
                    StartAt::Beginning => Offset(0),
                };
                assignments.push(Assignment { partition: at, epoch: slot.epoch, start });
            }
        }
        if !assignments.is_empty() {
            announce(member, assignments);
        }
    }

    /// Leavers that have nothing left to hand back are out.
    fn dismiss_leavers(&mut self) {
        let slots = &self.slots;
        self.members.retain(|session, member| {
            let holds = |slot: &Slot| match slot.state {
                State::Owned(owner) | State::Revoking { from: owner, .. } => owner == *session,
                State::Free | State::Settling { .. } => false,
            };
            let stays = !member.leaving || slots.iter().any(holds);
            if !stays {
                member.gone.cancel();
            }
            stays
        });
    }

    /// Notes commits of a member, all or none.
    pub(crate) fn commit(&mut self, session: Session, offsets: &[(Partition, Offset)]) -> Result<(), LogError> {
        for (at, _) in offsets {
            self.topic.partition(*at)?;
            match slot_mut(&mut self.slots, *at).map(|slot| slot.state) {
                Some(State::Owned(owner) | State::Revoking { from: owner, .. }) if owner == session => {}
                _ => return Err(LogError::Closed),
            }
        }
        for (at, offset) in offsets {
            if let Some(slot) = slot_mut(&mut self.slots, *at) {
                slot.committed = Some(*offset);
            }
        }
        Ok(())
    }

    /// Continues an owned partition elsewhere under a new epoch.
    pub(crate) fn seek(&mut self, session: Session, at: Partition, offset: Offset) -> Result<(), LogError> {
        self.topic.partition(at)?;
        let member = self.members.get(&session).ok_or(LogError::Closed)?;
        let slot = slot_mut(&mut self.slots, at).filter(|slot| slot.state == State::Owned(session));
        let slot = slot.ok_or(LogError::Closed)?;
        slot.epoch += 1;
        announce(member, vec![Assignment { partition: at, epoch: slot.epoch, start: offset }]);
        Ok(())
    }

    /// Stops or goes on reading those of the partitions that the member owns.
    pub(crate) fn set_paused(&self, session: Session, partitions: &[Partition], paused: bool) -> Result<(), LogError> {
        let member = self.members.get(&session).ok_or(LogError::Closed)?;
        member.cursors.change(|cursors| {
            for cursor in cursors.iter_mut().filter(|cursor| partitions.contains(&cursor.partition)) {
                cursor.paused = paused;
            }
        });
        Ok(())
    }

    pub(crate) fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    pub(crate) fn member(&self, session: Session) -> Option<&Member> {
        self.members.get(&session)
    }
}

/// Tells the member first and lets the reader start then, so that no record comes before its assignment.
fn announce(member: &Member, assignments: Vec<Assignment>) {
    let _ = member.control.send(Control::Assigned(assignments.clone()));
    member.cursors.change(|cursors| {
        for assignment in assignments {
            let mut cursor = Cursor::new(assignment.partition, assignment.epoch, assignment.start);
            match cursors.iter_mut().find(|cursor| cursor.partition == assignment.partition) {
                Some(former) => {
                    cursor.paused = former.paused;
                    *former = cursor;
                }
                None => cursors.push(cursor),
            }
        }
    });
}

fn slot_mut(slots: &mut [Slot], at: Partition) -> Option<&mut Slot> {
    slots.get_mut(usize::try_from(at.0).ok()?)
}

#[cfg(test)]
mod tests {
    use ridgeline_domain::DurationMs;
    use ridgeline_ports::{Cleanup, TopicSpec};

    use super::*;
    use crate::disk::Disk;

    const PARTITIONS: usize = 8;

    /// A member's side: what it may be working on, and what it was asked to hand back.
    struct Peer {
        session: Session,
        control: mpsc::UnboundedReceiver<Control>,
        works_on: Vec<Partition>,
        asked: Vec<(Vec<Partition>, RevokeAck)>,
        leaving: bool,
    }

    struct World {
        group: Group,
        peers: Vec<Peer>,
        pending: Vec<Revocation>,
        random: u64,
        names: u64,
    }

    impl World {
        fn new(topic: Arc<Topic>, seed: u64) -> Self {
            let group = Group::new(topic, vec![None; PARTITIONS]);
            Self { group, peers: Vec::new(), pending: Vec::new(), random: seed, names: 0 }
        }

        fn random(&mut self, below: usize) -> usize {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.random >> 33) as usize % below.max(1)
        }

        fn join(&mut self) {
            self.names += 1;
            let (control, controls) = mpsc::unbounded_channel();
            let member = Member::new(MemberId(self.names.to_string()), StartAt::Committed, control);
            let (session, asked) = self.group.join(member);
            self.pending.extend(asked);
            let peer = Peer { session, control: controls, works_on: vec![], asked: vec![], leaving: false };
            self.peers.push(peer);
        }

        /// Answers the oldest request of a peer; the engine's part follows at once.
        fn ack(&mut self, peer: usize) {
            let Some(peer) = self.peers.get_mut(peer) else { return };
            if peer.asked.is_empty() {
                return;
            }
            let (partitions, ack) = peer.asked.remove(0);
            peer.works_on.retain(|at| !partitions.contains(at));
            let _ = ack.send(partitions.iter().map(|at| (*at, Offset(1))).collect());
            for mut revocation in std::mem::take(&mut self.pending) {
                match revocation.ack.try_recv() {
                    Ok(acked) => {
                        self.group.settle(&revocation, &acked);
                        let asked = self.group.settled(&revocation);
                        self.pending.extend(asked);
                    }
                    Err(_) => self.pending.push(revocation),
                }
            }
        }

        fn step(&mut self) {
            let peer = self.random(self.peers.len());
            match self.random(10) {
                0..3 if self.peers.len() < 5 => self.join(),
                3 => {
                    if let Some(peer) = self.peers.get_mut(peer) {
                        peer.leaving = true;
                        self.pending.extend(self.group.leave(peer.session));
                    }
                }
                4 if peer < self.peers.len() => {
                    let gone = self.peers.remove(peer);
                    let asked = self.group.drop_member(gone.session);
                    self.pending.extend(asked);
                    drop(gone);
                    self.give_up_dead();
                }
                5 if !self.pending.is_empty() => {
                    let index = self.random(self.pending.len());
                    let overdue = self.pending.remove(index);
                    let asked = self.group.overdue(&overdue);
                    self.pending.extend(asked);
                }
                _ => self.ack(peer),
            }
            self.hear();
        }

        /// Requests whose member died end as dropped acks.
        fn give_up_dead(&mut self) {
            for mut revocation in std::mem::take(&mut self.pending) {
                if matches!(revocation.ack.try_recv(), Err(oneshot::error::TryRecvError::Closed)) {
                    self.group.settle(&revocation, &[]);
                    let asked = self.group.settled(&revocation);
                    self.pending.extend(asked);
                } else {
                    self.pending.push(revocation);
                }
            }
        }

        fn hear(&mut self) {
            // Losses first: they were decided before anybody else was given the partition.
            let mut assigned = Vec::new();
            for (index, peer) in self.peers.iter_mut().enumerate() {
                while let Ok(control) = peer.control.try_recv() {
                    match control {
                        Control::Assigned(all) => assigned.extend(all.into_iter().map(|one| (index, one.partition))),
                        Control::Revoked { partitions, ack } => peer.asked.push((partitions, ack)),
                        Control::Lost(lost) => peer.works_on.retain(|at| !lost.contains(at)),
                        Control::Failed(error) => panic!("{error}"),
                    }
                }
            }
            for (index, partition) in assigned {
                let owner = self.peers.iter().position(|peer| peer.works_on.contains(&partition));
                assert_eq!(owner, None, "{partition:?} was given to a second member");
                self.peers[index].works_on.push(partition);
            }
            let group = &self.group;
            self.peers.retain(|peer| group.member(peer.session).is_some() || !peer.leaving);
        }
    }

    #[test]
    fn no_partition_has_two_owners_and_all_have_one_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path(), false).unwrap();
        let name = TopicName::new("t");
        let cleanup = Cleanup::Delete { retention: DurationMs::from_days(1) };
        let spec = TopicSpec { name: name.clone(), partitions: PARTITIONS as u32, cleanup, record_bytes_max: 100 };
        disk.ensure_topic(&spec).unwrap();
        for seed in 0..200 {
            let mut world = World::new(disk.topic(&name).unwrap(), seed);
            for _ in 0..120 {
                world.step();
            }
            world.join();
            world.hear();
            while !world.pending.is_empty() {
                for peer in 0..world.peers.len() {
                    world.ack(peer);
                    world.hear();
                }
            }
            let mut shares: Vec<usize> = world.peers.iter().map(|peer| peer.works_on.len()).collect();
            shares.sort_unstable();
            assert_eq!(shares.iter().sum::<usize>(), PARTITIONS, "seed {seed}: {shares:?}");
            assert!(shares.last().unwrap() - shares.first().unwrap() <= 1, "seed {seed}: {shares:?}");
        }
    }
}
