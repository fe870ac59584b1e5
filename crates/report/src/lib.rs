//! What people look at: the report of an evaluation as one HTML page, and pictures of what the extractor sees.
//!
//! Pure computation: data in, text and pixels out; no files, clock, threads or randomness but that of a seed.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod axis;
mod canvas;
mod charts;
mod drawing;
mod figures;
mod html;
mod notes;
mod page;
mod plot;
mod tables;
mod worst;

pub use crate::canvas::{Canvas, Rgb};
pub use crate::drawing::{draw_maps, draw_template};
pub use crate::figures::{Figure, Row, Table};
pub use crate::notes::notes;
pub use crate::page::{Engine, Report, page};
pub use crate::worst::{Shown, Side};

/// Why there is no report or picture.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A chart could not be drawn.
    #[error("cannot draw a chart: {0}")]
    Chart(String),
    /// A picture could not be written as PNG.
    #[error("cannot write a picture")]
    Picture(#[from] image::ImageError),
}
