//! The database goes away, or its answer does. Connections go through a proxy that can be told to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ridgeline_ports::{Cas, Disposition, RowKey, StoreError, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::{CONDITIONAL, opened, support};

/// Bytes pass.
const OPEN: u8 = 0;
/// Connections are cut and refused.
const CLOSED: u8 = 1;
/// Nothing passes, and nobody is told.
const SILENT: u8 = 2;
/// The next bytes of the database are thrown away and all connections cut; then bytes pass again.
const LOSE_ONE_ANSWER: u8 = 3;

struct Proxy {
    address: String,
    mode: AtomicU8,
    changed: Notify,
}

impl Proxy {
    async fn start(upstream: String) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let proxy = Arc::new(Self { address, mode: AtomicU8::new(OPEN), changed: Notify::new() });
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (proxy, upstream) = (serving.clone(), upstream.clone());
                tokio::spawn(async move { proxy.carry(client, upstream).await });
            }
        });
        proxy
    }

    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    fn mode(&self) -> u8 {
        self.mode.load(Ordering::SeqCst)
    }

    /// Until either side ends, or all connections are cut.
    async fn carry(&self, mut client: TcpStream, upstream: String) {
        if self.mode() == CLOSED {
            return;
        }
        let Ok(mut server) = TcpStream::connect(upstream).await else { return };
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            let open = self.mode() != SILENT;
            tokio::select! {
                () = self.changed.notified() => if self.mode() == CLOSED { return },
                read = client.read(&mut up), if open => {
                    let Ok(length @ 1..) = read else { return };
                    if server.write_all(&up[..length]).await.is_err() { return }
                }
                read = server.read(&mut down), if open => {
                    let Ok(length @ 1..) = read else { return };
                    if self.mode.compare_exchange(LOSE_ONE_ANSWER, OPEN, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                        return;
                    }
                    if self.mode() == CLOSED || client.write_all(&down[..length]).await.is_err() { return }
                }
            }
        }
    }
}

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// The write was carried out, its answer lost: the row's mark proves it, and nobody else wins.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_proved_by_the_mark() {
    let Some(address) = support::address() else { return };
    let proxy = Proxy::start(address).await;
    let (cql, store) = opened(support::config(&proxy.address)).await;
    let mut proved = 0;
    for round in 0..5 {
        let key = RowKey::new("p", round.to_string());
        proxy.set(LOSE_ONE_ANSWER);
        match store.insert_new(CONDITIONAL, &key, value("mine"), None).await {
            Ok(Cas::Applied(Version(1))) => proved += 1,
            // The lost bytes were another connection's, or the write was still under way when the row was read.
            Ok(other) => panic!("not {other:?}"),
            Err(error) => assert_eq!(error.disposition(), Disposition::Retry, "{error}"),
        }
        proxy.set(OPEN);
        let there = wait_for_row(&*store, &key).await;
        let again = store.insert_new(CONDITIONAL, &key, value("other"), None).await.expect("an answer");
        assert_eq!(again, Cas::Conflict(Some(there)));
        proxy.set(LOSE_ONE_ANSWER);
        match store.replace(CONDITIONAL, &key, Version(1), value("next"), None).await {
            Ok(cas) => assert_eq!(cas, Cas::Applied(Version(2))),
            Err(error) => assert_eq!(error.disposition(), Disposition::Retry, "{error}"),
        }
        proxy.set(OPEN);
    }
    assert!(proved > 0, "no lost answer was proved");
    cql.drop_keyspace().await.expect("dropped");
}

async fn wait_for_row(store: &dyn ridgeline_ports::Store, key: &RowKey) -> ridgeline_ports::Row {
    let reading = async {
        loop {
            if let Ok(Some(row)) = store.get(CONDITIONAL, key).await {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("a row in time")
}

/// Cut off or silent, calls end by themselves with an error to retry, and the store comes back by itself.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_calls_end_and_it_comes_back_by_itself() {
    let Some(address) = support::address() else { return };
    let proxy = Proxy::start(address).await;
    let mut config = support::config(&proxy.address);
    config.request_timeout = Duration::from_secs(2);
    let (cql, store) = opened(config).await;
    let key = RowKey::new("p", "c");
    store.insert_new(CONDITIONAL, &key, value("v"), None).await.expect("an answer");
    for mode in [SILENT, CLOSED] {
        proxy.set(mode);
        // Far above the request's own limit, far below forever.
        let ended = tokio::time::timeout(Duration::from_secs(30), async {
            let read = store.get(CONDITIONAL, &key).await.map(|_| ());
            let written = store.replace(CONDITIONAL, &key, Version(9), value("w"), None).await.map(|_| ());
            [read, written]
        });
        for outcome in ended.await.expect("calls that end") {
            assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
        }
        proxy.set(OPEN);
        assert_eq!(wait_for_row(&*store, &key).await.value, value("v"));
    }
    cql.drop_keyspace().await.expect("dropped");
}
