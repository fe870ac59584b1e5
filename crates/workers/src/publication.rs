//! What lies last on `gallery` under a subject's key is its row.
//!
//! Compaction keeps the last record of a key, so it is not enough that shards ignore a record older than what they know: an old
//! set published behind a tombstone would be all that a shard rebuilt later sees. Publishers may overlap: a matcher that lost its
//! partition may still be publishing when the next owner does. Each therefore appends what it read and reads again, until the row
//! is the one it appended ([`keep_current`]).
//!
//! Why that suffices. Versions of a row only rise. Let `v` be the row's final version and suppose that the last record of the key
//! carries `u < v`. Its publisher read the row again after that append. Had it seen a version above `u`, it would have appended
//! again, behind the last record. So it saw `u`, and `v` was written after that look. Whoever wrote `v` appends after writing it,
//! again behind the last record. Either way the record was not the last one. A publisher that dies in between leaves its record of
//! `scans` unfinished, and whoever gets it next starts over.
//!
//! Two things remain outside: an append that its publisher no longer waits for and that arrives after everything else, and a row
//! whose record of `scans` nobody will read again (a restored store, offsets moved by hand). Shards notice the first at once,
//! since the version falls, and find the second when they compare the rows with what they hold; both are published again.

use ridgeline_runtime::StepError;

/// Changes of one subject while it is being published; more means somebody hammers it, and its record backs off.
const ROUNDS_MAX: usize = 16;

/// A key of `gallery` and the row behind it.
pub(crate) trait Publication {
    /// A row as read.
    type Row: Send + Sync;

    /// Reads the row; `None` if there is none, so that nothing is to be published.
    fn read(&self) -> impl Future<Output = Result<Option<Self::Row>, StepError>> + Send;

    /// Its version, which rises with every change.
    fn version(row: &Self::Row) -> i64;

    /// Appends the row's state; returns once that is durable.
    fn append(&self, row: &Self::Row) -> impl Future<Output = Result<(), StepError>> + Send;
}

/// Appends the row until the row is what was appended; answers its version.
pub(crate) async fn keep_current<P: Publication + Sync>(publication: &P) -> Result<Option<i64>, StepError> {
    let Some(mut row) = publication.read().await? else { return Ok(None) };
    for _ in 0..ROUNDS_MAX {
        publication.append(&row).await?;
        let published = P::version(&row);
        match publication.read().await? {
            Some(newer) if P::version(&newer) > published => row = newer,
            _ => return Ok(Some(published)),
        }
    }
    Err(StepError::Retry("a subject keeps changing while it is published".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::*;

    /// Version and whether the subject is forgotten at it.
    type Row = (i64, bool);

    /// One subject's row and its key of the topic. Every call is one turn of the scheduler, then acts at once.
    #[derive(Default)]
    struct World {
        row: Mutex<Row>,
        topic: Mutex<Vec<Row>>,
    }

    /// Ends at the second poll, so that a schedule decides what happens in between.
    async fn turn() {
        let mut polled = false;
        poll_fn(|_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    impl Publication for World {
        type Row = Row;

        async fn read(&self) -> Result<Option<Row>, StepError> {
            turn().await;
            Ok(Some(*self.row.lock()))
        }

        fn version(row: &Row) -> i64 {
            row.0
        }

        async fn append(&self, row: &Row) -> Result<(), StepError> {
            turn().await;
            self.topic.lock().push(*row);
            Ok(())
        }
    }

    impl World {
        /// What a request does: its change once, however often it starts over; then the publication.
        async fn request(&self, forget: bool, done: &Mutex<bool>) -> Result<(), StepError> {
            turn().await;
            if !std::mem::replace(&mut *done.lock(), true) {
                let mut row = self.row.lock();
                *row = (row.0 + 1, forget);
            }
            keep_current(self).await.map(drop)
        }

        fn compact(&self) {
            let mut topic = self.topic.lock();
            let last = topic.last().copied();
            topic.clear();
            topic.extend(last);
        }
    }

    #[derive(Debug, Clone)]
    enum Act {
        Turn(usize),
        /// The process dies; the request starts over.
        Crash(usize),
        Compact,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            8 => (0..3_usize).prop_map(Act::Turn),
            1 => (0..3_usize).prop_map(Act::Crash),
            1 => Just(Act::Compact),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// Three requests about one subject at once (two owners of a partition, one of them no longer), each of which may die
        /// at any point and start over, and compaction at any point: in the end the last record of the key is the row.
        #[test]
        fn the_last_record_of_a_key_is_its_row(forget in proptest::array::uniform3(any::<bool>()),
                                               schedule in proptest::collection::vec(act(), 0..60)) {
            let world = World::default();
            let done: [Mutex<bool>; 3] = Default::default();
            let start = |index: usize| Box::pin(world.request(forget[index], &done[index]));
            let mut running: Vec<Option<Pin<Box<_>>>> = (0..3).map(|index| Some(start(index))).collect();
            let mut context = Context::from_waker(Waker::noop());
            let to_the_end = (0..3).flat_map(|index| std::iter::repeat_n(Act::Turn(index), 40));
            for act in schedule.into_iter().chain(to_the_end) {
                match act {
                    Act::Turn(index) => {
                        if let Some(request) = &mut running[index]
                            && let Poll::Ready(ended) = request.as_mut().poll(&mut context)
                        {
                            prop_assert!(ended.is_ok());
                            running[index] = None;
                        }
                    }
                    Act::Crash(index) => if running[index].is_some() { running[index] = Some(start(index)); },
                    Act::Compact => world.compact(),
                }
            }
            prop_assert!(running.iter().all(Option::is_none));
            let last = world.topic.lock().last().copied();
            prop_assert_eq!(last, Some(*world.row.lock()));
        }
    }
}
