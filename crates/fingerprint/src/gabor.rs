//! Contextual enhancement with oriented even Gabor filters (Hong, Wan & Jain 1998).

use std::sync::OnceLock;

use crate::field::Fields;
use crate::frequency::{MAX_PERIOD, MIN_PERIOD};
use crate::half::{HALF_BLOCK, kept};
use crate::plane::Plane;

/// Orientations over half a turn.
const ANGLES: usize = 32;
/// Periods, in geometric steps from [`MIN_PERIOD`] to [`MAX_PERIOD`].
const PERIODS: usize = 12;
/// Gaussian widths relative to the period.
const SIGMA_ALONG: f32 = 0.65;
const SIGMA_ACROSS: f32 = 0.42;
/// Kernel radius relative to the period.
const REACH: f32 = 1.3;
/// Greatest radius in half-size pixels.
const MAX_RADIUS: usize = 10;

struct Kernel {
    radius: usize,
    /// (2 radius + 1)² weights, row major, without mean.
    weights: Vec<f32>,
}

fn kernels() -> &'static [Kernel] {
    static KERNELS: OnceLock<Vec<Kernel>> = OnceLock::new();
    KERNELS.get_or_init(|| {
        (0..PERIODS * ANGLES)
            .map(|i| {
                let step = (i / ANGLES) as f32 / (PERIODS - 1) as f32;
                let period = MIN_PERIOD * libm::powf(MAX_PERIOD / MIN_PERIOD, step);
                let angle = (i % ANGLES) as f32 * std::f32::consts::PI / ANGLES as f32;
                kernel(period, angle)
            })
            .collect()
    })
}

/// The kernel for ridges of `period` full-size pixels.
fn kernel(period: f32, angle: f32) -> Kernel {
    let radius = ((REACH * period / 2.0).ceil() as usize).min(MAX_RADIUS);
    let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
    let (along_width, across_width) = (SIGMA_ALONG * period, SIGMA_ACROSS * period);
    let side = 2 * radius + 1;
    let mut weights = Vec::with_capacity(side * side);
    let mut envelope = Vec::with_capacity(side * side);
    for y in 0..side {
        for x in 0..side {
            let (dx, dy) = (2.0 * (x as f32 - radius as f32), 2.0 * (y as f32 - radius as f32));
            let (along, across) = ((dx * cos + dy * sin) / along_width, dy * cos - dx * sin);
            let wide = across / across_width;
            let gauss = libm::expf(-(along * along + wide * wide) / 2.0);
            envelope.push(gauss);
            weights.push(gauss * libm::cosf(across * std::f32::consts::TAU / period));
        }
    }
    let mean = weights.iter().sum::<f32>() / envelope.iter().sum::<f32>();
    for (weight, gauss) in weights.iter_mut().zip(&envelope) {
        *weight -= mean * gauss;
    }
    // Halving takes the more from a wave the shorter it is.
    let norm = weights.iter().map(|w| w.abs()).sum::<f32>() * kept(period);
    weights.iter_mut().for_each(|w| *w /= norm);
    Kernel { radius, weights }
}

/// A half-size image filtered: below zero on ridges, above zero in valleys, zero outside the foreground.
pub(crate) fn enhance(half: &Plane<f32>, fields: &Fields, period: &Plane<f32>) -> Plane<f32> {
    let kernels = kernels();
    let padded = padded(half);
    let mut out = Plane::filled(half.width, half.height, 0.0_f32);
    for row in 0..fields.foreground.height {
        for column in 0..fields.foreground.width {
            if !fields.foreground.at(column, row) {
                continue;
            }
            let kernel = &kernels[level(period.at(column, row)) * ANGLES
                + angle(fields.cos2.at(column, row), fields.sin2.at(column, row))];
            filter_block(&padded, kernel, (column, row), &mut out);
        }
    }
    out
}

/// Index of the nearest period.
fn level(period: f32) -> usize {
    let step = libm::logf(period / MIN_PERIOD) / libm::logf(MAX_PERIOD / MIN_PERIOD);
    ((step * (PERIODS - 1) as f32).round() as usize).min(PERIODS - 1)
}

/// Index of the nearest angle.
fn angle(cos2: f32, sin2: f32) -> usize {
    let turn = libm::atan2f(sin2, cos2) / std::f32::consts::TAU * ANGLES as f32;
    (turn.round() as i32).rem_euclid(ANGLES as i32) as usize
}

fn filter_block(padded: &Plane<f32>, kernel: &Kernel, (column, row): (usize, usize), out: &mut Plane<f32>) {
    let side = 2 * kernel.radius + 1;
    let inset = MAX_RADIUS - kernel.radius;
    let (left, top) = (column * HALF_BLOCK, row * HALF_BLOCK);
    let mut totals = [[0.0_f32; HALF_BLOCK]; HALF_BLOCK];
    for (ky, weights) in kernel.weights.chunks_exact(side).enumerate() {
        // The block's four lines advance together, which keeps four sums in flight.
        let line = |offset: usize| {
            let start = left + inset;
            padded.row(top + inset + ky + offset)[start..start + side - 1 + HALF_BLOCK].windows(HALF_BLOCK)
        };
        let windows = line(0).zip(line(1)).zip(line(2)).zip(line(3));
        for ((((a, b), c), d), weight) in windows.zip(weights) {
            for (total, window) in totals.iter_mut().zip([a, b, c, d]) {
                for (sum, value) in total.iter_mut().zip(window) {
                    *sum += weight * value;
                }
            }
        }
    }
    for (line, total) in totals.iter().enumerate() {
        let start = (top + line) * out.width + left;
        out.data[start..start + HALF_BLOCK].copy_from_slice(total);
    }
}

/// The plane with its border replicated [`MAX_RADIUS`] times.
fn padded(half: &Plane<f32>) -> Plane<f32> {
    let (width, height) = (half.width + 2 * MAX_RADIUS, half.height + 2 * MAX_RADIUS);
    let mut out = Plane::filled(width, height, 0.0_f32);
    for (y, target) in out.data.chunks_exact_mut(width).enumerate() {
        let row = half.row(y.saturating_sub(MAX_RADIUS).min(half.height - 1));
        target[MAX_RADIUS..MAX_RADIUS + half.width].copy_from_slice(row);
        target[..MAX_RADIUS].fill(row[0]);
        target[MAX_RADIUS + half.width..].fill(row[half.width - 1]);
    }
    out
}
