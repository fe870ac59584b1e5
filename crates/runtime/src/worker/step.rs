//! One attempt at one piece of work: the handler, and for poison the burial. Runs as a task of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use ridgeline_domain::ErrorCode;
use ridgeline_ports::{Record, TraceContext};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::meters::Meters;
use crate::window::{Job, Task};
use crate::{DeadLetters, Ending, FailPoint, FailPoints, Handler, Poison, StepError};

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Ended(Ending),
    /// Poison: the dead letters are durable and `poisoned` has run.
    Buried(Poison),
    Retry {
        reason: String,
        /// Set if only the burial is left.
        poison: Option<Poison>,
    },
    Fatal(String),
}

/// What every attempt needs.
pub(super) struct Deps<H> {
    pub(super) handler: Arc<H>,
    pub(super) dead: Arc<dyn DeadLetters>,
    pub(super) meters: Arc<Meters>,
    pub(super) fail: FailPoints,
}

/// Makes the attempt. D-3: every path through here is done (or held), dead-lettered, tried again, or stops the process.
pub(super) async fn attempt<H: Handler>(deps: Arc<Deps<H>>, job: Job) -> Outcome {
    let span = span(deps.meters.role(), &job.task);
    attempted(deps, job).instrument(span).await
}

/// What every log line of the attempt carries.
fn span(role: &'static str, task: &Task) -> tracing::Span {
    let record = match task {
        Task::Record(record) => Some(record),
        Task::Timer { held, .. } => held.first(),
    };
    let trace = record.and_then(|record| TraceContext::of(&record.headers));
    let trace_id = trace.map(|trace| tracing::field::display(trace.trace_id()));
    let (partition, offset) = record.map(|record| (record.partition.0, record.offset.0)).unzip();
    tracing::info_span!("step", role, partition, offset, trace_id)
}

async fn attempted<H: Handler>(deps: Arc<Deps<H>>, job: Job) -> Outcome {
    let begun = Instant::now();
    let outcome = match job.poison.clone() {
        Some(poison) => bury(&deps, &job, poison).await,
        None => match guarded(&deps.meters, perform(&*deps.handler, &job.task)).await {
            Ok(ending) => {
                deps.fail.pass(FailPoint::AfterEffects);
                Outcome::Ended(ending)
            }
            Err(StepError::Retry(reason)) => Outcome::Retry { reason, poison: None },
            Err(StepError::Fatal(reason)) => Outcome::Fatal(reason),
            Err(StepError::Poison(poison)) => bury(&deps, &job, poison).await,
        },
    };
    deps.meters.step_duration.record(begun.elapsed());
    outcome
}

async fn perform<H: Handler>(handler: &H, task: &Task) -> Result<Ending, StepError> {
    match task {
        Task::Record(record) => handler.handle(record.clone()).await,
        Task::Timer { key, .. } => handler.timer(key.clone()).await,
    }
}

/// The dead letter first, then what else follows from it, then the offset may move.
async fn bury<H: Handler>(deps: &Deps<H>, job: &Job, poison: Poison) -> Outcome {
    let records: &[Arc<Record>] = match &job.task {
        Task::Record(record) => std::slice::from_ref(record),
        Task::Timer { held, .. } => held,
    };
    for record in records {
        let burial = deps.dead.bury(record, &poison, job.attempts.saturating_add(1));
        match guarded(&deps.meters, burial).await {
            Ok(()) => {}
            Err(StepError::Fatal(reason)) => return Outcome::Fatal(reason),
            Err(StepError::Retry(reason)) => return Outcome::Retry { reason, poison: Some(poison) },
            Err(StepError::Poison(refused)) => {
                let reason = format!("the dead letters refuse the record: {}", refused.detail);
                return Outcome::Retry { reason, poison: Some(poison) };
            }
        }
        match guarded(&deps.meters, deps.handler.poisoned(record.clone(), &poison)).await {
            Ok(()) => {}
            Err(StepError::Fatal(reason)) => return Outcome::Fatal(reason),
            Err(StepError::Retry(reason)) => return Outcome::Retry { reason, poison: Some(poison) },
            Err(StepError::Poison(refused)) => {
                tracing::error!(code = %refused.code, detail = refused.detail, "nothing follows from a dead letter");
            }
        }
    }
    Outcome::Buried(poison)
}

/// A panic ends its record, not the pipeline: it is poison like any other input that cannot be processed.
async fn guarded<T>(meters: &Meters, step: impl Future<Output = Result<T, StepError>>) -> Result<T, StepError> {
    // Unwind safety: what the step shares with others is behind locks and ports, and its own state dies with it.
    AssertUnwindSafe(step).catch_unwind().await.unwrap_or_else(|_| {
        meters.panics.increment(1);
        // The panic's message may hold content of the record.
        Err(StepError::poison(ErrorCode::Internal, "the step panicked"))
    })
}
