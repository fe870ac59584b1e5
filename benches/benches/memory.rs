//! Memory of a gateway: idle, and whether it grows at half load.
//!
//! `cargo bench --bench memory -- MINUTES` (default 10). Half load is half of what the same processes decide at most, measured first. The
//! slope is that of a straight line through the second half of the samples, as the share of the resident memory it adds over that half.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ridgeline_benches::report::{Must, Table};
use ridgeline_benches::site::{Role, Site};
use ridgeline_benches::stack::{Stack, on_the_stack};
use ridgeline_benches::verifying::Verifying;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

const MINUTES: f64 = 10.0;
/// An idle process has opened its subscriptions and made its first statistics by then.
const SETTLE: Duration = Duration::from_secs(20);
const SAMPLE: Duration = Duration::from_secs(2);
const MIB: f64 = 1_048_576.0;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let minutes = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(MINUTES);
    on_the_stack(async |stack| measure(stack, minutes).await).await
}

async fn measure(stack: &Stack, minutes: f64) -> Result<ExitCode> {
    let site = Site::prepare(stack)?;
    let gateway = site.start("gateway", "gw")?;
    sleep(SETTLE).await;
    let idle = gateway.resident_bytes()? / MIB;
    println!("idle gateway: {idle:.1} MiB");
    let matcher = site.start("matcher", "m")?;
    let verifying = Verifying::prepare(site.client(&gateway)?, 2).await?;
    verifying.time_images(96, 16).await?;
    let full = verifying.time_images(384, 16).await?.per_second();
    println!("{full:.1} verifications by image a second at most; {:.1} a second for {minutes} minutes", full / 2.0);
    let load = Duration::from_secs_f64(minutes * 60.0);
    let (samples, calls) = soak(&verifying, [&gateway, &matcher], full / 2.0, load).await?;
    let mut table = Table::default();
    table.judged("idle gateway, resident MiB", idle, Must::AtMost(60.0));
    for (name, at) in [("gateway", 0), ("matcher", 1)] {
        let series: Vec<(f64, f64)> = samples.iter().map(|(at_secs, rss)| (*at_secs, rss[at])).collect();
        let second_half = series.get(series.len() / 2..).context("no samples")?;
        let must = if at == 0 { Must::AtMost(0.01) } else { Must::Nothing };
        table.judged(&format!("{name}, growth over the second half, share of RSS"), growth(second_half), must);
        table.reported(&format!("{name}, resident MiB at the end"), series.last().map_or(0.0, |(_, rss)| rss / MIB));
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    table.reported("verifications while it was measured", calls as f64);
    Ok(table.finish())
}

/// Sends `rate` verifications a second, however long they take, and looks at the processes meanwhile.
async fn soak(
    verifying: &Arc<Verifying>,
    roles: [&Role; 2],
    rate: f64,
    load: Duration,
) -> Result<(Vec<(f64, [f64; 2])>, usize)> {
    let begun = Instant::now();
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = interval(SAMPLE);
    let done = Arc::new(AtomicUsize::new(0));
    let (mut samples, mut calls, mut number) = (Vec::new(), JoinSet::<Result<()>>::new(), 0);
    while begun.elapsed() < load {
        tokio::select! {
            _ = ticks.tick() => {
                ensure!(calls.len() < 256, "half of the load is more than the service keeps up with");
                let (verifying, done) = (verifying.clone(), done.clone());
                calls.spawn(async move {
                    verifying.verify_image(number).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                });
                number += 1;
            }
            _ = looks.tick() => {
                let rss = [roles[0].resident_bytes()?, roles[1].resident_bytes()?];
                samples.push((begun.elapsed().as_secs_f64(), rss));
                if samples.len() % 30 == 0 {
                    println!("{:>5.0} s: gateway {:.1} MiB, matcher {:.1} MiB", begun.elapsed().as_secs_f64(), rss[0] / MIB, rss[1] / MIB);
                }
            }
            Some(ended) = calls.join_next() => ended??,
        }
    }
    while let Some(ended) = calls.join_next().await {
        ended??;
    }
    Ok((samples, done.load(Ordering::Relaxed)))
}

/// How much a least-squares line through the samples rises from the first to the last, as a share of their mean.
fn growth(samples: &[(f64, f64)]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of samples")]
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (mean_at, mean_rss) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let covariance: f64 = samples.iter().map(|(at, rss)| (at - mean_at) * (rss - mean_rss)).sum();
    let variance: f64 = samples.iter().map(|(at, _)| (at - mean_at).powi(2)).sum();
    let span = samples.last().map_or(0.0, |last| last.0) - samples.first().map_or(0.0, |first| first.0);
    covariance / variance * span / mean_rss
}
