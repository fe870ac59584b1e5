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
