//! How an action goes on: asked for, waited for, or followed.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{RawQuery, Request, State as Extract};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use ridgeline_domain::{ActionStatus, ErrorCode, RequestId, Timestamp};
use ridgeline_identity::revocation::Subjects;
use ridgeline_wire::action_row::ActionRow;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::super::call::{Call, Caller, Limited};
use super::super::rate::Category;
use super::super::streams::Watcher;
use super::super::view::data;
use super::find::find;
use super::view::seen;
use super::{Id, action_id};
use crate::gateway::{Shared, State};
use crate::problem::Problem;
use crate::scan::query_wait;
use crate::waiting::{Waiting, until_answered};

const CATEGORY: Category = Category::ConfirmationReading;
const WAIT_MAX: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /api/v1/auth/confirmation/{id}/status[?wait=SECONDS]`: at once, or when something has happened.
pub(crate) async fn status(
    Extract(state): Extract<State>,
    path: Id,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    let (call, caller) = let_in(&state, request).await?;
    let id = action_id(path)?;
    let wait = query_wait(query.as_deref(), WAIT_MAX)?;
    let mut row = find(&state, id, &caller).await?;
    if let Some(wait) = wait {
        row = changed(&state, &caller, row, Instant::now() + wait).await?.unwrap_or_else(|row| *row);
        if !is_let_in(&state, &caller, state.parts.clock.now()).await {
            return Err(Problem::plain(ErrorCode::CredentialRefused));
        }
    }
    let now = state.parts.clock.now();
    Ok(data(StatusCode::OK, seen(&state, state.device_auth()?, &row, &caller, now.max(call.now))?))
}

async fn let_in(shared: &Shared, request: Request) -> Result<(Call, Caller), Problem> {
    let (call, _) = Call::of(shared, request);
    let auth = call.admit(shared, CATEGORY)?;
    let caller = call.user_or_device(shared, auth).await?;
    call.limit(shared, CATEGORY, &Limited::User(caller.user()))?;
    Ok((call, caller))
}

/// Whether the token of a caller who has waited still counts.
async fn is_let_in(shared: &Shared, caller: &Caller, now: Timestamp) -> bool {
    let Ok(auth) = shared.device_auth() else { return false };
    let (user, device, family, issued_at, ends) = match caller {
        Caller::User(user) => (&user.user, None, None, user.issued_at, user.expires_at),
        Caller::Device(one) => (&one.user, Some(&one.device), one.family.as_ref(), one.issued_at, one.expires_at),
    };
    let subjects = Subjects { user, device, family, issued_at };
    now < ends && !auth.revocations.is_revoked(&subjects).await.unwrap_or(true)
}

/// How far an action is, as those who wait for it see it.
fn progress(row: &ActionRow) -> (ActionStatus, Timestamp) {
    (row.status, row.updated_at)
}

/// The action once it has gone on from here; `Err`: it has not until the deadline, and is as it was.
async fn changed(
    shared: &Shared,
    caller: &Caller,
    row: ActionRow,
    deadline: Instant,
) -> Result<Result<ActionRow, Box<ActionRow>>, Problem> {
    if row.status != ActionStatus::Pending {
        return Ok(Ok(row));
    }
    let (id, before) = (row.action_id, progress(&row));
    // Decisions about an action wake those who wait under its id.
    let waits_for = RequestId::from_bytes(*id.as_bytes());
    let waiting = Waiting::register(shared, waits_for, deadline, false)?;
    let read = || async {
        let now = find(shared, id, caller).await?;
        Ok((progress(&now) != before).then_some(now))
    };
    let found = until_answered(shared, waits_for, waiting, deadline, read).await?;
    Ok(found.ok_or_else(|| Box::new(row)))
}

/// `GET /api/v1/auth/confirmation/{id}/events`: how far it is, now and whenever it goes on, until it is final.
pub(crate) async fn events(Extract(state): Extract<State>, path: Id, request: Request) -> Result<Response, Problem> {
    let (_, caller) = let_in(&state, request).await?;
    let id = action_id(path)?;
    let row = find(&state, id, &caller).await?;
    let own = state.device_auth()?.watchers.enter(caller.user())?;
    let place = state.reserve_stream()?;
    let deadline = Instant::now() + state.limits().stream_life;
    let follow = Follow { state, caller, deadline, step: Step::First(Box::new(row)), _places: (own, place) };
    let events = stream::unfold(follow, |follow| async { follow.next().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

struct Follow {
    state: State,
    caller: Caller,
    deadline: Instant,
    step: Step,
    _places: (Watcher, OwnedSemaphorePermit),
}

enum Step {
    First(Box<ActionRow>),
    After(Box<ActionRow>),
    Ended,
}

impl Follow {
    /// `None` ends the stream: the action is final, the stream's life is over, or the store is away; the client connects again.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let row = match std::mem::replace(&mut self.step, Step::Ended) {
            Step::First(row) => *row,
            Step::After(row) => changed(&self.state, &self.caller, *row, self.deadline).await.ok()?.ok()?,
            Step::Ended => return None,
        };
        let now = self.state.parts.clock.now();
        if !is_let_in(&self.state, &self.caller, now).await {
            return None;
        }
        let view = seen(&self.state, self.state.device_auth().ok()?, &row, &self.caller, now).ok()?;
        let event = Event::default().event(row.status.as_str()).json_data(view).ok()?;
        if row.status == ActionStatus::Pending {
            self.step = Step::After(Box::new(row));
        }
        Some((Ok(event), self))
    }
}
