//! Error rates of a matcher from the scores of image sets.
//!
//! Pure computation: no files, clock, threads or randomness but that of a seed.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bootstrap;
mod costs;
mod curve;
mod rates;
mod run;
mod worst;

pub use crate::bootstrap::{Draws, Interval};
pub use crate::costs::{Costs, CostsError, SetCosts};
pub use crate::curve::{Histogram, Reject, error_versus_reject, fnmr_at_reject};
pub use crate::rates::{Point, Rates, Summary};
pub use crate::run::{Differing, Pair, ReadError, Run, ScoreSet};
pub use crate::worst::Worst;
