//! A whole pipeline in one process and one directory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use ridgeline_domain::{AgentId, DurationMs, Operation, Policy, Position, RequestId, Timestamp};
use ridgeline_embedded::{Embedded, EmbeddedOptions};
use ridgeline_intake::{PreparedSample, ScanOptions, ScanRequest, Signer};
use ridgeline_ports::{
    Clock, Control, Delivery, Entropy, EventLog, GroupId, MemberId, NewRecord, Offset, Partition, Record, RowKey,
    StartAt, Store, TailStart,
};
use ridgeline_runtime::{CpuPool, Health, Limits, LogTime, SystemClock, SystemEntropy};
use ridgeline_testkit::clock::TestClock;
use ridgeline_vault::{Aad, AgentRegistry, KeyRing, Purpose, SampleOpener, SigningKey, Vault};
use ridgeline_wire::message::{Audit, DeadLetter, Decision};
use ridgeline_wire::row::{AnswerDetails, AnswerRow, table};
use ridgeline_wire::{Encoded, Topic, Topology, decode};
use ridgeline_workers::{Platform, run_gallery, run_matcher, run_merger};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Long enough for a loaded machine; a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run leaves behind for the next one over the same directory.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    ring: KeyRing,
    key: SigningKey,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            ring: KeyRing::create(&SystemEntropy).unwrap(),
            key: SigningKey::generate(&SystemEntropy).unwrap(),
        }
    }
}

/// A running pipeline.
pub(crate) struct Pipeline {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) vault: Vault,
    pub(crate) signer: Signer,
    pub(crate) seen: Seen,
    platform: Arc<Platform>,
    embedded: Embedded,
    stop: CancellationToken,
    /// Those who look on.
    watchers: JoinSet<()>,
    roles: JoinSet<()>,
}

/// Everything published so far, in the order of arrival.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    decisions: Arc<Mutex<Vec<(Decision, Bytes)>>>,
    audit: Arc<Mutex<Vec<Audit>>>,
    dead: Arc<Mutex<Vec<DeadLetter>>>,
}

pub(crate) fn agent() -> AgentId {
    "agent:test".parse().unwrap()
}

impl Pipeline {
    pub(crate) async fn start(site: &Site) -> Self {
        Self::with(site, Operation::ALL, &["a"]).await
    }

    /// Starts one set of roles per member; the agent may ask for `operations`.
    pub(crate) async fn with(site: &Site, operations: &[Operation], members: &[&str]) -> Self {
        Self::of(site, operations, members, members).await
    }

    /// Starts matchers and mergers, and gallery shards of their own number.
    pub(crate) async fn of(site: &Site, operations: &[Operation], members: &[&str], shards: &[&str]) -> Self {
        let mut pipeline = Self::open(site, operations, Arc::new(SystemClock)).await;
        pipeline.start_roles(members, shards);
        pipeline
    }

    /// Starts one of each role, all with the clock of a machine that is so far from the log's.
    pub(crate) async fn with_wrong_clock(site: &Site, by: DurationMs) -> Self {
        let clock = TestClock::running();
        clock.advance(by);
        let mut pipeline = Self::open(site, Operation::ALL, Arc::new(clock)).await;
        pipeline.start_roles(&["a"], &["a"]);
        pipeline
    }

