//! Many templates in memory, searched one to many.

use std::collections::HashMap;

use zeroize::Zeroize;

use crate::matcher::{Candidate, Matcher, Probe};
use crate::prepared::{CYLINDER_WORDS, Prepared, Side};
use crate::template::Score;

/// Templates under the caller's keys, held as one array for each property of all their minutiae.
///
/// 8 bytes a minutia, 34 a cylinder and about 50 an entry. Wiped on removal and on drop.
#[derive(Default)]
pub struct Gallery {
    /// Of every entry, one behind the other; gaps are left by removal and closed by compaction.
    minutiae: Minutiae,
    cylinders: Cylinders,
    entries: Vec<Entry>,
    /// Where an entry stands; looked up only, so that its order touches no result.
    places: HashMap<u64, usize>,
    /// Minutiae in the gaps.
    dead: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    key: u64,
    minutiae: Span,
    cylinders: Span,
}

#[derive(Clone, Copy)]
struct Span {
    start: usize,
    len: usize,
}

#[derive(Default)]
struct Minutiae {
    x: Vec<i16>,
    y: Vec<i16>,
    direction: Vec<u8>,
    kind: Vec<u8>,
    rank: Vec<u8>,
}

#[derive(Default)]
struct Cylinders {
    slot: Vec<u8>,
    weight: Vec<u8>,
    words: Vec<u64>,
}

/// One result of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The key under which the template was inserted.
    pub key: u64,
    /// Similarity to the probe.
    pub score: Score,
}

/// Dead minutiae that are not worth a compaction.
const DEAD_MAX: usize = 4_096;

impl Gallery {
    /// An empty gallery.
    pub fn new() -> Self {
        Self::default()
    }

    /// Templates held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Holds a template under a key, in place of what was under it before.
    pub fn insert(&mut self, key: u64, candidate: &Candidate) {
        self.remove(key);
        let prepared = &candidate.0;
        let entry = Entry {
            key,
            minutiae: Span { start: self.minutiae.x.len(), len: prepared.x.len() },
            cylinders: Span { start: self.cylinders.slot.len(), len: prepared.slot.len() },
        };
        self.minutiae.extend(prepared);
        self.cylinders.extend(&prepared.slot, &prepared.weight, &prepared.words);
        self.places.insert(key, self.entries.len());
        self.entries.push(entry);
    }

    /// Removes and wipes what is under a key; false when nothing is.
    pub fn remove(&mut self, key: u64) -> bool {
        let Some(place) = self.places.remove(&key) else { return false };
        let entry = self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.key, place);
        }
        self.minutiae.wipe(entry.minutiae);
        self.cylinders.wipe(entry.cylinders);
        self.dead += entry.minutiae.len.max(1);
        if self.dead > DEAD_MAX && self.dead > self.minutiae.x.len() / 2 {
            self.compact();
        }
        true
    }

    /// Bytes held, gaps and spare capacity included.
    pub fn memory_bytes(&self) -> usize {
        let Minutiae { x, y, direction, kind, rank } = &self.minutiae;
        let Cylinders { slot, weight, words } = &self.cylinders;
        let minutiae = 2 * (x.capacity() + y.capacity()) + direction.capacity() + kind.capacity() + rank.capacity();
        let cylinders = slot.capacity() + weight.capacity() + 8 * words.capacity();
        // The table keeps one byte beside each slot.
        let table = self.places.capacity() * (size_of::<(u64, usize)>() + 1);
        minutiae + cylinders + table + self.entries.capacity() * size_of::<Entry>()
    }

    /// Score of the template under a key.
    pub fn compare(&self, probe: &Probe, key: u64, matcher: &mut Matcher) -> Option<Score> {
        let entry = self.entries.get(*self.places.get(&key)?)?;
        Some(matcher.compare_sides(&probe.0.side(), &self.side(entry)))
    }

    /// Scores of the templates whose keys are admitted, in no particular order.
    pub fn scores<'a>(
        &'a self,
        probe: &'a Probe,
        matcher: &'a mut Matcher,
        admits: impl Fn(u64) -> bool + 'a,
    ) -> impl Iterator<Item = Found> + 'a {
        let side = probe.0.side();
        self.entries
            .iter()
            .filter(move |entry| admits(entry.key))
            .map(move |entry| Found { key: entry.key, score: matcher.compare_sides(&side, &self.side(entry)) })
    }

    fn side(&self, entry: &Entry) -> Side<'_> {
        let (minutiae, cylinders) = (entry.minutiae.range(), entry.cylinders.range());
        Side {
            x: &self.minutiae.x[minutiae.clone()],
            y: &self.minutiae.y[minutiae.clone()],
            direction: &self.minutiae.direction[minutiae.clone()],
            kind: &self.minutiae.kind[minutiae.clone()],
            rank: &self.minutiae.rank[minutiae],
            slot: &self.cylinders.slot[cylinders.clone()],
            weight: &self.cylinders.weight[cylinders],
            words: &self.cylinders.words[entry.cylinders.words()],
        }
    }

    /// Closes the gaps. The old arrays are wiped.
    fn compact(&mut self) {
        let mut kept = Self { entries: Vec::with_capacity(self.entries.len()), ..Self::default() };
        for entry in &self.entries {
            let side = self.side(entry);
            let minutiae = Span { start: kept.minutiae.x.len(), len: side.len() };
            let cylinders = Span { start: kept.cylinders.slot.len(), len: side.slot.len() };
            kept.minutiae.extend_side(&side);
            kept.cylinders.extend(side.slot, side.weight, side.words);
            kept.places.insert(entry.key, kept.entries.len());
            kept.entries.push(Entry { key: entry.key, minutiae, cylinders });
        }
        *self = kept;
    }
}

