//! Follows `decisions` and wakes those who wait.

use std::time::Duration;

use ridgeline_ports::{Delivery, LogError, TailStart};
use ridgeline_runtime::{Following, HealthState};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::gateway::Shared;

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Runs until `stop`.
pub(crate) async fn run(shared: &Shared, following: &Following, stop: &CancellationToken) {
    let health = shared.parts.health.component("gateway");
    let mut delay = RETRY_MIN;
    loop {
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            ended = follow(shared, following, || { health.healthy(); delay = RETRY_MIN; }) => ended,
        };
        let reason = ended.err().map_or_else(|| "ended".to_owned(), |error| error.to_string());
        tracing::warn!(reason, "the tail of decisions is opened again");
        health.set(HealthState::Degraded, "the tail of decisions is being opened again; decisions arrive late");
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(delay) => delay = (delay * 2).min(RETRY_MAX),
        }
    }
}

/// One tail, until it ends.
async fn follow(shared: &Shared, following: &Following, opened: impl FnOnce()) -> Result<(), LogError> {
    let mut tail = shared.parts.log.tail(&shared.topics.decisions, TailStart::End).await?;
    opened();
    while let Some(delivery) = tail.deliveries.recv().await {
        following.read(&delivery);
        let Delivery::Record { record, .. } = delivery else { continue };
        if let Some(id) = std::str::from_utf8(&record.key).ok().and_then(|key| key.parse().ok()) {
            shared.correlator.wake(id);
        }
        // And those who wait for news of what the decision is about.
        let about = record.header(ridgeline_wire::SUBJECT).and_then(|about| std::str::from_utf8(about).ok());
        if let Some(about) = about.and_then(|about| about.parse().ok()) {
            shared.correlator.wake(about);
        }
    }
    Ok(())
}
