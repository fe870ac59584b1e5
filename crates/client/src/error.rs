//! Why a call failed.

use std::time::Duration;

use serde::Deserialize;

/// A refusal by the service, as its `application/problem+json` says, or what device authentication answers in its place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// HTTP status.
    #[serde(alias = "statusCode")]
    pub status: u16,
    /// Stable code, for instance `RL-1001`; empty if the answer came from something else on the way.
    #[serde(default)]
    pub code: String,
    /// One line for people.
    #[serde(default)]
    pub title: String,
    /// What was wrong with this request.
    #[serde(default, alias = "message")]
    pub detail: String,
    /// Names this exchange in the service's log.
    #[serde(default, alias = "requestId")]
    pub request_id: String,
    /// How long the service asks to be left alone.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, code, title, detail, request_id, .. } = self;
        match (code.as_str(), title.as_str()) {
            ("", title) => write!(f, "HTTP {status} {title}")?,
            (code, "") => write!(f, "{code} (HTTP {status})")?,
            (code, title) => write!(f, "{code}: {title} (HTTP {status})")?,
        }
        if !detail.is_empty() && detail != title {
            write!(f, ": {detail}")?;
        }
        if !request_id.is_empty() {
            write!(f, " [request {request_id}]")?;
        }
        Ok(())
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base address is not `http://` or `https://` with a host.
    #[error("{0:?} is not an address of a service")]
    BadAddress(String),
    /// The API key has characters that no header carries.
    #[error("the API key has characters that cannot be sent")]
    BadApiKey,
    /// The HTTP client could not be made.
    #[error("cannot set up the HTTP client")]
    Setup(#[source] reqwest::Error),
    /// No connection, or it broke.
    #[error("cannot reach {address}")]
    Unreachable {
        /// The base address.
        address: String,
        /// What the connection said.
        source: reqwest::Error,
    },
    /// The service refused.
    #[error("{0}")]
    Refused(Problem),
    /// The answer is larger than the client takes.
    #[error("the answer exceeds {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The answer is not what the interface promises.
    #[error("the service's answer to {what} cannot be understood")]
    Unexpected {
        /// Which call.
        what: &'static str,
    },
    /// No decision in the time the caller gave.
    #[error("no decision within {seconds} s; ask again for {confirmation_id}")]
    Undecided {
        /// The request, accepted and still in work.
        confirmation_id: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A token has characters that no header carries.
    #[error("the token has characters that cannot be sent")]
    BadToken,
}

impl ClientError {
    /// Whether the same call may succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 429 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// The refusal, if the service answered with one.
    #[must_use]
    pub const fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }
}
