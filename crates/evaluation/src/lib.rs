//! Error rates of a matcher from the scores of image sets.
//!
//! Pure computation: no files, clock, threads or randomness but that of a seed.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bootstrap;
mod rates;
mod run;

pub use crate::bootstrap::{Interval, interval};
pub use crate::rates::{Point, Rates, Summary};
pub use crate::run::{Pair, ReadError, Run, ScoreSet};
