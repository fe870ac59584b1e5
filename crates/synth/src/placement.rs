//! How a finger lies on the sensor: rotation, shift, distortion of the skin, contact area.

use crate::flow::{HALF_HEIGHT, HALF_WIDTH, smoothstep};
use crate::impression::ImpressionOptions;
use crate::random::{Smooth, Stream};

/// The map between an image and the finger frame, and where skin touches the sensor.
pub(crate) struct Placement {
    middle: (f32, f32),
    shift: (f32, f32),
    cos: f32,
    sin: f32,
    torsion: f32,
    shear: (f32, f32),
    stretch: (Smooth, Smooth),
    stretch_px: f32,
    contact: Contact,
}

struct Contact {
    centre: (f32, f32),
    half: (f32, f32),
    edge: Smooth,
}

impl Placement {
    pub(crate) fn draw(options: &ImpressionOptions, s: &mut Stream) -> Self {
        let degrees = (options.rotation_deg * s.normal()).clamp(-20.0, 20.0);
        let angle = degrees.to_radians();
        let shift = (options.translation_px * s.normal(), options.translation_px * s.normal());
        let (from, to) = ((-HALF_WIDTH, -HALF_HEIGHT), (HALF_WIDTH, HALF_HEIGHT));
        let d = options.distortion;
        // A partial contact shows a smaller part of the pad, off its middle.
        let partial = options.partial * s.unit() * s.unit();
        let half = (s.between(120.0, 138.0) * (1.0 - 0.29 * partial), s.between(158.0, 188.0) * (1.0 - 0.38 * partial));
        let room = (HALF_WIDTH - 6.0 - half.0, HALF_HEIGHT - 6.0 - half.1);
        let spread = 0.35 + 0.45 * partial;
        let centre = (room.0 * spread * s.between(-1.0, 1.0), room.1 * spread * s.between(-1.0, 1.0));
        Self {
            middle: (options.width as f32 / 2.0, options.height as f32 / 2.0),
            shift,
            cos: libm::cosf(angle),
            sin: libm::sinf(angle),
            torsion: d * 0.064 * s.normal(),
            shear: (d * 7.0 * s.normal(), d * 7.0 * s.normal()),
            stretch: (Smooth::new(s, from, to, 95.0), Smooth::new(s, from, to, 95.0)),
            stretch_px: d * 3.7,
            contact: Contact { centre, half, edge: Smooth::new(s, from, to, 26.0) },
        }
    }

    /// The point of the finger under a pixel.
    pub(crate) fn to_finger(&self, x: f32, y: f32) -> (f32, f32) {
        let (u, v) = self.to_pad(x, y);
        let (du, dv) = self.displacement(u, v);
        (u + du, v + dv)
    }

    /// The pixel over a point of the finger.
    pub(crate) fn to_image(&self, u: f32, v: f32) -> (f32, f32) {
        let (mut a, mut b) = (u, v);
        for _ in 0..4 {
            let (du, dv) = self.displacement(a, b);
            (a, b) = (u - du, v - dv);
        }
        let x = self.cos * a + self.sin * b + self.middle.0 + self.shift.0;
        let y = self.cos * b - self.sin * a + self.middle.1 + self.shift.1;
        (x, y)
    }

    /// Angle, counter-clockwise as seen, by which the finger lies turned on the image, radians.
    pub(crate) fn turn(&self) -> f32 {
        libm::atan2f(self.sin, self.cos)
    }

    /// How firmly skin touches at a point of the finger: 0 outside the contact, rising to 1 inside.
    pub(crate) fn contact(&self, u: f32, v: f32) -> f32 {
        let c = &self.contact;
        let (ex, ey) = ((u - c.centre.0) / c.half.0, (v - c.centre.1) / c.half.1);
        let distance = libm::sqrtf(ex * ex + ey * ey) + 0.035 * c.edge.at(u, v);
        ((1.0 - distance) / 0.22).clamp(0.0, 1.0)
    }

    fn to_pad(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = (x - self.middle.0 - self.shift.0, y - self.middle.1 - self.shift.1);
        (self.cos * dx - self.sin * dy, self.sin * dx + self.cos * dy)
    }

    /// Skin held in the middle of the contact and dragged or turned around it, plus uneven stretching
    /// (after Cappelli, Maio and Maltoni 2001).
    fn displacement(&self, u: f32, v: f32) -> (f32, f32) {
        let c = &self.contact;
        let (du, dv) = (u - c.centre.0, v - c.centre.1);
        let (ex, ey) = (du / c.half.0, dv / c.half.1);
        let slip = smoothstep((libm::sqrtf(ex * ex + ey * ey) - 0.3) / 0.9);
        let x = slip * (self.shear.0 - self.torsion * dv) + self.stretch_px * self.stretch.0.at(u, v);
        let y = slip * (self.shear.1 + self.torsion * du) + self.stretch_px * self.stretch.1.at(u, v);
        (x, y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use crate::random::Domain;

    #[test]
    fn image_and_finger_coordinates_undo_each_other() {
        for number in 0..20 {
            let s = &mut Stream::new(Seed(1), Domain::Impression, 0, number);
            let placement = Placement::draw(&ImpressionOptions::default(), s);
            assert!(placement.turn().abs() <= 20.1f32.to_radians());
            for (u, v) in [(0.0, 0.0), (80.0, -100.0), (-90.0, 60.0)] {
                let (x, y) = placement.to_image(u, v);
                let (a, b) = placement.to_finger(x, y);
                assert!((a - u).abs() < 0.6 && (b - v).abs() < 0.6, "{u} {v} became {a} {b}");
            }
        }
    }
}
