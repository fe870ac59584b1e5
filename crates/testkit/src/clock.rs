//! A clock that tests move.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ridgeline_domain::{DurationMs, Timestamp};
use ridgeline_ports::Clock;

/// Stands still at a time or runs with the system's clock; either way a test can move it.
#[derive(Debug)]
pub struct TestClock {
    runs: bool,
    /// The time, or the distance to the system's clock, in milliseconds.
    millis: AtomicI64,
}

impl TestClock {
    /// Runs with the system's clock.
    #[must_use]
    pub const fn running() -> Self {
        Self { runs: true, millis: AtomicI64::new(0) }
    }

    /// Stands still at `now`.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self { runs: false, millis: AtomicI64::new(now.millis()) }
    }

    /// Moves the clock by `span`, also backwards.
    pub fn advance(&self, span: DurationMs) {
        self.millis.fetch_add(span.0, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let base = if self.runs { system_millis() } else { 0 };
        Timestamp::from_millis(base + self.millis.load(Ordering::SeqCst))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock of tests")]
fn system_millis() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_when_told() {
        let clock = TestClock::at(Timestamp::from_millis(10));
        clock.advance(DurationMs(5));
        assert_eq!(clock.now().millis(), 15);
        let clock = TestClock::running();
        let before = clock.now();
        clock.advance(DurationMs::from_days(1));
        assert!(clock.now().since(before) >= DurationMs::from_days(1));
    }
}
