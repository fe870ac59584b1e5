//! How many streams somebody has open: all callers share the gateway's places.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use ridgeline_domain::UserId;

use crate::problem::Problem;

/// Streams of one user at a gateway.
const STREAMS_MAX: usize = 8;

/// Those who follow something.
#[derive(Default, Clone)]
pub(crate) struct Watchers(Arc<Mutex<HashMap<UserId, usize>>>);

/// A place that is given back when it goes.
pub(super) struct Watcher {
    all: Watchers,
    user: UserId,
}

impl Watchers {
    /// Takes a place.
    ///
    /// # Errors
    /// `Unavailable` for the one that is too many.
    pub(super) fn enter(&self, user: &UserId) -> Result<Watcher, Problem> {
        let mut open = self.0.lock();
        let count = open.entry(user.clone()).or_default();
        if *count >= STREAMS_MAX {
            return Err(Problem::unavailable("this user follows too many confirmations; close a stream first"));
        }
        *count += 1;
        Ok(Watcher { all: self.clone(), user: user.clone() })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut open = self.all.0.lock();
        if let Some(count) = open.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_for_each_user_and_given_back() {
        let (watchers, ann, bob) = (Watchers::default(), UserId::new("x", "ann"), UserId::new("x", "bob"));
        let (ann, bob) = (ann.unwrap(), bob.unwrap());
        let mut held: Vec<_> = (0..STREAMS_MAX).map(|_| watchers.enter(&ann).unwrap()).collect();
        assert!(watchers.enter(&ann).is_err() && watchers.enter(&bob).is_ok());
        held.pop();
        assert!(watchers.enter(&ann).is_ok());
        held.clear();
        assert!(watchers.0.lock().is_empty());
    }
}
