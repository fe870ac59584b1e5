//! Rectangular arrays for pixels and blocks.

use crate::image::GreyImage;

/// Side of the blocks on which local fields are estimated, in pixels.
pub(crate) const BLOCK: usize = 8;

/// A row-major rectangle of values.
#[derive(Clone)]
pub(crate) struct Plane<T> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) data: Vec<T>,
}

impl<T: Copy> Plane<T> {
    pub(crate) fn filled(width: usize, height: usize, value: T) -> Self {
        Self { width, height, data: vec![value; width * height] }
    }

    /// The value at a position inside the plane.
    #[inline]
    pub(crate) fn at(&self, x: usize, y: usize) -> T {
        self.data[y * self.width + x]
    }

    #[inline]
    pub(crate) fn set(&mut self, x: usize, y: usize, value: T) {
        self.data[y * self.width + x] = value;
    }

    /// The value at a position, or none outside the plane.
    #[inline]
    pub(crate) fn get(&self, x: i32, y: i32) -> Option<T> {
        let inside = x >= 0 && y >= 0 && (x as usize) < self.width && (y as usize) < self.height;
        inside.then(|| self.at(x as usize, y as usize))
    }

    pub(crate) fn row(&self, y: usize) -> &[T] {
        &self.data[y * self.width..(y + 1) * self.width]
    }
}

impl Plane<f32> {
    /// Bilinear value between cell centres; positions outside take the nearest cell.
    pub(crate) fn between(&self, x: f32, y: f32) -> f32 {
        let x = x.clamp(0.0, (self.width - 1) as f32);
        let y = y.clamp(0.0, (self.height - 1) as f32);
        let (x0, y0) = (x as usize, y as usize);
        let (x1, y1) = ((x0 + 1).min(self.width - 1), (y0 + 1).min(self.height - 1));
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let top = self.at(x0, y0) * (1.0 - fx) + self.at(x1, y0) * fx;
        let bottom = self.at(x0, y1) * (1.0 - fx) + self.at(x1, y1) * fx;
        top * (1.0 - fy) + bottom * fy
    }

    /// Separable Gaussian blur with replicated borders; `sigma` in cells.
    pub(crate) fn blurred(&self, sigma: f32) -> Self {
        let radius = (2.5 * sigma).ceil() as usize;
        let mut weights: Vec<f32> = (0..=2 * radius)
            .map(|i| {
                let off = (i as f32 - radius as f32) / sigma;
                libm::expf(-off * off / 2.0)
            })
            .collect();
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        let mut across = Self::filled(self.width, self.height, 0.0);
        let mut line = vec![0.0; self.width + 2 * radius];
        for (y, target) in across.data.chunks_exact_mut(self.width).enumerate() {
            let source = self.row(y);
            line[..radius].fill(source[0]);
            line[radius..radius + self.width].copy_from_slice(source);
            line[radius + self.width..].fill(source[self.width - 1]);
            for (shifted, weight) in line.windows(self.width).zip(&weights) {
                add_scaled(target, shifted, *weight);
            }
        }
        let mut out = Self::filled(self.width, self.height, 0.0);
        for (y, target) in out.data.chunks_exact_mut(self.width).enumerate() {
            for (i, weight) in weights.iter().enumerate() {
                let source = (y + i).saturating_sub(radius).min(self.height - 1);
                add_scaled(target, across.row(source), *weight);
            }
        }
        out
    }
}

fn add_scaled(target: &mut [f32], source: &[f32], weight: f32) {
    for (total, value) in target.iter_mut().zip(source) {
        *total += weight * value;
    }
}

/// The image as a plane of grey values.
pub(crate) fn grey_plane(image: &GreyImage) -> Plane<u8> {
    Plane { width: image.width() as usize, height: image.height() as usize, data: image.pixels().to_vec() }
}

/// The image at another resolution: a triangle filter as wide as the coarser of the two pixels.
pub(crate) fn resampled(source: &Plane<u8>, scale: f32) -> Plane<u8> {
    let width = ((source.width as f32 * scale).round() as usize).max(1);
    let height = ((source.height as f32 * scale).round() as usize).max(1);
    let columns = taps(source.width, width);
    let rows = taps(source.height, height);
    let mut across = Plane::filled(width, source.height, 0.0_f32);
    for y in 0..source.height {
        let row = source.row(y);
        for (x, (first, weights)) in columns.iter().enumerate() {
            let cells = &row[*first..*first + weights.len()];
            across.set(x, y, weights.iter().zip(cells).map(|(w, &v)| w * f32::from(v)).sum());
        }
    }
    let mut out = Plane::filled(width, height, 0_u8);
    let mut line = vec![0.0_f32; width];
    for (y, (first, weights)) in rows.iter().enumerate() {
        line.fill(0.0);
        for (i, weight) in weights.iter().enumerate() {
            for (total, value) in line.iter_mut().zip(across.row(first + i)) {
                *total += weight * value;
            }
        }
        for (x, total) in line.iter().enumerate() {
            out.set(x, y, total.round().clamp(0.0, 255.0) as u8);
        }
    }
    out
}

/// For each target cell the first source cell and the weights from there on.
fn taps(source: usize, target: usize) -> Vec<(usize, Vec<f32>)> {
    let step = source as f32 / target as f32;
    let reach = step.max(1.0);
    let tap = |index: usize| {
        let centre = (index as f32 + 0.5) * step - 0.5;
        let first = ((centre - reach).ceil().max(0.0) as usize).min(source - 1);
        let last = ((centre + reach).floor().max(0.0) as usize).clamp(first, source - 1);
        let mut weights: Vec<f32> =
            (first..=last).map(|cell| (1.0 - (cell as f32 - centre).abs() / reach).max(1e-6)).collect();
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        (first, weights)
    };
    (0..target).map(tap).collect()
}
