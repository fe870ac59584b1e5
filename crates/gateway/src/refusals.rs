//! What the gateway refused, counted, and written to `audit` at a steady interval: a single line of refusals tells
//! about an attack or a broken client, and an event for each refusal would let a stranger fill the log.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use ridgeline_domain::ErrorCode;
use ridgeline_ports::NewRecord;
use ridgeline_runtime::metric;
use ridgeline_wire::message::Audit;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::gateway::Shared;
use crate::problem::Problem;

/// Refusals since they were last written.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<ErrorCode, u64>>);

impl Refusals {
    pub(crate) fn count(&self, code: ErrorCode) {
        self.add(code, 1);
    }

    fn add(&self, code: ErrorCode, count: u64) {
        *self.0.lock().entry(code).or_default() += count;
    }

    fn take(&self) -> BTreeMap<ErrorCode, u64> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// Runs until `stop`, then writes the last counts.
pub(crate) async fn run(shared: &Shared, stop: &CancellationToken) {
    let mut ticks = interval(shared.limits().refusals_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopping = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            _ = ticks.tick() => false,
        };
        write(shared).await;
        if stopping {
            return;
        }
    }
}

/// Writes what was counted; keeps it for the next time if the log is away.
async fn write(shared: &Shared) {
    let counts = shared.refusals.take();
    if counts.is_empty() {
        return;
    }
    match publish(shared, &counts).await {
        Ok(()) => metrics::counter!(metric::AUDIT_EVENTS, "role" => "gateway").increment(1),
        Err(problem) => {
            tracing::warn!(code = %problem.code(), "counts of refusals could not be written to audit yet");
            counts.into_iter().for_each(|(code, count)| shared.refusals.add(code, count));
        }
    }
}

async fn publish(shared: &Shared, counts: &BTreeMap<ErrorCode, u64>) -> Result<(), Problem> {
    let event_id = shared.parts.entropy.request_id().to_string();
    let reason: Vec<_> = counts.iter().map(|(code, count)| format!("{code}={count}")).collect();
    let actor = shared.parts.signer.agent().to_string();
    let audit = Audit {
        event_id: event_id.clone(),
        event_type: "gateway.refusals".to_owned(),
        occurred_at: shared.parts.clock.now(),
        request_id: None,
        actor: actor.clone(),
        reader: None,
        subject_id: None,
        operation: None,
        outcome: "refused".to_owned(),
        reason: Some(reason.join(" ")),
        details: None,
    };
    let headers = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", event_id.clone()),
        ("ce_type", "dev.ridgeline.audit.v1".to_owned()),
        ("ce_source", format!("/agents/{actor}")),
        ("content-type", "avro/binary".to_owned()),
    ];
    let record = NewRecord {
        topic: shared.topics.audit.clone(),
        partition: None,
        key: event_id.into(),
        value: Some(ridgeline_wire::encode(&audit)?.into()),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
    };
    shared.parts.log.publish(record).await?;
    Ok(())
}
