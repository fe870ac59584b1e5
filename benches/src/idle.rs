//! A worker that decides nothing: what remains of a request is the way there and back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use ridgeline_client::Scan;
use ridgeline_domain::{DecidedOperation, Liveness, Modality, Operation, Outcome};
use ridgeline_ports::{NewRecord, Record, RowKey};
use ridgeline_runtime::{DeadLetters, Ending, Handler, Limits, Poison, Ports, StepError, WorkerSpec, run};
use ridgeline_wire::message::{Decision, Scan as ScanMessage};
use ridgeline_wire::row::{AnswerRow, table};
use ridgeline_wire::{Topic, decode, encode};
use ridgeline_workers::Platform;

use crate::Service;

const WAIT: Duration = Duration::from_secs(30);

/// One request over HTTP, to its decision.
///
/// # Errors
/// What the client says.
pub async fn ask(client: Arc<ridgeline_client::Client>) -> Result<()> {
    let scan = Scan::new(Operation::Delete, Some("bench".parse()?), Vec::new());
    client.decide(&scan, None, WAIT).await?;
    Ok(())
}

/// The worker that decides nothing.
struct Echo(Arc<Platform>);

/// Runs it until the service stops.
pub fn echo(service: &Service) -> impl Future<Output = ()> + use<> {
    let platform = service.platform.clone();
    let stop = service.stop.clone();
    let spec = WorkerSpec {
        role: "matcher",
        topic: Topic::Scans.name(""),
        group: ridgeline_ports::GroupId("echo".to_owned()),
        member: ridgeline_ports::MemberId("echo".to_owned()),
        limits: Limits::default(),
    };
    let ports = Ports { log: platform.log.clone(), dead: Arc::new(Nowhere), clock: platform.clock.clone() };
    async move {
        let health = platform.health.component("echo");
        let _ = run(spec, ports, Arc::new(Echo(platform)), health, stop).await;
    }
}

struct Nowhere;

#[async_trait]
impl DeadLetters for Nowhere {
    async fn bury(&self, _: &Record, poison: &Poison, _: u32) -> Result<(), StepError> {
        Err(StepError::Fatal(format!("the bench made poison: {}", poison.detail)))
    }
}

#[async_trait]
impl Handler for Echo {
    /// All requests are about one subject; the bench is about the way, not about its order.
    fn lane(&self, record: &Record) -> Bytes {
        Bytes::copy_from_slice(&record.offset.0.to_be_bytes())
    }

    async fn handle(&self, record: Arc<Record>) -> Result<Ending, StepError> {
        let fault = |what: &str| StepError::Fatal(what.to_owned());
        let value = record.value.as_ref().ok_or_else(|| fault("no value"))?;
        let scan: ScanMessage = decode(value).map_err(|error| fault(&error.to_string()))?;
        let (id, decision) =
            (scan.request_id.to_string(), encode(&decided(&scan, &record)).map_err(|e| fault(&e.to_string()))?);
        let row = AnswerRow {
            request_id: scan.request_id,
            agent: scan.agent,
            api_key: None,
            decision: decision.clone(),
            audit: Vec::new(),
            audit_key: String::new(),
            gallery_subject: None,
            gallery_version: None,
            details: None,
        };
        let row = encode(&row).map_err(|error| fault(&error.to_string()))?;
        self.0.store.insert_new(table::ANSWERS, &RowKey::single(&id), row.into(), None).await?;
        let record = NewRecord {
            topic: Topic::Decisions.name(""),
            partition: None,
            key: id.into(),
            value: Some(decision.into()),
            headers: vec![],
        };
        self.0.log.publish(record).await?;
        Ok(Ending::Done)
    }

    async fn poisoned(&self, _: Arc<Record>, _: &Poison) -> Result<(), StepError> {
        Ok(())
    }
}

fn decided(scan: &ScanMessage, record: &Record) -> Decision {
    Decision {
        confirmation_id: scan.request_id,
        operation: DecidedOperation::Scan(scan.operation),
        modality: Some(Modality::Fingerprint),
        outcome: Outcome::Deleted,
        reason: None,
        subject_id: scan.subject_id.clone(),
        agent: scan.agent.clone(),
        reader: None,
        quality: vec![],
        confidence: None,
        confidence_basis: None,
        liveness: Liveness::NotAssessed,
        coverage: None,
        engine: "none/0".to_owned(),
        gallery_version: None,
        session_requested: false,
        valid_until: scan.valid_until,
        evaluated_at: record.append_time,
        decided_at: record.append_time,
        duration_ms: 0,
    }
}
