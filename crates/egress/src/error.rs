//! Why an exchange has no answer.

/// Addresses in here hold no credentials: [`Configured`](crate::Configured) takes none in an address.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// Not `http://` or `https://` with a host, or with a user, a query or a fragment in it. The text is not repeated, because a
    /// password may stand in it.
    #[error("not a plain http:// or https:// address")]
    BadAddress,
    /// A user or password that no header carries.
    #[error("the login has characters that cannot be sent")]
    BadLogin,
    /// Not certificates in PEM.
    #[error("the certificates of the authority cannot be read")]
    BadCertificate(#[source] Option<reqwest::Error>),
    /// The HTTP client could not be made.
    #[error("cannot set up the HTTP client")]
    Setup(#[source] reqwest::Error),
    /// No connection, it broke, or the answer did not come in time.
    #[error("cannot reach {address}")]
    Unreachable {
        /// The configured address.
        address: String,
        /// What the connection said.
        source: reqwest::Error,
    },
    /// The answer is larger than may be taken.
    #[error("the answer of {address} exceeds {max} bytes")]
    TooLarge {
        /// The configured address.
        address: String,
        /// The limit in bytes.
        max: usize,
    },
}
