//! Submitting, waiting, looking up, who may see what, and Idempotency-Key.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use ridgeline_domain::{DurationMs, Operation};
use ridgeline_ports::RowKey;
use ridgeline_wire::decode;
use ridgeline_wire::row::{RequestRow, table};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::harness::{Answer, Site, answer_row, get, post, sample, stripes, verify};

async fn wait_for(site: &Site, key: &str, id: &str) -> Answer {
    site.get(key, &format!("/api/v1/scans/{id}?wait=5")).await
}

#[tokio::test]
async fn a_scan_is_accepted_durable_and_decided_later() {
    let site = Site::open().await;
    let key = site.user().await;
    let accepted = site.post_scan(&key, &verify("alice")).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    let id = accepted.id().to_owned();
    assert_eq!(accepted.json["status"], "accepted");
    assert_eq!(accepted.json["status_url"], format!("/api/v1/scans/{id}"));
    assert_eq!(accepted.headers["location"], format!("/api/v1/scans/{id}"));
    assert_eq!(id.len(), 32, "128 bits in hex");

    let row = site.memory.store().get(table::REQUESTS, &RowKey::single(&*id)).await.unwrap().unwrap();
    let lasts = row.expires_at.unwrap().since(site.now());
    assert!((6..=7).contains(&(lasts.0 / 86_400_000)), "kept for 7 days");
    let row: RequestRow = decode(&row.value).unwrap();
    assert_eq!((row.operation, row.agent.as_str()), (Operation::Verify, "gateway:test"));
    let scans = site.scans().await;
    assert_eq!((scans.len(), scans[0].request_id.to_string()), (1, id.clone()));
    assert_eq!(scans[0].valid_until.since(scans[0].captured_at), DurationMs::from_secs(60));

    let open = site.get(&key, &format!("/api/v1/scans/{id}")).await;
    assert_eq!((open.status, &open.json), (StatusCode::OK, &json!({ "confirmation_id": id, "status": "accepted" })));
    site.start_worker(Duration::ZERO).await;
    let decided = wait_for(&site, &key, &id).await;
    assert_eq!(decided.json["status"], "decided", "{}", decided.text);
    let decision = &decided.json["decision"];
    assert_eq!((&decision["outcome"], &decision["subject_id"]), (&json!("match"), &json!("alice")));
    assert_eq!((&decision["confidence"], &decision["quality"]), (&json!(88.5), &json!([77])));
    assert_eq!(decision["liveness"], json!({ "status": "not_assessed" }));
    assert!(decision["valid_until"].as_str().unwrap().ends_with('Z'));
    let again = site.get(&key, &format!("/api/v1/scans/{id}")).await;
    assert_eq!(again.text, decided.text, "the answer is the same however often it is read");
}

#[tokio::test]
async fn prefer_wait_answers_with_the_decision_or_with_202_in_time() {
    let site = Site::open().await;
    let key = site.user().await;
    let with_wait = |seconds: u32| {
        let mut request = post("/api/v1/scans", &key, &verify("alice"));
        request.headers_mut().insert("prefer", format!("wait={seconds}").parse().unwrap());
        request
    };
    let begun = Instant::now();
    let late = site.send(with_wait(1)).await;
    assert_eq!(late.status, StatusCode::ACCEPTED);
    assert!((1_000..3_000).contains(&begun.elapsed().as_millis()));
    assert!(!late.headers.contains_key("preference-applied"));

    site.start_worker(Duration::ZERO).await;
    let decided = site.send(with_wait(30)).await;
    assert_eq!(decided.status, StatusCode::OK, "{}", decided.text);
    assert_eq!(decided.headers["preference-applied"], "wait=30");
    assert_eq!(decided.json["outcome"], "match", "the body is the decision itself");
}

#[tokio::test]
async fn an_answer_whose_wake_up_got_lost_is_found_all_the_same() {
    let site = Site::open().await;
    let key = site.user().await;
    let id = site.post_scan(&key, &verify("alice")).await.id().to_owned();
    let scan = site.scans().await.pop().unwrap();
    let (store, row) = (site.memory.store(), answer_row(&scan, site.now()));
    let answer = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let value = ridgeline_wire::encode(&row).unwrap().into();
        store.insert_new(table::ANSWERS, &RowKey::single(&*id), value, None).await.unwrap();
    };
    let (found, ()) = tokio::join!(timeout(Duration::from_secs(3), wait_for(&site, &key, &id)), answer);
    assert_eq!(found.unwrap().json["status"], "decided");
}

