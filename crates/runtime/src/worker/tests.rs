//! The loop against a log double that the test plays by hand, in stepped time.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use ridgeline_domain::{DurationMs, ErrorCode, Timestamp};
use ridgeline_ports::{
    Appended, GroupId, MemberId, NewRecord, Offset, SubscriptionHandle, TailStart, TailSubscription, TopicName,
    TopicSpec,
};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::{Ending, FuseLimits, Health, HoldKey, Limits, Poison, StepError};

const P0: Partition = Partition(0);
const P1: Partition = Partition(1);

/// What a scripted attempt does.
#[derive(Debug, Clone)]
enum Act {
    Done,
    Retry,
    Poison,
    Panic,
    Fatal,
    Hold(&'static str, Option<i64>),
    Release(&'static str),
    /// Waits until the test opens the gate, then ends well.
    Gate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Handled(u32, u64),
    Timer(String),
    Buried(u64, u32),
    Poisoned(u64),
    Released(Vec<u32>),
}

struct Script {
    acts: Mutex<HashMap<(u32, u64), VecDeque<Act>>>,
    timers: Mutex<VecDeque<Act>>,
    bury_fails: AtomicUsize,
    poisoned_fails: AtomicUsize,
    all_poison: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    running: Mutex<BTreeSet<(u32, Bytes)>>,
    gate: Semaphore,
    start: Instant,
    /// How far the process's clock is from the log's, in milliseconds.
    skew: AtomicI64,
}

impl Script {
    /// The log's clock.
    fn log_now(&self) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + i64::try_from(self.start.elapsed().as_millis()).unwrap())
    }

    fn saw(&self, seen: Seen) {
        self.seen.lock().push(seen);
    }

    async fn play(&self, act: Act, partition: Partition) -> Result<Ending, StepError> {
        let key = |name: &'static str| HoldKey { partition, bytes: Bytes::from_static(name.as_bytes()) };
        match act {
            Act::Done => Ok(Ending::Done),
            Act::Retry => Err(StepError::Retry("store away".into())),
            Act::Poison => Err(StepError::poison(ErrorCode::RecordUndecodable, "no Avro")),
            Act::Panic => std::panic::resume_unwind(Box::new("content")),
            Act::Fatal => Err(StepError::Fatal("corrupt".into())),
            Act::Hold(name, after) => {
                let deadline = after.map(|after| self.log_now().plus(DurationMs(after)));
                Ok(Ending::Hold { key: key(name), deadline })
            }
            Act::Release(name) => Ok(Ending::Release(key(name))),
            Act::Gate => {
                self.gate.acquire().await.unwrap().forget();
                Ok(Ending::Done)
            }
        }
    }
}

impl Clock for Script {
    fn now(&self) -> Timestamp {
        self.log_now().plus(DurationMs(self.skew.load(Ordering::SeqCst)))
    }
}

/// Removes its lane when the attempt ends, however it ends.
struct InLane<'a>(&'a Script, (u32, Bytes));

impl Drop for InLane<'_> {
    fn drop(&mut self) {
        self.0.running.lock().remove(&self.1);
    }
}

#[async_trait]
impl Handler for Script {
    async fn handle(&self, record: Arc<Record>) -> Result<Ending, StepError> {
        let lane = (record.partition.0, record.key.clone());
        assert!(self.running.lock().insert(lane.clone()), "D-5: two attempts in one lane");
        let _in_lane = InLane(self, lane);
        self.saw(Seen::Handled(record.partition.0, record.offset.0));
        let place = (record.partition.0, record.offset.0);
        let next = self.acts.lock().get_mut(&place).and_then(VecDeque::pop_front);
        let usual = if self.all_poison.load(Ordering::SeqCst) { Act::Poison } else { Act::Done };
        self.play(next.unwrap_or(usual), record.partition).await
    }

    async fn timer(&self, key: HoldKey) -> Result<Ending, StepError> {
        self.saw(Seen::Timer(String::from_utf8(key.bytes.to_vec()).unwrap()));
        let next = self.timers.lock().pop_front();
        match next {
            Some(act) => self.play(act, key.partition).await,
            None => Ok(Ending::Release(key)),
        }
    }

