//! What tests of faults ask of a process through its environment. A release build reads none of it.

use std::sync::Arc;

use ridgeline_ports::Clock;
use ridgeline_runtime::{Limits, SystemClock};

/// Milliseconds that the clock of this process is wrong by.
#[cfg(debug_assertions)]
const CLOCK_OFFSET: &str = "RIDGELINE_CLOCK_OFFSET_MS";

/// The point at which this process kills itself, and after how many passes: `after-store:17`.
#[cfg(debug_assertions)]
const FAIL_POINT: &str = "RIDGELINE_FAIL_POINT";

/// The limits of the worker loops, in builds with debug assertions with the fail point that the environment names.
///
/// # Errors
/// A fail point that does not exist.
#[cfg(debug_assertions)]
pub(crate) fn limits() -> anyhow::Result<Limits> {
    use anyhow::Context as _;
    use ridgeline_runtime::FailPoints;

    let mut limits = Limits::default();
    if let Ok(text) = std::env::var(FAIL_POINT) {
        let parsed = FailPoints::parse(&text);
        limits.fail =
            parsed.with_context(|| format!("{FAIL_POINT} {text:?} must be a point and a number of passes"))?;
    }
    Ok(limits)
}

/// The limits of the worker loops.
///
/// # Errors
/// None.
#[cfg(not(debug_assertions))]
pub(crate) fn limits() -> anyhow::Result<Limits> {
    Ok(Limits::default())
}

/// The clock of this process: the system's, in builds with debug assertions off by what the environment says.
///
/// # Errors
/// An offset that is no number.
#[cfg(debug_assertions)]
pub(crate) fn clock() -> anyhow::Result<Arc<dyn Clock>> {
    use anyhow::Context as _;
    use ridgeline_domain::{DurationMs, Timestamp};

    struct Wrong(DurationMs);

    impl Clock for Wrong {
        fn now(&self) -> Timestamp {
            SystemClock.now().plus(self.0)
        }
    }

    match std::env::var(CLOCK_OFFSET) {
        Err(_) => Ok(Arc::new(SystemClock)),
        Ok(text) => {
            let offset = text.parse().with_context(|| format!("{CLOCK_OFFSET} must be a number of milliseconds"))?;
            Ok(Arc::new(Wrong(DurationMs(offset))))
        }
    }
}

/// The system's clock.
///
/// # Errors
/// None.
#[cfg(not(debug_assertions))]
pub(crate) fn clock() -> anyhow::Result<Arc<dyn Clock>> {
    Ok(Arc::new(SystemClock))
}
