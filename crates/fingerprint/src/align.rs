//! Rigid motions between two sets of minutiae.

use std::f32::consts::TAU;

use crate::cylinder::Prepared;

/// A minutia of the probe (`a`) with one of the candidate (`b`).
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) a: u8,
    pub(crate) b: u8,
    pub(crate) weight: f32,
}

/// A rotation and a shift that carry probe positions onto candidate positions (image axes, y down).
#[derive(Clone, Copy)]
pub(crate) struct Motion {
    cos: f32,
    sin: f32,
    dx: f32,
    dy: f32,
    turn: u8,
}

impl Motion {
    /// The motion that carries one minutia exactly onto the other.
    pub(crate) fn of_pair(a: &Prepared, b: &Prepared, pair: &Pair) -> Self {
        let (i, j) = (usize::from(pair.a), usize::from(pair.b));
        let turn = b.direction[j].wrapping_sub(a.direction[i]);
        // Directions count with y up, positions have y down: the rotation runs the other way.
        let angle = -f32::from(turn) * TAU / 256.0;
        let from = (f32::from(a.x[i]), f32::from(a.y[i]));
        Self::about(angle.cos(), angle.sin(), from, (f32::from(b.x[j]), f32::from(b.y[j])))
    }

    fn about(cos: f32, sin: f32, from: (f32, f32), to: (f32, f32)) -> Self {
        let turns = (-sin).atan2(cos) / TAU;
        Self {
            cos,
            sin,
            dx: to.0 - (cos * from.0 - sin * from.1),
            dy: to.1 - (sin * from.0 + cos * from.1),
            turn: ((turns * 256.0).round() as i32).rem_euclid(256) as u8,
        }
    }

    /// Rotation in 1/256 turn, to be added to probe directions.
    pub(crate) fn turn(&self) -> u8 {
        self.turn
    }

    /// Where a probe position lands.
    #[inline]
    pub(crate) fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.cos * x - self.sin * y + self.dx, self.sin * x + self.cos * y + self.dy)
    }

    /// The inverse of [`place`](Self::place).
    fn place_back(&self, x: f32, y: f32) -> (f32, f32) {
        let (x, y) = (x - self.dx, y - self.dy);
        (self.cos * x + self.sin * y, self.cos * y - self.sin * x)
    }

    /// Support of a pair for this motion, 0 where it lands elsewhere. Tolerance grows with the
    /// distance from the seed, as skin stretches.
    pub(crate) fn agreement(&self, a: &Prepared, b: &Prepared, pair: &Pair, seed: &Pair) -> f32 {
        let (i, j) = (usize::from(pair.a), usize::from(pair.b));
        let (x, y) = self.place(f32::from(a.x[i]), f32::from(a.y[i]));
        let (dx, dy) = (x - f32::from(b.x[j]), y - f32::from(b.y[j]));
        let seed_b = usize::from(seed.b);
        let apart = (f32::from(b.x[j]) - f32::from(b.x[seed_b])).hypot(f32::from(b.y[j]) - f32::from(b.y[seed_b]));
        let tolerance = 7.0 + 0.13 * apart;
        let difference = a.direction[i].wrapping_add(self.turn).wrapping_sub(b.direction[j]);
        let off = difference.min(difference.wrapping_neg());
        if dx * dx + dy * dy > tolerance * tolerance || off > 20 { 0.0 } else { pair.weight }
    }

    /// The rigid motion of least weighted squares over the pairs.
    pub(crate) fn refined(&self, a: &Prepared, b: &Prepared, pairs: &[Pair]) -> Self {
        let (mut weight, mut ax, mut ay, mut bx, mut by) = (0.0, 0.0, 0.0, 0.0, 0.0);
        let at = |p: &Prepared, i: u8| (f32::from(p.x[usize::from(i)]), f32::from(p.y[usize::from(i)]));
        for pair in pairs {
            let (from, to) = (at(a, pair.a), at(b, pair.b));
            weight += pair.weight;
            ax += pair.weight * from.0;
            ay += pair.weight * from.1;
            bx += pair.weight * to.0;
            by += pair.weight * to.1;
        }
        if weight <= 0.0 {
            return *self;
        }
        let (from, to) = ((ax / weight, ay / weight), (bx / weight, by / weight));
        let (mut dot, mut cross) = (0.0, 0.0);
        for pair in pairs {
            let (p, q) = (at(a, pair.a), at(b, pair.b));
            let (px, py, qx, qy) = (p.0 - from.0, p.1 - from.1, q.0 - to.0, q.1 - to.1);
            dot += pair.weight * (px * qx + py * qy);
            cross += pair.weight * (px * qy - py * qx);
        }
        let length = f32::hypot(dot, cross);
        if length < 1e-3 {
            return *self;
        }
        Self::about(dot / length, cross / length, from, to)
    }

    /// Minutiae of each side that lie in the other's area (its bounding box, slightly widened).
    pub(crate) fn common(&self, a: &Prepared, b: &Prepared) -> (usize, usize) {
        let box_b = bounds(b);
        let box_a = bounds(a);
        let inside = |(x, y): (f32, f32), area: &[f32; 4]| x >= area[0] && x <= area[1] && y >= area[2] && y <= area[3];
        let in_b = (0..a.len()).filter(|&i| inside(self.place(f32::from(a.x[i]), f32::from(a.y[i])), &box_b)).count();
        let in_a =
            (0..b.len()).filter(|&j| inside(self.place_back(f32::from(b.x[j]), f32::from(b.y[j])), &box_a)).count();
        (in_b, in_a)
    }
}

fn bounds(side: &Prepared) -> [f32; 4] {
    let margin = 8.0;
    let span = |values: &[i16]| {
        let low = values.iter().copied().min().unwrap_or(0);
        let high = values.iter().copied().max().unwrap_or(0);
        (f32::from(low) - margin, f32::from(high) + margin)
    };
    let ((left, right), (top, bottom)) = (span(&side.x), span(&side.y));
    [left, right, top, bottom]
}
