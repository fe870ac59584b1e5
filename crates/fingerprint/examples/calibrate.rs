//! Fits `src/calibration.rs` anew after a change of the engine, and reports how far it holds.
//!
//! ```text
//! cargo run --release -p ridgeline-fingerprint --example calibrate -- [FINGERS]
//! ```
//!
//! Prints the knots to put into `calibration.rs`, fitted on small, distorted and partly dry or wet synthetic
//! impressions, then the measured share of strangers at nominal rates: on other synthetic fingers of the
//! same and of the default kind (there also by whether two patterns are of one class), and on each folder of `$RIDGELINE_TEST_DATA/fingerprint`, none of which
//! takes part in the fit.
#![allow(clippy::print_stdout, reason = "a tool for the terminal")]

use std::path::Path;

use ridgeline_fingerprint::{
    Candidate, Classical, Extractor, GreyImage, Limits, Matcher, Probe, Score, Template, calibration, decode, eval,
    normalise,
};
use ridgeline_synth::{ImpressionOptions, Seed, finger};

type Failure = Box<dyn std::error::Error>;

/// Rates at which the fitted curve has its knots.
const KNOTS: [f64; 6] = [0.5, 0.2, 0.1, 3e-2, 1e-2, 1e-3];
const NOMINAL: [f64; 4] = [1e-1, 1e-2, 1e-3, 1e-4];
/// Half of the fingers come from each, so that no seed's luck is fitted alone.
const FIT_SEEDS: [u64; 2] = [77_201, 77_301];
const CHECK_SEED: u64 = 77_401;

fn main() -> Result<(), Failure> {
    let fingers = std::env::args().nth(1).map_or(Ok(1_000), |text| text.parse::<u32>())?;
    let mut all = synthetic(FIT_SEEDS[0], fingers / 2, &hard())?;
    let more = synthetic(FIT_SEEDS[1], fingers - fingers / 2, &hard())?;
    all.extend(more.into_iter().map(|(finger, template)| (finger + fingers, template)));
    let scores = strangers(&all);
    println!("fitted on {} comparisons of {fingers} synthetic fingers:", scores.len());
    for rate in KNOTS {
        println!("    ({:.3}, {rate:e}),", quantile(&scores, rate));
    }
    let (start, far) = (quantile(&scores, 1e-3), quantile(&scores, 1e-4));
    println!("    tail from 1e-3 to 1e-4 decays by {:.3} a unit", std::f64::consts::LN_10 / (far - start));
    println!("measured over nominal share with the curve as compiled in:");
    report("synthetic, hard", &strangers(&synthetic(CHECK_SEED, fingers, &hard())?));
    let default = synthetic(CHECK_SEED, fingers, &ImpressionOptions::default())?;
    report("synthetic, default", &strangers(&default));
    let classes: Vec<_> = (0..fingers).map(|index| finger(Seed(CHECK_SEED), index).class()).collect();
    let alike = |a: u32, b: u32| classes.get(a as usize) == classes.get(b as usize);
    report("    of one class", &strangers_where(&default, &alike));
    report("    of two classes", &strangers_where(&default, &|a, b| !alike(a, b)));
    public_sets()
}

/// Small sensor, much distortion, dry and wet: closest in spread to what sensors give.
fn hard() -> ImpressionOptions {
    ImpressionOptions {
        width: 256,
        height: 300,
        rotation_deg: 14.0,
        translation_px: 30.0,
        distortion: 2.2,
        moisture: 1.8,
        noise: 1.6,
        partial: 1.4,
    }
}

fn public_sets() -> Result<(), Failure> {
    let Ok(root) = std::env::var("RIDGELINE_TEST_DATA") else {
        println!("no public sets: RIDGELINE_TEST_DATA is not set");
        return Ok(());
    };
    let mut folders: Vec<_> = std::fs::read_dir(Path::new(&root).join("fingerprint"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    folders.sort();
    let mut pooled = Vec::new();
    for folder in folders {
        let scores = strangers(&folder_templates(&folder)?);
        report(&folder.file_name().unwrap_or_default().to_string_lossy(), &scores);
        pooled.extend(scores);
    }
    report("public sets, pooled", &pooled);
    Ok(())
}

/// One impression of each finger; a refused one is left as none.
fn synthetic(seed: u64, fingers: u32, options: &ImpressionOptions) -> Result<Vec<(u32, Option<Template>)>, Failure> {
    (0..fingers)
        .map(|index| {
            let image = finger(Seed(seed), index).impression(0, options);
            let image = GreyImage::new(image.width, image.height, image.dpi, image.pixels)?;
            Ok((index, template(&image)))
        })
        .collect()
}

fn folder_templates(folder: &Path) -> Result<Vec<(u32, Option<Template>)>, Failure> {
    let mut out = Vec::new();
    let mut paths: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(id) = eval::SampleId::of_stem(&stem) {
            let image = decode(&std::fs::read(&path)?, None, Some(500), &Limits::default())?;
            out.push((id.finger, template(&image)));
        }
    }
    Ok(out)
}

fn template(image: &GreyImage) -> Option<Template> {
    Classical.extract(&normalise(image)).ok().map(|extraction| extraction.template)
}

/// Scores of all pairs of different fingers, greatest first; 0 where one side gave no template.
fn strangers(templates: &[(u32, Option<Template>)]) -> Vec<f32> {
    strangers_where(templates, &|_, _| true)
}

/// The same of those pairs of fingers that `wanted` names.
fn strangers_where(templates: &[(u32, Option<Template>)], wanted: &dyn Fn(u32, u32) -> bool) -> Vec<f32> {
    let candidates: Vec<_> = templates.iter().map(|(finger, t)| (*finger, t.as_ref().map(Candidate::new))).collect();
    let mut matcher = Matcher::new();
    let mut scores = Vec::new();
    for (index, (finger, template)) in templates.iter().enumerate() {
        let probe = template.as_ref().map(Probe::new);
        let others = candidates.iter().skip(index + 1).filter(|(other, _)| other != finger && wanted(*finger, *other));
        for (_, candidate) in others {
            let score = probe.as_ref().zip(candidate.as_ref()).map(|(p, c)| matcher.compare(p, c).value());
            scores.push(score.unwrap_or(0.0));
        }
    }
    scores.sort_by(|a, b| b.total_cmp(a));
    scores
}

fn quantile(scores: &[f32], rate: f64) -> f64 {
    scores.get((scores.len() as f64 * rate) as usize).copied().map_or(f64::NAN, f64::from)
}

fn report(name: &str, scores: &[f32]) {
    let measured = NOMINAL.map(|rate| {
        let reached = scores.iter().filter(|score| calibration::fmr(Score::new(**score)) <= rate).count();
        format!("{rate:e}: {:.2} ({reached})", reached as f64 / scores.len() as f64 / rate)
    });
    println!("    {name:20} {:8} pairs  {}", scores.len(), measured.join("  "));
}