#[tokio::test]
async fn a_stopping_service_does_not_hold_its_callers() {
    let site = Site::open().await;
    let key = site.user().await;
    let id = site.post_scan(&key, &verify("alice")).await.id().to_owned();
    site.stop.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let cut = timeout(Duration::from_secs(2), wait_for(&site, &key, &id)).await.unwrap();
    assert_eq!(cut.json["status"], "accepted");
}

#[tokio::test]
async fn every_operation_travels_and_forms_are_read_like_json() {
    let site = Site::with_worker().await;
    let key = site.user().await;
    let finger = sample(&stripes());
    for (operation, outcome) in [("enrol", "enrolled"), ("identify", "no_match"), ("extract", "extracted")] {
        let body = json!({ "operation": operation, "subject_id": "bob", "samples": [finger, finger] });
        let id = site.post_scan(&key, &body).await.id().to_owned();
        let decided = wait_for(&site, &key, &id).await;
        assert_eq!(decided.json["decision"]["outcome"], outcome, "{}", decided.text);
        assert_eq!(decided.json["decision"]["quality"], json!([77, 77]));
    }
    let body = json!({ "operation": "delete", "subject_id": "bob" });
    let id = site.post_scan(&key, &body).await.id().to_owned();
    assert_eq!(wait_for(&site, &key, &id).await.json["decision"]["outcome"], "deleted");

    let fields = [("operation", "verify"), ("subject_id", "bob"), ("dpi", "500"), ("position", "left_ring")];
    let form = site.send(multipart(&key, &fields, &[&stripes()])).await;
    assert_eq!(form.status, StatusCode::ACCEPTED, "{}", form.text);
    assert_eq!(wait_for(&site, &key, form.id()).await.json["decision"]["outcome"], "match");
}