    /// Log and store without any role; `clock` is what the roles will believe.
    async fn open(site: &Site, operations: &[Operation], clock: Arc<dyn Clock>) -> Self {
        let mut options = EmbeddedOptions::new(Arc::new(SystemClock));
        options.fsync = false;
        let embedded = Embedded::open(site.dir.path(), options).unwrap();
        let (log, store) = (embedded.log(), embedded.store());
        for topic in Topic::ALL {
            log.ensure_topic(&topic.spec("", Topology::Embedded)).await.unwrap();
        }
        store.ensure_tables(table::ALL).await.unwrap();
        let mut agents = AgentRegistry::new();
        agents.insert(agent(), site.key.verifying_key(), operations.iter().copied()).unwrap();
        let vault = Vault::new(site.ring.clone());
        let platform = Arc::new(Platform {
            log: log.clone(),
            store: store.clone(),
            vault: vault.clone(),
            opener: SampleOpener::new(&site.ring),
            agents: Arc::new(RwLock::new(agents)),
            refresh_agents: None,
            policy: Policy::default(),
            clock,
            log_time: LogTime::default(),
            entropy: Arc::new(SystemEntropy),
            cpu: CpuPool::with_default_threads().unwrap(),
            prefix: String::new(),
            health: Health::new(),
            limits: Limits::default(),
        });
        let mut watchers = JoinSet::new();
        let seen = Seen::default();
        follow(&mut watchers, &log, Topic::Decisions, seen.decisions.clone(), |value| (decoded(value), value.clone()))
            .await;
        follow(&mut watchers, &log, Topic::Audit, seen.audit.clone(), decoded).await;
        follow(&mut watchers, &log, Topic::DeadLetters, seen.dead.clone(), decoded).await;
        let signer = Signer::new(agent(), site.key.clone(), site.ring.sealing_key());
        let stop = CancellationToken::new();
        Self { log, store, vault, signer, seen, platform, embedded, stop, watchers, roles: JoinSet::new() }
    }

    /// Starts matchers and mergers, and gallery shards.
    pub(crate) fn start_roles(&mut self, members: &[&str], shards: &[&str]) {
        for member in members {
            let member = (*member).to_owned();
            let (p, s, m) = (self.platform.clone(), self.stop.clone(), member.clone());
            self.roles.spawn(async move { run_matcher(p, &m, s).await.unwrap() });
            let (p, s) = (self.platform.clone(), self.stop.clone());
            self.roles.spawn(async move { run_merger(p, &member, s).await.unwrap() });
        }
        for member in shards {
            self.add_shard((*member).to_owned());
        }
    }

    /// Lets all roles finish; log and store stay open.
    pub(crate) async fn stop_roles(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.roles.join_next().await {
            ended.unwrap();
        }
        self.stop = CancellationToken::new();
    }

    /// Moves the committed offsets of a group back by up to `records` in every partition. No role may run.
    pub(crate) async fn rewind(&self, group: &str, topic: Topic, records: u64) {
        let (topic, group) = (topic.name(""), GroupId(group.to_owned()));
        let committed = self.log.committed(&topic, &group).await.unwrap();
        let member = MemberId("operator".to_owned());
        let mut subscription = self.log.subscribe(&topic, &group, &member, StartAt::Committed).await.unwrap();
        while !matches!(subscription.control.recv().await, Some(Control::Assigned(_))) {}
        for (partition, offset) in (0..).map(Partition).zip(committed) {
            let Some(offset) = offset else { continue };
            let back = Offset(offset.0.saturating_sub(records));
            subscription.handle.commit(&[(partition, back)]).await.unwrap();
        }
        drop(subscription);
    }

    /// Everything on a topic, by partition and offset.
    pub(crate) async fn all_records(&self, topic: Topic) -> Vec<Record> {
        let ends = self.log.end_offsets(&topic.name("")).await.unwrap();
        let mut tail = self.log.tail(&topic.name(""), TailStart::Beginning).await.unwrap();
        let mut open: usize = ends.iter().filter(|end| end.0 > 0).count();
        let mut all = Vec::new();
        while open > 0 {
            if let Some(Delivery::Record { record, .. }) = tail.deliveries.recv().await {
                let index = usize::try_from(record.partition.0).unwrap();
                open -= usize::from(record.offset.next() == ends[index]);
                all.push(record);
            }
        }
        all.sort_by_key(|record| (record.partition, record.offset));
        all
    }

    /// The last record of every key of a topic, as compaction would leave it.
    pub(crate) async fn last_records(&self, topic: Topic) -> BTreeMap<Bytes, Record> {
        self.all_records(topic).await.into_iter().map(|record| (record.key.clone(), record)).collect()
    }

    /// Removes what compaction may remove.
    pub(crate) async fn compact(&self) {
        self.embedded.sweep().await.unwrap();
    }

    /// Registers a second agent that may ask for everything.
    pub(crate) fn other_agent(&self, site: &Site) -> Signer {
        let (id, key): (AgentId, _) = ("agent:other".parse().unwrap(), SigningKey::generate(&SystemEntropy).unwrap());
        self.platform.agents.write().insert(id.clone(), key.verifying_key(), Operation::ALL.iter().copied()).unwrap();
        Signer::new(id, key, site.ring.sealing_key())
    }

