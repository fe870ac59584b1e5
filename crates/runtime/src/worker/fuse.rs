//! The dead-letter fuse: blows when almost everything is poison.

use tokio::time::Instant;

use crate::FuseLimits;
use crate::window::Ticket;

/// How the fuse changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FuseChange {
    Blew,
    Mended,
}

#[derive(Debug)]
struct Blown {
    next_probe: Instant,
    probe: Option<Ticket>,
}

#[derive(Debug)]
pub(super) struct Fuse {
    limits: FuseLimits,
    run: u32,
    seen: u32,
    /// One bit for each of the last records, the youngest lowest: 1 is poison.
    history: u128,
    blown: Option<Blown>,
}

impl Fuse {
    pub(super) fn new(limits: FuseLimits) -> Self {
        Self { limits, run: 0, seen: 0, history: 0, blown: None }
    }

    pub(super) fn is_blown(&self) -> bool {
        self.blown.is_some()
    }

    /// Whether a record may start now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.blown.as_ref().is_none_or(|blown| now >= blown.next_probe)
    }

    /// When a blown fuse lets the next record through.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.blown.as_ref().map(|blown| blown.next_probe)
    }

    /// A record started. While blown it is the probe until the next one.
    pub(super) fn started(&mut self, ticket: &Ticket, now: Instant) {
        if let Some(blown) = &mut self.blown {
            *blown = Blown { next_probe: now + self.limits.probe_interval, probe: Some(ticket.clone()) };
        }
    }

    /// A record ended. While blown only the probe counts: others were started before.
    pub(super) fn ended(&mut self, ticket: &Ticket, poison: bool, now: Instant) -> Option<FuseChange> {
        if let Some(blown) = &self.blown {
            if poison || blown.probe.as_ref() != Some(ticket) {
                return None;
            }
            *self = Self::new(self.limits);
            return Some(FuseChange::Mended);
        }
        let sample = self.limits.sample.clamp(1, u128::BITS);
        self.run = if poison { self.run.saturating_add(1) } else { 0 };
        self.history = (self.history << 1 | u128::from(poison)) & (u128::MAX >> (u128::BITS - sample));
        self.seen = self.seen.saturating_add(1).min(sample);
        let full = self.seen == sample;
        if self.run >= self.limits.run_max || (full && self.history.count_ones() >= self.limits.poison_max) {
            self.blown = Some(Blown { next_probe: now + self.limits.probe_interval, probe: None });
            return Some(FuseChange::Blew);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ridgeline_ports::{Offset, Partition};

    use super::*;
    use crate::window::Work;

    fn ticket(offset: u64) -> Ticket {
        Ticket { partition: Partition(0), epoch: 1, lane: Bytes::new(), work: Work::Record(Offset(offset)) }
    }

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a starting point for a test that steps from it")]
        std::time::Instant::now().into()
    }

    #[test]
    fn a_run_of_poison_blows_it_and_only_a_good_probe_mends_it() {
        let (mut fuse, start) = (Fuse::new(FuseLimits { run_max: 3, ..FuseLimits::default() }), now());
        assert_eq!(fuse.ended(&ticket(0), true, start), None);
        assert_eq!(fuse.ended(&ticket(1), false, start), None);
        assert_eq!(fuse.ended(&ticket(2), true, start), None);
        assert_eq!(fuse.ended(&ticket(3), true, start), None);
        assert_eq!(fuse.ended(&ticket(4), true, start), Some(FuseChange::Blew));
        assert!(fuse.is_blown() && !fuse.allows(start));
        assert_eq!(fuse.ended(&ticket(5), false, start), None, "started before it blew");
        let later = start + FuseLimits::default().probe_interval;
        assert!(fuse.allows(later));
        fuse.started(&ticket(6), later);
        assert!(!fuse.allows(later), "one at a time");
        assert_eq!(fuse.ended(&ticket(6), true, later), None);
        let third = later + FuseLimits::default().probe_interval;
        fuse.started(&ticket(7), third);
        assert_eq!(fuse.ended(&ticket(7), false, third), Some(FuseChange::Mended));
        assert!(fuse.allows(third) && fuse.next_probe().is_none());
    }

    #[test]
    fn a_ratio_blows_it_only_over_a_full_sample() {
        let limits = FuseLimits { run_max: 50, sample: 100, poison_max: 90, ..FuseLimits::default() };
        let (mut fuse, start) = (Fuse::new(limits), now());
        for offset in 0..99 {
            assert_eq!(fuse.ended(&ticket(offset), offset % 10 != 0, start), None, "{offset}");
        }
        assert_eq!(fuse.ended(&ticket(99), true, start), Some(FuseChange::Blew));

        let mut fuse = Fuse::new(limits);
        for offset in 0..1_000 {
            assert_eq!(fuse.ended(&ticket(offset), offset % 8 != 0, start), None, "87.5 % is below the ratio");
        }
    }
}
