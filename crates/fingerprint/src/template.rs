//! The minutiae template: what is stored, sealed and compared.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt;

use zeroize::Zeroize;

/// Most minutiae of a template; the strongest are kept.
pub const MAX_MINUTIAE: usize = 255;
/// Greatest width or height of a template in pixels at 500 dpi.
pub const MAX_SIDE_PIXELS: u16 = 16_383;

/// How well an image can be expected to match, 0 (useless) to 100 (excellent).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quality(u8);

impl Quality {
    /// A quality; values above 100 become 100.
    pub fn new(value: u8) -> Self {
        Self(value.min(100))
    }

    /// The value, 0 to 100.
    pub fn value(self) -> u8 {
        self.0
    }
}

/// Similarity of two templates: 0 means nothing in common, larger is more alike, no upper bound.
///
/// A score has no meaning across engine versions; turn it into a false match rate with
/// [`calibration::fmr`](crate::calibration::fmr).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Score(f32);

impl Score {
    /// A score; negative and not-a-number values become 0.
    pub fn new(value: f32) -> Self {
        Self(if value > 0.0 { value } else { 0.0 })
    }

    /// The value, at least 0, never NaN.
    pub fn value(self) -> f32 {
        self.0
    }
}

/// What a ridge does at a minutia.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MinutiaKind {
    /// The ridge stops.
    Ending,
    /// The ridge forks.
    Bifurcation,
}

/// One minutia. Its `Debug` shows nothing: it is biometric data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minutia {
    /// Pixels from the left edge at 500 dpi.
    pub x: u16,
    /// Pixels from the top edge at 500 dpi.
    pub y: u16,
    /// Direction in 1/256 of a turn, counter-clockwise from the positive x axis as seen on the image
    /// (ISO/IEC 19794-2): from an ending back along its ridge, from a bifurcation back along the
    /// valley that ends between its branches.
    pub direction: u8,
    /// Ending or bifurcation.
    pub kind: MinutiaKind,
    /// Confidence, 0 to 100.
    pub quality: u8,
}

/// The minutiae of one impression, wiped on drop and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    engine_version: u16,
    width: u16,
    height: u16,
    quality: Quality,
    minutiae: Vec<Minutia>,
}

/// Why bytes are no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The bytes do not start like a template.
    #[error("the bytes are no template")]
    BadMagic,
    /// The layout is of a version this build cannot read.
    #[error("template layout {0} is not supported")]
    UnsupportedLayout(u8),
    /// The bytes are shorter or longer than the header says.
    #[error("the template has the wrong length")]
    BadLength,
    /// A field lies outside its range.
    #[error("a field of the template is out of range")]
    BadField,
}

const MAGIC: [u8; 2] = *b"RM";
const LAYOUT: u8 = 1;
const HEADER_BYTES: usize = 11;
const MINUTIA_BYTES: usize = 6;
const BIFURCATION_BIT: u16 = 0x8000;

impl Template {
    /// A template of `minutiae` found in `width` × `height` pixels at 500 dpi by an engine version.
    ///
    /// Keeps the [`MAX_MINUTIAE`] of greatest quality and puts them into one canonical order, so that
    /// equal sets of minutiae make equal templates.
    ///
    /// # Errors
    /// [`TemplateError::BadField`] when a side is 0 or greater than [`MAX_SIDE_PIXELS`], or a minutia
    /// lies outside the sides or has a quality above 100.
    pub fn new(
        engine_version: u16,
        width: u16,
        height: u16,
        quality: Quality,
        mut minutiae: Vec<Minutia>,
    ) -> Result<Self, TemplateError> {
        let sides = 1..=MAX_SIDE_PIXELS;
        let inside = |m: &Minutia| m.x < width && m.y < height && m.quality <= 100;
        if !sides.contains(&width) || !sides.contains(&height) || !minutiae.iter().all(inside) {
            minutiae.iter_mut().for_each(wipe);
            return Err(TemplateError::BadField);
        }
        minutiae.sort_unstable_by(|a, b| b.quality.cmp(&a.quality).then(a.cmp(b)));
        minutiae.iter_mut().skip(MAX_MINUTIAE).for_each(wipe);
        minutiae.truncate(MAX_MINUTIAE);
        Ok(Self { engine_version, width, height, quality, minutiae })
    }

