//! What has to be said about a comparison of two runs before their figures are read.

use ridgeline_evaluation::{Differing, Run};

/// Sentences on sets without rates and on pairs that only one of two runs has; none where all is as expected.
pub fn notes(run: &Run, other: Option<(&str, &Run)>) -> Vec<String> {
    let mut found = Vec::new();
    for set in run.sets.iter().filter(|set| set.rates().is_none()) {
        found.push(format!("{}: no rates, for they need genuine and impostor pairs", set.name));
    }
    let sizes: Vec<usize> = run.sets.iter().map(|set| set.pairs.len()).collect();
    if sizes.iter().any(|size| Some(size) != sizes.first()) {
        found.push("the sets are of unequal size: the mean gives each the same weight".to_owned());
    }
    let Some((name, other)) = other else { return found };
    for set in &run.sets {
        let Some(theirs) = other.set(&set.name) else {
            found.push(format!("{}: {name} has no scores of this set", set.name));
            continue;
        };
        let Differing { ours, theirs } = set.differing(theirs);
        if ours + theirs > 0 {
            found.push(format!(
                "{}: {ours} pairs are only in this run and {theirs} only in {name}; their figures are not over the same \
                 pairs and no difference is given",
                set.name
            ));
        }
    }
    for set in other.sets.iter().filter(|set| run.set(&set.name).is_none()) {
        found.push(format!("{}: only {name} has scores of this set", set.name));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::run;

    #[test]
    fn runs_over_equal_pairs_need_no_words() {
        let ours = run(&["a", "b"], 4, 0);
        assert!(notes(&ours, Some(("other", &run(&["b", "a"], 4, 3)))).is_empty());
        assert!(notes(&ours, None).is_empty());
    }

    #[test]
    fn what_does_not_compare_is_said() {
        let mut ours = run(&["a", "b"], 4, 0);
        ours.sets.extend(run(&["c"], 1, 0).sets);
        let said = notes(&ours, Some(("other", &run(&["a", "d"], 3, 0))));
        let parts = ["c: no rates", "unequal size", "a: ", "b: other has no", "c: other has no", "d: only other"];
        assert_eq!(said.len(), parts.len(), "{said:?}");
        assert!(said.iter().zip(parts).all(|(text, part)| text.contains(part)), "{said:?}");
        assert!(said[2].contains("0 only in other") && !said[2].contains("a: 0 pairs"));
    }
}
