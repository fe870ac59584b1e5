//! Reading actions, and who may see them.

use axum::extract::{RawQuery, Request, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use futures::future::try_join_all;
use ridgeline_domain::{ActionId, ActionStatus, ErrorCode, Timestamp, UserId};
use ridgeline_flow::auth::{Step, Steps};
use ridgeline_ports::RowKey;
use ridgeline_wire::action_row::{ActionRow, ActionStep, table};

use super::super::call::{Call, Caller, Limited};
use super::super::rate::Category;
use super::super::view::data;
use super::view::{Seen, seen};
use super::{only_pending, unknown};
use crate::gateway::{Shared, State};
use crate::problem::Problem;

/// Places of the index that are read at once.
const PAGE: usize = 128;
/// Nobody looks through more than that; what is decided makes room.
const LISTED_MAX: usize = 256;

/// An action that the caller may see.
pub(super) async fn find(shared: &Shared, id: ActionId, caller: &Caller) -> Result<ActionRow, Problem> {
    let row = read(shared, id).await?.filter(|row| row.user == *caller.user() || may_approve(row, caller.user()));
    row.ok_or_else(unknown)
}

async fn read(shared: &Shared, id: ActionId) -> Result<Option<ActionRow>, Problem> {
    let row = shared.parts.store.peek(table::ACTIONS, &RowKey::single(id.to_string())).await?;
    Ok(row.map(|row| ridgeline_wire::decode(&row.value)).transpose()?)
}

fn may_approve(row: &ActionRow, user: &UserId) -> bool {
    row.steps.iter().any(|step| step.approvers.contains(user))
}

/// What waits for a user now. The index may hold more than that.
async fn waiting(shared: &Shared, user: &UserId, now: Timestamp) -> Result<Vec<ActionRow>, Problem> {
    let waits = |row: &ActionRow| {
        let approved: Vec<&UserId> = row.approvals.iter().map(|approval| &approval.user).collect();
        row.status == ActionStatus::Pending && steps_of(row).wants(&approved, user)
    };
    let (mut found, mut after): (Vec<ActionRow>, Option<String>) = (Vec::new(), None);
    loop {
        let index = shared.parts.store.range(table::ACTION_INBOX, user.as_str(), after.as_deref(), PAGE).await?;
        let ids = index.iter().filter(|(_, row)| row.expires_at.is_none_or(|end| end > now));
        let ids = ids.filter_map(|(key, _)| key.clustering.parse::<ActionId>().ok());
        let rows = try_join_all(ids.map(|id| read(shared, id))).await?;
        found.extend(rows.into_iter().flatten().filter(waits));
        match index.last() {
            Some((key, _)) if index.len() == PAGE && found.len() < LISTED_MAX => after = Some(key.clustering.clone()),
            _ => return Ok(found),
        }
    }
}

fn steps_of(row: &ActionRow) -> Steps {
    let step = |step: &ActionStep| Step {
        approvers: step.approvers.clone(),
        required: usize::try_from(step.required).unwrap_or(usize::MAX),
    };
    Steps { in_order: row.in_order, steps: row.steps.iter().map(step).collect() }
}

/// `GET /api/v1/auth/confirmation?status=pending`
pub(crate) async fn pending(
    Extract(state): Extract<State>,
    query: RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    let (call, _) = Call::of(&state, request);
    let auth = call.admit(&state, Category::ConfirmationReading)?;
    let caller = call.user_or_device(&state, auth).await?;
    let Caller::Device(device) = &caller else { return Err(Problem::plain(ErrorCode::CredentialRefused)) };
    call.limit(&state, Category::ConfirmationReading, &Limited::User(&device.user))?;
    only_pending(query)?;
    let user = &device.user;
    let mut rows = waiting(&state, user, call.now).await?;
    rows.sort_by_key(|row| (row.created_at, row.action_id));
    let seen = rows.iter().map(|row| seen(&state, auth, row, &caller, call.now));
    let seen: Vec<Seen> = seen.collect::<Result<_, _>>()?;
    Ok(data(StatusCode::OK, seen))
}
