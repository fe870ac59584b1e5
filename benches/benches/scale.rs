//! Two matchers against one, as processes of their own, with work that is bound by extraction: verifications by image.
//!
//! On as many processors as one matcher uses already a second one cannot shorten the wall time; what it must not do is cost. So the figure
//! is decisions per CPU second of the matchers, and how evenly the decisions fall on the two.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use ridgeline_benches::report::{Must, Table, median};
use ridgeline_benches::site::{Role, Site};
use ridgeline_benches::stack::{Stack, on_the_stack};
use ridgeline_benches::verifying::Verifying;
use tokio::time::{Instant, sleep};

const RUNS: usize = 3;
const CALLS: usize = 384;
const IN_FLIGHT: usize = 16;
const DECISIONS: &str = "ridgeline_decisions_total";
/// A member that joins has its partitions within the session timeout and some revocations.
const JOIN_MAX: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<ExitCode> {
    on_the_stack(async |stack| measure(stack).await).await
}

async fn measure(stack: &Stack) -> Result<ExitCode> {
    let site = Site::prepare(stack)?;
    let (gateway, first) = (site.start("gateway", "gw")?, site.start("matcher", "first")?);
    let verifying = Verifying::prepare(site.client(&gateway)?, 4).await?;
    verifying.time_images(CALLS / 4, IN_FLIGHT).await?;
    let mut rates = [Vec::new(), Vec::new()];
    let (mut walls, mut shares) = (Vec::new(), Vec::new());
    for run in 1..=RUNS {
        let alone = [&first];
        let one = measured(&verifying, &alone).await?;
        let second = site.start("matcher", &format!("second-{run}"))?;
        until_share(&verifying, &second, 0.375).await?;
        let two = measured(&verifying, &[&first, &second]).await?;
        let share = two.decided.last().copied().unwrap_or(0.0) / two.decided.iter().sum::<f64>();
        println!(
            "run {run}: decisions a CPU second {:.2} and {:.2}, wall {:.1} and {:.1} s, the second's share {share:.3}",
            one.per_cpu_second, two.per_cpu_second, one.wall, two.wall
        );
        rates[0].push(one.per_cpu_second);
        rates[1].push(two.per_cpu_second);
        walls.push(two.wall / one.wall);
        shares.push(share);
        drop(second);
        // Killed: the group goes on without it when its session of 10 s is over, and until then its partitions wait with their records.
        sleep(Duration::from_secs(11)).await;
        until_share(&verifying, &first, 1.0).await?;
    }
    let [one, two] = rates.map(|rates| median(&rates));
    let mut table = Table::default();
    table.ratio("decisions a matcher CPU second, two against one", two, one, Must::AtLeast(0.9));
    table.judged("share of the second matcher", median(&shares), Must::Between(0.4, 0.6));
    table.judged("wall time, two against one", median(&walls), Must::Nothing);
    Ok(table.finish())
}

struct Measured {
    per_cpu_second: f64,
    wall: f64,
    /// Decisions of each matcher.
    decided: Vec<f64>,
}

async fn measured(verifying: &Arc<Verifying>, matchers: &[&Role]) -> Result<Measured> {
    let look = || -> Result<Vec<(f64, f64)>> {
        matchers.iter().map(|matcher| Ok((matcher.cpu_seconds()?, matcher.metric(DECISIONS)?))).collect()
    };
    let before = look()?;
    let timed = verifying.time_images(CALLS, IN_FLIGHT).await?;
    let after = look()?;
    let cpu: f64 = before.iter().zip(&after).map(|(before, after)| after.0 - before.0).sum();
    let decided: Vec<f64> = before.iter().zip(&after).map(|(before, after)| after.1 - before.1).collect();
    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    let calls = CALLS as f64;
    Ok(Measured { per_cpu_second: calls / cpu, wall: calls / timed.per_second(), decided })
}

/// Decisions of a round of work that is done to see who does it.
const ROUND: usize = 96;

/// Works in rounds until the matcher decides this share of one.
async fn until_share(verifying: &Arc<Verifying>, matcher: &Role, share: f64) -> Result<()> {
    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    let least = ROUND as f64 * share;
    let until = Instant::now() + JOIN_MAX;
    while Instant::now() < until {
        let before = matcher.metric(DECISIONS)?;
        verifying.time_images(ROUND, IN_FLIGHT).await?;
        if matcher.metric(DECISIONS)? - before >= least {
            return Ok(());
        }
    }
    bail!("a matcher did not come to {share} of the decisions in {JOIN_MAX:?}")
}
