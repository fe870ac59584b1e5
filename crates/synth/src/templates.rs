//! Minutiae without images, for large galleries.

use std::f32::consts::{PI, TAU};

use crate::Seed;
use crate::flow::{Flow, HALF_HEIGHT, HALF_WIDTH};
use crate::impression::ImpressionOptions;
use crate::placement::Placement;
use crate::random::{Domain, Stream};

/// What a ridge does at a minutia.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SynthKind {
    /// The ridge stops.
    Ending,
    /// The ridge forks.
    Bifurcation,
}

/// A minutia of a made-up finger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynthMinutia {
    /// Pixels from the left edge at 500 dpi.
    pub x: u16,
    /// Pixels from the top edge at 500 dpi.
    pub y: u16,
    /// Direction in 1/256 of a turn, counter-clockwise from the positive x axis as seen on the image, along the
    /// ridge that ends or the valley that ends between two branches.
    pub direction: u8,
    /// Ending or bifurcation.
    pub kind: SynthKind,
}

/// Least distance of two minutiae of a finger, pixels.
const APART: f32 = 9.0;
/// Fewest and most minutiae of an impression.
const COUNT: std::ops::RangeInclusive<usize> = 25..=60;
/// Share of the visible minutiae that an extractor misses.
const MISSED: f32 = 0.12;

/// Width and height, pixels, of the image in which [`template_minutiae`] places its minutiae.
pub fn template_size() -> (u16, u16) {
    let options = ImpressionOptions::default();
    (options.width as u16, options.height as u16)
}

/// 25 to 60 minutiae of impression `impression` of finger `index`, as an extractor would find them:
/// placed and distorted like default impressions, some missed, some false, positions and directions uncertain.
///
/// Statistically like a finger, but not the minutiae of the images of [`finger`](crate::finger), whose
/// ridges would have to be grown first.
pub fn template_minutiae(seed: Seed, index: u32, impression: u32) -> Vec<SynthMinutia> {
    let flow = Flow::of(seed, index);
    let master = master_minutiae(&flow, seed, index);
    let s = &mut Stream::new(seed, Domain::TemplateImpression, index, impression);
    let placement = Placement::draw(&ImpressionOptions::default(), s);
    let turn = placement.turn();
    let mut found = Vec::with_capacity(master.len());
    let mut hidden = Vec::new();
    for m in &master {
        let visible = placement.contact(m.u, m.v) > 0.1 && !s.chance(MISSED);
        let (x, y) = placement.to_image(m.u, m.v);
        let noisy =
            Spot { u: x + 1.1 * s.normal(), v: y + 1.1 * s.normal(), angle: m.angle + turn + 0.09 * s.normal(), ..*m };
        // Pressure turns endings into bifurcations and back.
        let noisy = if s.chance(0.1) { noisy.flipped() } else { noisy };
        match noisy.on_image() {
            Some(minutia) if visible => found.push(minutia),
            Some(minutia) => hidden.push(minutia),
            None => {}
        }
    }
    let false_ones = (s.unit() * 4.0) as usize;
    let missing = COUNT.start().saturating_sub(found.len());
    found.extend(hidden.into_iter().take(missing));
    while found.len() < *COUNT.start() || (found.len() < *COUNT.end() && found.len() % 8 < false_ones) {
        let (u, v) = (s.between(-0.6, 0.6) * HALF_WIDTH, s.between(-0.6, 0.6) * HALF_HEIGHT);
        let (x, y) = placement.to_image(u, v);
        let spot = Spot::draw(&flow, u, v, s);
        found.extend(Spot { u: x, v: y, angle: spot.angle + turn, ..spot }.on_image());
        if found.len() >= *COUNT.start() && s.chance(0.5) {
            break;
        }
    }
    found.truncate(*COUNT.end());
    found
}

/// A minutia in real numbers.
#[derive(Clone, Copy)]
struct Spot {
    u: f32,
    v: f32,
    angle: f32,
    kind: SynthKind,
}

impl Spot {
    fn draw(flow: &Flow, u: f32, v: f32, s: &mut Stream) -> Self {
        let half_turn = if s.chance(0.5) { PI } else { 0.0 };
        let kind = if s.chance(0.58) { SynthKind::Ending } else { SynthKind::Bifurcation };
        Self { u, v, angle: flow.orientation(u, v) + half_turn, kind }
    }

    fn flipped(self) -> Self {
        let kind = match self.kind {
            SynthKind::Ending => SynthKind::Bifurcation,
            SynthKind::Bifurcation => SynthKind::Ending,
        };
        Self { kind, ..self }
    }

