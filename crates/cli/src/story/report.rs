//! What the story showed: per operation how often right and how fast, and whether it holds the floor. Pure.

use ridgeline_domain::Operation;
use serde::Serialize;

use super::Ended;

/// Share of genuine verifications of synthetic fingers that must be right.
const VERIFY_FLOOR: f64 = 0.95;
/// Share of genuine identifications of synthetic fingers that must be right.
const IDENTIFY_FLOOR: f64 = 0.90;

/// The result in the form that `--json` prints.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub(crate) struct Report {
    operations: Vec<Row>,
    pairs: Vec<Pair>,
    audit_events: u64,
    first_decision_ms: u64,
}

#[derive(Debug, Clone, Serialize, PartialEq)]
struct Row {
    operation: &'static str,
    n: usize,
    right: usize,
    wrong: usize,
    false_accepts: usize,
    p50_ms: f64,
    p95_ms: f64,
}

#[derive(Debug, Clone, Serialize, PartialEq)]
struct Pair {
    confirmation_id: String,
    operation: &'static str,
    subject: Option<String>,
    image: String,
    expected: String,
    got: String,
}

impl Report {
    /// Counts.
    pub(crate) fn new(ended: &[Ended], audit_events: u64, first_decision_ms: u64) -> Self {
        let operations = [Operation::Enrol, Operation::Verify, Operation::Identify];
        let pair = |ended: &Ended| Pair {
            confirmation_id: ended.confirmation_id.clone(),
            operation: ended.operation.as_str(),
            subject: ended.subject.clone(),
            image: ended.image.clone(),
            expected: ended.expected.clone(),
            got: ended.got.clone(),
        };
        Self {
            operations: operations.into_iter().map(|operation| Row::of(operation, ended)).collect(),
            pairs: ended.iter().map(pair).collect(),
            audit_events,
            first_decision_ms,
        }
    }

    /// The table and the lines below it.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{:<10} {:>5} {:>6} {:>6} {:>14} {:>8} {:>8}\n",
            "operation", "n", "right", "wrong", "false accepts", "p50 ms", "p95 ms"
        );
        for row in &self.operations {
            let Row { operation, n, right, wrong, false_accepts, p50_ms, p95_ms } = row;
            text.push_str(&format!(
                "{operation:<10} {n:>5} {right:>6} {wrong:>6} {false_accepts:>14} {p50_ms:>8.1} {p95_ms:>8.1}\n"
            ));
        }
        for pair in self.pairs.iter().filter(|pair| pair.expected != pair.got) {
            let subject = pair.subject.as_deref().unwrap_or("everybody");
            text.push_str(&format!(
                "  {} of image {} with {subject}: expected {}, got {}\n",
                pair.operation, pair.image, pair.expected, pair.got
            ));
        }
        text.push_str(&format!(
            "{} audit events were written. The first decision came after {:.1} s.",
            self.audit_events,
            self.first_decision_ms as f64 / 1_000.0
        ));
        text
    }

    /// What is below the floor for synthetic fingers; empty if nothing is.
    pub(crate) fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        let false_accepts: usize = self.operations.iter().map(|row| row.false_accepts).sum();
        if false_accepts > 0 {
            misses.push(format!("{false_accepts} false accepts; none is allowed"));
        }
        for (operation, floor) in [("verify", VERIFY_FLOOR), ("identify", IDENTIFY_FLOOR)] {
            let genuine = |pair: &&Pair| pair.operation == operation && pair.expected == "match";
            let n = self.pairs.iter().filter(genuine).count();
            let right = self.pairs.iter().filter(genuine).filter(|pair| pair.got == "match").count();
            if (right as f64) < floor * n as f64 {
                misses.push(format!(
                    "{right} of {n} genuine {operation} requests right; {:.0} % are required",
                    floor * 100.0
                ));
            }
        }
        let others = |pair: &&Pair| pair.expected != "match" && pair.expected != pair.got;
        for pair in self.pairs.iter().filter(others) {
            let Pair { operation, image, expected, got, .. } = pair;
            misses.push(format!("{operation} of {image}: expected {expected}, got {got}"));
        }
        misses
    }
}

