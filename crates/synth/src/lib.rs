//! Synthetic fingerprints: images and templates of fingers that nobody has.
//!
//! A finger is a pattern class, an orientation field with the class's loops and deltas
//! (Sherlock and Monro's zero-pole model with corrections towards natural flow), a ridge period that
//! varies over the skin, and a ridge map grown by oriented band-pass filters from a few random spots
//! (the idea of Cappelli, Maio and Maltoni's SFinGe). An impression places, twists, presses, soils and
//! photographs that map. Everything follows from a [`Seed`]: equal arguments give equal bytes.
//!
//! All lengths are pixels at 500 dpi. Nothing here reads a file, a clock or the system's randomness.

mod flow;
mod growth;
mod impression;
mod negative;
mod period;
mod placement;
mod random;
mod templates;

pub use flow::PatternClass;
pub use impression::{Image, ImpressionOptions};
pub use negative::{NonFinger, not_a_fingerprint};
pub use templates::{SynthKind, SynthMinutia, template_minutiae, template_size};

use flow::Flow;
use growth::RidgeMap;
use random::{Domain, Stream};

/// What all fingers of one set derive from. Two seeds share no finger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed(pub u64);

/// One finger: its ridge pattern, from which impressions are taken.
pub struct Finger {
    seed: Seed,
    index: u32,
    class: PatternClass,
    ridges: RidgeMap,
}

/// Finger number `index` of the set `seed`. Costs some tenths of a CPU second: keep it for all its impressions.
pub fn finger(seed: Seed, index: u32) -> Finger {
    let flow = Flow::of(seed, index);
    let mut stream = Stream::new(seed, Domain::Growth, index, 0);
    Finger { seed, index, class: flow.class(), ridges: RidgeMap::grow(&flow, &mut stream) }
}

impl Finger {
    /// Impression `number` of this finger: an independent touch of the sensor for each number.
    pub fn impression(&self, number: u32, options: &ImpressionOptions) -> Image {
        let mut stream = Stream::new(self.seed, Domain::Impression, self.index, number);
        impression::render(&self.ridges, options, &mut stream)
    }

    /// The pattern class of this finger.
    pub fn class(&self) -> PatternClass {
        self.class
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::sync::OnceLock;

    const SEED: Seed = Seed(20_000);

    /// One finger for all tests, since growing it is what costs.
    fn sample() -> &'static Finger {
        static FINGER: OnceLock<Finger> = OnceLock::new();
        FINGER.get_or_init(|| finger(SEED, 0))
    }

    fn take(number: u32) -> Image {
        sample().impression(number, &ImpressionOptions::default())
    }

    fn difference(a: &Image, b: &Image) -> f64 {
        let sum: u64 = a.pixels.iter().zip(&b.pixels).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / a.pixels.len() as f64
    }

    #[test]
    fn an_impression_has_the_asked_size_and_uses_the_grey_range() {
        let image = take(0);
        assert_eq!((image.width, image.height, image.dpi, image.pixels.len()), (300, 400, 500, 120_000));
        let dark = image.pixels.iter().filter(|p| **p < 110).count();
        let light = image.pixels.iter().filter(|p| **p > 200).count();
        assert!(dark > 4_000, "{dark} dark pixels");
        assert!(light > 20_000, "{light} light pixels");

        let small = ImpressionOptions { width: 203, height: 157, ..ImpressionOptions::default() };
        let image = sample().impression(0, &small);
        assert_eq!((image.width, image.height, image.pixels.len()), (203, 157, 203 * 157));
        let single = ImpressionOptions { width: 1, height: 1, ..ImpressionOptions::default() };
        assert_eq!(sample().impression(0, &single).pixels.len(), 1);
    }

    #[test]
    fn equal_arguments_give_equal_bytes() {
        let again = finger(SEED, 0);
        assert_eq!(again.class(), sample().class());
        assert!(again.impression(3, &ImpressionOptions::default()) == take(3));
    }

    #[test]
    fn the_pixels_of_one_impression_are_known() {
        let options = ImpressionOptions { width: 96, height: 96, ..ImpressionOptions::default() };
        let digest = Sha256::digest(&sample().impression(0, &options).pixels);
        let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "8dab19d38e80413e");
    }

    #[test]
    fn impressions_of_one_finger_differ_and_so_do_fingers_and_seeds() {
        let first = take(0);
        assert!(difference(&first, &take(1)) > 10.0);
        let options = ImpressionOptions::default();
        assert!(difference(&first, &finger(SEED, 1).impression(0, &options)) > 10.0);
        assert!(difference(&first, &finger(Seed(20_001), 0).impression(0, &options)) > 10.0);
    }

    #[test]
    fn ridges_have_the_natural_period() {
        // Crossings of the grey mean along rows and columns of an undisturbed impression's middle, whose
        // ridges run at every angle: about two a period along the ridges' normal, fewer elsewhere.
        let calm = ImpressionOptions { noise: 0.0, moisture: 0.0, partial: 0.0, ..ImpressionOptions::default() };
        let image = sample().impression(0, &calm);
        let at = |x: usize, y: usize| image.pixels[y * 300 + x] > 130;
        let across: usize = (140..260).map(|y| (90..210).filter(|&x| at(x, y) != at(x + 1, y)).count()).sum();
        let along: usize = (90..210).map(|x| (140..260).filter(|&y| at(x, y) != at(x, y + 1)).count()).sum();
        // Waves of period p cross rows and columns 2/p times the sine and cosine of their angle: of all crossings
        // in 120 × 120 pixels at least 2/p × 14 400 fall on either axis together.
        let crossings = across + along;
        assert!((2_100..6_000).contains(&crossings), "{crossings} crossings");
    }
}
