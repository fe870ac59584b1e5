//! What time it is by the log's clock, as far as a process can know without believing its own.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use ridgeline_domain::{DurationMs, Timestamp};
use tokio::time::Instant;

/// The latest append time seen, and when it was seen by the monotonic clock.
///
/// The estimate is never ahead of the log. It is behind by how long the latest record took to arrive, and by the whole backlog
/// until something recent was read or written.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogClock {
    latest: Option<(Timestamp, Instant)>,
}

impl LogClock {
    /// A record with this append time was read or written just now.
    pub fn observe(&mut self, appended: Timestamp) {
        let now = Instant::now();
        if self.at(now).is_none_or(|known| appended > known) {
            self.latest = Some((appended, now));
        }
    }

    /// The log's time at `now`; `None` before anything was seen.
    #[must_use]
    pub fn at(&self, now: Instant) -> Option<Timestamp> {
        let (appended, seen) = self.latest?;
        let millis = now.saturating_duration_since(seen).as_millis();
        Some(appended.plus(DurationMs(i64::try_from(millis).unwrap_or(i64::MAX))))
    }
}

/// A [`LogClock`] that the roles of a process share: whatever one of them reads or writes tells all of them the time.
#[derive(Clone, Default)]
pub struct LogTime(Arc<Mutex<LogClock>>);

impl LogTime {
    /// A record with this append time was read or written just now.
    pub fn observe(&self, appended: Timestamp) {
        self.0.lock().observe(appended);
    }

    /// The log's time now; `None` before anything was seen.
    #[must_use]
    pub fn now(&self) -> Option<Timestamp> {
        self.0.lock().at(Instant::now())
    }

    /// Whether `deadline` has passed for certain. Before anything was seen nothing has.
    #[must_use]
    pub fn is_past(&self, deadline: Timestamp) -> bool {
        self.now().is_some_and(|now| now >= deadline)
    }
}

impl fmt::Debug for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogTime({:?})", self.now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_append_time_goes_on_and_never_back() {
        let time = LogTime::default();
        assert!(time.now().is_none() && !time.is_past(at(0)), "nothing seen, nothing past");
        time.observe(at(10_000));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(time.now(), Some(at(12_000)));
        time.observe(at(11_000));
        assert_eq!(time.now(), Some(at(12_000)), "an older record changes nothing");
        time.observe(at(500_000));
        assert!(time.is_past(at(500_000)) && !time.is_past(at(500_001)));
    }
}
