//! Local fields: contrast, foreground, ridge orientation.
//!
//! Orientation is the smoothed structure tensor in doubled-angle form (Kass & Witkin 1987; Bazen &
//! Gerez 2002); the foreground is where contrast and coherence are high (Maltoni et al., Handbook of
//! Fingerprint Recognition, chapter 3).

use crate::half::HALF_BLOCK;
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
    /// Mean grey value around each block.
    mean: Plane<f32>,
    /// Blocks that show ridges.
    pub(crate) foreground: Plane<bool>,
}

/// Least contrast (grey levels) of an image that can be a fingerprint.
const MIN_CONTRAST: f32 = 8.0;
/// Least contrast of a foreground block, relative to the image's well printed blocks.
const FOREGROUND_CONTRAST: f32 = 0.25;
const FOREGROUND_COHERENCE: f32 = 0.1;
/// Least clarity of a foreground block once ridges are enhanced.
const FOREGROUND_CLARITY: f32 = 0.2;
/// One block in so many has to be flat ground before it says whether ridges are light or dark.
const LEAST_GROUND: usize = 20;
/// How much lighter than the finger, in multiples of its contrast, dark ground is at most. Prints lie beyond 0.55 either
/// way.
const DARK_GROUND: f32 = -0.4;
/// Most blocks that decide what is well printed.
const STRONG_BLOCKS: usize = 400;
/// Widths of the two smoothing kernels in blocks.
const NARROW_BLOCKS: f32 = 0.9;
const WIDE_BLOCKS: f32 = 1.4;
/// Components smaller than this share of the largest are dropped.
const MIN_COMPONENT_SHARE: f32 = 0.2;

/// Estimates all fields; the foreground is empty when nothing resembles ridges.
pub(crate) fn estimate(image: &Plane<u8>, half: &Plane<f32>) -> Fields {
    let (mean, contrast) = grey_moments(image);
    let Orientation { cos2, sin2, coherence } = Tensor::of(half, HALF_BLOCK).orientation();
    // Halving hides the grain of the sensor, which tells its shading and stripes from ridges.
    let (_, _, coherence_of_pixels) = Tensor::of(&in_whole_blocks(image), BLOCK).coherent(WIDE_BLOCKS);
    let foreground = foreground(&contrast, &coherence_of_pixels);
    Fields { cos2, sin2, coherence, contrast, mean, foreground }
}

fn in_whole_blocks(image: &Plane<u8>) -> Plane<f32> {
    let side = |pixels: usize| pixels.div_ceil(BLOCK) * BLOCK;
    let mut out = Plane::filled(side(image.width), side(image.height), 0.0_f32);
    for (y, target) in out.data.chunks_exact_mut(side(image.width)).enumerate() {
        let row = image.row(y.min(image.height - 1));
        for (cell, grey) in target.iter_mut().zip(row) {
            *cell = f32::from(*grey);
        }
        target[image.width..].fill(f32::from(row[image.width - 1]));
    }
    out
}

/// Mean and standard deviation of the grey values around each block.
fn grey_moments(image: &Plane<u8>) -> (Plane<f32>, Plane<f32>) {
    let (columns, rows) = (image.width.div_ceil(BLOCK), image.height.div_ceil(BLOCK));
    let mut mean = Plane::filled(columns, rows, 0.0_f32);
    let mut square = mean.clone();
    let mut sums = vec![(0_u32, 0_u32); columns];
    for row in 0..rows {
        sums.fill((0, 0));
        let lines = row * BLOCK..((row + 1) * BLOCK).min(image.height);
        for y in lines.clone() {
            for (sum, cells) in sums.iter_mut().zip(image.row(y).chunks(BLOCK)) {
                for &cell in cells {
                    sum.0 += u32::from(cell);
                    sum.1 += u32::from(cell) * u32::from(cell);
                }
            }
        }
        for (column, sum) in sums.iter().enumerate() {
            let count = (lines.len() * BLOCK.min(image.width - column * BLOCK)) as f32;
            mean.set(column, row, sum.0 as f32 / count);
            square.set(column, row, sum.1 as f32 / count);
        }
    }
    let (mean, square) = (mean.blurred(0.8), square.blurred(0.8));
    let variance = |i: usize| (square.data[i] - mean.data[i] * mean.data[i]).max(0.0);
    let contrast = Plane { data: (0..mean.data.len()).map(|i| variance(i).sqrt()).collect(), ..mean };
    (mean, contrast)
}

/// Cosine and sine of twice the ridge angle, and the close neighbourhood's coherence.
struct Orientation {
    cos2: Plane<f32>,
    sin2: Plane<f32>,
    coherence: Plane<f32>,
}

