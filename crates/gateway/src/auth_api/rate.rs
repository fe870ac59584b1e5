//! How often somebody may call: token buckets, and waits that grow with abuse.
//!
//! Each bucket belongs to a kind of call and to a caller: an address, a user, or what stands for one. A caller that empties its
//! bucket waits a minute; one that empties it again waits twice as long, up to an hour, until it has been quiet for twice its last
//! wait. Calls within the wait keep the bucket empty. The limits hold for each gateway by itself.

use std::collections::HashMap;

use parking_lot::Mutex;
use ridgeline_domain::{DurationMs, Timestamp};

use crate::problem::Problem;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Category {
    Registration,
    Authentication,
    DeviceManagement,
    Confirmation,
    /// Asking how far confirmations are.
    ConfirmationReading,
}

impl Category {
    /// Calls a minute.
    const fn rate(self) -> i64 {
        match self {
            Self::Registration => 5,
            Self::Authentication => 10,
            Self::Confirmation => 20,
            Self::DeviceManagement => 30,
            Self::ConfirmationReading => 60,
        }
    }

    /// Calls at once after a quiet time.
    const fn burst(self) -> i64 {
        match self {
            Self::Registration => 10,
            Self::Authentication => 20,
            Self::Confirmation => 50,
            Self::DeviceManagement => 60,
            Self::ConfirmationReading => 120,
        }
    }
}

const BLOCK_MIN: DurationMs = DurationMs::from_secs(60);
const BLOCK_MAX: DurationMs = DurationMs::from_secs(3_600);
/// Callers that are remembered: about 8 MiB.
const CALLERS_MAX: usize = 65_536;
/// Those that may be forgotten are looked for at most this often.
const SWEEP: DurationMs = DurationMs::from_secs(1);
/// Parts of a call, so that a bucket fills by whole parts: one for each call a minute, in each millisecond.
const PARTS: i64 = 60_000;

/// Who calls, as a keyed digest.
pub(super) type CallerKey = [u8; 16];

/// The buckets of one gateway.
pub(super) struct RateLimits {
    enabled: bool,
    callers_max: usize,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    by_caller: HashMap<(Category, CallerKey), Bucket>,
    /// For those who came when there was no room: one bucket for all of them.
    crowd: HashMap<Category, Bucket>,
    swept: Option<Timestamp>,
}

impl RateLimits {
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, callers_max: CALLERS_MAX, buckets: Mutex::default() }
    }

    /// Counts a call at `now`.
    ///
    /// # Errors
    /// `RateLimited` with the time to wait.
    pub(super) fn count(&self, category: Category, caller: CallerKey, now: Timestamp) -> Result<(), Problem> {
        self.held(|buckets| buckets.count(category, caller, (self.callers_max, now)))
    }

    /// The same for somebody whom many name and none has proven to be: the rate holds, waits do not grow.
    ///
    /// # Errors
    /// `RateLimited` with the time to wait.
    pub(super) fn count_unblocked(&self, category: Category, caller: CallerKey, now: Timestamp) -> Result<(), Problem> {
        self.held(|buckets| buckets.bucket(category, caller, (self.callers_max, now)).take_unblocked(category, now))
    }

    fn held(&self, count: impl FnOnce(&mut Buckets) -> Result<(), DurationMs>) -> Result<(), Problem> {
        if !self.enabled {
            return Ok(());
        }
        count(&mut self.buckets.lock()).map_err(|wait| {
            let seconds = wait.0.max(1).unsigned_abs().div_ceil(1_000);
            Problem::rate_limited(seconds)
        })
    }
}

impl Buckets {
    fn count(
        &mut self,
        category: Category,
        caller: CallerKey,
        (callers_max, now): (usize, Timestamp),
    ) -> Result<(), DurationMs> {
        self.bucket(category, caller, (callers_max, now));
        let own = self.by_caller.contains_key(&(category, caller));
        let bucket = self.bucket(category, caller, (callers_max, now));
        // Not all of the crowd are to blame.
        if own { bucket.take(category, now) } else { bucket.take_unblocked(category, now) }
    }

