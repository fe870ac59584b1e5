//! Minutiae from two skeletons: ridges that end are endings, valleys that end are bifurcations. With the usual false ones removed (Maltoni et al., Handbook of
//! Fingerprint Recognition, chapter 3: spurs, bridges, islands, breaks, border endings).

use std::f32::consts::{PI, TAU};

use crate::field::Fields;
use crate::frequency::Periods;
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
    found.iter().map(rounded).collect()
}

fn rounded(found: &Found) -> Minutia {
    // The stored direction counts counter-clockwise with the y axis up.
    let turns = (-found.angle / TAU).rem_euclid(1.0);
    Minutia {
        x: found.x as u16,
        y: found.y as u16,
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
    let angle = ((far.1 - at.1) as f32).atan2((far.0 - at.0) as f32);
    Some(angle)
}

/// Whether ridges surround the minutia and, for an ending, lie beyond it.
fn well_inside(mask: &Plane<bool>, at: (f32, f32), angle: f32) -> bool {
    let block = |x: f32, y: f32| {
        let (bx, by) = ((x / BLOCK as f32).floor() as i32, (y / BLOCK as f32).floor() as i32);
        mask.get(bx, by) == Some(true)
    };
    let around = [(MARGIN, 0.0), (-MARGIN, 0.0), (0.0, MARGIN), (0.0, -MARGIN)];
    let ahead = (at.0 - AHEAD * angle.cos(), at.1 - AHEAD * angle.sin());
    around.iter().all(|(dx, dy)| block(at.0 + dx, at.1 + dy)) && block(ahead.0, ahead.1)
}

/// Removes pairs that are a broken ridge or lie closer together than ridges can.
fn drop_conflicting(found: &mut Vec<Found>) {
    let mut dropped = vec![false; found.len()];
    for i in 0..found.len() {
        for j in 0..i {
            let (a, b) = (found[i], found[j]);
            let (dx, dy) = (b.x - a.x, b.y - a.y);
            let distance = dx.hypot(dy);
            let period = (a.period + b.period) / 2.0;
            if distance > GAP * period {
                continue;
            }
            let opposed = turn_between(a.angle, b.angle).abs() > 0.75 * PI;
            let endings = a.kind == b.kind;
            // A gap in a ridge: both ends point away from the gap.
            let away = turn_between(dy.atan2(dx), b.angle).abs() < PI / 4.0;
            let broken = endings && opposed && away;
            if broken || distance < TOO_CLOSE * period {
                dropped[i] = true;
                dropped[j] = true;
            }
        }
    }
    let mut flags = dropped.into_iter();
    found.retain(|_| !flags.next().unwrap_or(false));
}
