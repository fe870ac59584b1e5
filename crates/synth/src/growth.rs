//! The ridge map: grown from spots by filters tuned to the local orientation and period.

use std::f32::consts::{PI, TAU};
use std::sync::OnceLock;

use crate::flow::{Flow, HALF_HEIGHT, HALF_WIDTH, PERIOD_MAX, PERIOD_MIN};
use crate::period::Periods;
use crate::random::Stream;

/// Rows of a filter; a row has one cell more, zero, so that rows fill whole vector registers.
const TAPS: usize = 15;
const ROW: usize = 16;
const RADIUS: usize = TAPS / 2;
const ORIENTATIONS: usize = 64;
const PERIODS: usize = 20;
/// Deviation of the filter's envelope, pixels.
const ENVELOPE: f32 = 3.0;
/// Spots from which ridges grow; more spots meet in more minutiae.
const SPOTS: usize = 600;
/// Rounds with strong filters, enough for the fronts to meet everywhere.
const GROW_ROUNDS: usize = 15;
/// Rounds with soft filters, in which ridges even out.
const SETTLE_ROUNDS: usize = 6;
/// Side of the squares by which untouched skin is skipped, pixels.
const BLOCK: usize = 8;

type Filter = [f32; TAPS * ROW];

/// Ridges of a finger: 1 on a ridge's crest, -1 in a valley, 0 outside the skin.
pub(crate) struct RidgeMap {
    stride: usize,
    rows: usize,
    heights: Vec<f32>,
}

impl RidgeMap {
    /// Grows the ridges that `flow` describes.
    pub(crate) fn grow(flow: &Flow, stream: &mut Stream) -> Self {
        let stride = 2 * HALF_WIDTH as usize + 2 * BLOCK;
        let rows = 2 * HALF_HEIGHT as usize + 2 * BLOCK;
        let mut map = Self { stride, rows, heights: vec![0.0; stride * rows] };
        let plan = map.plan(flow);
        map.plant(stream);
        let mut next = map.heights.clone();
        for _ in 0..GROW_ROUNDS {
            map.round(&plan, &mut next, 3.0);
        }
        for _ in 0..SETTLE_ROUNDS {
            map.round(&plan, &mut next, 1.4);
        }
        map.round(&plan, &mut next, 0.95);
        map
    }

    /// Height of the skin at a point of the finger frame.
    pub(crate) fn at(&self, x: f32, y: f32) -> f32 {
        let (u, v) = (x + (self.stride / 2) as f32, y + (self.rows / 2) as f32);
        if u < 0.0 || v < 0.0 {
            return 0.0;
        }
        let (column, row) = (u as usize, v as usize);
        if column + 1 >= self.stride || row + 1 >= self.rows {
            return 0.0;
        }
        let (fx, fy) = (u - column as f32, v - row as f32);
        let above = &self.heights[row * self.stride + column..][..2];
        let below = &self.heights[(row + 1) * self.stride + column..][..2];
        let top = above[0] + (above[1] - above[0]) * fx;
        let bottom = below[0] + (below[1] - below[0]) * fx;
        top + (bottom - top) * fy
    }

    /// The filter of each pixel; `u16::MAX` outside the skin.
    fn plan(&self, flow: &Flow) -> Vec<u16> {
        let periods = Periods::of(flow);
        let mut plan = vec![u16::MAX; self.stride * self.rows];
        for row in BLOCK..self.rows - BLOCK {
            let y = row as f32 - (self.rows / 2) as f32;
            for column in BLOCK..self.stride - BLOCK {
                let x = column as f32 - (self.stride / 2) as f32;
                let (ex, ey) = (x / HALF_WIDTH, y / HALF_HEIGHT);
                // A superellipse: fuller than an ellipse, as a finger pad is.
                if ex * ex * ex * ex * 0.4 + ex * ex * 0.6 + ey * ey * ey * ey * 0.4 + ey * ey * 0.6 > 1.0 {
                    continue;
                }
                plan[row * self.stride + column] = filter_index(flow.orientation(x, y), periods.at(x, y));
            }
        }
        plan
    }

