//! Ridge period: autocorrelation of the grey profile across the ridges (after Hong, Wan & Jain 1998).

use crate::field::Fields;
use crate::plane::{BLOCK, Plane};

/// Shortest and longest ridge period in pixels at 500 dpi.
pub(crate) const MIN_PERIOD: f32 = 4.5;
pub(crate) const MAX_PERIOD: f32 = 16.0;

/// Samples across the ridges, and lines averaged along them.
const PROFILE: usize = 40;
const LINES: i32 = 11;
const MAX_LAG: usize = 19;
/// Autocorrelation at the period, relative to lag 0, above which a profile counts as periodic.
const MIN_PERIODICITY: f32 = 0.25;
/// Pixels around the image that a window can reach.
const MARGIN: usize = 32;
/// Blocks between two estimates.
const STRIDE: usize = 2;

/// The period of every block, and the share of the foreground that is periodic.
pub(crate) struct Periods {
    pub(crate) period: Plane<f32>,
    pub(crate) periodic_share: f32,
    pub(crate) median: f32,
}

/// Estimates the ridge period; blocks without a clear one take their neighbourhood's.
pub(crate) fn estimate(image: &Plane<u8>, fields: &Fields) -> Periods {
    let image = &with_margin(image);
    let mask = &fields.foreground;
    let (width, height) = (mask.width.div_ceil(STRIDE), mask.height.div_ceil(STRIDE));
    let mut weight = Plane::filled(width, height, 0.0_f32);
    let mut weighted = weight.clone();
    let (mut tried, mut found) = (0_u32, Vec::new());
    for row in 0..height {
        for column in 0..width {
            let (bx, by) = (column * STRIDE, row * STRIDE);
            if !mask.at(bx, by) {
                continue;
            }
            tried += 1;
            let (cos, sin) = half_angle(fields.cos2.at(bx, by), fields.sin2.at(bx, by));
            let centre = (bx * BLOCK + BLOCK / 2, by * BLOCK + BLOCK / 2);
            if let Some((period, strength)) = period_at(image, centre, (cos, sin)) {
                found.push(period);
                weight.set(column, row, strength);
                weighted.set(column, row, strength * period);
            }
        }
    }
    found.sort_unstable_by(f32::total_cmp);
    let median = found.get(found.len() / 2).copied().unwrap_or(9.0);
    let (weight, weighted) = (weight.blurred(1.6), weighted.blurred(1.6));
    let prior = 0.02;
    let mut period = Plane::filled(mask.width, mask.height, median);
    for y in 0..mask.height {
        for x in 0..mask.width {
            let (cx, cy) = (x as f32 / STRIDE as f32, y as f32 / STRIDE as f32);
            let value = (weighted.between(cx, cy) + prior * median) / (weight.between(cx, cy) + prior);
            period.set(x, y, value.clamp(MIN_PERIOD, MAX_PERIOD));
        }
    }
    Periods { period, periodic_share: found.len() as f32 / tried.max(1) as f32, median }
}

/// The image in whole blocks with its border replicated [`MARGIN`] times.
fn with_margin(image: &Plane<u8>) -> Plane<u8> {
    let side = |pixels: usize| pixels.div_ceil(BLOCK) * BLOCK + 2 * MARGIN;
    let width = side(image.width);
    let mut out = Plane::filled(width, side(image.height), 0_u8);
    for (y, target) in out.data.chunks_exact_mut(width).enumerate() {
        let row = image.row(y.saturating_sub(MARGIN).min(image.height - 1));
        target[..MARGIN].fill(row[0]);
        target[MARGIN..MARGIN + image.width].copy_from_slice(row);
        target[MARGIN + image.width..].fill(row[image.width - 1]);
    }
    out
}

/// Cosine and sine of an angle given those of its double.
pub(crate) fn half_angle(cos2: f32, sin2: f32) -> (f32, f32) {
    let half = libm::atan2f(sin2, cos2) / 2.0;
    (libm::cosf(half), libm::sinf(half))
}

fn period_at(image: &Plane<u8>, centre: (usize, usize), along: (f32, f32)) -> Option<(f32, f32)> {
    let mut profile = [0.0_f32; PROFILE];
    // In 1/65536 pixel; the image has a margin of MARGIN pixels on every side, wider than the window reaches.
    let fixed = |pixels: f32| (pixels * 65_536.0) as i32;
    let (ax, ay) = (fixed(along.0), fixed(along.1));
    let (first, side) = ((PROFILE as i32 - 1) * 32_768, (LINES - 1) * 32_768);
    let corner = |centre: usize, across: i32, along: i32| {
        let reach = i64::from(across) * i64::from(first) + i64::from(along) * i64::from(side);
        (((centre + MARGIN) as i32) << 16) + 32_768 - (reach >> 16) as i32
    };
    let (mut x, mut y) = (corner(centre.0, -ay, ax), corner(centre.1, ax, ay));
    for total in &mut profile {
        let (mut sx, mut sy, mut sum) = (x, y, 0_u32);
        for _ in 0..LINES {
            sum += u32::from(image.at((sx >> 16) as usize, (sy >> 16) as usize));
            (sx, sy) = (sx + ax, sy + ay);
        }
        *total = sum as f32;
        (x, y) = (x - ay, y + ax);
    }
    let mean = profile.iter().sum::<f32>() / PROFILE as f32;
    profile.iter_mut().for_each(|value| *value -= mean);
    let mut correlation = [0.0_f32; MAX_LAG + 1];
    for (lag, value) in correlation.iter_mut().enumerate() {
        let sum: f32 = profile.iter().zip(&profile[lag..]).map(|(a, b)| a * b).sum();
        *value = sum / (PROFILE - lag) as f32;
    }
    let zero = correlation[0];
    if zero < 25.0 {
        return None;
    }
    let fall = correlation.iter().position(|&value| value < 0.0)?;
    let peak = (fall..MAX_LAG)
        .filter(|&lag| lag > 0 && correlation[lag] >= correlation[lag - 1] && correlation[lag] >= correlation[lag + 1])
        .find(|&lag| correlation[lag] > MIN_PERIODICITY * zero)?;
    let (before, at, after) = (correlation[peak - 1], correlation[peak], correlation[peak + 1]);
    let bend = before - 2.0 * at + after;
    let shift = if bend < 0.0 { (before - after) / (2.0 * bend) } else { 0.0 };
    let period = peak as f32 + shift.clamp(-0.5, 0.5);
    (MIN_PERIOD..=MAX_PERIOD).contains(&period).then(|| (period, (at / zero).min(1.0)))
}
