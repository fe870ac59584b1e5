//! Empty round trip: HTTP → gateway → `scans` → worker → `answers`, `decisions` → gateway → HTTP, at 1, 64 and 256 in flight.
//!
//! The baseline, in the same run and on the same log, is the bare way of a record: publish, consume, publish, consume. The worker
//! decides nothing; what remains is HTTP, two rows, sealing and signing one small record, and the waiting for the answer.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use ridgeline_benches::idle::{ask, echo};
use ridgeline_benches::{Service, Timed, time};
use ridgeline_domain::DurationMs;
use ridgeline_ports::{Cleanup, Delivery, EventLog, NewRecord, TailStart, TopicName, TopicSpec};
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
