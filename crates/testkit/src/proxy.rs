//! A TCP proxy with faults: delay, little bandwidth, cuts at once or in the middle of a frame, refusals, silence.
//!
//! A client that was told the target's own address goes past it. Kafka tells its clients where to go: give the broker a listener
//! whose advertised address is the proxy's (`DETOUR` of `tests/stack/stack.sh`), and use the proxy as bootstrap address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes read at once; with [`CHUNKS_WAITING_MAX`] this bounds what a delayed connection holds.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks of one direction that wait for their delay to pass.
const CHUNKS_WAITING_MAX: usize = 256;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the target.
    Up,
    /// From the target to the client.
    Down,
}

/// What a connection meets.
#[derive(Debug, Clone, Copy, Default)]
struct Conditions {
    target: Option<SocketAddr>,
    lanes: [Lane; 2],
    refuses: bool,
    stalls: bool,
    /// Rises with each cut; a connection made before ends.
    cuts: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    delay: Duration,
    bytes_per_second: Option<u32>,
}

struct Shared {
    conditions: watch::Sender<Conditions>,
    /// Bytes of a direction until the connection that carries the last of them is cut.
    fuses: Mutex<[Option<u64>; 2]>,
    blown: AtomicU64,
    accepted: AtomicU64,
    carried: [AtomicU64; 2],
}

/// A running proxy on a free port of 127.0.0.1. Dropping it ends its connections.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl std::fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl FaultProxy {
    /// Listens. Without a target yet: a service may need the proxy's address before it has one of its own.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            conditions: watch::Sender::new(Conditions::default()),
            fuses: Mutex::default(),
            blown: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            carried: Default::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Listens in front of `target`.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn before(target: SocketAddr) -> io::Result<Self> {
        let proxy = Self::listen().await?;
        proxy.forward_to(target);
        Ok(proxy)
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where new connections go from now on; until the first call they are refused.
    pub fn forward_to(&self, target: SocketAddr) {
        self.change(|conditions| conditions.target = Some(target));
    }

    /// Holds every byte back for so long; order and bandwidth stay.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.change(|conditions| conditions.lanes[direction as usize].delay = delay);
    }

    /// Lets each connection carry no more than so many bytes a second; `None`: as many as it can.
    pub fn throttle(&self, direction: Direction, bytes_per_second: Option<u32>) {
        self.change(|conditions| conditions.lanes[direction as usize].bytes_per_second = bytes_per_second);
    }

    /// Ends every connection now.
    pub fn cut(&self) {
        self.change(|conditions| conditions.cuts += 1);
    }

    /// Lets `bytes` more bytes pass in this direction, over all connections, and ends the connection that carried the last of
    /// them: in the middle of whatever it was in. Once; a new call replaces one that has not come true.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.shared.fuses.lock()[direction as usize] = Some(bytes);
    }

    /// Whether new connections are closed as soon as they are made.
    pub fn refuse(&self, refuses: bool) {
        self.change(|conditions| conditions.refuses = refuses);
    }

    /// Whether nothing moves: connections are made and stay open, bytes wait, as when a network swallows packets.
    pub fn stall(&self, stalls: bool) {
        self.change(|conditions| conditions.stalls = stalls);
    }

    /// Connections that were accepted and not refused.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Bytes carried so far.
    #[must_use]
    pub fn carried(&self, direction: Direction) -> u64 {
        self.shared.carried[direction as usize].load(Ordering::Relaxed)
    }

    /// How often a connection was cut by [`FaultProxy::cut_after`].
    #[must_use]
    pub fn cut_in_flight(&self) -> u64 {
        self.shared.blown.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut Conditions)) {
        self.shared.conditions.send_modify(change);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn(connection(client, Arc::clone(&shared)));
                }
                // Out of descriptors, for instance: others close theirs.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

/// A connection was cut on purpose.
struct Cut;

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let mut conditions = shared.conditions.subscribe();
    let Conditions { target, refuses, cuts, .. } = *conditions.borrow_and_update();
    let Some(target) = target.filter(|_| !refuses) else { return };
    shared.accepted.fetch_add(1, Ordering::Relaxed);
    let Ok(server) = TcpStream::connect(target).await else { return };
    // Small frames must not wait for each other here; a test says how long they wait.
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = conditions.wait_for(|now| now.cuts != cuts) => {}
        _ = async {
            tokio::try_join!(
                pump(&shared, Direction::Up, from_client, to_server),
                pump(&shared, Direction::Down, from_server, to_client),
            )
        } => {}
    }
}

/// Carries one direction until its end, which is passed on.
async fn pump(shared: &Shared, direction: Direction, from: OwnedReadHalf, to: OwnedWriteHalf) -> Result<(), Cut> {
    let (queue, waiting) = mpsc::channel(CHUNKS_WAITING_MAX);
    let (read, ()) = tokio::join!(read(shared, direction, from, queue), write(shared, direction, waiting, to));
    read
}

async fn read(
    shared: &Shared,
    direction: Direction,
    mut from: OwnedReadHalf,
    queue: mpsc::Sender<(Instant, Bytes)>,
) -> Result<(), Cut> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return Ok(()) };
        let passing = shared.burn(direction, count);
        let due = Instant::now() + shared.lane(direction).delay;
        if queue.send((due, Bytes::copy_from_slice(&buffer[..passing]))).await.is_err() {
            return Ok(());
        }
        if passing < count {
            return Err(Cut);
        }
    }
}

