//! The images behind the worst pairs.

use anyhow::Context as _;
use ridgeline_evaluation::{Run, Worst};
use ridgeline_fingerprint::paired;
use ridgeline_report::{Shown, Side};

use super::{Extracted, sample};
use crate::args::EvalArgs;

/// Pairs that each list shows at most.
pub(super) const SHOWN: usize = 6;

/// Reads the images of pairs again: to keep those of all sets would take gigabytes.
///
/// # Errors
/// If an image has become unreadable.
pub(super) fn shown(args: &EvalArgs, run: &Run, sets: &[Extracted<'_>], pairs: &[Worst]) -> anyhow::Result<Vec<Shown>> {
    let one = |worst: &Worst| {
        // A set without pairs is not in the run, so places differ.
        let name = run.sets.get(worst.set).map(|set| set.name.as_str());
        let set = sets.iter().find(|set| Some(set.name) == name).context("the set of a pair")?;
        let side = |(finger, impression): (u32, u32)| {
            let is_it = |id: &ridgeline_fingerprint::eval::SampleId| (id.finger, id.impression) == (finger, impression);
            let (_, path) = set.files.iter().find(|(id, _)| is_it(id)).context("the file of an impression")?;
            let row = set.rows.iter().find(|row| is_it(&row.id)).context("the row of an impression")?;
            anyhow::Ok(Side { image: sample(path, args.dpi)?, template: row.template.clone() })
        };
        let sides = [side(worst.pair.a)?, side(worst.pair.b)?];
        let paired = match &sides {
            [Side { template: Some(probe), .. }, Side { template: Some(candidate), .. }] => paired(probe, candidate),
            _ => Vec::new(),
        };
        Ok(Shown { set: set.name.to_owned(), pair: worst.pair, sides, paired })
    };
    pairs.iter().map(one).collect()
}