/// The structure tensor of each block.
struct Tensor {
    cos2: Plane<f32>,
    sin2: Plane<f32>,
    energy: Plane<f32>,
}

impl Tensor {
    /// Sums over the blocks of an image; `block` is their side.
    fn of(image: &Plane<f32>, block: usize) -> Self {
        let (columns, rows) = (image.width / block, image.height / block);
        let zero = Plane::filled(columns, rows, 0.0_f32);
        let (mut cos2, mut sin2, mut energy) = (zero.clone(), zero.clone(), zero);
        let mut lines = Lines::new(image.width);
        for row in 0..rows {
            lines.clear();
            for y in row * block..(row + 1) * block {
                let below = image.row((y + 1).min(image.height - 1));
                lines.add(image.row(y.saturating_sub(1)), image.row(y), below);
            }
            for column in 0..columns {
                let (gxx, gyy, gxy) = lines.block(column, block);
                // The square root keeps a few strong blocks from ruling their neighbourhood.
                let weight = 1.0 / (1.0 + gxx + gyy).sqrt();
                cos2.set(column, row, (gyy - gxx) * weight);
                sin2.set(column, row, -2.0 * gxy * weight);
                energy.set(column, row, (gxx + gyy) * weight);
            }
        }
        Self { cos2, sin2, energy }
    }

    fn orientation(&self) -> Orientation {
        let (mut cos2, mut sin2, coherence) = self.coherent(NARROW_BLOCKS);
        let (wide_cos, wide_sin, _) = self.coherent(WIDE_BLOCKS);
        for i in 0..cos2.data.len() {
            // Where the close neighbourhood disagrees the wide one decides; between, they are mixed.
            let trust = ((coherence.data[i] - 0.35) / 0.3).clamp(0.0, 1.0);
            let (c, s) = unit(cos2.data[i], sin2.data[i]);
            let (wc, ws) = unit(wide_cos.data[i], wide_sin.data[i]);
            (cos2.data[i], sin2.data[i]) = unit(c * trust + wc * (1.0 - trust), s * trust + ws * (1.0 - trust));
        }
        Orientation { cos2, sin2, coherence }
    }

    /// Sums over neighbourhoods of a width in blocks, and their coherence.
    fn coherent(&self, sigma: f32) -> (Plane<f32>, Plane<f32>, Plane<f32>) {
        let (c, s, e) = (self.cos2.blurred(sigma), self.sin2.blurred(sigma), self.energy.blurred(sigma));
        let share = |i: usize| length(c.data[i], s.data[i]) / e.data[i].max(1e-3);
        let coherence = Plane { data: (0..e.data.len()).map(share).collect(), ..e };
        (c, s, coherence)
    }
}

/// Products of the gradient, summed down the lines of a row of blocks.
struct Lines {
    gxx: Vec<f32>,
    gyy: Vec<f32>,
    gxy: Vec<f32>,
    padded: [Vec<f32>; 2],
}

impl Lines {
    fn new(width: usize) -> Self {
        let zero = vec![0.0; width];
        let padded = [vec![0.0; width + 2], vec![0.0; width + 2]];
        Self { gxx: zero.clone(), gyy: zero.clone(), gxy: zero, padded }
    }

    fn clear(&mut self) {
        for line in [&mut self.gxx, &mut self.gyy, &mut self.gxy] {
            line.fill(0.0);
        }
    }

    /// Adds a line by Scharr's gradient (weights 3 10 3), which turns with the pattern more truly than Sobel's.
    fn add(&mut self, above: &[f32], here: &[f32], below: &[f32]) {
        let width = here.len();
        let [smooth, slope] = &mut self.padded;
        for ((((smooth, slope), a), h), b) in
            smooth[1..=width].iter_mut().zip(&mut slope[1..=width]).zip(above).zip(here).zip(below)
        {
            *smooth = 0.375 * (a + b) + 1.25 * h;
            *slope = b - a;
        }
        for line in [smooth, slope] {
            line[0] = line[1];
            line[width + 1] = line[width];
        }
        let [smooth, slope] = &self.padded;
        let sums = self.gxx.iter_mut().zip(&mut self.gyy).zip(&mut self.gxy);
        for (((xx, yy), xy), (smooth, slope)) in sums.zip(smooth.windows(3).zip(slope.windows(3))) {
            let gx = smooth[2] - smooth[0];
            let gy = 0.375 * (slope[0] + slope[2]) + 1.25 * slope[1];
            *xx += gx * gx;
            *yy += gy * gy;
            *xy += gx * gy;
        }
    }

