//! CPU work of commands on all processors, with a bar for people.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

/// A bar on standard error; invisible where that is no terminal.
pub(crate) fn bar(steps: u64, what: &str) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(steps), target).with_message(what.to_owned());
    let style = ProgressStyle::with_template("{msg:12} [{bar:40}] {pos}/{len} {eta}");
    match style {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// The threads to use: as asked, else one for each processor.
pub(crate) fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| thread::available_parallelism().map_or(1, std::num::NonZero::get)).max(1)
}

/// `compute(0)` … `compute(count - 1)` on `threads` threads; results in order. Ends early at the first error.
///
/// # Errors
/// The first error that was met.
pub(crate) fn parallel<T: Send>(
    threads: usize,
    count: usize,
    compute: impl Fn(usize) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(count));
    let failed = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            scope.spawn(|| {
                while failed.lock().is_none() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    match compute(index) {
                        Ok(result) => results.lock().push((index, result)),
                        Err(error) => *failed.lock() = Some(error),
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner() {
        return Err(error);
    }
    let mut results = results.into_inner();
    if results.len() != count {
        return Err(anyhow!("{} of {count} computations have no result", count - results.len()));
    }
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_the_first_error_ends_it() {
        assert_eq!(parallel(3, 50, |n| Ok(n * n)).unwrap(), (0..50).map(|n| n * n).collect::<Vec<_>>());
        assert_eq!(parallel(2, 0, Ok).unwrap(), Vec::<usize>::new());
        let error = parallel(2, 50, |n| if n == 7 { Err(anyhow!("seven")) } else { Ok(n) }).unwrap_err();
        assert_eq!(error.to_string(), "seven");
    }
}
