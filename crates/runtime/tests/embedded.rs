//! The loop over the embedded log: members come, go and are lost under load, and the offsets that the log has committed
//! tell whether everything ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use ridgeline_domain::{DurationMs, ErrorCode};
use ridgeline_ports::{
    Cleanup, EventLog, GroupId, MemberId, NewRecord, Offset, Partition, Record, TopicName, TopicSpec,
};
use ridgeline_runtime::{
    DeadLetters, Ending, Handler, Health, HealthState, Limits, Poison, Ports, RuntimeError, StepError, SystemClock,
    WorkerSpec, run,
};
use ridgeline_testkit::memory::Memory;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const PARTITIONS: u32 = 4;
const KEYS: u64 = 37;

fn topic() -> TopicName {
    TopicName::new("work")
}

fn group() -> GroupId {
    GroupId("workers".into())
}

/// What all members did together: effects in the order in which they became durable.
#[derive(Default)]
struct Effects {
    /// Per key: the sequence numbers of the records, as their effects appeared.
    by_key: Mutex<BTreeMap<Bytes, Vec<u64>>>,
    buried: Mutex<BTreeSet<u64>>,
    calls: AtomicU64,
}

fn sequence(record: &Record) -> u64 {
    let value = record.value.clone().unwrap_or_default();
    std::str::from_utf8(&value).unwrap().parse().unwrap()
}

#[async_trait]
impl Handler for Effects {
    /// Every 23rd record is poison; every 11th call fails the first time and is made again.
    async fn handle(&self, record: Arc<Record>) -> Result<Ending, StepError> {
        let (sequence, call) = (sequence(&record), self.calls.fetch_add(1, Ordering::SeqCst));
        sleep(Duration::from_millis(call % 4)).await;
        if sequence % 23 == 0 {
            return Err(StepError::poison(ErrorCode::RecordInvalid, "every 23rd"));
        }
        if call % 11 == 0 {
            return Err(StepError::Retry("the store is away".into()));
        }
        self.by_key.lock().entry(record.key.clone()).or_default().push(sequence);
        sleep(Duration::from_millis(call % 3)).await;
        Ok(Ending::Done)
    }

    async fn poisoned(&self, _: Arc<Record>, _: &Poison) -> Result<(), StepError> {
        Ok(())
    }
}

#[async_trait]
impl DeadLetters for Effects {
    async fn bury(&self, record: &Record, _: &Poison, _: u32) -> Result<(), StepError> {
        self.buried.lock().insert(sequence(record));
        Ok(())
    }
}

struct Member {
    stop: CancellationToken,
    worker: JoinHandle<Result<(), RuntimeError>>,
}

fn member(name: &str, log: &Arc<dyn EventLog>, effects: &Arc<Effects>, health: &Health) -> Member {
    let limits = Limits { backoff_min: Duration::from_millis(5), ..Limits::default() };
    let spec = WorkerSpec { role: "test", topic: topic(), group: group(), member: MemberId(name.into()), limits };
    let ports = Ports { log: log.clone(), dead: effects.clone(), clock: Arc::new(SystemClock) };
    let stop = CancellationToken::new();
    let worker = tokio::spawn(run(spec, ports, effects.clone(), health.component(name), stop.clone()));
    Member { stop, worker }
}

async fn publish(log: &Arc<dyn EventLog>, sequences: std::ops::Range<u64>) {
    for sequence in sequences {
        let key = format!("key-{}", sequence % KEYS).into();
        let value = Some(sequence.to_string().into());
        let record = NewRecord { topic: topic(), partition: None, key, value, headers: Vec::new() };
        log.publish(record).await.unwrap();
    }
}

async fn all_committed(log: &Arc<dyn EventLog>) {
    let ended = async {
        loop {
            let ends = log.end_offsets(&topic()).await.unwrap();
            let committed = log.committed(&topic(), &group()).await.unwrap();
            if committed.iter().map(|offset| offset.unwrap_or(Offset(0))).eq(ends) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), ended).await.expect("D-3: every record ends");
}

async fn log_with_topic() -> (Memory, Arc<dyn EventLog>) {
    let memory = Memory::open();
    let log = memory.log();
    let cleanup = Cleanup::Delete { retention: DurationMs::from_days(1) };
    let spec = TopicSpec { name: topic(), partitions: PARTITIONS, cleanup, record_bytes_max: 1_024 };
    log.ensure_topic(&spec).await.unwrap();
    (memory, log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_ends_in_order_while_members_come_go_and_are_lost() {
    const RECORDS: u64 = 600;
    let (_memory, log) = log_with_topic().await;
    let (effects, health) = (Arc::new(Effects::default()), Health::new());
    publish(&log, 0..200).await;
    let first = member("a", &log, &effects, &health);
    publish(&log, 200..300).await;
    let second = member("b", &log, &effects, &health);
    publish(&log, 300..450).await;
    // Cut off as a crash would: no drain, no commit, no leave.
    first.worker.abort();
    let third = member("c", &log, &effects, &health);
    publish(&log, 450..RECORDS).await;
    second.stop.cancel();
    second.worker.await.unwrap().unwrap();
    all_committed(&log).await;
    assert_eq!(health.component("c").state(), HealthState::Healthy, "nothing is being retried any more");
    third.stop.cancel();
    third.worker.await.unwrap().unwrap();

    let poison = (0..RECORDS).filter(|sequence| sequence % 23 == 0).collect();
    assert_eq!(*effects.buried.lock(), poison, "D-3: poison, and only poison, is dead-lettered");
    let by_key = effects.by_key.lock();
    let ended: BTreeSet<u64> = by_key.values().flatten().copied().collect();
    assert_eq!(u64::try_from(ended.len() + poison.len()).unwrap(), RECORDS, "D-2: nothing was committed unfinished");
    for (key, sequences) in by_key.iter() {
        // A redelivery starts again behind the committed offset; the first effect of each record must be in log order.
        let mut seen = BTreeSet::new();
        let firsts: Vec<_> = sequences.iter().filter(|sequence| seen.insert(**sequence)).collect();
        assert!(firsts.is_sorted(), "D-5: {key:?}: {sequences:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_stops_leaves_exactly_what_it_finished() {
    let (_memory, log) = log_with_topic().await;
    let (effects, health) = (Arc::new(Effects::default()), Health::new());
    publish(&log, 0..300).await;
    let only = member("a", &log, &effects, &health);
    sleep(Duration::from_millis(30)).await;
    only.stop.cancel();
    only.worker.await.unwrap().unwrap();

    let committed = log.committed(&topic(), &group()).await.unwrap();
    let ended: BTreeSet<u64> = effects.by_key.lock().values().flatten().copied().collect();
    let buried = effects.buried.lock().clone();
    // Read back what lies below each committed offset.
    let mut tail = log.tail(&topic(), ridgeline_ports::TailStart::Beginning).await.unwrap();
    let mut seen = 0;
    while seen < 300 {
        let Some(ridgeline_ports::Delivery::Record { record, .. }) = tail.deliveries.recv().await else { continue };
        seen += 1;
        let Partition(partition) = record.partition;
        let upto = committed[usize::try_from(partition).unwrap()].unwrap_or(Offset(0));
        if record.offset < upto {
            let sequence = sequence(&record);
            assert!(ended.contains(&sequence) || buried.contains(&sequence), "D-2: {sequence} is not finished");
        }
    }
    let next = member("b", &log, &effects, &health);
    all_committed(&log).await;
    next.stop.cancel();
    next.worker.await.unwrap().unwrap();
}
