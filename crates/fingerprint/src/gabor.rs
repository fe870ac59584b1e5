//! Contextual enhancement with oriented even Gabor filters (Hong, Wan & Jain 1998).

use std::sync::OnceLock;

use crate::field::Fields;
use crate::frequency::{MAX_PERIOD, MIN_PERIOD};
use crate::plane::{BLOCK, Plane};

/// Orientations over half a turn.
const ANGLES: usize = 32;
/// Periods, in geometric steps from [`MIN_PERIOD`] to [`MAX_PERIOD`].
const PERIODS: usize = 12;
/// Gaussian widths relative to the period.
const SIGMA_ALONG: f32 = 0.58;
const SIGMA_ACROSS: f32 = 0.42;
/// Kernel radius relative to the period.
const REACH: f32 = 1.2;
const MAX_RADIUS: usize = 20;

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
                let period = MIN_PERIOD * (MAX_PERIOD / MIN_PERIOD).powf(step);
                let angle = (i % ANGLES) as f32 * std::f32::consts::PI / ANGLES as f32;
                kernel(period, angle)
            })
            .collect()
    })
}

fn kernel(period: f32, angle: f32) -> Kernel {
    let radius = ((REACH * period).ceil() as usize).min(MAX_RADIUS);
    let (sin, cos) = angle.sin_cos();
    let (along_width, across_width) = (SIGMA_ALONG * period, SIGMA_ACROSS * period);
    let side = 2 * radius + 1;
    let mut weights = Vec::with_capacity(side * side);
    let mut envelope = Vec::with_capacity(side * side);
    for y in 0..side {
        for x in 0..side {
            let (dx, dy) = (x as f32 - radius as f32, y as f32 - radius as f32);
            let (along, across) = (dx * cos + dy * sin, dy * cos - dx * sin);
            let gauss = (-(along / along_width).powi(2) / 2.0 - (across / across_width).powi(2) / 2.0).exp();
            envelope.push(gauss);
            weights.push(gauss * (across * std::f32::consts::TAU / period).cos());
        }
    }
    let mean = weights.iter().sum::<f32>() / envelope.iter().sum::<f32>();
    for (weight, gauss) in weights.iter_mut().zip(&envelope) {
        *weight -= mean * gauss;
    }
    let norm: f32 = weights.iter().map(|w| w.abs()).sum();
    weights.iter_mut().for_each(|w| *w /= norm);
    Kernel { radius, weights }
}

/// The filtered image: below zero on ridges, above zero in valleys, zero outside the foreground.
pub(crate) fn enhance(image: &Plane<u8>, fields: &Fields, period: &Plane<f32>) -> Plane<f32> {
    let kernels = kernels();
    let padded = padded(image);
    let mut out = Plane::filled(fields.foreground.width * BLOCK, fields.foreground.height * BLOCK, 0.0_f32);
    for row in 0..fields.foreground.height {
        for column in 0..fields.foreground.width {
            if !fields.foreground.at(column, row) {
                continue;
            }
            let step = (period.at(column, row) / MIN_PERIOD).ln() / (MAX_PERIOD / MIN_PERIOD).ln();
            let level = ((step * (PERIODS - 1) as f32).round() as usize).min(PERIODS - 1);
            let twice = fields.sin2.at(column, row).atan2(fields.cos2.at(column, row));
            let turn = twice / std::f32::consts::TAU * ANGLES as f32;
            let angle = (turn.round() as i32).rem_euclid(ANGLES as i32) as usize;
            filter_block(&padded, &kernels[level * ANGLES + angle], (column, row), &mut out);
        }
    }
    out
}

fn filter_block(padded: &Plane<f32>, kernel: &Kernel, (column, row): (usize, usize), out: &mut Plane<f32>) {
    let side = 2 * kernel.radius + 1;
    let inset = MAX_RADIUS - kernel.radius;
    for line in 0..BLOCK {
        let y = row * BLOCK + line;
        let mut totals = [0.0_f32; BLOCK];
        for (ky, weights) in kernel.weights.chunks_exact(side).enumerate() {
            let start = column * BLOCK + inset;
            let source = &padded.row(y + ky + inset)[start..start + side - 1 + BLOCK];
            for (window, weight) in source.windows(BLOCK).zip(weights) {
                for (total, value) in totals.iter_mut().zip(window) {
                    *total += weight * value;
                }
            }
        }
        let start = y * out.width + column * BLOCK;
        out.data[start..start + BLOCK].copy_from_slice(&totals);
    }
}

/// The image as floats, rounded up to whole blocks and with its border replicated [`MAX_RADIUS`] times.
fn padded(image: &Plane<u8>) -> Plane<f32> {
    let width = image.width.div_ceil(BLOCK) * BLOCK + 2 * MAX_RADIUS;
    let height = image.height.div_ceil(BLOCK) * BLOCK + 2 * MAX_RADIUS;
    let mut out = Plane::filled(width, height, 0.0_f32);
    for y in 0..height {
        let row = image.row(y.saturating_sub(MAX_RADIUS).min(image.height - 1));
        let target = &mut out.data[y * width..(y + 1) * width];
        for (x, value) in target.iter_mut().enumerate() {
            *value = f32::from(row[x.saturating_sub(MAX_RADIUS).min(image.width - 1)]);
        }
    }
    out
}