impl Row {
    fn of(operation: Operation, ended: &[Ended]) -> Self {
        let own: Vec<&Ended> = ended.iter().filter(|ended| ended.operation == operation).collect();
        let right = own.iter().filter(|ended| ended.right).count();
        let mut times: Vec<f64> = own.iter().map(|ended| ended.ms).collect();
        times.sort_by(f64::total_cmp);
        Self {
            operation: operation.as_str(),
            n: own.len(),
            right,
            wrong: own.len() - right,
            false_accepts: own.iter().filter(|ended| ended.false_accept).count(),
            p50_ms: percentile(&times, 0.50),
            p95_ms: percentile(&times, 0.95),
        }
    }
}

/// The nearest-rank percentile of ascending values, to a tenth; 0 where there are none.
fn percentile(ascending: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank between 1 and the length")]
    let rank = (share * ascending.len() as f64).ceil() as usize;
    let value = ascending.get(rank.saturating_sub(1)).copied().unwrap_or_default();
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(operation: Operation, expected: &str, got: &str, ms: f64) -> Ended {
        Ended {
            confirmation_id: "0a".to_owned(),
            operation,
            subject: Some("f1".to_owned()),
            image: "1_3".to_owned(),
            expected: expected.to_owned(),
            got: got.to_owned(),
            right: expected == got,
            false_accept: got.starts_with("match") && expected != got,
            ms,
        }
    }

    #[test]
    fn rows_count_and_the_json_has_the_members_of_the_contract() {
        let times = (1..=20).map(|n| ended(Operation::Verify, "match", "match", f64::from(n)));
        let mut all: Vec<Ended> = times.collect();
        all.push(ended(Operation::Enrol, "enrolled", "rejected", 3.0));
        let report = Report::new(&all, 21, 1_234);
        let json = serde_json::to_value(&report).unwrap();
        let verify = serde_json::json!({
            "operation": "verify", "n": 20, "right": 20, "wrong": 0, "false_accepts": 0, "p50_ms": 10.0, "p95_ms": 19.0,
        });
        assert_eq!(json["operations"][1], verify);
        assert_eq!((&json["operations"][0]["wrong"], &json["operations"][2]["n"]), (&1.into(), &0.into()));
        let pair = serde_json::json!({
            "confirmation_id": "0a", "operation": "enrol", "subject": "f1", "image": "1_3", "expected": "enrolled",
            "got": "rejected",
        });
        assert_eq!(json["pairs"][20], pair);
        assert_eq!((&json["audit_events"], &json["first_decision_ms"]), (&21.into(), &1234.into()));
        let text = report.text();
        assert!(
            text.contains("21 audit events were written") && text.contains("expected enrolled, got rejected"),
            "{text}"
        );
    }

    #[test]
    fn the_floor_is_held_or_what_missed_it_is_named() {
        let genuine = |n: usize, missed: usize, operation| {
            (0..n).map(move |i| ended(operation, "match", if i < missed { "no_match" } else { "match" }, 1.0))
        };
        let story = |verify_missed, identify_missed| {
            let identify = genuine(38, identify_missed, Operation::Identify);
            let all: Vec<Ended> = genuine(38, verify_missed, Operation::Verify).chain(identify).collect();
            Report::new(&all, 0, 0)
        };
        assert!(story(1, 3).misses().is_empty());
        assert_eq!(story(2, 3).misses().len(), 1);
        assert_eq!(story(1, 4).misses().len(), 1);
        let stranger = ended(Operation::Identify, "no_match", "match", 1.0);
        assert_eq!(Report::new(&[stranger], 0, 0).misses().len(), 2, "a false accept, and not what was expected");
        let no_finger = ended(Operation::Identify, "rejected", "no_match", 1.0);
        assert_eq!(Report::new(&[no_finger], 0, 0).misses().len(), 1);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert!((percentile(&[1.0, 2.0, 3.0, 4.0], 0.5) - 2.0).abs() < 1e-9);
        assert!((percentile(&[1.0, 2.0, 3.0, 4.0], 0.95) - 4.0).abs() < 1e-9);
        assert!(percentile(&[], 0.5).abs() < 1e-9);
    }
}
