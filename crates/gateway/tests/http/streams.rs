//! Server-sent events and batches.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _, channel::mpsc};
use ridgeline_gateway::GatewayLimits;
use ridgeline_ports::NewRecord;
use ridgeline_wire::message::Audit;
use ridgeline_wire::{Topic, encode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{Answer, Site, decided, decision, get, sample, stripes, verify};

/// A body that is read piece by piece.
struct Reading(BodyDataStream, String);

impl Reading {
    fn of(response: Response) -> Self {
        Self(response.into_body().into_data_stream(), String::new())
    }

    /// Reads until `end` has come, and takes everything before and including it.
    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.1.find(end) {
                return self.1.drain(..at + end.len()).collect();
            }
            let piece = timeout(Duration::from_secs(5), self.0.next()).await.unwrap().expect(end).unwrap();
            self.1.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    /// One event: name, id, data.
    async fn event(&mut self) -> (String, String, Value) {
        let event = self.until("\n\n").await;
        let field = |name: &str| {
            let line = event.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {event:?}")).trim().to_owned()
        };
        (field("event:"), field("id:"), serde_json::from_str(&field("data:")).unwrap())
    }

    async fn ends(mut self) -> bool {
        timeout(Duration::from_secs(5), self.0.next()).await.unwrap().is_none()
    }
}

#[tokio::test]
async fn a_scans_events_are_accepted_then_decided_then_the_end() {
    let site = Site::open().await;
    let key = site.user().await;
    let id = site.post_scan(&key, &verify("alice")).await.id().to_owned();
    let path = format!("/api/v1/scans/{id}/events");
    let response = site.open_stream(get(&path, &key)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = Reading::of(response);
    let accepted = json!({ "confirmation_id": id, "status": "accepted" });
    assert_eq!(stream.event().await, ("accepted".to_owned(), "accepted".to_owned(), accepted));
    site.start_worker(Duration::ZERO).await;
    let (name, event_id, data) = stream.event().await;
    assert_eq!((name.as_str(), event_id.as_str()), ("decided", "decided"));
    assert_eq!((&data["status"], &data["decision"]["outcome"]), (&json!("decided"), &json!("match")));
    assert!(stream.ends().await);

    let mut again = get(&path, &key);
    again.headers_mut().insert("last-event-id", "decided".parse().unwrap());
    assert_eq!(site.send(again).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn streams_are_bounded_and_end_with_the_service() {
    let site = Site::with(GatewayLimits { streams_max: 1, ..GatewayLimits::default() }).await;
    let key = site.key(&["audit:read"]).await;
    let mut open = Reading::of(site.open_stream(get("/api/v1/tail/audit", &key)).await);
    site.get(&key, "/api/v1/tail/audit").await.is_problem(503, "RL-5002");
    site.log.publish_audit("first").await;
    assert_eq!(open.event().await.2["event_type"], "first");
    site.stop.cancel();
    assert!(open.ends().await);
}

#[tokio::test]
async fn public_topics_are_followed_from_either_end() {
    let site = Site::open().await;
    let user = site.user().await;
    let key = site.key(&["audit:read"]).await;
    site.post_scan(&user, &verify("alice")).await;
    let scan = site.scans().await.pop().unwrap();
    let publish = || async {
        let bytes = encode(&decision(&scan, site.now())).unwrap();
        use ridgeline_ports::EventLog as _;
        site.log.publish(decided(scan.request_id, bytes)).await.unwrap();
    };
    publish().await;
    let mut beginning = Reading::of(site.open_stream(get("/api/v1/tail/decisions?from=beginning", &key)).await);
    let mut end = Reading::of(site.open_stream(get("/api/v1/tail/decisions", &key)).await);
    let (name, first, data) = beginning.event().await;
    assert_eq!(
        (name.as_str(), data["outcome"].as_str(), data["agent"].as_str()),
        ("decision", Some("match"), Some("gateway:test"))
    );
    assert_eq!(data["confirmation_id"], scan.request_id.to_string());
    publish().await;
    let (_, second, _) = beginning.event().await;
    assert_ne!(first, second);
    assert_eq!(end.event().await.1, second, "only what came after it was opened");
    for bad in ["from=now", "x=1", "from"] {
        site.get(&key, &format!("/api/v1/tail/decisions?{bad}")).await.is_problem(400, "RL-1001");
    }
    site.get(&key, "/api/v1/tail/scans").await.is_problem(404, "RL-1303");
}

fn batch(key: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri("/api/v1/scans:batch").header("x-api-key", key);
    request.header("content-type", "application/x-ndjson").body(body.into()).unwrap()
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_batch_is_answered_line_by_line_in_order() {
    let site = Site::open().await;
    let key = site.key(&["biometric:verify"]).await;
    let identify = json!({ "operation": "identify", "samples": [sample(&stripes())] });
    let body = format!("{}\n\nnot json\r\n{{}}\n{identify}\n{}", verify("alice"), verify("bob"));
    let answer = site.send(batch(&key, body)).await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"]),
        (StatusCode::OK, &"application/x-ndjson".parse().unwrap())
    );
    let lines = lines(&answer);
    let summary: Vec<_> =
        lines.iter().map(|line| (line["line"].as_u64().unwrap(), line["problem"]["code"].as_str())).collect();
    let expected = [(1, None), (3, Some("RL-1001")), (4, Some("RL-1001")), (5, Some("RL-1302")), (6, None)];
    assert_eq!(summary, expected);
    assert_eq!(lines[1]["problem"]["request_id"], answer.headers["x-request-id"].to_str().unwrap());
    let mut published: Vec<_> = site.scans().await.iter().map(|scan| scan.request_id.to_string()).collect();
    let mut ids: Vec<_> =
        [&lines[0], &lines[4]].map(|line| line["confirmation_id"].as_str().unwrap().to_owned()).into();
    published.sort();
    ids.sort();
    assert_eq!(published, ids);
}

#[tokio::test]
async fn answers_come_while_the_batch_is_still_being_sent() {
    let site = Site::open().await;
    let key = site.user().await;
    let (mut sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(16);
    let mut answers = Reading::of(site.open_stream(batch(&key, Body::from_stream(receiver))).await);
    for number in 1..=3 {
        let line = verify("alice").to_string();
        let (head, rest) = line.split_at(line.len() / 2);
        sender.send(Ok(Bytes::copy_from_slice(head.as_bytes()))).await.unwrap();
        sender.send(Ok(Bytes::from(format!("{rest}\n")))).await.unwrap();
        let answer: Value = serde_json::from_str(&answers.until("\n").await).unwrap();
        assert_eq!(answer["line"], number);
        assert!(answer["confirmation_id"].is_string());
    }
    sender.send(Err(std::io::Error::other("gone"))).await.unwrap();
    let last: Value = serde_json::from_str(&answers.until("\n").await).unwrap();
    assert_eq!((&last["line"], &last["problem"]["code"]), (&json!(4), &json!("RL-1001")));
    assert!(answers.ends().await);
}

#[tokio::test]
async fn long_lines_are_refused_and_long_batches_are_not() {
    let limits = GatewayLimits { body_bytes_max: 1 << 20, uploads_bytes_max: 2 << 20, ..GatewayLimits::default() };
    let site = Site::with(limits).await;
    let key = site.user().await;
    let delete = |subject: usize| json!({ "operation": "delete", "subject_id": format!("s{subject}") }).to_string();
    let padded = |bytes: usize| format!("{}{}", delete(0), " ".repeat(bytes));
    let long = format!("{}\n{}\n{}\n", delete(1), padded(3 << 20), delete(2));
    let pieces = long.as_bytes().chunks(70_000).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)));
    let in_pieces = Body::from_stream(futures::stream::iter(pieces.collect::<Vec<_>>()));
    let in_one = format!("{}\n{}\n{}\n", delete(1), padded(3 << 20), delete(2));
    for body in [in_pieces, Body::from(in_one)] {
        let answer = site.send(batch(&key, body)).await;
        let codes: Vec<_> =
            lines(&answer).iter().map(|line| line["problem"]["code"].as_str().map(str::to_owned)).collect();
        assert_eq!(codes, [None, Some("RL-1002".to_owned()), None]);
    }
    let many = (0..12).map(|_| padded(900_000) + "\n").collect::<String>();
    let answer = site.send(batch(&key, many)).await;
    assert!(lines(&answer).iter().all(|line| line["confirmation_id"].is_string()), "held back, not refused");
    assert_eq!(lines(&answer).len(), 12);
}

#[tokio::test]
async fn a_batch_needs_its_type_and_a_key_and_reports_an_absent_log_by_line() {
    let site = Site::open().await;
    let key = site.user().await;
    site.send(batch("", "{}")).await.is_problem(401, "RL-1301");
    let mut typed = batch(&key, "{}");
    typed.headers_mut().insert("content-type", "application/json".parse().unwrap());
    site.send(typed).await.is_problem(415, "RL-1004");
    assert_eq!(site.send(batch(&key, "")).await.text, "");
    site.log.down.store(true, Ordering::SeqCst);
    let answer = site.send(batch(&key, verify("alice").to_string())).await;
    assert_eq!(lines(&answer)[0]["problem"]["code"], "RL-5002");
}

impl crate::harness::SwitchedLog {
    async fn publish_audit(&self, event_type: &str) {
        use ridgeline_ports::EventLog as _;
        let audit = Audit {
            event_id: "e".to_owned(),
            event_type: event_type.to_owned(),
            occurred_at: ridgeline_domain::Timestamp::from_millis(0),
            request_id: None,
            actor: "tester".to_owned(),
            reader: None,
            subject_id: None,
            operation: None,
            outcome: "match".to_owned(),
            reason: None,
            details: Some(b"ciphertext".to_vec()),
        };
        let (topic, value) = (Site::topic(Topic::Audit), Some(encode(&audit).unwrap().into()));
        let record = NewRecord { topic, partition: None, key: "e".into(), value, headers: vec![] };
        self.publish(record).await.unwrap();
    }
}
