//! Correlates requests with their answers: whoever waits for an id is woken when its decision passes by.
//!
//! A waiter holds no answer, it only says that one exists; the answer is read from the store. Register first, then look
//! into the store, then await: an answer that came in between is never missed.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use ridgeline_domain::RequestId;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

/// As many waiters as allowed wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{max} requests wait already")]
pub struct Full {
    /// The bound.
    pub max: usize,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The id was woken: its answer is in the store.
    Answered,
    /// The deadline passed first.
    DeadlinePassed,
}

#[derive(Debug, Default)]
struct Waiting {
    by_id: HashMap<RequestId, Vec<(u64, oneshot::Sender<()>)>>,
    count: usize,
    next: u64,
}

/// The waiters of one process. Clones share them.
#[derive(Debug, Clone)]
pub struct Correlator {
    waiting: Arc<Mutex<Waiting>>,
    max: usize,
}

impl Correlator {
    /// A correlator for at most `max` waiters at once.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { waiting: Arc::default(), max }
    }

    /// Registers a waiter. It counts until it is dropped, woken or seen past its deadline; an id may have several.
    ///
    /// # Errors
    /// [`Full`] at the bound.
    pub fn wait(&self, id: RequestId, deadline: Instant) -> Result<Waiter, Full> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.count >= self.max {
            return Err(Full { max: self.max });
        }
        waiting.count += 1;
        waiting.next += 1;
        let number = waiting.next;
        waiting.by_id.entry(id).or_default().push((number, sender));
        drop(waiting);
        Ok(Waiter { correlator: self.clone(), id, number, receiver, deadline: Box::pin(sleep_until(deadline)) })
    }

    /// Wakes everyone who waits for `id`; answers how many.
    pub fn wake(&self, id: RequestId) -> usize {
        let mut waiting = self.waiting.lock();
        let woken = waiting.by_id.remove(&id).unwrap_or_default();
        waiting.count -= woken.len();
        drop(waiting);
        let count = woken.len();
        for (_, sender) in woken {
            // A waiter that is being dropped right now has no receiver any more, and needs none.
            let _ = sender.send(());
        }
        count
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.lock().count
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn forget(&self, id: RequestId, number: u64) {
        let mut waiting = self.waiting.lock();
        let Some(of_id) = waiting.by_id.get_mut(&id) else { return };
        let before = of_id.len();
        of_id.retain(|(other, _)| *other != number);
        let removed = before - of_id.len();
        if of_id.is_empty() {
            waiting.by_id.remove(&id);
        }
        waiting.count -= removed;
    }
}

/// Resolves when its id is woken or its deadline passes. Dropping it forgets it; awaiting it by reference is cancel-safe.
#[derive(Debug)]
#[must_use = "a waiter does nothing unless it is awaited"]
pub struct Waiter {
    correlator: Correlator,
    id: RequestId,
    number: u64,
    receiver: oneshot::Receiver<()>,
    deadline: Pin<Box<Sleep>>,
}

impl Future for Waiter {
    type Output = Woken;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Woken> {
        if Pin::new(&mut self.receiver).poll(context).is_ready() {
            return Poll::Ready(Woken::Answered);
        }
        if self.deadline.as_mut().poll(context).is_ready() {
            self.correlator.forget(self.id, self.number);
            return Poll::Ready(Woken::DeadlinePassed);
        }
        Poll::Pending
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.correlator.forget(self.id, self.number);
    }
}
