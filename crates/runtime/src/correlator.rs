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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(number: u8) -> RequestId {
        RequestId::from_bytes([number; 16])
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_reaches_every_waiter_of_the_id_and_no_other() {
        let correlator = Correlator::new(10);
        let (first, second) = (correlator.wait(id(1), soon()).unwrap(), correlator.wait(id(1), soon()).unwrap());
        let other = correlator.wait(id(2), soon()).unwrap();
        assert_eq!(correlator.wake(id(1)), 2);
        assert_eq!(correlator.wake(id(1)), 0);
        assert_eq!((first.await, second.await), (Woken::Answered, Woken::Answered));
        assert_eq!(other.await, Woken::DeadlinePassed);
        assert!(correlator.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_between_registration_and_await_is_not_missed_even_past_the_deadline() {
        let correlator = Correlator::new(10);
        let waiter = correlator.wait(id(1), soon()).unwrap();
        correlator.wake(id(1));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(waiter.await, Woken::Answered);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_waiters_is_bounded_and_a_dropped_one_makes_room() {
        let correlator = Correlator::new(2);
        let first = correlator.wait(id(1), soon()).unwrap();
        let _second = correlator.wait(id(1), soon()).unwrap();
        assert_eq!(correlator.wait(id(2), soon()).err(), Some(Full { max: 2 }));
        drop(first);
        assert!(correlator.wait(id(2), soon()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn no_orphan_is_left_after_10_000_random_waits_drops_and_wakes() {
        let correlator = Correlator::new(64);
        let (mut waiters, mut seed, mut refused) = (Vec::new(), 1_u64, 0);
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (act, number) = (seed >> 60, u8::try_from(seed >> 33 & 15).unwrap());
            match act {
                0..=8 => match correlator.wait(id(number), Instant::now() + Duration::from_millis(seed >> 40 & 63)) {
                    Ok(waiter) => waiters.push(waiter),
                    Err(Full { max: 64 }) => refused += 1,
                    Err(full) => panic!("{full}"),
                },
                9..=10 => drop((!waiters.is_empty()).then(|| waiters.swap_remove(usize::from(number) % waiters.len()))),
                11..=12 => drop(correlator.wake(id(number))),
                13 => tokio::time::sleep(Duration::from_millis(3)).await,
                _ if waiters.is_empty() => {}
                _ => drop(waiters.swap_remove(0).await),
            }
            assert!(correlator.len() <= waiters.len());
        }
        assert!(refused > 0, "the bound was reached");
        drop(waiters);
        assert!(correlator.is_empty());
        assert!(correlator.waiting.lock().by_id.is_empty(), "no orphan");
    }
}
