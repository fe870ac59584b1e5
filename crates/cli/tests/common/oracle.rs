//! What a log and a store must hold once every process is done, whatever happened to them.
//!
//! D-1: each accepted request has one decision by id and content, however often it was published, and it is the stored one. A-1: it
//! has its audit event. D-2: the committed offsets are at the end, and never were past unfinished work. D-5: a subject's row has seen
//! each change once, in the order of the log, and the last record of the gallery is that row.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use ridgeline_domain::Outcome;
use ridgeline_ports::{Delivery, EventLog, GroupId, Partition, Record, RowKey, Store, TailStart};
use ridgeline_wire::message::{Audit, DeadLetter, Decision, Gallery, Scan};
use ridgeline_wire::row::{AnswerRow, SubjectRow, table};
use ridgeline_wire::{Topic, decode};

/// Rows that are read at once.
const READS: usize = 32;
/// Faults of one kind are told so often; the others are counted.
const TOLD_MAX: usize = 5;

/// Everything in the topics.
pub(crate) struct Seen {
    pub(crate) scans: Vec<Record>,
    pub(crate) decisions: Vec<Record>,
    pub(crate) dead: Vec<Record>,
    audit: Vec<Record>,
    gallery: Vec<Record>,
}

impl Seen {
    pub(crate) async fn read(log: &dyn EventLog, prefix: &str) -> Self {
        Self {
            scans: records(log, prefix, Topic::Scans).await,
            decisions: records(log, prefix, Topic::Decisions).await,
            dead: records(log, prefix, Topic::DeadLetters).await,
            audit: records(log, prefix, Topic::Audit).await,
            gallery: records(log, prefix, Topic::Gallery).await,
        }
    }
}

/// Every record of a topic, by partition and offset.
pub(crate) async fn records(log: &dyn EventLog, prefix: &str, topic: Topic) -> Vec<Record> {
    let name = topic.name(prefix);
    let mut open: BTreeSet<_> = (0..log.partitions(&name).await.unwrap()).map(Partition).collect();
    let mut tail = log.tail(&name, TailStart::Beginning).await.unwrap();
    let mut all = Vec::new();
    while !open.is_empty() {
        match tail.deliveries.recv().await.unwrap() {
            Delivery::End { partition, .. } => {
                open.remove(&partition);
            }
            Delivery::Record { record, .. } => all.push(record),
        }
    }
    all.sort_by_key(|record| (record.partition, record.offset));
    all
}

/// Where the committed offsets of a worker group are not at the end of its topic.
pub(crate) async fn unfinished(log: &dyn EventLog, prefix: &str) -> Vec<String> {
    let mut behind = Vec::new();
    for (topic, role) in [(Topic::Scans, "matcher"), (Topic::Partials, "merger")] {
        let name = topic.name(prefix);
        let committed = log.committed(&name, &GroupId(format!("{prefix}{role}"))).await;
        let (Ok(committed), Ok(ends)) = (committed, log.end_offsets(&name).await) else {
            behind.push(format!("the offsets of {role} are not known"));
            continue;
        };
        for (partition, (committed, end)) in committed.into_iter().zip(ends).enumerate() {
            let committed = committed.map_or(0, |offset| offset.0);
            if committed != end.0 {
                behind.push(format!("{role} has committed {committed} of {} in partition {partition}", end.0));
            }
        }
    }
    behind
}

/// How it went.
#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) decisions: BTreeMap<String, Decision>,
    /// Changes of subjects: without any, a test proves little.
    pub(crate) changes: i64,
    pub(crate) dead: usize,
    accepted: usize,
    doubled: usize,
    lost: usize,
    audited: usize,
    faults: BTreeMap<&'static str, Vec<String>>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, doubled, lost, audited, decisions, .. } = self;
        let decided = decisions.len();
        write!(f, "accepted {accepted}, decided {decided}, doubled {doubled}, lost {lost}, audit {audited}")
    }
}

