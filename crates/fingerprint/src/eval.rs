//! Scores and timings of an image set, in the three CSV forms that error rates are computed from.

use std::fmt::Write as _;

use crate::extract::{Classical, ExtractError, Extractor};
use crate::image::GreyImage;
use crate::matcher::{Candidate, Matcher, Probe};
use crate::template::Template;

/// Reads the CPU time of the calling thread in nanoseconds.
pub type CpuTime<'a> = &'a mut dyn FnMut() -> u64;

/// Which impression of which finger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SampleId {
    /// Number of the finger within the set.
    pub finger: u32,
    /// Number of the impression of that finger.
    pub impression: u32,
}

impl SampleId {
    /// Reads the stem of a file name, `<finger>_<impression>`.
    pub fn of_stem(stem: &str) -> Option<Self> {
        let (finger, impression) = stem.split_once('_')?;
        Some(Self { finger: finger.parse().ok()?, impression: impression.parse().ok()? })
    }
}

/// An image and what it shows.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Finger and impression.
    pub id: SampleId,
    /// The image.
    pub image: GreyImage,
}

/// One row of `PREFIX.extract.csv`.
#[derive(Clone, Debug)]
pub struct ExtractRow {
    /// Finger and impression.
    pub id: SampleId,
    /// CPU time of one extraction, milliseconds.
    pub cpu_ms: f64,
    /// The template; an image that gives none is compared as an empty one.
    pub template: Option<Template>,
    /// Why there is no template.
    pub error: Option<ExtractError>,
}

/// One row of `PREFIX.scores.csv`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRow {
    /// The probe.
    pub a: SampleId,
    /// The candidate.
    pub b: SampleId,
    /// Similarity; 0 when one side gave no template.
    pub score: f32,
}

/// Speed of one-to-many comparison, for `PREFIX.speed.csv`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Comparisons a CPU second, probes prepared once for each search.
    pub matches_per_cpu_s: f64,
    /// Preparation of a probe, CPU microseconds.
    pub prepare_probe_cpu_us: f64,
}

/// Extracts every image `passes` times (at least once) and keeps the median CPU time.
pub fn extract_all(samples: &[Sample], passes: usize, cpu_ns: CpuTime<'_>) -> Vec<ExtractRow> {
    let engine = Classical;
    let one = |sample: &Sample| {
        let mut times = Vec::with_capacity(passes);
        let mut outcome = Err(ExtractError::NotAFingerprint);
        for _ in 0..passes.max(1) {
            let start = cpu_ns();
            outcome = engine.extract(&sample.image);
            times.push(cpu_ns().saturating_sub(start));
        }
        times.sort_unstable();
        let cpu_ms = times[times.len() / 2] as f64 / 1e6;
        let error = outcome.as_ref().err().copied();
        ExtractRow { id: sample.id, cpu_ms, template: outcome.ok().map(|e| e.template), error }
    };
    samples.iter().map(one).collect()
}

/// The rows of a set, ready to be compared; threads share it.
pub struct Pairs<'a> {
    rows: &'a [ExtractRow],
    candidates: Vec<Option<Candidate>>,
}

impl<'a> Pairs<'a> {
    /// Prepares every template once.
    pub fn new(rows: &'a [ExtractRow]) -> Self {
        Self { rows, candidates: rows.iter().map(|row| row.template.as_ref().map(Candidate::new)).collect() }
    }

    /// Scores of one row as the probe against all later ones; none past the end.
    pub fn of(&self, index: usize) -> Vec<ScoreRow> {
        let Some(row) = self.rows.get(index) else { return Vec::new() };
        let probe = row.template.as_ref().map(Probe::new);
        let mut matcher = Matcher::new();
        let score = |(other, candidate): (&ExtractRow, &Option<Candidate>)| {
            let score = match (&probe, candidate) {
                (Some(probe), Some(candidate)) => matcher.compare(probe, candidate).value(),
                _ => 0.0,
            };
            ScoreRow { a: row.id, b: other.id, score }
        };
        self.rows.iter().zip(&self.candidates).skip(index + 1).map(score).collect()
    }
}

/// Scores of all unordered pairs, the earlier row as the probe.
pub fn score_all(rows: &[ExtractRow]) -> Vec<ScoreRow> {
    let pairs = Pairs::new(rows);
    (0..rows.len()).flat_map(|index| pairs.of(index)).collect()
}

