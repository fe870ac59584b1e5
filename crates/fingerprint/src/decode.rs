//! Decoding of untrusted image bytes. Everything is bounded before it is allocated.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Cursor;
use std::str::FromStr;

use image::{ImageDecoder, ImageReader};

use crate::image::GreyImage;
use crate::resolution;
use crate::wsq;

/// Smallest side of an image in pixels; nothing smaller can hold a usable finger area.
pub const MIN_SIDE_PIXELS: u32 = 32;

/// A lossless or lossy container that [`decode`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// Portable Network Graphics.
    Png,
    /// JPEG (JFIF or EXIF).
    Jpeg,
    /// Windows bitmap.
    Bmp,
    /// TIFF, either byte order.
    Tiff,
    /// Portable grey map, `P2` or `P5`.
    Pgm,
    /// Wavelet scalar quantisation, the FBI's format for fingerprints.
    Wsq,
}

impl ImageFormat {
    /// The format that the first bytes announce.
    fn of_magic(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, ..] => Some(Self::Png),
            [first, second, 0xFF, ..] if [*first, *second] == wsq::MAGIC => Some(Self::Wsq),
            [0xFF, 0xD8, 0xFF, ..] => Some(Self::Jpeg),
            [b'B', b'M', ..] => Some(Self::Bmp),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some(Self::Tiff),
            [b'P', b'2' | b'5', space, ..] if space.is_ascii_whitespace() => Some(Self::Pgm),
            _ => None,
        }
    }

    /// The codec of the image library; `None` for what is decoded here.
    fn codec(self) -> Option<image::ImageFormat> {
        match self {
            Self::Png => Some(image::ImageFormat::Png),
            Self::Jpeg => Some(image::ImageFormat::Jpeg),
            Self::Bmp => Some(image::ImageFormat::Bmp),
            Self::Tiff => Some(image::ImageFormat::Tiff),
            Self::Pgm => Some(image::ImageFormat::Pnm),
            Self::Wsq => None,
        }
    }
}

impl FromStr for ImageFormat {
    type Err = ImageError;

    /// Reads `png`, `jpeg`, `bmp`, `tiff`, `pgm` or `wsq`.
    fn from_str(name: &str) -> Result<Self, ImageError> {
        match name {
            "png" => Ok(Self::Png),
            "jpeg" => Ok(Self::Jpeg),
            "bmp" => Ok(Self::Bmp),
            "tiff" => Ok(Self::Tiff),
            "pgm" => Ok(Self::Pgm),
            "wsq" => Ok(Self::Wsq),
            _ => Err(ImageError::UnknownFormat),
        }
    }
}

/// What [`decode`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the encoded image.
    pub max_bytes: usize,
    /// Most pixels (width × height) that the header may declare.
    pub max_pixels: u32,
    /// Least resolution in dots per inch.
    pub min_dpi: u16,
    /// Greatest resolution in dots per inch.
    pub max_dpi: u16,
}

impl Default for Limits {
    /// 10 MB, 4 Mpixel, 250 to 1200 dpi.
    fn default() -> Self {
        Self { max_bytes: 10_000_000, max_pixels: 4_000_000, min_dpi: 250, max_dpi: 1200 }
    }
}

/// Why bytes are not an acceptable image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No bytes at all.
    #[error("the image is empty")]
    Empty,
    /// More bytes than [`Limits::max_bytes`].
    #[error("the image has more than {max} bytes")]
    TooManyBytes {
        /// The limit.
        max: usize,
    },
    /// The first bytes belong to no supported format, or the format's name is unknown.
    #[error("the image format is not supported")]
    UnknownFormat,
    /// The bytes are of another format than declared.
    #[error("the bytes are not of the declared format")]
    FormatMismatch,
    /// The decoder of the format refused the bytes.
    #[error("the image is damaged")]
    Malformed,
    /// The header declares more pixels than [`Limits::max_pixels`].
    #[error("the image declares {width}x{height} pixels, more than {max}")]
    TooManyPixels {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// The limit.
        max: u32,
    },
    /// A side is shorter than [`MIN_SIDE_PIXELS`].
    #[error("the image of {width}x{height} pixels is too small")]
    TooSmall {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The pixel count does not fit the dimensions.
    #[error("the pixel count does not fit {width}x{height}")]
    BadDimensions {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// No resolution was given and the file carries no usable one.
    #[error("the resolution is not known")]
    MissingDpi,
    /// The given resolution lies outside the limits.
    #[error("{dpi} dpi is outside the supported range")]
    DpiOutOfRange {
        /// The refused resolution.
        dpi: u16,
    },
}

/// Decodes an image to 8-bit grey.
///
/// The format is found from the first bytes and must equal `format` when that is given. The declared
/// dimensions are checked before pixels are allocated. The resolution is `dpi`, else what the file
/// carries if that lies within the limits.
///
/// # Errors
/// One variant of [`ImageError`] for each way in which bytes are refused.
pub fn decode(
    bytes: &[u8],
    format: Option<ImageFormat>,
    dpi: Option<u16>,
    limits: &Limits,
) -> Result<GreyImage, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if bytes.len() > limits.max_bytes {
        return Err(ImageError::TooManyBytes { max: limits.max_bytes });
    }
    let found = ImageFormat::of_magic(bytes).ok_or(match format {
        Some(_) => ImageError::FormatMismatch,
        None => ImageError::UnknownFormat,
    })?;
    if format.is_some_and(|declared| declared != found) {
        return Err(ImageError::FormatMismatch);
    }
    let dpi = resolve_dpi(bytes, found, dpi, limits)?;
    let (width, height, pixels) = match found.codec() {
        Some(codec) => decode_pixels(bytes, codec, limits)?,
        None => wsq::decode(bytes, |width, height| check_size(width, height, limits))?,
    };
    GreyImage::new(width, height, dpi, pixels)
}

fn resolve_dpi(bytes: &[u8], format: ImageFormat, given: Option<u16>, limits: &Limits) -> Result<u16, ImageError> {
    let range = limits.min_dpi.max(1)..=limits.max_dpi;
    match given {
        Some(dpi) if range.contains(&dpi) => Ok(dpi),
        Some(dpi) => Err(ImageError::DpiOutOfRange { dpi }),
        None => resolution::of_file(bytes, format).filter(|dpi| range.contains(dpi)).ok_or(ImageError::MissingDpi),
    }
}

/// Width, height and grey values.
type Pixels = (u32, u32, Vec<u8>);

fn decode_pixels(bytes: &[u8], codec: image::ImageFormat, limits: &Limits) -> Result<Pixels, ImageError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), codec);
    // Eight bytes a pixel cover 16-bit RGBA, the widest layout; the rest is the decoders' own state.
    let mut codec_limits = image::Limits::default();
    codec_limits.max_alloc = Some(u64::from(limits.max_pixels) * 16 + (1 << 20));
    reader.limits(codec_limits);
    let decoder = reader.into_decoder().map_err(|_| ImageError::Malformed)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, limits)?;
    let decoded = image::DynamicImage::from_decoder(decoder).map_err(|_| ImageError::Malformed)?.into_luma8();
    let (width, height) = decoded.dimensions();
    Ok((width, height, decoded.into_raw()))
}

fn check_size(width: u32, height: u32, limits: &Limits) -> Result<(), ImageError> {
    if u64::from(width) * u64::from(height) > u64::from(limits.max_pixels) {
        return Err(ImageError::TooManyPixels { width, height, max: limits.max_pixels });
    }
    if width < MIN_SIDE_PIXELS || height < MIN_SIDE_PIXELS {
        return Err(ImageError::TooSmall { width, height });
    }
    Ok(())
}
