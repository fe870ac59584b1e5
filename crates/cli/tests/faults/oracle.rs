//! What must hold after every fault: each accepted request has exactly one decision, by id and by content, the stored one; its audit
//! event; and no offset passes unfinished work.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use ridgeline_kafka::Kafka;
use ridgeline_ports::{Delivery, EventLog, GroupId, Partition, Record, RowKey, Store, TailStart};
use ridgeline_wire::message::{Audit, DeadLetter, Decision, Scan};
use ridgeline_wire::row::{AnswerRow, table};
use ridgeline_wire::{Topic, decode};
use tokio::time::{Instant, sleep};

use crate::site::Site;

/// The last decision of a scenario comes within this time of the end of the fault.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(250);

/// Counts of one scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Requests answered 202, and those whose record an agent got into `scans`.
    pub(crate) accepted: usize,
    /// Of them with at least one decision.
    pub(crate) decided: usize,
    /// Of them with two decisions that differ.
    pub(crate) doubled: usize,
    /// Of them without a decision.
    pub(crate) lost: usize,
    /// Of them with exactly one audit event by content.
    pub(crate) audit: usize,
    /// Whatever else is wrong, a line each.
    pub(crate) faults: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, decided, doubled, lost, audit, .. } = self;
        write!(f, "accepted {accepted}, decided {decided}, doubled {doubled}, lost {lost}, audit events {audit}")
    }
}

impl Verdict {
    pub(crate) fn is_sound(&self) -> bool {
        self.decided == self.accepted
            && self.audit == self.accepted
            && self.doubled == 0
            && self.lost == 0
            && self.faults.is_empty()
    }
}

/// Waits until the workers have finished everything, then looks at all of it.
pub(crate) async fn judge(site: &Site, accepted: &[String]) -> Verdict {
    let log = site.kafka.log();
    let mut faults = Vec::new();
    for (topic, group) in [(Topic::Scans, "matcher"), (Topic::Partials, "merger")] {
        if let Some(fault) = settled(site, log.as_ref(), topic, group).await {
            faults.push(fault);
        }
    }
    let decisions = by_id(&read(site, Topic::Decisions).await, |value| {
        decode::<Decision>(value).ok().map(|decision| decision.confirmation_id.to_string())
    });
    let audit = by_id(&read(site, Topic::Audit).await, |value| {
        decode::<Audit>(value).ok().and_then(|event| event.request_id.map(|id| id.to_string()))
    });
    // What is in the log was accepted, whether its caller has heard so or not.
    let scans = read(site, Topic::Scans).await;
    let recorded = scans.iter().filter_map(|record| decode::<Scan>(record.value.as_ref()?).ok());
    let mut all: BTreeSet<String> = recorded.map(|scan| scan.request_id.to_string()).collect();
    for id in accepted.iter().filter(|id| !all.contains(*id)) {
        faults.push(format!("{id} was answered 202 and is not in the log"));
    }
    all.extend(accepted.iter().cloned());
    let cql = site.store().await;
    let store = cql.store();
    let count = |test: &dyn Fn(&String) -> bool| all.iter().filter(|id| test(id)).count();
    faults.extend(stored_otherwise(store.as_ref(), &decisions, &all).await);
    let strangers = decisions.keys().filter(|id| !all.contains(*id)).count();
    if strangers > 0 {
        faults.push(format!("{strangers} decisions that nobody asked for"));
    }
    Verdict {
        accepted: all.len(),
        decided: count(&|id| decisions.contains_key(id)),
        doubled: count(&|id| decisions.get(id).is_some_and(|values| values.len() > 1)),
        lost: count(&|id| !decisions.contains_key(id)),
        audit: count(&|id| audit.get(id).is_some_and(|values| values.len() == 1)),
        faults,
    }
}

/// The stored answer is the published one, of each request.
async fn stored_otherwise(
    store: &dyn Store,
    decisions: &BTreeMap<String, BTreeSet<Bytes>>,
    all: &BTreeSet<String>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for id in all {
        let row = store.get(table::ANSWERS, &RowKey::single(id)).await.unwrap();
        let stored = row.and_then(|row| decode::<AnswerRow>(&row.value).ok()).map(|row| Bytes::from(row.decision));
        let published = decisions.get(id).and_then(|values| values.first());
        if stored.as_ref() != published {
            faults.push(format!("{id}: the stored decision is not the published one"));
        }
    }
    faults
}

/// Waits until the group has committed everything; a fault if it does not, or if it ever committed past the end.
async fn settled(site: &Site, log: &dyn EventLog, topic: Topic, group: &str) -> Option<String> {
    let (name, group) = (topic.name(&site.prefix()), GroupId(format!("{}{group}", site.prefix())));
    let limit = Instant::now() + PATIENCE;
    loop {
        let committed = log.committed(&name, &group).await.unwrap();
        let ends = log.end_offsets(&name).await.unwrap();
        let pairs = || committed.iter().zip(&ends);
        if let Some((done, end)) = pairs().find(|(done, end)| done.is_some_and(|done| done > **end)) {
            return Some(format!("{group:?} has committed {done:?} past the end {end:?}"));
        }
        // A partition that was never written to has nothing to commit.
        let open = pairs().filter(|(done, end)| done.map_or(0, |done| done.0) < end.0).count();
        if open == 0 {
            return None;
        }
        if Instant::now() > limit {
            return Some(format!("{group:?} has not finished {open} partitions of {name}"));
        }
        sleep(LOOK).await;
    }
}

/// Every record of a topic.
pub(crate) async fn read(site: &Site, topic: Topic) -> Vec<Record> {
    read_from(&site.kafka, &site.prefix(), topic).await
}

async fn read_from(kafka: &Kafka, prefix: &str, topic: Topic) -> Vec<Record> {
    let (log, name) = (kafka.log(), topic.name(prefix));
    let mut open: BTreeSet<_> = (0..log.partitions(&name).await.unwrap()).map(Partition).collect();
    let mut tail = log.tail(&name, TailStart::Beginning).await.unwrap();
    let mut records = Vec::new();
    while !open.is_empty() {
        match tail.deliveries.recv().await.unwrap() {
            Delivery::End { partition, .. } => drop(open.remove(&partition)),
            Delivery::Record { record, .. } => records.push(record),
        }
    }
    records
}

/// The distinct values by request.
fn by_id(records: &[Record], id: impl Fn(&[u8]) -> Option<String>) -> BTreeMap<String, BTreeSet<Bytes>> {
    let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for value in records.iter().filter_map(|record| record.value.as_ref()) {
        if let Some(id) = id(value) {
            all.entry(id).or_default().insert(value.clone());
        }
    }
    all
}

/// How many records were given up.
pub(crate) async fn dead_letters(site: &Site) -> usize {
    let letters = read(site, Topic::DeadLetters).await;
    letters
        .iter()
        .filter(|record| record.value.as_ref().is_some_and(|value| decode::<DeadLetter>(value).is_ok()))
        .count()
}
