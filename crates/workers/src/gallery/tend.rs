//! Finds subjects whose last record on `gallery` is older than their row, and publishes these again.
//!
//! Two sources: a record that is older than what the shard knows (see `publication`), and a slow walk over all rows, whose
//! versions are compared with what the shard holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::counter;
use parking_lot::RwLock;
use ridgeline_domain::SubjectId;
use ridgeline_ports::{Partition, RowKey, ScanToken, partition_of};
use ridgeline_runtime::{StepError, metric};
use ridgeline_wire::decode;
use ridgeline_wire::row::{SubjectRow, table};

use crate::platform::{Platform, cpu_fault, wire_fault};
use crate::shard::Shard;
use crate::subject::{self, Standing};

/// Rows compared in one go; with the pause between two goes the walk reads some 100 rows a second.
const PAGE_ROWS: usize = 300;
/// Subjects published again in one go; the others wait for the next.
const REPAIRS_MAX: usize = 100;

pub(super) type Shards = BTreeMap<Partition, Arc<RwLock<Shard>>>;

/// Where the walk over the rows stands.
#[derive(Debug, Clone)]
pub(super) enum Walk {
    /// Goes on here; `None` at the first row.
    At(Option<ScanToken>),
    /// All rows were compared.
    Finished,
}

/// One go: publishes what has been in doubt for a while, then compares the next page of rows. A failure is made up for later.
pub(super) async fn tend(platform: Arc<Platform>, shards: Shards, gallery_partitions: u32, walk: Walk) -> Walk {
    if let Err(error) = repair(&platform, &shards).await {
        tracing::warn!(%error, "subjects whose gallery record lags could not be published yet");
    }
    let Walk::At(from) = walk else { return Walk::Finished };
    match compare_page(&platform, &shards, gallery_partitions, from.as_ref()).await {
        Ok(next) => next.map_or(Walk::Finished, |next| Walk::At(Some(next))),
        Err(error) => {
            tracing::warn!(%error, "rows of subjects could not be compared with the gallery yet");
            Walk::At(from)
        }
    }
}

async fn repair(platform: &Arc<Platform>, shards: &Shards) -> Result<(), StepError> {
    let held = shards.clone();
    // A search may hold a shard for a while, so its lock is waited for off the reactor.
    let look = move || held.values().flat_map(|shard| shard.write().long_in_doubt()).take(REPAIRS_MAX).collect();
    let doubtful: Vec<(SubjectId, i64)> = platform.cpu.run(look).await.map_err(cpu_fault)?;
    let mut hopeless = Vec::new();
    for (subject, version) in doubtful {
        match subject::standing(platform, &subject).await? {
            Some(row) if row.version >= version => {
                subject::publish(platform, &subject, None).await?;
                counter!(metric::GALLERY_REPAIRS).increment(1);
                tracing::warn!("a gallery record lagged behind its row and was published again");
            }
            _ => hopeless.push(subject),
        }
    }
    if !hopeless.is_empty() {
        tracing::error!(
            subjects = hopeless.len(),
            "the gallery holds newer versions than the store; was the store restored from a backup?"
        );
        let held = shards.clone();
        let give_up = move || {
            for shard in held.values() {
                let mut shard = shard.write();
                hopeless.iter().for_each(|subject| shard.give_up(subject));
            }
        };
        platform.cpu.run(give_up).await.map_err(cpu_fault)?;
    }
    Ok(())
}

async fn compare_page(
    platform: &Platform,
    shards: &Shards,
    gallery_partitions: u32,
    from: Option<&ScanToken>,
) -> Result<Option<ScanToken>, StepError> {
    let page = platform.store.scan(table::SUBJECTS, from, PAGE_ROWS).await?;
    let mut rows: BTreeMap<Partition, Vec<(SubjectId, Standing)>> = BTreeMap::new();
    for (RowKey { partition: key, .. }, row) in &page.rows {
        let partition = partition_of(key.as_bytes(), gallery_partitions);
        if shards.contains_key(&partition) {
            let row: SubjectRow = decode(&row.value).map_err(wire_fault)?;
            rows.entry(partition).or_default().push((row.subject_id.clone(), Standing::of(&row)));
        }
    }
    let held = shards.clone();
    let compare = move || {
        for (partition, rows) in rows {
            if let Some(shard) = held.get(&partition) {
                let mut shard = shard.write();
                rows.iter().for_each(|(subject, row)| shard.compare(subject, *row));
            }
        }
    };
    platform.cpu.run(compare).await.map_err(cpu_fault)?;
    Ok(page.next)
}
