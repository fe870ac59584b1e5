//! The attempts that are under way, each a task, found again by the id of its task.

use std::collections::HashMap;

use ridgeline_ports::Partition;
use tokio::task::{AbortHandle, Id, JoinSet};

use super::step::Outcome;
use crate::window::Ticket;

#[derive(Debug, Default)]
pub(super) struct Flight {
    tasks: JoinSet<Outcome>,
    tickets: HashMap<Id, (Ticket, AbortHandle)>,
}

impl Flight {
    pub(super) fn start(&mut self, ticket: Ticket, attempt: impl Future<Output = Outcome> + Send + 'static) {
        let handle = self.tasks.spawn(attempt);
        self.tickets.insert(handle.id(), (ticket, handle));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next attempt that ended; no outcome if it was aborted. Cancel-safe: the only await is `join_next_with_id`,
    /// which is, and nothing happens before it. `None` if nothing is under way.
    pub(super) async fn next(&mut self) -> Option<(Ticket, Option<Outcome>)> {
        let joined = self.tasks.join_next_with_id().await?;
        self.resolve(joined)
    }

    /// An attempt that has ended already.
    pub(super) fn try_next(&mut self) -> Option<(Ticket, Option<Outcome>)> {
        let joined = self.tasks.try_join_next_with_id()?;
        self.resolve(joined)
    }

    fn resolve(&mut self, joined: Result<(Id, Outcome), tokio::task::JoinError>) -> Option<(Ticket, Option<Outcome>)> {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, Some(outcome)),
            Err(error) => (error.id(), None),
        };
        let (ticket, _) = self.tickets.remove(&id)?;
        Some((ticket, outcome))
    }

    /// Aborts what is under way for these partitions. Each still comes out of `next`.
    pub(super) fn abort(&self, partitions: &[Partition]) {
        for (_, handle) in self.tickets.values().filter(|(ticket, _)| partitions.contains(&ticket.partition)) {
            handle.abort();
        }
    }
}
