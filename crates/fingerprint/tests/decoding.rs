//! Untrusted image bytes: whatever comes, an error and never a panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;

use proptest::prelude::*;
use ridgeline_fingerprint::{GreyImage, ImageError, ImageFormat, Limits, decode, encode_png};

fn picture(width: u32, height: u32) -> GreyImage {
    let pixels = (0..width * height).map(|i| (i * 31 % 253) as u8).collect();
    GreyImage::new(width, height, 500, pixels).unwrap()
}

fn encoded(format: image::ImageFormat) -> Vec<u8> {
    let grey = picture(40, 36);
    let buffer = image::GrayImage::from_raw(40, 36, grey.pixels().to_vec()).unwrap();
    let mut out = Cursor::new(Vec::new());
    buffer.write_to(&mut out, format).unwrap();
    out.into_inner()
}

fn pgm() -> Vec<u8> {
    let mut bytes = b"P5\n40 36\n255\n".to_vec();
    bytes.extend_from_slice(picture(40, 36).pixels());
    bytes
}

fn all_formats() -> Vec<(ImageFormat, Vec<u8>)> {
    vec![
        (ImageFormat::Png, encode_png(&picture(40, 36))),
        (ImageFormat::Jpeg, encoded(image::ImageFormat::Jpeg)),
        (ImageFormat::Bmp, encoded(image::ImageFormat::Bmp)),
        (ImageFormat::Tiff, encoded(image::ImageFormat::Tiff)),
        (ImageFormat::Pgm, pgm()),
    ]
}

#[test]
fn every_format_is_decoded() {
    for (format, bytes) in all_formats() {
        let image = decode(&bytes, Some(format), Some(500), &Limits::default()).unwrap();
        assert_eq!((image.width(), image.height(), image.dpi()), (40, 36, 500));
        if format != ImageFormat::Jpeg {
            assert!(image == picture(40, 36), "{format:?} is lossless");
        }
        assert!(decode(&bytes, None, Some(500), &Limits::default()).is_ok());
    }
}

#[test]
fn every_truncation_is_an_error_or_a_whole_image() {
    for (format, bytes) in all_formats() {
        for length in 0..bytes.len() {
            let cut = decode(&bytes[..length], Some(format), Some(500), &Limits::default());
            // JPEG decoders may stop early, PNG and TIFF may lack only their trailers.
            if length < bytes.len() / 4 {
                assert!(cut.is_err(), "{format:?} cut to {length} bytes");
            }
        }
    }
    for (format, bytes) in [(ImageFormat::Png, encode_png(&picture(40, 36))), (ImageFormat::Pgm, pgm())] {
        for length in 0..bytes.len() - 16 {
            assert!(decode(&bytes[..length], Some(format), Some(500), &Limits::default()).is_err());
        }
    }
}

#[test]
fn declared_format_must_be_the_real_one() {
    let formats = all_formats();
    for (real, bytes) in &formats {
        for (declared, _) in formats.iter().filter(|(other, _)| other != real) {
            let refused = decode(bytes, Some(*declared), Some(500), &Limits::default());
            assert_eq!(refused.unwrap_err(), ImageError::FormatMismatch);
        }
    }
    assert_eq!(decode(b"", None, None, &Limits::default()).unwrap_err(), ImageError::Empty);
    let unknown = decode(b"hello, no image", None, None, &Limits::default());
    assert_eq!(unknown.unwrap_err(), ImageError::UnknownFormat);
    assert!("gif".parse::<ImageFormat>().is_err());
    assert_eq!("tiff".parse::<ImageFormat>(), Ok(ImageFormat::Tiff));
    assert_eq!("wsq".parse::<ImageFormat>(), Ok(ImageFormat::Wsq));
    let pretended = decode(&pgm(), Some(ImageFormat::Wsq), Some(500), &Limits::default());
    assert_eq!(pretended.unwrap_err(), ImageError::FormatMismatch);
}

