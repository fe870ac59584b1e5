//! A run: the scores of one engine on image sets, read from `PREFIX.scores.csv`.

use std::collections::{BTreeMap, BTreeSet};

use crate::rates::Rates;

/// The one header line that is understood.
const HEADER: &str = "set,finger_a,imp_a,finger_b,imp_b,score";

/// The score of an unordered pair of impressions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Finger and impression on one side.
    pub a: (u32, u32),
    /// Finger and impression on the other.
    pub b: (u32, u32),
    /// Similarity, finite; higher is more alike.
    pub score: f64,
}

impl Pair {
    /// Both sides, the lower first.
    pub fn sides(&self) -> ((u32, u32), (u32, u32)) {
        (self.a.min(self.b), self.a.max(self.b))
    }

    /// Whether both sides are of one finger.
    pub fn is_genuine(&self) -> bool {
        self.a.0 == self.b.0
    }
}

/// The pairs of one set.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreSet {
    /// Name of the set.
    pub name: String,
    /// Its pairs in file order.
    pub pairs: Vec<Pair>,
}

impl ScoreSet {
    /// Scores of genuine and of impostor pairs.
    pub fn split(&self) -> (Vec<f64>, Vec<f64>) {
        let of =
            |genuine| self.pairs.iter().filter(move |pair| pair.is_genuine() == genuine).map(|p| p.score).collect();
        (of(true), of(false))
    }

    /// Which pairs one of two runs lacks; scores and the order of sides do not matter.
    pub fn differing(&self, other: &Self) -> Differing {
        let sides = |set: &Self| -> BTreeSet<_> { set.pairs.iter().map(Pair::sides).collect() };
        let (ours, theirs) = (sides(self), sides(other));
        Differing { ours: ours.difference(&theirs).count(), theirs: theirs.difference(&ours).count() }
    }

    /// The rates. None without genuine or without impostor pairs.
    pub fn rates(&self) -> Option<Rates> {
        let (genuine, impostors) = self.split();
        Rates::new(&genuine, &impostors)
    }
}

/// How the pairs of a set differ between two runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differing {
    /// Pairs that only this run has.
    pub ours: usize,
    /// Pairs that only the other has.
    pub theirs: usize,
}

/// The sets of one engine, in the order in which they first appear.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The sets.
    pub sets: Vec<ScoreSet>,
}

/// Why a scores file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The first line is not the header.
    #[error("the first line is not `{HEADER}`")]
    Header,
    /// A line has not six fields of the right kind, or its score is not finite.
    #[error("line {line} is not <set>,<finger>,<impression>,<finger>,<impression>,<score>")]
    Line {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A pair stands there twice, in whatever order of its sides, or an impression is paired with itself.
    #[error("line {line} repeats a pair or pairs an impression with itself")]
    Repeated {
        /// Number of the line, from 1.
        line: usize,
    },
}

impl Run {
    /// Reads the text of a scores file.
    ///
    /// # Errors
    /// [`ReadError`] names the first line that is not understood.
    pub fn read(text: &str) -> Result<Self, ReadError> {
        let mut lines = text.lines().zip(1..);
        if lines.next().is_none_or(|(header, _)| header.trim_end() != HEADER) {
            return Err(ReadError::Header);
        }
        let mut run = Self::default();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (text, line) in lines {
            let (set, pair) = fields(text).ok_or(ReadError::Line { line })?;
            let place = *places.entry(set).or_insert_with(|| {
                run.sets.push(ScoreSet { name: set.to_owned(), pairs: Vec::new() });
                run.sets.len() - 1
            });
            if pair.a == pair.b || !seen.insert((place, pair.sides())) {
                return Err(ReadError::Repeated { line });
            }
            if let Some(set) = run.sets.get_mut(place) {
                set.pairs.push(pair);
            }
        }
        Ok(run)
    }

    /// The set of a name.
    pub fn set(&self, name: &str) -> Option<&ScoreSet> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// The mean of a figure over the sets. None where a set lacks the figure, since a mean over
    /// fewer sets would not compare.
    pub fn mean(&self, figure: impl Fn(&Rates) -> Option<f64>) -> Option<f64> {
        let values: Option<Vec<f64>> = self.sets.iter().map(|set| set.rates().and_then(|r| figure(&r))).collect();
        values.filter(|values| !values.is_empty()).map(|values| values.iter().sum::<f64>() / values.len() as f64)
    }
}

