//! The minutiae template: what is stored, sealed and compared.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cmp::Ordering;
use std::fmt;

use zeroize::Zeroize;

use crate::engine::Engine;
use crate::layout;

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
    engine: Engine,
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

impl Template {
    /// A template of `minutiae` found in `width` × `height` pixels at 500 dpi by an engine.
    ///
    /// Keeps the [`MAX_MINUTIAE`] of greatest quality and puts them into one canonical order, so that
    /// equal sets of minutiae make equal templates.
    ///
    /// # Errors
    /// [`TemplateError::BadField`] when a side is 0 or greater than [`MAX_SIDE_PIXELS`], or a minutia
    /// lies outside the sides or has a quality above 100, or the engine's name is not of its form.
    pub fn new(
        engine: Engine,
        width: u16,
        height: u16,
        quality: Quality,
        mut minutiae: Vec<Minutia>,
    ) -> Result<Self, TemplateError> {
        let sides = 1..=MAX_SIDE_PIXELS;
        let inside = |m: &Minutia| m.x < width && m.y < height && m.quality <= 100;
        let described = sides.contains(&width) && sides.contains(&height) && Engine::is_valid_name(engine.name());
        if !described || !minutiae.iter().all(inside) {
            minutiae.iter_mut().for_each(wipe);
            return Err(TemplateError::BadField);
        }
        minutiae.sort_unstable_by(Self::order);
        minutiae.iter_mut().skip(MAX_MINUTIAE).for_each(wipe);
        minutiae.truncate(MAX_MINUTIAE);
        Ok(Self { engine, width, height, quality, minutiae })
    }

    /// Best quality first, then by place: the order of minutiae in a template.
    pub(crate) fn order(a: &Minutia, b: &Minutia) -> Ordering {
        b.quality.cmp(&a.quality).then(a.cmp(b))
    }

    /// The extractor that found the minutiae.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Version of the engine that extracted the minutiae.
    pub fn engine_version(&self) -> u16 {
        self.engine.version()
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

    /// The compact binary form: some 30 bytes and, for images of up to 512 pixels a side, 4¼ a minutia.
    pub fn to_bytes(&self) -> Vec<u8> {
        layout::write(self)
    }

    /// Reads [`to_bytes`](Self::to_bytes)' form, and that of layout 1, which named no extractor.
    ///
    /// # Errors
    /// A [`TemplateError`] for anything else: of layout 2 all bytes are refused that `to_bytes` does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TemplateError> {
        layout::read(bytes)
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