/// Compares every probe with every template of other fingers, again and again for at least
/// `least_ns` nanoseconds of CPU time. None when there is nothing to compare.
pub fn speed(rows: &[ExtractRow], least_ns: u64, cpu_ns: CpuTime<'_>) -> Option<Speed> {
    let templates: Vec<(u32, &Template)> =
        rows.iter().filter_map(|r| r.template.as_ref().map(|t| (r.id.finger, t))).collect();
    let gallery: Vec<(u32, Candidate)> = templates.iter().map(|(finger, t)| (*finger, Candidate::new(t))).collect();
    let start = cpu_ns();
    let probes: Vec<Probe> = templates.iter().map(|(_, t)| Probe::new(t)).collect();
    let preparing = cpu_ns().saturating_sub(start);
    let mut matcher = Matcher::new();
    let (mut matches, mut total) = (0_u64, 0.0_f64);
    let start = cpu_ns();
    loop {
        let before = matches;
        for ((finger, _), probe) in templates.iter().zip(&probes) {
            for (_, candidate) in gallery.iter().filter(|(other, _)| other != finger) {
                total += f64::from(matcher.compare(probe, candidate).value());
                matches += 1;
            }
        }
        let spent = cpu_ns().saturating_sub(start);
        if matches == before {
            return None;
        }
        if spent >= least_ns.max(1) {
            let seconds = std::hint::black_box((spent, total)).0 as f64 / 1e9;
            return Some(Speed {
                matches_per_cpu_s: matches as f64 / seconds,
                prepare_probe_cpu_us: preparing as f64 / 1e3 / probes.len().max(1) as f64,
            });
        }
    }
}

/// Header line of `PREFIX.scores.csv`.
pub const SCORES_HEADER: &str = "set,finger_a,imp_a,finger_b,imp_b,score\n";
/// Header line of `PREFIX.extract.csv`.
pub const EXTRACT_HEADER: &str = "set,finger,imp,wall_ms,cpu_ms,template_bytes,iso_bytes\n";
/// Header line of `PREFIX.speed.csv`.
pub const SPEED_HEADER: &str = "set,metric,value\n";

/// Header line of `PREFIX.quality.csv`.
pub const QUALITY_HEADER: &str = "set,finger,imp,quality\n";

/// Lines of `PREFIX.scores.csv` without the header.
pub fn scores_csv(set: &str, rows: &[ScoreRow]) -> String {
    let mut out = String::new();
    for ScoreRow { a, b, score } in rows {
        let _ = writeln!(out, "{set},{},{},{},{},{score:.6}", a.finger, a.impression, b.finger, b.impression);
    }
    out
}

/// Lines of `PREFIX.extract.csv` without the header; wall time is given as the CPU time.
pub fn extract_csv(set: &str, rows: &[ExtractRow]) -> String {
    let mut out = String::new();
    for row in rows {
        let bytes = row.template.as_ref().map_or(0, |t| t.to_bytes().len());
        let SampleId { finger, impression } = row.id;
        let _ = writeln!(out, "{set},{finger},{impression},{0:.3},{0:.3},{bytes},0", row.cpu_ms);
    }
    out
}

/// Lines of `PREFIX.quality.csv` without the header; an image that gave no template has a quality of 0.
pub fn quality_csv(set: &str, rows: &[ExtractRow]) -> String {
    let mut out = String::new();
    for row in rows {
        let quality = row.template.as_ref().map_or(0, |template| template.quality().value());
        let SampleId { finger, impression } = row.id;
        let _ = writeln!(out, "{set},{finger},{impression},{quality}");
    }
    out
}

/// Lines of `PREFIX.speed.csv` without the header.
pub fn speed_csv(set: &str, speed: &Speed) -> String {
    format!(
        "{set},identify_matches_per_cpu_s,{:.0}\n{set},prepare_probe_cpu_us,{:.1}\n",
        speed.matches_per_cpu_s, speed.prepare_probe_cpu_us
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selfcheck::dummy;

    #[test]
    fn rows_cover_each_unordered_pair_once() {
        let sample = |finger, impression| Sample { id: SampleId { finger, impression }, image: dummy(finger) };
        let samples = [sample(1, 1), sample(1, 2), sample(2, 1)];
        let mut ticks = 0;
        let mut clock = || {
            ticks += 1_000_000;
            ticks
        };
        let rows = extract_all(&samples, 1, &mut clock);
        let scores = score_all(&rows);
        assert_eq!(scores.len(), 3);
        assert!(scores[0].score > scores[1].score && scores[0].score > scores[2].score);
        let csv = scores_csv("s", &scores);
        assert!(csv.starts_with("s,1,1,1,2,"));
        assert_eq!(extract_csv("s", &rows).lines().count(), 3);
        let quality = rows[0].template.as_ref().unwrap().quality().value();
        assert!(quality_csv("s", &rows).starts_with(&format!("s,1,1,{quality}\n")));
        let failed = ExtractRow { template: None, ..rows[0].clone() };
        assert_eq!(quality_csv("s", &[failed]), "s,1,1,0\n");
        assert!(speed(&rows, 1, &mut clock).is_some_and(|s| s.matches_per_cpu_s > 0.0));
    }

    #[test]
    fn stems_name_finger_and_impression() {
        assert_eq!(SampleId::of_stem("101_8"), Some(SampleId { finger: 101, impression: 8 }));
        assert_eq!(SampleId::of_stem("101"), None);
        assert_eq!(SampleId::of_stem("a_b"), None);
    }
}