    async fn poisoned(&self, record: Arc<Record>, _: &Poison) -> Result<(), StepError> {
        if self.poisoned_fails.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(StepError::Retry("log away".into()));
        }
        self.saw(Seen::Poisoned(record.offset.0));
        Ok(())
    }

    fn released(&self, partitions: &[Partition]) {
        self.saw(Seen::Released(partitions.iter().map(|partition| partition.0).collect()));
    }
}

#[async_trait]
impl DeadLetters for Script {
    async fn bury(&self, record: &Record, _: &Poison, attempts: u32) -> Result<(), StepError> {
        if self.bury_fails.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(StepError::Retry("log away".into()));
        }
        self.saw(Seen::Buried(record.offset.0, attempts));
        Ok(())
    }
}

#[derive(Default)]
struct Broker {
    committed: BTreeMap<Partition, Offset>,
    commits: usize,
    owned: BTreeSet<Partition>,
    paused: BTreeSet<Partition>,
    commit_fails: usize,
    left: bool,
}

impl Broker {
    fn commit(&mut self, offsets: &[(Partition, Offset)]) -> Result<(), LogError> {
        if self.commit_fails > 0 {
            self.commit_fails -= 1;
            return Err(LogError::Unavailable("disk full".into()));
        }
        if offsets.iter().any(|(partition, _)| !self.owned.contains(partition)) {
            return Err(LogError::Closed);
        }
        self.commits += 1;
        for (partition, offset) in offsets {
            let before = self.committed.insert(*partition, *offset);
            assert!(before.is_none_or(|before| before <= *offset), "D-2: a committed offset never falls");
        }
        Ok(())
    }
}

struct Double {
    broker: Mutex<Broker>,
    control: mpsc::UnboundedSender<Control>,
    subscription: Mutex<Option<GroupSubscription>>,
    subscribe_fails: AtomicUsize,
}

struct Handle(Arc<Double>);

#[async_trait]
impl SubscriptionHandle for Handle {
    async fn commit(&self, offsets: &[(Partition, Offset)]) -> Result<(), LogError> {
        sleep(Duration::from_millis(1)).await;
        self.0.broker.lock().commit(offsets)
    }

    async fn pause(&self, partitions: &[Partition]) -> Result<(), LogError> {
        self.0.broker.lock().paused.extend(partitions);
        Ok(())
    }

    async fn resume(&self, partitions: &[Partition]) -> Result<(), LogError> {
        self.0.broker.lock().paused.retain(|partition| !partitions.contains(partition));
        Ok(())
    }

    async fn seek(&self, _: Partition, _: Offset) -> Result<(), LogError> {
        Err(LogError::Closed)
    }

    /// Revokes with ack and waits for it, as the port says.
    async fn leave(&self) -> Result<(), LogError> {
        let partitions: Vec<_> = self.0.broker.lock().owned.iter().copied().collect();
        let (ack, offsets) = oneshot::channel();
        self.0.control.send(Control::Revoked { partitions, ack }).map_err(|_| LogError::Closed)?;
        let offsets = offsets.await.map_err(|_| LogError::Closed)?;
        let mut broker = self.0.broker.lock();
        broker.left = true;
        broker.commit(&offsets)
    }
}

#[async_trait]
impl EventLog for Double {
    async fn ensure_topic(&self, _: &TopicSpec) -> Result<(), LogError> {
        Ok(())
    }
    async fn partitions(&self, _: &TopicName) -> Result<u32, LogError> {
        Ok(2)
    }
    async fn publish(&self, _: NewRecord) -> Result<Appended, LogError> {
        Err(LogError::Closed)
    }
    async fn subscribe(
        &self,
        _: &TopicName,
        _: &GroupId,
        _: &MemberId,
        _: StartAt,
    ) -> Result<GroupSubscription, LogError> {
        if self.subscribe_fails.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(LogError::Unavailable("starting".into()));
        }
        self.subscription.lock().take().ok_or(LogError::Closed)
    }
    async fn tail(&self, _: &TopicName, _: TailStart) -> Result<TailSubscription, LogError> {
        Err(LogError::Closed)
    }
    async fn end_offsets(&self, _: &TopicName) -> Result<Vec<Offset>, LogError> {
        Ok(vec![Offset(100); 2])
    }
    async fn committed(&self, _: &TopicName, _: &GroupId) -> Result<Vec<Option<Offset>>, LogError> {
        Ok(Vec::new())
    }
}

