//! A picture in colours, drawn pixel by pixel.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _};
use zeroize::Zeroize as _;

use crate::ReportError;

/// Red, green and blue.
pub type Rgb = [u8; 3];

/// A picture. It shows biometric data, so it is wiped on drop and nothing of it is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Canvas {
    width: u32,
    height: u32,
    pixels: Vec<Rgb>,
}

impl Drop for Canvas {
    fn drop(&mut self) {
        self.pixels.zeroize();
    }
}

impl Canvas {
    /// A picture of one colour; sides of 0 become 1.
    pub fn new(width: u32, height: u32, colour: Rgb) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Self { width, height, pixels: vec![colour; width as usize * height as usize] }
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The colour at a place; None outside.
    pub fn at(&self, x: u32, y: u32) -> Option<Rgb> {
        let index = (x < self.width).then_some(y as usize * self.width as usize + x as usize)?;
        self.pixels.get(index).copied()
    }

    /// Pictures from left to right with a gap between them, their tops level.
    pub fn beside(pictures: &[Self], gap: u32, ground: Rgb) -> Self {
        let gaps = gap * u32::try_from(pictures.len().saturating_sub(1)).unwrap_or(0);
        let width = pictures.iter().map(|picture| picture.width).sum::<u32>() + gaps;
        let height = pictures.iter().map(|picture| picture.height).max().unwrap_or(1);
        let mut out = Self::new(width, height, ground);
        let mut left = 0;
        for picture in pictures {
            for y in 0..picture.height {
                for x in 0..picture.width {
                    if let Some(colour) = picture.at(x, y) {
                        out.mix(left + x, y, colour, 1.0);
                    }
                }
            }
            left += picture.width + gap;
        }
        out
    }

    /// Lays a colour over a pixel, `share` of it from 0 to 1. Places outside are passed over.
    pub fn mix(&mut self, x: u32, y: u32, colour: Rgb, share: f32) {
        let index = y as usize * self.width as usize + x as usize;
        let Some(pixel) = self.pixels.get_mut(index).filter(|_| x < self.width) else { return };
        for (old, new) in pixel.iter_mut().zip(colour) {
            *old = (f32::from(*old) + share.clamp(0.0, 1.0) * (f32::from(new) - f32::from(*old))).round() as u8;
        }
    }

    /// A straight line of `width` pixels with smooth edges.
    pub fn line(&mut self, from: (f32, f32), to: (f32, f32), width: f32, colour: Rgb) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let squared = (dx * dx + dy * dy).max(1e-6);
        self.shade([from, to], width, colour, |x, y| {
            let along = (((x - from.0) * dx + (y - from.1) * dy) / squared).clamp(0.0, 1.0);
            (x - from.0 - along * dx).hypot(y - from.1 - along * dy)
        });
    }

    /// A circle's line of `width` pixels.
    pub fn circle(&mut self, centre: (f32, f32), radius: f32, width: f32, colour: Rgb) {
        let corners = [(centre.0 - radius, centre.1 - radius), (centre.0 + radius, centre.1 + radius)];
        self.shade(corners, width, colour, |x, y| ((x - centre.0).hypot(y - centre.1) - radius).abs());
    }

    /// The outline of a square of `width` pixels; `radius` is half its side.
    pub fn square(&mut self, centre: (f32, f32), radius: f32, width: f32, colour: Rgb) {
        let corners = [(centre.0 - radius, centre.1 - radius), (centre.0 + radius, centre.1 + radius)];
        let off = |x: f32, y: f32| ((x - centre.0).abs().max((y - centre.1).abs()) - radius).abs();
        self.shade(corners, width, colour, off);
    }

    /// Colours what lies closer to a shape than half a width; `distance` is asked in the box around `corners`.
    fn shade(&mut self, corners: [(f32, f32); 2], width: f32, colour: Rgb, distance: impl Fn(f32, f32) -> f32) {
        let [a, b] = corners;
        let reach = width / 2.0 + 1.0;
        let span = |a: f32, b: f32, limit: u32| {
            // The casts cut what lies outside the picture.
            ((a.min(b) - reach).floor().max(0.0) as u32)..(((a.max(b) + reach).ceil().max(0.0) as u32).min(limit))
        };
        for y in span(a.1, b.1, self.height) {
            for x in span(a.0, b.0, self.width) {
                let inside = (width / 2.0 + 0.5 - distance(x as f32 + 0.5, y as f32 + 0.5)).clamp(0.0, 1.0);
                if inside > 0.0 {
                    self.mix(x, y, colour, inside);
                }
            }
        }
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// [`ReportError::Picture`] if the encoder fails.
    pub fn png(&self) -> Result<Vec<u8>, ReportError> {
        let mut out = Vec::new();
        let encoder = PngEncoder::new_with_quality(&mut out, CompressionType::Default, FilterType::Adaptive);
        encoder.write_image(self.pixels.as_flattened(), self.width, self.height, ExtendedColorType::Rgb8)?;
        Ok(out)
    }
}

impl std::fmt::Debug for Canvas {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Canvas({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: Rgb = [255; 3];
    const BLACK: Rgb = [0; 3];

    #[test]
    fn shapes_stay_where_they_belong() {
        let mut canvas = Canvas::new(40, 30, WHITE);
        canvas.line((5.0, 10.5), (20.0, 10.5), 2.0, BLACK);
        canvas.circle((30.0, 15.0), 5.0, 1.0, BLACK);
        canvas.square((10.0, 22.0), 4.0, 1.0, BLACK);
        assert_eq!((canvas.at(12, 10), canvas.at(12, 5), canvas.at(30, 15)), (Some(BLACK), Some(WHITE), Some(WHITE)));
        assert!(canvas.at(35, 15).unwrap()[0] < 200 && canvas.at(14, 22).unwrap()[0] < 200);
        assert_eq!((canvas.at(40, 0), canvas.at(0, 30)), (None, None));
    }

    #[test]
    fn shapes_outside_the_picture_change_what_is_inside_only() {
        let mut canvas = Canvas::new(10, 10, WHITE);
        canvas.line((-1e9, -50.0), (1e9, -50.0), 3.0, BLACK);
        canvas.circle((1e6, 1e6), 4.0, 1.0, BLACK);
        canvas.square((f32::NAN, 3.0), 4.0, 1.0, BLACK);
        assert_eq!(canvas, Canvas::new(10, 10, WHITE));
        assert_eq!(Canvas::new(0, 0, WHITE).width(), 1);
    }

    #[test]
    fn pictures_stand_beside_one_another_and_become_png() {
        let both = Canvas::beside(&[Canvas::new(4, 2, BLACK), Canvas::new(3, 5, BLACK)], 2, WHITE);
        assert_eq!((both.width(), both.height()), (9, 5));
        assert_eq!(
            (both.at(3, 1), both.at(3, 2), both.at(5, 0), both.at(6, 4)),
            (Some(BLACK), Some(WHITE), Some(WHITE), Some(BLACK))
        );
        let png = image::load_from_memory(&both.png().unwrap()).unwrap().into_rgb8();
        assert_eq!((png.dimensions(), png.get_pixel(3, 1).0, png.get_pixel(5, 0).0), ((9, 5), BLACK, WHITE));
        assert_eq!(format!("{both:?}"), "Canvas(9x5)");
    }
}
