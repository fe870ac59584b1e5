//! Threads for computations, so that the reactor's threads never compute.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use crate::metric;

/// Why a computation has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CpuError {
    /// It panicked.
    #[error("a computation panicked")]
    Panicked,
    /// The threads are gone.
    #[error("the CPU pool has stopped")]
    Stopped,
}

type Task = Box<dyn FnOnce() + Send>;

/// A fixed number of threads behind a bounded queue. Clones share them; they end with the last clone.
#[derive(Debug, Clone)]
pub struct CpuPool {
    tasks: mpsc::Sender<Task>,
    places: Arc<Semaphore>,
}

impl CpuPool {
    /// Computations that may be queued for each thread: enough to keep it busy, few enough that a caller waits outside,
    /// where it can still be cancelled.
    pub const QUEUE_PER_THREAD: usize = 4;

    /// A pool of `threads` threads, at least one.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let (tasks, queue) = mpsc::channel::<Task>();
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..threads {
            let queue = queue.clone();
            thread::Builder::new().name(format!("cpu-{number}")).spawn(move || work(&queue))?;
        }
        Ok(Self { tasks, places: Arc::new(Semaphore::new(threads * (1 + Self::QUEUE_PER_THREAD))) })
    }

    /// A pool with a thread for each processor the process may use.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn with_default_threads() -> std::io::Result<Self> {
        Self::new(thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    /// Runs `compute` on one of the threads; waits for a place in the queue first. Dropping the future drops a computation
    /// that has not begun.
    ///
    /// # Errors
    /// [`CpuError::Panicked`] if `compute` did.
    pub async fn run<T, F>(&self, compute: F) -> Result<T, CpuError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let place = self.places.clone().acquire_owned().await.map_err(|_| CpuError::Stopped)?;
        let (sender, receiver) = oneshot::channel();
        let task = move || {
            let _place = place;
            if sender.is_closed() {
                return;
            }
            let begun = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(compute)).map_err(|_| CpuError::Panicked);
            metrics::histogram!(metric::CPU_DURATION).record(begun.elapsed());
            // The caller may have gone meanwhile.
            let _ = sender.send(result);
        };
        self.tasks.send(Box::new(task)).map_err(|_| CpuError::Stopped)?;
        let _queued = Queued::new();
        receiver.await.map_err(|_| CpuError::Stopped)?
    }
}

/// Counts a caller in the queue gauge while it waits.
struct Queued;

impl Queued {
    fn new() -> Self {
        metrics::gauge!(metric::CPU_QUEUE).increment(1.0);
        Self
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        metrics::gauge!(metric::CPU_QUEUE).decrement(1.0);
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Task>>) {
    loop {
        // The lock is held while waiting: the next task goes to whoever holds it, the others line up behind.
        let task = queue.lock().recv();
        match task {
            Ok(task) => task(),
            Err(mpsc::RecvError) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn results_come_back_and_a_panic_is_an_error_that_spares_the_thread() {
        let pool = CpuPool::new(1).unwrap();
        assert_eq!(pool.run(|| 6 * 7).await, Ok(42));
        assert_eq!(pool.run(|| -> i32 { std::panic::resume_unwind(Box::new(())) }).await, Err(CpuError::Panicked));
        assert_eq!(pool.run(|| 1).await, Ok(1));
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_a_dropped_call_does_not_run() {
        let pool = CpuPool::new(1).unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let ran = Arc::new(AtomicUsize::new(0));
        let blocker = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move || gate.recv().is_ok()).await }
        });
        let calls: Vec<_> = (0..20)
            .map(|_| {
                let (pool, ran) = (pool.clone(), ran.clone());
                tokio::spawn(async move { pool.run(move || ran.fetch_add(1, Ordering::SeqCst)).await })
            })
            .collect();
        while pool.places.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for call in &calls {
            call.abort();
        }
        for call in calls {
            assert!(call.await.is_err());
        }
        open.send(()).unwrap();
        assert_eq!(blocker.await.unwrap(), Ok(true));
        assert_eq!(pool.run(|| ()).await, Ok(()));
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn several_threads_compute_at_once() {
        let pool = CpuPool::new(2).unwrap();
        let (to_first, from_second) = mpsc::channel::<u8>();
        let first = pool.run(move || from_second.recv_timeout(Duration::from_secs(5)).ok());
        let second = pool.run(move || to_first.send(7).is_ok());
        assert_eq!(tokio::join!(first, second), (Ok(Some(7)), Ok(true)));
    }
}
