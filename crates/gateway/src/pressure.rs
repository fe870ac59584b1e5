//! What the gateway does while the log or the store is slow or away: it refuses at once instead of piling requests up.
//!
//! Log and store are used through a gate each. A gate counts what is under way, gives every call a time to end in, and shuts while a
//! call hangs and no other is answered, or several in a row have failed; then one call at a time may try, and the first that succeeds opens it again. Once a
//! second the gate's health is told: shut means not ready, so that balancers send callers elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use metrics::gauge;
use parking_lot::Mutex;
use ridgeline_domain::Timestamp;
use ridgeline_ports::{
    Appended, Cas, EventLog, GroupId, GroupSubscription, LogError, MemberId, NewRecord, Offset, Page, PlainWrite, Row,
    RowKey, ScanToken, StartAt, Store, StoreError, TableSpec, TailStart, TailSubscription, TopicName, TopicSpec,
    Version,
};
use ridgeline_runtime::{HealthHandle, HealthState, metric};
use ridgeline_wire::row::table;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::gateway::GatewayLimits;

/// So many failures in a row shut a gate; fewer are taken for accidents of single calls.
const FAILURES_MAX: u32 = 5;
/// How often the gates' health is told.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks between two calls made only to see whether log and store answer; in trouble every look makes one.
const LOOKS_PER_PING: u32 = 5;
const PING_TIME: Duration = Duration::from_secs(2);

const TOO_MANY: &str = "too many calls are under way";
const HANGS: &str = "a call has not been answered for too long";
const FAILS: &str = "the last calls failed; another one is being tried";

/// One of the two things behind the gateway.
pub(crate) struct Gate {
    calls_max: usize,
    stall: Duration,
    time: Duration,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    next: u64,
    under_way: BTreeMap<u64, Instant>,
    failures: u32,
    answered: Option<Instant>,
}

impl Gate {
    fn new(calls_max: usize, stall: Duration, time: Duration) -> Self {
        Self { calls_max, stall, time, calls: Mutex::default() }
    }

    /// Why nothing may be begun now.
    pub(crate) fn shut(&self) -> Option<&'static str> {
        self.calls.lock().shut(self.calls_max, self.stall)
    }

    /// Makes a call, unless the gate is shut. A call that takes too long is given up; whether it had an effect is unknown then.
    async fn pass<T, E>(
        self: &Arc<Self>,
        call: impl Future<Output = Result<T, E>> + Send,
        refused: impl Fn(String) -> E + Send,
        is_away: impl Fn(&E) -> bool + Send,
    ) -> Result<T, E> {
        let mut under_way = match UnderWay::begin(self) {
            Ok(under_way) => under_way,
            Err(reason) => return Err(refused(reason.to_owned())),
        };
        let result = timeout(self.time, call).await;
        let result = result.unwrap_or_else(|_| Err(refused(format!("no answer within {} s", self.time.as_secs()))));
        under_way.failed = Some(result.as_ref().err().is_some_and(is_away));
        result
    }

    fn in_trouble(&self) -> bool {
        let calls = self.calls.lock();
        calls.hangs(self.stall) || calls.failures >= FAILURES_MAX
    }

    /// Tells the health, given whether a call just made to see that was answered.
    fn tell(&self, health: &HealthHandle, answered: Option<bool>) {
        let (hangs, failing) = {
            let calls = self.calls.lock();
            (calls.hangs(self.stall), calls.failures >= FAILURES_MAX)
        };
        match (hangs, failing, answered) {
            (true, ..) => health.set(HealthState::Unhealthy, HANGS),
            (false, _, Some(false)) => health.set(HealthState::Unhealthy, "it does not answer"),
            // Answers reading, so requests may come: the next one tries.
            (false, true, Some(true)) => health.set(HealthState::Degraded, FAILS),
            (false, true, None) => {}
            (false, false, Some(true)) => health.healthy(),
            (false, false, None) => {}
        }
    }
}

impl Calls {
    /// A call is under way for too long, and none has been answered meanwhile. One that waits alone, for a partition that moves perhaps,
    /// says nothing about the others.
    fn hangs(&self, stall: Duration) -> bool {
        let is_long_ago = |at: &Instant| at.elapsed() >= stall;
        self.under_way.first_key_value().is_some_and(|(_, begun)| is_long_ago(begun))
            && self.answered.as_ref().is_none_or(is_long_ago)
    }

    fn shut(&self, calls_max: usize, stall: Duration) -> Option<&'static str> {
        if self.under_way.len() >= calls_max {
            Some(TOO_MANY)
        } else if self.hangs(stall) {
            Some(HANGS)
        } else if self.failures >= FAILURES_MAX && !self.under_way.is_empty() {
            Some(FAILS)
        } else {
            None
        }
    }
}

