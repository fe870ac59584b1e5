//! What a second and a third impression gain at enrolment, and in which way to keep them.
//!
//! ```text
//! cargo run --release -p ridgeline-fingerprint --example enrolment -- [FINGERS]
//! ```
//!
//! Each impression in turn is the first of those enrolled, the next ones follow it, and all others of the set
//! are probes. Measured on synthetic impressions and on each folder of `$RIDGELINE_TEST_DATA/fingerprint`.
#![allow(clippy::print_stdout, reason = "a tool for the terminal")]

use std::path::Path;

use ridgeline_fingerprint::{
    Candidate, Classical, Extractor as _, GreyImage, Limits, Matcher, Probe, Score, Template, calibration, decode,
    eval, merge, normalise,
};
use ridgeline_synth::{ImpressionOptions, Seed, finger};

type Failure = Box<dyn std::error::Error>;
/// The impressions of each finger; a refused one is left as none.
type Fingers = Vec<Vec<Option<Template>>>;

const SEED: u64 = 88_101;
const IMPRESSIONS: u32 = 8;
const ENROLLED_MAX: usize = 3;

fn main() -> Result<(), Failure> {
    let count = std::env::args().nth(1).map_or(Ok(40), |text| text.parse::<u32>())?;
    println!(
        "EER, FNMR at a measured FMR of 1e-3, FNMR at a stated one of 1e-4 (percent); measured over stated FMR at 1e-3"
    );
    report("synthetic, default", &synthetic(count, &ImpressionOptions::default())?)?;
    report("synthetic, distorted", &synthetic(count, &distorted())?)?;
    report("synthetic, small", &synthetic(count, &small())?)?;
    let Ok(root) = std::env::var("RIDGELINE_TEST_DATA") else {
        println!("no public sets: RIDGELINE_TEST_DATA is not set");
        return Ok(());
    };
    let entries = std::fs::read_dir(Path::new(&root).join("fingerprint"))?;
    let mut folders = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    folders.sort();
    for folder in folders {
        report(&folder.file_name().unwrap_or_default().to_string_lossy(), &scanned(&folder)?)?;
    }
    Ok(())
}

fn distorted() -> ImpressionOptions {
    ImpressionOptions { rotation_deg: 14.0, distortion: 2.2, moisture: 1.8, noise: 1.6, ..ImpressionOptions::default() }
}

/// Windows that show different parts of a finger.
fn small() -> ImpressionOptions {
    ImpressionOptions {
        width: 200,
        height: 240,
        rotation_deg: 10.0,
        translation_px: 40.0,
        distortion: 1.4,
        ..ImpressionOptions::default()
    }
}

fn synthetic(count: u32, options: &ImpressionOptions) -> Result<Fingers, Failure> {
    let one = |index, number| {
        let image = finger(Seed(SEED), index).impression(number, options);
        Ok(template(&GreyImage::new(image.width, image.height, image.dpi, image.pixels)?))
    };
    (0..count).map(|index| (0..IMPRESSIONS).map(|number| one(index, number)).collect()).collect()
}

fn scanned(folder: &Path) -> Result<Fingers, Failure> {
    let entries = std::fs::read_dir(folder)?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    let mut out = std::collections::BTreeMap::<u32, Vec<Option<Template>>>::new();
    for path in paths {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(id) = eval::SampleId::of_stem(&stem) {
            let image = decode(&std::fs::read(&path)?, None, Some(500), &Limits::default())?;
            out.entry(id.finger).or_default().push(template(&image));
        }
    }
    Ok(out.into_values().collect())
}

fn template(image: &GreyImage) -> Option<Template> {
    Classical.extract(&normalise(image)).ok().map(|extraction| extraction.template)
}

/// A way to keep impressions: as how many templates.
const WAYS: [(&str, Way); 3] = [("best of", best), ("merged", merged), ("separate", separate)];

type Way = fn(&[Template]) -> Result<Vec<Template>, Failure>;

