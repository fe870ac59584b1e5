//! The extractor: from a grey image to a template.

use crate::engine::Engine;
use crate::field::{self, Fields, length};
use crate::frequency::{self, Periods};
use crate::gabor;
use crate::half::{HALF_BLOCK, doubled, halved};
use crate::image::GreyImage;
use crate::minutiae;
use crate::plane::{BLOCK, Plane, grey_plane, resampled};
use crate::quality::{QualityFeatures, Seen};
use crate::template::{MAX_SIDE_PIXELS, Minutia, Quality, Template};

/// Name of the engine, stored beside scores and figures.
pub const ENGINE_NAME: &str = "ridgeline-classical";
/// Version of the engine; templates of other versions are not comparable.
pub const ENGINE_VERSION: u16 = 2;
/// The same, as templates name it.
pub const ENGINE: Engine = Engine::new(ENGINE_NAME, ENGINE_VERSION);
/// Resolution that all work happens at, in dots per inch.
pub const WORKING_DPI: u16 = 500;

/// A template and the quality of the impression it came from.
#[derive(Clone, Debug)]
pub struct Extraction {
    /// The minutiae.
    pub template: Template,
    /// The same quality as the template carries.
    pub quality: Quality,
    /// What the quality was computed from.
    pub features: QualityFeatures,
}

/// Why an image gives no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// No ridge pattern, or too few minutiae to tell fingers apart.
    #[error("the image shows no fingerprint")]
    NotAFingerprint,
    /// The image or the finger area in it is too small.
    #[error("the image is too small")]
    TooSmall,
    /// A side is longer than a template can hold at 500 dpi.
    #[error("the image is too large")]
    TooLarge,
}

/// Turns images into templates. Implementations are deterministic.
pub trait Extractor: Send + Sync {
    /// Name of the engine.
    fn name(&self) -> &'static str;
    /// Version of the engine.
    fn version(&self) -> u16;
    /// Extracts the minutiae of one impression.
    ///
    /// # Errors
    /// [`ExtractError`] when the image shows no usable fingerprint.
    fn extract(&self, image: &GreyImage) -> Result<Extraction, ExtractError>;
}

/// The classical engine: Gabor enhancement, thinning, crossing numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Classical;

impl Extractor for Classical {
    fn name(&self) -> &'static str {
        ENGINE_NAME
    }

    fn version(&self) -> u16 {
        ENGINE_VERSION
    }

    fn extract(&self, image: &GreyImage) -> Result<Extraction, ExtractError> {
        self.extract_watched(image, &mut |_| ())
    }
}

impl Classical {
    /// Extracts as [`Extractor::extract`] does and says when each stage is done, for measurements.
    ///
    /// # Errors
    /// The same as [`Extractor::extract`]'s.
    pub fn extract_watched(&self, image: &GreyImage, done: &mut dyn FnMut(Stage)) -> Result<Extraction, ExtractError> {
        let plane = at_working_resolution(image)?;
        let (seen, enhanced) = Impression::of(&plane, MIN_AREA_BLOCKS, done).ok_or(ExtractError::NotAFingerprint)?;
        let enhanced = doubled(&enhanced);
        done(Stage::Enhance);
        if !seen.is_ridged() {
            return Err(ExtractError::NotAFingerprint);
        }
        let mut found = minutiae::find(&enhanced, &seen.fields, &seen.periods, &seen.clarity);
        found.retain(|m| usize::from(m.x) < plane.width && usize::from(m.y) < plane.height);
        done(Stage::Minutiae);
        if !seen.is_plausible_count(found.len()) {
            return Err(ExtractError::NotAFingerprint);
        }
        let features = seen.features(&found);
        let quality = features.quality();
        let (width, height) = (plane.width as u16, plane.height as u16);
        let template = Template::new(ENGINE, width, height, quality, found).map_err(|_| ExtractError::TooLarge)?;
        Ok(Extraction { template, quality, features })
    }
}

/// A stage of an extraction, in the order they are done in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The image at 500 dpi, and at half that.
    Scale,
    /// Contrast, orientation, foreground and polarity.
    Fields,
    /// Ridge periods.
    Periods,
    /// The first enhancement, and orientation and foreground from it.
    Draft,
    /// The second enhancement.
    Enhance,
    /// Skeletons and minutiae.
    Minutiae,
}

/// Least foreground in blocks of 64 pixels: about 5 × 5 mm.
const MIN_AREA_BLOCKS: usize = 150;
/// Least share of foreground positions with a clear ridge period.
const MIN_PERIODIC_SHARE: f32 = 0.15;
const MIN_MINUTIAE: usize = 5;
/// Least foreground blocks a minutia, weighted by their clarity; print and noise crowd minutiae.
const MIN_BLOCKS_A_MINUTIA: f32 = 3.5;
/// Least mean clarity of the foreground.
const MIN_CLARITY: f32 = 0.3;
/// The same upwards; a regular grating has no minutiae but those at its border.
const MAX_BLOCKS_A_MINUTIA: f32 = 110.0;
/// Greatest smoothness of the orientation. Arches bend little, lines of print and gratings less.
const MAX_SMOOTHNESS: f32 = 0.98;

