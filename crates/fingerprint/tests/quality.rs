//! Whether quality foretells matching: error against reject, and what makes an impression better or worse.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use ridgeline_fingerprint::{Classical, Extractor, GreyImage, Limits, decode, eval};
use ridgeline_synth::{ImpressionOptions, Seed, finger};

/// Qualities of the images of a set, and its comparisons as (index, index, score).
struct Set {
    qualities: Vec<u8>,
    genuine: Vec<(usize, usize, f32)>,
    impostor: Vec<f32>,
}

impl Set {
    /// Images that give no template have quality 0 and match nothing.
    fn of(samples: &[eval::Sample]) -> Self {
        let rows = eval::extract_all(samples, 1, &mut || 0);
        let index = |id: eval::SampleId| rows.iter().position(|row| row.id == id).unwrap();
        let (genuine, impostor): (Vec<_>, Vec<_>) =
            eval::score_all(&rows).into_iter().partition(|row| row.a.finger == row.b.finger);
        Self {
            qualities: rows.iter().map(|r| r.template.as_ref().map_or(0, |t| t.quality().value())).collect(),
            genuine: genuine.iter().map(|row| (index(row.a), index(row.b), row.score)).collect(),
            impostor: impostor.iter().map(|row| row.score).collect(),
        }
    }

    fn median(&self) -> u8 {
        let mut sorted = self.qualities.clone();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    }

    fn share_below(&self, limit: u8) -> f64 {
        self.qualities.iter().filter(|quality| **quality < limit).count() as f64 / self.qualities.len() as f64
    }
}

/// Least score that at most one in `one_in` of all comparisons of strangers exceeds.
fn threshold(sets: &[Set], one_in: usize) -> f32 {
    let mut scores: Vec<f32> = sets.iter().flat_map(|set| set.impostor.iter().copied()).collect();
    scores.sort_unstable_by(|a, b| b.total_cmp(a));
    scores[scores.len() / one_in]
}

/// The share of genuine comparisons missed once the images of least quality are left out with all their comparisons, the
/// threshold staying what it was. Images as good as the best one left out stay in.
fn miss_rate(sets: &[Set], threshold: f32, rejected: f64) -> f64 {
    let mut qualities: Vec<u8> = sets.iter().flat_map(|set| set.qualities.iter().copied()).collect();
    qualities.sort_unstable();
    let least = qualities[(rejected * qualities.len() as f64).round() as usize];
    let (mut missed, mut total) = (0, 0);
    for set in sets {
        let kept = |&&(a, b, _): &&(usize, usize, f32)| set.qualities[a].min(set.qualities[b]) >= least;
        for (_, _, score) in set.genuine.iter().filter(kept) {
            total += 1;
            missed += u32::from(*score <= threshold);
        }
    }
    f64::from(missed) / f64::from(total)
}

fn public_set(folder: &Path) -> Set {
    let mut samples = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(id) = eval::SampleId::of_stem(path.file_stem().unwrap().to_str().unwrap()) else { continue };
        let image = decode(&std::fs::read(&path).unwrap(), None, Some(500), &Limits::default()).unwrap();
        samples.push(eval::Sample { id, image });
    }
    samples.sort_by_key(|sample| sample.id);
    Set::of(&samples)
}

const SETS: [&str; 4] = ["fvc2000_db1_b", "fvc2002_db1_b", "fvc2002_db3_b", "fvc2004_db1_b"];

/// The public sets are read where RIDGELINE_TEST_DATA names the folder that holds `fingerprint/`.
#[test]
fn worse_images_of_the_public_sets_miss_more() {
    let Ok(root) = std::env::var("RIDGELINE_TEST_DATA") else {
        println!("skipped: RIDGELINE_TEST_DATA is not set");
        return;
    };
    let folder = PathBuf::from(root).join("fingerprint");
    let sets: Vec<Set> = SETS.iter().map(|name| public_set(&folder.join(name))).collect();
    for (name, set) in SETS.iter().zip(&sets) {
        let (enrol, probe) = (100.0 * set.share_below(60), 100.0 * set.share_below(50));
        println!("{name}: median quality {}, {enrol:.0} % below 60, {probe:.0} % below 50", set.median());
    }
    let at = threshold(&sets, 1_000);
    let rates: Vec<f64> = [0.0, 0.1, 0.2, 0.3].iter().map(|rejected| miss_rate(&sets, at, *rejected)).collect();
    println!("FNMR at FMR 1e-3 with 0, 10, 20, 30 % of the images left out: {rates:.4?}");
    assert!(rates[..3].is_sorted_by(|a, b| a > b) && rates[2] <= 0.5 * rates[0], "{rates:?}");
    // Beyond that the curve is nearly flat: what is left are clear but distorted prints, and one comparison is some 0.0015.
    assert!(rates[3] <= rates[2] + 0.003, "{rates:?}");
    assert!(sets[1].median() >= 60);
}

fn impression(finger: &ridgeline_synth::Finger, number: u32, options: &ImpressionOptions) -> GreyImage {
    let image = finger.impression(number, options);
    GreyImage::new(image.width, image.height, image.dpi, image.pixels).unwrap()
}