/// A call under way. Dropped before its end (its caller has gone) it counts as failed if it hung.
struct UnderWay {
    gate: Arc<Gate>,
    number: u64,
    failed: Option<bool>,
}

impl UnderWay {
    fn begin(gate: &Arc<Gate>) -> Result<Self, &'static str> {
        let mut calls = gate.calls.lock();
        if let Some(reason) = calls.shut(gate.calls_max, gate.stall) {
            return Err(reason);
        }
        calls.next += 1;
        let number = calls.next;
        calls.under_way.insert(number, Instant::now());
        Ok(Self { gate: gate.clone(), number, failed: None })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut calls = self.gate.calls.lock();
        let begun = calls.under_way.remove(&self.number);
        let hung = begun.is_some_and(|begun| begun.elapsed() >= self.gate.stall);
        if self.failed == Some(false) {
            calls.answered = Some(Instant::now());
        }
        calls.failures = match (self.failed, hung) {
            (Some(false), _) => 0,
            (Some(true), _) | (None, true) => calls.failures.saturating_add(1),
            (None, false) => calls.failures,
        };
    }
}

/// Both gates, and what lies behind them.
pub(crate) struct Gates {
    pub(crate) log: Arc<Gate>,
    pub(crate) store: Arc<Gate>,
    raw_log: Arc<dyn EventLog>,
    raw_store: Arc<dyn Store>,
}

impl Gates {
    /// Puts gates before log and store.
    pub(crate) fn before(log: &mut Arc<dyn EventLog>, store: &mut Arc<dyn Store>, limits: &GatewayLimits) -> Self {
        let gates = Self {
            log: Arc::new(Gate::new(limits.publishes_max, limits.stall, limits.publish_time)),
            store: Arc::new(Gate::new(limits.requests_max, limits.stall, limits.store_time)),
            raw_log: log.clone(),
            raw_store: store.clone(),
        };
        *log = Arc::new(GatedLog { inner: log.clone(), gate: gates.log.clone() });
        *store = Arc::new(GatedStore { inner: store.clone(), gate: gates.store.clone() });
        gates
    }

    /// Why no request may be taken in now.
    pub(crate) fn shut(&self) -> Option<&'static str> {
        if self.log.shut().is_some() {
            return Some("the log cannot be reached");
        }
        self.store.shut().map(|_| "the store cannot be reached")
    }

    /// Tells health about both until `stop`.
    pub(crate) async fn watch(
        &self,
        topic: &TopicName,
        health: (HealthHandle, HealthHandle),
        stop: &CancellationToken,
    ) {
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for look in 0_u32.. {
            let due = look.is_multiple_of(LOOKS_PER_PING);
            let step = async {
                ticks.tick().await;
                let log = async {
                    let asked = due || self.log.in_trouble();
                    if !asked {
                        return None;
                    }
                    Some(timeout(PING_TIME, self.raw_log.end_offsets(topic)).await.is_ok_and(|ends| ends.is_ok()))
                };
                let store = async {
                    let asked = due || self.store.in_trouble();
                    if !asked {
                        return None;
                    }
                    // No API key has this id.
                    let nobody = RowKey::single("-");
                    let row = self.raw_store.get(table::API_KEYS, &nobody);
                    Some(timeout(PING_TIME, row).await.is_ok_and(|row| row.is_ok()))
                };
                tokio::join!(log, store)
            };
            // Cancel-safe: a look that is dropped has changed nothing.
            let (log, store) = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                answered = step => answered,
            };
            self.log.tell(&health.0, log);
            self.store.tell(&health.1, store);
        }
    }
}

struct GatedLog {
    inner: Arc<dyn EventLog>,
    gate: Arc<Gate>,
}

/// Counts a publish in its gauge while it is under way.
struct Counted;

impl Counted {
    fn new() -> Self {
        gauge!(metric::HTTP_PUBLISHES).increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        gauge!(metric::HTTP_PUBLISHES).decrement(1.0);
    }
}

