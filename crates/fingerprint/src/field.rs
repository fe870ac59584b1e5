//! Local fields: contrast, foreground, ridge orientation.
//!
//! Orientation is the smoothed structure tensor in doubled-angle form (Kass & Witkin 1987; Bazen &
//! Gerez 2002); the foreground is where contrast and coherence are high (Maltoni et al., Handbook of
//! Fingerprint Recognition, chapter 3).

use crate::plane::{BLOCK, Plane};

/// Fields on a grid of [`BLOCK`]-pixel blocks.
pub(crate) struct Fields {
    /// Cosine and sine of twice the ridge angle (image axes, y down), length 1 or less.
    pub(crate) cos2: Plane<f32>,
    pub(crate) sin2: Plane<f32>,
    /// Share of the gradient energy that agrees on one orientation, 0 to 1.
    pub(crate) coherence: Plane<f32>,
    /// Standard deviation of grey values around each block.
    pub(crate) contrast: Plane<f32>,
    /// Blocks that show ridges.
    pub(crate) foreground: Plane<bool>,
}

/// Least contrast (grey levels) of an image that can be a fingerprint.
const MIN_CONTRAST: f32 = 8.0;
/// Least contrast of a foreground block, relative to the image's well printed blocks.
const FOREGROUND_CONTRAST: f32 = 0.25;
const FOREGROUND_COHERENCE: f32 = 0.2;
/// Widths of the two smoothing kernels in blocks.
const NARROW_BLOCKS: f32 = 0.9;
const WIDE_BLOCKS: f32 = 1.4;
/// Components smaller than this share of the largest are dropped.
const MIN_COMPONENT_SHARE: f32 = 0.2;

struct Sums {
    contrast: Plane<f32>,
    cos2: Plane<f32>,
    sin2: Plane<f32>,
    energy: Plane<f32>,
}

/// Estimates all fields; the foreground is empty when nothing resembles ridges.
pub(crate) fn estimate(image: &Plane<u8>) -> Fields {
    let sums = block_sums(image);
    let coherent = |sigma: f32| {
        let (c, s, e) = (sums.cos2.blurred(sigma), sums.sin2.blurred(sigma), sums.energy.blurred(sigma));
        let coherence =
            Plane { data: (0..e.data.len()).map(|i| c.data[i].hypot(s.data[i]) / e.data[i].max(1e-3)).collect(), ..e };
        (c, s, coherence)
    };
    let (mut cos2, mut sin2, coherence) = coherent(NARROW_BLOCKS);
    let (wide_cos, wide_sin, wide_coherence) = coherent(WIDE_BLOCKS);
    for i in 0..cos2.data.len() {
        // Where the close neighbourhood disagrees the wide one decides; between, they are mixed.
        let trust = ((coherence.data[i] - 0.35) / 0.3).clamp(0.0, 1.0);
        let (c, s) = unit(cos2.data[i], sin2.data[i]);
        let (wc, ws) = unit(wide_cos.data[i], wide_sin.data[i]);
        (cos2.data[i], sin2.data[i]) = unit(c * trust + wc * (1.0 - trust), s * trust + ws * (1.0 - trust));
    }
    let foreground = foreground(&sums.contrast, &wide_coherence);
    Fields { cos2, sin2, coherence, contrast: sums.contrast, foreground }
}

fn unit(c: f32, s: f32) -> (f32, f32) {
    let length = c.hypot(s);
    if length > 1e-6 { (c / length, s / length) } else { (1.0, 0.0) }
}

fn block_sums(image: &Plane<u8>) -> Sums {
    let (columns, rows) = (image.width.div_ceil(BLOCK), image.height.div_ceil(BLOCK));
    let zero = Plane::filled(columns, rows, 0.0_f32);
    let (mut cos2, mut sin2, mut energy) = (zero.clone(), zero.clone(), zero.clone());
    let (mut mean, mut square) = (zero.clone(), zero);
    for row in 0..rows {
        for column in 0..columns {
            let sums = block_sum(image, column, row);
            let count = sums.count.max(1) as f32;
            let (gxx, gyy, gxy) = (sums.gxx as f32, sums.gyy as f32, sums.gxy as f32);
            // The square root keeps a few strong blocks from ruling their neighbourhood.
            let weight = 1.0 / (1.0 + (gxx + gyy) / count).sqrt() / count;
            cos2.set(column, row, (gyy - gxx) * weight);
            sin2.set(column, row, -2.0 * gxy * weight);
            energy.set(column, row, (gxx + gyy) * weight);
            mean.set(column, row, sums.grey as f32 / count);
            square.set(column, row, sums.square as f32 / count);
        }
    }
    let (mean, square) = (mean.blurred(0.8), square.blurred(0.8));
    let variance = |i: usize| (square.data[i] - mean.data[i] * mean.data[i]).max(0.0);
    let contrast = Plane { data: (0..mean.data.len()).map(|i| variance(i).sqrt()).collect(), ..mean };
    Sums { contrast, cos2, sin2, energy }
}

