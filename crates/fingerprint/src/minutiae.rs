//! Minutiae from two skeletons: ridges that end are endings, valleys that end are bifurcations. With the usual false ones removed (Maltoni et al., Handbook of
//! Fingerprint Recognition, chapter 3: spurs, bridges, islands, breaks, border endings).

use std::f32::consts::{PI, TAU};

use crate::field::{Fields, length};
use crate::frequency::{MAX_PERIOD, Periods};
use crate::half::HALF_BLOCK;
use crate::plane::{BLOCK, Plane};
use crate::template::{Minutia, MinutiaKind};
use crate::thin::{MAX_WALK, Skeleton, Stop};

/// A minutia before rounding. The angle is in radians with image axes (y down).
#[derive(Clone, Copy)]
struct Found {
    x: f32,
    y: f32,
    angle: f32,
    kind: MinutiaKind,
    quality: f32,
    period: f32,
}

/// Local clarity of the ridges, 0 to 1, by block; `enhanced` is at half size.
pub(crate) fn clarity(enhanced: &Plane<f32>, fields: &Fields) -> Plane<f32> {
    let mut out = Plane::filled(fields.contrast.width, fields.contrast.height, 0.0_f32);
    for row in 0..out.height {
        for column in 0..out.width {
            if !fields.foreground.at(column, row) {
                continue;
            }
            let mut total = 0.0;
            for line in 0..HALF_BLOCK {
                let start = column * HALF_BLOCK;
                let cells = &enhanced.row(row * HALF_BLOCK + line)[start..start + HALF_BLOCK];
                total += cells.iter().map(|v| v * v).sum::<f32>();
            }
            let response = (total / (HALF_BLOCK * HALF_BLOCK) as f32).sqrt();
            let ratio = response / fields.contrast.at(column, row).max(4.0);
            out.set(column, row, (ratio / CLEAR_RESPONSE).min(1.0));
        }
    }
    out.blurred(0.8)
}

/// Filter response relative to the local contrast of a clean ridge pattern.
const CLEAR_RESPONSE: f32 = 0.6;

/// Lengths in ridge periods: side branches that are noise, the shortest line that is no island, the
/// widest gap of a broken ridge, and the distance below which two minutiae are one flaw.
const SPUR: f32 = 1.1;
const ISLAND: f32 = 1.5;
const GAP: f32 = 1.6;
const TOO_CLOSE: f32 = 0.3;
/// Pixels walked along a line to find its direction.
const TRACED: usize = 8;
/// Pixels of foreground needed around a minutia, and ahead of the line that ends in it.
const MARGIN: f32 = 10.0;
const AHEAD: f32 = 16.0;

/// All minutiae of an enhanced image, unordered.
pub(crate) fn find(enhanced: &Plane<f32>, fields: &Fields, periods: &Periods, clarity: &Plane<f32>) -> Vec<Minutia> {
    // What is a flaw is told by whole pixels; only what stays is placed between them.
    on_pixels(enhanced, fields, periods, clarity).iter().map(|found| rounded(&refined(enhanced, found))).collect()
}

fn on_pixels(enhanced: &Plane<f32>, fields: &Fields, periods: &Periods, clarity: &Plane<f32>) -> Vec<Found> {
    let mut found = Vec::new();
    for kind in [MinutiaKind::Ending, MinutiaKind::Bifurcation] {
        let mut skeleton = match kind {
            MinutiaKind::Ending => Skeleton::of(enhanced, |value| value < 0.0),
            MinutiaKind::Bifurcation => Skeleton::of(enhanced, |value| value > 0.0),
        };
        skeleton.prune((periods.median * SPUR) as usize);
        for (x, y, _) in skeleton.special().into_iter().filter(|special| special.2 == 1) {
            let Some(traced) = line_end(&skeleton, (x, y), periods) else { continue };
            let (fx, fy) = (x as f32, y as f32);
            if !well_inside(&fields.foreground, (fx, fy), traced) {
                continue;
            }
            let (bx, by) = crate::field::block_position(fx, fy);
            let angle = aligned(fields.angle_at(fx, fy), traced);
            let quality = clarity.between(bx, by) * fields.coherence.between(bx, by).sqrt();
            let period = periods.period.between(bx, by);
            found.push(Found { x: fx, y: fy, angle, kind, quality, period });
        }
    }
    drop_conflicting(&mut found);
    found
}

