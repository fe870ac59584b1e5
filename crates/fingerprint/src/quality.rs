//! How well an impression can be expected to match.
//!
//! Errors come from ridges that are not clear enough to follow, from contacts too small to overlap the other impression, and
//! from too few minutiae to be evidence. Each of the three is a factor that stays 1 while there is enough, since more than
//! enough of one does not make up for the lack of another.

use crate::plane::Plane;
use crate::template::{Minutia, Quality};

/// What quality was computed from. Blocks have 8 × 8 pixels at 500 dpi.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QualityFeatures {
    /// Blocks of foreground.
    pub area_blocks: u32,
    /// Mean clarity of the foreground's ridges, 0 to 1.
    pub clarity: f32,
    /// Share of the foreground whose ridges are clear enough to be followed, 0 to 1.
    pub usable_share: f32,
    /// Mean share of the gradients' energy that agrees on one orientation, 0 to 1.
    pub coherence: f32,
    /// Minutiae found.
    pub minutiae: u32,
    /// Those of quality 30 and more.
    pub reliable_minutiae: u32,
}

/// Results of the extractor's stages that quality depends on.
pub(crate) struct Seen<'a> {
    pub(crate) foreground: &'a Plane<bool>,
    pub(crate) clarity: &'a Plane<f32>,
    pub(crate) coherence: &'a Plane<f32>,
    pub(crate) minutiae: &'a [Minutia],
}

/// Clarity above which ridges can be followed.
const USABLE_CLARITY: f32 = 0.55;
/// Least quality of a minutia that is likely to be found again.
const RELIABLE_QUALITY: u8 = 30;
/// Blocks, about 100 mm², and reliable minutiae from which more hardly help.
const ENOUGH_BLOCKS: f32 = 600.0;
const ENOUGH_RELIABLE: f32 = 20.0;
/// Minutiae that a full contact has.
const FULL_MINUTIAE: f32 = 40.0;

impl QualityFeatures {
    pub(crate) fn of(seen: &Seen<'_>) -> Self {
        let (mut blocks, mut clarity, mut usable, mut coherence) = (0_u32, 0.0_f32, 0.0_f32, 0.0_f32);
        let cells = seen.foreground.data.iter().zip(&seen.clarity.data).zip(&seen.coherence.data);
        for ((_, clear), coherent) in cells.filter(|((set, _), _)| **set) {
            blocks += 1;
            clarity += clear;
            usable += f32::from(u8::from(*clear > USABLE_CLARITY));
            coherence += coherent;
        }
        let count = blocks.max(1) as f32;
        let reliable = seen.minutiae.iter().filter(|minutia| minutia.quality >= RELIABLE_QUALITY).count();
        Self {
            area_blocks: blocks,
            clarity: clarity / count,
            usable_share: usable / count,
            coherence: coherence / count,
            minutiae: seen.minutiae.len() as u32,
            reliable_minutiae: reliable as u32,
        }
    }

    /// Of a usable share of one half on an otherwise sufficient impression it is 59: that is where misses become frequent.
    pub(crate) fn quality(&self) -> Quality {
        let enough = |value: u32, limit: f32| (value as f32 / limit).min(1.0);
        let contact =
            (enough(self.area_blocks, ENOUGH_BLOCKS) * enough(self.reliable_minutiae, ENOUGH_RELIABLE)).sqrt();
        // A weak factor: of sufficient impressions those with more to compare come first.
        let evidence = enough(self.minutiae, FULL_MINUTIAE).sqrt().sqrt();
        let value = self.usable_share * contact * evidence;
        // The power 3/4 in roots, which are the same on every platform.
        Quality::new((100.0 * value.sqrt() * value.sqrt().sqrt()).round() as u8)
    }
}