/// Blocks of foreground.
fn area(fields: &Fields) -> usize {
    fields.foreground.data.iter().filter(|set| **set).count()
}

/// An enhanced image brought to even contrast.
fn redrawn(mut enhanced: Plane<f32>, contrast: &Plane<f32>) -> Plane<f32> {
    for (y, row) in enhanced.data.chunks_exact_mut(enhanced.width).enumerate() {
        let contrast = contrast.row(y / HALF_BLOCK);
        for (cells, contrast) in row.chunks_exact_mut(HALF_BLOCK).zip(contrast) {
            let scale = 60.0 / contrast.max(4.0);
            cells.iter_mut().for_each(|cell| *cell = (*cell * scale).clamp(-128.0, 127.0));
        }
    }
    enhanced
}

pub(crate) fn at_working_resolution(image: &GreyImage) -> Result<Plane<u8>, ExtractError> {
    let plane = grey_plane(image);
    let scale = f32::from(WORKING_DPI) / f32::from(image.dpi());
    let side = |pixels: usize| (pixels as f32 * scale).round() as usize;
    let (width, height) = (side(plane.width), side(plane.height));
    if width.max(height) > usize::from(MAX_SIDE_PIXELS) {
        return Err(ExtractError::TooLarge);
    }
    if width.min(height) < 4 * BLOCK {
        return Err(ExtractError::TooSmall);
    }
    if image.dpi() == WORKING_DPI { Ok(plane) } else { Ok(resampled(&plane, scale)) }
}

/// What an image shows before minutiae are looked for.
pub(crate) struct Impression {
    pub(crate) fields: Fields,
    pub(crate) periods: Periods,
    pub(crate) clarity: Plane<f32>,
}

impl Impression {
    /// With the enhanced image at half size; `None` where less than `least` blocks are foreground.
    pub(crate) fn of(plane: &Plane<u8>, least: usize, done: &mut dyn FnMut(Stage)) -> Option<(Self, Plane<f32>)> {
        let mut half = halved(plane);
        done(Stage::Scale);
        let mut fields = field::estimate(plane, &half);
        if area(&fields) < least {
            return None;
        }
        if fields.is_light_on_dark() {
            // Filters have no mean: turning the sign of the image turns ridges into valleys.
            half.data.iter_mut().for_each(|value| *value = -*value);
        }
        done(Stage::Fields);
        let periods = frequency::estimate(plane, &fields);
        done(Stage::Periods);
        let draft = gabor::enhance(&half, &fields, &periods.period);
        fields.keep_clear(&minutiae::clarity(&draft, &fields));
        if area(&fields) < least {
            return None;
        }
        // Ridges once enhanced show their orientation more reliably than the raw image does.
        fields.reorient(&redrawn(draft, &fields.contrast));
        done(Stage::Draft);
        let enhanced = gabor::enhance(&half, &fields, &periods.period);
        let clarity = minutiae::clarity(&enhanced, &fields);
        Some((Self { fields, periods, clarity }, enhanced))
    }

    fn mean_over_foreground(&self, plane: &Plane<f32>) -> f32 {
        let mask = &self.fields.foreground.data;
        let (mut total, mut count) = (0.0, 0_u32);
        for (value, _) in plane.data.iter().zip(mask).filter(|(_, set)| **set) {
            total += value;
            count += 1;
        }
        total / count.max(1) as f32
    }

    /// How smoothly the ridge orientation varies over the foreground, 0 to 1.
    fn smoothness(&self) -> f32 {
        let (cos2, sin2) = (self.fields.cos2.blurred(2.5), self.fields.sin2.blurred(2.5));
        let smooth = cos2.data.iter().zip(&sin2.data).map(|(c, s)| length(*c, *s)).collect();
        self.mean_over_foreground(&Plane { data: smooth, ..cos2 })
    }

    fn is_plausible_count(&self, minutiae: usize) -> bool {
        let clear_area = area(&self.fields) as f32 * self.mean_over_foreground(&self.clarity);
        let spacing = MIN_BLOCKS_A_MINUTIA..=MAX_BLOCKS_A_MINUTIA;
        minutiae >= MIN_MINUTIAE && spacing.contains(&(clear_area / minutiae as f32))
    }

    fn is_ridged(&self) -> bool {
        self.periods.periodic_share >= MIN_PERIODIC_SHARE
            && self.mean_over_foreground(&self.clarity) >= MIN_CLARITY
            && self.smoothness() <= MAX_SMOOTHNESS
    }

    fn features(&self, minutiae: &[Minutia]) -> QualityFeatures {
        let Fields { foreground, coherence, .. } = &self.fields;
        QualityFeatures::of(&Seen { foreground, clarity: &self.clarity, coherence, minutiae })
    }
}