/// How far the end of a line is looked for from the skeleton's: pixels back along the line and beyond its end.
const END_BACK: f32 = 4.0;
const END_BEYOND: f32 = 6.0;
const END_STEP: f32 = 0.25;
/// How far it is moved at most: a crossing farther away may be a break in the line, or the next line.
const END_SHIFT_MAX: f32 = 2.0;
/// How far from the end the middle of the line is looked for, and how wide, in pixels.
const MIDDLE_BACK: f32 = 4.0;
const MIDDLE_SPAN: f32 = 2.0;
const MIDDLE_SHIFT_MAX: f32 = 1.5;

/// The minutia between pixels: across the line on the crest of the response, by a parabola through three values; along it
/// where the response first changes its sign, or as far as the skeleton reaches where it does not.
fn refined(enhanced: &Plane<f32>, found: &Found) -> Found {
    let sign = match found.kind {
        MinutiaKind::Ending => -1.0,
        MinutiaKind::Bifurcation => 1.0,
    };
    let (sin, cos) = (libm::sinf(found.angle), libm::cosf(found.angle));
    // Lengths count outwards from the end, and to the side.
    let place = |out: f32, side: f32| (found.x - out * cos - side * sin, found.y - out * sin + side * cos);
    let response = |out: f32, side: f32| {
        let (x, y) = place(out, side);
        sign * enhanced.between(x, y)
    };
    let beside = [-MIDDLE_SPAN, 0.0, MIDDLE_SPAN].map(|side| response(-MIDDLE_BACK, side));
    let bend = 2.0 * beside[1] - beside[0] - beside[2];
    let crest = 0.5 * MIDDLE_SPAN * (beside[2] - beside[0]) / bend;
    let side = if bend > 0.0 { crest.clamp(-MIDDLE_SHIFT_MAX, MIDDLE_SHIFT_MAX) } else { 0.0 };
    let (mut out, mut before) = (0.0, response(-END_BACK, side));
    for step in 1..=((END_BACK + END_BEYOND) / END_STEP) as u32 {
        let at = step as f32 * END_STEP - END_BACK;
        let here = response(at, side);
        if before > 0.0 && here <= 0.0 {
            out = (at - END_STEP * here / (here - before)).clamp(-END_SHIFT_MAX, END_SHIFT_MAX);
            break;
        }
        before = here;
    }
    let (x, y) = place(out, side);
    Found { x, y, ..*found }
}

fn rounded(found: &Found) -> Minutia {
    // The stored direction counts counter-clockwise with the y axis up.
    let turns = (-found.angle / TAU).rem_euclid(1.0);
    Minutia {
        x: found.x.round() as u16,
        y: found.y.round() as u16,
        direction: ((turns * 256.0).round() as u32 % 256) as u8,
        kind: found.kind,
        quality: (found.quality * 100.0).clamp(0.0, 100.0) as u8,
    }
}

/// The field's angle with the sense of the traced one, or the traced one where they disagree.
fn aligned(field: f32, traced: f32) -> f32 {
    let difference = turn_between(field, traced);
    if difference.abs() < PI / 4.0 {
        field
    } else if difference.abs() > 3.0 * PI / 4.0 {
        field + PI
    } else {
        traced
    }
}

/// `to - from` folded into −π to π.
fn turn_between(from: f32, to: f32) -> f32 {
    (to - from + PI).rem_euclid(TAU) - PI
}

/// Direction of the line at one of its ends, unless the line is an island.
fn line_end(skeleton: &Skeleton, at: (i32, i32), periods: &Periods) -> Option<f32> {
    let first = skeleton.exits(at.0, at.1).next()?;
    let walk = skeleton.walk(at, first, MAX_WALK);
    let points = walk.points();
    let needed = periods.median * ISLAND;
    if walk.stop == Stop::End && (points.len() as f32) < needed {
        return None;
    }
    let far = points.get(TRACED.min(points.len() - 1))?;
    let angle = libm::atan2f((far.1 - at.1) as f32, (far.0 - at.0) as f32);
    Some(angle)
}

/// Whether ridges surround the minutia and, for an ending, lie beyond it.
fn well_inside(mask: &Plane<bool>, at: (f32, f32), angle: f32) -> bool {
    let block = |x: f32, y: f32| {
        let (bx, by) = ((x / BLOCK as f32).floor() as i32, (y / BLOCK as f32).floor() as i32);
        mask.get(bx, by) == Some(true)
    };
    let around = [(MARGIN, 0.0), (-MARGIN, 0.0), (0.0, MARGIN), (0.0, -MARGIN)];
    let ahead = (at.0 - AHEAD * libm::cosf(angle), at.1 - AHEAD * libm::sinf(angle));
    around.iter().all(|(dx, dy)| block(at.0 + dx, at.1 + dy)) && block(ahead.0, ahead.1)
}