fn best(enrolled: &[Template]) -> Result<Vec<Template>, Failure> {
    Ok(if enrolled.is_empty() { vec![] } else { vec![enrolled[merge(enrolled)?.base].clone()] })
}

fn merged(enrolled: &[Template]) -> Result<Vec<Template>, Failure> {
    Ok(if enrolled.is_empty() { vec![] } else { vec![merge(enrolled)?.template] })
}

fn separate(enrolled: &[Template]) -> Result<Vec<Template>, Failure> {
    Ok(enrolled.to_vec())
}

fn report(name: &str, fingers: &Fingers) -> Result<(), Failure> {
    println!("{name}");
    measure("    1", fingers, 1, separate)?;
    for count in 2..=ENROLLED_MAX {
        for (way, keep) in WAYS {
            measure(&format!("    {count} {way}"), fingers, count, keep)?;
        }
    }
    Ok(())
}

/// Compares every reference with every probe of its own finger and of all others.
fn measure(name: &str, fingers: &Fingers, count: usize, keep: Way) -> Result<(), Failure> {
    let (mut own, mut strangers) = (Vec::new(), Vec::new());
    let probes: Vec<Vec<_>> =
        fingers.iter().map(|all| all.iter().map(|t| t.as_ref().map(Probe::new)).collect()).collect();
    let mut matcher = Matcher::new();
    let (mut sizes, mut templates) = ((0, 0), 1);
    for (index, all) in fingers.iter().enumerate() {
        for first in 0..all.len() {
            let place = |offset: usize| (first + offset) % all.len();
            let enrolled: Vec<Template> = (0..count).filter_map(|offset| all[place(offset)].clone()).collect();
            let kept = keep(&enrolled)?;
            sizes = kept.iter().fold(sizes, |(sum, n), one| (sum + one.minutiae().len(), n + 1));
            templates = templates.max(kept.len());
            let references: Vec<_> = kept.iter().map(Candidate::new).collect();
            for (other, probes) in probes.iter().enumerate() {
                for number in (ENROLLED_MAX..all.len()).map(place) {
                    let probe = probes.get(number).and_then(Option::as_ref);
                    let score =
                        |probe| references.iter().map(|one| matcher.compare(probe, one).value()).fold(0.0, f32::max);
                    let score = probe.map_or(0.0, score);
                    if other == index { own.push(score) } else { strangers.push(score) }
                }
            }
        }
    }
    let line = figures(own, strangers, templates as f64);
    println!("{name:14} {line}  {} minutiae each", sizes.0 / sizes.1.max(1));
    Ok(())
}

/// The figures of a way that compares with `templates` templates of a finger.
fn figures(mut own: Vec<f32>, mut strangers: Vec<f32>, templates: f64) -> String {
    own.sort_by(f32::total_cmp);
    strangers.sort_by(|a, b| b.total_cmp(a));
    let share = |part: usize, all: &[f32]| part as f64 / all.len().max(1) as f64;
    let missed = |limit: f32| share(own.partition_point(|score| *score <= limit), &own);
    let eer = strangers.iter().enumerate().map(|(index, limit)| missed(*limit).max(share(index, &strangers)));
    let fmr1000 = strangers.get(strangers.len() / 1_000).map_or(f64::NAN, |limit| missed(*limit));
    // The rate stated for the best of several comparisons is multiplied by their number.
    let stated = |score: &f32, rate: f64| templates * calibration::fmr(Score::new(*score)) <= rate;
    let accepted = share(strangers.iter().filter(|score| stated(score, 1e-3)).count(), &strangers);
    let rejected = share(own.iter().filter(|score| !stated(score, 1e-4)).count(), &own);
    let eer = eer.fold(1.0, f64::min);
    format!("{:6.2} {:6.2} {:6.2}   {:5.2}", 100.0 * eer, 100.0 * fmr1000, 100.0 * rejected, accepted / 1e-3)
}
