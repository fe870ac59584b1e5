//! Waiting for an answer that a worker stores, woken by its decision.

use ridgeline_domain::RequestId;
use ridgeline_runtime::{Waiter, metric};
use tokio::time::Instant;

use crate::gateway::Shared;
use crate::problem::Problem;

/// A registered waiter, counted in the metrics.
pub(crate) struct Waiting {
    waiter: Waiter,
    /// Nothing can have been decided before it was registered.
    from_the_start: bool,
}

impl Waiting {
    /// Registers for `id`. Registering comes before publishing, so that no answer is missed; for a new id the store need not even be asked
    /// before the waiter wakes.
    ///
    /// # Errors
    /// `Unavailable` while too many wait.
    pub(crate) fn register(shared: &Shared, id: RequestId, deadline: Instant, is_new: bool) -> Result<Self, Problem> {
        let recheck = Instant::now() + shared.limits().recheck;
        let waiter = shared.correlator.wait(id, deadline.min(recheck));
        let waiter = waiter.map_err(|_| Problem::unavailable("too many requests wait for a decision"))?;
        metrics::gauge!(metric::HTTP_WAITERS).increment(1.0);
        Ok(Self { waiter, from_the_start: is_new })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        metrics::gauge!(metric::HTTP_WAITERS).decrement(1.0);
    }
}

/// Waits until `read` finds the answer, the deadline passes or the service stops.
pub(crate) async fn until_answered<T, R>(
    shared: &Shared,
    id: RequestId,
    mut waiting: Waiting,
    deadline: Instant,
    read: impl Fn() -> R,
) -> Result<Option<T>, Problem>
where
    R: Future<Output = Result<Option<T>, Problem>>,
{
    loop {
        let found = if waiting.from_the_start { None } else { read().await? };
        if found.is_some() || Instant::now() >= deadline {
            return Ok(found);
        }
        tokio::select! {
            biased;
            () = shared.parts.stop.cancelled() => return Ok(None),
            _ = &mut waiting.waiter => {}
        }
        waiting = Waiting::register(shared, id, deadline, false)?;
    }
}
