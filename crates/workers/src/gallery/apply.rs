//! From records of `gallery` to what a shard holds. Runs on the CPU pool.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use ridgeline_domain::SubjectId;
use ridgeline_ports::{Partition, Record};
use ridgeline_vault::Purpose;
use ridgeline_wire::message::Gallery;
use ridgeline_wire::row::TemplateSet;
use ridgeline_wire::{GALLERY_VERSION, decode};

use crate::platform::Platform;
use crate::shard::{Shard, Update};
use crate::subject::gallery_aad;

/// Opens, prepares and applies gallery records in log order; returns the partitions with a record that cannot be read.
pub(super) fn apply_all(
    platform: &Platform,
    records: &[Record],
    shards: &HashMap<Partition, Arc<RwLock<Shard>>>,
) -> BTreeSet<Partition> {
    let mut all: HashMap<_, Vec<_>> = HashMap::new();
    let mut broken = BTreeSet::new();
    for record in records {
        match update(platform, record) {
            Some(update) => all.entry(record.partition).or_default().push(update),
            None => {
                tracing::error!(
                    partition = record.partition.0,
                    offset = record.offset.0,
                    "a gallery record cannot be read"
                );
                broken.insert(record.partition);
            }
        }
    }
    for (partition, updates) in all {
        if let Some(shard) = shards.get(&partition) {
            shard.write().apply(updates);
        }
    }
    broken
}

fn update(platform: &Platform, record: &Record) -> Option<Update> {
    let subject: SubjectId = std::str::from_utf8(&record.key).ok()?.parse().ok()?;
    let Some(value) = &record.value else {
        let version = record.header(GALLERY_VERSION).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        return Some(Update::forget(subject, version, record.append_time));
    };
    let gallery: Gallery = decode(value).ok()?;
    let set = platform.vault.open(Purpose::Topic, &gallery_aad(&subject), &gallery.templates).ok()?;
    let set: TemplateSet = decode(set.expose()).ok()?;
    (gallery.subject_id == subject).then(|| Update::set(subject, gallery.version, &set))
}