async fn write(
    shared: &Shared,
    direction: Direction,
    mut waiting: mpsc::Receiver<(Instant, Bytes)>,
    mut to: OwnedWriteHalf,
) {
    let mut conditions = shared.conditions.subscribe();
    while let Some((due, bytes)) = waiting.recv().await {
        sleep_until(due).await;
        if let Some(limit) = shared.lane(direction).bytes_per_second {
            sleep(Duration::from_secs_f64(bytes.len() as f64 / f64::from(limit.max(1)))).await;
        }
        if conditions.wait_for(|now| !now.stalls).await.is_err() || to.write_all(&bytes).await.is_err() {
            return;
        }
        shared.carried[direction as usize].fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    // The peer may have gone already.
    let _ = to.shutdown().await;
}

impl Shared {
    fn lane(&self, direction: Direction) -> Lane {
        self.conditions.borrow().lanes[direction as usize]
    }

    /// How many of `count` bytes may still pass; fewer than `count` means that the connection ends with them.
    fn burn(&self, direction: Direction, count: usize) -> usize {
        let mut fuses = self.fuses.lock();
        let Some(left) = &mut fuses[direction as usize] else { return count };
        let bytes = count as u64;
        if *left >= bytes {
            *left -= bytes;
            return count;
        }
        let passing = usize::try_from(*left).unwrap_or(count);
        fuses[direction as usize] = None;
        self.blown.fetch_add(1, Ordering::Relaxed);
        passing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it receives.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn pair() -> (FaultProxy, TcpStream) {
        let proxy = FaultProxy::before(echo().await).await.unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        (proxy, client)
    }

    async fn exchange(client: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
        client.write_all(bytes).await?;
        let mut back = vec![0; bytes.len()];
        client.read_exact(&mut back).await?;
        Ok(back)
    }

    #[tokio::test]
    async fn carries_both_ways_and_counts() {
        let (proxy, mut client) = pair().await;
        let bytes: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let (mut from, mut to) = client.split();
        let mut back = Vec::new();
        let sent = async {
            to.write_all(&bytes).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let (read, ()) = tokio::join!(from.read_to_end(&mut back), sent);
        assert_eq!(read.unwrap(), bytes.len(), "the end of a direction is passed on");
        assert!(back == bytes);
        assert_eq!((proxy.carried(Direction::Up), proxy.carried(Direction::Down)), (100_000, 100_000));
        assert_eq!(proxy.connections(), 1);
    }

    #[tokio::test]
    async fn a_delay_holds_bytes_back_without_making_the_line_narrow() {
        let (proxy, mut client) = pair().await;
        let delay = Duration::from_millis(60);
        proxy.delay(Direction::Up, delay);
        proxy.delay(Direction::Down, delay);
        let begun = Instant::now();
        exchange(&mut client, b"x").await.unwrap();
        assert!(begun.elapsed() >= 2 * delay);
        let begun = Instant::now();
        let (mut from, mut to) = client.split();
        let mut back = vec![0; 40];
        let sent = async {
            for _ in 0..40 {
                to.write_all(b"x").await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (read, ()) = tokio::join!(from.read_exact(&mut back), sent);
        read.unwrap();
        assert!(begun.elapsed() < 40 * delay, "bytes wait together, not one after the other");
    }

    #[tokio::test]
    async fn a_narrow_line_takes_as_long_as_its_bytes_need() {
        let (proxy, mut client) = pair().await;
        proxy.throttle(Direction::Up, Some(100_000));
        let begun = Instant::now();
        exchange(&mut client, &[7; 10_000]).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_cut_ends_what_is_connected_and_nothing_else() {
        let (proxy, mut client) = pair().await;
        exchange(&mut client, b"hello").await.unwrap();
        proxy.cut();
        assert!(exchange(&mut client, b"hello").await.is_err());
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(exchange(&mut next, b"again").await.unwrap(), b"again");
    }

    #[tokio::test]
    async fn a_frame_is_cut_at_the_byte() {
        let (proxy, mut client) = pair().await;
        proxy.cut_after(Direction::Down, 7);
        client.write_all(&[1; 100]).await.unwrap();
        let mut back = Vec::new();
        // The end may come as an error, since bytes that nobody reads are lost with it.
        let _ = client.read_to_end(&mut back).await;
        assert_eq!(back, [1; 7]);
        assert_eq!(proxy.cut_in_flight(), 1);
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(exchange(&mut next, &[2; 100]).await.unwrap(), [2; 100], "once");
    }

    #[tokio::test]
    async fn refuses_new_ones_and_keeps_the_old() {
        let (proxy, mut client) = pair().await;
        exchange(&mut client, b"hello").await.unwrap();
        proxy.refuse(true);
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(exchange(&mut refused, b"x").await.is_err());
        assert_eq!(exchange(&mut client, b"still").await.unwrap(), b"still");
        proxy.refuse(false);
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(exchange(&mut next, b"again").await.unwrap(), b"again");
    }

    #[tokio::test]
    async fn a_stall_loses_nothing() {
        let (proxy, mut client) = pair().await;
        proxy.stall(true);
        let silent = tokio::time::timeout(Duration::from_millis(100), exchange(&mut client, b"hello")).await;
        assert!(silent.is_err(), "nothing comes back");
        proxy.stall(false);
        let mut back = [0; 5];
        client.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
    }
}
