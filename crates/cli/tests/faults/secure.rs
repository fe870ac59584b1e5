//! The same over TLS with passwords, with a schema registry, and for a long time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::oracle::Verdict;
use crate::place::Place;
use crate::site::Site;
use crate::traffic::{Ledger, Load, Traffic};

/// Every process and the oracle speak TLS and log in; or all find a schema registry's ids in front of values: the place says which.
pub(crate) async fn elsewhere(place: &Place) -> Verdict {
    let mut site = Site::new(place).await;
    let (client, _base) = site.base(&["merger", "matcher"]).await;
    let ledger = Ledger::default();
    Traffic::start(&site, &[client], &ledger, Load::of(500)).done().await;
    site.judge(&ledger).await
}

/// Minutes of steady load, far from the limit.
pub(crate) async fn soak(place: &Place) -> Verdict {
    const LASTS: Duration = Duration::from_secs(600);
    const LOOK: Duration = Duration::from_secs(5);
    let mut site = Site::new(place).await;
    let (client, base) = site.base(&["merger", "matcher"]).await;
    let ledger = Ledger::default();
    let load = Load { callers: 4, undecided_max: 8, requests: None };
    let traffic = Traffic::start(&site, &[client], &ledger, load);
    let begun = Instant::now();
    let mut memory = vec![Vec::new(); base.len()];
    while begun.elapsed() < LASTS {
        sleep(LOOK).await;
        if begun.elapsed() > LASTS / 2 {
            for (member, seen) in base.iter().zip(&mut memory) {
                seen.push(member.kilobytes("VmRSS") as f64);
            }
        }
    }
    traffic.stop().await;
    for (member, seen) in base.iter().zip(&memory) {
        let growth = slope(seen) * seen.len() as f64;
        let mean = seen.iter().sum::<f64>() / seen.len() as f64;
        crate::line(&format!("  {}: {mean:.0} kB, {:+.2} % in the last half", member.name(), 100.0 * growth / mean));
    }
    site.judge(&ledger).await
}

/// Of the line that lies closest to the values, by number.
fn slope(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let places = || (0..values.len()).map(|place| place as f64 - middle);
    let along: f64 = places().zip(values).map(|(place, value)| place * (value - mean)).sum();
    along / places().map(|place| place * place).sum::<f64>()
}
