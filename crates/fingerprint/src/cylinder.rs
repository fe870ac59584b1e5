//! Local descriptors: binary minutia cylinders (Cappelli, Ferrara & Maltoni 2010).
//!
//! Around each minutia, in its own frame, 8 × 8 places × 6 directions say whether the neighbouring
//! minutiae support one there. Two cylinders compare with a handful of word operations.

use std::f32::consts::TAU;
use std::sync::OnceLock;

use crate::template::{Minutia, MinutiaKind, Template};

/// Most minutiae used for comparing; the strongest are taken.
pub(crate) const MAX_COMPARED: usize = 60;
/// Direction sections of a cylinder, one word of 8 × 8 places each.
pub(crate) const SECTIONS: usize = 6;

const PLACES: usize = 8;
/// Radius of a cylinder in pixels.
const RADIUS: f32 = 70.0;
/// Widths of the support of a neighbour: pixels, and radians.
const PLACE_SIGMA: f32 = 9.3;
const DIRECTION_SIGMA: f32 = 0.7;
/// Support above which a bit is set, relative to a neighbour exactly in the cell.
const SUPPORT: f32 = 0.4;

/// One cylinder.
pub(crate) type Cylinder = [u64; SECTIONS];

/// The minutiae of a template and their cylinders, one array for each property.
///
/// At most 60 × 56 bytes.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) x: Vec<i16>,
    pub(crate) y: Vec<i16>,
    pub(crate) direction: Vec<u8>,
    pub(crate) quality: Vec<u8>,
    pub(crate) bifurcation: Vec<bool>,
    pub(crate) cylinders: Vec<Cylinder>,
    /// Set bits of each cylinder; 0 marks one with too few neighbours to be compared.
    pub(crate) weight: Vec<u16>,
}

impl Prepared {
    pub(crate) fn new(template: &Template) -> Self {
        let strongest = template.minutiae();
        let mut chosen: Vec<Minutia> = strongest[..strongest.len().min(MAX_COMPARED)].to_vec();
        chosen.sort_unstable();
        let cylinders: Vec<Cylinder> = (0..chosen.len()).map(|i| cylinder(&chosen, i)).collect();
        let weight = cylinders.iter().map(usable_weight).collect();
        Self {
            x: chosen.iter().map(|m| m.x as i16).collect(),
            y: chosen.iter().map(|m| m.y as i16).collect(),
            direction: chosen.iter().map(|m| m.direction).collect(),
            quality: chosen.iter().map(|m| m.quality).collect(),
            bifurcation: chosen.iter().map(|m| m.kind == MinutiaKind::Bifurcation).collect(),
            cylinders,
            weight,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.x.len()
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.x.zeroize();
        self.y.zeroize();
        self.direction.zeroize();
        self.quality.zeroize();
        self.cylinders.zeroize();
        self.weight.zeroize();
    }
}

/// Least set bits of a cylinder worth comparing: about two neighbours.
const MIN_WEIGHT: u32 = 10;

fn usable_weight(cylinder: &Cylinder) -> u16 {
    let bits: u32 = cylinder.iter().map(|word| word.count_ones()).sum();
    if bits >= MIN_WEIGHT { bits as u16 } else { 0 }
}

fn cylinder(minutiae: &[Minutia], centre: usize) -> Cylinder {
    let own = &minutiae[centre];
    let angle = f32::from(own.direction) * TAU / 256.0;
    let (sin, cos) = angle.sin_cos();
    let mut support = [[0.0_f32; PLACES * PLACES]; SECTIONS];
    let reach = RADIUS + 3.0 * PLACE_SIGMA;
    let pitch = 2.0 * RADIUS / PLACES as f32;
    for (index, other) in minutiae.iter().enumerate() {
        let dx = f32::from(other.x) - f32::from(own.x);
        // The frame has y up, as directions have.
        let dy = f32::from(own.y) - f32::from(other.y);
        if index == centre || dx * dx + dy * dy > reach * reach {
            continue;
        }
        let (along, across) = (dx * cos + dy * sin, dy * cos - dx * sin);
        let sections = &direction_support()[usize::from(other.direction.wrapping_sub(own.direction))];
        for place in 0..PLACES * PLACES {
            let (px, py) = place_centre(place, pitch);
            let squared = (px - along).powi(2) + (py - across).powi(2);
            if squared > (3.0 * PLACE_SIGMA).powi(2) || px * px + py * py > RADIUS * RADIUS {
                continue;
            }
            let near = (-squared / (2.0 * PLACE_SIGMA * PLACE_SIGMA)).exp();
            for (total, share) in support.iter_mut().zip(sections) {
                total[place] += near * share;
            }
        }
    }
    let mut bits = [0_u64; SECTIONS];
    for (word, totals) in bits.iter_mut().zip(&support) {
        for (place, total) in totals.iter().enumerate() {
            *word |= u64::from(*total > SUPPORT) << place;
        }
    }
    bits
}

fn place_centre(place: usize, pitch: f32) -> (f32, f32) {
    let middle = (PLACES as f32 - 1.0) / 2.0;
    (((place % PLACES) as f32 - middle) * pitch, ((place / PLACES) as f32 - middle) * pitch)
}

/// How much a direction difference (1/256 turn) supports each section, 1 at a section's centre.
fn direction_support() -> &'static [[f32; SECTIONS]; 256] {
    static TABLE: OnceLock<Box<[[f32; SECTIONS]; 256]>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Box::new([[0.0; SECTIONS]; 256]);
        for (difference, row) in table.iter_mut().enumerate() {
            for (section, value) in row.iter_mut().enumerate() {
                let offset = difference as f32 / 256.0 - section as f32 / SECTIONS as f32;
                let folded = (offset - offset.round()) * TAU;
                *value = section_mass(folded) / section_mass(0.0);
            }
        }
        table
    })
}

/// Share of a Gaussian at `offset` that falls into a section around 0 (numeric integral).
fn section_mass(offset: f32) -> f32 {
    const STEPS: usize = 24;
    let width = TAU / SECTIONS as f32;
    (0..STEPS)
        .map(|i| {
            let t = ((i as f32 + 0.5) / STEPS as f32 - 0.5) * width - offset;
            (-t * t / (2.0 * DIRECTION_SIGMA * DIRECTION_SIGMA)).exp()
        })
        .sum()
}

/// Bits in which two cylinders differ.
#[inline]
pub(crate) fn distance(a: &Cylinder, b: &Cylinder) -> u32 {
    // Full adders fold six words into four population counts.
    let d = [a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3], a[4] ^ b[4], a[5] ^ b[5]];
    let (ones_a, twos_a) = (d[0] ^ d[1] ^ d[2], d[0] & d[1] | d[2] & (d[0] | d[1]));
    let (ones_b, twos_b) = (d[3] ^ d[4] ^ d[5], d[3] & d[4] | d[5] & (d[3] | d[4]));
    let (ones, carry) = (ones_a ^ ones_b, ones_a & ones_b);
    let twos = twos_a ^ twos_b ^ carry;
    let fours = twos_a & twos_b | carry & (twos_a | twos_b);
    ones.count_ones() + 2 * twos.count_ones() + 4 * fours.count_ones()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_population_count_equals_the_plain_one() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        for _ in 0..500 {
            let a: Cylinder = std::array::from_fn(|_| next());
            let b: Cylinder = std::array::from_fn(|_| next());
            let plain: u32 = a.iter().zip(&b).map(|(x, y)| (x ^ y).count_ones()).sum();
            assert_eq!(distance(&a, &b), plain);
        }
    }
}
