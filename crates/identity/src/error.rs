//! Why nobody knows who calls.

use ridgeline_ports::Disposition;
use ridgeline_vault::token::TokenError;

/// Without a word of what a token says.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The token is none of those that are believed.
    #[error("the token is refused")]
    Refused(#[source] TokenError),
    /// The keys that would tell cannot be had now.
    #[error("the keys of tokens cannot be read")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The configuration cannot work.
    #[error("{what}")]
    Config {
        /// What is wrong, and with which setting.
        what: &'static str,
        /// Whose refusal it is, where it is not ours.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl IdentityError {
    /// What a worker does about it.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::Refused(_) => Disposition::Poison,
            Self::Unavailable(_) => Disposition::Retry,
            Self::Config { .. } => Disposition::Fatal,
        }
    }
}
