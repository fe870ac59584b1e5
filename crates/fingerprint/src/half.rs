//! The image at half its resolution, and back.
//!
//! A ridge and a valley take four half-size pixels at least, so half the resolution holds all of the pattern; filters
//! then have a quarter of the pixels to visit, with a quarter of the weights. Cell `i` of a half-size row lies
//! between pixels `2 i` and `2 i + 1`.

use crate::plane::{BLOCK, Plane};

/// Side of a block in half-size pixels.
pub(crate) const HALF_BLOCK: usize = BLOCK / 2;

/// The image smoothed by the weights 1 3 3 1 along both axes and halved, as many whole blocks as cover it.
pub(crate) fn halved(image: &Plane<u8>) -> Plane<f32> {
    let width = image.width.div_ceil(BLOCK) * HALF_BLOCK;
    let height = image.height.div_ceil(BLOCK) * HALF_BLOCK;
    let mut out = Plane::filled(width, height, 0.0_f32);
    // One column of the border before the image, at least one after it.
    let mut column_sums = vec![0_u16; 2 * width + 2];
    for (y, row) in out.data.chunks_exact_mut(width).enumerate() {
        let line = |offset: usize| image.row((2 * y + offset).saturating_sub(1).min(image.height - 1));
        let inner = &mut column_sums[1..=image.width];
        for ((((sum, a), b), c), d) in inner.iter_mut().zip(line(0)).zip(line(1)).zip(line(2)).zip(line(3)) {
            *sum = u16::from(*a) + 3 * (u16::from(*b) + u16::from(*c)) + u16::from(*d);
        }
        column_sums[0] = column_sums[1];
        let last = column_sums[image.width];
        column_sums[image.width + 1..].fill(last);
        for (cell, four) in row.iter_mut().zip(column_sums.windows(4).step_by(2)) {
            let sum = four[0] + 3 * (four[1] + four[2]) + four[3];
            *cell = f32::from(sum) * (1.0 / 64.0);
        }
    }
    out
}

/// How much of a wave of `period` pixels across one axis [`halved`] keeps.
pub(crate) fn kept(period: f32) -> f32 {
    let half_angle = libm::cosf(std::f32::consts::PI / period);
    half_angle * half_angle * half_angle
}

/// Weights of four neighbours for a place a quarter of a cell before the third and after the second: cubic
/// convolution (Keys 1981, a = -0.5).
const QUARTER: [f32; 4] = [-0.070_312_5, 0.867_187_5, 0.226_562_5, -0.023_437_5];

/// A half-size plane at full size.
pub(crate) fn doubled(half: &Plane<f32>) -> Plane<f32> {
    let (width, height) = (2 * half.width, 2 * half.height);
    let mut out = Plane::filled(width, height, 0.0_f32);
    // Two columns of the border on either side.
    let mut line = vec![0.0_f32; half.width + 4];
    for (y, row) in out.data.chunks_exact_mut(width).enumerate() {
        let near = y / 2;
        let source = |offset: usize| half.row((near + offset).saturating_sub(2).min(half.height - 1));
        let [a, b, c, d] = QUARTER;
        let inner = &mut line[2..half.width + 2];
        // The lines go from the far side of the place to the other.
        let [p, q, r, s] = if y % 2 == 0 {
            [source(3), source(2), source(1), source(0)]
        } else {
            [source(1), source(2), source(3), source(4)]
        };
        for ((((cell, p), q), r), s) in inner.iter_mut().zip(p).zip(q).zip(r).zip(s) {
            *cell = a * p + b * q + c * r + d * s;
        }
        let (first, last) = (line[2], line[half.width + 1]);
        line[..2].fill(first);
        line[half.width + 2..].fill(last);
        for (pair, five) in row.chunks_exact_mut(2).zip(line.windows(5)) {
            pair[0] = a * five[3] + b * five[2] + c * five[1] + d * five[0];
            pair[1] = a * five[1] + b * five[2] + c * five[3] + d * five[4];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_survives_halving_and_doubling() {
        for period in [6.0_f32, 9.0, 14.0] {
            let wave = |x: usize| 128.0 + 100.0 * (x as f32 * std::f32::consts::TAU / period).cos();
            let (width, height) = (83, 70);
            let data = (0..width * height).map(|i| wave(i % width).round() as u8).collect();
            let half = halved(&Plane { width, height, data });
            assert_eq!((half.width, half.height), (44, 36));
            let full = doubled(&half);
            assert_eq!((full.width, full.height), (88, 72));
            for x in 10..70 {
                let (found, expected) = (full.at(x, 30) - 128.0, (wave(x) - 128.0) * kept(period));
                // Where a wave is near its mean its sign says where a ridge ends, so errors have to be small there.
                let allowed = if period < 8.0 { 16.0 } else { 6.0 };
                assert!((found - expected).abs() < allowed, "period {period}: {found}, not {expected}, at {x}");
                assert!(expected.abs() < 25.0 || found * expected > 0.0, "period {period} at {x}");
            }
        }
    }

    #[test]
    fn an_even_image_stays_even() {
        let half = halved(&Plane::filled(33, 41, 77_u8));
        assert!(half.data.iter().chain(&doubled(&half).data).all(|value| (value - 77.0).abs() < 1e-3));
    }
}