    /// Means over a block.
    fn block(&self, column: usize, block: usize) -> (f32, f32, f32) {
        let cells = column * block..(column + 1) * block;
        let mean = |line: &[f32]| line[cells.clone()].iter().sum::<f32>() / (block * block) as f32;
        (mean(&self.gxx), mean(&self.gyy), mean(&self.gxy))
    }
}

fn unit(c: f32, s: f32) -> (f32, f32) {
    let length = length(c, s);
    if length > 1e-6 { (c / length, s / length) } else { (1.0, 0.0) }
}

/// Length of a vector; unlike the platform's `hypot`, the same everywhere.
pub(crate) fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

fn foreground(contrast: &Plane<f32>, coherence: &Plane<f32>) -> Plane<bool> {
    let strong = strong(contrast);
    if strong < MIN_CONTRAST {
        return Plane::filled(contrast.width, contrast.height, false);
    }
    let level = (strong * FOREGROUND_CONTRAST).max(MIN_CONTRAST * 0.5);
    let is_ridged = |i: usize| contrast.data[i] > level && coherence.data[i] > FOREGROUND_COHERENCE;
    let marked: Vec<f32> = (0..contrast.data.len()).map(|i| f32::from(u8::from(is_ridged(i)))).collect();
    voted(Plane { data: marked, ..*contrast })
}

/// What most of each block's neighbourhood is marked as, without specks and holes.
fn voted(marked: Plane<f32>) -> Plane<bool> {
    let votes = marked.blurred(1.2);
    let mut mask =
        Plane { width: votes.width, height: votes.height, data: votes.data.iter().map(|&v| v > 0.5).collect() };
    keep_components(&mut mask, true);
    keep_components(&mut mask, false);
    mask
}

/// The value that well printed blocks reach: a tenth of a small image, never more blocks than a small print has.
fn strong(values: &Plane<f32>) -> f32 {
    let mut sorted = values.data.clone();
    let rank = (sorted.len() / 10).min(STRONG_BLOCKS);
    let (_, value, _) = sorted.select_nth_unstable_by(rank, |a, b| b.total_cmp(a));
    *value
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
    /// Whether the ridges are light on a dark ground: flat ground is darker than the ridges' and valleys' mean by most
    /// of their contrast, as it otherwise is lighter. An image without enough flat ground counts as dark on light.
    pub(crate) fn is_light_on_dark(&self) -> bool {
        let flat = strong(&self.contrast) * FOREGROUND_CONTRAST;
        let (mut ground, mut finger, mut contrast) = (0.0, 0.0, 0.0);
        let (mut ground_blocks, mut finger_blocks) = (0_usize, 0_usize);
        for (i, set) in self.foreground.data.iter().enumerate() {
            if *set {
                finger += self.mean.data[i];
                contrast += self.contrast.data[i];
                finger_blocks += 1;
            } else if self.contrast.data[i] < flat {
                ground += self.mean.data[i];
                ground_blocks += 1;
            }
        }
        if ground_blocks * LEAST_GROUND < self.foreground.data.len() || finger_blocks == 0 {
            return false;
        }
        let lighter = ground / ground_blocks as f32 - finger / finger_blocks as f32;
        lighter < DARK_GROUND * contrast / finger_blocks as f32
    }

    /// Takes the orientation from a half-size image in which ridges are drawn clearly; the coherence stays.
    pub(crate) fn reorient(&mut self, drawn: &Plane<f32>) {
        let Orientation { cos2, sin2, .. } = Tensor::of(drawn, HALF_BLOCK).orientation();
        (self.cos2, self.sin2) = (cos2, sin2);
    }

    /// Keeps the foreground where the ridges are clear.
    pub(crate) fn keep_clear(&mut self, clarity: &Plane<f32>) {
        let clear = |(set, value): (&bool, &f32)| f32::from(u8::from(*set && *value > FOREGROUND_CLARITY));
        let data = self.foreground.data.iter().zip(&clarity.data).map(clear).collect();
        self.foreground = voted(Plane { data, ..*clarity });
    }

    /// Ridge angle at a pixel in radians (image axes, y down), 0 to π.
    pub(crate) fn angle_at(&self, x: f32, y: f32) -> f32 {
        let (bx, by) = block_position(x, y);
        let twice = libm::atan2f(self.sin2.between(bx, by), self.cos2.between(bx, by));
        (twice / 2.0).rem_euclid(std::f32::consts::PI)
    }
}

/// A pixel position in units of block centres.
pub(crate) fn block_position(x: f32, y: f32) -> (f32, f32) {
    let block = BLOCK as f32;
    ((x + 0.5) / block - 0.5, (y + 0.5) / block - 0.5)
}
