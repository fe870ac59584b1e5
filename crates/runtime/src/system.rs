//! The system's clock and randomness, for the shell.

use std::time::{SystemTime, UNIX_EPOCH};

use ridgeline_domain::Timestamp;
use ridgeline_ports::{Clock, Entropy};

/// The system's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the Clock port's one implementation over the system clock"
        )]
        let now = SystemTime::now();
        let millis = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

/// The operating system's random generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the operating system has no randomness to give: every id and key made afterwards would be guessable.
    fn fill(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            panic!("the operating system's random generator failed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_past_2025_and_random_ids_differ() {
        assert!(SystemClock.now().millis() > 1_735_689_600_000);
        assert_ne!(SystemEntropy.request_id(), SystemEntropy.request_id());
    }
}
