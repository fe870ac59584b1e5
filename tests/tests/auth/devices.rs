//! Devices of users: one for each installation, shared fingerprints, decoys, removal.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use ridgeline_domain::{AuthOperation, Refusal, Timestamp};
use ridgeline_ports::{
    Appended, Cas, EventLog, GroupId, GroupSubscription, LogError, MemberId, NewRecord, Offset, Page, PlainWrite, Row,
    RowKey, ScanToken, StartAt, Store, StoreError, TableSpec, TailStart, TailSubscription, TopicName, TopicSpec,
    Version,
};
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::covers;
use ridgeline_wire::auth::AuthBody;

use crate::harness::{Calls, Phone, Ports, Site, device_body};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_installation_again_replaces_its_device_and_ends_its_sessions() {
    covers!("R-079");
    let site = Site::start().await;
    let web = site.user("linh").await;
    let (old, new) = (Phone::new("pixel-7"), Phone::new("pixel-7"));
    let first = old.register(&site, &web).await.device_id;
    let token = old.login(&site).await.refresh_token.unwrap();
    let challenge = new.register_challenge(&site, &web).await.challenge.unwrap();
    assert!(old.refresh(&site, &token).await.tokens.is_some(), "until the signature verifies nothing changes");
    let second = new.verify_registration(&site, &challenge).await.device.unwrap().device_id;
    assert_ne!(first, second);
    let challenge = old.login_challenge(&site).await;
    assert_eq!(old.verify_login(&site, &challenge).await.refusal, Some(Refusal::BadSignature));
    assert_eq!(old.refresh(&site, &token).await.refusal, Some(Refusal::Revoked));
    new.login(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_installation() {
    let site = Site::start().await;
    let (linh, minh) = (site.user("linh").await, site.user("minh").await);
    let phone = Phone::new("pixel-7");
    phone.register(&site, &linh).await;
    let copy = Phone { key: phone.key.clone(), proof: None, fingerprint: "pixel-8".to_owned() };
    for web in [&linh, &minh] {
        let challenge = copy.register_challenge(&site, web).await.challenge.unwrap();
        assert_eq!(copy.verify_registration(&site, &challenge).await.refusal, Some(Refusal::KeyInUse));
    }
    // The same installation may register its key again.
    phone.register(&site, &linh).await;
    phone.login(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_devices_are_enough() {
    let site = Site::start().await;
    let web = site.user("linh").await;
    for number in 0..20 {
        Phone::new(&format!("phone-{number}")).register(&site, &web).await;
    }
    let one_more = Phone::new("phone-20");
    let challenge = one_more.register_challenge(&site, &web).await.challenge.unwrap();
    assert_eq!(one_more.verify_registration(&site, &challenge).await.refusal, Some(Refusal::TooManyDevices));
    Phone::new("phone-3").register(&site, &web).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_may_share_a_fingerprint_and_the_signature_decides() {
    let site = Site::start().await;
    let mut phones = Vec::new();
    for name in ["linh", "minh", "an"] {
        let web = site.user(name).await;
        let phone = Phone::new("kiosk-build-7");
        let device = phone.register(&site, &web).await.device_id;
        phones.push((phone, device));
    }
    for (phone, device) in &phones {
        assert_eq!(phone.login(&site).await.device_id, Some(*device));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_and_its_tokens_are_over() {
    covers!("R-077");
    let site = Site::start().await;
    let (web, foreign) = (site.user("linh").await, site.user("minh").await);
    let phone = Phone::new("pixel-7");
    let device = phone.register(&site, &web).await.device_id;
    let (one, two) = (phone.login(&site).await, phone.login(&site).await);
    let remove = |web: &str| site.ask(AuthOperation::RemoveDevice, Some(device.to_string()), device_body(web, device));
    assert_eq!(remove(&foreign).await.refusal, Some(Refusal::UnknownDevice), "another user's");
    let removed = remove(&web).await.removed.unwrap();
    assert_eq!((removed.device_id, removed.revoked_tokens), (device, 2));
    assert_eq!(remove(&web).await.refusal, Some(Refusal::UnknownDevice), "gone already");
    for tokens in [one, two] {
        assert_eq!(phone.refresh(&site, &tokens.refresh_token.unwrap()).await.refusal, Some(Refusal::Revoked));
    }
    let challenge = phone.login_challenge(&site).await;
    assert_eq!(phone.verify_login(&site, &challenge).await.refusal, Some(Refusal::BadSignature));
    let revocations: Vec<ridgeline_wire::auth::Revocation> = site.all(ridgeline_wire::Topic::Revocations).await;
    assert!(revocations.iter().any(|one| one.kind == "device" && one.id == device.to_string()));
    // The installation may come back.
    phone.register(&site, &web).await;
    phone.login(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_token_is_set_by_the_device_itself_or_by_its_user() {
    covers!("R-078");
    let site = Site::start().await;
    let web = site.user("linh").await;
    let (phone, other) = (Phone::new("pixel-7"), Phone::new("pixel-8"));
    let (device, second) = (phone.register(&site, &web).await.device_id, other.register(&site, &web).await.device_id);
    let access = phone.login(&site).await.access_token;
    let set = |credential: &str, device: ridgeline_domain::DeviceId| {
        let asked = AuthBody { push_token: Some("token".to_owned()), ..device_body(credential, device) };
        site.ask(AuthOperation::SetPushToken, Some(device.to_string()), asked)
    };
    assert!(set(&access, device).await.push.is_some());
    assert!(set(&web, second).await.push.is_some());
    assert_eq!(set(&access, second).await.refusal, Some(Refusal::BadCredential), "another device's");
    assert_eq!(set("garbage", device).await.refusal, Some(Refusal::BadCredential));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_phone_proves_itself_when_it_removes_itself() {
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::bound("pixel-7");
    let device = phone.register(&site, &web).await.device_id;
    let tokens = phone.login(&site).await;
    let access = tokens.access_token;
    let remove = |proof: Option<String>| {
        let asked = AuthBody { proof, ..device_body(&access, device) };
        site.ask(AuthOperation::RemoveDevice, Some(device.to_string()), asked)
    };
    assert_eq!(remove(None).await.refusal, Some(Refusal::BadProof));
    let url = format!("{}/api/v1/auth/devices/{device}", crate::harness::URL);
    let now = ridgeline_ports::Clock::now(&*site.memory.clock());
    let key = phone.proof.as_ref().unwrap();
    let prove = |method| key.prove(method, &url, now, Some(&access), &ridgeline_runtime::SystemEntropy);
    assert_eq!(remove(Some(prove("PUT"))).await.refusal, Some(Refusal::BadProof));
    assert!(remove(Some(prove("DELETE"))).await.removed.is_some());
    assert_eq!(remove(Some(prove("DELETE"))).await.refusal, Some(Refusal::Revoked));
}

/// What goes through the ports between asking for a challenge and the answer to it: calls, tables, topics and sizes.
static CALLS: Mutex<Option<Calls>> = Mutex::new(None);

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_fingerprint_looks_like_a_known_one() {
    let calls: Calls = Arc::default();
    *CALLS.lock() = Some(calls.clone());
    let wrap = |(log, store): Ports| {
        let calls = CALLS.lock().clone().unwrap();
        let log: Arc<dyn EventLog> = Arc::new(Watched { inner: log, calls: calls.clone() });
        let store: Arc<dyn Store> = Arc::new(Watched { inner: store, calls });
        (log, store)
    };
    let mut site = Site::open(TestClock::running(), None, Some(wrap)).await;
    site.work(&["a"]);
    let web = site.user("linh").await;
    let known = Phone::new("fingerprint-0001");
    known.register(&site, &web).await;
    // The thief knows the fingerprint, not the key: for both the answer is refused alike.
    let thief = Phone::new("fingerprint-0001");
    let unknown = Phone::new("fingerprint-0002");
    let mut seen = Vec::new();
    for phone in [&thief, &unknown] {
        calls.lock().clear();
        let challenge = phone.login_challenge(&site).await;
        assert_eq!(challenge.challenge.len(), 86);
        let reply = phone.verify_login(&site, &challenge).await;
        assert_eq!((reply.refusal, reply.detail), (Some(Refusal::BadSignature), None));
        let expected = 2;
        site.until(async || {
            calls.lock().iter().filter(|call| call.starts_with("publish decisions")).count() == expected
        })
        .await;
        seen.push(
            calls
                .lock()
                .iter()
                .filter(|call| !call.contains("revocations") && !call.contains("auth.commands"))
                .cloned()
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].len() > 8, "{:?}", seen[0]);
}

/// A port that notes what is asked of it.
struct Watched<P: ?Sized> {
    inner: Arc<P>,
    calls: Calls,
}

impl<P: ?Sized> Watched<P> {
    fn note(&self, call: &str, on: &str, bytes: usize) {
        self.calls.lock().push(format!("{call} {on} {bytes}"));
    }
}

#[async_trait]
impl EventLog for Watched<dyn EventLog> {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.ensure_topic(spec).await
    }
    async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError> {
        self.inner.partitions(topic).await
    }
    async fn publish(&self, record: NewRecord) -> Result<Appended, LogError> {
        let (topic, bytes) = (record.topic.to_string(), record.value.as_ref().map_or(0, Bytes::len));
        let appended = self.inner.publish(record).await;
        self.note("publish", &topic, bytes);
        appended
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

#[async_trait]
impl Store for Watched<dyn Store> {
    async fn ensure_tables(&self, tables: &[TableSpec]) -> Result<(), StoreError> {
        self.inner.ensure_tables(tables).await
    }
    async fn get(&self, table: TableSpec, key: &RowKey) -> Result<Option<Row>, StoreError> {
        self.note("get", table.name, key.partition.len());
        self.inner.get(table, key).await
    }
    async fn range(
        &self,
        table: TableSpec,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.note("range", table.name, limit);
        self.inner.range(table, partition, after, limit).await
    }
    async fn scan(&self, table: TableSpec, from: Option<&ScanToken>, limit: usize) -> Result<Page, StoreError> {
        self.inner.scan(table, from, limit).await
    }
    async fn insert_new(
        &self,
        table: TableSpec,
        key: &RowKey,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError> {
        self.note("insert", table.name, value.len());
        self.inner.insert_new(table, key, value, expires_at).await
    }
    async fn replace(
        &self,
        table: TableSpec,
        key: &RowKey,
        expected: Version,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError> {
        self.note("replace", table.name, value.len());
        self.inner.replace(table, key, expected, value, expires_at).await
    }
    async fn remove(&self, table: TableSpec, key: &RowKey, expected: Version) -> Result<Cas, StoreError> {
        self.inner.remove(table, key, expected).await
    }
    async fn put(&self, table: TableSpec, key: &RowKey, value: Bytes, write: PlainWrite) -> Result<(), StoreError> {
        self.note("put", table.name, value.len());
        self.inner.put(table, key, value, write).await
    }
    async fn delete(&self, table: TableSpec, key: &RowKey, at: Timestamp) -> Result<(), StoreError> {
        self.inner.delete(table, key, at).await
    }
}
