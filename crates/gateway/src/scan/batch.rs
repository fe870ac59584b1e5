//! `POST /api/v1/scans:batch`: requests in as lines of JSON, confirmation ids or problems out, in order, as they come.
//!
//! The sender is held back while lines are in work, so a batch of any length needs bounded memory.

use std::convert::Infallible;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use ridgeline_domain::{ErrorCode, RequestId};
use ridgeline_ports::TraceContext;
use serde::Serialize;
use tokio::time::timeout;

use super::input;
use super::submit::{self, Submission};
use crate::auth::Caller;
use crate::body::{Incoming, media_type};
use crate::gateway::{State, Upload};
use crate::layer::RequestLabel;
use crate::problem::{Problem, ProblemBody};

const MEDIA_TYPES: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// Starts the batch; its answer begins before its body has ended.
pub(crate) async fn post(
    Extract(state): Extract<State>,
    Extension(label): Extension<RequestLabel>,
    Extension(trace): Extension<TraceContext>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = Caller::of(&state, &parts.headers).await?;
    if !media_type(&parts.headers).is_some_and(|kind| MEDIA_TYPES.contains(&kind.as_str())) {
        return Err(Problem::new(ErrorCode::UnsupportedMediaType, "send application/x-ndjson"));
    }
    state.admit()?;
    let place = state.reserve_stream()?;
    let lines = Lines {
        room: state.reserve_upload(0)?,
        state: state.clone(),
        body: Incoming::new(&parts.headers, body).into_stream(),
        buffer: BytesMut::new(),
        searched: 0,
        number: 0,
        ended: false,
        skipping: false,
    };
    let in_work = state.limits().batch_lines;
    let answers = stream::unfold(lines, |mut lines| async { lines.next().await.map(|line| (line, lines)) })
        .map(move |line| answer(state.clone(), caller.clone(), trace, line))
        .buffered(in_work)
        .map(move |(line, outcome)| {
            let _held = &place;
            Ok::<_, Infallible>(render(line, outcome, &label))
        });
    let mut response = Response::new(Body::from_stream(answers));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// A line and its number, from 1.
struct Line {
    number: u64,
    content: Result<(Bytes, Upload), Problem>,
}

type Outcome = (u64, Result<RequestId, (Problem, String)>);

async fn answer(state: State, caller: Caller, trace: TraceContext, line: Line) -> Outcome {
    let accepted = async {
        let (bytes, _room) = line.content?;
        let input = state.parts.cpu.run(move || input::from_json(&bytes)).await??;
        caller.require(input.operation.permission())?;
        let (id, _) = submit::publish(&state, Submission::line(caller, input, trace), None).await?;
        Ok(id)
    };
    let outcome = accepted.await.map_err(|problem: Problem| {
        state.refusals.count(problem.code());
        (problem, state.parts.public_url.clone())
    });
    (line.number, outcome)
}

#[derive(Serialize)]
struct AnswerLine {
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemBody>,
}

fn render(line: u64, outcome: Result<RequestId, (Problem, String)>, label: &RequestLabel) -> Bytes {
    let answer = match outcome {
        Ok(id) => AnswerLine { line, confirmation_id: Some(id.to_string()), problem: None },
        Err((problem, base)) => {
            AnswerLine { line, confirmation_id: None, problem: Some(problem.body(&base, &label.0)) }
        }
    };
    let mut bytes = serde_json::to_vec(&answer).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

/// Cuts a body into lines.
struct Lines {
    state: State,
    body: axum::body::BodyDataStream,
    buffer: BytesMut,
    /// Room for the buffer: part of the budget of bodies, like the lines that are cut from it.
    room: Upload,
    /// No line end before this place of the buffer.
    searched: usize,
    number: u64,
    ended: bool,
    /// The current line was refused for its length; the rest of it is thrown away.
    skipping: bool,
}

impl Lines {
    /// The next line that is not empty. After a broken body one last problem, then nothing.
    async fn next(&mut self) -> Option<Line> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at + 1).freeze();
                if let Some(line) = self.finish(line).await {
                    return Some(line);
                }
                continue;
            }
            self.searched = self.buffer.len();
            let max = self.state.limits().body_bytes_max;
            if self.buffer.len() > max {
                self.buffer.clear();
                drop(self.room.split_off(max));
                self.searched = 0;
                if !std::mem::replace(&mut self.skipping, true) {
                    let detail = format!("a line has at most {max} bytes");
                    return Some(self.refused(Problem::new(ErrorCode::BodyTooLarge, detail)));
                }
            }
            if self.ended {
                let rest = self.buffer.split().freeze();
                return if rest.is_empty() { None } else { self.finish(rest).await };
            }
            if let Err(problem) = self.read_on().await {
                (self.ended, self.skipping) = (true, false);
                self.buffer.clear();
                self.searched = 0;
                return Some(self.refused(problem));
            }
        }
    }

    async fn read_on(&mut self) -> Result<(), Problem> {
        let piece = tokio::select! {
            biased;
            () = self.state.parts.stop.cancelled() => return Err(Problem::unavailable("the service is stopping")),
            piece = timeout(self.state.limits().body_idle, self.body.next()) => piece,
        };
        match piece {
            Ok(Some(Ok(piece))) => {
                self.buffer.extend_from_slice(&piece);
                self.make_room().await?;
            }
            Ok(None) => self.ended = true,
            Ok(Some(Err(_))) => return Err(Problem::malformed("the body broke off")),
            Err(_) => return Err(Problem::malformed("the body did not go on in time")),
        }
        Ok(())
    }

    /// Holds the sender back until there is room for what has come. Longer lines than allowed are cut, so more is never kept.
    async fn make_room(&mut self) -> Result<(), Problem> {
        let limits = self.state.limits();
        let bytes = self.buffer.len().min(limits.body_bytes_max);
        let grown = timeout(limits.body_idle, self.room.await_growth(&self.state, bytes)).await;
        grown.unwrap_or_else(|_| Err(Problem::unavailable("too many requests are being worked on")))
    }

    fn refused(&mut self, problem: Problem) -> Line {
        self.number += 1;
        Line { number: self.number, content: Err(problem) }
    }

    /// A whole line; `None` if it is blank or the rest of a refused one.
    async fn finish(&mut self, line: Bytes) -> Option<Line> {
        self.searched = 0;
        if std::mem::replace(&mut self.skipping, false) {
            return None;
        }
        self.number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let max = self.state.limits().body_bytes_max;
        let content = if line.len() > max {
            Err(Problem::new(ErrorCode::BodyTooLarge, format!("a line has at most {max} bytes")))
        } else {
            let room = self.room.split_off(line.len());
            let state = self.state.clone();
            room_for(&state, line, room).await
        };
        Some(Line { number: self.number, content })
    }
}

/// A line with the room it had in the buffer, and more if that was less than a line needs.
async fn room_for(state: &State, line: Bytes, room: Option<Upload>) -> Result<(Bytes, Upload), Problem> {
    let mut room = match room {
        Some(room) => room,
        None => state.await_upload(line.len()).await?,
    };
    room.await_growth(state, line.len()).await?;
    Ok((line, room))
}