/// The `top_k` most similar templates, best first, equal scores by rising key.
///
/// Allocates for the result alone; deterministic, whatever the order of insertion.
pub fn search(probe: &Probe, gallery: &Gallery, top_k: usize, matcher: &mut Matcher) -> Vec<Found> {
    let mut best: Vec<Found> = Vec::with_capacity(top_k.min(gallery.len()) + 1);
    if top_k == 0 {
        return best;
    }
    for found in gallery.scores(probe, matcher, |_| true) {
        let ahead = |other: &Found| {
            let order = other.score.value().total_cmp(&found.score.value());
            order.is_gt() || (order.is_eq() && other.key < found.key)
        };
        if best.len() == top_k && best.last().is_some_and(ahead) {
            continue;
        }
        best.insert(best.partition_point(ahead), found);
        best.truncate(top_k);
    }
    best
}

impl Span {
    fn range(self) -> std::ops::Range<usize> {
        self.start..self.start + self.len
    }

    fn words(self) -> std::ops::Range<usize> {
        self.start * CYLINDER_WORDS..(self.start + self.len) * CYLINDER_WORDS
    }
}

impl Minutiae {
    fn extend(&mut self, prepared: &Prepared) {
        self.extend_side(&prepared.side());
    }

    fn extend_side(&mut self, side: &Side<'_>) {
        grow(&mut self.x, side.x);
        grow(&mut self.y, side.y);
        grow(&mut self.direction, side.direction);
        grow(&mut self.kind, side.kind);
        grow(&mut self.rank, side.rank);
    }

    fn wipe(&mut self, span: Span) {
        self.x[span.range()].zeroize();
        self.y[span.range()].zeroize();
        self.direction[span.range()].zeroize();
        self.kind[span.range()].zeroize();
        self.rank[span.range()].zeroize();
    }
}

impl Cylinders {
    fn extend(&mut self, slot: &[u8], weight: &[u8], words: &[u64]) {
        grow(&mut self.slot, slot);
        grow(&mut self.weight, weight);
        grow(&mut self.words, words);
    }

    fn wipe(&mut self, span: Span) {
        self.slot[span.range()].zeroize();
        self.weight[span.range()].zeroize();
        self.words[span.words()].zeroize();
    }
}

/// Appends; an array that has to move leaves no copy behind.
fn grow<T: Copy + Default + Zeroize>(array: &mut Vec<T>, more: &[T]) {
    if array.capacity() - array.len() < more.len() {
        let mut moved = Vec::with_capacity((array.len() + array.len() / 8 + more.len()).max(64));
        moved.extend_from_slice(array);
        array.zeroize();
        *array = moved;
    }
    array.extend_from_slice(more);
}

impl Drop for Minutiae {
    fn drop(&mut self) {
        self.x.zeroize();
        self.y.zeroize();
        self.direction.zeroize();
        self.kind.zeroize();
        self.rank.zeroize();
    }
}

impl Drop for Cylinders {
    fn drop(&mut self) {
        self.slot.zeroize();
        self.weight.zeroize();
        self.words.zeroize();
    }
}
