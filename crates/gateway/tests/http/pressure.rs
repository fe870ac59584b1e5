//! Log and store that hang: the gateway says so at once, keeps little, and what it accepted is durable.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _, channel::mpsc};
use ridgeline_gateway::GatewayLimits;
use ridgeline_ports::{Delivery, EventLog as _, TailStart, TraceContext};
use ridgeline_wire::Topic;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Answer, Site, get, post, verify};

fn limits() -> GatewayLimits {
    GatewayLimits {
        stall: Duration::from_millis(300),
        publish_time: Duration::from_secs(6),
        store_time: Duration::from_secs(6),
        ..GatewayLimits::default()
    }
}

async fn ready(site: &Site) -> u16 {
    site.send(get("/health/ready", "none")).await.status.as_u16()
}

/// Until readiness is `status`; it is told once a second.
async fn until_ready(site: &Site, status: u16) {
    let end = Instant::now() + Duration::from_secs(20);
    while ready(site).await != status {
        assert!(Instant::now() < end, "readiness never became {status}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A second batch of requests, sent while the first hangs, is refused in no time; afterwards every 202 has its record.
#[tokio::test]
async fn a_log_that_hangs_is_told_at_once_and_nothing_accepted_is_lost() {
    let site = Site::with(limits()).await;
    let key = site.user().await;
    until_ready(&site, 200).await;
    site.stall_log.set(true);
    let first: Vec<_> = (0..20)
        .map(|_| {
            let router = site.gateway.router();
            let request = post("/api/v1/scans", &key, &verify("alice"));
            tokio::spawn(async move { Answer::of(tower::ServiceExt::oneshot(router, request).await.unwrap()).await })
        })
        .collect();
    sleep(Duration::from_millis(600)).await;
    let asked = site.stall_log.calls();
    for _ in 0..50 {
        let refused = site.post_scan(&key, &verify("alice")).await;
        refused.is_problem(503, "RL-5002");
        assert!(refused.headers.contains_key("retry-after"));
    }
    assert_eq!((asked, site.stall_log.calls()), (20, 20), "refused before the log was asked");
    let batch = Request::builder().method(Method::POST).uri("/api/v1/scans:batch").header("x-api-key", &key);
    let batch = batch.header("content-type", "application/x-ndjson").body(Body::from("{}\n")).unwrap();
    site.send(batch).await.is_problem(503, "RL-5002");
    until_ready(&site, 503).await;
    for one in first {
        one.await.unwrap().is_problem(503, "RL-5002");
    }
    site.stall_log.set(false);
    until_ready(&site, 200).await;
    let mut accepted = Vec::new();
    while accepted.len() < 3 {
        let answer = site.post_scan(&key, &verify("alice")).await;
        if answer.status == 202 {
            accepted.push(answer.id().to_owned());
        }
    }
    let known: Vec<_> = site.scans().await.iter().map(|scan| scan.request_id.to_string()).collect();
    assert!(accepted.iter().all(|id| known.contains(id)), "what was answered 202 is durable");
    assert_eq!(known.len(), 3, "what hung was given up before it was appended");
}

#[tokio::test]
async fn a_store_that_hangs_is_told_at_once() {
    let site = Site::with(limits()).await;
    let key = site.user().await;
    until_ready(&site, 200).await;
    site.stall_store.set(true);
    let body = verify("alice");
    let ended = AtomicBool::new(false);
    let slow = async {
        let answer = site.post_scan(&key, &body).await;
        ended.store(true, Ordering::SeqCst);
        answer
    };
    let (slow, ()) = tokio::join!(slow, async {
        sleep(Duration::from_millis(600)).await;
        site.post_scan(&key, &verify("alice")).await.is_problem(503, "RL-5002");
        site.get(&key, "/api/v1/subjects/alice").await.is_problem(503, "RL-5002");
        assert!(!ended.load(Ordering::SeqCst), "refused while the first one still waits");
        until_ready(&site, 503).await;
    });
    slow.is_problem(503, "RL-5002");
    site.stall_store.set(false);
    until_ready(&site, 200).await;
    assert_eq!(site.post_scan(&key, &verify("alice")).await.status, 202);
}

#[tokio::test]
async fn the_number_of_requests_in_work_is_bounded() {
    let site = Site::with(GatewayLimits { requests_max: 2, ..GatewayLimits::default() }).await;
    let key = site.user().await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let (router, mut request) = (site.gateway.router(), post("/api/v1/scans", &key, &verify("alice")));
        request.headers_mut().insert("prefer", "wait=6".parse().unwrap());
        waiting.push(tokio::spawn(async move { tower::ServiceExt::oneshot(router, request).await.unwrap().status() }));
    }
    while site.scans().await.len() < 2 {
        sleep(Duration::from_millis(20)).await;
    }
    site.post_scan(&key, &verify("alice")).await.is_problem(503, "RL-5002");
    assert_eq!(ready(&site).await, 200, "health is answered all the same");
    for one in waiting {
        assert_eq!(one.await.unwrap(), 202);
    }
    assert_eq!(site.post_scan(&key, &verify("alice")).await.status, 202);
}

/// What a batch has sent of a line counts against the budget of bodies, and a batch that finds no room ends with a problem.
#[tokio::test]
async fn a_batchs_unfinished_line_counts_as_a_body() {
    let limits = GatewayLimits {
        body_bytes_max: 64 << 10,
        uploads_bytes_max: 64 << 10,
        body_idle: Duration::from_secs(4),
        ..GatewayLimits::default()
    };
    let site = Site::with(limits).await;
    let key = site.user().await;
    let open = async || {
        let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
        let request = Request::builder().method(Method::POST).uri("/api/v1/scans:batch").header("x-api-key", &key);
        let request = request.header("content-type", "application/x-ndjson").body(Body::from_stream(receiver)).unwrap();
        (sender, site.open_stream(request).await.into_body().into_data_stream())
    };
    let half = || Ok(Bytes::from(" ".repeat(40 << 10)));
    let (mut sender, mut answers) = open().await;
    sender.send(half()).await.unwrap();
    assert!(timeout(Duration::from_millis(100), answers.next()).await.is_err(), "no line yet");
    let large = json!({ "operation": "delete", "subject_id": "x".repeat(40 << 10) });
    site.post_scan(&key, &large).await.is_problem(503, "RL-5002");
    let (mut second, mut refused) = open().await;
    second.send(half()).await.unwrap();
    let line: Value =
        serde_json::from_slice(&timeout(Duration::from_secs(30), refused.next()).await.unwrap().unwrap().unwrap())
            .unwrap();
    assert!(line["problem"]["status"] == 503 || line["problem"]["status"] == 400, "{line}");
    drop((sender, answers, second, refused));
    sleep(Duration::from_millis(50)).await;
    site.post_scan(&key, &large).await.is_problem(400, "RL-1001");
}

/// The caller's trace if it is one, else a new one, on the record of `scans`.
#[tokio::test]
async fn a_scan_stays_in_its_callers_trace() {
    let site = Site::open().await;
    let key = site.user().await;
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for headers in [&[given][..], &["00-broken-01"], &[given, given], &[]] {
        let mut request = post("/api/v1/scans", &key, &verify("alice"));
        for header in headers {
            request.headers_mut().append("traceparent", header.parse().unwrap());
        }
        request.headers_mut().append("tracestate", "vendor=anything".parse().unwrap());
        assert_eq!(site.send(request).await.status, 202);
    }
    let mut tail = site.log.tail(&Site::topic(Topic::Scans), TailStart::Beginning).await.unwrap();
    let mut ids = Vec::new();
    while ids.len() < 4 {
        let Some(Delivery::Record { record, .. }) = tail.deliveries.recv().await else { continue };
        assert!(record.header("tracestate").is_none());
        ids.push(TraceContext::of(&record.headers).unwrap().trace_id());
    }
    let own = "0af7651916cd43dd8448eb211c80319c";
    assert_eq!(ids[0], own);
    assert!(ids[1..].iter().all(|id| id != own));
    assert!(ids[1] != ids[2] && ids[2] != ids[3] && ids[1] != ids[3], "each a new one");
}
