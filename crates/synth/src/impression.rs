//! Pictures of a finger on a sensor.

use crate::flow::smoothstep;
use crate::growth::RidgeMap;
use crate::placement::Placement;
use crate::random::{Smooth, Stream};

/// An 8-bit grey image, rows from the top, dark ridges on a light ground.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pixels per inch; always 500.
    pub dpi: u16,
    /// `width * height` grey values, 0 black.
    pub pixels: Vec<u8>,
}

/// How much impressions of a finger differ. The default makes the "default synthetic impressions" on
/// which thresholds and quality are calibrated.
#[derive(Clone, Debug, PartialEq)]
pub struct ImpressionOptions {
    /// Width of the image, pixels.
    pub width: u32,
    /// Height of the image, pixels.
    pub height: u32,
    /// Deviation of the rotation, degrees; never turned beyond ±20.
    pub rotation_deg: f32,
    /// Deviation of the shift along each axis, pixels.
    pub translation_px: f32,
    /// Elastic distortion: 0 none, 1 usual.
    pub distortion: f32,
    /// How far pressure and moisture stray towards wet or dry: 0 never, 1 usual.
    pub moisture: f32,
    /// Speckle, spots and scratches: 0 none, 1 usual.
    pub noise: f32,
    /// How partial the contact can get: 0 whole pad, 1 usual.
    pub partial: f32,
}

impl Default for ImpressionOptions {
    fn default() -> Self {
        Self {
            width: 300,
            height: 400,
            rotation_deg: 8.0,
            translation_px: 8.0,
            distortion: 1.0,
            moisture: 1.0,
            noise: 1.0,
            partial: 1.0,
        }
    }
}

/// Step of the grid on which placement and pressure are worked out, pixels.
const STEP: usize = 8;

/// What one impression has the same everywhere.
struct Touch {
    /// Height above which skin prints: below 0 wet and broad ridges, above 0 dry and thin ones.
    threshold: f32,
    grain: f32,
    ink: f32,
    valley: f32,
    ground: f32,
    sensor_noise: f32,
}

impl Touch {
    fn draw(options: &ImpressionOptions, s: &mut Stream) -> Self {
        let moisture = options.moisture * s.normal();
        Self {
            threshold: (0.32 * moisture).clamp(-0.6, 0.55),
            // Dry skin prints in dots.
            grain: options.noise * (0.51 + 0.22 * moisture.clamp(-1.0, 1.7)) * s.between(0.8, 1.4),
            ink: s.between(45.0, 85.0) + 12.0 * moisture,
            valley: s.between(185.0, 215.0),
            ground: s.between(222.0, 242.0),
            sensor_noise: options.noise * s.between(2.0, 5.0),
        }
    }
}

/// Values on the grid: finger point, contact, local change of the threshold.
#[derive(Clone, Copy)]
struct Node {
    u: f32,
    v: f32,
    contact: f32,
    wetness: f32,
}

pub(crate) fn render(ridges: &RidgeMap, options: &ImpressionOptions, s: &mut Stream) -> Image {
    let (width, height) = (options.width as usize, options.height as usize);
    let placement = Placement::draw(options, s);
    let touch = Touch::draw(options, s);
    let wetness = Smooth::new(s, (0.0, 0.0), (width as f32, height as f32), 45.0);
    let grid = Grid::new(width, height, |x, y| {
        let (u, v) = placement.to_finger(x, y);
        Node { u, v, contact: placement.contact(u, v), wetness: wetness.at(x, y) }
    });
    let grain = speckle(width, height, s);
    let mut prints = vec![0.0f32; width * height];
    for y in 0..height {
        for x in 0..width {
            let node = grid.at(x, y);
            if node.contact > 0.0 {
                prints[y * width + x] = print(ridges, &touch, options, node, grain[y * width + x]);
            }
        }
    }
    soil(&mut prints, width, height, options, s);
    let mut grey = vec![0.0f32; width * height];
    for y in 0..height {
        for x in 0..width {
            let node = grid.at(x, y);
            let skin = smoothstep(node.contact * 2.5);
            let valley = touch.ground + (touch.valley + 7.0 * node.wetness - touch.ground) * skin;
            grey[y * width + x] = valley + (touch.ink - valley) * prints[y * width + x];
        }
    }
    blur(&mut grey, width, height);
    let pixels = grey.iter().map(|g| (g + touch.sensor_noise * s.normal()).clamp(0.0, 255.0) as u8).collect();
    Image { width: options.width, height: options.height, dpi: 500, pixels }
}

/// Share of ink, 0 to 1, where the skin has contact.
fn print(ridges: &RidgeMap, touch: &Touch, options: &ImpressionOptions, node: Node, grain: f32) -> f32 {
    let light = 1.0 - smoothstep(node.contact);
    let threshold = touch.threshold + 0.28 * options.moisture * node.wetness + 0.35 * light;
    let height = ridges.at(node.u, node.v) - threshold + touch.grain * grain;
    smoothstep(height / 0.9 + 0.5) * smoothstep(node.contact * 8.0)
}