/// 5000 × 4000 pixels in a few bytes, for the formats whose header stands alone.
#[test]
fn twenty_megapixels_in_a_tiny_file_are_refused() {
    let mut bmp = encoded(image::ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&5000_u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&4000_u32.to_le_bytes());
    let pgm = b"P5\n5000 4000\n255\n0123".to_vec();
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], body: &[u8]| {
        let mut data = name.to_vec();
        data.extend_from_slice(body);
        png.extend_from_slice(&(body.len() as u32).to_be_bytes());
        png.extend_from_slice(&data);
        png.extend_from_slice(&crc(&data).to_be_bytes());
    };
    chunk(b"IHDR", &[0, 0, 0x13, 0x88, 0, 0, 0x0F, 0xA0, 8, 0, 0, 0, 0]);
    chunk(b"IDAT", &[0x78, 0x9C, 3, 0, 0, 0, 0, 1]);
    for (name, bytes) in [("bmp", bmp), ("pgm", pgm), ("png", png)] {
        assert!(bytes.len() < 4000);
        let refused = decode(&bytes, None, Some(500), &Limits::default());
        assert!(matches!(refused, Err(ImageError::TooManyPixels { .. })), "{name}: {refused:?}");
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &b| (0..8).fold(crc ^ u32::from(b), |c, _| step(c)))
}

#[test]
fn small_images_large_bodies_and_unknown_resolutions_are_refused() {
    let dot = encode_png(&GreyImage::new(1, 1, 500, vec![0]).unwrap());
    let small = decode(&dot, None, None, &Limits::default());
    assert_eq!(small.unwrap_err(), ImageError::TooSmall { width: 1, height: 1 });
    let limits = Limits { max_bytes: 100, ..Limits::default() };
    let large = decode(&encode_png(&picture(40, 36)), None, None, &limits);
    assert_eq!(large.unwrap_err(), ImageError::TooManyBytes { max: 100 });
    let unknown = decode(&pgm(), None, None, &Limits::default());
    assert_eq!(unknown.unwrap_err(), ImageError::MissingDpi);
    for dpi in [0, 249, 1201] {
        let refused = decode(&pgm(), None, Some(dpi), &Limits::default());
        assert_eq!(refused.unwrap_err(), ImageError::DpiOutOfRange { dpi });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn garbage_behind_a_real_magic_never_panics(
        which in 0..5_usize,
        keep in 2..120_usize,
        noise in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let (format, bytes) = all_formats().swap_remove(which);
        let mut spoiled = bytes[..keep.min(bytes.len())].to_vec();
        spoiled.extend_from_slice(&noise);
        let _ = decode(&spoiled, Some(format), Some(500), &Limits::default());
        let _ = decode(&spoiled, None, None, &Limits::default());
    }

    #[test]
    fn flipped_bits_never_panic(which in 0..5_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let (format, mut bytes) = all_formats().swap_remove(which);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = decode(&bytes, Some(format), None, &Limits::default());
    }

    #[test]
    fn png_round_trip(width in 32..90_u32, height in 32..90_u32, dpi in 250..=1200_u16, seed in any::<u8>()) {
        let pixels = (0..width * height).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as u8 ^ seed).collect();
        let image = GreyImage::new(width, height, dpi, pixels).unwrap();
        prop_assert!(decode(&encode_png(&image), None, None, &Limits::default()).unwrap() == image);
    }
}

/// The seeds of the fuzz target `image` are this file's; whatever else lies there was found once and is tried again.
#[test]
fn the_corpus_is_replayed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/image");
    for (format, bytes) in all_formats() {
        let path = folder.join(format!("ramp.{}", format!("{format:?}").to_lowercase()));
        if std::env::var_os("RIDGELINE_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        // Encoders may write the same picture otherwise one day; a seed stays what it was.
        let seed = std::fs::read(&path).unwrap();
        assert!(decode(&seed, Some(format), Some(500), &Limits::default()).is_ok(), "{format:?}");
    }
    let mut tried = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for dpi in [None, Some(500)] {
            let _ = decode(&bytes, None, dpi, &Limits::default());
            tried += 1;
        }
    }
    assert!(tried >= 10);
}