    fn on_image(self) -> Option<SynthMinutia> {
        let (width, height) = template_size();
        let inside = (0.0..f32::from(width)).contains(&self.u) && (0.0..f32::from(height)).contains(&self.v);
        let turns = self.angle / TAU;
        let direction = ((turns - libm::floorf(turns)) * 256.0) as u16 as u8;
        inside.then_some(SynthMinutia { x: self.u as u16, y: self.v as u16, direction, kind: self.kind })
    }
}

/// The minutiae of the whole pad, denser around loops and deltas as on real fingers.
fn master_minutiae(flow: &Flow, seed: Seed, index: u32) -> Vec<Spot> {
    let s = &mut Stream::new(seed, Domain::Template, index, 0);
    let wanted = s.between(66.0, 104.0) as usize;
    let mut spots: Vec<Spot> = Vec::with_capacity(wanted);
    // Far more tries than needed: the loop is bounded even if the pad were crowded.
    for _ in 0..wanted * 12 {
        let (u, v) = (s.between(-1.0, 1.0) * HALF_WIDTH, s.between(-1.0, 1.0) * HALF_HEIGHT);
        let (ex, ey) = (u / HALF_WIDTH, v / HALF_HEIGHT);
        let square = |(px, py): (f32, f32)| (u - px) * (u - px) + (v - py) * (v - py);
        let near = flow.singularities().map(square).fold(f32::MAX, f32::min);
        let density = 0.5 + 0.5 * libm::expf(-near / (2.0 * 45.0 * 45.0));
        let crowded = spots.iter().any(|m| (m.u - u) * (m.u - u) + (m.v - v) * (m.v - v) < APART * APART);
        if ex * ex + ey * ey > 1.0 || crowded || !s.chance(density) {
            continue;
        }
        spots.push(Spot::draw(flow, u, v, s));
        if spots.len() == wanted {
            break;
        }
    }
    spots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_hold_25_to_60_minutiae_inside_the_image() {
        let (width, height) = template_size();
        let mut total = 0;
        for index in 0..500 {
            let minutiae = template_minutiae(Seed(5), index, index % 3);
            assert!(COUNT.contains(&minutiae.len()), "{} minutiae", minutiae.len());
            assert!(minutiae.iter().all(|m| m.x < width && m.y < height));
            total += minutiae.len();
        }
        assert!((33..50).contains(&(total / 500)), "{} on average", total / 500);
    }

    #[test]
    fn templates_follow_from_their_arguments() {
        let of = |seed, index, impression| template_minutiae(Seed(seed), index, impression);
        assert!(of(1, 2, 3) == of(1, 2, 3));
        assert!(of(1, 2, 3) != of(1, 2, 4));
        assert!(of(1, 2, 3) != of(1, 3, 3));
        assert!(of(1, 2, 3) != of(2, 2, 3));
    }

    /// Most minutiae of one impression that lie on minutiae of another after the best shift and turn.
    fn common(a: &[SynthMinutia], b: &[SynthMinutia]) -> usize {
        let turned = |m: &SynthMinutia, degrees: f32| {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let (x, y) = (f32::from(m.x) - 150.0, f32::from(m.y) - 200.0);
            (cos * x + sin * y, cos * y - sin * x, f32::from(m.direction) + degrees * 256.0 / 360.0)
        };
        let meet = |p: (f32, f32, f32), q: (f32, f32, f32), shift: (f32, f32)| {
            let turn = (p.2 - q.2).rem_euclid(256.0);
            let near = (p.0 - q.0 - shift.0).abs() < 9.0 && (p.1 - q.1 - shift.1).abs() < 9.0;
            near && !(24.0..232.0).contains(&turn)
        };
        let b: Vec<_> = b.iter().map(|m| turned(m, 0.0)).collect();
        let mut best = 0;
        for degrees in (-36..=36).step_by(4) {
            let a: Vec<_> = a.iter().map(|m| turned(m, degrees as f32)).collect();
            for (p, q) in a.iter().flat_map(|p| b.iter().map(move |q| (p, q))) {
                let shift = (p.0 - q.0, p.1 - q.1);
                best = best.max(a.iter().filter(|p| b.iter().any(|q| meet(**p, *q, shift))).count());
            }
        }
        best
    }

    #[test]
    fn impressions_of_one_finger_share_minutiae_and_fingers_do_not() {
        let first = template_minutiae(Seed(11), 0, 0);
        let share = |other: &[SynthMinutia]| common(&first, other) as f32 / first.len().min(other.len()) as f32;
        let same = share(&template_minutiae(Seed(11), 0, 1));
        let others = (1..4).map(|index| share(&template_minutiae(Seed(11), index, 0))).fold(0.0, f32::max);
        assert!(same > 0.6, "{same}");
        assert!(others < same - 0.1, "{others} against {same}");
    }
}
