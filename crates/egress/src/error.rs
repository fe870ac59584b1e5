//! Why an exchange has no answer.

/// Addresses in here hold no credentials: [`Configured`](crate::Configured) takes none in an address, and of a
/// [`CallbackUrl`](crate::CallbackUrl) only the origin is told.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// Not `http://` or `https://` with a host, or with a user, a query or a fragment in it. The text is not repeated, because a
    /// password may stand in it.
    #[error("not a plain http:// or https:// address")]
    BadAddress,
    /// A user, password or token that no header carries.
    #[error("the login has characters that cannot be sent")]
    BadLogin,
    /// Not certificates in PEM.
    #[error("the certificates of the authority cannot be read")]
    BadCertificate(#[source] Option<reqwest::Error>),
    /// The HTTP client could not be made.
    #[error("cannot set up the HTTP client")]
    Setup(#[source] reqwest::Error),
    /// Not a URL that a caller may name. The text is not repeated, because a secret may stand in it.
    #[error("not a URL that can be called back: {0}")]
    BadCallback(&'static str),
    /// A host that names, or stands for, an address which must not be called at a caller's wish.
    #[error("{host} has an address that must not be called")]
    ForbiddenAddress {
        /// The host alone.
        host: String,
    },
    /// A header's name or value that cannot be sent.
    #[error("the header {0} cannot be sent")]
    BadHeader(&'static str),
    /// No connection, it broke, or the answer did not come in time.
    #[error("cannot reach {address}")]
    Unreachable {
        /// The configured address, or the origin of a callback.
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
