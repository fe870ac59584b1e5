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
