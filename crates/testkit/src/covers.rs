//! Which requirement a test proves, recorded while the tests run.
//!
//! A test that proves a row of `docs/requirements.csv` says so in its first statement:
//!
//! ```no_run
//! # fn main() {
//! ridgeline_testkit::covers!("R-113", "R-114");
//! // … the test …
//! # }
//! ```
//!
//! The macro makes a [`Guard`]. When the test ends without a panic the guard adds one line `id,test path` for each id to
//! `$RIDGELINE_COVERS_DIR/<process id>.csv`; without that variable nothing is written. `./dev test` sets it, and when every
//! test is green `requirements-check` compares the lines with the table.
//!
//! A test that needs the real data sets asks for [`test_data`] *before* `covers!`, so that a skipped test records nothing:
//!
//! ```no_run
//! # fn test() {
//! let Some(data) = ridgeline_testkit::covers::test_data() else { return };
//! ridgeline_testkit::covers!("R-072");
//! # drop(data);
//! # }
//! ```
//!
//! A test that fails by returning `Err` (and a `proptest!` function, whose cases do) ends without a panic here and is
//! recorded; the run as a whole is red then, and the comparison is only made after a green run.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The variable that names the folder into which guards record. Unset: nothing is recorded.
pub const COVERS_DIR_VAR: &str = "RIDGELINE_COVERS_DIR";

/// The variable that names the folder with the public data sets (`fingerprint`, `crypto`, …). Unset: tests on them skip.
pub const TEST_DATA_VAR: &str = "RIDGELINE_TEST_DATA";

/// The most requirement ids one test may claim: a test that claims more proves none of them sharply.
pub const IDS_PER_TEST_MAX: usize = 5;

/// Declares, as the first statement of a test, which requirements the test proves: one to five ids, `"R-001"` … .
///
/// A malformed id, a sixth id and an id named twice are compile errors. See [`crate::covers`](mod@crate::covers).
#[macro_export]
macro_rules! covers {
    ($($id:literal),+ $(,)?) => {
        let _covers = {
            fn here() {}
            $crate::covers::Guard::new(here, const { $crate::covers::checked(&[$($id),+]) })
        };
    };
}

/// The folder of public data sets, or `None` (with a line on standard error) when [`TEST_DATA_VAR`] is not set.
pub fn test_data() -> Option<PathBuf> {
    let folder = std::env::var_os(TEST_DATA_VAR).filter(|value| !value.is_empty());
    if folder.is_none() {
        report(&format!("skipped: {TEST_DATA_VAR} is not set"));
    }
    folder.map(PathBuf::from)
}

#[expect(clippy::print_stderr, reason = "the test runner shows a skipped test's reason from standard error")]
fn report(line: &str) {
    eprintln!("{line}");
}

/// Records its ids when it is dropped without a panic. Made by [`covers!`](crate::covers!).
#[derive(Debug)]
#[must_use = "an unused guard records the test before it ran"]
pub struct Guard {
    test: String,
    ids: &'static [&'static str],
    sink: Option<PathBuf>,
}

impl Guard {
    /// A guard for the function that encloses `marker`, an empty function declared in the test's body: its type's name
    /// is the test's full path. (The thread's name is not: it is `main` when tests run one at a time.)
    pub fn new<F: Fn()>(marker: F, ids: &'static [&'static str]) -> Self {
        let sink = std::env::var_os(COVERS_DIR_VAR).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self { test: enclosing_function(std::any::type_name_of_val(&marker)), ids, sink }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let Some(folder) = &self.sink
            && let Err(error) = record(folder, &self.test, self.ids)
        {
            panic!("cannot record into {}: {error}", folder.display());
        }
    }
}

/// One write per guard to a file opened for append: lines of parallel tests of one process do not mix.
fn record(folder: &Path, test: &str, ids: &[&str]) -> std::io::Result<()> {
    let lines: String = ids.iter().map(|id| format!("{id},{test}\n")).collect();
    std::fs::create_dir_all(folder)?;
    let file = folder.join(format!("{}.csv", std::process::id()));
    std::fs::OpenOptions::new().create(true).append(true).open(file)?.write_all(lines.as_bytes())
}

