//! `ridgeline eval`: scores and CPU times of the engine on a set of images.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use ridgeline_fingerprint::eval::{
    EXTRACT_HEADER, SCORES_HEADER, SPEED_HEADER, Sample, SampleId, extract_all, extract_csv, score_all, scores_csv,
    speed, speed_csv,
};
use ridgeline_fingerprint::{Limits, decode, normalise};
use rustix::time::{ClockId, clock_gettime};

use crate::args::EvalArgs;
use crate::{output, work};

/// CPU time for which comparisons are repeated, nanoseconds.
const SPEED_NS: u64 = 3_000_000_000;

/// Writes the three files.
///
/// # Errors
/// If there are no images of that form, one cannot be read, or the folder cannot be written.
pub(crate) fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    if args.set.is_empty() || args.set.contains([',', '"', '\n', '\r']) {
        bail!("the name of a set stands in CSV files: no commas, quotes or line ends");
    }
    let files = images(&args.scans)?;
    let bar = work::bar(files.len() as u64, "extracting");
    let rows = work::parallel(work::threads(args.threads), files.len(), |index| {
        let (id, path) = files.get(index).context("an image")?;
        // As in the pipeline, so that the figures are those of the product.
        let image = normalise(&read(path, args.dpi)?);
        let row = extract_all(&[Sample { id: *id, image }], args.passes, &mut thread_cpu_ns);
        bar.inc(1);
        row.into_iter().next().context("a row")
    })?;
    bar.finish_and_clear();
    let failed = rows.iter().filter(|row| row.template.is_none()).count();
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let scores = score_all(&rows);
    write(args, "extract", EXTRACT_HEADER, &extract_csv(&args.set, &rows))?;
    write(args, "scores", SCORES_HEADER, &scores_csv(&args.set, &scores))?;
    let speed = speed(&rows, SPEED_NS, &mut thread_cpu_ns);
    write(args, "speed", SPEED_HEADER, &speed.as_ref().map_or_else(String::new, |s| speed_csv(&args.set, s)))?;
    let mut times: Vec<f64> = rows.iter().map(|row| row.cpu_ms).collect();
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let rate = speed.map_or(0.0, |speed| speed.matches_per_cpu_s);
    output::line(&format!(
        "{}: {} images ({failed} without a template), {} pairs, {median:.1} ms to extract, {rate:.0} comparisons per CPU second",
        args.set,
        rows.len(),
        scores.len(),
    ));
    Ok(ExitCode::SUCCESS)
}

/// The images of a folder by finger and impression. Files of another form are left out.
///
/// # Errors
/// If the folder cannot be read or holds none.
pub(crate) fn images(folder: &Path) -> anyhow::Result<Vec<(SampleId, PathBuf)>> {
    let context = || format!("cannot read {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let id = path.file_stem().and_then(|stem| SampleId::of_stem(stem.to_str()?));
        if let Some(id) = id.filter(|_| path.is_file()) {
            found.push((id, path));
        }
    }
    found.sort();
    if found.is_empty() {
        bail!("{} holds no files named <finger>_<impression>.<ext>", folder.display());
    }
    Ok(found)
}

fn read(path: &Path, dpi: Option<u16>) -> anyhow::Result<ridgeline_fingerprint::GreyImage> {
    let context = || format!("cannot read {}", path.display());
    let bytes = std::fs::read(path).with_context(context)?;
    decode(&bytes, None, dpi, &Limits::default()).with_context(context)
}

/// CPU time of the calling thread.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

fn write(args: &EvalArgs, what: &str, header: &str, rows: &str) -> anyhow::Result<()> {
    let path = args.out.join(format!("ours.{what}.csv"));
    std::fs::write(&path, format!("{header}{rows}")).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_in_order_and_others_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["10_1.png", "2_2.tif", "2_1.png", "notes.txt", "x_1.png"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let found = images(dir.path()).unwrap();
        let ids: Vec<_> = found.iter().map(|(id, _)| (id.finger, id.impression)).collect();
        assert_eq!(ids, [(2, 1), (2, 2), (10, 1)]);
        let empty = tempfile::tempdir().unwrap();
        assert!(images(empty.path()).is_err());
    }

    #[test]
    fn cpu_time_passes_while_the_thread_works() {
        let start = thread_cpu_ns();
        let mut sum = 0_u64;
        while thread_cpu_ns() < start + 1_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }

    #[test]
    fn three_files_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let scans = dir.path().join("scans");
        std::fs::create_dir(&scans).unwrap();
        let finger = ridgeline_synth::finger(ridgeline_synth::Seed(1), 0);
        for number in 0..2 {
            let image = finger.impression(number, &ridgeline_synth::ImpressionOptions::default());
            std::fs::write(scans.join(format!("1_{}.png", number + 1)), crate::synth::png(&image).unwrap()).unwrap();
        }
        let args = EvalArgs {
            scans,
            dpi: None,
            set: "tiny".to_owned(),
            out: dir.path().join("out"),
            passes: 1,
            threads: Some(1),
        };
        run(&args).unwrap();
        let lines = |name: &str| std::fs::read_to_string(args.out.join(name)).unwrap().lines().count();
        assert_eq!((lines("ours.scores.csv"), lines("ours.extract.csv")), (2, 3));
        assert!(lines("ours.speed.csv") >= 1);
    }
}
