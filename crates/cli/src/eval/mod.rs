//! `ridgeline eval`: scores, error rates and CPU times of the engine on sets of images.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use ridgeline_evaluation::{Costs, Run};
use ridgeline_fingerprint::eval::{
    EXTRACT_HEADER, ExtractRow, Pairs, QUALITY_HEADER, SCORES_HEADER, SPEED_HEADER, Sample, SampleId, ScoreRow, Speed,
    extract_all, extract_csv, quality_csv, scores_csv, speed, speed_csv,
};
use ridgeline_fingerprint::{ENGINE, GreyImage, Limits, decode, normalise};
use ridgeline_report::{Engine, Figure, Report, Table, notes, page};
use rustix::time::{ClockId, clock_gettime};

use crate::args::EvalArgs;
use crate::{output, work};

mod other;
mod worst;

use self::other::Other;

/// CPU time for which comparisons are repeated, nanoseconds. Tests look at no speed.
const SPEED_NS: u64 = if cfg!(test) { 10_000_000 } else { 3_000_000_000 };
const FILES: [&str; 4] = ["ours.scores.csv", "ours.extract.csv", "ours.speed.csv", "ours.quality.csv"];
const REPORT: &str = "report.html";

/// A set: its name and its images.
type Set = (String, Vec<(SampleId, PathBuf)>);

/// What was extracted from a set.
struct Extracted<'a> {
    name: &'a str,
    files: &'a [(SampleId, PathBuf)],
    rows: Vec<ExtractRow>,
}

/// Writes scores, costs and the report, and says the rates.
///
/// # Errors
/// If there are no images of that form, one cannot be read, the run to compare with cannot be read, or the folder cannot
/// be written or holds a run.
pub(crate) fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    let sets = sets(args)?;
    let mut other = args.compare.as_deref().map(other::read).transpose()?;
    if let Some(name) = FILES.iter().chain(&[REPORT]).find(|name| args.out.join(name).exists()) {
        bail!("{} holds a run already ({name}): name another folder", args.out.display());
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let [mut scores, mut extracts, mut speeds, mut qualities] =
        [SCORES_HEADER, EXTRACT_HEADER, SPEED_HEADER, QUALITY_HEADER].map(str::to_owned);
    let mut done = Vec::with_capacity(sets.len());
    for (name, files) in &sets {
        let rows = extracted(args, name, files)?;
        let pairs = compared(args, name, &rows)?;
        let speed = speed(&rows, SPEED_NS, &mut thread_cpu_ns);
        scores.push_str(&scores_csv(name, &pairs));
        extracts.push_str(&extract_csv(name, &rows));
        qualities.push_str(&quality_csv(name, &rows));
        speeds.push_str(&speed.as_ref().map_or_else(String::new, |speed| speed_csv(name, speed)));
        say_costs(name, &rows, pairs.len(), speed.as_ref());
        if pairs.is_empty() {
            output::line(&format!("{name}: a single image makes no pairs, so the report leaves the set out"));
        }
        done.push(Extracted { name, files, rows });
    }
    for (name, text) in FILES.iter().zip([&scores, &extracts, &speeds, &qualities]) {
        write(&args.out.join(name), text.as_bytes())?;
    }
    let run = Run::read(&scores).context("the scores as written")?;
    let mut costs = Costs::default();
    costs.read_extract(&extracts).and_then(|()| costs.read_speed(&speeds)).context("the costs as written")?;
    costs.read_quality(&qualities).context("the qualities as written")?;
    let notes = notes(&run, other.as_ref().map(|other| (other.name.as_str(), &other.run)));
    if let Some(other) = &mut other {
        // Means over other sets would stand beside one another as if they compared.
        other.run.sets.retain(|set| run.set(&set.name).is_some());
    }
    report(args, Measured { run: &run, costs: &costs, sets: &done }, other.as_ref(), &notes)?;
    Ok(ExitCode::SUCCESS)
}

/// What was measured of all sets.
#[derive(Clone, Copy)]
struct Measured<'a> {
    run: &'a Run,
    costs: &'a Costs,
    sets: &'a [Extracted<'a>],
}

/// Says the figures and writes the page.
fn report(args: &EvalArgs, ours: Measured<'_>, other: Option<&Other>, notes: &[String]) -> anyhow::Result<()> {
    let Measured { run, costs, sets } = ours;
    let table = Table::of(run);
    say_rates("", &table);
    let beside = other.map(|other| (other, Table::of(&other.run)));
    if let Some((other, table)) = &beside {
        say_rates(&format!("{}: ", other.name), table);
    }
    notes.iter().for_each(|note| output::line(note));
    let report = Report {
        ours: Engine { name: ENGINE.to_string(), run, costs, table: &table },
        other: beside.as_ref().map(|(other, table)| {
            let Other { name, run, costs } = other;
            Engine { name: name.clone(), run, costs, table }
        }),
        notes,
        false_matches: worst::shown(args, run, sets, &run.worst_impostors(worst::SHOWN))?,
        false_non_matches: worst::shown(args, run, sets, &run.worst_genuine(worst::SHOWN))?,
    };
    let path = args.out.join(REPORT);
    write(&path, page(&report)?.as_bytes())?;
    output::line(&format!("{} shows impressions of fingers: keep it as you keep the images", path.display()));
    Ok(())
}