impl Verdict {
    /// Of a scenario that counts for itself.
    #[allow(dead_code, reason = "not every suite has one")]
    pub(crate) fn counted(
        decisions: BTreeMap<String, Decision>,
        accepted: usize,
        doubled: usize,
        audited: usize,
    ) -> Self {
        let lost = accepted.saturating_sub(decisions.len());
        Self { decisions, accepted, doubled, lost, audited, ..Self::default() }
    }

    /// Everything that is not as it must be, a line each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let told = |(what, which): (&&'static str, &Vec<String>)| {
            let some = which.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join("; ");
            format!("{what} ({}): {some}", which.len())
        };
        self.faults.iter().map(told).collect()
    }

    /// Notes a fault of this kind.
    pub(crate) fn fault(&mut self, what: &'static str, which: impl Into<String>) {
        self.faults.entry(what).or_default().push(which.into());
    }
}

/// Judges what was seen. `answered` holds the ids that callers were given with a 202.
pub(crate) async fn judge(
    seen: &Seen,
    log: &dyn EventLog,
    store: &Arc<dyn Store>,
    prefix: &str,
    answered: &BTreeSet<String>,
) -> Verdict {
    let mut verdict = Verdict { dead: seen.dead.len(), ..Verdict::default() };
    let accepted = accepted(&mut verdict, seen, answered);
    verdict.accepted = accepted.len();
    let decided = decided(&mut verdict, seen, &accepted);
    let audited = audited(&mut verdict, seen, &accepted);
    stored(&mut verdict, store, &decided, &audited).await;
    subjects(&mut verdict, seen, store).await;
    for behind in unfinished(log, prefix).await {
        verdict.fault("D-2, offsets not at the end", behind);
    }
    verdict
}

/// What must be decided: whatever a caller was promised or the log has taken, except for what was buried as nobody's.
fn accepted(verdict: &mut Verdict, seen: &Seen, answered: &BTreeSet<String>) -> BTreeSet<String> {
    let letters = seen.dead.iter().map(|record| decode::<DeadLetter>(record.value.as_ref().unwrap()).unwrap());
    let buried: BTreeSet<_> = letters.map(|letter| (letter.partition, letter.offset)).collect();
    let mut logged = BTreeSet::new();
    for record in &seen.scans {
        let place = (i32::try_from(record.partition.0).unwrap(), i64::try_from(record.offset.0).unwrap());
        match record.value.as_ref().map(|value| decode::<Scan>(value)) {
            Some(Ok(scan)) if !buried.contains(&place) => {
                logged.insert(scan.request_id.to_string());
            }
            Some(Ok(scan)) if answered.contains(&scan.request_id.to_string()) => {
                verdict.fault("a promised request among the dead letters", scan.request_id.to_string());
            }
            _ if !buried.contains(&place) => verdict.fault("D-3, poison that was not buried", format!("{place:?}")),
            _ => {}
        }
    }
    for id in answered.difference(&logged) {
        verdict.fault("answered with 202 and not in the log", id);
    }
    logged.union(answered).cloned().collect()
}

/// Distinct values by id.
type Contents = BTreeMap<String, BTreeSet<Bytes>>;

fn decided(verdict: &mut Verdict, seen: &Seen, accepted: &BTreeSet<String>) -> Contents {
    let mut contents = Contents::new();
    for record in &seen.decisions {
        let value = record.value.clone().unwrap();
        let decision: Decision = decode(&value).unwrap();
        let id = decision.confirmation_id.to_string();
        contents.entry(id.clone()).or_default().insert(value);
        verdict.decisions.entry(id).or_insert(decision);
    }
    for (id, all) in &contents {
        if !accepted.contains(id) {
            verdict.fault("a decision that nobody asked for", id);
        }
        if all.len() > 1 {
            verdict.doubled += 1;
            verdict.fault("D-1, decided in several ways", id);
        }
    }
    for id in accepted.iter().filter(|id| !contents.contains_key(*id)) {
        verdict.lost += 1;
        verdict.fault("D-1, never decided", id);
    }
    contents
}

