use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::advance;

use super::*;

const TIMES: Times = Times { fresh: Duration::from_secs(30), pause: Duration::from_secs(1) };

/// Fetches the number of the attempt, or fails while it is told to.
#[derive(Default)]
struct Counter {
    attempts: AtomicU32,
    failing: std::sync::atomic::AtomicBool,
}

impl Counter {
    async fn fetch(&self) -> Result<u32, IdentityError> {
        let attempt = self.attempts.fetch_add(1, Ordering::SeqCst) + 1;
        // Others get their turn meanwhile.
        tokio::task::yield_now().await;
        if self.failing.load(Ordering::SeqCst) { Err(IdentityError::Unavailable("away".into())) } else { Ok(attempt) }
    }

    fn fails(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_fetched_again_after_its_time_and_by_one_caller() {
    let (kept, source) = (Kept::new(TIMES), Counter::default());
    let get = || kept.get(|| source.fetch());
    let (a, b, c) = tokio::join!(get(), get(), get());
    assert_eq!((*a.unwrap(), *b.unwrap(), *c.unwrap(), source.attempts()), (1, 1, 1, 1));
    advance(Duration::from_millis(29_999)).await;
    assert_eq!(*get().await.unwrap(), 1);
    advance(Duration::from_millis(1)).await;
    let (a, b) = tokio::join!(get(), get());
    assert_eq!((*a.unwrap(), *b.unwrap(), source.attempts()), (2, 1, 2), "the others do not wait for it");
    assert_eq!((*get().await.unwrap(), source.attempts()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_stays_while_nothing_better_can_be_had() {
    let (kept, source) = (Kept::new(TIMES), Counter::default());
    let get = || kept.get(|| source.fetch());
    source.fails(true);
    assert!(matches!(get().await, Err(IdentityError::Unavailable(_))));
    assert!(get().await.is_err());
    assert_eq!(source.attempts(), 1, "no second attempt within the pause");
    advance(TIMES.pause).await;
    source.fails(false);
    assert_eq!(*get().await.unwrap(), 2);
    source.fails(true);
    advance(TIMES.fresh).await;
    assert_eq!((*get().await.unwrap(), *get().await.unwrap(), source.attempts()), (2, 2, 3));
    advance(TIMES.pause).await;
    source.fails(false);
    assert_eq!((*get().await.unwrap(), source.attempts()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_looked_for_at_once_and_once_a_pause() {
    let (kept, source) = (Kept::new(TIMES), Counter::default());
    let first = kept.get(|| source.fetch()).await.unwrap();
    let newer = async |than: &Arc<u32>| kept.newer(than, || source.fetch()).await;
    assert_eq!(newer(&first).await.unwrap(), None, "it was fetched this moment");
    advance(TIMES.pause).await;
    let (a, b) = tokio::join!(newer(&first), newer(&first));
    assert_eq!((a.unwrap().as_deref(), b.unwrap().as_deref(), source.attempts()), (Some(&2), Some(&2), 2));
    let second = kept.get(|| source.fetch()).await.unwrap();
    assert_eq!((*second, newer(&second).await.unwrap()), (2, None));
    advance(TIMES.pause).await;
    source.fails(true);
    assert!(newer(&second).await.is_err());
    assert_eq!((newer(&second).await.unwrap(), source.attempts()), (None, 3));
    assert_eq!(*kept.get(|| source.fetch()).await.unwrap(), 2);
}
