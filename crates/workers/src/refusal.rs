//! Records nobody vouches for: nothing is stored under their ids, the refusal is audited.

use ridgeline_domain::ErrorCode;
use ridgeline_ports::{Record, TraceContext};
use ridgeline_runtime::StepError;
use ridgeline_wire::Topic;
use ridgeline_wire::message::Audit;

use crate::platform::{Outgoing, Platform};

/// Writes `record.refused` for the place of the record.
pub(crate) async fn audit(platform: &Platform, record: &Record, code: ErrorCode) -> Result<(), StepError> {
    let place = format!("{}-{}-{}", record.topic, record.partition.0, record.offset.0);
    let audit = Audit {
        event_id: format!("{place}:refused"),
        event_type: "record.refused".to_owned(),
        occurred_at: record.append_time,
        request_id: None,
        actor: "unverified".to_owned(),
        reader: None,
        subject_id: None,
        operation: None,
        outcome: "refused".to_owned(),
        reason: Some(code.to_string()),
        details: None,
    };
    let mut to = Outgoing::new(Topic::Audit, &place, audit.event_id.clone());
    if let Some(trace) = TraceContext::of(&record.headers) {
        to = to.traced(&trace);
    }
    platform.publish(to, &audit).await?;
    Ok(())
}
