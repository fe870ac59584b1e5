//! One probe against the partitions that can answer it.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use parking_lot::RwLock;
use ridgeline_fingerprint::Matcher;
use ridgeline_ports::{Offset, Partition, TraceContext};
use ridgeline_runtime::metric;
use ridgeline_vault::Purpose;
use ridgeline_wire::message::{Partial, PartialCandidate, Partials, Probe as ProbeMessage};
use ridgeline_wire::row::TemplateSet;
use ridgeline_wire::{Topic, decode};

use super::ROLE;
use crate::matcher::probe_aad;
use crate::platform::{Outgoing, Platform};
use crate::shard::{Hit, Prepared, Shard};

/// Pause before an answer that the log refused is offered again.
const PUBLISH_PAUSE: Duration = Duration::from_millis(200);

/// Searches and publishes one answer; offers it again until the deadline if the log refuses.
pub(super) async fn answer(
    platform: Arc<Platform>,
    member: String,
    (message, trace): (Arc<ProbeMessage>, TraceContext),
    ready: Vec<(Partition, Offset, Arc<RwLock<Shard>>)>,
) {
    let (id, deadline) = (message.request_id, message.deadline);
    let search = {
        let platform = platform.clone();
        move || searched(&platform, &message, &ready, member)
    };
    let partial = match platform.cpu.run(search).await {
        Ok(Some(partial)) => partial,
        Ok(None) | Err(_) => {
            tracing::error!(request = %id, "a probe cannot be opened or searched");
            return;
        }
    };
    let partials = Partials { request_id: id, opened: None, partial: Some(partial) };
    let shard = partials.partial.as_ref().map(|partial| partial.shard.clone()).unwrap_or_default();
    let key = id.to_string();
    let to = || Outgoing::new(Topic::Partials, &key, format!("{id}:{shard}")).traced(&trace);
    while let Err(error) = platform.publish(to(), &partials).await {
        tracing::warn!(request = %id, %error, "an answer of a shard waits for the log");
        let topic = Topic::Probes.name(&platform.prefix).to_string();
        counter!(metric::RETRIES, "topic" => topic, "role" => ROLE).increment(1);
        if platform.log_time.is_past(deadline) {
            return;
        }
        tokio::time::sleep(PUBLISH_PAUSE).await;
    }
}

fn searched(
    platform: &Platform,
    message: &ProbeMessage,
    ready: &[(Partition, Offset, Arc<RwLock<Shard>>)],
    shard: String,
) -> Option<Partial> {
    let set = platform.vault.open(Purpose::Topic, &probe_aad(message.request_id), &message.template).ok()?;
    let prepared = Prepared::new(&decode::<TemplateSet>(set.expose()).ok()?, message.filter.clone(), message.top_k);
    let mut matcher = Matcher::new();
    let mut partial =
        Partial { shard, partitions: vec![], through_offsets: vec![], compared: vec![], candidates: vec![] };
    for (partition, through, owned) in ready {
        let searched = owned.read().search(&prepared, &mut matcher);
        let number = i32::try_from(partition.0).ok()?;
        partial.partitions.push(number);
        partial.through_offsets.push(i64::try_from(through.0).ok()?);
        partial.compared.push(i64::try_from(searched.compared).ok()?);
        partial.candidates.extend(searched.hits.into_iter().map(|hit: Hit| PartialCandidate {
            subject_id: hit.subject,
            position: hit.position,
            fmr: hit.fmr.get(),
            partition: number,
            replay: hit.replay,
        }));
    }
    Some(partial)
}
