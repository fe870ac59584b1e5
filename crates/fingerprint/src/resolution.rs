//! The resolution that an image file carries, read without trusting it.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::decode::ImageFormat;

const METRES_PER_INCH: f64 = 0.0254;
const CENTIMETRES_PER_INCH: f64 = 2.54;

/// Resolution in dots per inch, if the file says one and both axes agree within 1 %.
pub(crate) fn of_file(bytes: &[u8], format: ImageFormat) -> Option<u16> {
    let (x, y) = match format {
        ImageFormat::Png => png(bytes),
        ImageFormat::Jpeg => jpeg(bytes),
        ImageFormat::Bmp => bmp(bytes),
        ImageFormat::Tiff => tiff(bytes),
        ImageFormat::Pgm => None,
        ImageFormat::Wsq => crate::wsq::resolution(bytes).map(|dpi| (f64::from(dpi), f64::from(dpi))),
    }?;
    let agrees = x > 0.0 && (x - y).abs() <= 0.01 * x;
    (agrees && x <= f64::from(u16::MAX)).then(|| x.round() as u16)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The `pHYs` chunk, which the specification puts before the first `IDAT`.
fn png(bytes: &[u8]) -> Option<(f64, f64)> {
    let mut at = 8_usize;
    loop {
        let length = u32::from_be_bytes(array(bytes, at)?) as usize;
        match &array::<4>(bytes, at + 4)? {
            b"IDAT" | b"IEND" => return None,
            b"pHYs" => {
                let x = u32::from_be_bytes(array(bytes, at + 8)?);
                let y = u32::from_be_bytes(array(bytes, at + 12)?);
                let in_metres = bytes.get(at + 16) == Some(&1);
                return in_metres.then_some((f64::from(x) * METRES_PER_INCH, f64::from(y) * METRES_PER_INCH));
            }
            _ => at = at.checked_add(length)?.checked_add(12)?,
        }
    }
}

/// The density of the JFIF segment.
fn jpeg(bytes: &[u8]) -> Option<(f64, f64)> {
    let mut at = 2_usize;
    loop {
        let [lead, marker] = array(bytes, at)?;
        if lead != 0xFF || marker == 0xDA {
            return None;
        }
        let length = usize::from(u16::from_be_bytes(array(bytes, at + 2)?));
        if marker == 0xE0 && array::<5>(bytes, at + 4)? == *b"JFIF\0" {
            let scale = match bytes.get(at + 11)? {
                1 => 1.0,
                2 => CENTIMETRES_PER_INCH,
                _ => return None,
            };
            let x = u16::from_be_bytes(array(bytes, at + 12)?);
            let y = u16::from_be_bytes(array(bytes, at + 14)?);
            return Some((f64::from(x) * scale, f64::from(y) * scale));
        }
        at = at.checked_add(length.max(2))?.checked_add(2)?;
    }
}

/// Pixels per metre of a `BITMAPINFOHEADER` or one of its successors.
fn bmp(bytes: &[u8]) -> Option<(f64, f64)> {
    if u32::from_le_bytes(array(bytes, 14)?) < 40 {
        return None;
    }
    let x = u32::from_le_bytes(array(bytes, 38)?);
    let y = u32::from_le_bytes(array(bytes, 42)?);
    Some((f64::from(x) * METRES_PER_INCH, f64::from(y) * METRES_PER_INCH))
}

/// XResolution, YResolution and ResolutionUnit of the first image file directory.
fn tiff(bytes: &[u8]) -> Option<(f64, f64)> {
    let little = bytes.first() == Some(&b'I');
    let short = |at| {
        let raw = array(bytes, at)?;
        Some(if little { u16::from_le_bytes(raw) } else { u16::from_be_bytes(raw) })
    };
    let long = |at| {
        let raw = array(bytes, at)?;
        Some(if little { u32::from_le_bytes(raw) } else { u32::from_be_bytes(raw) })
    };
    let rational = |at: usize| {
        let denominator = long(at.checked_add(4)?)?;
        (denominator > 0).then_some(f64::from(long(at)?) / f64::from(denominator))
    };
    let directory = long(4)? as usize;
    let (mut x, mut y, mut unit) = (None, None, 2_u16);
    for entry in 0..usize::from(short(directory)?) {
        let at = directory.checked_add(2 + entry * 12)?;
        let value_at = at.checked_add(8)?;
        match (short(at)?, short(at.checked_add(2)?)?) {
            (282, 5) => x = rational(long(value_at)? as usize),
            (283, 5) => y = rational(long(value_at)? as usize),
            (296, 3) => unit = short(value_at)?,
            _ => {}
        }
    }
    let scale = match unit {
        2 => 1.0,
        3 => CENTIMETRES_PER_INCH,
        _ => return None,
    };
    Some((x? * scale, y? * scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bmp_header_gives_pixels_per_metre() {
        let mut bytes = vec![0; 54];
        bytes[14] = 40;
        bytes[38..42].copy_from_slice(&19_685_u32.to_le_bytes());
        bytes[42..46].copy_from_slice(&19_685_u32.to_le_bytes());
        assert_eq!(of_file(&bytes, ImageFormat::Bmp), Some(500));
        assert_eq!(of_file(&bytes[..44], ImageFormat::Bmp), None);
    }

    #[test]
    fn jfif_density_counts_in_inches_or_centimetres() {
        let mut bytes = b"\xFF\xD8\xFF\xE0\x00\x10JFIF\0\x01\x02\x01\x01\xF4\x01\xF4\0\0".to_vec();
        assert_eq!(of_file(&bytes, ImageFormat::Jpeg), Some(500));
        bytes[13] = 2;
        assert_eq!(of_file(&bytes, ImageFormat::Jpeg), Some(1270));
        bytes[13] = 0;
        assert_eq!(of_file(&bytes, ImageFormat::Jpeg), None);
    }

    #[test]
    fn tiff_tags_in_both_byte_orders() {
        let mut little = b"II\x2a\0\x08\0\0\0\x02\0".to_vec();
        for tag in [282_u16, 283] {
            little.extend_from_slice(&tag.to_le_bytes());
            little.extend_from_slice(&5_u16.to_le_bytes());
            little.extend_from_slice(&1_u32.to_le_bytes());
            little.extend_from_slice(&38_u32.to_le_bytes());
        }
        little.extend_from_slice(&0_u32.to_le_bytes());
        little.extend_from_slice(&1000_u32.to_le_bytes());
        little.extend_from_slice(&2_u32.to_le_bytes());
        assert_eq!(of_file(&little, ImageFormat::Tiff), Some(500));
        assert_eq!(of_file(&little[..45], ImageFormat::Tiff), None);
        let mut big = b"MM\0\x2a\0\0\0\x08\0\x02".to_vec();
        for tag in [282_u16, 283] {
            big.extend_from_slice(&tag.to_be_bytes());
            big.extend_from_slice(&5_u16.to_be_bytes());
            big.extend_from_slice(&1_u32.to_be_bytes());
            big.extend_from_slice(&38_u32.to_be_bytes());
        }
        big.extend_from_slice(&0_u32.to_be_bytes());
        big.extend_from_slice(&500_u32.to_be_bytes());
        big.extend_from_slice(&1_u32.to_be_bytes());
        assert_eq!(of_file(&big, ImageFormat::Tiff), Some(500));
    }
}