fn extracted(args: &EvalArgs, set: &str, files: &[(SampleId, PathBuf)]) -> anyhow::Result<Vec<ExtractRow>> {
    let bar = work::bar(files.len() as u64, &format!("{set}: extracting"));
    let rows = work::parallel(work::threads(args.threads), files.len(), |index| {
        let (id, path) = files.get(index).context("an image")?;
        let image = sample(path, args.dpi)?;
        let row = extract_all(&[Sample { id: *id, image }], args.passes, &mut thread_cpu_ns);
        bar.inc(1);
        row.into_iter().next().context("a row")
    })?;
    bar.finish_and_clear();
    Ok(rows)
}

fn compared(args: &EvalArgs, set: &str, rows: &[ExtractRow]) -> anyhow::Result<Vec<ScoreRow>> {
    let bar = work::bar(rows.len() as u64, &format!("{set}: comparing"));
    let pairs = Pairs::new(rows);
    let scores = work::parallel(work::threads(args.threads), rows.len(), |index| {
        let scores = pairs.of(index);
        bar.inc(1);
        Ok(scores)
    })?;
    bar.finish_and_clear();
    Ok(scores.into_iter().flatten().collect())
}

fn say_costs(set: &str, rows: &[ExtractRow], pairs: usize, speed: Option<&Speed>) {
    let failed = rows.iter().filter(|row| row.template.is_none()).count();
    let mut times: Vec<f64> = rows.iter().map(|row| row.cpu_ms).collect();
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let rate = speed.map_or(0.0, |speed| speed.matches_per_cpu_s);
    output::line(&format!(
        "{set}: {} images ({failed} without a template), {pairs} pairs, {median:.1} ms to extract, {rate:.0} comparisons \
         per CPU second",
        rows.len(),
    ));
}

fn say_rates(of: &str, table: &Table) {
    for row in table.rows.iter().chain(&table.mean).filter(|row| row.eer().is_some()) {
        let [eer, fmr1000] = [row.eer(), row.fmr1000()].map(said);
        output::line(&format!("{of}{}: EER {eer}, FMR1000 {fmr1000}", row.name));
    }
}

fn said(figure: Option<Figure>) -> String {
    let Some(Figure { value, interval }) = figure else { return "-".to_owned() };
    match interval {
        Some(found) => format!("{:.2} % ({:.2} to {:.2})", 100.0 * value, 100.0 * found.low, 100.0 * found.high),
        None => format!("{:.2} %", 100.0 * value),
    }
}

/// The sets that are asked for, by name.
fn sets(args: &EvalArgs) -> anyhow::Result<Vec<Set>> {
    let folders = folders(&args.scans)?;
    let chosen: Vec<Set> = match (images(&args.scans), args.set.as_slice()) {
        (Ok(files), [name]) => vec![(name.clone(), files)],
        (Ok(files), []) => vec![(file_name(&args.scans)?, files)],
        (Ok(_), _) => bail!("{} holds images itself: that is one set, with one name", args.scans.display()),
        (Err(error), _) if folders.is_empty() => return Err(error),
        (Err(_), []) => {
            folders.iter().map(|path| Ok((file_name(path)?, images(path)?))).collect::<anyhow::Result<_>>()?
        }
        (Err(_), names) => names
            .iter()
            .map(|name| Ok((name.clone(), images(&args.scans.join(name))?)))
            .collect::<anyhow::Result<_>>()?,
    };
    let mut names: Vec<&str> = chosen.iter().map(|(name, _)| name.as_str()).collect();
    if names.iter().any(|name| name.is_empty() || name.contains([',', '"', '\n', '\r'])) {
        bail!("the name of a set stands in CSV files: no commas, quotes or line ends");
    }
    names.sort_unstable();
    if let Some([name, _]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        bail!("the set {name} is named twice");
    }
    Ok(chosen)
}

fn file_name(path: &Path) -> anyhow::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).with_context(|| format!("{} gives the set no name: add --set", path.display()))
}

fn folders(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let context = || format!("cannot read {}", path.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).with_context(context)? {
        found.push(entry.with_context(context)?.path());
    }
    found.retain(|path| path.is_dir());
    found.sort();
    Ok(found)
}

/// The images of a folder by finger and impression. Files of another form are left out.
///
/// # Errors
/// If the folder cannot be read, holds none, or holds two of one impression.
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
    for pair in found.windows(2) {
        if let [(one, first), (other, second)] = pair
            && one == other
        {
            bail!("{} and {} are named as the same impression", first.display(), second.display());
        }
    }
    Ok(found)
}

