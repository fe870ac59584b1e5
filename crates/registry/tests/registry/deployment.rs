//! On a real registry: register, compare, refuse, read. Each test has subjects of its own and removes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ridgeline_egress::ConfiguredOptions;
use ridgeline_ports::EventLog;
use ridgeline_registry::{
    Finding, Level, Registry, RegistryError, RegistryId, Standing, TranslatedLog, check, register, remove, subjects,
};
use ridgeline_runtime::Health;
use ridgeline_testkit::memory::Memory;
use ridgeline_testkit::stack;
use ridgeline_wire::{Topic, Topology};

/// A schema that no reader of ours can take for a decision.
const STRANGE: &str = r#"{"type":"record","name":"Decision","namespace":"dev.ridgeline.v1","fields":[{"name":"weight","type":"double"}]}"#;

struct Site {
    registry: Registry,
    prefix: String,
}

impl Site {
    fn open() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let registry = Registry::new(ConfiguredOptions::new(stack::address(stack::REGISTRY)?)).unwrap();
        let prefix = format!("t.{}.{}.", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Some(Self { registry, prefix })
    }

    fn subject(&self, topic: Topic) -> String {
        format!("{}-value", topic.name(&self.prefix))
    }

    async fn check(&self) -> Vec<Finding> {
        check(&self.registry, &self.prefix).await.unwrap()
    }

    async fn standing(&self, topic: Topic) -> Standing {
        self.check().await.into_iter().find(|finding| finding.subject.topic == topic).unwrap().standing
    }

    async fn remove(self) {
        remove(&self.registry, &self.prefix).await.unwrap();
        assert!(self.check().await.iter().all(|finding| finding.standing == Standing::Missing));
    }
}

#[tokio::test]
async fn registering_twice_changes_nothing() {
    let Some(site) = Site::open() else { return };
    assert!(site.check().await.iter().all(|finding| finding.standing == Standing::Missing && !finding.is_good()));
    let opened = TranslatedLog::open(Memory::open().log(), site.registry.clone(), &site.prefix, &Health::new()).await;
    assert!(matches!(opened, Err(RegistryError::NotRegistered { .. })), "{opened:?}");

    let first = register(&site.registry, &site.prefix).await.unwrap();
    assert_eq!(first.len(), Topic::ALL.len());
    assert_eq!(register(&site.registry, &site.prefix).await.unwrap(), first);
    for (finding, (_, id)) in site.check().await.iter().zip(&first) {
        assert!(finding.is_good(), "{finding:?}");
        assert!(
            matches!(finding.standing, Standing::Current(found) if found.id == *id && found.version == 1),
            "{finding:?}"
        );
    }
    site.remove().await;
}

#[tokio::test]
async fn an_incompatible_change_is_refused_before_anything_is_registered() {
    let Some(site) = Site::open() else { return };
    site.registry.add(&site.subject(Topic::Decisions), STRANGE).await.unwrap().unwrap();
    site.registry.add(&site.subject(Topic::Scans), STRANGE).await.unwrap().unwrap();

    let refused = register(&site.registry, &site.prefix).await.unwrap_err();
    let RegistryError::Incompatible { subjects, .. } = &refused else { panic!("{refused}") };
    assert_eq!(subjects, &[site.subject(Topic::Decisions)], "an internal schema may break");
    assert_eq!(site.standing(Topic::Decisions).await, Standing::Differs { latest: 1, compatible: false });
    assert_eq!(site.standing(Topic::Audit).await, Standing::Missing);
    site.remove().await;
}

#[tokio::test]
async fn a_level_that_was_loosened_is_found_and_set_again() {
    let Some(site) = Site::open() else { return };
    register(&site.registry, &site.prefix).await.unwrap();
    let decisions = site.subject(Topic::Decisions);
    site.registry.set_level(&decisions, &Level::None).await.unwrap();
    let bad: Vec<_> = site.check().await.into_iter().filter(|finding| !finding.is_good()).collect();
    assert_eq!(bad.len(), 1);
    assert_eq!((&bad[0].subject.name, &bad[0].level), (&decisions, &Some(Level::None)));
    register(&site.registry, &site.prefix).await.unwrap();
    assert!(site.check().await.iter().all(Finding::is_good));
    // The registry itself holds the promise against others.
    assert_eq!(site.registry.add(&decisions, STRANGE).await.unwrap(), None);
    site.remove().await;
}

#[tokio::test]
async fn a_newer_version_is_told_and_its_values_are_read() {
    let Some(site) = Site::open() else { return };
    register(&site.registry, &site.prefix).await.unwrap();
    let (audit, ours) = (site.subject(Topic::Audit), subjects("")[5].schema);
    let newer = site.registry.add(&audit, &ours.replace("Whom it is about.", "The person.")).await.unwrap().unwrap();
    assert!(matches!(site.standing(Topic::Audit).await, Standing::Older { latest: 2, .. }));

    let memory = Memory::open();
    let topic = Topic::Audit.name(&site.prefix);
    memory.log().ensure_topic(&Topic::Audit.spec(&site.prefix, Topology::Embedded)).await.unwrap();
    let log = TranslatedLog::open(memory.log(), site.registry.clone(), &site.prefix, &Health::new()).await.unwrap();
    let log: Arc<dyn EventLog> = Arc::new(log);
    let mut tail = log.tail(&topic, ridgeline_ports::TailStart::Beginning).await.unwrap();
    let example: String = include_str!("../../../../schemas/audit/v1/examples/match.hex").split_whitespace().collect();
    let example: Vec<u8> =
        (0..example.len() / 2).map(|at| u8::from_str_radix(&example[2 * at..2 * at + 2], 16).unwrap()).collect();
    for id in [newer, RegistryId(u32::MAX)] {
        let mut value = example.clone();
        value[1..5].copy_from_slice(&id.0.to_be_bytes());
        let key = bytes::Bytes::from_static(b"k");
        let record = ridgeline_ports::NewRecord {
            topic: topic.clone(),
            partition: None,
            key,
            value: Some(value.into()),
            headers: vec![],
        };
        memory.log().publish(record).await.unwrap();
    }
    let mut values = Vec::new();
    while values.len() < 2 {
        let delivery = tokio::time::timeout(std::time::Duration::from_secs(30), tail.deliveries.recv()).await;
        if let Some(ridgeline_ports::Delivery::Record { record, .. }) = delivery.expect("a delivery in time") {
            values.push(record.value.unwrap());
        }
    }
    assert_eq!(values[0], example);
    assert_eq!(values[1][1..5], u32::MAX.to_be_bytes(), "an id that nobody knows is left as it was");
    site.remove().await;
}