#[async_trait]
impl EventLog for GatedLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.ensure_topic(spec).await
    }
    async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError> {
        self.inner.partitions(topic).await
    }
    async fn publish(&self, record: NewRecord) -> Result<Appended, LogError> {
        let call = async {
            let _counted = Counted::new();
            self.inner.publish(record).await
        };
        self.gate
            .pass(call, LogError::Unavailable, |error| matches!(error, LogError::Unavailable(_) | LogError::Broken(_)))
            .await
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

struct GatedStore {
    inner: Arc<dyn Store>,
    gate: Arc<Gate>,
}

impl GatedStore {
    async fn pass<T>(&self, call: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        self.gate.pass(call, StoreError::Unavailable, |error| matches!(error, StoreError::Unavailable(_))).await
    }
}

#[async_trait]
impl Store for GatedStore {
    async fn ensure_tables(&self, tables: &[TableSpec]) -> Result<(), StoreError> {
        self.inner.ensure_tables(tables).await
    }
    async fn get(&self, table: TableSpec, key: &RowKey) -> Result<Option<Row>, StoreError> {
        self.pass(self.inner.get(table, key)).await
    }
    async fn peek(&self, table: TableSpec, key: &RowKey) -> Result<Option<Row>, StoreError> {
        self.pass(self.inner.peek(table, key)).await
    }
    async fn range(
        &self,
        table: TableSpec,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.pass(self.inner.range(table, partition, after, limit)).await
    }
    async fn scan(&self, table: TableSpec, from: Option<&ScanToken>, limit: usize) -> Result<Page, StoreError> {
        self.pass(self.inner.scan(table, from, limit)).await
    }
    async fn insert_new(
        &self,
        table: TableSpec,
        key: &RowKey,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError> {
        self.pass(self.inner.insert_new(table, key, value, expires_at)).await
    }
    async fn replace(
        &self,
        table: TableSpec,
        key: &RowKey,
        expected: Version,
        value: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<Cas, StoreError> {
        self.pass(self.inner.replace(table, key, expected, value, expires_at)).await
    }
    async fn remove(&self, table: TableSpec, key: &RowKey, expected: Version) -> Result<Cas, StoreError> {
        self.pass(self.inner.remove(table, key, expected)).await
    }
    async fn put(&self, table: TableSpec, key: &RowKey, value: Bytes, write: PlainWrite) -> Result<(), StoreError> {
        self.pass(self.inner.put(table, key, value, write)).await
    }
    async fn delete(&self, table: TableSpec, key: &RowKey, at: Timestamp) -> Result<(), StoreError> {
        self.pass(self.inner.delete(table, key, at)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(2);

    fn gate() -> Arc<Gate> {
        Arc::new(Gate::new(3, STALL, Duration::from_secs(10)))
    }

    async fn call(gate: &Arc<Gate>, result: Result<(), &'static str>) -> Result<(), String> {
        let call = async { result.map_err(str::to_owned) };
        gate.pass(call, |reason| reason, |error| error.as_str() == "away").await
    }

    fn hanging(gate: &Arc<Gate>) -> tokio::task::JoinHandle<Result<(), String>> {
        let gate = gate.clone();
        tokio::spawn(async move { gate.pass(std::future::pending(), |reason| reason, |_| true).await })
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_shuts_the_gate_until_it_is_given_up_and_one_succeeds() {
        let gate = gate();
        let hung = hanging(&gate);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(call(&gate, Ok(())).await, Ok(()), "slow is not hanging");
        tokio::time::sleep(STALL).await;
        assert_eq!(call(&gate, Ok(())).await, Err(HANGS.to_owned()));
        assert_eq!(hung.await.unwrap(), Err("no answer within 10 s".to_owned()));
        assert_eq!(call(&gate, Ok(())).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_alone_shuts_nothing() {
        let gate = gate();
        let hung = hanging(&gate);
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(call(&gate, Ok(())).await, Ok(()));
            assert!(!gate.in_trouble());
        }
        assert!(hung.await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn after_failures_in_a_row_one_at_a_time_may_try() {
        let gate = gate();
        for _ in 0..FAILURES_MAX {
            assert_eq!(
                call(&gate, Err("refused")).await,
                Err("refused".to_owned()),
                "the other side's word is an answer"
            );
        }
        assert!(!gate.in_trouble());
        for _ in 0..FAILURES_MAX {
            assert_eq!(call(&gate, Err("away")).await, Err("away".to_owned()));
        }
        let trying = hanging(&gate);
        tokio::task::yield_now().await;
        assert_eq!(call(&gate, Ok(())).await, Err(FAILS.to_owned()));
        trying.abort();
        assert!(trying.await.is_err());
        assert_eq!(call(&gate, Ok(())).await, Ok(()));
        assert!(!gate.in_trouble());
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_under_way_is_bounded_and_callers_who_go_away_while_it_hangs_count() {
        let gate = gate();
        for _ in 0..2 {
            let hung: Vec<_> = (0..3).map(|_| hanging(&gate)).collect();
            tokio::task::yield_now().await;
            assert_eq!(call(&gate, Ok(())).await, Err(TOO_MANY.to_owned()));
            tokio::time::sleep(STALL).await;
            for one in hung {
                one.abort();
                assert!(one.await.is_err());
            }
        }
        assert!(gate.in_trouble(), "six callers gave up");
        assert_eq!(gate.calls.lock().under_way.len(), 0);
    }
}
