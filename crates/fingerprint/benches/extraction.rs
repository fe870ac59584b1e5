//! Extracting against plain Gaussian blurs of the same image, measured in turns in one run.
//!
//! The yardstick is ten separable blurs of 17 taps in the plainest form: no engine's work, the same in every version.
//! Figures are multiples of it (lower is faster) for synthetic impressions of two sizes, and for each stage its share.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]
#![allow(clippy::unwrap_used, reason = "a bench on inputs of its own making")]

use std::hint::black_box;
use std::time::Instant;

use ridgeline_fingerprint::{Classical, GreyImage, Stage};
use ridgeline_synth::{ImpressionOptions, Seed, finger};

const FINGERS: u32 = 12;
const ROUNDS: usize = 9;
const BLURS: usize = 10;
const RADIUS: usize = 8;
const SIZES: [(u32, u32); 2] = [(256, 300), (388, 374)];
const STAGES: [Stage; 6] = [Stage::Scale, Stage::Fields, Stage::Periods, Stage::Draft, Stage::Enhance, Stage::Minutiae];

fn main() {
    let fingers: Vec<_> = (0..FINGERS).map(|index| finger(Seed(5), index)).collect();
    for (width, height) in SIZES {
        let options = ImpressionOptions { width, height, ..ImpressionOptions::default() };
        let images: Vec<_> = fingers
            .iter()
            .map(|finger| finger.impression(0, &options))
            .map(|i| GreyImage::new(i.width, i.height, i.dpi, i.pixels.clone()).unwrap())
            .collect();
        report(&images);
    }
}

fn report(images: &[GreyImage]) {
    let (mut yard, mut whole) = (Vec::new(), Vec::new());
    let mut stages = vec![Vec::new(); STAGES.len()];
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for image in images {
            for _ in 0..BLURS {
                black_box(blurred(black_box(image)));
            }
        }
        yard.push(begun.elapsed().as_secs_f64() / images.len() as f64);
        let mut spent = [0.0; STAGES.len()];
        let begun = Instant::now();
        for image in images {
            let mut last = Instant::now();
            let extraction = Classical.extract_watched(black_box(image), &mut |stage| {
                let now = Instant::now();
                let place = STAGES.iter().position(|known| *known == stage).unwrap();
                spent[place] += (now - last).as_secs_f64() / images.len() as f64;
                last = now;
            });
            black_box(extraction.unwrap());
        }
        whole.push(begun.elapsed().as_secs_f64() / images.len() as f64);
        for (all, spent) in stages.iter_mut().zip(spent) {
            all.push(spent);
        }
    }
    let (yard, whole) = (median(yard), median(whole));
    let (width, height) = (images[0].width(), images[0].height());
    println!(
        "{width} x {height}: {:.3} yardsticks an image (a yardstick takes {:.2} ms here)",
        whole / yard,
        yard * 1e3
    );
    for (stage, times) in STAGES.iter().zip(stages) {
        println!("    {:10} {:5.1} %", format!("{stage:?}"), 100.0 * median(times) / whole);
    }
}

/// Blurs along rows, then along columns, borders replicated.
fn blurred(image: &GreyImage) -> Vec<f32> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let weights: Vec<f32> = (0..=2 * RADIUS).map(|i| 1.0 - (i as f32 - RADIUS as f32).abs() / 9.0).collect();
    let sum = |value: &dyn Fn(usize) -> f32| weights.iter().enumerate().map(|(i, w)| w * value(i)).sum::<f32>() / 9.0;
    let near = |at: usize, offset: usize, side: usize| (at + offset).saturating_sub(RADIUS).min(side - 1);
    let mut across = vec![0.0; width * height];
    for (cell, value) in across.iter_mut().enumerate() {
        let (x, y) = (cell % width, cell / width);
        *value = sum(&|i| f32::from(image.pixels()[y * width + near(x, i, width)]));
    }
    (0..width * height).map(|cell| sum(&|i| across[near(cell / width, i, height) * width + cell % width])).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
