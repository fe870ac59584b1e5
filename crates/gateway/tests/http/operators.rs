//! Agents' records, keys, agents, health, metrics, documentation, schemas.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use ridgeline_domain::{Operation, Position};
use ridgeline_gateway::{GatewayLimits, SchemaSource};
use ridgeline_intake::{PreparedSample, RawSample, ScanRequest, Signer, prepare};
use ridgeline_ports::{Delivery, Entropy as _, EventLog as _, TailStart};
use ridgeline_runtime::{HealthState, SystemEntropy};
use ridgeline_vault::SigningKey;
use ridgeline_wire::message::{Audit, Scan};
use ridgeline_wire::{Topic, decode, encode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::harness::{Answer, Site, stripes, verify};

fn prepared() -> PreparedSample {
    prepare(&RawSample { format: None, bytes: stripes().into(), dpi: Some(500) }).unwrap()
}

/// A registered agent and the bytes it sends.
struct Agent {
    signer: Signer,
    key: SigningKey,
}

impl Agent {
    fn new(site: &Site, id: &str, operations: &[Operation]) -> Self {
        let key = SigningKey::generate(&SystemEntropy).unwrap();
        let id: ridgeline_domain::AgentId = id.parse().unwrap();
        site.agents.write().insert(id.clone(), key.verifying_key(), operations.iter().copied()).unwrap();
        Self { signer: Signer::new(id, key.clone(), site.sealing.clone()), key }
    }

    fn record(&self, site: &Site, operation: Operation) -> Vec<u8> {
        let request = ScanRequest {
            request_id: SystemEntropy.request_id(),
            operation,
            subject: Some("alice".parse().unwrap()),
            reader: Some("reader:1".parse().unwrap()),
            captured_at: site.now(),
            position: Position::Unknown,
            samples: if operation.needs_samples() { vec![prepared()] } else { vec![] },
            options: ridgeline_intake::ScanOptions::default(),
            metadata: std::collections::BTreeMap::new(),
            api_key: None,
        };
        let record = self.signer.scan_record(Site::topic(Topic::Scans), &request, &SystemEntropy).unwrap();
        record.value.unwrap().to_vec()
    }
}

async fn hand_in(site: &Site, bytes: impl Into<Body>) -> Answer {
    let request = Request::builder().method(Method::POST).uri("/api/v1/agent/records");
    site.send(request.header("content-type", "avro/binary").body(bytes.into()).unwrap()).await
}

#[tokio::test]
async fn an_agents_record_is_appended_as_it_is_and_may_come_twice() {
    let site = Site::with_worker().await;
    let agent = Agent::new(&site, "door-1", &[Operation::Verify]);
    let bytes = agent.record(&site, Operation::Verify);
    let first = hand_in(&site, bytes.clone()).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    let again = hand_in(&site, bytes.clone()).await;
    assert_eq!((again.status, again.id()), (StatusCode::OK, first.id()));
    let scans = site.scans().await;
    assert_eq!(scans.len(), 2);
    assert!(encode(&scans[0]).unwrap() == bytes, "byte for byte");
    let (user, reader) = (site.user().await, site.key(&["biometric:read_all"]).await);
    let path = format!("/api/v1/scans/{}?wait=5", first.id());
    site.get(&user, &path).await.is_problem(404, "RL-1303");
    assert_eq!(site.get(&reader, &path).await.json["decision"]["outcome"], "match");
}

#[tokio::test]
async fn records_that_are_not_in_order_are_refused_with_their_reason() {
    let site = Site::open().await;
    let agent = Agent::new(&site, "door-1", &[Operation::Verify]);
    let bytes = agent.record(&site, Operation::Verify);
    let changed = |change: &dyn Fn(&mut Scan)| {
        let mut scan: Scan = decode(&bytes).unwrap();
        change(&mut scan);
        encode(&scan).unwrap()
    };
    let mut unknown_schema = bytes.clone();
    unknown_schema[4] ^= 0x40;
    let stranger = Signer::new("door-2".parse().unwrap(), agent.key.clone(), site.sealing.clone());
    let stranger = Agent { signer: stranger, key: agent.key.clone() }.record(&site, Operation::Verify);
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("no Avro", b"hello".to_vec(), 422, "RL-3001"),
        ("cut short", bytes[..bytes.len() - 1].to_vec(), 422, "RL-3001"),
        ("trailing bytes", [bytes.clone(), vec![0]].concat(), 422, "RL-3001"),
        ("unknown schema", unknown_schema, 422, "RL-3002"),
        ("no signature", changed(&|scan| scan.agent_signature.clear()), 422, "RL-3003"),
        ("moved to another request", changed(&|scan| scan.request_id = SystemEntropy.request_id()), 422, "RL-3003"),
        ("of another subject", changed(&|scan| scan.subject_id = Some("bob".parse().unwrap())), 422, "RL-3003"),
        ("another sample", changed(&|scan| scan.samples[0].sealed[70] ^= 1), 422, "RL-3003"),
        ("unknown agent", stranger, 422, "RL-3004"),
        ("not granted", agent.record(&site, Operation::Enrol), 422, "RL-3005"),
        ("not granted, no samples", agent.record(&site, Operation::Delete), 422, "RL-3005"),
        ("no samples", changed(&|scan| scan.samples.clear()), 422, "RL-3008"),
        ("no subject", changed(&|scan| scan.subject_id = None), 422, "RL-3008"),
        ("empty", vec![], 400, "RL-1001"),
        ("too large", vec![0; (12 << 20) + 1], 413, "RL-3007"),
    ];
    for (what, bytes, status, code) in cases {
        let refused = hand_in(&site, bytes).await;
        assert_eq!(refused.json["code"], code, "{what}: {}", refused.text);
        refused.is_problem(status, code);
    }
    assert!(site.scans().await.is_empty());
    assert_eq!(hand_in(&site, bytes).await.status, StatusCode::OK, "and the next good one is taken");
}