pub(crate) fn multipart(key: &str, fields: &[(&str, &str)], samples: &[&[u8]]) -> Request<Body> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(head.as_bytes());
    }
    for sample in samples {
        let head = "--b\r\nContent-Disposition: form-data; name=\"sample\"; filename=\"f.png\"\r\n\
                    Content-Type: image/png\r\n\r\n";
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(sample);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    let request = Request::builder().method(Method::POST).uri("/api/v1/scans").header("x-api-key", key);
    request.header("content-type", "multipart/form-data; boundary=b").body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn each_operation_needs_its_permission() {
    let site = Site::open().await;
    let verifier = site.key(&["biometric:verify"]).await;
    assert_eq!(site.post_scan(&verifier, &verify("alice")).await.status, StatusCode::ACCEPTED);
    for operation in ["enrol", "identify", "extract"] {
        let body = json!({ "operation": operation, "subject_id": "a", "samples": [sample(&stripes())] });
        site.post_scan(&verifier, &body).await.is_problem(403, "RL-1302");
    }
    let deletion = json!({ "operation": "delete", "subject_id": "a" });
    site.post_scan(&verifier, &deletion).await.is_problem(403, "RL-1302");
    site.get(&verifier, "/api/v1/subjects/alice").await.is_problem(403, "RL-1302");
    site.get(&verifier, "/api/v1/tail/audit").await.is_problem(403, "RL-1302");
    assert_eq!(site.scans().await.len(), 1, "nothing refused was published");
}

#[tokio::test]
async fn anothers_request_is_not_found_unless_read_all() {
    let site = Site::with_worker().await;
    let (owner, other) = (site.user().await, site.user().await);
    let reader = site.key(&["biometric:read_all"]).await;
    let body = json!({ "operation": "extract", "samples": [sample(&stripes())] });
    let id = site.post_scan(&owner, &body).await.id().to_owned();
    let own = wait_for(&site, &owner, &id).await;
    assert_eq!(own.json["decision"]["template"], "b3BhcXVl");
    let path = format!("/api/v1/scans/{id}");
    site.get(&other, &path).await.is_problem(404, "RL-1303");
    site.get(&other, &format!("{path}?wait=1")).await.is_problem(404, "RL-1303");
    site.get(&other, &format!("{path}/events")).await.is_problem(404, "RL-1303");
    site.get(&owner, "/api/v1/scans/00000000000000000000000000000000").await.is_problem(404, "RL-1303");
    let read = site.get(&reader, &path).await;
    assert_eq!(read.json["decision"]["outcome"], "extracted");
    assert_eq!(read.json["decision"]["template"], Value::Null, "a template goes to its owner only");
}

#[tokio::test]
async fn candidates_and_the_confidence_of_a_non_match_need_analyze() {
    let site = Site::with_worker().await;
    let plain = site.key(&["biometric:identify"]).await;
    let analyst = site.key(&["biometric:identify", "biometric:analyze"]).await;
    let body = json!({ "operation": "identify", "samples": [sample(&stripes())] });
    let id = site.post_scan(&plain, &body).await.id().to_owned();
    let decision = wait_for(&site, &plain, &id).await.json["decision"].clone();
    assert_eq!((&decision["candidates"], &decision["confidence"]), (&Value::Null, &Value::Null));
    assert_eq!(decision["coverage"], json!({ "searched": 8, "total": 8, "templates": 40 }));
    let id = site.post_scan(&analyst, &body).await.id().to_owned();
    let decision = wait_for(&site, &analyst, &id).await.json["decision"].clone();
    let candidates = json!([{ "subject_id": "carol", "position": "left_thumb", "confidence": 41.5 }]);
    assert_eq!((&decision["candidates"], &decision["confidence"]), (&candidates, &json!(41.5)));
}

fn with_key(api_key: &str, idempotency_key: &str, body: &Value) -> Request<Body> {
    let mut request = post("/api/v1/scans", api_key, body);
    request.headers_mut().insert("idempotency-key", idempotency_key.parse().unwrap());
    request
}

#[tokio::test]
async fn a_repeated_request_keeps_its_first_id_and_another_one_is_refused() {
    let site = Site::open().await;
    let (key, other) = (site.user().await, site.user().await);
    let first = site.send(with_key(&key, "order 7", &verify("alice"))).await.id().to_owned();
    // Compared by fields, not by bytes: order of members, defaults and white space do not matter.
    let mut respelt = verify("alice");
    respelt["position"] = json!("unknown");
    respelt["metadata"] = json!({});
    let again = site.send(with_key(&key, "order 7", &respelt)).await;
    assert_eq!((again.status, again.id()), (StatusCode::ACCEPTED, first.as_str()));
    let scans = site.scans().await;
    assert_eq!(scans.len(), 2, "published again: the workers answer once");
    assert!(scans.iter().all(|scan| scan.request_id.to_string() == first));

    site.send(with_key(&key, "order 7", &verify("bob"))).await.is_problem(409, "RL-1202");
    let mut another = verify("alice");
    another["samples"] = json!([sample(&stripes()), sample(&stripes())]);
    site.send(with_key(&key, "order 7", &another)).await.is_problem(409, "RL-1202");
    let elsewhere = site.send(with_key(&other, "order 7", &verify("bob"))).await;
    assert_eq!(elsewhere.status, StatusCode::ACCEPTED, "the scope is the API key");

    site.start_worker(Duration::ZERO).await;
    let mut waiting = with_key(&key, "order 7", &verify("alice"));
    waiting.headers_mut().insert("prefer", "wait=5".parse().unwrap());
    let decided = site.send(waiting).await;
    assert_eq!((decided.status, decided.id()), (StatusCode::OK, first.as_str()));

    site.memory.clock().advance(DurationMs::from_days(7));
    let later = site.send(with_key(&key, "order 7", &verify("bob"))).await;
    assert_eq!(later.status, StatusCode::ACCEPTED, "kept for 7 days: {}", later.text);
    site.get(&key, &format!("/api/v1/scans/{first}")).await.is_problem(404, "RL-1303");
}

#[tokio::test]
async fn requests_racing_under_one_key_share_one_id() {
    let site = Site::open().await;
    let key = site.user().await;
    let body = verify("alice");
    let racers = (0..8).map(|_| site.send(with_key(&key, "race", &body)));
    let answers = futures::future::join_all(racers).await;
    assert!(answers.iter().all(|answer| answer.id() == answers[0].id()));
}

#[tokio::test]
async fn bad_idempotency_keys_are_refused() {
    let site = Site::open().await;
    let key = site.user().await;
    site.send(with_key(&key, &"x".repeat(256), &verify("a"))).await.is_problem(400, "RL-1001");
    site.send(with_key(&key, "", &verify("a"))).await.is_problem(400, "RL-1001");
    let mut latin = post("/api/v1/scans", &key, &verify("a"));
    latin.headers_mut().insert("idempotency-key", axum::http::HeaderValue::from_bytes(&[0xe4]).unwrap());
    site.send(latin).await.is_problem(400, "RL-1001");
    let longest = site.send(with_key(&key, &"x".repeat(255), &verify("a"))).await;
    assert_eq!(longest.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn without_the_log_callers_are_told_to_come_again_and_a_repetition_succeeds() {
    let site = Site::open().await;
    let key = site.user().await;
    site.log.down.store(true, Ordering::SeqCst);
    let refused = site.send(with_key(&key, "k", &verify("alice"))).await;
    refused.is_problem(503, "RL-5002");
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(!refused.text.contains("secret"));
    site.log.down.store(false, Ordering::SeqCst);
    let accepted = site.send(with_key(&key, "k", &verify("alice"))).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    assert_eq!(site.get(&key, &format!("/api/v1/scans/{}", accepted.id())).await.json["status"], "accepted");
}

#[tokio::test]
async fn more_bodies_or_waiters_than_there_is_room_for_are_turned_away() {
    let limits = ridgeline_gateway::GatewayLimits {
        uploads_bytes_max: 1 << 20,
        waiters_max: 1,
        ..ridgeline_gateway::GatewayLimits::default()
    };
    let site = Site::with(limits).await;
    let key = site.user().await;
    let mut large = post("/api/v1/scans", &key, &verify("a"));
    *large.body_mut() = vec![b' '; 2_000_000].into();
    site.send(large).await.is_problem(503, "RL-5002");
    let id = site.post_scan(&key, &verify("a")).await.id().to_owned();
    let path = format!("/api/v1/scans/{id}?wait=1");
    let (one, two) = tokio::join!(site.get(&key, &path), site.get(&key, &path));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
}

#[tokio::test]
async fn subjects_are_shown_without_templates_and_forgotten_through_the_pipeline() {
    let site = Site::with_worker().await;
    let key = site.key(&["biometric:read_all", "biometric:delete"]).await;
    site.get(&key, "/api/v1/subjects/alice").await.is_problem(404, "RL-1303");
    let enrolled = |deleted| ridgeline_wire::row::SubjectRow {
        subject_id: "alice".parse().unwrap(),
        version: 3,
        deleted,
        engine: "rote-1".to_owned(),
        positions: vec![ridgeline_wire::row::EnrolledPosition {
            position: ridgeline_domain::Position::RightIndex,
            quality: 81,
            templates: 2,
            enrolled_at: site.now(),
        }],
        templates: b"ciphertext".to_vec(),
        metadata: None,
        marks: vec![],
        created_at: site.now(),
        updated_at: site.now(),
    };
    let store = site.memory.store();
    let row = |deleted| ridgeline_wire::encode(&enrolled(deleted)).unwrap().into();
    store.insert_new(table::SUBJECTS, &RowKey::single("alice"), row(false), None).await.unwrap();
    store.insert_new(table::SUBJECTS, &RowKey::single("gone"), row(true), None).await.unwrap();
    let shown = site.get(&key, "/api/v1/subjects/alice").await;
    assert_eq!((&shown.json["subject_id"], &shown.json["version"]), (&json!("alice"), &json!(3)));
    assert_eq!(shown.json["positions"][0]["position"], "right_index");
    assert_eq!(shown.json["positions"][0]["quality"], 81);
    assert!(!shown.text.contains("ciphertext") && shown.json.get("templates").is_none());
    site.get(&key, "/api/v1/subjects/gone").await.is_problem(404, "RL-1303");
    for hostile in ["a%2Fb", "%00", "%ff", &"x".repeat(101), "..%2f..%2fetc"] {
        site.get(&key, &format!("/api/v1/subjects/{hostile}")).await.is_problem(400, "RL-1001");
    }
    let request = Request::builder().method(Method::DELETE).uri("/api/v1/subjects/alice").header("x-api-key", &key);
    let accepted = site.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    assert_eq!(wait_for(&site, &key, accepted.id()).await.json["decision"]["outcome"], "deleted");
    let anonymous = get("/api/v1/subjects/alice", "nobody");
    site.send(anonymous).await.is_problem(401, "RL-1301");
}