/// Removes pairs that are a broken ridge or lie closer together than ridges can.
fn drop_conflicting(found: &mut Vec<Found>) {
    let mut dropped = vec![false; found.len()];
    let mut near = Near::of(found);
    for (i, a) in found.iter().enumerate() {
        for j in near.before(a) {
            if is_conflict(a, &found[j]) {
                dropped[i] = true;
                dropped[j] = true;
            }
        }
        near.add(a, i);
    }
    let mut flags = dropped.into_iter();
    found.retain(|_| !flags.next().unwrap_or(false));
}

/// Whether `a` and `b`, which was found before it, are one flaw.
fn is_conflict(a: &Found, b: &Found) -> bool {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let distance = length(dx, dy);
    let period = (a.period + b.period) / 2.0;
    if distance > GAP * period {
        return false;
    }
    let opposed = turn_between(a.angle, b.angle).abs() > 0.75 * PI;
    // A gap in a ridge: both ends point away from the gap.
    let away = turn_between(libm::atan2f(dy, dx), b.angle).abs() < PI / 4.0;
    a.kind == b.kind && opposed && away || distance < TOO_CLOSE * period
}

/// Minutiae by squares as wide as the greatest gap, so that an image full of line ends takes no more than its area's time.
struct Near {
    columns: usize,
    squares: Vec<Vec<usize>>,
}

impl Near {
    const SIDE: f32 = GAP * MAX_PERIOD;

    fn of(found: &[Found]) -> Self {
        let last = |of: fn(&Found) -> f32| found.iter().map(|one| (of(one) / Self::SIDE) as usize).max().unwrap_or(0);
        let (columns, rows) = (last(|one| one.x) + 1, last(|one| one.y) + 1);
        Self { columns, squares: vec![Vec::new(); columns * rows] }
    }

    fn square(at: &Found) -> (usize, usize) {
        ((at.x / Self::SIDE) as usize, (at.y / Self::SIDE) as usize)
    }

    fn add(&mut self, at: &Found, index: usize) {
        let (column, row) = Self::square(at);
        self.squares[row * self.columns + column].push(index);
    }

