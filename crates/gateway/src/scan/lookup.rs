//! Where a request stands, and who may know.

use std::time::Duration;

use ridgeline_domain::{Outcome, Permission, RequestId, Timestamp};
use ridgeline_ports::{Row, RowKey, TableSpec};
use ridgeline_vault::{Aad, Purpose};
use ridgeline_wire::message::Decision;
use ridgeline_wire::row::{AnswerDetails, AnswerRow, RequestRow, table};
use tokio::time::Instant;

use super::view::{DecisionView, StatusView};
use crate::auth::Caller;
use crate::gateway::Shared;
use crate::problem::Problem;
use crate::waiting::{Waiting, until_answered};

/// What is stored about a request.
pub(super) struct Status {
    id: RequestId,
    answer: Option<Answer>,
    owner: bool,
}

/// The stored answer of a request.
pub(super) struct Answer {
    row: AnswerRow,
    decision: Decision,
}

impl Status {
    /// The status of a request that `caller` sent itself.
    pub(super) const fn own(id: RequestId, answer: Option<Answer>) -> Self {
        Self { id, answer, owner: true }
    }

    pub(super) const fn is_decided(&self) -> bool {
        self.answer.is_some()
    }

    /// The body for `caller`.
    pub(super) fn view(&self, shared: &Shared, caller: &Caller) -> Result<StatusView, Problem> {
        let confirmation_id = self.id.to_string();
        let Some(answer) = &self.answer else {
            return Ok(StatusView { confirmation_id, status: "accepted", decision: None });
        };
        let status = if answer.decision.outcome == Outcome::Failed { "failed" } else { "decided" };
        let details = if self.owner || caller.may(Permission::Analyze) { answer.details(shared)? } else { None };
        let decision = DecisionView::new(&answer.decision, details, caller, self.owner);
        Ok(StatusView { confirmation_id, status, decision: Some(decision) })
    }
}

impl Answer {
    fn details(&self, shared: &Shared) -> Result<Option<AnswerDetails>, Problem> {
        let Some(sealed) = &self.row.details else { return Ok(None) };
        let aad = Aad::row(table::ANSWERS.name, &key(self.row.request_id), "details");
        let details = shared.parts.vault.open(Purpose::Answer, &aad, sealed)?;
        Ok(Some(ridgeline_wire::decode(details.expose())?))
    }
}

fn key(id: RequestId) -> RowKey {
    RowKey::single(id.to_string())
}

/// A row that still counts.
async fn read(shared: &Shared, table: TableSpec, id: RequestId) -> Result<Option<Row>, Problem> {
    let now = shared.parts.clock.now();
    let row = shared.parts.store.peek(table, &key(id)).await?;
    Ok(row.filter(|row| row.expires_at.is_none_or(|expires: Timestamp| expires > now)))
}

/// The row of a request, if it was accepted by a gateway.
pub(crate) async fn request_row(shared: &Shared, id: RequestId) -> Result<Option<RequestRow>, Problem> {
    let row = read(shared, table::REQUESTS, id).await?;
    Ok(row.map(|row| ridgeline_wire::decode(&row.value)).transpose()?)
}

async fn answer(shared: &Shared, id: RequestId) -> Result<Option<Answer>, Problem> {
    let Some(row) = read(shared, table::ANSWERS, id).await? else { return Ok(None) };
    let row: AnswerRow = ridgeline_wire::decode(&row.value)?;
    let decision = ridgeline_wire::decode(&row.decision)?;
    Ok(Some(Answer { row, decision }))
}

/// Where the request stands, after at most `wait`.
///
/// # Errors
/// `NotFound` if there is no such request or `caller` may not see it.
pub(super) async fn status(
    shared: &Shared,
    caller: &Caller,
    id: RequestId,
    wait: Option<Duration>,
) -> Result<Status, Problem> {
    let request = request_row(shared, id).await?;
    let found = answer(shared, id).await?;
    // The gateway's own row says whose the request is; a record that an agent published itself has none.
    let owner = match (&request, &found) {
        (Some(request), _) => request.api_key.as_deref(),
        (None, Some(answer)) => answer.row.api_key.as_deref(),
        (None, None) => return Err(Problem::not_found()),
    };
    let owner = owner == Some(caller.key.as_str());
    if !owner && !caller.may(Permission::ReadAll) {
        return Err(Problem::not_found());
    }
    let answer = match (found, wait) {
        (None, Some(wait)) => await_answer(shared, id, Instant::now() + wait).await?,
        (found, _) => found,
    };
    Ok(Status { id, answer, owner })
}

/// Waits until the answer is stored, the deadline passes or the service stops.
pub(super) async fn await_answer(shared: &Shared, id: RequestId, deadline: Instant) -> Result<Option<Answer>, Problem> {
    let waiting = Waiting::register(shared, id, deadline, false)?;
    await_registered(shared, id, waiting, deadline).await
}

/// The same with a waiter that is registered already.
pub(super) async fn await_registered(
    shared: &Shared,
    id: RequestId,
    waiting: Waiting,
    deadline: Instant,
) -> Result<Option<Answer>, Problem> {
    until_answered(shared, id, waiting, deadline, || answer(shared, id)).await
}
