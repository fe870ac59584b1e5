//! Requests and what they should end in. Pure.

use ridgeline_client::Decision;
use ridgeline_domain::{Operation, Outcome, SubjectId};

use super::cast::ENROLLED_FROM;

/// Others that an impression is verified against.
const OTHERS: usize = 3;

/// What a request should end in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) outcome: Outcome,
    /// Who must be found, if anybody.
    pub(crate) found: Option<SubjectId>,
}

/// Where a request's sample comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Impressions of a finger of the cast, by their places.
    Impressions { finger: usize, which: Vec<usize> },
    /// The image without a finger.
    NoFinger,
    /// What the enrolment of this finger returned.
    EnrolledTemplate { finger: usize },
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) operation: Operation,
    pub(crate) subject: Option<SubjectId>,
    pub(crate) source: Source,
    pub(crate) expected: Expected,
}

impl Step {
    fn new(operation: Operation, subject: Option<&SubjectId>, source: Source, outcome: Outcome) -> Self {
        let found = if outcome == Outcome::Match { subject.cloned() } else { None };
        Self { operation, subject: subject.cloned(), source, expected: Expected { outcome, found } }
    }

    /// The enrolment of a finger.
    pub(crate) fn enrol(subject: &SubjectId, finger: usize) -> Self {
        let source = Source::Impressions { finger, which: (0..ENROLLED_FROM).collect() };
        Self::new(Operation::Enrol, Some(subject), source, Outcome::Enrolled)
    }

