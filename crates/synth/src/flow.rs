//! Pattern classes, orientation and ridge period over the skin.
//!
//! Finger frame: origin in the middle of the pad, x to the right, y downwards as in images, pixels at
//! 500 dpi. Angles are counter-clockwise as seen, in radians.

use std::f32::consts::PI;

use crate::Seed;
use crate::random::{Domain, Smooth, Stream};

/// Half the width of the skin that has a ridge map, pixels.
pub(crate) const HALF_WIDTH: f32 = 168.0;
/// Half the height of the skin that has a ridge map, pixels.
pub(crate) const HALF_HEIGHT: f32 = 216.0;
/// Least ridge period, pixels.
pub(crate) const PERIOD_MIN: f32 = 6.5;
/// Greatest ridge period, pixels.
pub(crate) const PERIOD_MAX: f32 = 13.0;

/// The class of a ridge pattern, after Henry. Left and right as seen on the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PatternClass {
    /// Ridges rise in the middle and go on: no loop, no delta.
    Arch,
    /// An arch with an upright ridge in its middle: a loop right above a delta.
    TentedArch,
    /// A loop that opens to the lower left.
    LeftLoop,
    /// A loop that opens to the lower right.
    RightLoop,
    /// Ridges around a centre; two deltas.
    Whorl,
    /// Two loops that wind around each other; two deltas.
    DoubleLoop,
}

impl PatternClass {
    /// Every class with its share among human fingers (Wilson, Candela and Watson 1994; double loops
    /// taken out of the whorls).
    pub const SHARES: [(Self, f32); 6] = [
        (Self::Arch, 0.037),
        (Self::TentedArch, 0.029),
        (Self::LeftLoop, 0.338),
        (Self::RightLoop, 0.317),
        (Self::Whorl, 0.229),
        (Self::DoubleLoop, 0.050),
    ];

    fn draw(stream: &mut Stream) -> Self {
        let mut left = stream.unit();
        for (class, share) in Self::SHARES {
            if left < share {
                return class;
            }
            left -= share;
        }
        Self::Whorl
    }
}

/// Orientation and period of the ridges of one finger.
pub(crate) struct Flow {
    class: PatternClass,
    loops: Points,
    deltas: Points,
    /// For each loop, the direction in which it opens, radians.
    openings: Vec<f32>,
    narrowness: f32,
    centre: (f32, f32),
    arch_height: f32,
    tip_bend: f32,
    twist: f32,
    wobble: Smooth,
    period: f32,
    period_change: Smooth,
}

impl Flow {
    /// The flow of one finger of a set.
    pub(crate) fn of(seed: Seed, finger: u32) -> Self {
        let mut stream = Stream::new(seed, Domain::Flow, finger, 0);
        let s = &mut stream;
        let class = PatternClass::draw(s);
        let centre = (s.between(-18.0, 18.0), s.between(-52.0, -8.0));
        let (loops, deltas) = singular_points(class, centre, s);
        let twist = match class {
            PatternClass::DoubleLoop => (if s.chance(0.5) { 1.0 } else { -1.0 }) * s.between(0.75, 1.25),
            PatternClass::Whorl => s.between(-0.45, 0.45),
            _ => 0.0,
        };
        let (from, to) = ((-HALF_WIDTH, -HALF_HEIGHT), (HALF_WIDTH, HALF_HEIGHT));
        let narrowness = match class {
            PatternClass::Whorl => s.between(0.1, 0.3),
            PatternClass::DoubleLoop => s.between(0.3, 0.5),
            _ => s.between(0.45, 0.9),
        };
        let mut flow = Self {
            class,
            openings: vec![],
            narrowness,
            loops,
            deltas,
            centre,
            arch_height: s.between(0.45, 0.95),
            tip_bend: s.between(0.4, 0.95),
            twist,
            wobble: Smooth::new(s, from, to, 72.0),
            period: s.between(8.0, 10.0),
            period_change: Smooth::new(s, from, to, 70.0),
        };
        // Beside a loop the orientation is half the polar angle plus this constant; where both agree it opens.
        flow.openings = flow.loops.iter().map(|&(x, y)| 2.0 * flow.orientation(x, y)).collect();
        flow
    }

    pub(crate) fn class(&self) -> PatternClass {
        self.class
    }