/// An image as the pipeline sees it, so that the figures are those of the product.
fn sample(path: &Path, dpi: Option<u16>) -> anyhow::Result<GreyImage> {
    let context = || format!("cannot read {}", path.display());
    let bytes = std::fs::read(path).with_context(context)?;
    Ok(normalise(&decode(&bytes, None, dpi, &Limits::default()).with_context(context)?))
}

/// CPU time of the calling thread.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Writes a new file that only its owner reads: figures tell fingers apart, even without their images.
///
/// # Errors
/// If the file exists or cannot be written.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(context)?;
    file.write_all(bytes).with_context(context)
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
        std::fs::write(dir.path().join("02_1.tif"), "x").unwrap();
        assert!(images(dir.path()).unwrap_err().to_string().contains("the same impression"));
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

    fn args(root: &Path, set: &[&str]) -> EvalArgs {
        let set = set.iter().map(|name| (*name).to_owned()).collect();
        let (scans, out) = (root.join("scans"), root.join("out"));
        EvalArgs { scans, dpi: None, set, out, compare: None, passes: 1, threads: Some(2) }
    }

    fn lines(args: &EvalArgs, name: &str) -> usize {
        std::fs::read_to_string(args.out.join(name)).unwrap().lines().count()
    }

    fn draw(folder: &Path, fingers: u32) {
        std::fs::create_dir_all(folder).unwrap();
        for number in 0..fingers {
            let finger = ridgeline_synth::finger(ridgeline_synth::Seed(1), number);
            for impression in 0..2 {
                let image = finger.impression(impression, &ridgeline_synth::ImpressionOptions::default());
                let name = format!("{}_{}.png", number + 1, impression + 1);
                std::fs::write(folder.join(name), crate::synth::png(&image).unwrap()).unwrap();
            }
        }
    }

    #[test]
    fn files_of_one_finger_are_written_once_and_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let args = args(dir.path(), &["tiny"]);
        draw(&args.scans, 1);
        run(&args).unwrap();
        assert_eq!((lines(&args, "ours.scores.csv"), lines(&args, "ours.extract.csv")), (2, 3));
        assert!(lines(&args, "ours.speed.csv") >= 1);
        for name in FILES.iter().chain(&[REPORT]) {
            assert_eq!(args.out.join(name).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(run(&args).unwrap_err().to_string().contains("holds a run already"));
        let page = std::fs::read_to_string(args.out.join(REPORT)).unwrap();
        assert!(page.contains("no rates") && page.contains("biometric data") && !page.contains("NaN"));
    }

    #[test]
    fn a_second_run_is_read_first_and_laid_beside() {
        let dir = tempfile::tempdir().unwrap();
        let first = args(dir.path(), &[]);
        draw(&first.scans.join("a"), 2);
        draw(&first.scans.join("lonely"), 1);
        std::fs::remove_file(first.scans.join("lonely/1_2.png")).unwrap();
        let second = EvalArgs { out: dir.path().join("second"), compare: Some(first.out.clone()), ..first.clone() };
        let early = run(&second).unwrap_err();
        assert!(format!("{early:#}").contains("cannot read") && !second.out.exists());
        run(&first).unwrap();
        run(&second).unwrap();
        let page = std::fs::read_to_string(second.out.join(REPORT)).unwrap();
        assert!(page.contains("a (out)") && page.contains("less out") && page.contains("data:image/png"));
        assert!(!page.contains("lonely"), "a set of one image has no pairs");
        let scores = std::fs::read_to_string(first.out.join("ours.scores.csv")).unwrap();
        let other = scores.replace("a,1,1,1,2,", "a,1,1,1,3,");
        std::fs::write(first.out.join("ours.scores.csv"), other).unwrap();
        let third = EvalArgs { out: dir.path().join("third"), ..second };
        run(&third).unwrap();
        let page = std::fs::read_to_string(third.out.join(REPORT)).unwrap();
        assert!(page.contains("1 pairs are only in this run and 1 only in out") && !page.contains("less out"));
    }

    #[test]
    fn folders_are_sets_and_may_be_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let all = args(dir.path(), &[]);
        draw(&all.scans.join("a"), 1);
        draw(&all.scans.join("b"), 2);
        let names = |set: &[&str]| {
            sets(&args(dir.path(), set)).map(|sets| sets.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["a", "b"]);
        assert_eq!(names(&["b"]).unwrap(), ["b"]);
        assert!(names(&["c"]).is_err());
        assert!(names(&["b", "b"]).unwrap_err().to_string().contains("twice"));
        run(&all).unwrap();
        assert_eq!((lines(&all, "ours.scores.csv"), lines(&all, "ours.extract.csv")), (1 + 1 + 6, 1 + 2 + 4));
        std::fs::write(all.scans.join("1_1.png"), "no image").unwrap();
        assert!(names(&["a", "b"]).unwrap_err().to_string().contains("one set"));
        let broken = run(&EvalArgs { out: dir.path().join("other"), ..all }).unwrap_err();
        assert!(broken.to_string().contains("1_1.png"));
    }
}
