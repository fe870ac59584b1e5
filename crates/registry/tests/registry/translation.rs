//! Ids of the registry in the log, ours in the hands of workers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ridgeline_domain::{ErrorCode, Timestamp};
use ridgeline_ports::{Delivery, EventLog, NewRecord, Record, TailStart, TailSubscription};
use ridgeline_registry::{RegistryError, SchemaIds, TranslatedLog, subjects};
use ridgeline_runtime::{Health, HealthState};
use ridgeline_testkit::memory::Memory;
use ridgeline_wire::message::Audit;
use ridgeline_wire::{Topic, Topology, WireError, decode, encode};
use tokio::time::timeout;

use crate::fake::{Fake, Mode};

const PATIENCE: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_millis(700);
/// The fake's id of the schema of `audit`: the eighth topic.
const AUDIT: u32 = 8;

fn event(id: &str) -> Audit {
    Audit {
        event_id: id.to_owned(),
        event_type: "biometric.verify".to_owned(),
        occurred_at: Timestamp::from_millis(1_700_000_000_000),
        request_id: None,
        actor: "agent:test".to_owned(),
        reader: None,
        subject_id: None,
        operation: None,
        outcome: "refused".to_owned(),
        reason: None,
        details: None,
    }
}

fn with_id(mut value: Vec<u8>, id: u32) -> Bytes {
    value[1..5].copy_from_slice(&id.to_be_bytes());
    value.into()
}

fn record(value: Bytes) -> NewRecord {
    NewRecord {
        topic: Topic::Audit.name(""),
        partition: None,
        key: Bytes::from_static(b"k"),
        value: Some(value),
        headers: vec![],
    }
}

struct Site {
    fake: Fake,
    memory: Memory,
    health: Health,
    log: Arc<dyn EventLog>,
}

impl Site {
    async fn new() -> Self {
        let (fake, memory, health) = (Fake::full(), Memory::open(), Health::new());
        memory.log().ensure_topic(&Topic::Audit.spec("", Topology::Embedded)).await.unwrap();
        let log = TranslatedLog::open(memory.log(), fake.registry(), "", &health).await.unwrap();
        Self { fake, memory, health, log: Arc::new(log) }
    }

    async fn tail(&self) -> TailSubscription {
        self.log.tail(&Topic::Audit.name(""), TailStart::Beginning).await.unwrap()
    }

    /// Into the log as another program would write it.
    async fn write(&self, value: Bytes) {
        self.memory.log().publish(record(value)).await.unwrap();
    }

    fn state(&self) -> HealthState {
        self.health.overall()
    }
}

async fn next(tail: &mut TailSubscription) -> Record {
    loop {
        match timeout(PATIENCE, tail.deliveries.recv()).await.expect("a record in time").expect("an open tail") {
            Delivery::Record { record, .. } => return record,
            Delivery::End { .. } => {}
        }
    }
}

async fn next_event(tail: &mut TailSubscription) -> Result<Audit, WireError> {
    decode(&next(tail).await.value.unwrap())
}

#[tokio::test]
async fn the_log_holds_the_registrys_ids_and_readers_see_ours() {
    let site = Site::new().await;
    let value = encode(&event("a")).unwrap();
    site.log.publish(record(value.clone().into())).await.unwrap();
    let mut raw = site.memory.log().tail(&Topic::Audit.name(""), TailStart::Beginning).await.unwrap();
    assert_eq!(next(&mut raw).await.value.unwrap(), with_id(value, AUDIT));

    let mut tail = site.tail().await;
    assert_eq!(next_event(&mut tail).await.unwrap().event_id, "a");
    // As written before there was a registry.
    site.write(encode(&event("b")).unwrap().into()).await;
    assert_eq!(next_event(&mut tail).await.unwrap().event_id, "b");
    assert_eq!(site.fake.asked(&format!("/schemas/ids/{AUDIT}")), 0, "known ids are not asked for");
}

