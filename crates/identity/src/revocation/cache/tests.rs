use bytes::Bytes;
use ridgeline_domain::{DeviceId, FamilyId, Timestamp, UserId};
use ridgeline_ports::{NewRecord, PlainWrite};
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::covers;
use ridgeline_testkit::memory::Memory;
use ridgeline_testkit::stall::{Stall, StallStore};
use ridgeline_wire::auth::Revocation;
use ridgeline_wire::auth_row::{RevokedRow, table};
use ridgeline_wire::{Topic, Topology};
use tokio::task::JoinHandle;

use super::*;
use crate::revocation::{RevocationKind, record_key, row_key};

/// A cache on a log and a store with a clock that stands still, and how many rows it has asked for.
struct Site {
    memory: Memory,
    cache: Arc<RevocationCache>,
    reads: Stall,
    user: UserId,
    device: DeviceId,
    family: FamilyId,
}

impl Site {
    async fn new() -> Self {
        let memory = Memory::with(TestClock::at(Timestamp::from_millis(1_000_000)), |_| {});
        memory.log().ensure_topic(&Topic::Revocations.spec("", Topology::Embedded)).await.unwrap();
        memory.store().ensure_tables(&[table::REVOKED]).await.unwrap();
        let reads = Stall::default();
        let store = Arc::new(StallStore { inner: memory.store(), stall: reads.clone() });
        let topic = Topic::Revocations.name("");
        let cache = Arc::new(RevocationCache::new(memory.log(), topic, store, memory.clock()));
        let user = UserId::new("ridgeline", "u1").unwrap();
        let (device, family) = (DeviceId::from_bytes([1; 16]), FamilyId::from_bytes([2; 16]));
        Self { memory, cache, reads, user, device, family }
    }

    fn now(&self) -> Timestamp {
        self.memory.clock().now()
    }

    fn follow(&self) -> (JoinHandle<()>, CancellationToken) {
        let (stop, cache) = (CancellationToken::new(), self.cache.clone());
        let token = stop.clone();
        (tokio::spawn(async move { cache.run(token).await }), stop)
    }

    async fn publish(&self, kind: &str, id: &str) {
        let at = self.now();
        let value = Revocation { kind: kind.to_owned(), id: id.to_owned(), at, reason: "test".to_owned() };
        let record = NewRecord {
            topic: Topic::Revocations.name(""),
            partition: None,
            key: Bytes::from(format!("{kind}:{id}")),
            value: Some(ridgeline_wire::encode(&value).unwrap().into()),
            headers: vec![],
        };
        self.memory.log().publish(record).await.unwrap();
    }

    async fn store(&self, kind: RevocationKind, id: &str) {
        let row = RevokedRow { at: self.now(), reason: "test".to_owned() };
        let value = ridgeline_wire::encode(&row).unwrap().into();
        let write = PlainWrite { at: self.now(), expires_at: None };
        self.memory.store().put(table::REVOKED, &row_key(kind, id), value, write).await.unwrap();
    }

    /// Whether the token is over, and how many rows were read for it.
    async fn ask(&self) -> (bool, usize) {
        let subjects = Subjects {
            user: &self.user,
            device: Some(&self.device),
            family: Some(&self.family),
            issued_at: Timestamp::from_millis(999_000),
        };
        let before = self.reads.calls();
        let answer = self.cache.is_revoked(&subjects).await.unwrap();
        (answer, self.reads.calls() - before)
    }

