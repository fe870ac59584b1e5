//! The rules a deployment sets, and the one function that accepts.

use crate::{Comparisons, Confidence, Fmr, Liveness, Operation, Verdict};

/// Quality minima of one operation on the 0–100 scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QualityThresholds {
    /// Below this a sample is refused.
    pub minimum: u8,
    /// Strict requests are held to this instead.
    pub recommended: u8,
    /// From here on a sample counts as excellent.
    pub excellent: u8,
}

/// What the matcher and merger judge by.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Confidence that a comparison must reach after all comparisons are counted.
    pub accept: Confidence,
    /// Confidence that samples of one enrolment must reach among each other.
    pub consistency: Confidence,
    /// Quality minima for enrolment.
    pub enrol_quality: QualityThresholds,
    /// Quality minima for verification, identification and extraction.
    pub probe_quality: QualityThresholds,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            accept: Confidence::new(70.0),
            consistency: Confidence::new(50.0),
            enrol_quality: QualityThresholds { minimum: 60, recommended: 70, excellent: 85 },
            probe_quality: QualityThresholds { minimum: 50, recommended: 60, excellent: 80 },
        }
    }
}

impl Policy {
    /// The least quality a sample needs; strict requests are held to the recommended value.
    #[must_use]
    pub const fn required_quality(&self, operation: Operation, strict: bool) -> u8 {
        let thresholds = match operation {
            Operation::Enrol => self.enrol_quality,
            _ => self.probe_quality,
        };
        if strict { thresholds.recommended } else { thresholds.minimum }
    }

    /// The only place where an accept is built (V-1). `requested` can raise the bound of the deployment, never lower it.
    #[must_use]
    pub fn judge(
        &self,
        fmr: Fmr,
        comparisons: Comparisons,
        requested: Option<Confidence>,
        liveness: Liveness,
    ) -> Verdict {
        let confidence = Confidence::from_fmr(fmr.over(comparisons));
        let bound = requested.map_or(self.accept.get(), |own| own.get().max(self.accept.get()));
        let accepted = comparisons.0 > 0 && confidence.get() >= bound && liveness != Liveness::Spoof;
        Verdict::new(accepted, confidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn v1_a_spoof_or_nothing_compared_is_never_an_accept() {
        ridgeline_testkit::covers!("R-038");
        let policy = Policy::default();
        assert!(policy.judge(Fmr::new(0.99e-4), Comparisons(1), None, Liveness::Live).is_accept());
        assert!(!policy.judge(Fmr::new(1.01e-4), Comparisons(1), None, Liveness::Live).is_accept());
        assert!(policy.judge(Fmr::new(1e-9), Comparisons(1), None, Liveness::NotAssessed).is_accept());
        assert!(!policy.judge(Fmr::new(1e-9), Comparisons(1), None, Liveness::Spoof).is_accept());
        assert!(!policy.judge(Fmr::new(1e-9), Comparisons(0), None, Liveness::Live).is_accept());
    }

    #[test]
    fn strict_requests_are_held_to_the_recommended_quality() {
        ridgeline_testkit::covers!("R-047", "R-048", "R-049", "R-050");
        let policy = Policy::default();
        assert_eq!(policy.enrol_quality, QualityThresholds { minimum: 60, recommended: 70, excellent: 85 });
        assert_eq!(policy.probe_quality, QualityThresholds { minimum: 50, recommended: 60, excellent: 80 });
        assert_eq!(policy.required_quality(Operation::Enrol, false), 60);
        assert_eq!(policy.required_quality(Operation::Enrol, true), 70);
        assert_eq!(policy.required_quality(Operation::Identify, false), 50);
        assert_eq!(policy.required_quality(Operation::Verify, true), 60);
    }

    proptest! {
        #[test]
        fn v1_no_caller_lowers_the_bound(fmr in 1e-12_f64..1.0, own in 0.0_f64..100.0, n in 1_u64..10_000) {
            let policy = Policy::default();
            let verdict = policy.judge(Fmr::new(fmr), Comparisons(n), Some(Confidence::new(own)), Liveness::Live);
            prop_assert!(!verdict.is_accept() || verdict.confidence() >= policy.accept);
        }
    }
}
