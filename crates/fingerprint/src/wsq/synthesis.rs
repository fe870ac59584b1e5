//! The inverse wavelet steps: two bands become one signal of twice the length.

use super::segments::Filters;
use super::subbands::{Area, Layout};

/// Turns the coefficients in `plane` into the image, step by step from the smallest area to the whole.
pub(super) fn reconstruct(plane: &mut [f32], layout: &Layout, filters: &Filters) {
    let step = Step::new(filters);
    let mut scratch = vec![0.0; plane.len()];
    for area in layout.splits.iter().rev() {
        step.columns(plane, layout.width, area, &mut scratch);
        step.rows(plane, layout.width, area);
    }
}

/// Weights of a sample's neighbours by distance, for samples at even and at odd places. Even places hold the low band and
/// odd ones the high band, so the two filters alternate.
struct Step {
    even: Vec<f32>,
    odd: Vec<f32>,
}

impl Step {
    fn new(filters: &Filters) -> Self {
        let reach = filters.low.len().max(filters.high.len());
        let tap = |filter: &[f32], distance: usize| filter.get(distance).copied().unwrap_or(0.0);
        let woven = |first: &[f32], second: &[f32]| {
            (0..reach).map(|distance| tap(if distance % 2 == 0 { first } else { second }, distance)).collect()
        };
        Self { even: woven(&filters.low, &filters.high), odd: woven(&filters.high, &filters.low) }
    }

    fn weights(&self, place: usize, length: usize) -> impl Iterator<Item = (usize, f32)> {
        let weights = if place.is_multiple_of(2) { &self.even } else { &self.odd };
        // One sample alone has no high band beside it.
        weights.iter().copied().enumerate().filter(move |(distance, _)| length > 1 || distance % 2 == 0)
    }

    /// Joins the upper and lower band of an area, whole rows at a time.
    fn columns(&self, plane: &mut [f32], width: usize, area: &Area, scratch: &mut [f32]) {
        let source = |place: usize| area.y + band_place(place, area.height, area.turned_y);
        let row = |plane_row: usize| plane_row * width + area.x..plane_row * width + area.x + area.width;
        for (place, out) in (0..area.height).zip(scratch.chunks_exact_mut(area.width.max(1))) {
            out.fill(0.0);
            for (distance, weight) in self.weights(place, area.height) {
                let before = plane.get(row(source(mirrored(place, distance, area.height, true)))).unwrap_or_default();
                let after = plane.get(row(source(mirrored(place, distance, area.height, false)))).unwrap_or_default();
                let halved = if distance == 0 { 0.5 * weight } else { weight };
                for ((out, before), after) in out.iter_mut().zip(before).zip(after) {
                    *out += halved * (before + after);
                }
            }
        }
        for (y, joined) in (0..area.height).zip(scratch.chunks_exact(area.width.max(1))) {
            if let Some(target) = plane.get_mut(row(area.y + y)) {
                target.copy_from_slice(joined);
            }
        }
    }

    /// Joins the left and right band of an area.
    fn rows(&self, plane: &mut [f32], width: usize, area: &Area) {
        let reach = self.even.len();
        let sources: Vec<usize> = (0..area.width + 2 * reach)
            .map(|at| {
                let place = match at.checked_sub(reach) {
                    Some(place) if place < area.width => place,
                    Some(place) => {
                        mirrored(area.width.saturating_sub(1), place + 1 - area.width.max(1), area.width, false)
                    }
                    None => mirrored(0, reach - at, area.width, true),
                };
                band_place(place, area.width, area.turned_x)
            })
            .collect();
        let mut woven = vec![0.0; sources.len()];
        for row in plane.chunks_exact_mut(width).skip(area.y).take(area.height) {
            let Some(bands) = row.get_mut(area.x..area.x + area.width) else { return };
            for (cell, source) in woven.iter_mut().zip(&sources) {
                *cell = bands.get(*source).copied().unwrap_or(0.0);
            }
            for (place, out) in bands.iter_mut().enumerate() {
                let window = woven.get(place..=place + 2 * reach).unwrap_or_default();
                let at = |index: usize| window.get(index).copied().unwrap_or(0.0);
                *out = self.weights(place, area.width).fold(0.0, |sum, (distance, weight)| {
                    let halved = if distance == 0 { 0.5 * weight } else { weight };
                    sum + halved * (at(reach - distance) + at(reach + distance))
                });
            }
        }
    }
}

/// Where the sample of a place lies among the two bands of a side.
const fn band_place(place: usize, length: usize, turned: bool) -> usize {
    let is_high = place % 2 == 1;
    let first = Area::first_half(length, turned);
    if is_high == turned { place / 2 } else { first + place / 2 }
}

/// The place `distance` away, signals being mirrored about their first and last sample.
const fn mirrored(place: usize, distance: usize, length: usize, before: bool) -> usize {
    if length < 2 {
        return 0;
    }
    let period = 2 * (length - 1);
    let steps = distance % period;
    let away = if before { (place + period - steps) % period } else { (place + steps) % period };
    if away < length { away } else { period - away }
}