    /// One more gallery shard, while work goes on.
    pub(crate) fn add_shard(&mut self, member: String) {
        let (platform, stop) = (self.platform.clone(), self.stop.clone());
        self.roles.spawn(async move { run_gallery(platform, &member, stop).await.unwrap() });
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        self.embedded.shutdown().await;
        self.roles.shutdown().await;
        self.watchers.shutdown().await;
    }

    /// A request about now; change it before it is sent where a test wants another.
    pub(crate) fn request(operation: Operation, subject: Option<&str>, samples: Vec<PreparedSample>) -> ScanRequest {
        ScanRequest {
            request_id: SystemEntropy.request_id(),
            operation,
            subject: subject.map(|subject| subject.parse().unwrap()),
            reader: None,
            captured_at: SystemClock.now(),
            position: Position::Unknown,
            samples,
            options: ScanOptions::default(),
            metadata: BTreeMap::new(),
            api_key: None,
        }
    }

    pub(crate) fn record(&self, request: &ScanRequest) -> NewRecord {
        self.signer.scan_record(Topic::Scans.name(""), request, &SystemEntropy).unwrap()
    }

    pub(crate) async fn send(&self, request: &ScanRequest) -> RequestId {
        self.log.publish(self.record(request)).await.unwrap();
        request.request_id
    }

    /// Sends and waits for the decision.
    pub(crate) async fn ask(
        &self,
        operation: Operation,
        subject: Option<&str>,
        samples: Vec<PreparedSample>,
    ) -> Decision {
        let id = self.send(&Self::request(operation, subject, samples)).await;
        self.decision(id).await
    }

    pub(crate) async fn decision(&self, id: RequestId) -> Decision {
        let seen = self.seen.clone();
        until(move || seen.decisions_of(id).into_iter().next().map(|(decision, _)| decision)).await
    }

    /// What only the asker may see of an answer.
    pub(crate) async fn details(&self, id: RequestId) -> AnswerDetails {
        let row = self.store.get(table::ANSWERS, &RowKey::single(id.to_string())).await.unwrap().unwrap();
        let row: AnswerRow = decode(&row.value).unwrap();
        let aad = Aad::new(table::ANSWERS.name, &id.to_string(), "details");
        decode(self.vault.open(Purpose::Answer, &aad, &row.details.unwrap()).unwrap().expose()).unwrap()
    }
}

impl Seen {
    pub(crate) fn decisions_of(&self, id: RequestId) -> Vec<(Decision, Bytes)> {
        self.decisions.lock().iter().filter(|(decision, _)| decision.confirmation_id == id).cloned().collect()
    }

    pub(crate) fn audit_of(&self, id: RequestId) -> Vec<Audit> {
        self.audit.lock().iter().filter(|audit| audit.request_id == Some(id)).cloned().collect()
    }

    pub(crate) fn audit(&self) -> Vec<Audit> {
        self.audit.lock().clone()
    }

    pub(crate) fn dead(&self) -> Vec<DeadLetter> {
        self.dead.lock().clone()
    }
}

/// Polls until there is something; a test that never sees it fails.
pub(crate) async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let limit = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < limit, "nothing came within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn minutes_ago(minutes: i64) -> Timestamp {
    SystemClock.now().plus(DurationMs::from_secs(-60 * minutes))
}

fn decoded<T: Encoded>(value: &Bytes) -> T {
    decode(value).unwrap()
}

async fn follow<T: Send + 'static>(
    watchers: &mut JoinSet<()>,
    log: &Arc<dyn EventLog>,
    topic: Topic,
    into: Arc<Mutex<Vec<T>>>,
    read: fn(&Bytes) -> T,
) {
    let mut tail = log.tail(&topic.name(""), TailStart::Beginning).await.unwrap();
    watchers.spawn(async move {
        while let Some(delivery) = tail.deliveries.recv().await {
            if let Delivery::Record { record, .. } = delivery {
                into.lock().push(read(&record.value.unwrap()));
            }
        }
    });
}