    /// Those added so far in the square of `at` and the eight around it.
    fn before(&self, at: &Found) -> impl Iterator<Item = usize> {
        let (column, row) = Self::square(at);
        let last = (column + 1).min(self.columns - 1);
        let rows = row.saturating_sub(1)..=(row + 1).min(self.squares.len() / self.columns - 1);
        rows.flat_map(move |row| &self.squares[row * self.columns..][column.saturating_sub(1)..=last])
            .flatten()
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::{Impression, at_working_resolution};
    use crate::half::doubled;
    use crate::image::GreyImage;
    use ridgeline_synth::{ImpressionOptions, Seed, finger};

    /// Root of the mean squared distance from the mean.
    fn spread(places: &[(f32, f32)]) -> f32 {
        let count = places.len() as f32;
        let mean = |of: fn(&(f32, f32)) -> f32| places.iter().map(of).sum::<f32>() / count;
        let (x, y) = (mean(|place| place.0), mean(|place| place.1));
        (places.iter().map(|place| (place.0 - x).powi(2) + (place.1 - y).powi(2)).sum::<f32>() / count).sqrt()
    }

    /// Waves along y with one line that ends at a place: a turn of the phase around it (Larkin & Fletcher 2007).
    fn with_one_end(at: (f32, f32), period: f32) -> Plane<f32> {
        let mut plane = Plane::filled(96, 96, 0.0);
        for y in 0..96 {
            for x in 0..96 {
                let (dx, dy) = (x as f32 - at.0, y as f32 - at.1);
                plane.set(x, y, -(TAU * dy / period + libm::atan2f(dy, dx)).cos());
            }
        }
        plane
    }

    #[test]
    fn an_end_is_found_between_pixels() {
        for period in [7.0, 9.0, 12.0] {
            let (mut before, mut after) = (Vec::new(), Vec::new());
            for step in 0..100_u8 {
                let place = (47.0 + f32::from(step % 10) / 10.0, 47.0 + f32::from(step / 10) / 10.0);
                let plane = with_one_end(place, period);
                let skeleton = Skeleton::of(&plane, |value| value < 0.0);
                let near = |at: &(i32, i32, u8)| (at.0 - 47).abs() < 16 && (at.1 - 47).abs() < 16 && at.2 == 1;
                let ends: Vec<_> = skeleton.special().into_iter().filter(near).collect();
                for &(x, y, _) in &ends {
                    let (x, y) = (x as f32, y as f32);
                    // The line lies to the right.
                    let found = Found { x, y, angle: 0.0, kind: MinutiaKind::Ending, quality: 0.5, period };
                    let better = refined(&plane, &found);
                    before.push((x - place.0, y - place.1));
                    after.push((better.x - place.0, better.y - place.1));
                }
            }
            let (before, after, count) = (spread(&before), spread(&after), before.len());
            assert!(count >= 90 && after < 0.9 * before, "period {period}: {before} to {after} of {count}");
        }
    }

    #[test]
    fn impressions_of_a_finger_agree_better_between_pixels() {
        let options =
            ImpressionOptions { rotation_deg: 0.0, distortion: 0.0, noise: 0.5, ..ImpressionOptions::default() };
        let (mut before, mut after) = (0.0, 0.0);
        for index in 0..3 {
            let finger = finger(Seed(20_300), index);
            let views = [0, 1].map(|number| {
                let image = finger.impression(number, &options);
                let image = GreyImage::new(image.width, image.height, 500, image.pixels.clone()).unwrap();
                let plane = at_working_resolution(&image).unwrap();
                let (seen, enhanced) = Impression::of(&plane, 0, &mut |_| ()).unwrap();
                let enhanced = doubled(&enhanced);
                let found = on_pixels(&enhanced, &seen.fields, &seen.periods, &seen.clarity);
                found.iter().map(|found| (*found, refined(&enhanced, found))).collect::<Vec<_>>()
            });
            let off = |a: &Found, b: &Found| (b.x - a.x, b.y - a.y);
            // The shift between the impressions is the one that most minutiae share.
            let near = |p: (f32, f32), q: (f32, f32)| length(p.0 - q.0, p.1 - q.1) < 5.0;
            let shifts: Vec<_> = views[0].iter().flat_map(|a| views[1].iter().map(|b| off(&a.0, &b.0))).collect();
            let votes = |shift: &&(f32, f32)| shifts.iter().filter(|other| near(**shift, **other)).count();
            let shift = *shifts.iter().max_by_key(votes).unwrap();
            let pairs: Vec<_> = views[0]
                .iter()
                .flat_map(|a| views[1].iter().map(move |b| (a, b)))
                .filter(|(a, b)| a.0.kind == b.0.kind && near(off(&a.0, &b.0), shift))
                .collect();
            assert!(pairs.len() >= 8, "{} pairs", pairs.len());
            before += spread(&pairs.iter().map(|(a, b)| off(&a.0, &b.0)).collect::<Vec<_>>());
            after += spread(&pairs.iter().map(|(a, b)| off(&a.1, &b.1)).collect::<Vec<_>>());
        }
        assert!(after < 0.9 * before, "{before} to {after}");
    }

    fn scattered(seed: u32, count: usize, side: u32) -> Vec<Found> {
        let mut state = seed;
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) % below) as f32
        };
        (0..count)
            .map(|_| Found {
                x: next(side),
                y: next(side),
                angle: next(628) / 100.0,
                kind: if next(2) == 0.0 { MinutiaKind::Ending } else { MinutiaKind::Bifurcation },
                quality: 0.5,
                period: 4.5 + next(116) / 10.0,
            })
            .collect()
    }

    #[test]
    fn the_same_minutiae_stay_as_when_all_pairs_are_compared() {
        for (seed, count, side) in [(1, 0, 90), (2, 1, 90), (3, 300, 90), (4, 400, 700), (5, 60, 20)] {
            let all = scattered(seed, count, side);
            let later = |i: usize| (i + 1..count).any(|k| is_conflict(&all[k], &all[i]));
            let kept = (0..count).filter(|&i| !later(i) && !(0..i).any(|j| is_conflict(&all[i], &all[j])));
            let expected: Vec<(f32, f32)> = kept.map(|i| (all[i].x, all[i].y)).collect();
            let mut found = all.clone();
            drop_conflicting(&mut found);
            assert_eq!(found.iter().map(|one| (one.x, one.y)).collect::<Vec<_>>(), expected, "{count} within {side}");
            assert!(side < 700 || (count / 4..count).contains(&found.len()), "some stay and some go");
        }
    }
}
