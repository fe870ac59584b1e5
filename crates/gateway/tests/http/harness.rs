//! A gateway over a log and a store of its own, and a worker that answers by rote.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use ridgeline_domain::{DecidedOperation, Liveness, Modality, Operation, Outcome, RequestId, Sensitive, Timestamp};
use ridgeline_fingerprint::{GreyImage, encode_png};
use ridgeline_gateway::{AuthParts, Gateway, GatewayLimits, GatewayParts, SchemaSource};
use ridgeline_intake::Signer;
use ridgeline_ports::{
    Appended, Clock as _, Delivery, EventLog, GroupId, GroupSubscription, LogError, MemberId, NewRecord, Offset,
    RowKey, StartAt, Store, TailStart, TailSubscription, TopicName, TopicSpec,
};
use ridgeline_runtime::{CpuPool, Health, SystemEntropy};
use ridgeline_testkit::memory::Memory;
use ridgeline_testkit::stall::{Stall, StallLog, StallStore};
use ridgeline_vault::{Aad, AgentRegistry, KeyRing, Purpose, SealingKey, SigningKey, Vault};
use ridgeline_wire::message::{Coverage, Decision, Scan};
use ridgeline_wire::row::{AnswerCandidate, AnswerDetails, AnswerRow, table};
use ridgeline_wire::{Topic, Topology, decode, encode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub(crate) const ADMIN_KEY: &str = "an admin key of tests";
const PREFIX: &str = "t-";

/// Everything of one test.
pub(crate) struct Site {
    pub(crate) memory: Memory,
    pub(crate) log: Arc<SwitchedLog>,
    pub(crate) gateway: Gateway,
    pub(crate) vault: Vault,
    pub(crate) agents: Arc<RwLock<AgentRegistry>>,
    pub(crate) health: Health,
    pub(crate) sealing: SealingKey,
    pub(crate) stop: CancellationToken,
    pub(crate) stall_log: Stall,
    pub(crate) stall_store: Stall,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Site {
    /// With small limits where a test would otherwise have to send much.
    pub(crate) async fn open() -> Self {
        Self::with(GatewayLimits { recheck: Duration::from_millis(300), ..GatewayLimits::default() }).await
    }

    pub(crate) async fn with(limits: GatewayLimits) -> Self {
        Self::of(limits, SchemaSource::Own).await
    }

    pub(crate) async fn of(limits: GatewayLimits, schemas: SchemaSource) -> Self {
        Self::build(limits, schemas, "", |_, _| None).await.0
    }

    /// With device authentication, under this address; answers the key ring too.
    pub(crate) async fn with_auth(
        limits: GatewayLimits,
        url: &str,
        auth: impl FnOnce(&Memory, &KeyRing) -> AuthParts,
    ) -> (Self, KeyRing) {
        Self::build(limits, SchemaSource::Own, url, |memory, ring| Some(auth(memory, ring))).await
    }

    async fn build(
        limits: GatewayLimits,
        schemas: SchemaSource,
        url: &str,
        auth: impl FnOnce(&Memory, &KeyRing) -> Option<AuthParts>,
    ) -> (Self, KeyRing) {
        let memory = Memory::open();
        let log = Arc::new(SwitchedLog { inner: memory.log(), down: AtomicBool::new(false) });
        for topic in [Topic::Scans, Topic::Decisions, Topic::Audit, Topic::AuthCommands, Topic::Revocations] {
            log.ensure_topic(&topic.spec(PREFIX, Topology::Embedded)).await.unwrap();
        }
        memory.store().ensure_tables(table::ALL).await.unwrap();
        let ring = KeyRing::create(&SystemEntropy).unwrap();
        let key = SigningKey::generate(&SystemEntropy).unwrap();
        let (sealing, health) = (ring.sealing_key(), Health::new());
        let signer = Signer::new("gateway:test".parse().unwrap(), key, sealing.clone());
        let auth = auth(&memory, &ring);
        let (vault, agents, stop) = (Vault::new(ring.clone()), Arc::default(), CancellationToken::new());
        let (stall_log, stall_store) = (Stall::default(), Stall::default());
        let gateway = Gateway::new(GatewayParts {
            log: Arc::new(StallLog { inner: log.clone(), stall: stall_log.clone() }),
            store: Arc::new(StallStore { inner: memory.store(), stall: stall_store.clone() }),
            vault: vault.clone(),
            signer,
            agents: Arc::clone(&agents),
            agent_book: None,
            clock: memory.clock(),
            entropy: Arc::new(SystemEntropy),
            cpu: CpuPool::new(2).unwrap(),
            health: health.clone(),
            prefix: PREFIX.to_owned(),
            limits,
            public_url: url.to_owned(),
            schemas,
            admin_key: Some(Sensitive::new(ADMIN_KEY.to_owned())),
            metrics: Some(recorder()),
            auth,
            stop: stop.clone(),
        });
        let (tailing, tail_stop) = (gateway.clone(), stop.clone());
        tokio::spawn(async move { tailing.run_tail(tail_stop).await });
        let site = Self { memory, log, gateway, vault, agents, health, sealing, stop, stall_log, stall_store };
        (site, ring)
    }

    /// With a worker that answers everything.
    pub(crate) async fn with_worker() -> Self {
        let site = Self::open().await;
        site.start_worker(Duration::ZERO).await;
        site
    }

    pub(crate) async fn start_worker(&self, pause: Duration) {
        let topic = Topic::Scans.name(PREFIX);
        let tail = self.log.tail(&topic, TailStart::Beginning).await.unwrap();
        let worker = Worker { log: self.log.clone(), store: self.memory.store(), vault: self.vault.clone(), pause };
        tokio::spawn(worker.run(tail));
    }

    pub(crate) fn topic(topic: Topic) -> TopicName {
        topic.name(PREFIX)
    }

    /// All records of `scans` there are now.
    pub(crate) async fn scans(&self) -> Vec<Scan> {
        let topic = Self::topic(Topic::Scans);
        let mut tail = self.log.tail(&topic, TailStart::Beginning).await.unwrap();
        let (mut scans, mut ends) = (Vec::new(), 0);
        while ends < Topic::Scans.row().partitions_embedded {
            match tail.deliveries.recv().await.unwrap() {
                Delivery::Record { record, .. } => scans.push(decode(&record.value.unwrap()).unwrap()),
                Delivery::End { .. } => ends += 1,
            }
        }
        scans
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.gateway.router().oneshot(request).await.unwrap()).await
    }

    pub(crate) async fn open_stream(&self, request: Request<Body>) -> Response {
        self.gateway.router().oneshot(request).await.unwrap()
    }

    pub(crate) async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("x-admin-key", ADMIN_KEY);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        Answer::of(self.gateway.admin_router().oneshot(request.body(body).unwrap()).await.unwrap()).await
    }

    /// A fresh API key.
    pub(crate) async fn key(&self, permissions: &[&str]) -> String {
        let body = json!({ "name": "test", "permissions": permissions });
        let answer = self.admin(Method::POST, "/admin/keys", Some(body)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.json);
        answer.json["key"].as_str().unwrap().to_owned()
    }

    /// A key that may ask for every operation and nothing else.
    pub(crate) async fn user(&self) -> String {
        let operations = ["enroll", "verify", "identify", "extract", "delete"].map(|name| format!("biometric:{name}"));
        self.key(&operations.each_ref().map(String::as_str)).await
    }

    pub(crate) async fn post_scan(&self, key: &str, body: &Value) -> Answer {
        self.send(post("/api/v1/scans", key, body)).await
    }

    pub(crate) async fn get(&self, key: &str, path: &str) -> Answer {
        self.send(get(path, key)).await
    }
}