fn fields(line: &str) -> Option<(&str, Pair)> {
    let mut parts = line.trim_end().split(',');
    let set = parts.next().filter(|set| !set.is_empty())?;
    let mut number = || parts.next()?.parse::<u32>().ok();
    let (a, b) = ((number()?, number()?), (number()?, number()?));
    let score = parts.next()?.parse::<f64>().ok().filter(|score| score.is_finite())?;
    parts.next().is_none().then_some((set, Pair { a, b, score }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// Two sets of coarse scores, so that ties and the line between two thresholds count.
    fn synthetic() -> Run {
        let mut text = format!("{HEADER}\n");
        for (set, fingers, impressions, shift) in [("one", 10, 5, 5), ("two", 5, 3, 3)] {
            let ids: Vec<(u32, u32)> = (1..=fingers).flat_map(|f| (1..=impressions).map(move |i| (f, i))).collect();
            for (x, a) in ids.iter().enumerate() {
                for (y, b) in ids.iter().enumerate().skip(x + 1) {
                    let product = (x * y) as u32;
                    let base = (7 * a.0 + 11 * b.0 + 5 * a.1 * b.1 + 3 * product) % 10;
                    let more = if a.0 == b.0 { shift } else { 3 * u32::from(product % 97 == 1) };
                    writeln!(text, "{set},{},{},{},{},{}", a.0, a.1, b.0, b.1, base + more).unwrap();
                }
            }
        }
        Run::read(&text).unwrap()
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    /// The expected values are those of an independent implementation (numpy) on the same scores.
    #[test]
    fn figures_agree_with_another_implementation() {
        let run = synthetic();
        let [one, two] = [0, 1].map(|place| run.sets[place].rates().unwrap().summary());
        assert_eq!((one.genuine, one.impostors, two.genuine, two.impostors), (100, 1125, 15, 90));
        near(one.eer, 0.25);
        near(one.fmr100.unwrap(), 0.56);
        near(one.fmr1000.unwrap(), 0.56);
        assert_eq!(one.fmr10000, None);
        near(one.zero_fmr, 0.6);
        near(two.eer, 0.333_333_333_333_333_37);
        assert_eq!(two.fmr100, None);
        near(two.zero_fmr, 0.8);
        near(run.mean(|rates| Some(rates.eer())).unwrap(), 0.291_666_666_666_666_7);
        assert_eq!(run.mean(|rates| rates.fnmr_at(1e-2)), None);
    }

    /// The other implementation gives 0.2167 to 0.2869 from 2 000 resamplings of another generator.
    #[test]
    fn the_interval_agrees_with_another_implementation_and_repeats() {
        let run = synthetic();
        let of = |seed| {
            let [draws] = run.sets[0].draws(2_000, seed, |rates| [Some(rates.eer())]);
            draws.interval().unwrap()
        };
        let found = of(1);
        assert!((found.low - 0.2167).abs() < 0.01 && (found.high - 0.2869).abs() < 0.01, "{found:?}");
        assert_eq!(found, of(1));
        assert_ne!(found, of(2));
    }

    #[test]
    fn lines_that_are_not_understood_are_named() {
        let read = |lines: &str| Run::read(&format!("{HEADER}\n{lines}")).unwrap_err();
        assert_eq!(Run::read("").unwrap_err(), ReadError::Header);
        assert_eq!(Run::read("set,score\n").unwrap_err(), ReadError::Header);
        for bad in ["s,1,1,1,2", "s,1,1,1,2,3,4", "s,1,1,1,x,3", "s,1,1,1,2,NaN", "s,1,1,1,2,inf", ",1,1,1,2,3", ""] {
            assert_eq!(read(&format!("s,1,1,2,1,3\n{bad}\n")), ReadError::Line { line: 3 }, "{bad}");
        }
        assert_eq!(read("s,1,1,2,1,3\ns,2,1,1,1,3\n"), ReadError::Repeated { line: 3 });
        assert_eq!(read("s,1,1,1,1,3\n"), ReadError::Repeated { line: 2 });
    }

    #[test]
    fn every_prefix_of_a_file_is_read_or_refused() {
        let text = format!("{HEADER}\ns,1,1,1,2,30.5\ns,1,1,2,1,4\n");
        for length in 0..text.len() {
            if let Ok(run) = Run::read(&text[..length]) {
                assert!(run.sets.iter().map(|set| set.pairs.len()).sum::<usize>() <= 2);
            }
        }
    }

    #[test]
    fn pairs_that_one_run_lacks_are_counted() {
        let set = |lines: &str| Run::read(&format!("{HEADER}\n{lines}")).unwrap().sets.remove(0);
        let (one, two) = (set("s,1,1,1,2,3\ns,1,1,2,1,4\n"), set("s,2,1,1,1,9\ns,1,1,1,2,3\ns,1,2,2,1,0\n"));
        assert_eq!(one.differing(&one), Differing::default());
        assert_eq!(one.differing(&two), Differing { ours: 0, theirs: 1 });
        assert_eq!(two.differing(&one), Differing { ours: 1, theirs: 0 });
    }

    #[test]
    fn one_finger_alone_has_no_rates_and_no_mean() {
        let run = Run::read(&format!("{HEADER}\ns,1,1,1,2,3\ns,1,1,1,3,4\n")).unwrap();
        assert!(run.sets[0].rates().is_none());
        assert_eq!(run.mean(|rates| Some(rates.eer())), None);
    }
}
