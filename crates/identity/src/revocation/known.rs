//! What a reader of `revocations` knows. Pure: times come as arguments.

use std::collections::HashMap;

use ridgeline_domain::{DurationMs, Timestamp};
use ridgeline_ports::{Partition, Record};
use ridgeline_wire::auth::Revocation;

use super::{RevocationKind, Subjects, record_key};

/// What is known counts while the last record is no older than this, by its append and by its receipt.
pub(super) const FRESH: DurationMs = DurationMs(1_000);
/// Tokens live 30 days at most; what is older than that and a margin ends none any more.
const ENDS_NOTHING_AFTER: DurationMs = DurationMs::from_days(31);
/// About 100 bytes each, 400 for users of long names: at most 100 MiB.
pub(super) const ENTRIES_MAX: usize = 250_000;
/// No longer id is a row's key.
const ID_BYTES_MAX: usize = 500;
/// Order between records exists within a partition only, and freshness hangs on it.
const PARTITION: Partition = Partition(0);
const HEARTBEAT: &str = "heartbeat";

/// What is known about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is over.
    Over,
    /// It was not over a second ago.
    Good,
    /// Only the store knows.
    AskStore,
}

/// Revocations as read so far.
pub(super) struct Known {
    entries: HashMap<String, Entry>,
    entries_max: usize,
    /// Latest append time of any record.
    newest: Option<Timestamp>,
    last: Option<Last>,
    reached_end: bool,
    /// Something was read that the entries do not say.
    gap: Option<Gap>,
}

#[derive(Clone, Copy)]
struct Entry {
    /// Tokens issued up to this time are over.
    at: Timestamp,
    appended: Timestamp,
}

#[derive(Clone, Copy)]
struct Last {
    received: Timestamp,
    appended: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// There was no room for it.
    NoRoom,
    /// It cannot be understood.
    Unreadable,
}

impl Known {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { entries: HashMap::new(), entries_max, newest: None, last: None, reached_end: false, gap: None }
    }

    /// The topic is read from its beginning again. What is known stays true; that it is everything must be found out anew.
    pub(super) fn restart(&mut self) {
        (self.last, self.reached_end, self.gap) = (None, false, None);
    }

    /// Nothing more is there now.
    pub(super) fn end(&mut self) {
        self.reached_end = true;
    }

    /// A record was received at `now`. `Err` says what is wrong with it.
    pub(super) fn take(&mut self, record: &Record, now: Timestamp) -> Result<(), &'static str> {
        let appended = record.append_time;
        self.last = Some(Last { received: now, appended });
        self.newest = self.newest.max(Some(appended));
        let taken = self.enter(record, now);
        if taken.is_err() {
            self.gap = Some(Gap::Unreadable);
        }
        taken
    }

    fn enter(&mut self, record: &Record, now: Timestamp) -> Result<(), &'static str> {
        if record.partition != PARTITION {
            return Err("the topic has more than one partition");
        }
        // Age alone ends an entry: a tombstone never brings a token back.
        let Some(value) = &record.value else { return Ok(()) };
        let revocation: Revocation = ridgeline_wire::decode(value).map_err(|_| "it cannot be decoded")?;
        if revocation.kind == HEARTBEAT {
            return Ok(());
        }
        let kind = RevocationKind::from_word(&revocation.kind).ok_or("its kind is unknown")?;
        if revocation.id.len() > ID_BYTES_MAX {
            return Err("its id is too long");
        }
        let entry = Entry { at: revocation.at, appended: record.append_time };
        if self.ends_nothing(entry, now) {
            return Ok(());
        }
        let key = record_key(kind, &revocation.id);
        if let Some(known) = self.entries.get_mut(&key) {
            *known = Entry { at: known.at.max(entry.at), appended: known.appended.max(entry.appended) };
            return Ok(());
        }
        if self.entries.len() >= self.entries_max {
            self.forget(now);
        }
        if self.entries.len() >= self.entries_max {
            self.gap = self.gap.or(Some(Gap::NoRoom));
        } else {
            self.entries.insert(key, entry);
        }
        Ok(())
    }

    /// What is said about a token at `now`.
    pub(super) fn look(&self, subjects: &Subjects<'_>, now: Timestamp) -> Finding {
        let is_over = subjects.each().any(|(kind, id)| {
            self.entries.get(&record_key(kind, &id)).is_some_and(|entry| subjects.ended_by(kind, entry.at))
        });
        match is_over {
            true => Finding::Over,
            false if self.is_fresh(now) => Finding::Good,
            false => Finding::AskStore,
        }
    }

    /// Age of the last record at `now`; `None` until the end was reached.
    pub(super) fn lag(&self, now: Timestamp) -> Option<DurationMs> {
        let last = self.last.filter(|_| self.reached_end)?;
        Some(distance(now, last.appended).max(distance(now, last.received)))
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.gap.is_none() && self.lag(now).is_some_and(|lag| lag <= FRESH)
    }

    /// Drops what ends no token any more.
    pub(super) fn forget(&mut self, now: Timestamp) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|_, entry| !self.ends_nothing(*entry, now));
        self.entries = entries;
    }

    /// Whether there is room for what had none: the topic must be read again then.
    pub(super) fn wants_rereading(&self) -> bool {
        self.gap == Some(Gap::NoRoom) && self.entries.len() <= self.entries_max / 4 * 3
    }

    /// Both clocks must agree on it, so that one that jumps ahead for a while drops nothing.
    fn ends_nothing(&self, entry: Entry, now: Timestamp) -> bool {
        let horizon = self.newest.map_or(now, |newest| newest.min(now));
        horizon.since(entry.at.max(entry.appended)) > ENDS_NOTHING_AFTER
    }
}

/// A time that lies ahead is as suspicious as one long past.
fn distance(now: Timestamp, then: Timestamp) -> DurationMs {
    now.since(then).max(then.since(now))
}

#[cfg(test)]
mod tests;