/// Spots that do not print, blots that do, and scratches.
fn soil(prints: &mut [f32], width: usize, height: usize, options: &ImpressionOptions, s: &mut Stream) {
    let (w, h) = (width as f32, height as f32);
    let count = |s: &mut Stream, most: f32| (options.noise * most * s.unit()) as usize;
    for _ in 0..count(s, 60.0) {
        let centre = (s.unit() * w, s.unit() * h);
        let radius = s.between(1.0, 3.2);
        let keep = s.between(0.0, 0.5);
        stroke(prints, (width, height), centre, centre, radius, |ink| ink * keep);
    }
    for _ in 0..count(s, 14.0) {
        let centre = (s.unit() * w, s.unit() * h);
        let radius = s.between(1.0, 2.4);
        stroke(prints, (width, height), centre, centre, radius, |ink| if ink > 0.0 { ink.max(0.8) } else { ink });
    }
    for _ in 0..count(s, 4.5) {
        let from = (s.unit() * w, s.unit() * h);
        let angle = s.between(0.0, std::f32::consts::PI);
        let length = s.between(25.0, 110.0);
        let to = (from.0 + length * libm::cosf(angle), from.1 + length * libm::sinf(angle));
        let keep = s.between(0.05, 0.5);
        let radius = 0.6 + 2.4 * s.unit() * s.unit();
        stroke(prints, (width, height), from, to, radius, |ink| ink * keep);
    }
}

/// Changes all pixels within `radius` of the line between two points.
fn stroke(
    pixels: &mut [f32],
    (width, height): (usize, usize),
    from: (f32, f32),
    to: (f32, f32),
    radius: f32,
    change: impl Fn(f32) -> f32,
) {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let square = (dx * dx + dy * dy).max(1e-6);
    let range = |a: f32, b: f32, most: usize| {
        let low = (a.min(b) - radius).max(0.0) as usize;
        low.min(most)..((a.max(b) + radius + 1.0).max(0.0) as usize).min(most)
    };
    for y in range(from.1, to.1, height) {
        for x in range(from.0, to.0, width) {
            let (px, py) = (x as f32 - from.0, y as f32 - from.1);
            let along = ((px * dx + py * dy) / square).clamp(0.0, 1.0);
            let (ex, ey) = (px - along * dx, py - along * dy);
            if ex * ex + ey * ey <= radius * radius {
                let pixel = &mut pixels[y * width + x];
                *pixel = change(*pixel);
            }
        }
    }
}

/// Fine noise of deviation about 1 whose dots are two to three pixels wide.
fn speckle(width: usize, height: usize, s: &mut Stream) -> Vec<f32> {
    let mut noise: Vec<f32> = (0..width * height).map(|_| 2.3 * s.normal()).collect();
    blur(&mut noise, width, height);
    noise
}

/// Blurs with the weights 1 2 1 along both axes.
fn blur(pixels: &mut [f32], width: usize, height: usize) {
    for row in pixels.chunks_exact_mut(width) {
        let mut before = row[0];
        for x in 0..width {
            let here = row[x];
            let after = row[(x + 1).min(width - 1)];
            row[x] = (before + 2.0 * here + after) / 4.0;
            before = here;
        }
    }
    let mut before = pixels[..width].to_vec();
    for y in 0..height {
        let (head, tail) = pixels.split_at_mut((y + 1) * width);
        let row = &mut head[y * width..];
        for x in 0..width {
            let here = row[x];
            let after = tail.get(x).copied().unwrap_or(here);
            row[x] = (before[x] + 2.0 * here + after) / 4.0;
            before[x] = here;
        }
    }
}

/// Nodes every [`STEP`] pixels, joined bilinearly.
struct Grid {
    nodes: Vec<Node>,
    columns: usize,
}

impl Grid {
    fn new(width: usize, height: usize, node: impl Fn(f32, f32) -> Node) -> Self {
        let (columns, rows) = (width / STEP + 2, height / STEP + 2);
        let at = |i: usize| node((i % columns * STEP) as f32, (i / columns * STEP) as f32);
        Self { nodes: (0..columns * rows).map(at).collect(), columns }
    }

    fn at(&self, x: usize, y: usize) -> Node {
        let (column, row) = (x / STEP, y / STEP);
        let (fx, fy) = ((x % STEP) as f32 / STEP as f32, (y % STEP) as f32 / STEP as f32);
        let above = &self.nodes[row * self.columns + column..][..2];
        let below = &self.nodes[(row + 1) * self.columns + column..][..2];
        above[0].mix(above[1], fx).mix(below[0].mix(below[1], fx), fy)
    }
}

impl Node {
    fn mix(self, other: Self, t: f32) -> Self {
        let mix = |a: f32, b: f32| a + (b - a) * t;
        Self {
            u: mix(self.u, other.u),
            v: mix(self.v, other.v),
            contact: mix(self.contact, other.contact),
            wetness: mix(self.wetness, other.wetness),
        }
    }
}
