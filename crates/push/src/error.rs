//! Why a sender cannot be made.

use ridgeline_egress::EgressError;
use ridgeline_ports::Disposition;

/// Without a word of what the service account's file says.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The service account's file cannot be used.
    #[error("the service account's file {0}")]
    ServiceAccount(&'static str),
    /// The project is none.
    #[error("the project id must have 1 to 100 letters, digits, hyphens, dots and colons")]
    Project,
    /// The service's address or its certificates cannot be used.
    #[error("no client can be made for the address of FCM")]
    Address(#[source] EgressError),
    /// Tokens would be read on the way.
    #[error("the address of FCM must be https://, or http:// on this machine")]
    Exposed,
}

impl SetupError {
    /// What the process does about it.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::ServiceAccount(_) | Self::Project | Self::Address(_) | Self::Exposed => Disposition::Fatal,
        }
    }
}
