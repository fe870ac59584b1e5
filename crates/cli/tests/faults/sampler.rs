//! Watches the committed offsets while a scenario runs, so that one that went too far for a moment is found afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ridgeline_ports::{EventLog, GroupId, Offset, Record};
use ridgeline_wire::message::{DeadLetter, Decision, Partials, Scan};
use ridgeline_wire::{Encoded, Topic, decode};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const PAUSE: Duration = Duration::from_millis(500);

/// What was committed, and after that, how far the effects had come.
pub(crate) struct Snapshot {
    scans: Vec<Option<Offset>>,
    partials: Vec<Option<Offset>>,
    decisions_end: Vec<Offset>,
    partials_end: Vec<Offset>,
    dead_end: Vec<Offset>,
}

/// Takes snapshots in the background.
pub(crate) struct Sampler {
    stop: CancellationToken,
    task: Option<JoinHandle<Vec<Snapshot>>>,
}

impl Sampler {
    pub(crate) fn start(log: &Arc<dyn EventLog>, prefix: &str) -> Self {
        let (stop, log, prefix) = (CancellationToken::new(), log.clone(), prefix.to_owned());
        let token = stop.clone();
        let task = tokio::spawn(async move {
            let mut taken = Vec::new();
            while !token.is_cancelled() {
                // Without the broker there is nothing to see.
                taken.extend(snapshot(&*log, &prefix).await);
                sleep(PAUSE).await;
            }
            taken
        });
        Self { stop, task: Some(task) }
    }

    /// The snapshots.
    pub(crate) async fn stop(&mut self) -> Vec<Snapshot> {
        self.stop.cancel();
        match self.task.take() {
            Some(task) => task.await.unwrap(),
            None => Vec::new(),
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn snapshot(log: &dyn EventLog, prefix: &str) -> Option<Snapshot> {
    let name = |topic: Topic| topic.name(prefix);
    let group = |role: &str| GroupId(format!("{prefix}{role}"));
    // First what is committed: the ends that are asked for after it may only be too generous.
    let scans = log.committed(&name(Topic::Scans), &group("matcher")).await.ok()?;
    let partials = log.committed(&name(Topic::Partials), &group("merger")).await.ok()?;
    Some(Snapshot {
        scans,
        partials,
        decisions_end: log.end_offsets(&name(Topic::Decisions)).await.ok()?,
        partials_end: log.end_offsets(&name(Topic::Partials)).await.ok()?,
        dead_end: log.end_offsets(&name(Topic::DeadLetters)).await.ok()?,
    })
}

/// Where the first record of each id lies.
type Places = BTreeMap<String, (usize, Offset)>;

fn places<T: Encoded>(records: &[Record], id: impl Fn(T) -> Option<String>) -> Places {
    let mut places = Places::new();
    for record in records {
        if let Some(id) = id(decode(record.value.as_ref().unwrap()).unwrap()) {
            places.entry(id).or_insert((record.partition.0 as usize, record.offset));
        }
    }
    places
}

fn lies_below(places: &Places, id: &str, ends: &[Offset]) -> bool {
    places.get(id).is_some_and(|(partition, offset)| *offset < ends[*partition])
}

/// Records below a committed offset whose effects were not durable when it was read.
pub(crate) fn check(snapshots: &[Snapshot], seen: &crate::oracle::Seen, partials: &[Record]) -> Vec<String> {
    let decided = places(&seen.decisions, |decision: Decision| Some(decision.confirmation_id.to_string()));
    let opened = places(partials, |one: Partials| one.opened.is_some().then(|| one.request_id.to_string()));
    let buried = places(&seen.dead, |letter: DeadLetter| Some(format!("{}/{}", letter.partition, letter.offset)));
    let request = |record: &Record| {
        let value = record.value.as_ref()?;
        decode::<Scan>(value).ok().map(|scan| scan.request_id.to_string())
    };
    let mut scans: Vec<_> = seen.scans.iter().map(|record| (record, request(record).unwrap_or_default())).collect();
    let mut parts: Vec<_> = partials
        .iter()
        .map(|record| (record, decode::<Partials>(record.value.as_ref().unwrap()).unwrap().request_id.to_string()))
        .collect();
    let mut faults = Vec::new();
    for (number, taken) in snapshots.iter().enumerate() {
        // Ends only grow: a record is looked at when it is first passed.
        scans.retain(|(record, id)| {
            let place = format!("{}/{}", record.partition.0, record.offset.0);
            let passed = is_below(&taken.scans, record);
            let done = lies_below(&decided, id, &taken.decisions_end)
                || lies_below(&opened, id, &taken.partials_end)
                || lies_below(&buried, &place, &taken.dead_end);
            if passed && !done {
                faults.push(format!("scans {place} in snapshot {number}"));
            }
            !passed
        });
        parts.retain(|(record, id)| {
            let passed = is_below(&taken.partials, record);
            if passed && !lies_below(&decided, id, &taken.decisions_end) {
                faults.push(format!("partials {}/{} in snapshot {number}", record.partition.0, record.offset.0));
            }
            !passed
        });
    }
    faults
}

fn is_below(committed: &[Option<Offset>], record: &Record) -> bool {
    committed[record.partition.0 as usize].is_some_and(|offset| record.offset < offset)
}