/// Sensors of several sizes, dry to wet, clean to dirty, whole to partial: drawn for each impression.
fn mixed(seed: u64, fingers: u32) -> Set {
    let mut state = seed as u32;
    let mut draw = |low: f32, high: f32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        low + (high - low) * (state >> 8) as f32 / 16_777_216.0
    };
    let mut samples = Vec::new();
    for number in 0..fingers {
        let one = finger(Seed(seed), number);
        for turn in 0..4 {
            let options = ImpressionOptions {
                width: draw(220.0, 360.0) as u32,
                height: draw(260.0, 420.0) as u32,
                rotation_deg: 14.0,
                translation_px: 25.0,
                distortion: draw(0.5, 2.0),
                moisture: draw(0.0, 3.0),
                noise: draw(0.3, 2.5),
                partial: draw(0.0, 2.0),
            };
            let id = eval::SampleId { finger: number, impression: turn };
            samples.push(eval::Sample { id, image: impression(&one, turn, &options) });
        }
    }
    Set::of(&samples)
}

/// Other fingers than the weights were chosen on.
#[test]
fn worse_synthetic_impressions_miss_more() {
    let sets = [mixed(9_202, 24)];
    let at = threshold(&sets, 1_000);
    let rates: Vec<f64> = [0.0, 0.1, 0.2, 0.3].iter().map(|rejected| miss_rate(&sets, at, *rejected)).collect();
    assert!(rates[..3].is_sorted_by(|a, b| a > b) && rates[2] <= 0.5 * rates[0], "{rates:?}");
    // Below a hundred comparisons are left, of which one or two miss.
    assert!(rates[3] < rates[1], "{rates:?}");
}

#[test]
fn noise_dryness_and_small_contacts_lower_the_quality() {
    let mean = |options: &ImpressionOptions| {
        let one = |number: u32| {
            let image = impression(&finger(Seed(9_303), number), 0, options);
            Classical.extract(&image).map_or(0.0, |extraction| f64::from(extraction.quality.value()))
        };
        (0..8).map(one).sum::<f64>() / 8.0
    };
    let usual = ImpressionOptions { noise: 0.5, moisture: 0.5, partial: 0.0, ..ImpressionOptions::default() };
    let worse = [
        ImpressionOptions { noise: 2.5, ..usual.clone() },
        ImpressionOptions { moisture: 4.0, ..usual.clone() },
        ImpressionOptions { width: 150, height: 150, ..usual.clone() },
    ];
    let best = mean(&usual);
    assert!(best >= 70.0, "{best}");
    for options in worse {
        let value = mean(&options);
        assert!(value < best - 5.0, "{value} with {options:?}, {best} without");
    }
}

#[test]
fn the_template_carries_the_quality_of_its_features() {
    let image = impression(&finger(Seed(9_303), 1), 0, &ImpressionOptions::default());
    let one = Classical.extract(&image).unwrap();
    assert_eq!(one.template.quality(), one.quality);
    let features = one.features;
    assert!(features.area_blocks > 500 && features.minutiae as usize == one.template.minutiae().len());
    assert!(features.reliable_minutiae <= features.minutiae);
    for share in [features.clarity, features.usable_share, features.coherence] {
        assert!((0.0..=1.0).contains(&share), "{share}");
    }
}

/// Reads NFIQ 2's listing: one `name: value` a line.
fn listed(text: &str, name: &str) -> f32 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap().trim().parse().unwrap()
}

/// Two images are no correlation: what is compared is the order of both, feature by feature, and the values. Clarity and the
/// overall quality are printed only: NFIQ 2 puts both images in the other order, and its clarity is another measure.
#[test]
fn features_order_two_images_as_nfiq_2_does() {
    let Ok(root) = std::env::var("RIDGELINE_TEST_DATA") else {
        println!("skipped: RIDGELINE_TEST_DATA is not set");
        return;
    };
    let folder = PathBuf::from(root).join("nfiq2");
    let both = ["SFinGe_Test01", "SFinGe_Test02"].map(|name| {
        let bytes = std::fs::read(folder.join(format!("{name}.pgm"))).unwrap();
        let image = decode(&bytes, None, Some(500), &Limits::default()).unwrap();
        let theirs = std::fs::read_to_string(folder.join(format!("{name}_output.txt"))).unwrap();
        (Classical.extract(&image).unwrap(), theirs)
    });
    let table = both.each_ref().map(|(ours, theirs)| {
        let features = ours.features;
        // Orientation certainty is 1 - smaller / greater eigenvalue; coherence is their difference over their sum.
        let certainty = 2.0 * features.coherence / (1.0 + features.coherence);
        [
            ("quality", f32::from(ours.quality.value()), listed(theirs, "UnifiedQualityScore")),
            ("clarity", features.clarity, listed(theirs, "LCS_Bin10_Mean")),
            ("coherence", features.coherence, listed(theirs, "OrientationMap_ROIFilter_CoherenceRel")),
            ("certainty", certainty, listed(theirs, "OCL_Bin10_Mean")),
            ("minutiae", features.minutiae as f32, listed(theirs, "FingerJetFX_MinutiaeCount")),
            ("area", features.area_blocks as f32 * 64.0, listed(theirs, "SufficientFingerprintForeground")),
        ]
    });
    for ((name, a, x), (_, b, y)) in table[0].iter().zip(&table[1]) {
        let same_order = (a > b) == (x > y);
        println!("{name}: ours {a} and {b}, NFIQ 2 {x} and {y}, same order {same_order}");
        if !["quality", "clarity"].contains(name) {
            assert!(same_order && (a / x - 1.0).abs() < 0.15 && (b / y - 1.0).abs() < 0.15, "{name}");
        }
    }
}
