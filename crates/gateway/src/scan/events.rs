//! `GET /api/v1/scans/{confirmation_id}/events`: `accepted`, then `decided`, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use ridgeline_domain::RequestId;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::lookup::{self, Status};
use super::view::StatusView;
use crate::auth::Caller;
use crate::gateway::State;
use crate::problem::Problem;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
const DECIDED: &str = "decided";

/// Opens the stream. A browser that connects again after `decided` is told to stay away (204).
pub(crate) async fn get(
    Extract(state): Extract<State>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = Caller::of(&state, &headers).await?;
    let id = super::confirmation_id(path)?;
    let status = lookup::status(&state, &caller, id, None).await?;
    if status.is_decided() && headers.get("last-event-id").is_some_and(|id| id == DECIDED) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let place = state.reserve_stream()?;
    let deadline = Instant::now() + state.limits().stream_life;
    let follow = Follow { state, caller, id, deadline, step: Step::Accepted, _place: place };
    let events = stream::unfold(follow, |follow| async { follow.next().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

struct Follow {
    state: State,
    caller: Caller,
    id: RequestId,
    deadline: Instant,
    step: Step,
    _place: OwnedSemaphorePermit,
}

enum Step {
    Accepted,
    Waiting,
    Ended,
}

impl Follow {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let event = match self.step {
            Step::Accepted => {
                self.step = Step::Waiting;
                let view = StatusView { confirmation_id: self.id.to_string(), status: "accepted", decision: None };
                Event::default().event("accepted").id("accepted").json_data(view).ok()?
            }
            Step::Waiting => {
                self.step = Step::Ended;
                self.decided().await?
            }
            Step::Ended => return None,
        };
        Some((Ok(event), self))
    }

    /// `None` ends the stream: its life is over or the store is away; the client connects again.
    async fn decided(&self) -> Option<Event> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let status: Status = lookup::status(&self.state, &self.caller, self.id, Some(left)).await.ok()?;
        if !status.is_decided() {
            return None;
        }
        let view = status.view(&self.state, &self.caller).ok()?;
        Event::default().event(DECIDED).id(DECIDED).json_data(view).ok()
    }
}
