//! Something that is fetched now and then, by one caller at a time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::time::Instant;

use crate::IdentityError;

/// Keys as last fetched.
pub(crate) struct Kept<T> {
    held: RwLock<Option<Held<T>>>,
    /// When the last attempt began. Held while one is made.
    attempt: tokio::sync::Mutex<Option<Instant>>,
    times: Times,
}

struct Held<T> {
    value: Arc<T>,
    since: Instant,
}

/// How often is fetched.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// What was fetched is not fetched again before.
    pub(crate) fresh: Duration,
    /// Not even if it lacks something, or could not be had.
    pub(crate) pause: Duration,
}

impl<T> Kept<T> {
    pub(crate) fn new(times: Times) -> Self {
        Self { held: RwLock::default(), attempt: tokio::sync::Mutex::default(), times }
    }

    /// What is held, fetched anew by one caller where it is old. It stays good for all while nothing better can be had.
    pub(crate) async fn get<F, R>(&self, fetch: F) -> Result<Arc<T>, IdentityError>
    where
        F: FnOnce() -> R,
        R: Future<Output = Result<T, IdentityError>>,
    {
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let old = self.held.read().as_ref().map(|held| held.value.clone());
        let mut attempt = match (self.attempt.try_lock(), old) {
            (Ok(attempt), _) => attempt,
            (Err(_), Some(old)) => return Ok(old),
            (Err(_), None) => self.attempt.lock().await,
        };
        // Whoever had the lock before may have fetched.
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let fetched = if self.may_try(&mut attempt) { Some(fetch().await) } else { None };
        if fetched.is_some() {
            // Those who waited meanwhile do not each wait for a slow answer of their own.
            *attempt = Some(Instant::now());
        }
        let old = self.held.read().as_ref().map(|held| held.value.clone());
        match (fetched, old) {
            (Some(Ok(value)), _) => Ok(self.hold(value)),
            (Some(Err(error)), None) => Err(error),
            (None, None) => Err(IdentityError::Unavailable("the last attempt failed a moment ago".into())),
            (None, Some(old)) => Ok(old),
            (Some(Err(error)), Some(old)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "keys of tokens cannot be read again; the last ones stay");
                Ok(old)
            }
        }
    }

    /// What is newer than `than`, which lacks something; `None` where it is too soon to fetch again.
    pub(crate) async fn newer<F, R>(&self, than: &Arc<T>, fetch: F) -> Result<Option<Arc<T>>, IdentityError>
    where
        F: FnOnce() -> R,
        R: Future<Output = Result<T, IdentityError>>,
    {
        let mut attempt = self.attempt.lock().await;
        let held = self.held.read().as_ref().map(|held| held.value.clone());
        if let Some(newer) = held.filter(|held| !Arc::ptr_eq(held, than)) {
            return Ok(Some(newer));
        }
        if !self.may_try(&mut attempt) {
            return Ok(None);
        }
        let fetched = fetch().await;
        *attempt = Some(Instant::now());
        fetched.map(|value| Some(self.hold(value)))
    }

    fn fresh(&self) -> Option<Arc<T>> {
        let held = self.held.read();
        held.as_ref().filter(|held| held.since.elapsed() < self.times.fresh).map(|held| held.value.clone())
    }

    fn may_try(&self, attempt: &mut Option<Instant>) -> bool {
        let may = attempt.is_none_or(|last| last.elapsed() >= self.times.pause);
        if may {
            *attempt = Some(Instant::now());
        }
        may
    }

    fn hold(&self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        *self.held.write() = Some(Held { value: value.clone(), since: Instant::now() });
        value
    }
}

#[cfg(test)]
mod tests;