    fn plant(&mut self, stream: &mut Stream) {
        for _ in 0..SPOTS {
            let x = stream.between(-0.7, 0.7) * HALF_WIDTH + (self.stride / 2) as f32;
            let y = stream.between(-0.7, 0.7) * HALF_HEIGHT + (self.rows / 2) as f32;
            let sign = if stream.chance(0.5) { 1.0 } else { -1.0 };
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                self.heights[(y as usize + dy) * self.stride + x as usize + dx] = sign;
            }
        }
    }

    /// One round of filtering of everything that ridges have reached.
    fn round(&mut self, plan: &[u16], next: &mut Vec<f32>, gain: f32) {
        let filters = filters();
        let touched = self.touched();
        let columns = self.stride / BLOCK;
        for row in BLOCK..self.rows - BLOCK {
            for block in 1..columns - 1 {
                if !touched[row / BLOCK * columns + block] {
                    continue;
                }
                for column in block * BLOCK..(block + 1) * BLOCK {
                    let at = row * self.stride + column;
                    if let Some(filter) = filters.get(usize::from(plan[at])) {
                        let corner = (row - RADIUS) * self.stride + column - RADIUS;
                        next[at] = (gain * apply(filter, &self.heights[corner..], self.stride)).clamp(-1.0, 1.0);
                    }
                }
            }
        }
        std::mem::swap(&mut self.heights, next);
    }

    /// Blocks that a ridge lies in or beside.
    fn touched(&self) -> Vec<bool> {
        let (columns, rows) = (self.stride / BLOCK, self.rows / BLOCK);
        let mut alive = vec![false; columns * rows];
        for (index, height) in self.heights.iter().enumerate() {
            if height.abs() > 0.02 {
                alive[index / self.stride / BLOCK * columns + index % self.stride / BLOCK] = true;
            }
        }
        let mut touched = vec![false; columns * rows];
        for row in 1..rows - 1 {
            for column in 1..columns - 1 {
                let near = |r: usize| alive[r * columns + column - 1..=r * columns + column + 1].contains(&true);
                touched[row * columns + column] = near(row - 1) || near(row) || near(row + 1);
            }
        }
        touched
    }
}

fn apply(filter: &Filter, corner: &[f32], stride: usize) -> f32 {
    // Sixteen running sums, added up last: one order on every platform, and it vectorises.
    let mut sums = [0.0f32; ROW];
    for (weights, row) in filter.chunks_exact(ROW).zip(corner.chunks(stride)) {
        for ((sum, weight), height) in sums.iter_mut().zip(weights).zip(&row[..ROW]) {
            *sum += weight * height;
        }
    }
    let (low, high) = sums.split_at(ROW / 2);
    low.iter().zip(high).map(|(a, b)| a + b).sum()
}

fn filter_index(orientation: f32, period: f32) -> u16 {
    let turn = orientation / PI;
    let half_turn = turn - libm::floorf(turn);
    let angle = (half_turn * ORIENTATIONS as f32 + 0.5) as usize % ORIENTATIONS;
    let step = (PERIOD_MAX - PERIOD_MIN) / (PERIODS - 1) as f32;
    let size = ((period - PERIOD_MIN) / step + 0.5) as usize;
    (angle * PERIODS + size.min(PERIODS - 1)) as u16
}

/// All filters; the table is the same for every finger.
fn filters() -> &'static [Filter] {
    static FILTERS: OnceLock<Vec<Filter>> = OnceLock::new();
    FILTERS.get_or_init(|| (0..ORIENTATIONS * PERIODS).map(filter).collect())
}

/// A Gabor filter without response to even brightness, of gain 1 for its own wave.
fn filter(index: usize) -> Filter {
    let angle = (index / PERIODS) as f32 * PI / ORIENTATIONS as f32;
    let period = PERIOD_MIN + (index % PERIODS) as f32 * (PERIOD_MAX - PERIOD_MIN) / (PERIODS - 1) as f32;
    // Across the ridges; rows run downwards while angles are counter-clockwise as seen.
    let (nx, ny) = (libm::sinf(angle), libm::cosf(angle));
    let mut envelope = [0.0; TAPS * ROW];
    let mut wave = [0.0; TAPS * ROW];
    for row in 0..TAPS {
        for column in 0..TAPS {
            let (dx, dy) = (column as f32 - RADIUS as f32, row as f32 - RADIUS as f32);
            envelope[row * ROW + column] = libm::expf(-(dx * dx + dy * dy) / (2.0 * ENVELOPE * ENVELOPE));
            wave[row * ROW + column] = libm::cosf(TAU * (dx * nx + dy * ny) / period);
        }
    }
    let weight: f32 = envelope.iter().sum();
    let mean = envelope.iter().zip(&wave).map(|(e, w)| e * w).sum::<f32>() / weight;
    let mut filter = [0.0; TAPS * ROW];
    for ((out, e), w) in filter.iter_mut().zip(&envelope).zip(&wave) {
        *out = e * (w - mean);
    }
    let gain: f32 = filter.iter().zip(&wave).map(|(f, w)| f * w).sum();
    filter.map(|f| f / gain)
}
