//! Measures the embedded log and store on this machine: `cargo run -p ridgeline-embedded --example measure [DIR]`.
#![expect(clippy::print_stdout, reason = "a program that prints its figures")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ridgeline_domain::DurationMs;
use ridgeline_embedded::{Embedded, EmbeddedOptions};
use ridgeline_ports::{
    Cleanup, Delivery, EventLog, NewRecord, Partition, RowKey, TableKind, TableSpec, TailStart, TopicName, TopicSpec,
};
use ridgeline_testkit::clock::TestClock;

const ROWS: TableSpec = TableSpec { name: "rows", kind: TableKind::Conditional };

#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn now() -> Instant {
    Instant::now()
}

fn record(topic: &str, number: u64, bytes: usize) -> NewRecord {
    let value = Bytes::from(vec![u8::try_from(number % 251).unwrap_or(0); bytes]);
    let key = Bytes::from(number.to_string());
    NewRecord { topic: TopicName::new(topic), partition: None, key, value: Some(value), headers: vec![] }
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, EmbeddedOptions::new(Arc::new(TestClock::running()))).expect("the directory opens")
}

fn print_latency(what: &str, mut micros: Vec<u128>) {
    micros.sort_unstable();
    let at = |part: usize| micros[(micros.len() - 1) * part / 1_000];
    println!("{what}: p50 {} µs, p99 {} µs", at(500), at(990));
}

/// Runs one call after another in `tasks` tasks for some seconds.
async fn flood<F, C>(what: &str, tasks: u64, call: C)
where
    C: Fn(u64) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let (call, start) = (Arc::new(call), now());
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let call = Arc::clone(&call);
        running.spawn(async move {
            let mut micros = Vec::new();
            while start.elapsed() < Duration::from_secs(3) {
                let begun = now();
                call((task << 32) + micros.len() as u64).await;
                micros.push(begun.elapsed().as_micros());
            }
            micros
        });
    }
    let micros = running.join_all().await.concat();
    let rate = micros.len() as f64 / start.elapsed().as_secs_f64();
    print_latency(&format!("{what}, {tasks} in flight: {rate:.0}/s"), micros);
}

async fn round_trips(log: &Arc<dyn EventLog>) {
    let mut tail = log.tail(&TopicName::new("small"), TailStart::End).await.expect("a tail");
    let mut micros = Vec::new();
    for number in 0..3_000 {
        let (begun, log) = (now(), Arc::clone(log));
        let publishing = tokio::spawn(async move { log.publish(record("small", number, 1_024)).await });
        while !matches!(tail.deliveries.recv().await, Some(Delivery::Record { .. })) {}
        micros.push(begun.elapsed().as_micros());
        publishing.await.expect("a task").expect("durable");
    }
    print_latency("publish 1 KiB → tail", micros);
}

async fn read_all(log: &Arc<dyn EventLog>) {
    let mut tail = log.tail(&TopicName::new("small"), TailStart::Beginning).await.expect("a tail");
    let (mut records, mut ends, start) = (0_u64, 0, now());
    while ends < 8 {
        match tail.deliveries.recv().await.expect("open") {
            Delivery::Record { .. } => records += 1,
            Delivery::End { .. } => ends += 1,
        }
    }
    println!("read from the beginning: {records} records, {:.0}/s", records as f64 / start.elapsed().as_secs_f64());
}

#[tokio::main]
async fn main() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = std::env::args().nth(1).map_or(temporary.path().to_owned(), Into::into);
    let embedded = open(&dir);
    let (log, store) = (embedded.log(), embedded.store());
    let cleanup = Cleanup::Delete { retention: DurationMs::from_days(7) };
    for (name, record_bytes_max) in [("small", 1 << 20), ("large", 12 << 20)] {
        let spec = TopicSpec { name: TopicName::new(name), partitions: 8, cleanup, record_bytes_max };
        log.ensure_topic(&spec).await.expect("a topic");
    }
    store.ensure_tables(&[ROWS]).await.expect("a table");

    round_trips(&log).await;
    for tasks in [1, 64, 256] {
        let log = Arc::clone(&log);
        let publish = move |number| {
            let log = Arc::clone(&log);
            async move {
                log.publish(record("small", number, 1_024)).await.expect("durable");
            }
        };
        flood("publish 1 KiB", tasks, publish).await;
    }
    for tasks in [1, 64] {
        let store = Arc::clone(&store);
        let insert = move |number: u64| {
            let store = Arc::clone(&store);
            let key = RowKey::single(format!("{tasks}-{number}"));
            async move { drop(store.insert_new(ROWS, &key, Bytes::from(vec![1; 1_024]), None).await.expect("durable")) }
        };
        flood("insert_new 1 KiB", tasks, insert).await;
    }
    let large = Arc::clone(&log);
    let publish = move |number| {
        let (log, mut record) = (Arc::clone(&large), record("large", number, 300 << 10));
        record.partition = Some(Partition(0));
        async move {
            log.publish(record).await.expect("durable");
        }
    };
    flood("publish 300 KiB", 4, publish).await;
    read_all(&log).await;
    drop((log, store));
    embedded.shutdown().await;
    let start = now();
    let embedded = open(&dir);
    println!("open again: {} ms", start.elapsed().as_millis());
    embedded.shutdown().await;
}
