//! The grey image every step works on, and its lossless PNG form.

use std::fmt;

use image::ImageEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use zeroize::Zeroize;

use crate::decode::ImageError;

/// An 8-bit grey image with its resolution. Dark ridges on a light ground, row major, no padding.
///
/// The pixels are biometric data: they are wiped on drop and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct GreyImage {
    width: u32,
    height: u32,
    dpi: u16,
    pixels: Vec<u8>,
}

impl GreyImage {
    /// Wraps `width` × `height` pixels at `dpi` dots per inch.
    ///
    /// # Errors
    /// [`ImageError::BadDimensions`] when a side is zero or `pixels` has another length than
    /// `width` × `height`; [`ImageError::DpiOutOfRange`] when `dpi` is zero.
    pub fn new(width: u32, height: u32, dpi: u16, pixels: Vec<u8>) -> Result<Self, ImageError> {
        let expected = u64::from(width) * u64::from(height);
        if expected == 0 || expected != pixels.len() as u64 {
            return Err(ImageError::BadDimensions { width, height });
        }
        if dpi == 0 {
            return Err(ImageError::DpiOutOfRange { dpi });
        }
        Ok(Self { width, height, dpi, pixels })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Resolution in dots per inch, at least 1.
    pub fn dpi(&self) -> u16 {
        self.dpi
    }

    /// `width` × `height` grey values, row major, 0 is black.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}

impl fmt::Debug for GreyImage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "GreyImage({}x{} at {} dpi)", self.width, self.height, self.dpi)
    }
}

impl Drop for GreyImage {
    fn drop(&mut self) {
        self.pixels.zeroize();
    }
}

/// Bytes of the PNG signature and the IHDR chunk, after which pHYs belongs.
const PNG_HEADER_BYTES: usize = 33;

/// Writes the image as an 8-bit grey PNG that carries its resolution (`pHYs`), compressed for speed.
///
/// Lossless: `decode` gives the same image back for any resolution of 250 to 1200 dpi.
pub fn encode_png(image: &GreyImage) -> Vec<u8> {
    let mut plain = Vec::with_capacity(image.pixels.len() / 2 + 256);
    let encoder = PngEncoder::new_with_quality(&mut plain, CompressionType::Fast, FilterType::Adaptive);
    let written = encoder.write_image(&image.pixels, image.width, image.height, image::ExtendedColorType::L8);
    debug_assert!(written.is_ok(), "a Vec takes every write and the length fits");
    let (header, rest) = plain.split_at(PNG_HEADER_BYTES.min(plain.len()));
    let mut out = Vec::with_capacity(plain.len() + 21);
    out.extend_from_slice(header);
    out.extend_from_slice(&physical_chunk(image.dpi));
    out.extend_from_slice(rest);
    out
}

fn physical_chunk(dpi: u16) -> Vec<u8> {
    let per_metre = (f64::from(dpi) / 0.0254).round() as u32;
    let mut body = b"pHYs".to_vec();
    body.extend_from_slice(&per_metre.to_be_bytes());
    body.extend_from_slice(&per_metre.to_be_bytes());
    body.push(1);
    let mut chunk = 9_u32.to_be_bytes().to_vec();
    chunk.extend_from_slice(&body);
    chunk.extend_from_slice(&crc32(&body).to_be_bytes());
    chunk
}

/// CRC-32 of the PNG specification (polynomial 0xEDB88320, reflected).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{ImageFormat, Limits, decode};

    fn ramp(width: u32, height: u32, dpi: u16) -> GreyImage {
        let pixels = (0..width * height).map(|i| (i * 7 % 251) as u8).collect();
        GreyImage::new(width, height, dpi, pixels).unwrap()
    }

    #[test]
    fn png_round_trip_keeps_pixels_and_resolution() {
        for dpi in [250, 333, 500, 508, 1000, 1200] {
            let image = ramp(61, 47, dpi);
            let bytes = encode_png(&image);
            let back = decode(&bytes, Some(ImageFormat::Png), None, &Limits::default()).unwrap();
            assert!(back == image, "{dpi} dpi");
        }
    }

    #[test]
    fn debug_does_not_print_pixels() {
        assert_eq!(format!("{:?}", ramp(40, 40, 500)), "GreyImage(40x40 at 500 dpi)");
    }

    #[test]
    fn length_must_fit_the_dimensions() {
        assert!(GreyImage::new(3, 3, 500, vec![0; 8]).is_err());
        assert!(GreyImage::new(0, 3, 500, vec![]).is_err());
        assert!(GreyImage::new(1, 1, 0, vec![0]).is_err());
    }

    #[test]
    fn crc_matches_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
