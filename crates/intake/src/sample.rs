//! One sample: recognised, decoded, cropped to the finger, encoded again without loss; or another system's minutiae.

use ridgeline_domain::{Position, Sensitive};
use ridgeline_fingerprint::formats::{Record, RecordFamily, View};
use ridgeline_fingerprint::{
    GreyImage, ImageError, ImageFormat, Limits, MinutiaKind, Template, WORKING_DPI, decode, encode_png, normalise,
};
use ridgeline_vault::peek_template;
use sha2::{Digest as _, Sha256};

use crate::IntakeError;

/// Formats this version reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleFormat {
    /// An image.
    Image(ImageFormat),
    /// A finger minutiae record of another system; `None`: of either standard.
    Record(Option<RecordFamily>),
    /// A template that this service returned earlier.
    Sealed,
}

impl SampleFormat {
    /// Reads the name of the interface.
    ///
    /// # Errors
    /// `UnknownFormat` for other names.
    pub fn parse(name: &str) -> Result<Self, IntakeError> {
        match name {
            "sealed" => Ok(Self::Sealed),
            "iso19794-2" => Ok(Self::Record(Some(RecordFamily::Iso19794))),
            "ansi378" => Ok(Self::Record(Some(RecordFamily::Ansi378))),
            image => image.parse().map(Self::Image).map_err(|_| IntakeError::UnknownFormat),
        }
    }
}

/// A sample as a caller sent it.
#[derive(Debug)]
pub struct RawSample {
    /// Declared format; `None`: an image or a minutiae record, told by its first bytes.
    pub format: Option<SampleFormat>,
    /// The bytes.
    pub bytes: Sensitive<Vec<u8>>,
    /// Declared resolution of an image, 250–1200 dpi; `None`: what the file says. A minutiae record always says its own.
    pub dpi: Option<u16>,
}

/// A sample as it travels: an 8-bit grey PNG with its resolution, cropped to the finger; a template of foreign minutiae; or a
/// sealed template.
#[derive(Debug, Clone)]
pub struct PreparedSample {
    format: &'static str,
    bytes: Sensitive<Vec<u8>>,
    source_digest: Vec<u8>,
}

impl PreparedSample {
    /// `image`, `minutiae` or `sealed`.
    #[must_use]
    pub const fn format(&self) -> &'static str {
        self.format
    }

    /// SHA-256 over size and pixels as they came, or over the places of foreign minutiae; empty for a sealed template. The same
    /// picture under another resolution or crop differs in its canonical bytes, not in this.
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

/// Brings a sample of one impression into the form in which it travels. Equal pixels give equal bytes, whatever file they came
/// in.
///
/// # Errors
/// As [`prepare_all`]; `Views` for a record of several views.
pub fn prepare(raw: &RawSample) -> Result<PreparedSample, IntakeError> {
    let mut all = prepare_all(raw, Position::Unknown)?;
    match (all.pop(), all.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => Err(IntakeError::Views("the record has several views")),
    }
}

/// The same for a sample that may hold several impressions of the finger at `position`, as minutiae records can.
///
/// # Errors
/// One of `Image`, `Record`, `Views`, `Template`.
pub fn prepare_all(raw: &RawSample, position: Position) -> Result<Vec<PreparedSample>, IntakeError> {
    let bytes = raw.bytes.expose();
    let format = match raw.format {
        Some(SampleFormat::Sealed) => {
            peek_template(bytes).map_err(IntakeError::Template)?;
            let bytes = raw.bytes.clone();
            return Ok(vec![PreparedSample { format: "sealed", bytes, source_digest: Vec::new() }]);
        }
        Some(SampleFormat::Record(family)) => return minutiae(bytes, family, position),
        None if bytes.starts_with(b"FMR\0") => return minutiae(bytes, None, position),
        Some(SampleFormat::Image(format)) => Some(format),
        None => None,
    };
    let image = decode(bytes, format, raw.dpi, &Limits::default()).map_err(IntakeError::Image)?;
    check_scaled_size(&image)?;
    let bytes = Sensitive::new(encode_png(&normalise(&image)));
    Ok(vec![PreparedSample { format: "image", bytes, source_digest: source_digest(&image) }])
}

fn minutiae(
    bytes: &[u8],
    family: Option<RecordFamily>,
    position: Position,
) -> Result<Vec<PreparedSample>, IntakeError> {
    let record = Record::decode(bytes, family).map_err(IntakeError::Record)?;
    let views = views_of(&record, position)?;
    let prepared = views.into_iter().map(|view| {
        let template = view.to_template(record.format).map_err(IntakeError::Record)?;
        let bytes = Sensitive::new(template.to_bytes());
        Ok(PreparedSample { format: "minutiae", bytes, source_digest: minutiae_digest(&template) })
    });
    prepared.collect()
}

/// The views of the finger that is meant. A view that does not say its finger may be of any.
fn views_of(record: &Record, position: Position) -> Result<Vec<&View>, IntakeError> {
    let unknown = Position::Unknown.iso_code();
    let Some(first) = record.views.first() else { return Err(IntakeError::Views("the record has no views")) };
    if position == Position::Unknown {
        let of_one_finger = record.views.iter().all(|view| view.position == first.position);
        return if of_one_finger {
            Ok(record.views.iter().collect())
        } else {
            Err(IntakeError::Views("the record has several fingers; position has to name one"))
        };
    }
    let wanted = |view: &&View| view.position == position.iso_code() || view.position == unknown;
    let views: Vec<_> = record.views.iter().filter(wanted).collect();
    if views.is_empty() {
        Err(IntakeError::Views("the record has no view of the finger at position"))
    } else {
        Ok(views)
    }
}

