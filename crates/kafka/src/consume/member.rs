//! A member of a group as its handle, its committer and its polling thread share it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use async_trait::async_trait;
use parking_lot::Mutex;
use ridgeline_ports::{LogError, Offset, Partition, SubscriptionHandle, TopicName};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::alarm::Alarm;

/// Where the answer to a call goes.
pub(super) type Reply = oneshot::Sender<Result<(), LogError>>;

/// What the polling thread is asked to do.
pub(super) enum Command {
    Pause(Vec<Partition>, Reply),
    Resume(Vec<Partition>, Reply),
    Seek(Partition, Offset, Reply),
    Leave(Reply),
}

/// What the committer is asked to do, in this order.
pub(super) enum Job {
    /// Commit if all are owned.
    Commit { offsets: Vec<(Partition, Offset)>, reply: Reply },
    /// Commit the offsets of an ack; the partitions are settling, so nobody else commits them.
    Settle { offsets: Vec<(Partition, Offset)>, reply: mpsc::SyncSender<bool> },
}

/// How far a partition is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Owned,
    /// Its ack is here: no commit but that of the ack.
    Settling,
}

pub(crate) struct Membership {
    topic: TopicName,
    partitions: u32,
    pub(super) alarm: Arc<Alarm>,
    holds: Mutex<BTreeMap<Partition, Hold>>,
    /// `None` once the polling thread has ended.
    commands: Mutex<Option<VecDeque<Command>>>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    fenced: AtomicBool,
    /// Cancelled when the member is out of its group, or at least nothing of it runs any more.
    pub(super) gone: CancellationToken,
}

impl Membership {
    pub(super) fn new(topic: TopicName, partitions: u32, jobs: mpsc::Sender<Job>) -> Self {
        Self {
            topic,
            partitions,
            alarm: Arc::default(),
            holds: Mutex::default(),
            commands: Mutex::new(Some(VecDeque::new())),
            jobs: Mutex::new(Some(jobs)),
            fenced: AtomicBool::new(false),
            gone: CancellationToken::new(),
        }
    }

    pub(crate) fn ring(&self) {
        self.alarm.ring();
    }

    /// The same member has come back: this one owns nothing from now on.
    pub(super) fn fence(&self) {
        self.fenced.store(true, Ordering::Release);
        self.holds.lock().clear();
        self.ring();
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    pub(super) fn own(&self, partitions: impl Iterator<Item = Partition>) {
        let mut holds = self.holds.lock();
        if !self.is_fenced() {
            holds.extend(partitions.map(|at| (at, Hold::Owned)));
        }
    }

    pub(super) fn settle(&self, partitions: &[Partition]) {
        let mut holds = self.holds.lock();
        partitions.iter().filter_map(|at| holds.insert(*at, Hold::Settling).map(|_| ())).for_each(drop);
    }

    pub(super) fn disown(&self, partitions: &[Partition]) {
        self.holds.lock().retain(|at, _| !partitions.contains(at));
    }

    pub(super) fn owns_all(&self, offsets: &[(Partition, Offset)]) -> bool {
        let holds = self.holds.lock();
        offsets.iter().all(|(at, _)| holds.get(at) == Some(&Hold::Owned))
    }

    pub(super) fn take_command(&self) -> Option<Command> {
        self.commands.lock().as_mut()?.pop_front()
    }

    /// A command that cannot be carried out yet comes first again.
    pub(super) fn put_back(&self, command: Command) {
        if let Some(commands) = self.commands.lock().as_mut() {
            commands.push_front(command);
        }
    }

    /// Nothing is owned, asked or committed any more; calls fail with `Closed`.
    pub(super) fn end(&self) {
        self.holds.lock().clear();
        self.jobs.lock().take();
        // Dropped replies answer `Closed`.
        self.commands.lock().take();
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), LogError> {
        let jobs = self.jobs.lock();
        jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or(LogError::Closed)
    }

    async fn ask(&self, command: impl FnOnce(Reply) -> Command) -> Result<(), LogError> {
        let (reply, answer) = oneshot::channel();
        match self.commands.lock().as_mut() {
            Some(commands) => commands.push_back(command(reply)),
            None => return Err(LogError::Closed),
        }
        self.ring();
        answer.await.unwrap_or(Err(LogError::Closed))
    }

    fn check(&self, partition: Partition) -> Result<(), LogError> {
        match partition.0 < self.partitions {
            true => Ok(()),
            false => Err(LogError::UnknownPartition(self.topic.clone(), partition)),
        }
    }
}

/// What the consumer holds.
pub(super) struct Handle(pub(super) Arc<Membership>);

#[async_trait]
impl SubscriptionHandle for Handle {
    async fn commit(&self, offsets: &[(Partition, Offset)]) -> Result<(), LogError> {
        offsets.iter().try_for_each(|(at, _)| self.0.check(*at))?;
        let (reply, answer) = oneshot::channel();
        self.0.submit(Job::Commit { offsets: offsets.to_vec(), reply })?;
        answer.await.unwrap_or(Err(LogError::Closed))
    }

    async fn pause(&self, partitions: &[Partition]) -> Result<(), LogError> {
        self.0.ask(|reply| Command::Pause(partitions.to_vec(), reply)).await
    }

    async fn resume(&self, partitions: &[Partition]) -> Result<(), LogError> {
        self.0.ask(|reply| Command::Resume(partitions.to_vec(), reply)).await
    }

    async fn seek(&self, partition: Partition, offset: Offset) -> Result<(), LogError> {
        self.0.check(partition)?;
        self.0.ask(|reply| Command::Seek(partition, offset, reply)).await
    }

    async fn leave(&self) -> Result<(), LogError> {
        self.0.ask(Command::Leave).await
    }
}