#[tokio::test]
async fn an_agent_cannot_take_over_a_callers_request() {
    let site = Site::open().await;
    let key = site.user().await;
    let id = site.post_scan(&key, &verify("alice")).await.id().to_owned();
    let agent = Agent::new(&site, "door-1", &[Operation::Verify]);
    let request = ScanRequest {
        request_id: id.parse().unwrap(),
        operation: Operation::Verify,
        subject: Some("alice".parse().unwrap()),
        reader: None,
        captured_at: site.now(),
        position: Position::Unknown,
        samples: vec![prepared()],
        options: ridgeline_intake::ScanOptions::default(),
        metadata: std::collections::BTreeMap::new(),
        api_key: None,
    };
    let record = agent.signer.scan_record(Site::topic(Topic::Scans), &request, &SystemEntropy).unwrap();
    hand_in(&site, record.value.unwrap().to_vec()).await;
    assert_eq!(site.get(&key, &format!("/api/v1/scans/{id}")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_by_operators_only() {
    ridgeline_testkit::covers!("R-144");
    let site = Site::open().await;
    for given in [None, Some(""), Some("wrong"), Some("an admin key of test")] {
        let mut request = Request::builder().uri("/admin/keys");
        if let Some(given) = given {
            request = request.header("x-admin-key", given);
        }
        let router = site.gateway.admin_router();
        Answer::of(router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap())
            .await
            .is_problem(401, "RL-1301");
    }
    let key = site.user().await;
    let listed = site.admin(Method::GET, "/admin/keys", None).await;
    assert_eq!(listed.json.as_array().unwrap().len(), 1);
    assert_eq!((&listed.json[0]["revoked"], listed.json[0].get("key")), (&json!(false), None));
    let secret = key.rsplit('_').next().unwrap();
    assert!(!listed.text.contains(secret));
    let stored = site.memory.store().scan(ridgeline_wire::row::table::API_KEYS, None, 10).await.unwrap();
    assert!(stored.rows.iter().all(|(_, row)| !row.value.windows(secret.len()).any(|at| at == secret.as_bytes())));

    let path = format!("/admin/keys/{}", listed.json[0]["id"].as_str().unwrap());
    for _ in 0..2 {
        let revoked = site.admin(Method::DELETE, &path, None).await;
        assert_eq!((revoked.status, &revoked.json["revoked"]), (StatusCode::OK, &json!(true)));
    }
    site.post_scan(&key, &verify("alice")).await.is_problem(401, "RL-1301");
    site.admin(Method::DELETE, "/admin/keys/unknown", None).await.is_problem(404, "RL-1303");
    site.admin(Method::DELETE, "/admin/keys/a%2Fb", None).await.is_problem(404, "RL-1303");
    for bad in [
        json!({ "name": "", "permissions": ["audit:read"] }),
        json!({ "name": "a\nb", "permissions": ["audit:read"] }),
        json!({ "name": "a", "permissions": ["everything"] }),
        json!({ "name": "a", "permissions": [] }),
        json!({ "name": "a" }),
        json!({ "name": "a", "permissions": ["audit:read"], "secret": "x" }),
    ] {
        site.admin(Method::POST, "/admin/keys", Some(bad)).await.is_problem(400, "RL-1001");
    }
    site.admin(Method::PATCH, "/admin/keys", None).await.is_problem(405, "RL-1304");
    site.admin(Method::GET, "/api/v1/scans", None).await.is_problem(404, "RL-1303");
}

#[tokio::test]
async fn agents_are_added_once_and_may_send_at_once() {
    let site = Site::open().await;
    let key = SigningKey::generate(&SystemEntropy).unwrap();
    let body = json!({ "id": "door-1", "public_key": key.verifying_key().to_string(), "operations": ["verify"] });
    let added = site.admin(Method::POST, "/admin/agents", Some(body.clone())).await;
    assert_eq!((added.status, &added.json), (StatusCode::CREATED, &body));
    site.admin(Method::POST, "/admin/agents", Some(body.clone())).await.is_problem(400, "RL-1001");
    assert_eq!(site.admin(Method::GET, "/admin/agents", None).await.json, json!([body]));
    let signer = Signer::new("door-1".parse().unwrap(), key.clone(), site.sealing.clone());
    let bytes = Agent { signer, key }.record(&site, Operation::Verify);
    assert_eq!(hand_in(&site, bytes).await.status, StatusCode::OK);
    for (field, value) in [("id", json!("a b")), ("public_key", json!("x")), ("operations", json!(["rule"]))] {
        let mut bad = json!({ "id": "door-9", "public_key": body["public_key"], "operations": ["verify"] });
        bad[field] = value;
        let refused = site.admin(Method::POST, "/admin/agents", Some(bad)).await;
        refused.is_problem(400, "RL-1001");
        assert!(refused.pointers()[0].starts_with(&format!("/{field}")));
    }
}

#[tokio::test]
async fn refusals_are_audited_as_counts() {
    let limits = GatewayLimits { refusals_interval: Duration::from_millis(200), ..GatewayLimits::default() };
    let site = Site::with(limits).await;
    let mut audit = site.log.tail(&Site::topic(Topic::Audit), TailStart::Beginning).await.unwrap();
    for _ in 0..3 {
        site.get("nobody", "/api/v1/scans/x").await;
    }
    site.get("", "/nowhere").await;
    let (gateway, stop) = (site.gateway.clone(), site.stop.clone());
    let writer = tokio::spawn(async move { gateway.run_refusals(stop).await });
    let event: Audit = loop {
        if let Delivery::Record { record, .. } = audit.deliveries.recv().await.unwrap() {
            break decode(&record.value.unwrap()).unwrap();
        }
    };
    assert_eq!((event.event_type.as_str(), event.actor.as_str()), ("gateway.refusals", "gateway:test"));
    assert_eq!((event.outcome.as_str(), event.reason.as_deref()), ("refused", Some("RL-1301=3 RL-1303=1")));
    site.stop.cancel();
    writer.await.unwrap();
}

#[tokio::test]
async fn health_tells_the_worst_and_reasons_are_for_operators() {
    let site = Site::open().await;
    let healthy = site.get("", "/health").await;
    assert_eq!((healthy.status, &healthy.json["status"]), (StatusCode::OK, &json!("healthy")));
    assert_eq!(healthy.json["readers"]["attached"], 0);
    assert!(healthy.json["readers"]["note"].as_str().unwrap().starts_with("no reader attached"));
    let matcher = site.health.component("matcher");
    matcher.set(HealthState::Degraded, "2 lanes wait");
    assert_eq!(site.get("", "/health").await.json["status"], "degraded");
    assert_eq!(site.get("", "/health/ready").await.status, StatusCode::OK);
    matcher.set(HealthState::Unhealthy, "no key ring");
    let unhealthy = site.get("", "/health").await;
    assert_eq!(unhealthy.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!unhealthy.text.contains("key ring"));
    assert_eq!(site.get("", "/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(site.get("", "/health/live").await.status, StatusCode::OK);
    let inside = site.admin(Method::GET, "/health", None).await;
    assert_eq!(inside.json["components"]["matcher"]["reason"], "no key ring");
}

#[tokio::test]
async fn metrics_count_routes_not_paths() {
    let site = Site::open().await;
    site.get("", "/api/v1/scans/secret-path").await;
    let shown = site.admin(Method::GET, "/metrics", None).await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(shown.text.contains(
        r#"ridgeline_http_requests_total{route="/api/v1/scans/{confirmation_id}",method="GET",status="401"}"#
    ));
    assert!(!shown.text.contains("secret-path"));
}

#[tokio::test]
async fn documentation_and_schemas_are_served() {
    let site = Site::open().await;
    let document = site.get("", "/openapi.json").await;
    assert_eq!(document.json, ridgeline_gateway::openapi_document());
    let docs = site.get("", "/docs").await;
    assert_eq!(docs.headers["content-type"], "text/html; charset=utf-8");
    assert!(docs.text.contains("/api/v1/scans"));
    let page = site.get("", "/docs/errors/RL-1202").await;
    assert!(page.text.contains("Idempotency-Key"), "{}", page.text);
    site.get("", "/docs/errors/RL-9999").await.is_problem(404, "RL-1303");
    let schema = site.get("", "/schemas/ids/5001").await;
    let text: Value = serde_json::from_str(schema.json["schema"].as_str().unwrap()).unwrap();
    assert_eq!(text["type"], "record");
    let topics = site.get("", "/asyncapi.json").await;
    assert_eq!(topics.json["channels"]["audit"]["address"], "t-audit");
}

#[tokio::test]
async fn a_registrys_read_side_shows_public_subjects_and_every_id() {
    let site = Site::open().await;
    for version in ["latest", "1"] {
        let shown = site.get("", &format!("/subjects/t-decisions-value/versions/{version}")).await;
        assert_eq!((&shown.json["id"], &shown.json["version"]), (&json!(5001), &json!(1)));
        assert_eq!(shown.json["schema"], site.get("", "/schemas/ids/5001").await.json["schema"]);
    }
    assert_eq!(site.get("", "/subjects/t-decisions-value/versions").await.json, json!([1]));
    assert_eq!(site.get("", "/subjects").await.json, json!(["t-decisions-value", "t-audit-value"]));
    assert_eq!(site.get("", "/schemas/ids/1001").await.json["schemaType"], "AVRO");
    for missing in [
        "/schemas/ids/1",
        "/schemas/ids/-1",
        "/schemas/ids/99999999999",
        "/subjects/x/versions",
        "/subjects/decisions-value/versions",
        "/subjects/t-scans-value/versions",
        "/subjects/t-audit-value/versions/2",
        "/subjects/t-audit-value/versions/-1",
    ] {
        site.get("", missing).await.is_problem(404, "RL-1303");
    }
}

#[tokio::test]
async fn beside_a_real_registry_no_ids_are_shown() {
    let site = Site::of(GatewayLimits::default(), SchemaSource::Registry).await;
    for path in
        ["/schemas/ids/5001", "/subjects", "/subjects/t-audit-value/versions", "/subjects/t-audit-value/versions/1"]
    {
        site.get("", path).await.is_problem(404, "RL-1303");
    }
    assert_eq!(site.get("", "/asyncapi.json").await.status, StatusCode::OK);
}