#[derive(Default)]
struct BlockSum {
    count: i32,
    grey: i32,
    square: i32,
    gxx: i32,
    gyy: i32,
    gxy: i32,
}

fn block_sum(image: &Plane<u8>, column: usize, row: usize) -> BlockSum {
    let mut sum = BlockSum::default();
    let (left, top) = (column * BLOCK, row * BLOCK);
    let (right, bottom) = ((left + BLOCK).min(image.width), (top + BLOCK).min(image.height));
    for y in top..bottom {
        let above = image.row(y.saturating_sub(1));
        let here = image.row(y);
        let below = image.row((y + 1).min(image.height - 1));
        for x in left..right {
            let (l, r) = (x.saturating_sub(1), (x + 1).min(image.width - 1));
            let p = |line: &[u8], at: usize| i32::from(line[at]);
            let gx = p(above, r) + 2 * p(here, r) + p(below, r) - p(above, l) - 2 * p(here, l) - p(below, l);
            let gy = p(below, l) + 2 * p(below, x) + p(below, r) - p(above, l) - 2 * p(above, x) - p(above, r);
            let grey = p(here, x);
            sum.count += 1;
            sum.grey += grey;
            sum.square += grey * grey;
            sum.gxx += gx * gx;
            sum.gyy += gy * gy;
            sum.gxy += gx * gy;
        }
    }
    sum
}

fn foreground(contrast: &Plane<f32>, coherence: &Plane<f32>) -> Plane<bool> {
    let mut sorted = contrast.data.clone();
    sorted.sort_unstable_by(f32::total_cmp);
    let strong = sorted[(sorted.len() - 1) * 9 / 10];
    let level = (strong * FOREGROUND_CONTRAST).max(MIN_CONTRAST * 0.5);
    let marked: Vec<f32> = (0..contrast.data.len())
        .map(|i| f32::from(u8::from(contrast.data[i] > level && coherence.data[i] > FOREGROUND_COHERENCE)))
        .collect();
    let votes = Plane { data: marked, ..*contrast }.blurred(1.2);
    let mut mask = Plane {
        width: votes.width,
        height: votes.height,
        data: votes.data.iter().map(|&v| v > 0.5 && strong >= MIN_CONTRAST).collect(),
    };
    keep_components(&mut mask, true);
    keep_components(&mut mask, false);
    mask
}

/// Drops small components of set cells, or fills every hole that does not touch the border.
fn keep_components(mask: &mut Plane<bool>, set: bool) {
    let mut label = vec![0_usize; mask.data.len()];
    let mut sizes = vec![(0_usize, false)];
    let mut stack = Vec::new();
    for start in 0..mask.data.len() {
        if mask.data[start] != set || label[start] != 0 {
            continue;
        }
        let id = sizes.len();
        sizes.push((0, false));
        label[start] = id;
        stack.push(start);
        while let Some(cell) = stack.pop() {
            let (x, y) = (cell % mask.width, cell / mask.width);
            sizes[id].0 += 1;
            sizes[id].1 |= x == 0 || y == 0 || x + 1 == mask.width || y + 1 == mask.height;
            let near = [
                (x > 0).then(|| cell - 1),
                (x + 1 < mask.width).then(|| cell + 1),
                (y > 0).then(|| cell - mask.width),
                (y + 1 < mask.height).then(|| cell + mask.width),
            ];
            for next in near.into_iter().flatten() {
                if mask.data[next] == set && label[next] == 0 {
                    label[next] = id;
                    stack.push(next);
                }
            }
        }
    }
    let largest = sizes.iter().map(|s| s.0).max().unwrap_or(0) as f32;
    for (cell, id) in label.iter().enumerate() {
        if *id != 0 {
            let (size, at_border) = sizes[*id];
            let keeps = if set { size as f32 >= largest * MIN_COMPONENT_SHARE } else { at_border };
            if !keeps {
                mask.data[cell] = !set;
            }
        }
    }
}

impl Fields {
    /// Ridge angle at a pixel in radians (image axes, y down), 0 to π.
    pub(crate) fn angle_at(&self, x: f32, y: f32) -> f32 {
        let (bx, by) = block_position(x, y);
        let twice = self.sin2.between(bx, by).atan2(self.cos2.between(bx, by));
        (twice / 2.0).rem_euclid(std::f32::consts::PI)
    }
}

/// A pixel position in units of block centres.
pub(crate) fn block_position(x: f32, y: f32) -> (f32, f32) {
    let block = BLOCK as f32;
    ((x + 0.5) / block - 0.5, (y + 0.5) / block - 0.5)
}