    /// Version of the engine that extracted the minutiae.
    pub fn engine_version(&self) -> u16 {
        self.engine_version
    }

    /// Width of the image in pixels at 500 dpi.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Height of the image in pixels at 500 dpi.
    pub fn height(&self) -> u16 {
        self.height
    }

    /// Quality of the impression.
    pub fn quality(&self) -> Quality {
        self.quality
    }

    /// The minutiae, best quality first, at most [`MAX_MINUTIAE`].
    pub fn minutiae(&self) -> &[Minutia] {
        &self.minutiae
    }

    /// The compact binary form: an 11-byte header, then 6 bytes a minutia, big endian.
    ///
    /// Header: `RM`, layout u8, engine version u16, width u16, height u16, quality u8, count u8.
    /// Minutia: x u16 with bit 15 set for a bifurcation, y u16, direction u8, quality u8.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + MINUTIA_BYTES * self.minutiae.len());
        out.extend_from_slice(&MAGIC);
        out.push(LAYOUT);
        out.extend_from_slice(&self.engine_version.to_be_bytes());
        out.extend_from_slice(&self.width.to_be_bytes());
        out.extend_from_slice(&self.height.to_be_bytes());
        out.push(self.quality.0);
        out.push(self.minutiae.len() as u8);
        for minutia in &self.minutiae {
            let kind = match minutia.kind {
                MinutiaKind::Ending => 0,
                MinutiaKind::Bifurcation => BIFURCATION_BIT,
            };
            out.extend_from_slice(&(minutia.x | kind).to_be_bytes());
            out.extend_from_slice(&minutia.y.to_be_bytes());
            out.extend_from_slice(&[minutia.direction, minutia.quality]);
        }
        out
    }

    /// Reads [`to_bytes`](Self::to_bytes)' form.
    ///
    /// # Errors
    /// A [`TemplateError`] for anything that `to_bytes` does not write, so that reading and writing
    /// are inverse to one another.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TemplateError> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(if bytes.starts_with(&MAGIC) { TemplateError::BadLength } else { TemplateError::BadMagic });
        };
        let &[m0, m1, layout, v0, v1, w0, w1, h0, h1, quality, count] = header;
        if [m0, m1] != MAGIC {
            return Err(TemplateError::BadMagic);
        }
        if layout != LAYOUT {
            return Err(TemplateError::UnsupportedLayout(layout));
        }
        if body.len() != usize::from(count) * MINUTIA_BYTES {
            return Err(TemplateError::BadLength);
        }
        if quality > 100 {
            return Err(TemplateError::BadField);
        }
        let (records, _) = body.as_chunks::<MINUTIA_BYTES>();
        let minutiae: Vec<Minutia> = records.iter().map(minutia_of).collect();
        let template = Self::new(
            u16::from_be_bytes([v0, v1]),
            u16::from_be_bytes([w0, w1]),
            u16::from_be_bytes([h0, h1]),
            Quality(quality),
            minutiae,
        )?;
        let canonical = template.minutiae.iter().zip(records).all(|(m, r)| *m == minutia_of(r));
        if canonical { Ok(template) } else { Err(TemplateError::BadField) }
    }
}

fn minutia_of(&[x0, x1, y0, y1, direction, quality]: &[u8; MINUTIA_BYTES]) -> Minutia {
    let x = u16::from_be_bytes([x0, x1]);
    let bifurcation = x & BIFURCATION_BIT != 0;
    Minutia {
        x: x & !BIFURCATION_BIT,
        y: u16::from_be_bytes([y0, y1]),
        direction,
        kind: if bifurcation { MinutiaKind::Bifurcation } else { MinutiaKind::Ending },
        quality,
    }
}

fn wipe(minutia: &mut Minutia) {
    minutia.x.zeroize();
    minutia.y.zeroize();
    minutia.direction.zeroize();
    minutia.quality.zeroize();
    minutia.kind = MinutiaKind::Ending;
}

impl fmt::Debug for Minutia {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Minutia")
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Template({} minutiae)", self.minutiae.len())
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        self.minutiae.iter_mut().for_each(wipe);
    }
}
