//! The suite that every adapter of the `EventLog` and `Store` ports must pass.
//!
//! Each function proves one property and panics where it does not hold. They wait generously for what an adapter does in
//! its own time and assert no speed. An adapter's test file names them all with one line. The expression is evaluated once for
//! each test and gives an `Option`: `None` skips the test, where the server it needs is not there.
//!
//! ```ignore
//! ridgeline_testkit::log_conformance!(fixture().await);
//! ridgeline_testkit::store_conformance!(fixture().await);
//! ```

pub mod log;
pub mod log_cleanup;
pub mod log_groups;
mod log_support;
pub mod store;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use ridgeline_domain::DurationMs;
use ridgeline_ports::{EventLog, Store};

/// How long a test waits for something that must come.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a test listens to be sure that nothing comes.
pub const QUIET: Duration = Duration::from_millis(300);

/// What an adapter lends to one test. Made anew for each test; several may share one broker or database.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// A prefix of topic names, group names and partition keys that no other test uses: `[a-z0-9.]{1,50}`.
    fn prefix(&self) -> String;

    /// Makes everything written so far older by `span`. `false` where the adapter cannot; such a test ends early.
    async fn age(&self, span: DurationMs) -> bool;

    /// Runs the clean-up now, or does nothing where it runs by itself.
    async fn sweep(&self);

    /// Removes what the test has made on a shared server. Called when the test has ended, however it ended.
    async fn release(&self) {}
}

/// A fixture of an event log.
pub trait LogFixture: Fixture {
    /// The log under test.
    fn log(&self) -> Arc<dyn EventLog>;
}

/// A fixture of a store.
pub trait StoreFixture: Fixture {
    /// The store under test.
    fn store(&self) -> Arc<dyn Store>;
}

/// Runs one test of the suite, or nothing without a fixture, and releases the fixture also when the test fails.
///
/// # Panics
/// As the test does.
pub async fn run<F: Fixture>(fixture: Option<F>, test: impl AsyncFnOnce(&F)) {
    let Some(fixture) = fixture else { return };
    let ended = {
        let mut test = pin!(test(&fixture));
        std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| test.as_mut().poll(context))) {
            Ok(progress) => progress.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        })
        .await
    };
    fixture.release().await;
    if let Err(panic) = ended {
        resume_unwind(panic);
    }
}

/// Names the tests of the log suite, each with the fixture (an `Option`) that the expression gives.
#[macro_export]
macro_rules! log_conformance {
    ($fixture:expr) => {
        $crate::conformance_tests!($fixture, log: [
            topics_are_made_once,
            records_come_back_whole,
            the_key_or_the_writer_chooses_the_partition,
            offsets_are_contiguous_and_times_never_fall,
            one_writers_records_keep_their_order,
            a_tail_from_the_end_misses_nothing_after_it_began,
            a_tail_from_the_beginning_reads_all,
            a_tail_from_a_time_starts_there,
            the_end_is_told_once_each_time,
            large_records_come_back,
            too_large_records_are_refused,
            a_cancelled_publish_does_no_harm,
        ]);
        $crate::conformance_tests!($fixture, log_groups: [
            a_group_goes_on_at_its_committed_offset,
            a_table_starts_at_the_beginning,
            groups_do_not_share_offsets,
            two_members_own_half_each,
            acked_offsets_are_where_the_next_owner_starts,
            members_that_come_and_go_lose_nothing,
            an_overdue_member_loses_its_partitions,
            a_dropped_member_is_replaced,
            a_member_that_comes_back_replaces_itself,
            foreign_partitions_cannot_be_committed,
            a_paused_partition_waits,
            a_seek_starts_a_new_epoch,
            control_comes_while_deliveries_wait,
            a_full_channel_holds_all_back_and_loses_nothing,
        ]);
        $crate::conformance_tests!($fixture, log_cleanup: [
            compaction_keeps_the_last_record_of_each_key,
            tombstones_go_after_their_time,
            retention_deletes_the_old_and_keeps_the_end,
        ]);
    };
}

/// Names the tests of the store suite, each with the fixture (an `Option`) that the expression gives.
#[macro_export]
macro_rules! store_conformance {
    ($fixture:expr) => {
        $crate::conformance_tests!($fixture, store: [
            one_of_many_inserts_wins,
            versions_rise_and_stale_writes_conflict,
            concurrent_replaces_lose_no_update,
            a_peek_sees_every_acknowledged_write,
            a_removed_row_starts_again,
            the_latest_plain_write_wins,
            equal_times_agree_on_the_larger_value,
            a_deleted_row_stays_deleted_for_older_writes,
            ranges_are_ordered_and_page,
            partitions_do_not_mix,
            a_scan_meets_each_row_once,
            rows_stay_until_seven_days_after_expiry,
            a_renewed_row_stays,
            misuse_is_refused,
            large_values_and_odd_keys_come_back,
        ]);
    };
}

/// Makes a `#[tokio::test]` of each function of a module of the suite.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($fixture:expr, $module:ident: [$($name:ident),+ $(,)?]) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let fixture = { use super::*; $fixture };
                    $crate::conformance::run(fixture, async |fixture| {
                        $crate::conformance::$module::$name(fixture).await;
                    })
                    .await;
                }
            )+
        }
    };
}
