//! Verification by image through the whole service, at 2 in flight, against the bare engine on as many threads in the same run.
//!
//! The engine alone: decode the PNG, extract, compare with two enrolled templates. The service does that and everything else: HTTP,
//! cropping, sealing, signing, log, opening, store, audit, decision. The ratio of times a verification must stay at most 1.2.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ridgeline_benches::verifying::images;
use ridgeline_benches::{Service, time};
use ridgeline_client::{Sample, Scan};
use ridgeline_domain::Operation;
use ridgeline_fingerprint::{Candidate, Classical, Extractor, Limits, Matcher, Probe, decode};
use ridgeline_runtime::CpuPool;
use ridgeline_workers::{run_gallery, run_matcher, run_merger};

const IMPRESSIONS: u32 = 8;
const ENROLLED: u32 = 2;
const IN_FLIGHT: usize = 2;
const CALLS: usize = 96;
const ROUNDS: usize = 5;
const WAIT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let images = Arc::new(images(IMPRESSIONS)?);
    let service = Service::start().await?;
    let (platform, stop) = (service.platform.clone(), service.stop.clone());
    let (p, s) = (platform.clone(), stop.clone());
    tokio::spawn(async move { run_matcher(p, "bench", s).await });
    let (p, s) = (platform.clone(), stop.clone());
    tokio::spawn(async move { run_gallery(p, "bench", s).await });
    tokio::spawn(run_merger_owned(platform.clone(), stop));
    for (index, all) in images.iter().enumerate() {
        let samples = all.iter().take(ENROLLED as usize).map(|png| Sample::image("png", png, Some(500))).collect();
        let scan = Scan::new(Operation::Enrol, Some(format!("s{index}").parse()?), samples);
        let decision = service.client.decide(&scan, None, WAIT).await?;
        ensure!(
            decision.outcome == ridgeline_domain::Outcome::Enrolled,
            "finger {index} was not enrolled: {:?}",
            decision.reason
        );
    }
    let mut ratios = Vec::new();
    println!("{:>6} {:>14} {:>16} {:>7}", "round", "engine ms each", "service ms each", "ratio");
    for round in 1..=ROUNDS {
        let engine = engine_alone(images.clone(), platform.cpu.clone()).await?;
        let whole = through_service(images.clone(), service.client.clone()).await?;
        ratios.push(whole / engine);
        println!("{round:>6} {engine:>14.2} {whole:>16.2} {:>7.3}", whole / engine);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.3} (at most 1.2 is asked for)", ratios.get(ROUNDS / 2).context("no rounds")?);
    service.stop.cancel();
    Ok(())
}

async fn run_merger_owned(platform: Arc<ridgeline_workers::Platform>, stop: tokio_util::sync::CancellationToken) {
    let _ = run_merger(platform, "bench", stop).await;
}

type Images = Vec<Vec<Vec<u8>>>;

fn pick(images: &Images, number: usize) -> (usize, &Vec<u8>) {
    let finger = number % images.len();
    let probes = (IMPRESSIONS - ENROLLED) as usize;
    (finger, &images[finger][ENROLLED as usize + number / images.len() % probes])
}

/// Milliseconds a verification when nothing but the engine runs, on the same pool of threads.
async fn engine_alone(images: Arc<Images>, cpu: CpuPool) -> Result<f64> {
    let extract = |png: &[u8]| {
        Ok::<_, anyhow::Error>(Classical.extract(&decode(png, None, Some(500), &Limits::default())?)?.template)
    };
    let enrolled: Vec<Vec<_>> = images
        .iter()
        .map(|all| {
            all.iter().take(ENROLLED as usize).map(|png| Ok(Candidate::new(&extract(png)?))).collect::<Result<_>>()
        })
        .collect::<Result<_>>()?;
    let enrolled = Arc::new(enrolled);
    let timed = time(CALLS, IN_FLIGHT, move |number| {
        let (images, enrolled, cpu) = (images.clone(), enrolled.clone(), cpu.clone());
        async move {
            let work = move || {
                let (finger, png) = pick(&images, number);
                let probe =
                    Probe::new(&Classical.extract(&decode(png, None, Some(500), &Limits::default())?)?.template);
                let mut matcher = Matcher::new();
                let scores: Vec<_> =
                    enrolled[finger].iter().map(|candidate| matcher.compare(&probe, candidate)).collect();
                Ok::<_, anyhow::Error>(std::hint::black_box(scores))
            };
            cpu.run(work).await??;
            Ok(())
        }
    })
    .await?;
    Ok(1_000.0 / timed.per_second())
}

/// Milliseconds a verification through HTTP and the whole pipeline.
async fn through_service(images: Arc<Images>, client: Arc<ridgeline_client::Client>) -> Result<f64> {
    let timed = time(CALLS, IN_FLIGHT, move |number| {
        let (images, client) = (images.clone(), client.clone());
        async move {
            let (finger, png) = pick(&images, number);
            let sample = Sample::image("png", png, Some(500));
            let scan = Scan::new(Operation::Verify, Some(format!("s{finger}").parse()?), vec![sample]);
            client.decide(&scan, None, WAIT).await?;
            Ok(())
        }
    })
    .await?;
    Ok(1_000.0 / timed.per_second())
}
