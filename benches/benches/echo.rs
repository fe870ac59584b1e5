//! The way of a record over a real Kafka: gateway → log → worker → log → gateway, against rdkafka alone, in one run.
//!
//! Ours is what the product does with the log and nothing else: a publish through the port, the worker loop with a handler that only
//! publishes, the tail, and the correlator that wakes the waiter. Neither HTTP nor store, schemas or signatures. The whole path with all of
//! these, and a verification, are reported beside it.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use ridgeline_benches::bare::Bare;
use ridgeline_benches::pipe::{self, Pipe};
use ridgeline_benches::report::{Must, Table, median};
use ridgeline_benches::stack::{Stack, on_the_stack};
use ridgeline_benches::verifying::{By, Verifying};
use ridgeline_benches::{Service, Timed};
use ridgeline_wire::Topic;
use ridgeline_workers::run_matcher;

const RUNS: usize = 5;
const SINGLE_CALLS: usize = 1_000;
const MANY: usize = 256;
const MANY_CALLS: usize = 60_000;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    on_the_stack(async |stack| measure(stack).await).await
}

async fn measure(stack: &Stack) -> Result<ExitCode> {
    let ours = Pipe::start(stack).await?;
    let there = stack.topic("bare-there", Topic::Scans).await?;
    let back = stack.topic("bare-back", Topic::Decisions).await?;
    let brokers = stack.brokers.clone();
    let bare = tokio::task::spawn_blocking(move || Bare::start(&brokers, &there, &back, pipe::payload()));
    let bare = Arc::new(bare.await??);
    let mut table = Table::default();
    let (mut single, mut many) = (Pairs::default(), Pairs::default());
    pair(&ours, &bare, SINGLE_CALLS / 5, 1).await?;
    pair(&ours, &bare, MANY_CALLS / 5, MANY).await?;
    for round in 1..=RUNS {
        single.push(round, 1, pair(&ours, &bare, SINGLE_CALLS, 1).await?);
        many.push(round, MANY, pair(&ours, &bare, MANY_CALLS, MANY).await?);
    }
    let ms = |p: f64| move |timed: &Timed| timed.percentile_ms(p);
    single.judge(&mut table, "echo, 1 in flight, p50 ms", ms(0.5), Must::AtMost(1.5));
    single.judge(&mut table, "echo, 1 in flight, p99 ms", ms(0.99), Must::AtMost(1.5));
    many.judge(&mut table, "echo, 256 in flight, records a second", Timed::per_second, Must::AtLeast(0.6));
    many.judge(&mut table, "echo, 256 in flight, p50 ms", ms(0.5), Must::Nothing);
    many.judge(&mut table, "echo, 256 in flight, p99 ms", ms(0.99), Must::Nothing);
    drop(bare);
    ours.stop().await;
    whole(stack, &mut table).await?;
    Ok(table.finish())
}

/// A verification by template through everything: HTTP, sealing, signing, log, store, engine, audit.
async fn whole(stack: &Stack, table: &mut Table) -> Result<()> {
    let service = Service::over(stack.log(), stack.store(), stack.prefix.clone()).await?;
    let (platform, stop) = (service.platform.clone(), service.stop.clone());
    let matcher = tokio::spawn(async move { run_matcher(platform, "bench", stop).await });
    let (verifying, vault) = (Verifying::prepare(service.client.clone(), 4).await?, &service.platform.vault);
    verifying.time(By::Record, vault, 100, 1).await?;
    let single = verifying.time(By::Record, vault, 500, 1).await?;
    let many = verifying.time(By::Record, vault, 4_000, 64).await?;
    table.reported("whole verification over HTTP, 1 in flight, p50 ms", single.percentile_ms(0.5));
    table.reported("whole verification over HTTP, 1 in flight, p99 ms", single.percentile_ms(0.99));
    table.reported("whole verification over HTTP, 64 in flight, a second", many.per_second());
    table.reported("whole verification over HTTP, 64 in flight, p99 ms", many.percentile_ms(0.99));
    service.stop.cancel();
    matcher.await??;
    Ok(())
}

async fn pair(ours: &Pipe, bare: &Arc<Bare>, calls: usize, in_flight: usize) -> Result<(Timed, Timed)> {
    let bare = bare.clone();
    let alone = tokio::task::spawn_blocking(move || bare.time(calls, in_flight)).await??;
    Ok((ours.time(calls, in_flight).await?, alone))
}

/// Measurements of both, run by run.
#[derive(Default)]
struct Pairs(Vec<(Timed, Timed)>);

impl Pairs {
    fn push(&mut self, round: usize, in_flight: usize, pair: (Timed, Timed)) {
        let show = |timed: &Timed| {
            let (p50, p99) = (timed.percentile_ms(0.5), timed.percentile_ms(0.99));
            format!("{p50:.3} / {p99:.3} ms, {:.0}/s", timed.per_second())
        };
        println!("run {round}, {in_flight} in flight: ours {}; bare {}", show(&pair.0), show(&pair.1));
        self.0.push(pair);
    }

    /// The median run of each side.
    fn judge(&self, table: &mut Table, what: &str, figure: impl Fn(&Timed) -> f64, must: Must) {
        let of = |side: fn(&(Timed, Timed)) -> &Timed| {
            median(&self.0.iter().map(|pair| figure(side(pair))).collect::<Vec<_>>())
        };
        table.ratio(what, of(|pair| &pair.0), of(|pair| &pair.1), must);
    }
}
