//! Tokens: JWTs (RFC 7519, RFC 9068) that auth workers sign with ES256, and their verification; tokens of an OpenID Connect provider.
//!
//! Kinds never pass for each other: `typ` and `aud` are compared exactly. The algorithm comes from the key, never from the token.
//! Signatures are deterministic (RFC 6979): equal claims give equal bytes.

mod claims;
mod jwks;
mod key;
mod oidc;
#[cfg(test)]
mod tests;
mod verify;

pub use claims::{Claims, TokenKind};
pub use jwks::Jwks;
pub(crate) use key::STATEMENT_BYTES_MAX;
pub use key::{TokenKey, TokenPublicKey};
pub use oidc::{OidcKeys, OidcVerifier};
pub use verify::{CLOCK_SKEW, TokenVerifier};

pub(crate) use claims::seconds;
pub(crate) use verify::signed_by;

/// Why a token is refused. No variant shows anything of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url with JSON objects, or too long.
    #[error("this is not a well-formed token")]
    Malformed,
    /// An algorithm other than that of the key.
    #[error("the token names another algorithm than its key has")]
    Algorithm,
    /// The header brings its own key, or changes what is signed.
    #[error("the token's header has a parameter that is not accepted")]
    Header,
    /// No key of that id.
    #[error("the token names an unknown key")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    Signature,
    /// Of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// For somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// Of another kind.
    #[error("the token is of another type")]
    Type,
    /// Over.
    #[error("the token has expired")]
    Expired,
    /// Issued in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// A claim is missing or has no valid value.
    #[error("a claim of the token is missing or not valid")]
    Claims,
}
