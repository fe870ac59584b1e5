//! Brokers, stores and lines between them that fail. Each scenario has services of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ridgeline_testkit::proxy::{Direction, FaultProxy};
use tokio::time::{Instant, sleep};

use crate::member::Member;
use crate::oracle::Verdict;
use crate::place::{Door, Place, Service};
use crate::site::Site;
use crate::traffic::{Ledger, Load, Traffic};
use crate::{outage, within};

/// A capture agent over a folder, as a process that publishes to Kafka itself.
struct Reader {
    member: Member,
    folder: PathBuf,
}

impl Reader {
    /// Starts it and makes it known. `brokers`: where it finds Kafka, if not where the others do.
    async fn start(site: &Site, name: &str, brokers: Option<&str>) -> Self {
        let folder = site.dir.path().join(format!("{name}-folder"));
        std::fs::create_dir(&folder).unwrap();
        let mut command = site.command("agent", name);
        // An agent serves nothing.
        command = without_listeners(command);
        command.args(["--id", name, "--operation", "verify", "--folder"]).arg(&folder);
        command.arg("--sealing-key").arg(site.dir.path().join("gw1/sealing-key"));
        if let Some(brokers) = brokers {
            command.args(["--kafka", brokers]);
        }
        let member = site.spawn(command, name);
        let key = member.says("public key", "\n").await;
        site.introduce(name, &key);
        Self { member, folder }
    }

    /// Puts images into the folder, each under a name of its own.
    fn place(&self, site: &Site, from: usize, count: usize) {
        for number in from..from + count {
            let image = &site.images[number % site.images.len()];
            // Complete when it appears.
            let aside = self.folder.with_extension(format!("{number}"));
            std::fs::write(&aside, image).unwrap();
            std::fs::rename(aside, self.folder.join(format!("s{}.{number}.png", number % 10))).unwrap();
        }
    }

    /// Images that are safe in the spool.
    fn spooled(&self) -> usize {
        files(&self.folder.join("done"))
    }
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn without_listeners(command: std::process::Command) -> std::process::Command {
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut bare = std::process::Command::new(command.get_program());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bare.env(name, value),
            None => bare.env_remove(name),
        };
    }
    let listeners = ["--listen", "--admin-listen", "127.0.0.1:0"];
    bare.args(arguments.iter().filter(|argument| !listeners.iter().any(|listener| argument == listener)));
    bare
}

async fn decisions_go_on(site: &Site) {
    let decided = site.watcher.decided();
    within(Duration::from_secs(120), "decisions go on", async || site.watcher.decided() > decided + 50).await;
}

/// Callers must have heard of an outage, or there was none.
fn told_so(verdict: &mut Verdict, refused: usize, ledger: &Ledger) {
    if refused == 0 {
        verdict.fault("no caller was told 503 during the outage", "");
    }
    crate::line(&format!("  {refused} callers were told 503, {} got no answer", ledger.broken()));
}

/// The broker is killed and comes back: agents spool, the gateway answers 503 or keeps what it promised, all is done after.
pub(crate) async fn broker_away(place: &Place) -> Verdict {
    const SCANS: usize = 40;
    let broker = Service::start("kafka", None);
    let place = Place { kafka: Door::of(&broker), ..place.clone() };
    let mut site = Site::new(&place).await;
    let (client, _base) = site.base(&["merger", "matcher"]).await;
    let reader = Reader::start(&site, "reader-1", None).await;
    let ledger = Ledger::default();
    let traffic = Traffic::start(&site, std::slice::from_ref(&client), &ledger, Load::STEADY);
    reader.place(&site, 0, SCANS / 2);
    sleep(Duration::from_secs(5)).await;
    broker.kill();
    let (away, before) = (Instant::now(), ledger.busy());
    reader.place(&site, SCANS / 2, SCANS / 2);
    within(outage(), "the agent spools while the broker is away", async || reader.spooled() == SCANS).await;
    sleep(outage().saturating_sub(away.elapsed())).await;
    let refused = ledger.busy() - before;
    broker.restart();
    decisions_go_on(&site).await;
    traffic.stop().await;
    let by_reader =
        |verdict: &Verdict| verdict.decisions.values().filter(|decision| decision.agent.as_str() == "reader-1").count();
    let mut verdict = site
        .judge_until(&ledger, async |site| {
            crate::oracle::Seen::read(&*site.log, &site.prefix).await.scans.len() >= ledger.accepted().len() + SCANS
        })
        .await;
    if by_reader(&verdict) != SCANS {
        let found = format!("{} of {SCANS}", by_reader(&verdict));
        verdict.fault("scans of the agent that were not decided", found);
    }
    told_so(&mut verdict, refused, &ledger);
    verdict
}

