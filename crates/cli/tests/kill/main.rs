//! `kill -9` of `ridgeline up` in the middle of work, twenty times on one directory (D-1, D-2, A-1).
//!
//! Each time 200 scans are accepted and the process dies at a random moment with at least 50 of them undecided. After the last restart
//! every confirmation id has exactly one decision, byte-identical however often it was published, and its audit event.

#[path = "../common/oracle.rs"]
mod oracle;
mod phones;
#[path = "../common/scans.rs"]
mod scans;
mod service;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ridgeline_client::{Client, ScanState, Submitted};
use ridgeline_embedded::{Embedded, EmbeddedOptions};
use ridgeline_ports::{Clock, Entropy};
use ridgeline_runtime::{SystemClock, SystemEntropy};
use tokio::task::JoinSet;

use crate::scans::{images, scan};
use crate::service::Service;

const KILLS: usize = 20;
const SCANS: usize = 200;
const UNDECIDED_MIN: usize = 50;
/// Gateway and matcher share the CPU in turn, so about as many requests are undecided as are being submitted.
const IN_FLIGHT: usize = 150;
/// The kill comes this long after the last 202 at most; the rest of the work takes several times as long.
const MOMENT_MS_MAX: u64 = 150;
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn d1_twenty_kills_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let images = Arc::new(images());
    let mut all = Vec::new();
    let mut kills = Vec::new();
    let mut service = Service::start(dir.path()).await;
    for _ in 0..KILLS {
        let ids = submit(&service.client, &images).await;
        tokio::time::sleep(Duration::from_millis(random_below(MOMENT_MS_MAX))).await;
        service.kill();
        kills.push((SystemClock.now(), ids.clone()));
        all.extend(ids);
        service = Service::start(dir.path()).await;
        settled(&service.client, &kills.last().unwrap().1).await;
    }
    assert!(service.stop().await.success());
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), KILLS * SCANS);
    let embedded = Embedded::open(dir.path(), EmbeddedOptions::new(Arc::new(SystemClock))).unwrap();
    let seen = oracle::Seen::read(&*embedded.log(), "").await;
    let answered: BTreeSet<_> = all.into_iter().collect();
    let verdict = oracle::judge(&seen, &*embedded.log(), &embedded.store(), "", &answered).await;
    println!("{verdict}, {} changes of subjects", verdict.changes);
    assert!(
        verdict.faults().is_empty() && verdict.dead == 0,
        "{verdict}, {} dead: {:#?}",
        verdict.dead,
        verdict.faults()
    );
    assert_eq!(verdict.decisions.len(), KILLS * SCANS, "a decision that nobody asked for");
    assert!(verdict.changes > 0, "no subject was changed: it proves too little");
    for (killed_at, ids) in kills {
        let undecided = ids.iter().filter(|id| verdict.decisions[*id].decided_at > killed_at).count();
        println!("{undecided} of {SCANS} were undecided at a kill");
        assert!(undecided >= UNDECIDED_MIN, "only {undecided} were undecided at a kill: it proves too little");
    }
    embedded.shutdown().await;
}

fn random_below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    SystemEntropy.fill(&mut bytes);
    u64::from_be_bytes(bytes) % limit
}

async fn submit(client: &Client, images: &Arc<Vec<Vec<u8>>>) -> Vec<String> {
    let mut tasks = JoinSet::new();
    for lane in 0..IN_FLIGHT {
        let (client, images) = (client.clone(), images.clone());
        tasks.spawn(async move {
            let mut ids = Vec::new();
            for number in (lane..SCANS).step_by(IN_FLIGHT) {
                match client.submit(&scan(number, &images), None, None).await.unwrap() {
                    Submitted::Accepted { confirmation_id } => ids.push(confirmation_id),
                    Submitted::Decided(_) => panic!("nobody asked to wait"),
                }
            }
            ids
        });
    }
    tasks.join_all().await.concat()
}

/// Waits until every request has its decision, and reads each twice.
async fn settled(client: &Client, ids: &[String]) {
    for id in ids {
        let first = client.status(id, PATIENCE).await.unwrap();
        assert_ne!(first.status, ScanState::Accepted, "{id} was accepted and never decided");
        let again = client.status(id, Duration::ZERO).await.unwrap();
        assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&again).unwrap());
    }
}

/// The folder holds keys: it must not be open to others.
#[tokio::test(flavor = "multi_thread")]
async fn p2_key_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for name in ["api-key", "admin-key"] {
        assert_eq!(mode(&dir.path().join(name)), 0o600, "{name}");
    }
    assert!(service.stop().await.success());
}
