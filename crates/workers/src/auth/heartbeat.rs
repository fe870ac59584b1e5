//! The heartbeat of `revocations`: gateways know by it that what they have read is the whole of it.

use std::sync::Arc;
use std::time::Duration;

use ridgeline_domain::Timestamp;
use ridgeline_ports::Partition;
use ridgeline_runtime::StepError;
use ridgeline_wire::Topic;
use ridgeline_wire::auth::Revocation;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Auth;
use crate::platform::Outgoing;

/// Gateways ask the store when nothing has come for a second.
const BEAT: Duration = Duration::from_millis(250);
/// Who owns it beats.
const OWNER: Partition = Partition(0);
const KIND: &str = "heartbeat";

/// Beats while the first partition of `auth.commands` is ours. Two owners for a moment do no harm.
pub(super) async fn run(auth: Arc<Auth>, stop: CancellationToken) {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if !auth.owned.lock().contains(&OWNER) {
            continue;
        }
        let sent = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            sent = beat(&auth) => sent,
        };
        match sent {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                tracing::warn!(error = %error, "the heartbeat of revocations fails; gateways ask the store instead");
                failing = true;
            }
            Err(_) => {}
        }
    }
}

/// One beat.
pub(super) async fn beat(auth: &Auth) -> Result<(), StepError> {
    let at = auth.platform.log_time.now().unwrap_or(Timestamp::from_millis(0));
    let beat = Revocation { kind: KIND.to_owned(), id: String::new(), at, reason: String::new() };
    let to = Outgoing::new(Topic::Revocations, KIND, format!("heartbeat:{}", at.millis()));
    auth.platform.publish(to, &beat).await.map(|_| ())
}