    /// Judges an answer.
    pub(crate) fn end(&self, image: String, ms: f64, answer: Result<&Decision, String>) -> Ended {
        let (confirmation_id, got, right, false_accept) = match answer {
            Err(error) => (String::new(), error, false, false),
            Ok(decision) => {
                let found = decision.subject_id.as_deref();
                let same = self.expected.found.as_ref().is_none_or(|subject| found == Some(subject.as_str()));
                let right = decision.outcome == self.expected.outcome && same;
                let got = match (decision.outcome, found) {
                    (Outcome::Match, Some(found)) if !same => format!("match:{found}"),
                    (outcome, _) => outcome.to_string(),
                };
                (decision.confirmation_id.clone(), got, right, decision.outcome == Outcome::Match && !right)
            }
        };
        let subject = self.subject.as_ref().or(self.expected.found.as_ref()).map(ToString::to_string);
        let expected = self.expected.outcome.to_string();
        let operation = self.operation;
        Ended { confirmation_id, operation, subject, image, expected, got, right, false_accept, ms }
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ended {
    pub(crate) confirmation_id: String,
    pub(crate) operation: Operation,
    /// Whom it named, or who should be found.
    pub(crate) subject: Option<String>,
    pub(crate) image: String,
    pub(crate) expected: String,
    pub(crate) got: String,
    pub(crate) right: bool,
    /// Somebody was taken for somebody else, or for anybody.
    pub(crate) false_accept: bool,
    /// From the request to its decision, as the caller sees it.
    pub(crate) ms: f64,
}

/// Everything after the enrolments. `cast` has each finger's subject and number of impressions; the last is the stranger.
pub(crate) fn plan(cast: &[(SubjectId, usize)]) -> Vec<Step> {
    let Some(((_, stranger_impressions), enrolled)) = cast.split_last() else { return Vec::new() };
    let mut steps = Vec::new();
    let one = |finger: usize, which: usize| Source::Impressions { finger, which: vec![which] };
    for (finger, (subject, impressions)) in enrolled.iter().enumerate() {
        for which in ENROLLED_FROM..*impressions {
            steps.push(Step::new(Operation::Verify, Some(subject), one(finger, which), Outcome::Match));
            for offset in 1..=OTHERS.min(enrolled.len() - 1) {
                if let Some((other, _)) = enrolled.get((finger + offset) % enrolled.len()) {
                    steps.push(Step::new(Operation::Verify, Some(other), one(finger, which), Outcome::NoMatch));
                }
            }
            let mut search = Step::new(Operation::Identify, Some(subject), one(finger, which), Outcome::Match);
            search.subject = None;
            steps.push(search);
        }
    }
    for which in 0..*stranger_impressions {
        steps.push(Step::new(Operation::Identify, None, one(enrolled.len(), which), Outcome::NoMatch));
    }
    steps.push(Step::new(Operation::Identify, None, Source::NoFinger, Outcome::Rejected));
    if let Some((subject, _)) = enrolled.first() {
        let source = Source::EnrolledTemplate { finger: 0 };
        steps.push(Step::new(Operation::Verify, Some(subject), source, Outcome::Rejected));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(fingers: usize) -> Vec<(SubjectId, usize)> {
        (1..=fingers).map(|n| (format!("f{n}").parse().unwrap(), 4)).collect()
    }

    fn decision(outcome: &str, subject: Option<&str>) -> Decision {
        let json = serde_json::json!({
            "confirmation_id": "0a", "operation": "x", "outcome": outcome, "subject_id": subject,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn twenty_fingers_make_the_story_of_the_contract() {
        let steps = plan(&cast(20));
        let count = |operation, outcome| {
            steps.iter().filter(|step| step.operation == operation && step.expected.outcome == outcome).count()
        };
        assert_eq!(count(Operation::Verify, Outcome::Match), 19 * 2);
        assert_eq!(count(Operation::Verify, Outcome::NoMatch), 19 * 2 * 3);
        assert_eq!(count(Operation::Identify, Outcome::Match), 19 * 2);
        assert_eq!(count(Operation::Identify, Outcome::NoMatch), 4);
        assert_eq!(count(Operation::Identify, Outcome::Rejected), 1);
        assert_eq!(count(Operation::Verify, Outcome::Rejected), 1);
        assert_eq!(steps.len(), 38 * 5 + 6);
        for step in &steps {
            let own = matches!(&step.source, Source::Impressions { finger, .. }
                if step.subject.as_ref().is_some_and(|subject| subject.as_str() == format!("f{}", finger + 1)));
            assert!(
                step.operation != Operation::Verify
                    || step.expected.outcome == Outcome::Rejected
                    || own == (step.expected.outcome == Outcome::Match)
            );
        }
    }

    #[test]
    fn small_casts_have_fewer_others_and_never_compare_with_themselves() {
        let steps = plan(&cast(3));
        let against_others = steps
            .iter()
            .filter(|step| step.expected.outcome == Outcome::NoMatch && step.operation == Operation::Verify)
            .count();
        assert_eq!(against_others, 2 * 2);
        assert_eq!(plan(&cast(2)).len(), 2 * 2 + 6);
        assert!(plan(&[]).is_empty());
    }

    #[test]
    fn only_the_expected_subject_is_right_and_every_other_match_is_a_false_accept() {
        let steps = plan(&cast(3));
        let search = steps.iter().find(|step| step.operation == Operation::Identify).unwrap();
        let end = |step: &Step, decision: &Decision| step.end("1_3".to_owned(), 1.0, Ok(decision));
        let right = end(search, &decision("match", Some("f1")));
        assert_eq!((right.right, right.false_accept, right.got.as_str()), (true, false, "match"));
        let wrong = end(search, &decision("match", Some("f2")));
        assert_eq!((wrong.right, wrong.false_accept, wrong.got.as_str()), (false, true, "match:f2"));
        assert_eq!(wrong.subject.as_deref(), Some("f1"));
        let missed = end(search, &decision("no_match", None));
        assert_eq!((missed.right, missed.false_accept), (false, false));
        let other = steps.iter().find(|step| step.expected.outcome == Outcome::NoMatch).unwrap();
        let accepted = end(other, &decision("match", Some("f2")));
        assert_eq!((accepted.right, accepted.false_accept), (false, true));
        let replayed = steps.last().unwrap();
        assert!(end(replayed, &decision("rejected", None)).right);
        assert!(end(replayed, &decision("match", Some("f1"))).false_accept);
        let broken = search.end("1_3".to_owned(), 1.0, Err("RL-5002".to_owned()));
        assert_eq!((broken.right, broken.false_accept, broken.got.as_str()), (false, false, "RL-5002"));
    }
}
