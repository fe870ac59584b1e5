//! Requests, many at once, to one gateway or several; every 202 is remembered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ridgeline_client::{Client, Submitted};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::scans::{images, scan};

/// Before a request that was refused or cut is made again, as a new one.
const PAUSE: Duration = Duration::from_millis(100);

/// What a load has come to.
#[derive(Default)]
pub(crate) struct Ledger {
    accepted: Mutex<Vec<String>>,
    refused: AtomicUsize,
}

impl Ledger {
    /// Ids that were answered 202.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.accepted.lock().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.accepted.lock().len()
    }

    /// Requests that were answered otherwise, or not at all.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Requests that go on until told to stop.
pub(crate) struct Load {
    pub(crate) ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    /// `lanes` requests in flight, each to the clients in turn; every lane rests for `pace` after each request.
    pub(crate) fn start(clients: Vec<Client>, lanes: usize, pace: Duration) -> Self {
        let (ledger, stop) = (Arc::<Ledger>::default(), Arc::new(AtomicBool::new(false)));
        let images = Arc::new(images());
        let mut tasks = JoinSet::new();
        for lane in 0..lanes {
            let (clients, ledger, stop, images) = (clients.clone(), ledger.clone(), stop.clone(), images.clone());
            tasks.spawn(async move {
                let mut number = lane;
                while !stop.load(Ordering::Relaxed) {
                    let client = &clients[number % clients.len()];
                    match client.submit(&scan(number, &images), None, None).await {
                        Ok(Submitted::Accepted { confirmation_id }) => ledger.accepted.lock().push(confirmation_id),
                        Ok(Submitted::Decided(_)) => panic!("nobody asked to wait"),
                        Err(_) => {
                            ledger.refused.fetch_add(1, Ordering::Relaxed);
                            sleep(PAUSE).await;
                        }
                    }
                    number += lanes;
                    sleep(pace).await;
                }
            });
        }
        Self { ledger, stop, tasks }
    }

    /// Goes on until so many requests were accepted, and stops.
    pub(crate) async fn until(self, accepted: usize) -> Arc<Ledger> {
        while self.ledger.count() < accepted {
            sleep(Duration::from_millis(10)).await;
        }
        self.end().await
    }

    /// Stops; what is in flight is still counted.
    pub(crate) async fn end(mut self) -> Arc<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let distinct: BTreeSet<_> = self.ledger.accepted().into_iter().collect();
        assert_eq!(distinct.len(), self.ledger.count(), "a confirmation id was given twice");
        self.ledger
    }
}