/// One recorder for the whole test program: there can be no second.
fn recorder() -> metrics_exporter_prometheus::PrometheusHandle {
    static HANDLE: std::sync::LazyLock<metrics_exporter_prometheus::PrometheusHandle> =
        std::sync::LazyLock::new(|| metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().unwrap());
    HANDLE.clone()
}

pub(crate) fn post(path: &str, key: &str, body: &Value) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri(path).header("x-api-key", key);
    request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
}

pub(crate) fn get(path: &str, key: &str) -> Request<Body> {
    Request::builder().uri(path).header("x-api-key", key).body(Body::empty()).unwrap()
}

/// An answer that has been read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 64 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status: parts.status, headers: parts.headers, json, text }
    }

    pub(crate) fn id(&self) -> &str {
        self.json["confirmation_id"].as_str().unwrap_or_else(|| panic!("no confirmation id: {}", self.text))
    }

    /// Asserts that this is a problem of `code` and its status, whole and with a request id.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.json["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.json["status"], status);
        assert_eq!(self.json["type"], format!("/docs/errors/{code}"));
        assert!(self.json["title"].is_string() && self.json["detail"].is_string());
        assert_eq!(self.json["request_id"], self.headers["x-request-id"].to_str().unwrap());
    }

    pub(crate) fn pointers(&self) -> Vec<&str> {
        let errors = self.json["errors"].as_array().map_or(&[][..], Vec::as_slice);
        errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect()
    }
}

/// Stripes that decode as an image; nobody here looks for a finger in them.
pub(crate) fn stripes() -> Vec<u8> {
    let pixels = (0..200 * 200_u32).map(|i| if (i % 200 + i / 600) / 5 % 2 == 0 { 40 } else { 220 }).collect();
    encode_png(&GreyImage::new(200, 200, 500, pixels).unwrap())
}

pub(crate) fn sample(bytes: &[u8]) -> Value {
    json!({ "format": "png", "data": STANDARD.encode(bytes), "dpi": 500 })
}

pub(crate) fn verify(subject: &str) -> Value {
    json!({ "operation": "verify", "subject_id": subject, "samples": [sample(&stripes())] })
}