/// Over where minutiae lie, and nothing that another file of the same minutiae could state otherwise.
fn minutiae_digest(template: &Template) -> Vec<u8> {
    let mut places: Vec<_> = template.minutiae().iter().map(|m| (m.x, m.y, m.direction, m.kind)).collect();
    places.sort_unstable();
    let mut digest = Sha256::new();
    for (x, y, direction, kind) in places {
        digest.update(x.to_be_bytes());
        digest.update(y.to_be_bytes());
        digest.update([direction, u8::from(kind == MinutiaKind::Bifurcation)]);
    }
    digest.finalize().to_vec()
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
    use ridgeline_fingerprint::formats::{FOREIGN_ENGINE, RecordFormat};
    use ridgeline_fingerprint::{ENGINE, Minutia, Quality};

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

    fn record(format: RecordFormat, fingers: &[u8]) -> Record {
        let minutia = |i: u16| Minutia {
            x: 30 + 20 * (i % 5),
            y: 40 + 25 * (i / 5),
            direction: 9 * i as u8,
            kind: MinutiaKind::Ending,
            quality: 50 + i as u8,
        };
        let mut record: Option<Record> = None;
        for (number, finger) in (0..).zip(fingers) {
            let minutiae = (number..20).map(minutia).collect();
            let template = Template::new(ENGINE, 300, 400, Quality::new(77), minutiae).unwrap();
            let mut one = Record::of_template(format, &template, *finger).unwrap();
            match &mut record {
                Some(record) => record.views.append(&mut one.views),
                None => record = Some(one),
            }
        }
        record.unwrap()
    }

    #[test]
    fn minutiae_records_travel_as_foreign_templates() {
        for format in RecordFormat::ALL {
            let name = if format.family() == RecordFamily::Iso19794 { "iso19794-2" } else { "ansi378" };
            let bytes = record(format, &[2]).encode().unwrap();
            let declared = prepare(&raw(Some(SampleFormat::parse(name).unwrap()), bytes.clone())).unwrap();
            let guessed = prepare(&raw(None, bytes.clone())).unwrap();
            assert_eq!((declared.format(), declared.bytes() == guessed.bytes()), ("minutiae", true), "{format}");
            let template = Template::from_bytes(declared.bytes()).unwrap();
            assert_eq!((template.engine(), template.quality().value()), (&FOREIGN_ENGINE, 77));
            let other = if name == "ansi378" { "iso19794-2" } else { "ansi378" };
            let refused = prepare(&raw(Some(SampleFormat::parse(other).unwrap()), bytes)).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::UndecodableSample);
            assert!(refused.public_detail().contains("not the declared standard"), "{}", refused.public_detail());
        }
    }

    #[test]
    fn the_position_chooses_among_the_views_of_a_record() {
        let views = |fingers: &[u8], position| {
            let bytes = record(RecordFormat::Iso2011, fingers).encode().unwrap();
            prepare_all(&raw(None, bytes), position).map(|all| all.len())
        };
        assert_eq!(views(&[2, 2, 7], Position::RightIndex).unwrap(), 2);
        assert_eq!(views(&[2, 0], Position::RightIndex).unwrap(), 2, "an unknown finger may be the one");
        assert_eq!(views(&[2, 2], Position::Unknown).unwrap(), 2);
        for refused in [views(&[2, 7], Position::Unknown), views(&[2], Position::LeftThumb)] {
            assert_eq!(refused.unwrap_err().code(), ErrorCode::UndecodableSample);
        }
        let two = record(RecordFormat::Iso2011, &[2, 2]).encode().unwrap();
        assert!(prepare(&raw(None, two)).is_err(), "one impression was asked for");
    }

    #[test]
    fn equal_minutiae_are_known_again_whatever_their_file_says_of_quality() {
        let mut one = record(RecordFormat::Iso2011, &[2]);
        let first = prepare(&raw(None, one.encode().unwrap())).unwrap();
        one.views[0].qualities[0].value = 99;
        one.views[0].minutiae.reverse();
        one.views[0].minutiae[3].quality = 1;
        let second = prepare(&raw(None, one.encode().unwrap())).unwrap();
        assert!(first.bytes() != second.bytes() && first.source_digest() == second.source_digest());
        one.views[0].minutiae[3].x += 1;
        assert!(prepare(&raw(None, one.encode().unwrap())).unwrap().source_digest() != first.source_digest());
    }

    #[test]
    fn records_that_cannot_be_used_are_refused_with_their_code() {
        let code = |bytes: Vec<u8>| prepare(&raw(None, bytes)).unwrap_err().code();
        let good = record(RecordFormat::Iso2005, &[2]);
        assert_eq!(code(good.encode().unwrap()[..60].to_vec()), ErrorCode::UndecodableSample);
        let mut coarse = good.clone();
        (coarse.views[0].resolution_x, coarse.views[0].resolution_y) = (39, 39);
        assert_eq!(code(coarse.encode().unwrap()), ErrorCode::ResolutionUnknown);
        let mut wide = good;
        (wide.views[0].width, wide.views[0].resolution_x, wide.views[0].resolution_y) = (9_000, 98, 98);
        assert_eq!(code(wide.encode().unwrap()), ErrorCode::ImageTooLarge);
        let found = prepare(&raw(None, b"FMR\0 99\0".to_vec())).unwrap_err().public_detail();
        assert!(found.contains("\" 99\""), "{found}");
    }

    #[test]
    fn all_formats_of_the_interface_are_known() {
        for name in ["png", "jpeg", "bmp", "tiff", "pgm", "wsq", "iso19794-2", "ansi378", "sealed"] {
            assert!(SampleFormat::parse(name).is_ok(), "{name}");
        }
        assert_eq!(SampleFormat::parse("exe").unwrap_err().code(), ErrorCode::MalformedRequest);
    }
}