/// The store is killed and comes back: nothing is lost, nothing is buried.
pub(crate) async fn store_away(place: &Place) -> Verdict {
    let node = Service::start("cassandra", None);
    let place = Place { cql: Door::of(&node), ..place.clone() };
    let mut site = Site::new(&place).await;
    let (client, _base) = site.base(&["merger", "matcher"]).await;
    let ledger = Ledger::default();
    let traffic = Traffic::start(&site, &[client], &ledger, Load::STEADY);
    sleep(Duration::from_secs(5)).await;
    node.kill();
    let before = ledger.busy();
    sleep(outage()).await;
    let refused = ledger.busy() - before;
    node.restart();
    decisions_go_on(&site).await;
    traffic.stop().await;
    let mut verdict = site.judge(&ledger).await;
    if verdict.dead > 0 {
        let dead = verdict.dead.to_string();
        verdict.fault("D-3, a store that is away is no poison", dead);
    }
    told_so(&mut verdict, refused, &ledger);
    verdict
}

/// A log that takes records slowly: the agent's spool is on disk, its memory stays what it is with a quick log.
pub(crate) async fn slow_consumer(place: &Place) -> Verdict {
    const FEW: usize = 20;
    const MANY: usize = 600;
    const BYTES_PER_SECOND: u32 = 200_000;
    let proxy = FaultProxy::listen().await.unwrap();
    let broker = Service::start("kafka", Some(proxy.address().to_string()));
    proxy.forward_to(broker.behind_the_detour().parse().unwrap());
    let place = Place { kafka: Door::of(&broker), ..place.clone() };
    let mut site = Site::new(&place).await;
    let (client, _base) = site.base(&["merger", "matcher"]).await;
    let ledger = Ledger::default();
    Traffic::start(&site, &[client], &ledger, Load::of(100)).done().await;
    let brokers = proxy.address().to_string();
    let quick = Reader::start(&site, "reader-quick", Some(&brokers)).await;
    quick.place(&site, 0, FEW);
    let all_arrived = async |total: usize| {
        within(Duration::from_secs(300), "the agent's scans arrive", async || {
            let ends = site.log.end_offsets(&ridgeline_wire::Topic::Scans.name(&site.prefix)).await.unwrap();
            ends.iter().map(|end| end.0).sum::<u64>() >= (ledger.accepted().len() + total) as u64
        })
        .await;
    };
    all_arrived(FEW).await;
    let quick_peak = quick.member.kilobytes("VmHWM");
    drop(quick);
    proxy.throttle(Direction::Up, Some(BYTES_PER_SECOND));
    let slow = Reader::start(&site, "reader-slow", Some(&brokers)).await;
    slow.place(&site, 0, MANY);
    within(Duration::from_secs(120), "all are spooled", async || slow.spooled() == MANY).await;
    let decided = site.watcher.decided();
    proxy.throttle(Direction::Up, None);
    all_arrived(FEW + MANY).await;
    let slow_peak = slow.member.kilobytes("VmHWM");
    let behind = (ledger.accepted().len() + FEW + MANY).saturating_sub(decided);
    crate::line(&format!(
        "  most memory of an agent: {quick_peak} kB with {FEW} scans and a quick log, {slow_peak} kB with {MANY} and a slow one; \
         {behind} were behind when all were spooled"
    ));
    let mut verdict = site.judge(&ledger).await;
    if behind < MANY / 4 {
        verdict.fault("the log was not slow: it proves too little", behind.to_string());
    }
    if slow_peak * 4 > quick_peak * 5 {
        verdict.fault("an agent whose memory grows with its spool", format!("{quick_peak} kB, {slow_peak} kB"));
    }
    verdict
}

/// A line to the broker with 200 ms of delay that is cut again and again in the middle of an answer.
pub(crate) async fn cut_mid_frame(place: &Place) -> Verdict {
    const CUTS_MIN: u64 = 10;
    let proxy = FaultProxy::listen().await.unwrap();
    let broker = Service::start("kafka", Some(proxy.address().to_string()));
    proxy.forward_to(broker.behind_the_detour().parse().unwrap());
    let place = Place { kafka: Door::of(&broker), ..place.clone() };
    let mut site = Site::new(&place).await;
    let (client, _base) = site.base(&["merger"]).await;
    let mut command = site.command("matcher", "matcher");
    command.args(["--kafka", &proxy.address().to_string()]);
    let _matcher = site.spawn(command, "matcher").ready().await;
    proxy.delay(Direction::Up, Duration::from_millis(100));
    proxy.delay(Direction::Down, Duration::from_millis(100));
    let ledger = Ledger::default();
    let traffic = Traffic::start(&site, &[client], &ledger, Load::STEADY);
    let end = Instant::now() + outage();
    let mut number = 0_u64;
    while Instant::now() < end || (proxy.cut_in_flight() < CUTS_MIN && number < 600) {
        // Somewhere in the next answer or request, at a byte of no meaning.
        let direction = if number.is_multiple_of(2) { Direction::Down } else { Direction::Up };
        proxy.cut_after(direction, 501 + number * 7_919 % 20_000);
        number += 1;
        sleep(Duration::from_secs(1)).await;
    }
    traffic.stop().await;
    let mut verdict = site.judge(&ledger).await;
    let cuts = proxy.cut_in_flight();
    crate::line(&format!("  {cuts} cuts, {} connections", proxy.connections()));
    if cuts < CUTS_MIN {
        verdict.fault("too few cuts: it proves too little", cuts.to_string());
    }
    verdict
}
