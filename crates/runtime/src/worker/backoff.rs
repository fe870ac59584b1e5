//! When a failed attempt is made again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::Limits;
use crate::window::{Ticket, Work};

/// The lanes that wait, by when they wake.
#[derive(Debug, Default)]
pub(super) struct Backoffs {
    waiting: BTreeMap<(Instant, u64), Ticket>,
    next: u64,
}

impl Backoffs {
    pub(super) fn add(&mut self, at: Instant, ticket: Ticket) {
        self.next += 1;
        self.waiting.insert((at, self.next), ticket);
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Ticket> {
        let entry = self.waiting.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

/// The delay after so many failed attempts: doubles from the least to the longest, then loses up to a quarter.
///
/// The jitter derives from the place of the work, so it needs no randomness and still tells lanes apart.
pub(super) fn delay(limits: &Limits, ticket: &Ticket, attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    let full = limits.backoff_min.saturating_mul(1 << doublings).min(limits.backoff_max);
    let place = match &ticket.work {
        Work::Record(offset) => offset.0,
        Work::Timer(key) => key.iter().fold(0, |sum: u64, byte| sum.wrapping_mul(257).wrapping_add(u64::from(*byte))),
    };
    let seed = place ^ u64::from(ticket.partition.0) << 40 ^ u64::from(attempts) << 56;
    let cut_1024ths = mix(seed) % 256;
    full - full * u32::try_from(cut_1024ths).unwrap_or(0) / 1024
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ridgeline_ports::{Offset, Partition};

    use super::*;

    fn ticket(offset: u64) -> Ticket {
        Ticket { partition: Partition(2), epoch: 1, lane: Bytes::new(), work: Work::Record(Offset(offset)) }
    }

    #[test]
    fn delays_double_to_the_cap_and_lose_at_most_a_quarter() {
        let limits = Limits::default();
        for (attempts, full_ms) in [(1, 100), (2, 200), (5, 1_600), (9, 25_600), (10, 30_000), (u32::MAX, 30_000)] {
            let full = Duration::from_millis(full_ms);
            for offset in 0..200 {
                let delay = delay(&limits, &ticket(offset), attempts);
                assert!(delay <= full && delay >= full * 3 / 4, "{attempts}: {delay:?}");
            }
        }
    }

    #[test]
    fn lanes_that_fail_together_do_not_return_together() {
        let delays: std::collections::HashSet<_> =
            (0..64).map(|offset| delay(&Limits::default(), &ticket(offset), 9)).collect();
        assert!(delays.len() > 40, "{}", delays.len());
    }

    #[test]
    fn lanes_wake_in_the_order_of_their_times() {
        let (mut backoffs, start) = (Backoffs::default(), Instant::now());
        backoffs.add(start + Duration::from_secs(2), ticket(2));
        backoffs.add(start + Duration::from_secs(1), ticket(1));
        assert_eq!(backoffs.next_wake(), Some(start + Duration::from_secs(1)));
        assert_eq!(backoffs.pop_due(start), None);
        assert_eq!(backoffs.pop_due(start + Duration::from_secs(3)), Some(ticket(1)));
        assert_eq!(backoffs.pop_due(start + Duration::from_secs(3)), Some(ticket(2)));
        assert_eq!(backoffs.next_wake(), None);
    }
}