#[tokio::test]
async fn an_unknown_id_is_asked_for_once() {
    let site = Site::new().await;
    let mut tail = site.tail().await;
    let schema = subjects("")[7].schema;
    site.fake.add(40, &schema.replace("Whom it is about.", "The person."));
    site.fake.add(41, "\"bytes\"");
    for _ in 0..3 {
        for id in [40, 41, 42] {
            site.write(with_id(encode(&event("a")).unwrap(), id)).await;
        }
        assert_eq!(next_event(&mut tail).await.unwrap().event_id, "a", "our schema under another id");
        for id in [41, 42] {
            let refused = next_event(&mut tail).await.unwrap_err();
            assert_eq!((refused.code(), refused), (ErrorCode::SchemaUnknown, WireError::UnknownSchema(id)));
        }
    }
    for id in [40, 41, 42] {
        assert_eq!(site.fake.asked(&format!("/schemas/ids/{id}")), 1, "{id}");
    }
    assert_eq!(site.state(), HealthState::Healthy);
}

#[tokio::test]
async fn known_ids_need_no_registry_and_unknown_ones_wait_for_it() {
    let site = Site::new().await;
    let mut tail = site.tail().await;
    site.fake.add(40, subjects("")[7].schema);
    for mode in [Mode::HangsUp, Mode::Page, Mode::Hollow, Mode::Busy, Mode::NoSuchPath, Mode::Unauthorised] {
        site.fake.set(mode);
        let before = site.log.publish(record(encode(&event("known")).unwrap().into())).await;
        assert!(before.is_ok());
        assert_eq!(next_event(&mut tail).await.unwrap().event_id, "known", "{mode:?}");
    }
    site.fake.set(Mode::HangsUp);
    site.write(with_id(encode(&event("unknown")).unwrap(), 40)).await;
    let early = timeout(QUIET, next(&mut tail)).await;
    assert!(early.is_err(), "a record that may be good is not given up: {early:?}");
    assert_eq!(site.state(), HealthState::Degraded);
    for mode in [Mode::Page, Mode::Hollow, Mode::Busy, Mode::NoSuchPath, Mode::Unauthorised] {
        site.fake.set(mode);
        assert!(timeout(QUIET, next(&mut tail)).await.is_err(), "{mode:?} says nothing about the schema");
    }
    site.fake.set(Mode::Answers);
    assert_eq!(next_event(&mut tail).await.unwrap().event_id, "unknown");
    assert_eq!(site.state(), HealthState::Healthy);
}

#[tokio::test]
async fn a_start_says_what_is_wrong_with_the_registry() {
    let open = async |fake: &Fake| SchemaIds::load(&fake.registry(), "").await.map(|_| ()).unwrap_err();
    let fake = Fake::full();
    for (mode, wanted) in [
        (Mode::HangsUp, "no answer of the schema registry"),
        (Mode::Page, "is no schema registry"),
        (Mode::Hollow, "is no schema registry"),
        (Mode::Busy, "HTTP 503"),
        (Mode::NoSuchPath, "HTTP 404: HTTP 404 Not Found"),
        (Mode::Unauthorised, "HTTP 401: whoare you"),
    ] {
        fake.set(mode);
        let said = open(&fake).await.to_string();
        assert!(said.contains(wanted), "{mode:?}: {said}");
    }
    let said = open(&Fake::empty()).await;
    let RegistryError::NotRegistered { subjects: missing, .. } = &said else { panic!("{said}") };
    assert_eq!(missing.len(), Topic::ALL.len());
    assert!(said.to_string().ends_with("run: ridgeline schemas register"), "{said}");
}

#[tokio::test]
async fn a_dropped_subscription_ends_the_one_below_also_while_it_waits() {
    let site = Site::new().await;
    let mut tail = site.tail().await;
    site.fake.set(Mode::HangsUp);
    site.write(with_id(encode(&event("unknown")).unwrap(), 40)).await;
    assert!(timeout(QUIET, next(&mut tail)).await.is_err());
    drop(tail);
    let asked = async || {
        tokio::time::sleep(QUIET).await;
        site.fake.asked("/schemas/ids/40")
    };
    let first = asked().await;
    assert!(first > 0);
    tokio::time::sleep(QUIET * 2).await;
    assert_eq!(asked().await, first, "nobody asks any more");
    assert_eq!(site.state(), HealthState::Healthy);
}
