//! The end of a worker.

use std::pin::pin;
use std::time::Duration;

use ridgeline_ports::{Control, Offset, Partition, RevokeAck};
use tokio::time::{Instant, timeout_at};

use super::Worker;
use crate::{Handler, HealthState, RuntimeError};

/// How long cut-off attempts, the last commit and leaving may take together; after that the group notices by itself.
const LEAVE_MAX: Duration = Duration::from_secs(5);

impl<H: Handler> Worker<H> {
    /// Gives everything back: what has finished is committed, what has not will be read again by the next owner.
    pub(super) async fn leave(mut self) -> Result<(), RuntimeError> {
        let until = Instant::now() + LEAVE_MAX;
        let all = self.window.partitions();
        self.flight.abort(&all);
        let offsets = self.window.close(&all);
        for revoke in self.revokes.drain(..) {
            answer(revoke.ack, &revoke.partitions, &offsets);
        }
        let mut leaving = pin!(async {
            // An aborted attempt ends at its next await point; until then it could still have effects.
            while self.flight.next().await.is_some() {}
            self.chores.leave(offsets.clone()).await;
        });
        let left = timeout_at(until, async {
            loop {
                // Cancel-safe: the channel loses nothing, and `leaving` is polled by reference until it ends.
                tokio::select! {
                    biased;
                    control = self.control.recv() => match control {
                        Some(Control::Revoked { partitions, ack }) => answer(ack, &partitions, &offsets),
                        Some(Control::Assigned(_) | Control::Lost(_) | Control::Failed(_)) => {}
                        None => return (&mut leaving).await,
                    },
                    () = &mut leaving => return,
                }
            }
        });
        if left.await.is_err() {
            tracing::warn!(role = self.spec.role, topic = %self.spec.topic, "leaving the group took too long");
        }
        self.deps.handler.released(&all);
        if self.failure.is_some() {
            self.health.set(HealthState::Unhealthy, "the worker has stopped");
        }
        self.failure.map_or(Ok(()), Err)
    }
}

fn answer(ack: RevokeAck, partitions: &[Partition], offsets: &[(Partition, Offset)]) {
    let theirs = offsets.iter().filter(|(partition, _)| partitions.contains(partition)).copied().collect();
    // If nobody waits for it the offsets are committed by the call that follows, or the partition has gone.
    let _ = ack.send(theirs);
}
