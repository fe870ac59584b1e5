//! The words of Ridgeline: ids, operations, outcomes, confidence, policy, error codes.
//!
//! Pure: no clock, no randomness, no I/O, and nothing here can be serialised by accident. Boundary crates
//! (`wire`, `gateway`, `client`) own the representations.

mod action;
mod code;
mod confidence;
mod decision;
mod device;
mod id;
mod operation;
mod policy;
mod scan;
mod sensitive;
mod time;

pub use action::{ActionStatus, Amount, AmountError, DeliveryStatus};
pub use code::ErrorCode;
pub use confidence::{Comparisons, Confidence, ConfidenceBasis, Fmr};
pub use decision::{Candidate, Coverage, DecidedOperation, Liveness, Outcome, Reason, Verdict};
pub use device::{
    AuthOperation, Binding, DeviceName, DeviceNameError, DeviceType, KeyAlgorithm, Language, Refusal, Severity,
    TrustLevel, TrustPolicy,
};
pub use id::{
    ActionId, ActionType, AgentId, ApiKeyId, DeviceFingerprint, DeviceId, FamilyId, IdError, ReaderId, RequestId,
    SessionId, SubjectId, UserId,
};
pub use operation::{Modality, Operation, Permission, Position};
pub use policy::{Policy, QualityThresholds};
pub use scan::ScanBinding;
pub use sensitive::Sensitive;
pub use time::{DurationMs, Timestamp};

/// A value that is not one of the words of its closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be one of {expected}")]
pub struct UnknownWord {
    /// What was being read, for instance `operation`.
    pub what: &'static str,
    /// The accepted words, comma separated.
    pub expected: String,
}

/// Declares a closed enum whose variants have one fixed spelling on the wire.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident as $what:literal { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }
        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// The one spelling used on the wire, in metrics and in the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $word,)+ } }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
        impl std::str::FromStr for $name {
            type Err = $crate::UnknownWord;
            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownWord { what: $what, expected: [$($word,)+].join(", ") }),
                }
            }
        }
    };
}
pub(crate) use words;
