//! Fail points: named places at which a test lets the process kill itself.
//!
//! They exist in builds with debug assertions only. In a release build the type is empty, nothing can arm it, and passing a point
//! compiles to nothing.

#[cfg(debug_assertions)]
use std::sync::Arc;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU32, Ordering};

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailPoint {
    /// The answer is stored, nothing of it is published.
    AfterStore,
    /// The audit event is published, the decision is not.
    BeforeDecision,
    /// Every effect of a record is durable, its offset has not moved.
    AfterEffects,
}

/// Which place kills the process, and at which pass. Clones count together. The default is none.
#[derive(Debug, Clone, Default)]
pub struct FailPoints {
    #[cfg(debug_assertions)]
    armed: Option<(FailPoint, Arc<AtomicU32>)>,
}

impl FailPoints {
    /// Reads `<point>:<pass>`, for instance `after-store:17`: the process dies when it passes that point for the 17th time.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (point, pass) = text.split_once(':')?;
        let point = match point {
            "after-store" => FailPoint::AfterStore,
            "before-decision" => FailPoint::BeforeDecision,
            "after-effects" => FailPoint::AfterEffects,
            _ => return None,
        };
        let passes = pass.parse::<u32>().ok().filter(|passes| *passes > 0)?;
        Some(Self { armed: Some((point, Arc::new(AtomicU32::new(passes)))) })
    }

    /// The process is at `point`.
    #[cfg(debug_assertions)]
    pub fn pass(&self, point: FailPoint) {
        if self.is_last(point) {
            die();
        }
    }

    /// The process is at `point`.
    #[cfg(not(debug_assertions))]
    #[inline]
    pub fn pass(&self, _point: FailPoint) {}

    #[cfg(debug_assertions)]
    fn is_last(&self, point: FailPoint) -> bool {
        let Some((armed, left)) = &self.armed else { return false };
        *armed == point && left.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

/// `kill -9`, by a shell: the standard library sends no signals, and unlike an abort it cannot be caught and leaves no core file.
/// This thread goes no further; others may, for the few milliseconds that the shell takes.
#[cfg(debug_assertions)]
fn die() {
    tracing::warn!("fail point reached");
    let _ = std::process::Command::new("/bin/sh").args(["-c", "kill -9 $PPID"]).status();
    std::process::abort();
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn counts_the_passes_of_its_own_point() {
        let points = FailPoints::parse("before-decision:3").unwrap();
        let shared = points.clone();
        assert!(!points.is_last(FailPoint::AfterStore) && !FailPoints::default().is_last(FailPoint::AfterStore));
        let passes: Vec<_> = (0..4).map(|_| shared.is_last(FailPoint::BeforeDecision)).collect();
        assert_eq!(passes, [false, false, true, false]);
    }

    #[test]
    fn reads_its_names_and_nothing_else() {
        for name in ["after-store:1", "before-decision:17", "after-effects:4000000000"] {
            assert!(FailPoints::parse(name).is_some(), "{name}");
        }
        for wrong in ["", "after-store", "after-store:", "after-store:0", "after-store:-1", "elsewhere:1"] {
            assert!(FailPoints::parse(wrong).is_none(), "{wrong}");
        }
    }
}
