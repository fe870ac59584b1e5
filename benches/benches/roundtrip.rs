//! Empty round trip: HTTP → gateway → `scans` → worker → `answers`, `decisions` → gateway → HTTP, at 1, 64 and 256 in flight.
//!
//! The baseline, in the same run and on the same log, is the bare way of a record: publish, consume, publish, consume. The worker
//! decides nothing; what remains is HTTP, two rows, sealing and signing one small record, and the waiting for the answer.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use ridgeline_benches::{Service, Timed, time};
use ridgeline_client::Scan;
use ridgeline_domain::{DecidedOperation, DurationMs, Liveness, Modality, Operation, Outcome};
use ridgeline_ports::{Cleanup, Delivery, EventLog, NewRecord, Record, RowKey, TailStart, TopicName, TopicSpec};
use ridgeline_runtime::{DeadLetters, Ending, Handler, Limits, Poison, Ports, StepError, WorkerSpec, run};
use ridgeline_wire::message::{Decision, Scan as ScanMessage};
use ridgeline_wire::row::{AnswerRow, table};
use ridgeline_wire::{Topic, decode, encode};
use ridgeline_workers::Platform;
use tokio::sync::oneshot;

const WAIT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let service = Service::start().await?;
    tokio::spawn(echo(&service));
    let bare = Arc::new(Bare::start(service.log()).await?);
    println!("{:>9} {:>9} {:>9} {:>9} {:>12} {:>7}", "in flight", "what", "p50 ms", "p99 ms", "per second", "ratio");
    for (in_flight, calls) in [(1, 300), (64, 4_000), (256, 8_000)] {
        let (http, log) = (service.client.clone(), bare.clone());
        let warm = http.clone();
        time(in_flight * 2, in_flight, move |_| ask(warm.clone())).await?;
        let baseline = time(calls, in_flight, move |number| {
            let log = log.clone();
            async move { log.round(number).await }
        })
        .await?;
        let whole = time(calls, in_flight, move |_| ask(http.clone())).await?;
        row(in_flight, "bare log", &baseline, None);
        row(in_flight, "gateway", &whole, Some(baseline.per_second() / whole.per_second()));
    }
    service.stop.cancel();
    Ok(())
}

fn row(in_flight: usize, what: &str, timed: &Timed, ratio: Option<f64>) {
    let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    let (p50, p99) = (timed.percentile_ms(0.5), timed.percentile_ms(0.99));
    println!("{in_flight:>9} {what:>9} {p50:>9.2} {p99:>9.2} {:>12.0} {ratio:>7}", timed.per_second());
}

async fn ask(client: Arc<ridgeline_client::Client>) -> Result<()> {
    let scan = Scan::new(Operation::Delete, Some("bench".parse()?), Vec::new());
    client.decide(&scan, None, WAIT).await?;
    Ok(())
}

/// The worker that decides nothing.
struct Echo(Arc<Platform>);

fn echo(service: &Service) -> impl Future<Output = ()> + use<> {
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

/// The same way without gateway, store and schemas.
struct Bare {
    log: Arc<dyn EventLog>,
    there: TopicName,
    waiting: Arc<Mutex<HashMap<Bytes, oneshot::Sender<()>>>>,
}

impl Bare {
    async fn start(log: Arc<dyn EventLog>) -> Result<Self> {
        let (there, back) = (TopicName::new("bench.there"), TopicName::new("bench.back"));
        for name in [&there, &back] {
            let cleanup = Cleanup::Delete { retention: DurationMs::from_days(1) };
            log.ensure_topic(&TopicSpec { name: name.clone(), partitions: 8, cleanup, record_bytes_max: 1 << 20 })
                .await?;
        }
        let waiting: Arc<Mutex<HashMap<Bytes, oneshot::Sender<()>>>> = Arc::default();
        let mut forth = log.tail(&there, TailStart::End).await?;
        let mut home = log.tail(&back, TailStart::End).await?;
        let (answering, woken) = (log.clone(), waiting.clone());
        tokio::spawn(async move {
            while let Some(delivery) = forth.deliveries.recv().await {
                if let Delivery::Record { record, .. } = delivery {
                    let (log, topic) = (answering.clone(), back.clone());
                    tokio::spawn(async move {
                        log.publish(NewRecord {
                            topic,
                            partition: None,
                            key: record.key,
                            value: record.value,
                            headers: vec![],
                        })
                        .await
                    });
                }
            }
        });
        tokio::spawn(async move {
            while let Some(delivery) = home.deliveries.recv().await {
                if let Delivery::Record { record, .. } = delivery
                    && let Some(sender) = woken.lock().remove(&record.key)
                {
                    let _ = sender.send(());
                }
            }
        });
        Ok(Self { log, there, waiting })
    }

    async fn round(&self, number: usize) -> Result<()> {
        let key = Bytes::from(format!("{:p}-{number}-{:?}", self, tokio::time::Instant::now()));
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(key.clone(), sender);
        let value = Some(Bytes::from_static(&[7; 1_024]));
        self.log.publish(NewRecord { topic: self.there.clone(), partition: None, key, value, headers: vec![] }).await?;
        tokio::time::timeout(WAIT, receiver).await?.context("the echo went away")
    }
}
