//! Why the registry did not help.

use ridgeline_egress::EgressError;
use ridgeline_ports::Disposition;

/// Addresses in here hold no credentials.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No exchange took place.
    #[error("no answer of the schema registry")]
    Exchange(#[from] EgressError),
    /// The registry answered, and not with what was asked for.
    #[error("the schema registry at {address} refuses to {what}: HTTP {status}{detail}")]
    Refused {
        /// The configured address.
        address: String,
        /// What was asked.
        what: &'static str,
        /// HTTP status.
        status: u16,
        /// The registry's words behind a colon, shortened; empty if there are none.
        detail: String,
    },
    /// The answer is not one of a schema registry.
    #[error("what answers at {address} when asked to {what} is no schema registry")]
    Garbled {
        /// The configured address.
        address: String,
        /// What was asked.
        what: &'static str,
    },
    /// Schemas of this version are not there.
    #[error("the schema registry at {address} lacks {}; run: ridgeline schemas register", subjects.join(", "))]
    NotRegistered {
        /// The configured address.
        address: String,
        /// Subjects without this version's schema.
        subjects: Vec<String>,
    },
    /// A new schema would break readers of the old ones.
    #[error("not compatible with what the schema registry at {address} has: {}", subjects.join(", "))]
    Incompatible {
        /// The configured address.
        address: String,
        /// Subjects whose schema was refused.
        subjects: Vec<String>,
    },
}

impl RegistryError {
    /// What a process does about it. A registry that answers strangely may be one that is being replaced.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::Exchange(EgressError::Unreachable { .. } | EgressError::TooLarge { .. })
            | Self::Refused { .. }
            | Self::Garbled { .. } => Disposition::Retry,
            Self::Exchange(
                EgressError::BadAddress
                | EgressError::BadLogin
                | EgressError::BadCertificate(_)
                | EgressError::BadCallback(_)
                | EgressError::ForbiddenAddress { .. }
                | EgressError::BadHeader(_)
                | EgressError::Setup(_),
            )
            | Self::NotRegistered { .. }
            | Self::Incompatible { .. } => Disposition::Fatal,
        }
    }
}
