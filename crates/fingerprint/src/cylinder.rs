//! Local descriptors: binary minutia cylinders (Cappelli, Ferrara & Maltoni 2010).
//!
//! Around each minutia, in its own frame, 48 places × 5 directions say whether the neighbouring
//! minutiae support one there. Two cylinders compare with a handful of word operations.

use std::f32::consts::TAU;
use std::sync::OnceLock;

use crate::prepared::CYLINDER_WORDS;
use crate::template::Minutia;

/// Direction sections of a cylinder.
const SECTIONS: usize = 5;
/// Places of a section: those of an 8 × 8 grid inside the circle, without the four at its centre, where
/// a second minutia is mostly a fault of the extraction.
const PLACES: usize = 48;
const GRID: usize = 8;
/// Sections in a cell's memory, filled up with zeros so that they are added in whole registers.
const LANES: usize = 8;
/// Distance of two cells' middles, pixels, and of the first cell's from the cylinder's, in cells.
const PITCH: f32 = 2.0 * RADIUS / GRID as f32;
const MIDDLE: f32 = (GRID as f32 - 1.0) / 2.0;
/// Radius of a cylinder in pixels.
const RADIUS: f32 = 75.0;
/// Widths of the support of a neighbour: pixels, and radians.
const PLACE_SIGMA: f32 = 10.5;
const DIRECTION_SIGMA: f32 = 0.7;

/// Support above which a bit is set, relative to a neighbour exactly in the cell.
const SUPPORT: f32 = 0.25;
/// Distance beyond which a neighbour's support is taken as none, pixels.
const FAR: f32 = 3.0 * PLACE_SIGMA;

/// One cylinder; 240 bits are used.
pub(crate) type Cylinder = [u64; CYLINDER_WORDS];

/// The cylinder of one of `minutiae`, and how many of its bits are set.
pub(crate) fn cylinder(minutiae: &[Minutia], own: &Minutia) -> (Cylinder, u32) {
    let tables = tables();
    let (sin, cos) = tables.sin_cos[usize::from(own.direction)];
    let mut support = [[0.0_f32; LANES]; GRID * GRID];
    let reach = RADIUS + FAR;
    for other in minutiae {
        let dx = f32::from(other.x) - f32::from(own.x);
        // The frame has y up, as directions have.
        let dy = f32::from(own.y) - f32::from(other.y);
        if other == own || dx * dx + dy * dy > reach * reach {
            continue;
        }
        let (along, across) = (dx * cos + dy * sin, dy * cos - dx * sin);
        let sections = &tables.direction[usize::from(other.direction.wrapping_sub(own.direction))];
        let (columns, column_support) = near(along, tables);
        let (rows, row_support) = near(across, tables);
        for row in rows {
            for column in columns.clone() {
                let near = row_support[row] * column_support[column];
                for (total, share) in support[row * GRID + column].iter_mut().zip(sections) {
                    *total += near * share;
                }
            }
        }
    }
    let mut words = [0_u64; CYLINDER_WORDS];
    for (place, &cell) in tables.places.iter().enumerate() {
        for (section, total) in support[usize::from(cell)].iter().take(SECTIONS).enumerate() {
            let bit = section * PLACES + place;
            words[bit / 64] |= u64::from(*total > SUPPORT) << (bit % 64);
        }
    }
    (words, words.iter().map(|word| word.count_ones()).sum())
}

/// The columns (or rows) that a neighbour at this distance along the axis supports, and how much.
fn near(at: f32, tables: &Tables) -> (std::ops::Range<usize>, [f32; GRID]) {
    // Cell c has its middle at (c - 3.5) pitches.
    let cell = |distance: f32| (distance / PITCH + MIDDLE).clamp(-1.0, GRID as f32);
    let first = (cell(at - FAR) + 1.0) as usize;
    let last = (cell(at + FAR) + 1.0) as usize;
    let columns = first.min(GRID)..last.min(GRID);
    let mut support = [0.0; GRID];
    for column in columns.clone() {
        let off = (column as f32 - MIDDLE) * PITCH - at;
        support[column] = tables.near[((off * off * NEAR_STEPS) as usize).min(NEAR_LEN - 1)];
    }
    (columns, support)
}

/// Steps of the table of support for a square pixel of squared distance.
const NEAR_STEPS: f32 = 2.0;
const NEAR_LEN: usize = (FAR * FAR * NEAR_STEPS) as usize + 1;

struct Tables {
    sin_cos: [(f32, f32); 256],
    /// Cell of each place.
    places: [u8; PLACES],
    /// Support along one axis by squared distance.
    near: [f32; NEAR_LEN],
    /// How much a direction difference (1/256 turn) supports each section, 1 at a section's centre.
    direction: [[f32; LANES]; 256],
}

/// Sine and cosine of each direction.
pub(crate) fn sin_cos(direction: u8) -> (f32, f32) {
    tables().sin_cos[usize::from(direction)]
}

fn tables() -> &'static Tables {
    static TABLES: OnceLock<Box<Tables>> = OnceLock::new();
    TABLES.get_or_init(|| {
        let turn = |index: usize| index as f32 / 256.0 * TAU;
        let mut places = [0; PLACES];
        let inside = (0..GRID * GRID).filter(|cell| {
            let (x, y) = ((cell % GRID) as f32 - MIDDLE, (cell / GRID) as f32 - MIDDLE);
            (1.0..=16.0).contains(&(x * x + y * y))
        });
        for (place, cell) in places.iter_mut().zip(inside) {
            *place = cell as u8;
        }
        Box::new(Tables {
            sin_cos: std::array::from_fn(|index| turn(index).sin_cos()),
            places,
            near: std::array::from_fn(|step| {
                (-(step as f32 + 0.5) / NEAR_STEPS / (2.0 * PLACE_SIGMA * PLACE_SIGMA)).exp()
            }),
            direction: std::array::from_fn(|difference| {
                std::array::from_fn(|section| {
                    if section >= SECTIONS {
                        return 0.0;
                    }
                    let offset = difference as f32 / 256.0 - section as f32 / SECTIONS as f32;
                    section_mass((offset - offset.round()) * TAU) / section_mass(0.0)
                })
            }),
        })
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