    /// The loops and deltas.
    pub(crate) fn singularities(&self) -> impl Iterator<Item = (f32, f32)> + '_ {
        self.loops.iter().chain(&self.deltas).copied()
    }

    /// Direction of the ridges at a point, modulo half a turn.
    pub(crate) fn orientation(&self, x: f32, y: f32) -> f32 {
        let pole = |&(px, py): &(f32, f32)| libm::atan2f(py - y, x - px);
        let turns = self.loops.iter().map(pole).sum::<f32>() - self.deltas.iter().map(pole).sum::<f32>();
        let (dx, dy) = (x - self.centre.0, y - self.centre.1);
        let bend = match self.class {
            PatternClass::Arch => self.arch(dx, dy),
            _ => self.tip(dx, dy),
        };
        let near = libm::expf(-(dx * dx + dy * dy) / (2.0 * 48.0 * 48.0));
        turns / 2.0 + bend + self.twist * near + self.narrow(x, y) + 0.16 * self.wobble.at(x, y)
    }

    /// Distance between neighbouring ridges at a point, pixels.
    pub(crate) fn period(&self, x: f32, y: f32) -> f32 {
        // Ridges are wider below the pattern than at the tip.
        let lower = 0.06 * (y / HALF_HEIGHT);
        (self.period * (1.0 + lower + 0.055 * self.period_change.at(x, y))).clamp(PERIOD_MIN, PERIOD_MAX)
    }

    /// Ridges of a natural loop run almost side by side below its bend, where the zero-pole model fans them
    /// out: turns them towards the direction in which the loop opens (in the spirit of Vizcaya and Gerhardt).
    fn narrow(&self, x: f32, y: f32) -> f32 {
        let correction = |(&(lx, ly), &opening): (&(f32, f32), &f32)| {
            let (dx, dy) = (x - lx, ly - y);
            let square = dx * dx + dy * dy;
            let reach = libm::expf(-square / (2.0 * 75.0 * 75.0));
            -0.5 * self.narrowness * reach * libm::sinf(libm::atan2f(dy, dx) - opening)
        };
        self.loops.iter().zip(&self.openings).map(correction).sum()
    }

    /// An arch: a wave that is highest at the pattern's centre and flattens below it.
    fn arch(&self, dx: f32, dy: f32) -> f32 {
        let across = libm::sinf((dx / 150.0).clamp(-1.0, 1.0) * PI / 2.0 * 1.6);
        let fade = 1.0 / (1.0 + libm::expf((dy - 75.0) / 28.0));
        let top = 0.75 + 0.25 * smoothstep((dy + 120.0) / 120.0);
        -libm::atanf(1.3 * self.arch_height * across * (0.12 + 0.88 * fade * top))
    }

    /// Above the pattern ridges follow the rounded tip, where the zero-pole model alone lays them flat.
    fn tip(&self, dx: f32, dy: f32) -> f32 {
        let height = smoothstep(-dy / 130.0);
        -self.tip_bend * height * libm::tanhf(dx / 85.0)
    }
}

/// Points of the finger frame, pixels.
type Points = Vec<(f32, f32)>;

/// The loops and the deltas of a class whose pattern turns at the given centre.
fn singular_points(class: PatternClass, (cx, cy): (f32, f32), s: &mut Stream) -> (Points, Points) {
    match class {
        PatternClass::Arch => (vec![], vec![]),
        PatternClass::TentedArch => {
            let delta = (cx + s.between(-6.0, 6.0), cy + s.between(60.0, 85.0));
            (vec![(cx, cy)], vec![delta])
        }
        PatternClass::LeftLoop => (vec![(cx, cy)], vec![(cx + s.between(45.0, 125.0), cy + s.between(60.0, 145.0))]),
        PatternClass::RightLoop => (vec![(cx, cy)], vec![(cx - s.between(45.0, 125.0), cy + s.between(60.0, 145.0))]),
        PatternClass::Whorl | PatternClass::DoubleLoop => {
            let apart = if class == PatternClass::Whorl { s.between(16.0, 44.0) } else { s.between(46.0, 66.0) };
            let lower = (cx + s.between(-8.0, 8.0), cy + apart);
            let left = (cx - s.between(62.0, 125.0), cy + s.between(75.0, 150.0));
            let right = (cx + s.between(62.0, 125.0), cy + s.between(75.0, 150.0));
            (vec![(cx, cy), lower], vec![left, right])
        }
    }
}

/// 0 below 0, 1 above 1, smooth between.
pub(crate) fn smoothstep(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_come_as_often_as_in_nature() {
        let total: f32 = PatternClass::SHARES.iter().map(|(_, share)| share).sum();
        assert!((total - 1.0).abs() < 1e-3);
        let fingers = 4_000;
        let classes: Vec<_> = (0..fingers).map(|index| Flow::of(Seed(9), index).class()).collect();
        for (class, share) in PatternClass::SHARES {
            let found = classes.iter().filter(|c| **c == class).count() as f32 / fingers as f32;
            assert!((found - share).abs() < 0.03, "{class:?}: {found} instead of {share}");
        }
    }

    #[test]
    fn the_orientation_turns_half_around_a_loop_and_back_around_a_delta() {
        let loops = |class| (0..400).map(|i| Flow::of(Seed(3), i)).find(|f| f.class() == class).unwrap();
        for (class, expected) in [(PatternClass::Arch, 0), (PatternClass::LeftLoop, 1), (PatternClass::Whorl, 2)] {
            let flow = loops(class);
            let turns = |points: &[(f32, f32)]| points.iter().map(|&p| half_turns(&flow, p)).sum::<i32>();
            assert_eq!(turns(&flow.loops), expected, "{class:?}");
            assert_eq!(turns(&flow.deltas), -expected, "{class:?}");
        }
    }

    /// Half turns of the orientation along a small circle around a point.
    fn half_turns(flow: &Flow, (x, y): (f32, f32)) -> i32 {
        let at = |i: i32| {
            let angle = i as f32 * PI / 60.0;
            flow.orientation(x + 4.0 * libm::cosf(angle), y - 4.0 * libm::sinf(angle)) / PI
        };
        let step = |i: i32| {
            let change = at(i + 1) - at(i);
            change - change.round()
        };
        (0..120).map(step).sum::<f32>().round() as i32
    }
}