struct Rig {
    script: Arc<Script>,
    log: Arc<Double>,
    deliveries: mpsc::Sender<Delivery>,
    health: HealthHandle,
    stop: CancellationToken,
    worker: JoinHandle<Result<(), RuntimeError>>,
    epoch: u64,
}

impl Rig {
    fn new(limits: Limits) -> Self {
        let script = Arc::new(Script {
            acts: Mutex::default(),
            timers: Mutex::default(),
            bury_fails: AtomicUsize::new(0),
            poisoned_fails: AtomicUsize::new(0),
            all_poison: AtomicBool::new(false),
            seen: Mutex::default(),
            running: Mutex::default(),
            gate: Semaphore::new(0),
            start: Instant::now(),
            skew: AtomicI64::new(0),
        });
        let (control, control_out) = mpsc::unbounded_channel();
        let (deliveries, deliveries_out) = mpsc::channel(1_024);
        let log = Arc::new(Double {
            broker: Mutex::default(),
            control,
            subscription: Mutex::default(),
            subscribe_fails: AtomicUsize::new(0),
        });
        let handle = Arc::new(Handle(log.clone()));
        *log.subscription.lock() = Some(GroupSubscription { control: control_out, deliveries: deliveries_out, handle });
        let spec = WorkerSpec {
            role: "test",
            topic: TopicName::new("t"),
            group: GroupId("g".into()),
            member: MemberId("m".into()),
            limits,
        };
        let health = Health::new().component("test");
        let stop = CancellationToken::new();
        let ports = Ports { log: log.clone(), dead: script.clone(), clock: script.clone() };
        let worker = tokio::spawn(run(spec, ports, script.clone(), health.clone(), stop.clone()));
        Self { script, log, deliveries, health, stop, worker, epoch: 0 }
    }

    /// With both partitions assigned from 0.
    fn started(limits: Limits) -> Self {
        let mut rig = Self::new(limits);
        rig.assign(&[P0, P1]);
        rig
    }

    fn assign(&mut self, partitions: &[Partition]) {
        self.epoch += 1;
        let mut broker = self.log.broker.lock();
        broker.owned.extend(partitions);
        let assignment = |partition: &Partition| Assignment {
            partition: *partition,
            epoch: self.epoch,
            start: broker.committed.get(partition).copied().unwrap_or(Offset(0)),
        };
        let assignments = partitions.iter().map(assignment).collect();
        self.log.control.send(Control::Assigned(assignments)).unwrap();
    }

    fn revoke(&self, partitions: &[Partition]) -> oneshot::Receiver<Vec<(Partition, Offset)>> {
        let (ack, offsets) = oneshot::channel();
        self.log.control.send(Control::Revoked { partitions: partitions.to_vec(), ack }).unwrap();
        offsets
    }

    fn script(&self, partition: Partition, offset: u64, acts: &[Act]) {
        self.script.acts.lock().insert((partition.0, offset), acts.iter().cloned().collect());
    }

    async fn send(&self, partition: Partition, offsets: std::ops::Range<u64>, key: impl Fn(u64) -> u64) {
        for offset in offsets {
            let record = Record {
                topic: TopicName::new("t"),
                partition,
                offset: Offset(offset),
                append_time: self.script.log_now(),
                key: key(offset).to_string().into(),
                value: None,
                headers: Vec::new(),
            };
            self.deliveries.send(Delivery::Record { record, epoch: self.epoch }).await.unwrap();
        }
    }

    fn committed(&self, partition: Partition) -> Option<u64> {
        self.log.broker.lock().committed.get(&partition).map(|offset| offset.0)
    }

    fn seen(&self, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        self.script.seen.lock().iter().filter(|seen| wanted(seen)).cloned().collect()
    }

