use std::path::Path;

use async_trait::async_trait;
use ridgeline_domain::{DurationMs, Operation, Position, RequestId, Sensitive};
use ridgeline_fingerprint::{GreyImage, encode_png};
use ridgeline_ports::{Clock, Delivery, TailStart};
use ridgeline_runtime::{SystemClock, SystemEntropy};
use ridgeline_testkit::memory::Memory;
use ridgeline_vault::{KeyRing, SampleOpener, ScanBinding, SigningKey, Vault};
use ridgeline_wire::message::Scan;
use ridgeline_wire::{Topic, Topology};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::{LogPublisher, SimulatedReader, SpoolLimits, Touch};

/// A log that is away until it is let in, and can take a record without acknowledging it.
#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    swallow: Mutex<bool>,
    never: Mutex<Option<usize>>,
    got: Mutex<Vec<NewRecord>>,
    asked: Notify,
}

#[async_trait]
impl Publisher for Door {
    async fn publish(&self, record: NewRecord) -> Result<(), PublishError> {
        self.asked.notify_one();
        if !*self.open.lock() {
            return Err(PublishError::Later("away".to_owned()));
        }
        if *self.never.lock() == Some(self.got.lock().len()) {
            *self.never.lock() = None;
            return Err(PublishError::Never("too strange".to_owned()));
        }
        self.got.lock().push(record);
        if *self.swallow.lock() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

impl Door {
    fn opened() -> Arc<Self> {
        let door = Self::default();
        *door.open.lock() = true;
        Arc::new(door)
    }

    fn ids(&self) -> Vec<RequestId> {
        let id = |record: &NewRecord| scan_of(record.value.as_deref().unwrap()).request_id;
        self.got.lock().iter().map(id).collect()
    }
}

fn scan_of(bytes: &[u8]) -> Scan {
    ridgeline_wire::decode(bytes).unwrap()
}

/// Keys of the service and of the agent.
struct Keys {
    ring: KeyRing,
    agent: SigningKey,
}

impl Keys {
    fn new() -> Self {
        let entropy = &SystemEntropy;
        Self { ring: KeyRing::create(entropy).unwrap(), agent: SigningKey::generate(entropy).unwrap() }
    }

    fn parts(&self, folder: &Path, publisher: Arc<dyn Publisher>, limits: SpoolLimits) -> AgentParts {
        let topic = Topic::Scans.name("");
        let vault = Vault::new(self.ring.clone());
        AgentParts {
            signer: Signer::new("agent-1".parse().unwrap(), self.agent.clone(), self.ring.sealing_key()),
            topic: topic.clone(),
            spool: Spool::open(folder, topic, vault, Arc::new(SystemEntropy), limits).unwrap(),
            publisher,
            cpu: CpuPool::new(1).unwrap(),
            entropy: Arc::new(SystemEntropy),
            health: Health::new(),
        }
    }
}

const MARK: [u8; 12] = [201, 7, 202, 8, 203, 9, 204, 10, 205, 11, 206, 12];

fn image() -> Vec<u8> {
    let mut pixels: Vec<u8> = (0..200 * 200_u32).map(|i| if (i % 200) / 5 % 2 == 0 { 40 } else { 220 }).collect();
    pixels[20_050..20_062].copy_from_slice(&MARK);
    let mut pgm = b"P5 200 200 255\n".to_vec();
    pgm.extend(pixels);
    pgm
}

fn touch(image: Vec<u8>) -> Touch {
    Touch {
        operation: Operation::Verify,
        subject: Some("alice".parse().unwrap()),
        position: Position::RightIndex,
        image: Sensitive::new(image),
        dpi: Some(500),
    }
}

type Reports = mpsc::UnboundedReceiver<(RequestId, Settled)>;

fn reader_with(touches: Vec<Touch>, clock: Arc<dyn Clock>) -> (Box<dyn Reader>, Reports) {
    let (to, reports) = mpsc::unbounded_channel();
    let id = "reader-1".parse().unwrap();
    let reader = SimulatedReader::new(id, touches, Duration::ZERO, clock, Arc::new(SystemEntropy)).reporting(to);
    (Box::new(reader), reports)
}

fn reader(count: usize) -> (Box<dyn Reader>, Reports) {
    reader_with((0..count).map(|_| touch(image())).collect(), Arc::new(SystemClock))
}

async fn spooled(reports: &mut Reports, count: usize) -> Vec<RequestId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let (id, settled) = timeout(Duration::from_secs(20), reports.recv()).await.unwrap().unwrap();
        assert_eq!(settled, Settled::Spooled);
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn captures_reach_the_log_in_order_signed_and_readable_by_the_matchers_only() {
    let (keys, folder) = (Keys::new(), tempfile::tempdir().unwrap());
    let memory = Memory::open();
    let log = memory.log();
    log.ensure_topic(&Topic::Scans.spec("", Topology::Embedded)).await.unwrap();
    let parts = keys.parts(folder.path(), Arc::new(LogPublisher(log.clone())), SpoolLimits::default());
    let (reader, mut reports) = reader(3);
    Agent::new(parts).run(vec![reader], CancellationToken::new()).await.unwrap();
    let ids = spooled(&mut reports, 3).await;

    let mut tail = log.tail(&Topic::Scans.name(""), TailStart::Beginning).await.unwrap();
    let mut got = Vec::new();
    while got.len() < 3 {
        if let Some(Delivery::Record { record, .. }) = tail.deliveries.recv().await {
            assert_eq!(record.key.as_ref(), b"alice");
            got.push(scan_of(record.value.as_deref().unwrap()));
        }
    }
    assert_eq!(got.iter().map(|scan| scan.request_id).collect::<Vec<_>>(), ids);
    let scan = &got[0];
    assert_eq!(scan.reader.as_ref().unwrap().as_str(), "reader-1");
    let binding = ScanBinding {
        request_id: scan.request_id,
        agent: scan.agent.clone(),
        operation: scan.operation,
        subject: scan.subject_id.clone(),
        captured_at: scan.captured_at,
        valid_until: scan.valid_until,
    };
    let opened = SampleOpener::new(&keys.ring).open_sample(&scan.samples[0].key_id, &binding, &scan.samples[0].sealed);
    assert!(opened.unwrap().expose().starts_with(b"\x89PNG"));
}

#[tokio::test]
async fn an_agent_killed_before_the_acknowledgement_sends_again() {
    let (keys, folder) = (Keys::new(), tempfile::tempdir().unwrap());
    let door = Door::opened();
    *door.swallow.lock() = true;
    let agent = Agent::new(keys.parts(folder.path(), door.clone(), SpoolLimits::default()));
    let (reader, mut reports) = reader(2);
    let running = {
        let agent = agent.clone();
        tokio::spawn(async move { agent.run(vec![reader], CancellationToken::new()).await })
    };
    let ids = spooled(&mut reports, 2).await;
    timeout(Duration::from_secs(10), door.asked.notified()).await.unwrap();
    // The log has the first record, the agent never hears of it. Dropping everything is what a kill does to the process.
    running.abort();
    let _ = running.await;
    while Arc::strong_count(&agent.inner) > 1 || Arc::strong_count(&agent.inner.spool) > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(agent);
    *door.swallow.lock() = false;

    let agent = Agent::new(keys.parts(folder.path(), door.clone(), SpoolLimits::default()));
    agent.run(Vec::new(), CancellationToken::new()).await.unwrap();
    assert_eq!(door.ids(), [ids[0], ids[0], ids[1]], "in order, the first twice: answered once by its id");
    assert_eq!(agent.waiting(), 0);
}

#[tokio::test]
async fn a_full_spool_holds_the_reader_back_and_loses_nothing() {
    let (keys, folder) = (Keys::new(), tempfile::tempdir().unwrap());
    let door = Arc::new(Door::default());
    let limits = SpoolLimits { records_max: 2, ..SpoolLimits::default() };
    let agent = Agent::new(keys.parts(folder.path(), door.clone(), limits));
    let (reader, mut reports) = reader(5);
    let running = {
        let agent = agent.clone();
        tokio::spawn(async move { agent.run(vec![reader], CancellationToken::new()).await })
    };
    let mut ids = spooled(&mut reports, 2).await;
    let third = timeout(Duration::from_millis(300), reports.recv()).await;
    assert!(third.is_err(), "the reader is not asked while the spool is full");
    assert_eq!(agent.waiting(), 2);
    let states = agent.inner.health.snapshot();
    assert!(states.iter().any(|part| part.name == "reader:reader-1" && part.state == HealthState::Degraded));
    *door.open.lock() = true;
    ids.extend(spooled(&mut reports, 3).await);
    timeout(Duration::from_secs(20), running).await.unwrap().unwrap().unwrap();
    assert_eq!(door.ids(), ids);
    assert_eq!(agent.inner.health.overall(), HealthState::Healthy);
}

#[tokio::test]
async fn what_is_no_image_is_refused_to_its_reader_and_the_next_one_passes() {
    let (keys, folder) = (Keys::new(), tempfile::tempdir().unwrap());
    let door = Door::opened();
    let agent = Agent::new(keys.parts(folder.path(), door.clone(), SpoolLimits::default()));
    let (reader, mut reports) = reader_with(vec![touch(b"hello".to_vec()), touch(image())], Arc::new(SystemClock));
    agent.run(vec![reader], CancellationToken::new()).await.unwrap();
    assert!(matches!(reports.recv().await.unwrap().1, Settled::Refused(_)));
    let (id, settled) = reports.recv().await.unwrap();
    assert_eq!((settled, door.ids()), (Settled::Spooled, vec![id]));
}

#[tokio::test]
async fn a_record_the_log_never_takes_does_not_block_the_others() {
    let (keys, folder) = (Keys::new(), tempfile::tempdir().unwrap());
    let door = Door::opened();
    *door.never.lock() = Some(0);
    let agent = Agent::new(keys.parts(folder.path(), door.clone(), SpoolLimits::default()));
    let (reader, mut reports) = reader(2);
    agent.run(vec![reader], CancellationToken::new()).await.unwrap();
    let ids = spooled(&mut reports, 2).await;
    assert_eq!(door.ids(), ids[1..]);
    assert_eq!(std::fs::read_dir(folder.path().join("refused")).unwrap().count(), 1);
}

#[tokio::test]
async fn expired_records_are_sent_all_the_same() {
    let (keys, folder) = (Keys::new(), tempfile::tempdir().unwrap());
    let long_ago = SystemClock.now().plus(DurationMs::from_days(-3));
    let clock = Arc::new(ridgeline_testkit::clock::TestClock::at(long_ago));
    let door = Door::opened();
    let agent = Agent::new(keys.parts(folder.path(), door.clone(), SpoolLimits::default()));
    let (reader, _reports) = reader_with(vec![touch(image())], clock);
    agent.run(vec![reader], CancellationToken::new()).await.unwrap();
    let scan = scan_of(door.got.lock()[0].value.as_deref().unwrap());
    assert!(scan.valid_until < SystemClock.now());
}

#[tokio::test]
async fn p2_no_image_lies_in_the_spool_in_clear() {
    let (keys, folder) = (Keys::new(), tempfile::tempdir().unwrap());
    let agent = Agent::new(keys.parts(folder.path(), Arc::new(Door::default()), SpoolLimits::default()));
    let (reader, mut reports) = reader(2);
    let stop = CancellationToken::new();
    let running = {
        let (agent, stop) = (agent.clone(), stop.clone());
        tokio::spawn(async move { agent.run(vec![reader], stop).await })
    };
    spooled(&mut reports, 2).await;
    stop.cancel();
    timeout(Duration::from_secs(10), running).await.unwrap().unwrap().unwrap();
    let gray = GreyImage::new(200, 200, 500, image()[15..].to_vec()).unwrap();
    let png = encode_png(&gray);
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        files += usize::from(bytes.starts_with(b"RL1"));
        for clear in [&b"\x89PNG"[..], b"IDAT", b"P5 200", b"alice", &MARK[..], &png[60..76]] {
            let found = bytes.windows(clear.len()).any(|window| window == clear);
            assert!(!found, "{}", path.display());
        }
    }
    assert_eq!(files, 2, "both records are ciphertexts");
}
