//! The pairs that an engine gets most wrong.

use std::collections::BTreeSet;

use crate::run::{Pair, Run};

/// A pair and the set that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// Index of the set within the run.
    pub set: usize,
    /// The pair.
    pub pair: Pair,
}

impl Run {
    /// The impostor pairs of highest score over all sets, highest first.
    pub fn worst_impostors(&self, most: usize) -> Vec<Worst> {
        self.worst(most, false)
    }

    /// The genuine pairs of lowest score over all sets, lowest first.
    pub fn worst_genuine(&self, most: usize) -> Vec<Worst> {
        self.worst(most, true)
    }

    /// An impression is shown once: a single bad one would fill the list. Equal scores keep the order of the run.
    fn worst(&self, most: usize, genuine: bool) -> Vec<Worst> {
        let pairs = self.sets.iter().enumerate().flat_map(|(set, scores)| {
            scores
                .pairs
                .iter()
                .filter(move |pair| pair.is_genuine() == genuine)
                .map(move |pair| Worst { set, pair: *pair })
        });
        let mut pairs: Vec<Worst> = pairs.collect();
        pairs.sort_by(|a, b| {
            let order = a.pair.score.total_cmp(&b.pair.score);
            if genuine { order } else { order.reverse() }
        });
        let mut shown = BTreeSet::new();
        let mut found = Vec::new();
        for worst in pairs {
            let sides = [(worst.set, worst.pair.a), (worst.set, worst.pair.b)];
            if found.len() < most && sides.iter().all(|side| !shown.contains(side)) {
                shown.extend(sides);
                found.push(worst);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_come_first_and_no_impression_twice() {
        let text = "set,finger_a,imp_a,finger_b,imp_b,score\n\
                    s,1,1,1,2,0\ns,1,1,1,3,1\ns,1,2,1,3,2\ns,2,1,2,2,1.5\n\
                    s,1,1,2,1,5\ns,1,2,2,1,9\ns,1,3,2,2,3\nt,1,1,2,1,7\n";
        let run = Run::read(text).unwrap();
        let sides = |found: Vec<Worst>| -> Vec<_> { found.iter().map(|w| (w.set, w.pair.a, w.pair.b)).collect() };
        assert_eq!(sides(run.worst_genuine(5)), [(0, (1, 1), (1, 2)), (0, (2, 1), (2, 2))]);
        let impostors = [(0, (1, 2), (2, 1)), (1, (1, 1), (2, 1)), (0, (1, 3), (2, 2))];
        assert_eq!(sides(run.worst_impostors(5)), impostors);
        assert_eq!(sides(run.worst_impostors(2)), impostors[..2]);
        assert!(run.worst_impostors(0).is_empty());
        assert!(Run::default().worst_genuine(3).is_empty());
    }
}
