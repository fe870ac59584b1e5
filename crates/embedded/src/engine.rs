//! The running parts behind the ports: disk, writer, groups, sweep, and the tasks that read.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use ridgeline_ports::{LogError, Offset, Partition, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::EmbeddedOptions;
use crate::disk::Disk;
use crate::error::EmbeddedError;
use crate::group::{Group, GroupKey, Groups, Revocation};
use crate::sweep::Sweeper;
use crate::writer::{Job, WriteError, Writer};

/// The queue's room is counted in units of this many bytes.
const ROOM_UNIT_BYTES: usize = 1_024;

/// What log, store and subscriptions hold: the engine until it is shut down.
pub(crate) struct Shared {
    engine: RwLock<Option<Arc<Engine>>>,
}

impl Shared {
    pub(crate) fn new(engine: Engine) -> Arc<Self> {
        Arc::new(Self { engine: RwLock::new(Some(Arc::new(engine))) })
    }

    pub(crate) fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.read().clone()
    }

    pub(crate) fn for_log(&self) -> Result<Arc<Engine>, LogError> {
        self.engine().ok_or_else(|| EmbeddedError::Closed.into())
    }

    pub(crate) fn for_store(&self) -> Result<Arc<Engine>, StoreError> {
        self.engine().ok_or_else(|| EmbeddedError::Closed.into())
    }

    pub(crate) fn take(&self) -> Option<Arc<Engine>> {
        self.engine.write().take()
    }
}

/// Dropped in the order of its fields: the sweep ends before the writer, the writer before the disk is closed.
pub(crate) struct Engine {
    sweeper: Sweeper,
    writer: Writer,
    pub(crate) groups: Mutex<Groups>,
    pub(crate) options: EmbeddedOptions,
    room: Arc<Semaphore>,
    room_units: u32,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) disk: Arc<Disk>,
}

impl Engine {
    pub(crate) fn open(dir: &Path, options: EmbeddedOptions) -> Result<Self, EmbeddedError> {
        let disk = Arc::new(Disk::open(dir, options.fsync)?);
        let writer = Writer::start(Arc::clone(&disk), Arc::clone(&options.clock))?;
        let sweeper =
            Sweeper::start(Arc::clone(&disk), Arc::clone(&options.clock), writer.sender(), options.sweep_interval)?;
        let room_units = units(options.queue_bytes_max);
        Ok(Self {
            sweeper,
            writer,
            groups: Mutex::default(),
            room: Arc::new(Semaphore::new(room_units as usize)),
            room_units,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            options,
            disk,
        })
    }

    /// Waits for room in the writer's queue. Cancel-safe: nothing is queued yet.
    pub(crate) async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, EmbeddedError> {
        let units = units(bytes).min(self.room_units);
        Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| EmbeddedError::Closed)
    }

    pub(crate) fn queue(&self, job: Job) {
        self.writer.send(job);
    }

    pub(crate) async fn sweep(&self) -> Result<(), EmbeddedError> {
        self.sweeper.sweep_now().await
    }

    /// Runs a change of a group and waits, in tasks, for the acks it asks for.
    pub(crate) fn change_group<T>(
        self: &Arc<Self>,
        key: &GroupKey,
        change: impl FnOnce(&mut Group) -> (T, Vec<Revocation>),
    ) -> Option<T> {
        let (result, revocations) = self.groups.lock().get_mut(key).map(change)?;
        for revocation in revocations {
            self.tasks.spawn(await_ack(Arc::clone(self), key.clone(), revocation));
        }
        Some(result)
    }

    /// Ends the tasks, finishes the queue, closes the disk.
    pub(crate) async fn shutdown(self: Arc<Self>) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        // Calls that began before hold the engine until they are answered.
        let mut engine = self;
        loop {
            match Arc::try_unwrap(engine) {
                Ok(last) => {
                    let _ = tokio::task::spawn_blocking(move || drop(last)).await;
                    return;
                }
                Err(shared) => engine = shared,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX)
}

/// Waits for the writer's answer.
pub(crate) async fn answered<T, E>(reply: oneshot::Receiver<Result<T, WriteError>>) -> Result<T, E>
where
    E: for<'a> From<&'a EmbeddedError>,
{
    match reply.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err((&*error).into()),
        Err(_) => Err((&EmbeddedError::Closed).into()),
    }
}

/// Runs what may wait for the disk where it holds up nobody.
pub(crate) async fn off_the_reactor<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<EmbeddedError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(EmbeddedError::Closed.into()))
}

/// Waits for an ack up to the deadline, stores its offsets, and only then frees the partitions.
async fn await_ack(engine: Arc<Engine>, key: GroupKey, mut revocation: Revocation) {
    let acked = tokio::select! {
        biased;
        () = engine.stop.cancelled() => return,
        acked = tokio::time::timeout(engine.options.revoke_deadline, &mut revocation.ack) => acked,
    };
    let Ok(acked) = acked else {
        engine.change_group(&key, |group| ((), group.overdue(&revocation)));
        return;
    };
    // A dropped ack commits nothing, but nothing more will come either.
    let acked: Vec<(Partition, Offset)> = acked.unwrap_or_default();
    let stored = engine.change_group(&key, |group| {
        let offsets = group.settle(&revocation, &acked);
        let (reply, stored) = oneshot::channel();
        if offsets.is_empty() {
            let _ = reply.send(Ok(()));
        } else {
            // Queued under the lock, so after every commit that was accepted before.
            let (topic, group) = (Arc::clone(group.topic()), key.1.clone());
            engine.queue(Job::Commit { topic, group, offsets, reply });
        }
        (stored, Vec::new())
    });
    if let Some(stored) = stored
        && let Err(error) = answered::<_, LogError>(stored).await
    {
        tracing::error!(%error, "offsets of revoked partitions could not be stored; their records will come again");
    }
    engine.change_group(&key, |group| ((), group.settled(&revocation)));
}
