//! The distance between ridges, fitted to their orientation.
//!
//! Where ridges fan out they must either widen or multiply. A period that ignored the orientation would force
//! minutiae of one direction upon the same places of every finger of a class, and fingers would resemble each
//! other far more than real ones do. So the period follows the fanning as far as natural limits allow: along
//! a ridge the logarithm of the period changes by the turn of the orientation across it.

use std::f32::consts::PI;

use crate::flow::{Flow, HALF_HEIGHT, HALF_WIDTH, PERIOD_MAX, PERIOD_MIN};

/// Distance of the nodes, pixels.
const STEP: f32 = 8.0;
const COLUMNS: usize = (2.0 * HALF_WIDTH / STEP) as usize + 2;
const ROWS: usize = (2.0 * HALF_HEIGHT / STEP) as usize + 2;
/// Enough for a change to cross the pad.
const ROUNDS: usize = 160;
/// Weight of evenness and of the finger's own period against that of the fanning.
const EVEN: f32 = 0.05;
const OWN: f32 = 0.006;
/// Greatest change of the logarithm of the period along a ridge, per pixel; fanning beyond it makes minutiae.
const SLOPE_MAX: f32 = 0.018;

/// Ridge periods of a finger on a grid over its pad.
pub(crate) struct Periods(Vec<f32>);

/// What the relaxation needs at a node.
struct Node {
    /// The points one step along the ridge either way, in grid units, with the change of the logarithm
    /// from there to here; none beyond the grid.
    neighbours: [Option<((f32, f32), f32)>; 2],
    /// Logarithm of the period the finger would have if its ridges ran side by side.
    own: f32,
}

impl Periods {
    /// Relaxes the logarithms of the periods until they agree with the flow.
    pub(crate) fn of(flow: &Flow) -> Self {
        let nodes: Vec<Node> = (0..COLUMNS * ROWS).map(|i| Node::new(flow, i % COLUMNS, i / COLUMNS)).collect();
        let mut logs: Vec<f32> = nodes.iter().map(|n| n.own).collect();
        let (low, high) = (libm::logf(PERIOD_MIN), libm::logf(PERIOD_MAX));
        for _ in 0..ROUNDS {
            let relaxed = nodes.iter().enumerate().map(|(i, n)| {
                let (mut sum, mut weight) = (EVEN * around(&logs, i) + OWN * n.own, EVEN + OWN);
                for &(point, change) in n.neighbours.iter().flatten() {
                    sum += 0.5 * (sample(&logs, point) + change);
                    weight += 0.5;
                }
                (sum / weight).clamp(low, high)
            });
            logs = relaxed.collect();
        }
        Self(logs.into_iter().map(libm::expf).collect())
    }

    /// Period at a point of the finger frame, pixels.
    pub(crate) fn at(&self, x: f32, y: f32) -> f32 {
        sample(&self.0, ((x + HALF_WIDTH) / STEP, (y + HALF_HEIGHT) / STEP))
    }
}

impl Node {
    fn new(flow: &Flow, column: usize, row: usize) -> Self {
        let (x, y) = (column as f32 * STEP - HALF_WIDTH, row as f32 * STEP - HALF_HEIGHT);
        let angle = flow.orientation(x, y);
        let (dx, dy) = (libm::cosf(angle), -libm::sinf(angle));
        let neighbour = |way: f32| {
            let point = (column as f32 + way * dx, row as f32 + way * dy);
            let inside =
                (0.0..=(COLUMNS - 1) as f32).contains(&point.0) && (0.0..=(ROWS - 1) as f32).contains(&point.1);
            let (mx, my) = (x + 0.5 * way * STEP * dx, y + 0.5 * way * STEP * dy);
            inside.then(|| (point, -way * STEP * fanning(flow, mx, my, angle)))
        };
        Self { neighbours: [neighbour(1.0), neighbour(-1.0)], own: libm::logf(flow.period(x, y)) }
    }
}

/// Turn of the orientation per pixel across a ridge, seen along `ahead`: how fast ridges must widen that way.
fn fanning(flow: &Flow, x: f32, y: f32, ahead: f32) -> f32 {
    let angle = flow.orientation(x, y);
    let across = (-libm::sinf(angle), -libm::cosf(angle));
    let reach = 3.0;
    let left = flow.orientation(x + reach * across.0, y + reach * across.1);
    let right = flow.orientation(x - reach * across.0, y - reach * across.1);
    let half_turns = (left - right) / PI;
    let turn = (half_turns - libm::roundf(half_turns)) * PI / (2.0 * reach);
    // The orientation in between may be told the other way round.
    let same_way = libm::cosf(angle - ahead).signum();
    same_way * turn.clamp(-SLOPE_MAX, SLOPE_MAX)
}

/// Mean of the four neighbours of a node, fewer at the border.
fn around(logs: &[f32], index: usize) -> f32 {
    let (column, row) = (index % COLUMNS, index / COLUMNS);
    let left = logs[row * COLUMNS + column.saturating_sub(1)];
    let right = logs[row * COLUMNS + (column + 1).min(COLUMNS - 1)];
    let above = logs[row.saturating_sub(1) * COLUMNS + column];
    let below = logs[(row + 1).min(ROWS - 1) * COLUMNS + column];
    (left + right + above + below) / 4.0
}

/// Bilinear value at a point in grid units.
fn sample(grid: &[f32], (x, y): (f32, f32)) -> f32 {
    let (x, y) = (x.clamp(0.0, (COLUMNS - 1) as f32 - 0.001), y.clamp(0.0, (ROWS - 1) as f32 - 0.001));
    let (column, row) = (x as usize, y as usize);
    let (fx, fy) = (x - column as f32, y - row as f32);
    let above = &grid[row * COLUMNS + column..][..2];
    let below = &grid[(row + 1) * COLUMNS + column..][..2];
    let top = above[0] + (above[1] - above[0]) * fx;
    let bottom = below[0] + (below[1] - below[0]) * fx;
    top + (bottom - top) * fy
}
