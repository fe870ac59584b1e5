//! Waking a thread that rests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// Rung by whoever has something for the polling thread: the client library, a handle, a channel with room.
#[derive(Default)]
pub(crate) struct Alarm {
    thread: OnceLock<Thread>,
    rung: AtomicBool,
}

impl Alarm {
    /// From now on the calling thread is the one that is woken.
    pub(super) fn arm(&self) {
        let _ = self.thread.set(std::thread::current());
    }

    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Rests until rung, at most that long. A ring since the last rest counts.
    pub(super) fn rest(&self, at_most: Duration) {
        if !self.rung.swap(false, Ordering::AcqRel) {
            std::thread::park_timeout(at_most);
            self.rung.store(false, Ordering::Release);
        }
    }

    /// Looks whether a future is ready; if not, it will ring.
    pub(super) fn poll<F: Future + Unpin>(self: &Arc<Self>, future: &mut F) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(self));
        std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker))
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}
