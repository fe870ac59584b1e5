//! Fingerprint engine: grey image → minutiae template → similarity → false match rate.
//!
//! Pure computation: no files, clock, randomness or threads; equal input gives equal output.
//!
//! ```text
//! bytes ─decode─► GreyImage ─Extractor─► Template ─Probe/Candidate─► compare ─► Score ─calibration─► FMR
//! ```

mod align;
mod bits;
/// Score to false match rate.
pub mod calibration;
mod cylinder;
mod decode;
mod engine;
/// Pair scores and timings of image sets, for error rates.
pub mod eval;
mod extract;
mod field;
pub mod formats;
mod frequency;
mod gabor;
mod gallery;
mod half;
mod image;
mod layout;
mod maps;
mod matcher;
mod minutiae;
mod mosaic;
mod normalise;
mod plane;
mod prepared;
mod propose;
mod quality;
mod resolution;
mod selfcheck;
mod template;
mod thin;
mod wsq;

pub use crate::decode::{ImageError, ImageFormat, Limits, MIN_SIDE_PIXELS, decode};
pub use crate::engine::{ENGINE_NAME_BYTES_MAX, Engine};
pub use crate::extract::{
    Classical, ENGINE, ENGINE_NAME, ENGINE_VERSION, ExtractError, Extraction, Extractor, Stage, WORKING_DPI,
};
pub use crate::gallery::{Found, Gallery, search};
pub use crate::image::{GreyImage, encode_png};
pub use crate::maps::{Block, Maps, Position, maps, paired};
pub use crate::matcher::{Candidate, Evidence, Matcher, Probe, compare};
pub use crate::mosaic::{MergeError, Merged, merge};
pub use crate::normalise::normalise;
pub use crate::quality::QualityFeatures;
pub use crate::selfcheck::{SelfCheckError, self_check};
pub use crate::template::{
    MAX_MINUTIAE, MAX_SIDE_PIXELS, Minutia, MinutiaKind, Quality, Score, Template, TemplateError,
};