    fn handled(&self, partition: Partition) -> Vec<u64> {
        let of = |seen: &Seen| match seen {
            Seen::Handled(from, offset) if *from == partition.0 => Some(*offset),
            _ => None,
        };
        self.script.seen.lock().iter().filter_map(of).collect()
    }

    fn buried(&self) -> Vec<u64> {
        let of = |seen: &Seen| if let Seen::Buried(offset, _) = seen { Some(*offset) } else { None };
        self.script.seen.lock().iter().filter_map(of).collect()
    }

    async fn end(self) -> Result<(), RuntimeError> {
        self.stop.cancel();
        self.worker.await.unwrap()
    }
}

/// Time for everything that needs no longer wait.
async fn soon() {
    sleep(Duration::from_millis(400)).await;
}

/// Every record a lane of its own.
fn own(offset: u64) -> u64 {
    offset
}

#[tokio::test(start_paused = true)]
async fn poison_first_middle_and_last_is_buried_and_the_pipeline_goes_on() {
    let rig = Rig::started(Limits::default());
    for (offset, act) in [(0, Act::Poison), (5, Act::Panic), (9, Act::Poison)] {
        rig.script(P0, offset, &[act]);
    }
    rig.send(P0, 0..10, |offset| offset % 2).await;
    soon().await;
    assert_eq!(rig.committed(P0), Some(10));
    assert_eq!(rig.buried().iter().collect::<BTreeSet<_>>(), BTreeSet::from([&0, &5, &9]));
    let order = rig.seen(|seen| matches!(seen, Seen::Buried(9, _) | Seen::Poisoned(9)));
    assert_eq!(order, [Seen::Buried(9, 1), Seen::Poisoned(9)], "the dead letter is durable first");
    assert_eq!(rig.handled(P0).len(), 10, "each once");
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_burial_that_fails_is_made_again_without_handling_the_record_again() {
    let rig = Rig::started(Limits::default());
    rig.script.bury_fails.store(2, Ordering::SeqCst);
    rig.script.poisoned_fails.store(1, Ordering::SeqCst);
    rig.script(P0, 0, &[Act::Poison]);
    rig.send(P0, 0..1, own).await;
    sleep(Duration::from_millis(30)).await;
    assert_eq!(rig.committed(P0), None, "D-2: not buried yet");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.handled(P0), [0]);
    assert_eq!(rig.seen(|seen| *seen == Seen::Poisoned(0)).len(), 1);
    assert_eq!(rig.committed(P0), Some(1));
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_retry_holds_its_lane_only_and_degrades_health_until_it_succeeds() {
    let rig = Rig::started(Limits::default());
    rig.script(P0, 1, &[Act::Retry, Act::Retry, Act::Retry]);
    // Lanes: 1 and 3 share one, 0 and 2 the other.
    rig.send(P0, 0..4, |offset| offset % 2).await;
    sleep(Duration::from_millis(60)).await;
    assert_eq!(rig.handled(P0), [0, 1, 2], "3 waits behind 1, the other lane does not");
    assert_eq!(rig.health.state(), HealthState::Degraded);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(rig.committed(P0), Some(1), "never past the unfinished record");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(rig.handled(P0), [0, 1, 2, 1, 1, 1, 3]);
    assert_eq!(rig.committed(P0), Some(4));
    assert_eq!(rig.health.state(), HealthState::Healthy);
    assert_eq!(rig.buried(), [] as [u64; 0], "D-3: a retry never dead-letters");
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn held_records_wait_for_a_later_record_or_for_their_timer() {
    let rig = Rig::started(Limits::default());
    rig.script(P0, 0, &[Act::Hold("a", None)]);
    rig.script(P0, 1, &[Act::Hold("a", Some(60_000))]);
    rig.script(P0, 2, &[Act::Release("a")]);
    rig.send(P0, 0..2, |_| 0).await;
    soon().await;
    assert_eq!(rig.committed(P0), None);
    rig.send(P0, 2..3, |_| 0).await;
    soon().await;
    assert_eq!(rig.committed(P0), Some(3));

    assert_eq!(rig.seen(|seen| *seen == Seen::Timer("a".into())).len(), 0, "released before its deadline");
    rig.end().await.unwrap();
}

/// A process whose clock is ten minutes off, either way, ends nothing early and nothing late.
#[tokio::test(start_paused = true)]
async fn a_hold_ends_by_the_clock_of_the_log() {
    for skew in [0, 600_000, -600_000] {
        let rig = Rig::started(Limits::default());
        rig.script.skew.store(skew, Ordering::SeqCst);
        rig.script(P1, 0, &[Act::Hold("b", Some(2_000))]);
        rig.script.timers.lock().extend([Act::Retry, Act::Hold("b", Some(5_000))]);
        rig.send(P1, 0..1, own).await;
        sleep(Duration::from_millis(1_900)).await;
        assert_eq!(rig.seen(|seen| matches!(seen, Seen::Timer(_))).len(), 0, "not before the deadline");
        sleep(Duration::from_millis(1_000)).await;
        assert_eq!(rig.seen(|seen| matches!(seen, Seen::Timer(_))).len(), 2, "tried again, then renewed");
        assert_eq!(rig.committed(P1), None);
        sleep(Duration::from_secs(6)).await;
        assert_eq!(rig.seen(|seen| *seen == Seen::Timer("b".into())).len(), 3);
        assert_eq!(rig.committed(P1), Some(1));
        rig.end().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_poison_timer_buries_what_is_held() {
    let rig = Rig::started(Limits::default());
    rig.script(P0, 0, &[Act::Hold("k", Some(100))]);
    rig.script(P0, 1, &[Act::Hold("k", None)]);
    rig.script.timers.lock().push_back(Act::Panic);
    rig.send(P0, 0..2, |_| 0).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.buried(), [0, 1]);
    assert_eq!(rig.committed(P0), Some(2));
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_revoke_waits_for_running_work_and_acks_the_exact_low_water_mark() {
    let rig = Rig::started(Limits::default());
    rig.script(P0, 1, &[Act::Gate]);
    rig.script(P0, 2, &[Act::Retry]);
    rig.send(P0, 0..3, own).await;
    sleep(Duration::from_millis(5)).await;
    let mut ack = rig.revoke(&[P0]);
    rig.send(P0, 3..4, own).await;
    rig.send(P1, 0..1, own).await;
    soon().await;
    assert!(ack.try_recv().is_err(), "1 still runs");
    assert_eq!(rig.handled(P1), [0], "the other partition goes on");
    rig.script.gate.add_permits(1);
    assert_eq!(ack.await.unwrap(), [(P0, Offset(2))], "2 backs off and is not started again");
    assert_eq!(rig.handled(P0), [0, 1, 2], "3 came after the revoke");
    assert_eq!(rig.seen(|seen| matches!(seen, Seen::Released(_))).last(), Some(&Seen::Released(vec![0])));
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_revoke_does_not_wait_past_its_limit_and_drops_late_results() {
    let mut rig = Rig::started(Limits::default());
    rig.script(P0, 0, &[Act::Gate]);
    rig.send(P0, 0..2, own).await;
    sleep(Duration::from_millis(5)).await;
    let asked = Instant::now();
    assert_eq!(rig.revoke(&[P0]).await.unwrap(), [], "0 is unfinished");
    assert_eq!(asked.elapsed().as_secs(), 5);
    rig.script.gate.add_permits(1);
    soon().await;
    assert_eq!(rig.committed(P0), None);
    rig.assign(&[P0]);
    rig.send(P0, 0..2, own).await;
    soon().await;
    assert_eq!(rig.committed(P0), Some(2), "read again after it comes back");
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lost_partitions_are_fenced() {
    let mut rig = Rig::started(Limits::default());
    rig.script(P0, 1, &[Act::Gate, Act::Done]);
    rig.send(P0, 0..3, own).await;
    sleep(Duration::from_millis(5)).await;
    rig.log.broker.lock().owned.remove(&P0);
    rig.log.control.send(Control::Lost(vec![P0])).unwrap();
    rig.script.gate.add_permits(1);
    soon().await;
    assert_eq!(rig.committed(P0), None, "nothing is committed");
    assert_eq!(rig.health.state(), HealthState::Healthy);
    rig.assign(&[P0]);
    rig.send(P0, 0..3, own).await;
    soon().await;
    assert_eq!(rig.committed(P0), Some(3));
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_record_right_behind_its_assignment_is_not_dropped() {
    let mut rig = Rig::new(Limits::default());
    soon().await;
    rig.assign(&[P0]);
    rig.send(P0, 0..1, own).await;
    soon().await;
    assert_eq!(rig.committed(P0), Some(1));
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn control_is_handled_while_the_window_is_full() {
    let rig = Rig::started(Limits { running_max: 2, ..Limits::default() });
    (0..2).for_each(|offset| rig.script(P0, offset, &[Act::Gate]));
    rig.send(P0, 0..200, own).await;
    soon().await;
    assert_eq!(rig.handled(P0), [0, 1], "full");
    assert!(rig.deliveries.capacity() < rig.deliveries.max_capacity(), "new records wait in the channel");
    let before = Instant::now();
    assert_eq!(rig.revoke(&[P1]).await.unwrap(), []);
    assert!(before.elapsed() < Duration::from_millis(10));
    rig.script.gate.add_permits(2);
    soon().await;
    assert_eq!(rig.committed(P0), Some(200));
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stuck_lane_pauses_its_partition_at_the_span_limit() {
    let rig = Rig::started(Limits { span_max: 20, ..Limits::default() });
    rig.script(P0, 0, &[Act::Gate]);
    rig.send(P0, 0..30, own).await;
    rig.send(P1, 0..5, own).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.log.broker.lock().paused, BTreeSet::from([P0]));
    assert_eq!(rig.health.state(), HealthState::Degraded);
    assert_eq!((rig.committed(P0), rig.committed(P1)), (None, Some(5)));
    rig.script.gate.add_permits(1);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.log.broker.lock().paused, BTreeSet::new());
    assert_eq!(rig.committed(P0), Some(30));
    assert_eq!(rig.health.state(), HealthState::Healthy);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_fuse_blows_lets_one_through_at_a_time_and_mends() {
    let fuse = FuseLimits { run_max: 5, ..FuseLimits::default() };
    let rig = Rig::started(Limits { running_max: 1, fuse, ..Limits::default() });
    rig.script.all_poison.store(true, Ordering::SeqCst);
    rig.send(P0, 0..50, own).await;
    soon().await;
    assert_eq!(rig.buried(), [0, 1, 2, 3, 4], "then it blew");
    assert_eq!(rig.health.state(), HealthState::Unhealthy);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(rig.buried().len(), 7, "one in ten seconds");
    rig.script.all_poison.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(11)).await;
    assert_eq!(rig.committed(P0), Some(50));
    assert_eq!(rig.buried().len(), 7);
    assert_eq!(rig.health.state(), HealthState::Healthy);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_drains_commits_and_leaves() {
    let rig = Rig::started(Limits::default());
    rig.script(P0, 1, &[Act::Gate]);
    rig.send(P0, 0..2, own).await;
    sleep(Duration::from_millis(5)).await;
    rig.stop.cancel();
    rig.send(P0, 2..4, own).await;
    soon().await;
    assert!(!rig.worker.is_finished(), "1 still runs");
    rig.script.gate.add_permits(1);
    soon().await;
    assert!(rig.worker.is_finished());
    assert_eq!((rig.committed(P0), rig.handled(P0)), (Some(2), vec![0, 1]), "nothing new after the stop");
    assert!(rig.log.broker.lock().left);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_past_the_drain_limit() {
    let rig = Rig::started(Limits::default());
    rig.script(P0, 1, &[Act::Gate]);
    rig.send(P0, 0..3, own).await;
    sleep(Duration::from_millis(5)).await;
    let (log, asked) = (rig.log.clone(), Instant::now());
    rig.end().await.unwrap();
    assert_eq!(asked.elapsed().as_secs(), 10);
    assert_eq!(log.broker.lock().committed[&P0], Offset(1), "the exact low-water mark");
}

#[tokio::test(start_paused = true)]
async fn a_fatal_step_stops_the_worker_and_commits_what_had_finished() {
    let rig = Rig::started(Limits::default());
    rig.script(P0, 1, &[Act::Fatal]);
    rig.send(P0, 0..1, own).await;
    sleep(Duration::from_millis(5)).await;
    rig.send(P0, 1..2, own).await;
    soon().await;
    assert!(rig.worker.is_finished());
    assert_eq!(rig.committed(P0), Some(1));
    assert_eq!(rig.health.state(), HealthState::Unhealthy);
    assert!(matches!(rig.end().await, Err(RuntimeError::Step { role: "test", .. })));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_away_is_subscribed_to_once_it_is_back() {
    let rig = Rig::started(Limits::default());
    rig.log.subscribe_fails.store(3, Ordering::SeqCst);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(rig.health.state(), HealthState::Unhealthy);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.health.state(), HealthState::Healthy);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_fails_stops_the_worker() {
    let rig = Rig::started(Limits::default());
    soon().await;
    rig.log.control.send(Control::Failed(LogError::Corrupt("segment".into()))).unwrap();
    soon().await;
    assert!(rig.worker.is_finished());
    assert!(matches!(rig.end().await, Err(RuntimeError::Subscription { .. })));
}

#[tokio::test(start_paused = true)]
async fn commits_are_batched_and_made_again_after_a_failure() {
    let rig = Rig::started(Limits::default());
    rig.log.broker.lock().commit_fails = 2;
    rig.send(P0, 0..100, own).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.committed(P0), Some(100));
    assert!(rig.log.broker.lock().commits <= 2, "{} commits", rig.log.broker.lock().commits);
    assert_eq!(rig.health.state(), HealthState::Healthy);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn gaps_and_the_end_of_a_compacted_partition_are_committed() {
    let rig = Rig::started(Limits::default());
    rig.send(P0, 3..4, own).await;
    rig.send(P0, 7..8, own).await;
    let end = Delivery::End { topic: TopicName::new("t"), partition: P0, next: Offset(12), epoch: rig.epoch };
    rig.deliveries.send(end).await.unwrap();
    soon().await;
    assert_eq!(rig.committed(P0), Some(12));
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hold_key_of_another_partition_is_a_fault_of_the_worker() {
    struct Wrong;
    #[async_trait]
    impl DeadLetters for Wrong {
        async fn bury(&self, _: &Record, _: &Poison, _: u32) -> Result<(), StepError> {
            Ok(())
        }
    }
    #[async_trait]
    impl Handler for Wrong {
        async fn handle(&self, _: Arc<Record>) -> Result<Ending, StepError> {
            Ok(Ending::Release(HoldKey { partition: P1, bytes: Bytes::new() }))
        }
        async fn poisoned(&self, _: Arc<Record>, _: &Poison) -> Result<(), StepError> {
            Ok(())
        }
    }
    let mut rig = Rig::started(Limits::default());
    rig.worker.abort();
    let log = rig.log.clone();
    let (control, deliveries) = (mpsc::unbounded_channel(), mpsc::channel(4));
    let handle = Arc::new(Handle(log.clone()));
    *log.subscription.lock() = Some(GroupSubscription { control: control.1, deliveries: deliveries.1, handle });
    rig.deliveries = deliveries.0;
    let spec = WorkerSpec {
        role: "wrong",
        topic: TopicName::new("t"),
        group: GroupId("g".into()),
        member: MemberId("m".into()),
        limits: Limits::default(),
    };
    let ports = Ports { log, dead: Arc::new(Wrong), clock: rig.script.clone() };
    let worker = tokio::spawn(run(spec, ports, Arc::new(Wrong), rig.health.clone(), rig.stop.clone()));
    let assignment = Assignment { partition: P0, epoch: 1, start: Offset(0) };
    control.0.send(Control::Assigned(vec![assignment])).unwrap();
    rig.send(P0, 0..1, own).await;
    assert!(matches!(worker.await.unwrap(), Err(RuntimeError::Step { .. })));
}