/// A log that can be switched off for publishing.
pub(crate) struct SwitchedLog {
    inner: Arc<dyn EventLog>,
    pub(crate) down: AtomicBool,
}

#[async_trait]
impl EventLog for SwitchedLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.ensure_topic(spec).await
    }
    async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError> {
        self.inner.partitions(topic).await
    }
    async fn publish(&self, record: NewRecord) -> Result<Appended, LogError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(LogError::Unavailable("switched off at /a/secret/place".to_owned()));
        }
        self.inner.publish(record).await
    }
    async fn subscribe(
        &self,
        topic: &TopicName,
        group: &GroupId,
        member: &MemberId,
        start: StartAt,
    ) -> Result<GroupSubscription, LogError> {
        self.inner.subscribe(topic, group, member, start).await
    }
    async fn tail(&self, topic: &TopicName, start: TailStart) -> Result<TailSubscription, LogError> {
        self.inner.tail(topic, start).await
    }
    async fn end_offsets(&self, topic: &TopicName) -> Result<Vec<Offset>, LogError> {
        self.inner.end_offsets(topic).await
    }
    async fn committed(&self, topic: &TopicName, group: &GroupId) -> Result<Vec<Option<Offset>>, LogError> {
        self.inner.committed(topic, group).await
    }
}

struct Worker {
    log: Arc<SwitchedLog>,
    store: Arc<dyn Store>,
    vault: Vault,
    pause: Duration,
}

impl Worker {
    async fn run(self, mut tail: TailSubscription) {
        while let Some(delivery) = tail.deliveries.recv().await {
            let Delivery::Record { record, .. } = delivery else { continue };
            tokio::time::sleep(self.pause).await;
            let scan: Scan = decode(&record.value.unwrap()).unwrap();
            self.answer(&scan, record.append_time).await;
        }
    }

    async fn answer(&self, scan: &Scan, now: Timestamp) {
        let key = RowKey::single(scan.request_id.to_string());
        let mut row = answer_row(scan, now);
        let details = encode(&details(scan.operation)).unwrap();
        let aad = Aad::row("answers", &key, "details");
        row.details = Some(self.vault.seal(Purpose::Answer, &aad, &details, &SystemEntropy).unwrap());
        let value = encode(&row).unwrap().into();
        self.store.insert_new(table::ANSWERS, &key, value, None).await.unwrap();
        self.log.inner.publish(decided(scan.request_id, row.decision)).await.unwrap();
    }
}

/// An answer without details.
pub(crate) fn answer_row(scan: &Scan, now: Timestamp) -> AnswerRow {
    AnswerRow {
        request_id: scan.request_id,
        agent: scan.agent.clone(),
        api_key: None,
        decision: encode(&decision(scan, now)).unwrap(),
        audit: Vec::new(),
        audit_key: String::new(),
        gallery_subject: None,
        gallery_version: None,
        details: None,
    }
}

pub(crate) fn decided(id: RequestId, decision: Vec<u8>) -> NewRecord {
    let topic = Site::topic(Topic::Decisions);
    NewRecord { topic, partition: None, key: id.to_string().into(), value: Some(decision.into()), headers: vec![] }
}

pub(crate) fn decision(scan: &Scan, now: Timestamp) -> Decision {
    let (outcome, confidence) = match scan.operation {
        Operation::Enrol => (Outcome::Enrolled, None),
        Operation::Verify => (Outcome::Match, Some(88.5)),
        Operation::Identify => (Outcome::NoMatch, None),
        Operation::Extract => (Outcome::Extracted, None),
        Operation::Delete => (Outcome::Deleted, None),
    };
    let search = scan.operation == Operation::Identify;
    Decision {
        confirmation_id: scan.request_id,
        operation: DecidedOperation::Scan(scan.operation),
        modality: Some(Modality::Fingerprint),
        outcome,
        reason: None,
        subject_id: scan.subject_id.clone(),
        agent: scan.agent.clone(),
        reader: None,
        quality: vec![77; scan.samples.len()],
        confidence,
        confidence_basis: None,
        liveness: Liveness::NotAssessed,
        coverage: search.then(|| Coverage { searched: 8, total: 8, templates: 40, missing: vec![] }),
        engine: "rote-1".to_owned(),
        gallery_version: None,
        session_requested: false,
        valid_until: scan.valid_until,
        evaluated_at: now,
        decided_at: now,
        duration_ms: 3,
    }
}

fn details(operation: Operation) -> AnswerDetails {
    let candidate = AnswerCandidate {
        subject_id: "carol".parse().unwrap(),
        position: ridgeline_domain::Position::LeftThumb,
        confidence: 41.5,
    };
    AnswerDetails {
        confidence: (operation == Operation::Identify).then_some(41.5),
        candidates: if operation == Operation::Identify { vec![candidate] } else { vec![] },
        template: (operation == Operation::Extract).then(|| b"opaque".to_vec()),
    }
}

impl Site {
    pub(crate) fn now(&self) -> Timestamp {
        self.memory.clock().now()
    }
}
