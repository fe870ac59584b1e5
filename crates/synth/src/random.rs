//! Seeded randomness and smooth random fields, equal on every platform.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::Seed;

/// What a stream of randomness is for; streams of different domains are independent.
#[derive(Clone, Copy)]
pub(crate) enum Domain {
    Flow = 1,
    Growth = 2,
    Impression = 3,
    Template = 4,
    TemplateImpression = 5,
    Negative = 6,
}

/// A deterministic source of random numbers.
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of one purpose, finger and impression.
    pub(crate) fn new(seed: Seed, domain: Domain, finger: u32, impression: u32) -> Self {
        let mut key = [0; 32];
        let words = [seed.0, domain as u64, u64::from(finger), u64::from(impression)];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in 0..1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform between two bounds.
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// About normal with mean 0 and deviation 1, never beyond ±3.5 (a sum of four uniform bytes pairs).
    pub(crate) fn normal(&mut self) -> f32 {
        let bits = self.0.next_u64();
        let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
        (sum as f32 / 65_535.0 - 2.0) * 1.732_050_8
    }
}

/// A smooth random field: normal values on a grid, joined by smoothstep. Deviation about 1 at the nodes.
pub(crate) struct Smooth {
    values: Vec<f32>,
    columns: usize,
    rows: usize,
    spacing: f32,
    origin: (f32, f32),
}

impl Smooth {
    /// A field over the rectangle from `from` to `to`, constant outside it.
    pub(crate) fn new(stream: &mut Stream, from: (f32, f32), to: (f32, f32), spacing: f32) -> Self {
        let columns = ((to.0 - from.0) / spacing) as usize + 2;
        let rows = ((to.1 - from.1) / spacing) as usize + 2;
        let values = (0..columns * rows).map(|_| stream.normal()).collect();
        // A random phase of the grid keeps its nodes from lying at the same place in every field.
        let phase = (stream.unit() * 0.5 * spacing, stream.unit() * 0.5 * spacing);
        Self { values, columns, rows, spacing, origin: (from.0 - phase.0, from.1 - phase.1) }
    }

    /// The field's value at a point.
    pub(crate) fn at(&self, x: f32, y: f32) -> f32 {
        let (column, fx) = cell((x - self.origin.0) / self.spacing, self.columns);
        let (row, fy) = cell((y - self.origin.1) / self.spacing, self.rows);
        let above = &self.values[row * self.columns + column..][..2];
        let below = &self.values[(row + 1) * self.columns + column..][..2];
        let top = above[0] + (above[1] - above[0]) * fx;
        let bottom = below[0] + (below[1] - below[0]) * fx;
        top + (bottom - top) * fy
    }
}

fn cell(position: f32, nodes: usize) -> (usize, f32) {
    let clamped = position.clamp(0.0, (nodes - 1) as f32 - 0.001);
    let index = clamped as usize;
    let f = clamped - index as f32;
    (index, f * f * (3.0 - 2.0 * f))
}
