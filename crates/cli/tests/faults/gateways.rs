//! Gateways that die.

use std::time::Duration;

use ridgeline_client::ScanState;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::oracle::Verdict;
use crate::place::Place;
use crate::scans;
use crate::site::Site;
use crate::traffic::{Ledger, Load, Traffic};

/// Callers that wait at the gateway that is killed.
const WAITING: usize = 50;

/// One of two gateways is killed under load; its callers get their decisions, by id, from the other.
pub(crate) async fn one_of_two_killed(place: &Place) -> Verdict {
    ridgeline_testkit::covers!("R-275");
    let mut site = Site::new(place).await;
    let (client, mut base) = site.base(&["merger", "matcher"]).await;
    let other = site.gateway("gw2").await;
    let key = base[0].api_key();
    let second = other.client(&key);
    let ledger = Ledger::default();
    Traffic::start(&site, &[client.clone(), second.clone()], &ledger, Load::of(300)).done().await;
    site.settle(&ledger).await;
    // Without a matcher all that is asked now waits.
    base.pop().unwrap().stop().await;
    let mut waiting = JoinSet::new();
    for number in 0..WAITING {
        let id = ledger.submit(&client, &scans::scan(number, &site.images)).await.expect("accepted");
        let client = client.clone();
        waiting.spawn(async move {
            let broke = client.status(&id, Duration::from_secs(30)).await.is_err();
            (id, broke)
        });
    }
    let at_both = Traffic::start(&site, &[client, second.clone()], &ledger, Load::of(200));
    sleep(Duration::from_secs(1)).await;
    base.remove(0).kill();
    let asked = waiting.join_all().await;
    let broken = asked.iter().filter(|(_, broke)| *broke).count();
    let _matcher = site.start("matcher", "matcher").await;
    let mut fetching = JoinSet::new();
    for (id, _) in asked {
        let client = second.clone();
        fetching.spawn(async move {
            let decided = async {
                loop {
                    match client.status(&id, Duration::from_secs(5)).await {
                        Ok(status) if status.status == ScanState::Accepted => {}
                        Ok(_) => return true,
                        Err(_) => sleep(Duration::from_millis(200)).await,
                    }
                }
            };
            (tokio::time::timeout(Duration::from_secs(60), decided).await.unwrap_or(false), id)
        });
    }
    let fetched = fetching.join_all().await;
    at_both.stop().await;
    let mut verdict = site.judge(&ledger).await;
    if broken != WAITING {
        verdict.fault("callers that did not wait at the killed gateway", format!("{broken} of {WAITING} did"));
    }
    for (_, id) in fetched.into_iter().filter(|(fetched, _)| !fetched) {
        verdict.fault("not to be had from the other gateway", id);
    }
    verdict
}
