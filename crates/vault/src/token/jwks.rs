//! The public keys of a service, as others read them.

use serde_json::json;

use super::TokenPublicKey;

/// A JWK set (RFC 7517).
#[derive(Debug, Clone, Default)]
pub struct Jwks(pub Vec<TokenPublicKey>);

impl Jwks {
    /// The body of `/.well-known/jwks.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let keys: Vec<_> = self.0.iter().map(TokenPublicKey::to_jwk).collect();
        json!({ "keys": keys }).to_string()
    }
}
