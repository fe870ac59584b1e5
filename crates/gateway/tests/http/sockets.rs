//! Over a real socket: what a client sees whose request is cut, late, too large or broken, and how serving ends.

use std::net::SocketAddr;
use std::time::Duration;

use ridgeline_gateway::{ServeLimits, Tls, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Site, verify};

async fn start(site: &Site, limits: ServeLimits) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(serve(listener, site.gateway.router(), None, site.stop.clone(), limits)))
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

/// A self-signed certificate for `localhost`, and its key, as PEM files.
pub(crate) fn certificate(dir: &std::path::Path) -> (std::path::PathBuf, std::path::PathBuf) {
    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::x509::{X509, X509Name};

    let group = EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let key = openssl::pkey::PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "localhost").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
    let (cert_file, key_file) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert_file, builder.build().to_pem().unwrap()).unwrap();
    std::fs::write(&key_file, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    (cert_file, key_file)
}

#[tokio::test]
async fn with_a_certificate_only_tls_is_spoken_and_a_silent_client_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(dir.path());
    assert!(Tls::from_files(&key, &cert).is_err(), "files that are something else are refused");
    let tls = Tls::from_files(&cert, &key).unwrap();
    let site = Site::open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = ServeLimits { handshake: Duration::from_millis(300), ..ServeLimits::default() };
    let server = tokio::spawn(serve(listener, site.gateway.router(), Some(tls), site.stop.clone(), limits));

    let request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut connector = openssl::ssl::SslConnector::builder(openssl::ssl::SslMethod::tls_client()).unwrap();
    connector.set_ca_file(&cert).unwrap();
    let ssl = connector.build().configure().unwrap().into_ssl("localhost").unwrap();
    let mut stream = tokio_openssl::SslStream::new(ssl, TcpStream::connect(address).await.unwrap()).unwrap();
    std::pin::Pin::new(&mut stream).connect().await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200 "));

    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // The end may come as a reset.
    let _ = timeout(Duration::from_secs(5), plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1 2"), "plain HTTP gets no answer");
    let mut silent = TcpStream::connect(address).await.unwrap();
    let ended = timeout(Duration::from_secs(5), silent.read(&mut [0; 8])).await.unwrap();
    assert_eq!(ended.unwrap(), 0, "the handshake has its time");
    site.stop.cancel();
    timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
}
