//! Throughput of verifications by template through the whole service over Kafka and Cassandra, against the parts it is made of.
//!
//! The parts are measured in turns with the whole, in the same process: the engine alone, the echo through the log, and the bare driver's
//! two reads, one insert and one `IF NOT EXISTS`. If they came one after the other with nothing between them, the throughput would be
//! 1 / Σ(1 / rate). The template is a minutiae record; a sealed probe, which may be used once only, is reported beside it.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::process::ExitCode;

use anyhow::Result;
use ridgeline_benches::Service;
use ridgeline_benches::driver::{Driver, Share};
use ridgeline_benches::pipe::Pipe;
use ridgeline_benches::report::{Must, Table, median};
use ridgeline_benches::sealing::Sealing;
use ridgeline_benches::stack::{Stack, on_the_stack};
use ridgeline_benches::verifying::{By, Verifying};
use ridgeline_workers::run_matcher;

const RUNS: usize = 3;
const IN_FLIGHT: usize = 64;
const CALLS: usize = 1_500;
const SUBJECTS_PER_PARTITION: usize = 4;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    on_the_stack(async |stack| measure(stack).await).await
}

async fn measure(stack: &Stack) -> Result<ExitCode> {
    let service = Service::over(stack.log(), stack.store(), stack.prefix.clone()).await?;
    let (platform, stop) = (service.platform.clone(), service.stop.clone());
    let matcher = tokio::spawn(async move { run_matcher(platform, "bench", stop).await });
    let verifying = Verifying::prepare(service.client.clone(), SUBJECTS_PER_PARTITION).await?;
    let (echo, driver) = (Pipe::start(stack).await?, Driver::prepare(stack).await?);
    let (cpu, vault) = (&service.platform.cpu, &service.platform.vault);
    let (sealing, probe) = (Sealing::new()?, verifying.sealed_probe(vault, 0)?);
    let mut rates = [const { Vec::new() }; 8];
    for run in 0..=RUNS {
        let figures = [
            verifying.time(By::Record, vault, CALLS, IN_FLIGHT).await?.per_second(),
            verifying.time(By::SealedProbe, vault, CALLS, IN_FLIGHT).await?.per_second(),
            verifying.time_engine(cpu, CALLS, 8).await?.per_second(),
            echo.time(CALLS * 8, 256).await?.per_second(),
            driver.time(CALLS, IN_FLIGHT, Share::Decision).await?.per_second(),
            driver.time(CALLS, IN_FLIGHT, Share::Whole).await?.per_second(),
            driver.time(CALLS, IN_FLIGHT, Share::SealedProbe).await?.per_second(),
            sealing.time(cpu, &probe, CALLS, 8).await?.per_second(),
        ];
        println!(
            "run {run}: by record, by probe, engine, echo, driver: share, all, all by probe, keys, a second: {figures:.0?}"
        );
        // The first run warms all of them up.
        if run > 0 {
            rates.iter_mut().zip(figures).for_each(|(rates, figure)| rates.push(figure));
        }
    }
    let [by_record, by_probe, engine, log, store, requests, probe_requests, keys] = rates.map(|rates| median(&rates));
    let parts = |store: f64| 1.0 / engine + 1.0 / log + 1.0 / store;
    let mut table = Table::default();
    table.reported("engine alone, a second", engine);
    table.reported("echo through the log, a second", log);
    table.reported("bare driver, 2 reads + insert + IF NOT EXISTS, a second", store);
    table.reported("bare driver, all requests of a verification, a second", requests);
    table.reported("bare driver, all requests of one by sealed probe, a second", probe_requests);
    table.reported("sealing, signing, verifying, opening alone, a second", keys);
    table.ratio(
        "verification by template, a second, against the parts",
        by_record,
        1.0 / parts(store),
        Must::AtLeast(0.8),
    );
    let all = 1.0 / (parts(requests) + 1.0 / keys);
    table.ratio("the same, against parts with all requests and keys", by_record, all, Must::Nothing);
    let all = 1.0 / (parts(probe_requests) + 1.0 / keys);
    table.ratio("by sealed probe, against parts with all requests and keys", by_probe, all, Must::Nothing);
    service.stop.cancel();
    matcher.await??;
    echo.stop().await;
    Ok(table.finish())
}
