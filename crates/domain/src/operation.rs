//! What may be asked of the pipeline, of which finger, and by whom.

use crate::{DurationMs, words};

words! {
    /// What a scan asks for.
    Operation as "operation" {
        /// Store templates of a subject.
        Enrol = "enrol",
        /// Compare with one subject, 1:1.
        Verify = "verify",
        /// Search the whole gallery, 1:N.
        Identify = "identify",
        /// Return a sealed probe template, store nothing.
        Extract = "extract",
        /// Forget a subject.
        Delete = "delete",
    }
}

impl Operation {
    /// Whether the request must name a subject.
    #[must_use]
    pub const fn needs_subject(self) -> bool {
        matches!(self, Self::Enrol | Self::Verify | Self::Delete)
    }

    /// Whether the request must carry samples.
    #[must_use]
    pub const fn needs_samples(self) -> bool {
        !matches!(self, Self::Delete)
    }

    /// How long after its capture a sample may reach the log: a verification or search is about now, an enrolment may lie in a spool.
    #[must_use]
    pub const fn validity(self) -> DurationMs {
        match self {
            Self::Verify | Self::Identify | Self::Extract => DurationMs::from_secs(60),
            Self::Enrol | Self::Delete => DurationMs::from_days(7),
        }
    }

    /// What the caller must be allowed to do.
    #[must_use]
    pub const fn permission(self) -> Permission {
        match self {
            Self::Enrol => Permission::Enroll,
            Self::Verify => Permission::Verify,
            Self::Identify => Permission::Identify,
            Self::Extract => Permission::Extract,
            Self::Delete => Permission::Delete,
        }
    }
}

words! {
    /// What a credential may do.
    Permission as "permission" {
        /// Enrol subjects.
        Enroll = "biometric:enroll",
        /// Verify 1:1.
        Verify = "biometric:verify",
        /// Identify 1:N.
        Identify = "biometric:identify",
        /// Turn images into sealed probes.
        Extract = "biometric:extract",
        /// Delete subjects.
        Delete = "biometric:delete",
        /// See candidates and the confidence of a non-match.
        Analyze = "biometric:analyze",
        /// Read subjects and the requests of other keys and of agents.
        ReadAll = "biometric:read_all",
        /// Follow the decision and audit streams.
        AuditRead = "audit:read",
    }
}

words! {
    /// The kind of biometric characteristic.
    Modality as "modality" {
        /// Friction ridges of a finger.
        Fingerprint = "fingerprint",
    }
}

words! {
    /// Which finger; the order is that of ISO/IEC 19794-2 codes 0–10.
    Position as "position" {
        /// Not stated.
        Unknown = "unknown",
        /// Code 1.
        RightThumb = "right_thumb",
        /// Code 2.
        RightIndex = "right_index",
        /// Code 3.
        RightMiddle = "right_middle",
        /// Code 4.
        RightRing = "right_ring",
        /// Code 5.
        RightLittle = "right_little",
        /// Code 6.
        LeftThumb = "left_thumb",
        /// Code 7.
        LeftIndex = "left_index",
        /// Code 8.
        LeftMiddle = "left_middle",
        /// Code 9.
        LeftRing = "left_ring",
        /// Code 10.
        LeftLittle = "left_little",
    }
}

impl Position {
    /// The ISO/IEC 19794-2 code, 0–10.
    #[must_use]
    pub const fn iso_code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_codes_follow_the_standard_order() {
        assert_eq!(Position::Unknown.iso_code(), 0);
        assert_eq!(Position::RightThumb.iso_code(), 1);
        assert_eq!(Position::LeftLittle.iso_code(), 10);
        assert_eq!(Position::ALL.len(), 11);
    }

    #[test]
    fn unknown_words_say_what_is_accepted() {
        ridgeline_testkit::covers!("R-051");
        let error = "purge".parse::<Operation>().unwrap_err();
        assert_eq!(error.to_string(), "operation must be one of enrol, verify, identify, extract, delete");
    }
}