    /// A heartbeat a millisecond later; once it is read, everything before it is.
    async fn beat(&self) {
        self.memory.clock().advance(DurationMs(1));
        self.publish("heartbeat", "").await;
        while self.cache.lag() != Some(DurationMs(0)) {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The rows of user, device, family and everybody.
const ALL_ROWS: usize = 4;

#[tokio::test]
async fn a_living_tail_refuses_on_the_first_call_after_the_record_and_asks_nobody() {
    covers!("R-101");
    let site = Site::new().await;
    let (task, stop) = site.follow();
    site.beat().await;
    assert_eq!(site.ask().await, (false, 0));
    site.store(RevocationKind::Family, &site.family.to_string()).await;
    site.publish("family", &site.family.to_string()).await;
    site.beat().await;
    assert_eq!(site.ask().await, (true, 0));
    stop.cancel();
    task.await.unwrap();
    site.memory.clock().advance(DurationMs::from_secs(3_600));
    assert_eq!(site.ask().await, (true, 0), "what is over stays over");
}

#[tokio::test]
async fn a_stalled_tail_makes_the_call_after_a_second_read_the_store() {
    covers!("R-101");
    for kind in RevocationKind::ALL.iter().copied() {
        let site = Site::new().await;
        let (task, stop) = site.follow();
        site.beat().await;
        // From here on nothing reaches the cache.
        stop.cancel();
        task.await.unwrap();
        let id = match kind {
            RevocationKind::User => site.user.to_string(),
            RevocationKind::Device => site.device.to_string(),
            RevocationKind::Family => site.family.to_string(),
            RevocationKind::All => String::new(),
        };
        site.store(kind, &id).await;
        site.publish(kind.as_str(), &id).await;
        assert_eq!(site.ask().await, (false, 0), "within the second that is promised");
        site.memory.clock().advance(DurationMs(1_000));
        assert_eq!(site.ask().await, (false, 0));
        site.memory.clock().advance(DurationMs(1));
        assert_eq!(site.ask().await, (true, ALL_ROWS), "{}", record_key(kind, &id));
        assert_eq!(site.ask().await, (true, ALL_ROWS));
    }
}

#[tokio::test]
async fn without_heartbeats_a_good_token_costs_reads_and_with_them_none_again() {
    let site = Site::new().await;
    assert_eq!(site.ask().await, (false, ALL_ROWS), "nothing follows yet");
    let (task, stop) = site.follow();
    site.beat().await;
    assert_eq!((site.ask().await, site.cache.lag()), ((false, 0), Some(DurationMs(0))));
    site.memory.clock().advance(DurationMs(1_001));
    assert_eq!((site.ask().await, site.cache.lag()), ((false, ALL_ROWS), Some(DurationMs(1_001))));
    site.beat().await;
    assert_eq!(site.ask().await, (false, 0));
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_away_is_an_error_and_never_a_good_token() {
    let site = Site::new().await;
    let store = ridgeline_testkit::memory::Memory::open().store();
    let cache = RevocationCache::new(site.memory.log(), Topic::Revocations.name(""), store, site.memory.clock());
    let subjects = Subjects { user: &site.user, device: Some(&site.device), family: None, issued_at: site.now() };
    assert!(cache.is_revoked(&subjects).await.is_err(), "its tables were never made");
}

#[tokio::test]
async fn rows_end_tokens_by_kind_and_time_and_a_damaged_one_is_an_error() {
    let site = Site::new().await;
    let (store, day) = (site.memory.store(), DurationMs::from_days(1));
    let over = async |issued_at: Timestamp| {
        let family = Some(&site.family);
        let subjects = Subjects { user: &site.user, device: Some(&site.device), family, issued_at };
        revoked_in_store(&*site.memory.store(), &subjects).await
    };
    site.store(RevocationKind::User, site.user.as_str()).await;
    assert!(over(site.now()).await.unwrap());
    assert!(!over(site.now().plus(DurationMs(1))).await.unwrap());
    site.store(RevocationKind::All, "").await;
    assert!(!over(site.now().plus(DurationMs(1))).await.unwrap());
    site.store(RevocationKind::Device, &site.device.to_string()).await;
    assert!(over(site.now().plus(day)).await.unwrap());
    let write = PlainWrite { at: site.now(), expires_at: None };
    let key = row_key(RevocationKind::Family, &site.family.to_string());
    store.put(table::REVOKED, &key, Bytes::from_static(b"\0\0"), write).await.unwrap();
    assert!(matches!(over(site.now()).await, Err(StoreError::Corrupt(_))));
}
