//! Images that show no finger.

use std::f32::consts::PI;

use crate::Seed;
use crate::impression::Image;
use crate::random::{Domain, Smooth, Stream};

/// What an image shows instead of a finger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NonFinger {
    /// Soft light and shade, as a photograph out of focus.
    Gradient,
    /// Independent grey values.
    Noise,
    /// Lines of dark bars, as printed text.
    Text,
}

impl NonFinger {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Gradient, Self::Noise, Self::Text];
}

const WIDTH: usize = 300;
const HEIGHT: usize = 400;

/// An image of 300 × 400 pixels that is no fingerprint.
pub fn not_a_fingerprint(seed: Seed, kind: NonFinger) -> Image {
    let s = &mut Stream::new(seed, Domain::Negative, kind as u32, 0);
    let pixels = match kind {
        NonFinger::Gradient => gradient(s),
        NonFinger::Noise => (0..WIDTH * HEIGHT).map(|_| (s.unit() * 256.0) as u8).collect(),
        NonFinger::Text => text(s),
    };
    Image { width: WIDTH as u32, height: HEIGHT as u32, dpi: 500, pixels }
}

fn gradient(s: &mut Stream) -> Vec<u8> {
    let angle = s.between(0.0, 2.0 * PI);
    let (gx, gy) = (90.0 * libm::cosf(angle) / WIDTH as f32, 90.0 * libm::sinf(angle) / HEIGHT as f32);
    let shade = Smooth::new(s, (0.0, 0.0), (WIDTH as f32, HEIGHT as f32), 110.0);
    let mut pixels = Vec::with_capacity(WIDTH * HEIGHT);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let (fx, fy) = (x as f32, y as f32);
            let slope = gx * (fx - WIDTH as f32 / 2.0) + gy * (fy - HEIGHT as f32 / 2.0);
            let grey = 128.0 + slope + 28.0 * shade.at(fx, fy) + 1.5 * s.normal();
            pixels.push(grey.clamp(0.0, 255.0) as u8);
        }
    }
    pixels
}

fn text(s: &mut Stream) -> Vec<u8> {
    let mut pixels: Vec<u8> = (0..WIDTH * HEIGHT).map(|_| (238.0 + 3.0 * s.normal()) as u8).collect();
    for line in 0..HEIGHT / 22 - 1 {
        let top = 14 + 22 * line;
        let mut x = 16;
        while x + 14 < WIDTH - 16 {
            // A letter is an upright bar, often with a bar across; every sixth place is a gap between words.
            if !s.chance(0.17) {
                let across = top + [0, 6, 11][(s.unit() * 3.0) as usize];
                ink(&mut pixels, x..x + 3, top..top + 14);
                ink(&mut pixels, x..x + 8, across..across + 3);
            }
            x += 8 + (s.unit() * 6.0) as usize;
        }
    }
    pixels
}

fn ink(pixels: &mut [u8], columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) {
    for row in rows {
        pixels[row * WIDTH + columns.start..row * WIDTH + columns.end].fill(35);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_a_finger_have_the_size_of_impressions_and_differ() {
        let images = NonFinger::ALL.map(|kind| not_a_fingerprint(Seed(1), kind));
        for image in &images {
            assert_eq!((image.width, image.height, image.pixels.len()), (300, 400, 120_000));
            let (low, high) = (image.pixels.iter().min(), image.pixels.iter().max());
            assert!(high > low);
        }
        assert!(images[0] != images[1] && images[1] != images[2]);
        assert!(not_a_fingerprint(Seed(1), NonFinger::Text) == images[2]);
        assert!(not_a_fingerprint(Seed(2), NonFinger::Text) != images[2]);
    }
}
