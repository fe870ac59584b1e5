//! The figures of a run, set by set and as means, with intervals and differences between two runs.

use ridgeline_evaluation::{Differing, Draws, Interval, Rates, Run, ScoreSet};

/// Draws of fingers behind an interval.
const RESAMPLINGS: u32 = 1_000;
/// Figures of a row.
pub(crate) const COUNT: usize = 5;
/// Their names.
pub(crate) const NAMES: [&str; COUNT] = ["EER", "FMR100", "FMR1000", "FMR10000", "ZeroFMR"];

/// A share or a difference of shares, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The value over all pairs.
    pub value: f64,
    /// Where it lies under 95 % of the draws of fingers.
    pub interval: Option<Interval>,
}

/// The figures of one set, or their means over the sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The set.
    pub name: String,
    /// Genuine pairs.
    pub genuine: usize,
    /// Impostor pairs.
    pub impostors: usize,
    /// EER, FMR100, FMR1000, FMR10000, ZeroFMR; none of a set that cannot show them.
    pub figures: [Option<Figure>; COUNT],
    draws: Option<[Draws; COUNT]>,
}

/// All rows of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// One for each set, in the run's order.
    pub rows: Vec<Row>,
    /// The means over several sets that all have rates.
    pub mean: Option<Row>,
}

impl Row {
    /// The equal error rate.
    pub fn eer(&self) -> Option<Figure> {
        self.figures[0]
    }

    /// Least FNMR with FMR ≤ 0.1 %.
    pub fn fmr1000(&self) -> Option<Figure> {
        self.figures[2]
    }

    fn of(set: &ScoreSet) -> Self {
        let genuine = set.pairs.iter().filter(|pair| pair.is_genuine()).count();
        let (name, impostors) = (set.name.clone(), set.pairs.len() - genuine);
        let Some(rates) = set.rates() else {
            return Self { name, genuine, impostors, figures: [None; COUNT], draws: None };
        };
        let draws = set.draws(RESAMPLINGS, seed(&set.name), values);
        let figures = with_intervals(values(&rates), &draws);
        Self { name, genuine, impostors, figures, draws: Some(draws) }
    }
}

impl Table {
    /// Computes the figures; equal scores give equal figures.
    pub fn of(run: &Run) -> Self {
        let rows: Vec<Row> = run.sets.iter().map(Row::of).collect();
        let mean = (rows.len() > 1).then(|| mean(run, &rows)).flatten();
        Self { rows, mean }
    }

    /// What this run's figures are above the other's, for the sets of which both have the same pairs, and for the mean when
    /// these are all sets of both.
    pub(crate) fn minus(&self, run: &Run, other: &Self, other_run: &Run) -> Vec<Row> {
        let is_same = |name: &str| match (run.set(name), other_run.set(name)) {
            (Some(ours), Some(theirs)) => ours.differing(theirs) == Differing::default(),
            _ => false,
        };
        let shared = self.rows.iter().filter(|row| is_same(&row.name));
        let both = shared.filter_map(|row| Some((row, other.rows.iter().find(|theirs| theirs.name == row.name)?)));
        let mut found: Vec<Row> = both.filter_map(|(ours, theirs)| difference(ours, theirs)).collect();
        let is_all = found.len() == self.rows.len() && found.len() == other.rows.len();
        if let (Some(ours), Some(theirs), true) = (&self.mean, &other.mean, is_all) {
            found.extend(difference(ours, theirs));
        }
        found
    }
}

fn values(rates: &Rates) -> [Option<f64>; COUNT] {
    let summary = rates.summary();
    [Some(summary.eer), summary.fmr100, summary.fmr1000, summary.fmr10000, Some(summary.zero_fmr)]
}

fn with_intervals(values: [Option<f64>; COUNT], draws: &[Draws; COUNT]) -> [Option<Figure>; COUNT] {
    let mut draws = draws.iter();
    values.map(|value| {
        let interval = draws.next().and_then(Draws::interval);
        value.map(|value| Figure { value, interval })
    })
}

fn mean(run: &Run, rows: &[Row]) -> Option<Row> {
    let sets: Vec<&[Draws; COUNT]> = rows.iter().map(|row| row.draws.as_ref()).collect::<Option<_>>()?;
    let of_figure =
        |figure: usize| Draws::mean(&sets.iter().filter_map(|set| set.get(figure).cloned()).collect::<Vec<_>>());
    let mut found = Vec::with_capacity(COUNT);
    for figure in 0..COUNT {
        found.push(of_figure(figure)?);
    }
    let draws: [Draws; COUNT] = found.try_into().ok()?;
    let values = std::array::from_fn(|figure| run.mean(|rates| values(rates).get(figure).copied().flatten()));
    Some(Row {
        name: "mean over sets".to_owned(),
        genuine: rows.iter().map(|row| row.genuine).sum(),
        impostors: rows.iter().map(|row| row.impostors).sum(),
        figures: with_intervals(values, &draws),
        draws: Some(draws),
    })
}

fn difference(ours: &Row, theirs: &Row) -> Option<Row> {
    let (mine, other) = (ours.draws.as_ref()?, theirs.draws.as_ref()?);
    let mut pairs = mine.iter().zip(other).map(|(mine, other)| mine.minus(other));
    let mut values = ours.figures.iter().zip(&theirs.figures);
    let figures = std::array::from_fn(|_| {
        let interval = pairs.next().and_then(|draws| draws.interval());
        let (mine, other) = values.next()?;
        Some(Figure { value: (*mine)?.value - (*other)?.value, interval })
    });
    Some(Row { figures, draws: None, ..ours.clone() })
}

/// Sets are drawn independently of one another, and a set of one name alike in both runs (FNV-1a).
fn seed(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::run;

    #[test]
    fn rows_have_figures_and_the_mean_stands_where_all_have() {
        let two = Table::of(&run(&["a", "b"], 6, 0));
        assert_eq!((two.rows.len(), two.rows[0].genuine, two.rows[0].impostors), (2, 6, 60));
        let mean = two.mean.unwrap();
        let eers: Vec<f64> = two.rows.iter().map(|row| row.eer().unwrap().value).collect();
        assert_eq!((mean.eer().unwrap().value, mean.genuine), ((eers[0] + eers[1]) / 2.0, 12));
        assert!(mean.eer().unwrap().interval.is_some() && mean.fmr1000().is_none());
        let lonely = Table::of(&run(&["a"], 1, 0));
        assert_eq!((lonely.rows[0].figures, lonely.mean), ([None; COUNT], None));
        assert!(Table::of(&Run::default()).rows.is_empty());
    }

    #[test]
    fn differences_are_of_sets_with_equal_pairs() {
        let (ours, worse) = (run(&["a", "b"], 6, 0), run(&["b", "a"], 6, 4));
        let (mine, theirs) = (Table::of(&ours), Table::of(&worse));
        let rows = theirs.minus(&worse, &mine, &ours);
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["b", "a", "mean over sets"]);
        let eer = rows[2].eer().unwrap();
        assert!(eer.value > 0.0 && eer.interval.unwrap().low > 0.0);
        let own = mine.minus(&ours, &mine, &ours);
        assert!(own.iter().all(|row| row.eer().unwrap().interval == Some(Interval { low: 0.0, high: 0.0 })));
        let (part, others) = (run(&["a"], 6, 0), run(&["b"], 5, 0));
        assert_eq!(mine.minus(&ours, &Table::of(&part), &part).len(), 1, "no mean over other sets");
        assert!(mine.minus(&ours, &Table::of(&others), &others).is_empty(), "other fingers");
    }
}
