//! Rigid motions between two sets of minutiae.

use crate::cylinder::sin_cos;
use crate::prepared::Side;

/// A minutia of the probe (`a`) with one of the candidate (`b`).
#[derive(Clone, Copy, Default)]
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
    pub(crate) fn of_pair(a: &Side<'_>, b: &Side<'_>, pair: &Pair) -> Self {
        let turn = b.direction[usize::from(pair.b)].wrapping_sub(a.direction[usize::from(pair.a)]);
        // Directions count with y up, positions have y down: the rotation runs the other way.
        let (sin, cos) = sin_cos(turn.wrapping_neg());
        Self::about((cos, sin), turn, a.at(pair.a), b.at(pair.b))
    }

    fn about((cos, sin): (f32, f32), turn: u8, from: (f32, f32), to: (f32, f32)) -> Self {
        Self { cos, sin, dx: to.0 - (cos * from.0 - sin * from.1), dy: to.1 - (sin * from.0 + cos * from.1), turn }
    }

    /// Rotation in 1/256 turn, to be added to probe directions.
    pub(crate) fn turn(&self) -> u8 {
        self.turn
    }

    /// Where a probe position lands.
    #[inline]
    pub(crate) fn place(&self, (x, y): (f32, f32)) -> (f32, f32) {
        (self.cos * x - self.sin * y + self.dx, self.sin * x + self.cos * y + self.dy)
    }

    /// The inverse of [`place`](Self::place).
    #[inline]
    pub(crate) fn place_back(&self, (x, y): (f32, f32)) -> (f32, f32) {
        let (x, y) = (x - self.dx, y - self.dy);
        (self.cos * x + self.sin * y, self.cos * y - self.sin * x)
    }

    /// The rigid motion of least weighted squares over the pairs.
    pub(crate) fn refined(&self, a: &Side<'_>, b: &Side<'_>, pairs: &[Pair]) -> Self {
        let (mut weight, mut ax, mut ay, mut bx, mut by) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for pair in pairs {
            let (from, to) = (a.at(pair.a), b.at(pair.b));
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
        let (mut dot, mut cross) = (0.0_f32, 0.0_f32);
        for pair in pairs {
            let (p, q) = (a.at(pair.a), b.at(pair.b));
            let (px, py, qx, qy) = (p.0 - from.0, p.1 - from.1, q.0 - to.0, q.1 - to.1);
            dot += pair.weight * (px * qx + py * qy);
            cross += pair.weight * (px * qy - py * qx);
        }
        let length = (dot * dot + cross * cross).sqrt();
        if length < 1e-3 {
            return *self;
        }
        let (cos, sin) = (dot / length, cross / length);
        Self::about((cos, sin), nearest_turn(cos, sin, self.turn), from, to)
    }
}

/// The turn whose direction is nearest to the rotation, looked for around a turn that is close to it.
fn nearest_turn(cos: f32, sin: f32, near: u8) -> u8 {
    let along = |turn: u8| {
        let (s, c) = sin_cos(turn.wrapping_neg());
        c * cos + s * sin
    };
    let mut best = near;
    for step in [32_u8, 8, 2, 1] {
        // Uphill on one hump; each step size is walked to its top, at most half a turn away.
        for _ in 0..8 {
            let (up, down) = (best.wrapping_add(step), best.wrapping_sub(step));
            if along(up) > along(best) {
                best = up;
            } else if along(down) > along(best) {
                best = down;
            } else {
                break;
            }
        }
    }
    best
}

/// Difference of two directions in 1/256 turn, at most 128.
#[inline]
pub(crate) fn turn_distance(a: u8, b: u8) -> u8 {
    let difference = a.wrapping_sub(b);
    difference.min(difference.wrapping_neg())
}
