//! Over a real socket: what a client sees whose request is cut, late, too large or broken, and how serving ends.

use std::net::SocketAddr;
use std::time::Duration;

use ridgeline_gateway::{ServeLimits, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Site, verify};

async fn start(site: &Site, limits: ServeLimits) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(serve(listener, site.gateway.router(), site.stop.clone(), limits)))
}

/// Sends everything, then reads everything.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn head(key: &str, extra: &str) -> String {
    format!(
        "POST /api/v1/scans HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {key}\r\n\
         Content-Type: application/json\r\n{extra}\r\n"
    )
}

#[tokio::test]
async fn a_client_that_sends_11_mb_before_it_reads_sees_the_413() {
    let site = Site::open().await;
    let key = site.user().await;
    let (address, _server) = start(&site, ServeLimits::default()).await;
    let mut request = head(&key, "Content-Length: 11000000\r\n").into_bytes();
    request.resize(request.len() + 11_000_000, b' ');
    let answer = exchange(address, &request).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("RL-1002"), "{answer}");
    let mut chunked = head(&key, "Transfer-Encoding: chunked\r\n").into_bytes();
    for _ in 0..11 {
        chunked.extend_from_slice(b"f4240\r\n");
        chunked.resize(chunked.len() + 1_000_000, b' ');
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = exchange(address, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("RL-1002"), "{answer}");
}

#[tokio::test]
async fn broken_requests_end_their_connection_only() {
    let site = Site::open().await;
    let key = site.user().await;
    let (address, _server) = start(&site, ServeLimits::default()).await;
    for broken in ["\r\n\r\nnonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET \x01 HTTP/1.1\r\n\r\n"] {
        let answer = exchange(address, broken.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let large = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert!(exchange(address, large.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let body = verify("alice").to_string();
    let good = head(&key, &format!("Content-Length: {}\r\n", body.len())) + &body;
    assert!(exchange(address, good.as_bytes()).await.starts_with("HTTP/1.1 202 "));
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let site = Site::open().await;
    let limits = ServeLimits { header_time: Duration::from_millis(200), ..ServeLimits::default() };
    let (address, _server) = start(&site, limits).await;
    let begun = Instant::now();
    exchange(address, b"GET / HTTP/1.1\r\nHost: ").await;
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_stop_ends_waits_and_serving_without_cutting_answers_off() {
    let site = Site::open().await;
    let key = site.user().await;
    let (address, server) = start(&site, ServeLimits::default()).await;
    let body = verify("alice").to_string();
    let waiting = head(&key, &format!("Prefer: wait=30\r\nContent-Length: {}\r\n", body.len())) + &body;
    let waiting = tokio::spawn(async move { exchange(address, waiting.as_bytes()).await });
    while site.scans().await.is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
    site.stop.cancel();
    assert!(waiting.await.unwrap().starts_with("HTTP/1.1 202 "));
    timeout(Duration::from_secs(2), server).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