fn audited(verdict: &mut Verdict, seen: &Seen, accepted: &BTreeSet<String>) -> Contents {
    let mut contents = Contents::new();
    for record in &seen.audit {
        let value = record.value.clone().unwrap();
        if let Some(id) = decode::<Audit>(&value).unwrap().request_id {
            contents.entry(id.to_string()).or_default().insert(value);
        }
    }
    for id in accepted {
        match contents.get(id).map(BTreeSet::len) {
            Some(1) => verdict.audited += 1,
            Some(_) => verdict.fault("audit events that differ", id),
            None => verdict.fault("A-1, no audit event", id),
        }
    }
    contents
}

/// The stored answer is the published one.
async fn stored(verdict: &mut Verdict, store: &Arc<dyn Store>, decided: &Contents, audited: &Contents) {
    let rows = futures::stream::iter(decided.keys().cloned()).map(|id| async move {
        let row = store.get(table::ANSWERS, &RowKey::single(&id)).await.unwrap();
        (id, row.map(|row| decode::<AnswerRow>(&row.value).unwrap()))
    });
    let rows: Vec<_> = rows.buffer_unordered(READS).collect().await;
    for (id, row) in rows {
        let Some(row) = row else {
            verdict.fault("a decision without a stored answer", id);
            continue;
        };
        let same = |published: Option<&BTreeSet<Bytes>>, stored: &[u8]| {
            published.is_some_and(|all| all.iter().all(|one| one[..] == *stored))
        };
        if !same(decided.get(&id), &row.decision) || !same(audited.get(&id), &row.audit) {
            verdict.fault("D-1, stored and published differ", id);
        }
    }
}

/// Each change of a subject was made once, in the order of the log, and nothing else was.
async fn subjects(verdict: &mut Verdict, seen: &Seen, store: &Arc<dyn Store>) {
    let mut known = BTreeSet::new();
    // By subject: how many changes, and whether the last was a deletion.
    let mut changes: BTreeMap<String, (i64, bool)> = BTreeMap::new();
    for record in &seen.scans {
        let Some(Ok(scan)) = record.value.as_ref().map(|value| decode::<Scan>(value)) else { continue };
        let id = scan.request_id.to_string();
        let Some(decision) = verdict.decisions.get(&id).filter(|_| known.insert(id.clone())) else { continue };
        let deleted = match decision.outcome {
            Outcome::Enrolled => false,
            Outcome::Deleted => true,
            _ => continue,
        };
        let (version, made) =
            (decision.gallery_version, changes.entry(scan.subject_id.unwrap().to_string()).or_default());
        *made = (made.0 + 1, deleted);
        let number = made.0;
        if version.is_some_and(|version| version != number) {
            verdict.fault("D-5, a change out of order", format!("{id} made version {version:?}, not {number}"));
        }
    }
    verdict.changes = changes.values().map(|(made, _)| made).sum();
    let mut last: BTreeMap<&[u8], Option<i64>> = BTreeMap::new();
    for record in &seen.gallery {
        let version = record.value.as_ref().map(|value| decode::<Gallery>(value).unwrap().version);
        last.insert(&record.key, version);
    }
    for (subject, (made, deleted)) in &changes {
        let row = store.get(table::SUBJECTS, &RowKey::single(subject)).await.unwrap();
        let Some(row) = row.map(|row| decode::<SubjectRow>(&row.value).unwrap()) else {
            verdict.fault("a changed subject without a row", subject);
            continue;
        };
        if (row.version, row.deleted) != (*made, *deleted) {
            let found = format!("{subject} at version {} after {made} changes", row.version);
            verdict.fault("D-5, a change lost or made twice", found);
        }
        let wanted = (!row.deleted).then_some(row.version);
        if last.get(subject.as_bytes()) != Some(&wanted) {
            let found = format!("{subject} at version {}, published {:?}", row.version, last.get(subject.as_bytes()));
            verdict.fault("the gallery does not follow the row", found);
        }
    }
}