    /// The caller's own, or the crowd's where there is no room for another.
    fn bucket(&mut self, category: Category, caller: CallerKey, (callers_max, now): (usize, Timestamp)) -> &mut Bucket {
        let key = (category, caller);
        if !self.by_caller.contains_key(&key) && self.by_caller.len() >= callers_max {
            self.sweep(now);
            if self.by_caller.len() >= callers_max {
                return self.crowd.entry(category).or_insert_with(|| Bucket::full(category, now));
            }
        }
        self.by_caller.entry(key).or_insert_with(|| Bucket::full(category, now))
    }

    /// Forgets those who are as if they had never called.
    fn sweep(&mut self, now: Timestamp) {
        if self.swept.is_some_and(|swept| swept <= now && now.since(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.by_caller.retain(|(category, _), bucket| !bucket.is_as_new(*category, now));
    }
}

/// What a caller has left.
#[derive(Clone)]
struct Bucket {
    /// In parts of a call.
    level: i64,
    filled: Timestamp,
    /// The last wait and its end.
    block: Option<(DurationMs, Timestamp)>,
}

impl Bucket {
    const fn full(category: Category, now: Timestamp) -> Self {
        Self { level: category.burst() * PARTS, filled: now, block: None }
    }

    fn take(&mut self, category: Category, now: Timestamp) -> Result<(), DurationMs> {
        self.forgive(now);
        let has_one = self.drain(category, now);
        match self.block {
            Some((_, until)) if now < until => return Err(until.since(now)),
            _ if has_one => return Ok(()),
            _ => {}
        }
        let wait = self.block.map_or(BLOCK_MIN, |(last, _)| DurationMs(last.0 * 2)).min(BLOCK_MAX);
        self.block = Some((wait, now.plus(wait)));
        Err(wait)
    }

    /// Without a block: many share the bucket, and not all of them are to blame.
    fn take_unblocked(&mut self, category: Category, now: Timestamp) -> Result<(), DurationMs> {
        if self.drain(category, now) { Ok(()) } else { Err(DurationMs((PARTS - self.level) / category.rate() + 1)) }
    }

    /// Fills the bucket up to `now` and takes a call out of it; whether there was a whole one.
    fn drain(&mut self, category: Category, now: Timestamp) -> bool {
        self.fill(category, now);
        let has_one = self.level >= PARTS;
        self.level = if has_one { self.level - PARTS } else { self.level };
        has_one
    }

    fn fill(&mut self, category: Category, now: Timestamp) {
        let elapsed = now.since(self.filled).0.max(0);
        let more = elapsed.saturating_mul(category.rate());
        self.level = self.level.saturating_add(more).min(category.burst() * PARTS);
        self.filled = now;
    }

    /// A block is forgotten after twice its time without another one.
    fn forgive(&mut self, now: Timestamp) {
        if self.block.is_some_and(|(wait, until)| now >= until.plus(DurationMs(wait.0 * 2))) {
            self.block = None;
        }
    }

    fn is_as_new(&mut self, category: Category, now: Timestamp) -> bool {
        self.forgive(now);
        self.fill(category, now);
        self.block.is_none() && self.level == category.burst() * PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: CallerKey = [1; 16];

    struct Clocked {
        limits: RateLimits,
        now: Timestamp,
    }

    impl Clocked {
        fn new(callers_max: usize) -> Self {
            let limits = RateLimits { enabled: true, callers_max, buckets: Mutex::default() };
            Self { limits, now: Timestamp::from_millis(1_700_000_000_000) }
        }

        fn pass(&mut self, seconds: i64) {
            self.now = self.now.plus(DurationMs::from_secs(seconds));
        }

        /// Seconds to wait, or none.
        fn call(&self, category: Category, caller: CallerKey) -> Option<i64> {
            let mut buckets = self.limits.buckets.lock();
            let counted = buckets.count(category, caller, (self.limits.callers_max, self.now));
            counted.err().map(|wait| wait.0.div_euclid(1_000) + i64::from(wait.0 % 1_000 > 0))
        }

        /// Calls that pass before one does not.
        fn passing(&self, category: Category) -> usize {
            (0..1_000).take_while(|_| self.call(category, CALLER).is_none()).count()
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        for (category, burst) in [
            (Category::Registration, 10),
            (Category::Authentication, 20),
            (Category::Confirmation, 50),
            (Category::DeviceManagement, 60),
            (Category::ConfirmationReading, 120),
        ] {
            let site = Clocked::new(10);
            assert_eq!(site.passing(category), burst);
        }
        let mut site = Clocked::new(10);
        for _ in 0..200 {
            assert_eq!(site.call(Category::Registration, CALLER), None, "one each 12 s may go on for ever");
            site.pass(12);
        }
    }

    #[test]
    fn each_further_window_of_abuse_doubles_the_wait_up_to_an_hour() {
        let mut site = Clocked::new(10);
        assert_eq!(site.passing(Category::Authentication), 20);
        let mut waits = Vec::new();
        for _ in 0..9 {
            // What has flowed in at the very end of a wait passes.
            let wait = loop {
                if let Some(wait) = site.call(Category::Authentication, CALLER) {
                    break wait;
                }
            };
            waits.push(wait);
            // A client that repeats in a loop keeps its bucket empty.
            for _ in 0..wait {
                assert!(site.call(Category::Authentication, CALLER).is_some());
                site.pass(1);
            }
        }
        waits.dedup();
        assert_eq!(waits[..3], [60, 120, 240]);
        assert_eq!(waits.last(), Some(&3_600));
    }

    #[test]
    fn who_waits_quietly_may_go_on_and_is_forgiven() {
        let mut site = Clocked::new(10);
        assert_eq!(site.passing(Category::Registration), 10);
        site.pass(61);
        assert_eq!(site.passing(Category::Registration), 5, "what a minute brings");
        assert_eq!(site.call(Category::Registration, CALLER), Some(120));
        site.pass(120 + 240);
        assert_eq!(site.passing(Category::Registration), 10);
        assert_eq!(site.call(Category::Registration, CALLER), Some(60), "the first window again");
    }

    #[test]
    fn callers_and_kinds_of_call_do_not_share() {
        let site = Clocked::new(10);
        assert_eq!(site.passing(Category::Registration), 10);
        assert_eq!(site.call(Category::Registration, [2; 16]), None);
        assert_eq!(site.call(Category::Authentication, CALLER), None);
    }

    #[test]
    fn newcomers_share_one_bucket_while_there_is_no_room() {
        let mut site = Clocked::new(4);
        for caller in 0..4 {
            assert_eq!(site.call(Category::Registration, [caller; 16]), None);
        }
        let passed = (10..110_u8).filter(|caller| site.call(Category::Registration, [*caller; 16]).is_none()).count();
        assert_eq!(passed, 10, "all newcomers together");
        assert_eq!(site.call(Category::Registration, [200; 16]), Some(13), "until one more drips in");
        assert_eq!(site.limits.buckets.lock().by_caller.len(), 4);
        // Those who are as new make room.
        site.pass(12);
        assert_eq!(site.call(Category::Registration, [201; 16]), None);
        assert!(site.limits.buckets.lock().by_caller.contains_key(&(Category::Registration, [201; 16])));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let mut site = Clocked::new(10);
        assert_eq!(site.passing(Category::Registration), 10);
        site.pass(-3_600);
        assert!(site.call(Category::Registration, CALLER).is_some());
    }

    #[test]
    fn switched_off_everything_passes() {
        let limits = RateLimits::new(false);
        for _ in 0..1_000 {
            assert!(limits.count(Category::Registration, CALLER, Timestamp::from_millis(0)).is_ok());
        }
    }
}
