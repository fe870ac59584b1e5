//! One sample: recognised, decoded, cropped to the finger, encoded again without loss.

use ridgeline_domain::Sensitive;
use ridgeline_fingerprint::{GreyImage, ImageError, ImageFormat, Limits, WORKING_DPI, decode, encode_png, normalise};
use ridgeline_vault::peek_template;
use sha2::{Digest as _, Sha256};

use crate::IntakeError;

/// Formats this version reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleFormat {
    /// An image.
    Image(ImageFormat),
    /// A template that this service returned earlier.
    Sealed,
}

impl SampleFormat {
    /// Reads the name of the interface.
    ///
    /// # Errors
    /// `FormatNotAvailable` for names of the interface that this version does not read, `UnknownFormat` for others.
    pub fn parse(name: &str) -> Result<Self, IntakeError> {
        match name {
            "sealed" => Ok(Self::Sealed),
            "wsq" => Err(IntakeError::FormatNotAvailable("wsq")),
            "iso19794-2" => Err(IntakeError::FormatNotAvailable("iso19794-2")),
            "ansi378" => Err(IntakeError::FormatNotAvailable("ansi378")),
            image => image.parse().map(Self::Image).map_err(|_| IntakeError::UnknownFormat),
        }
    }
}

/// A sample as a caller sent it.
#[derive(Debug)]
pub struct RawSample {
    /// Declared format; `None`: an image, told by its first bytes.
    pub format: Option<SampleFormat>,
    /// The bytes.
    pub bytes: Sensitive<Vec<u8>>,
    /// Declared resolution, 250–1200 dpi; `None`: what the file says.
    pub dpi: Option<u16>,
}

/// A sample as it travels: an 8-bit grey PNG with its resolution, cropped to the finger, or a sealed template.
#[derive(Debug, Clone)]
pub struct PreparedSample {
    format: &'static str,
    bytes: Sensitive<Vec<u8>>,
    source_digest: Vec<u8>,
}

impl PreparedSample {
    /// `image` or `sealed`.
    #[must_use]
    pub const fn format(&self) -> &'static str {
        self.format
    }

    /// SHA-256 over size and pixels as they came; empty for a sealed template. The same picture under another resolution or crop
    /// differs in its canonical bytes, not in this.
    #[must_use]
    pub fn source_digest(&self) -> &[u8] {
        &self.source_digest
    }

    /// The canonical bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.expose()
    }
}

/// Brings a sample into the form in which it travels. Equal pixels give equal bytes, whatever file they came in.
///
/// # Errors
/// One of `Image`, `Template`, `FormatNotAvailable`.
pub fn prepare(raw: &RawSample) -> Result<PreparedSample, IntakeError> {
    let format = match raw.format {
        Some(SampleFormat::Sealed) => {
            peek_template(raw.bytes.expose()).map_err(IntakeError::Template)?;
            return Ok(PreparedSample { format: "sealed", bytes: raw.bytes.clone(), source_digest: Vec::new() });
        }
        Some(SampleFormat::Image(format)) => Some(format),
        None => None,
    };
    let image = decode(raw.bytes.expose(), format, raw.dpi, &Limits::default()).map_err(IntakeError::Image)?;
    check_scaled_size(&image)?;
    let bytes = Sensitive::new(encode_png(&normalise(&image)));
    Ok(PreparedSample { format: "image", bytes, source_digest: source_digest(&image) })
}

/// A coarse image grows when it is scaled to the working resolution; the limit holds for what comes out as well.
fn check_scaled_size(image: &GreyImage) -> Result<(), IntakeError> {
    let scaled = |side: u32| u64::from(side) * u64::from(WORKING_DPI) / u64::from(image.dpi().max(1));
    let max = Limits::default().max_pixels;
    if scaled(image.width()) * scaled(image.height()) > u64::from(max) {
        let (width, height) = (image.width(), image.height());
        return Err(IntakeError::Image(ImageError::TooManyPixels { width, height, max }));
    }
    Ok(())
}

fn source_digest(image: &GreyImage) -> Vec<u8> {
    let mut digest = Sha256::new();
    digest.update(image.width().to_be_bytes());
    digest.update(image.height().to_be_bytes());
    digest.update(image.pixels());
    digest.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ridgeline_domain::ErrorCode;

    fn stripes(dpi: u16) -> GreyImage {
        let pixels = (0..200 * 200_u32).map(|i| if (i % 200 + i / 600) / 5 % 2 == 0 { 40 } else { 220 }).collect();
        GreyImage::new(200, 200, dpi, pixels).unwrap()
    }

    fn raw(format: Option<SampleFormat>, bytes: Vec<u8>) -> RawSample {
        RawSample { format, bytes: Sensitive::new(bytes), dpi: Some(500) }
    }

    #[test]
    fn equal_pixels_travel_as_equal_bytes() {
        let png = encode_png(&stripes(500));
        let mut pgm = b"P5 200 200 255\n".to_vec();
        pgm.extend(stripes(500).pixels());
        let (a, b) = (prepare(&raw(None, png)).unwrap(), prepare(&raw(None, pgm)).unwrap());
        assert_eq!((a.format(), a.bytes() == b.bytes()), ("image", true));
        let mut finer = raw(None, encode_png(&stripes(500)));
        finer.dpi = Some(505);
        let finer = prepare(&finer).unwrap();
        assert!(
            finer.bytes() != a.bytes() && finer.source_digest() == a.source_digest(),
            "another resolution, the same picture"
        );
    }

    #[test]
    fn what_is_no_sample_is_refused_with_its_code() {
        let code = |raw: RawSample| prepare(&raw).unwrap_err().code();
        assert_eq!(code(raw(None, vec![])), ErrorCode::UndecodableSample);
        assert_eq!(code(raw(None, b"hello, world".to_vec())), ErrorCode::UndecodableSample);
        assert_eq!(code(raw(Some(SampleFormat::Sealed), vec![1, 2, 3])), ErrorCode::TemplateUndecodable);
        assert_eq!(code(raw(None, b"P5 1 1 255\n\x00".to_vec())), ErrorCode::ImageTooSmall);
        assert_eq!(code(raw(None, b"P5 5000 4000 255\n\x00".to_vec())), ErrorCode::ImageTooLarge);
        let mut coarse =
            raw(None, b"P5 1150 1150 255\n".iter().copied().chain(std::iter::repeat_n(7, 1_322_500)).collect());
        coarse.dpi = Some(250);
        assert_eq!(code(coarse), ErrorCode::ImageTooLarge, "after scaling");
        let mut without_dpi =
            raw(None, b"P5 200 200 255\n".iter().copied().chain(std::iter::repeat_n(7, 40_000)).collect());
        without_dpi.dpi = None;
        assert_eq!(code(without_dpi), ErrorCode::ResolutionUnknown);
        let png = encode_png(&stripes(500));
        assert_eq!(code(raw(None, png[..png.len() / 2].to_vec())), ErrorCode::UndecodableSample);
    }

    #[test]
    fn formats_of_later_versions_say_so() {
        for name in ["wsq", "iso19794-2", "ansi378"] {
            assert_eq!(SampleFormat::parse(name).unwrap_err().code(), ErrorCode::NotImplemented);
        }
        assert_eq!(SampleFormat::parse("exe").unwrap_err().code(), ErrorCode::MalformedRequest);
    }
}