/// `crate::module::test::{{closure}}::here` → `crate::module::test`: async tests and property tests run in closures.
fn enclosing_function(marker: &str) -> String {
    let parent = marker.rsplit_once("::").map_or(marker, |(parent, _)| parent);
    parent.split("::").filter(|part| *part != "{{closure}}").collect::<Vec<_>>().join("::")
}

/// The ids, after the checks that [`covers!`](crate::covers!) makes at compile time.
///
/// # Panics
/// With more than [`IDS_PER_TEST_MAX`] ids, an id that is not `R-` and three digits, or an id named twice.
pub const fn checked(ids: &'static [&'static str]) -> &'static [&'static str] {
    assert!(ids.len() <= IDS_PER_TEST_MAX, "a test may cover at most 5 requirements");
    let mut at = 0;
    while at < ids.len() {
        assert!(is_requirement_id(ids[at].as_bytes()), "a requirement id looks like R-113");
        let mut other = 0;
        while other < at {
            assert!(!same_id(ids[at].as_bytes(), ids[other].as_bytes()), "a requirement id is named twice");
            other += 1;
        }
        at += 1;
    }
    ids
}

const fn is_requirement_id(id: &[u8]) -> bool {
    id.len() == 5
        && id[0] == b'R'
        && id[1] == b'-'
        && id[2].is_ascii_digit()
        && id[3].is_ascii_digit()
        && id[4].is_ascii_digit()
}

/// Both are known to have five bytes; slices cannot be compared with `==` in a constant.
const fn same_id(left: &[u8], right: &[u8]) -> bool {
    left[2] == right[2] && left[3] == right[3] && left[4] == right[4]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(folder: &Path) -> Vec<String> {
        let file = folder.join(format!("{}.csv", std::process::id()));
        let Ok(text) = std::fs::read_to_string(file) else { return Vec::new() };
        text.lines().map(str::to_owned).collect()
    }

    fn guard(folder: &Path, ids: &'static [&'static str]) -> Guard {
        Guard { test: "a::b".to_owned(), ids, sink: Some(folder.to_owned()) }
    }

    #[test]
    fn a_green_test_is_recorded_with_each_id() {
        let folder = tempfile::tempdir().unwrap();
        drop(guard(folder.path(), &["R-001", "R-002"]));
        drop(guard(folder.path(), &["R-003"]));
        assert_eq!(lines(folder.path()), ["R-001,a::b", "R-002,a::b", "R-003,a::b"]);
    }

    #[test]
    fn a_red_test_is_not_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let outcome = std::panic::catch_unwind(|| {
            let _guard = guard(folder.path(), &["R-001"]);
            std::panic::resume_unwind(Box::new("red"));
        });
        assert!(outcome.is_err());
        assert_eq!(lines(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn the_name_is_the_tests_path() {
        fn here() {}
        let guard = Guard::new(here, &[]);
        assert_eq!(guard.test, "ridgeline_testkit::covers::tests::the_name_is_the_tests_path");
    }

    #[test]
    fn closures_do_not_show_in_the_name() {
        let made = || {
            fn here() {}
            Guard::new(here, &[])
        };
        let guard = made();
        assert_eq!(guard.test, "ridgeline_testkit::covers::tests::closures_do_not_show_in_the_name");
        assert_eq!(enclosing_function("a::tests::b::{{closure}}::{{closure}}::here"), "a::tests::b");
    }

    #[test]
    fn async_blocks_do_not_show_in_the_name() {
        let test = std::pin::pin!(async {
            fn here() {}
            Guard::new(here, &[])
        });
        let polled = test.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        let std::task::Poll::Ready(guard) = polled else { panic!("the block never waits") };
        assert_eq!(guard.test, "ridgeline_testkit::covers::tests::async_blocks_do_not_show_in_the_name");
    }

    #[test]
    fn ids_are_checked() {
        assert_eq!(checked(&["R-001", "R-319"]), ["R-001", "R-319"]);
        for bad in [&["R-1"] as &[_], &["r-001"], &["R-0001"], &["R-001", "R-001"], &["R-001"; 6]] {
            assert!(std::panic::catch_unwind(|| checked(bad)).is_err(), "{bad:?}");
        }
    }
}
