//! The engine's test of itself on a drawn ridge pattern.

use std::f32::consts::TAU;

use crate::extract::{Classical, ExtractError, Extractor};
use crate::image::GreyImage;
use crate::matcher::{Candidate, Probe, compare};

/// What the self test found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelfCheckError {
    /// The drawn pattern gave no template.
    #[error("the test pattern was not extracted")]
    Extract(#[from] ExtractError),
    /// Two extractions of the same pattern differ.
    #[error("extraction is not deterministic")]
    NotDeterministic,
    /// A pattern does not match itself clearly better than another.
    #[error("the matcher does not tell two test patterns apart")]
    NotDistinct,
    /// An empty image was taken for a fingerprint.
    #[error("an empty image was accepted")]
    AcceptsNothing,
}

/// Extracts and compares drawn patterns. Takes well under a second.
///
/// # Errors
/// [`SelfCheckError`] naming the first property that does not hold.
pub fn self_check() -> Result<(), SelfCheckError> {
    let engine = Classical;
    let first = engine.extract(&dummy(1))?.template;
    let second = engine.extract(&dummy(2))?.template;
    if engine.extract(&dummy(1))?.template != first {
        return Err(SelfCheckError::NotDeterministic);
    }
    let probe = Probe::new(&first);
    let own = compare(&probe, &Candidate::new(&first)).value();
    let other = compare(&probe, &Candidate::new(&second)).value();
    if own < 3.0 * other.max(1.0) {
        return Err(SelfCheckError::NotDistinct);
    }
    let white = GreyImage::new(300, 300, 500, vec![255; 90_000]);
    if white.is_ok_and(|image| engine.extract(&image).is_ok()) {
        return Err(SelfCheckError::AcceptsNothing);
    }
    Ok(())
}

const SIDE: u32 = 300;
const PERIOD: f32 = 9.0;

/// Round ridges with phase vortices (each is one minutia) at places drawn from `seed`.
pub(crate) fn dummy(seed: u32) -> GreyImage {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = |limit: f32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0 * limit
    };
    let vortices: Vec<(f32, f32, f32)> = (0..36)
        .map(|i| {
            let (x, y) = (30.0 + next(240.0), 30.0 + next(240.0));
            (x, y, if i % 2 == 0 { 1.0 } else { -1.0 })
        })
        .collect();
    let centre = 40.0 + next(40.0);
    let value = |x: f32, y: f32| {
        let (dx, dy) = (x - 150.0, y - 150.0);
        let mut phase = dx.hypot(dy - centre) / PERIOD * TAU;
        for &(vx, vy, sign) in &vortices {
            phase += sign * (y - vy).atan2(x - vx);
        }
        let inside = (dx / 135.0).powi(2) + (dy / 140.0).powi(2) < 1.0;
        if inside { (128.0 + 90.0 * phase.cos()) as u8 } else { 240 }
    };
    let pixels = (0..SIDE * SIDE).map(|i| value((i % SIDE) as f32, (i / SIDE) as f32)).collect();
    GreyImage::new(SIDE, SIDE, 500, pixels).unwrap_or_else(|_| unreachable!("the length fits"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_engine_passes_its_own_check() {
        assert_eq!(super::self_check(), Ok(()));
    }
}
