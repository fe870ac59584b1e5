//! Keys that sign tokens.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::Signature;
use p256::ecdsa::signature::Signer as _;
use ridgeline_domain::Sensitive;
use ridgeline_ports::Entropy;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Claims, TokenKind, verify};
use crate::jose::TOKEN_BYTES_MAX;
use crate::{Aad, DeviceKey, Purpose, Vault, VaultError, random};

/// Length of an uncompressed point.
const POINT_BYTES: usize = 65;
/// Longest statement: evidence of 16 approvals with keys of 4096 bits is a sixth of it.
pub(crate) const STATEMENT_BYTES_MAX: usize = 256 * 1024;
/// Where wrapped keys are stored.
const TABLE: &str = "signing_keys";

/// A key pair that signs tokens with ES256. `Debug` shows its id only.
#[derive(Clone)]
pub struct TokenKey {
    key: p256::ecdsa::SigningKey,
    public: TokenPublicKey,
}

impl TokenKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`VaultError::Randomness`] if `entropy` keeps giving bits that are no private key.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, VaultError> {
        Self::of(random::p256_key(entropy)?)
    }

    fn of(key: p256::ecdsa::SigningKey) -> Result<Self, VaultError> {
        let public = TokenPublicKey::from_point_bytes(key.verifying_key().to_encoded_point(false).as_bytes())?;
        Ok(Self { key, public })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &TokenPublicKey {
        &self.public
    }

    /// The private scalar, encrypted for the row of signing keys.
    ///
    /// # Errors
    /// What sealing refuses.
    pub fn wrap(&self, vault: &Vault, entropy: &dyn Entropy) -> Result<Vec<u8>, VaultError> {
        let scalar = Zeroizing::new(self.key.to_bytes());
        vault.seal(Purpose::JwtWrap, &aad(self.public.kid()), scalar.as_slice(), entropy)
    }

    /// A key that was wrapped under this id.
    ///
    /// # Errors
    /// What opening refuses; [`VaultError::Malformed`] if it is no private key, or another one than `kid` says.
    pub fn unwrap(vault: &Vault, kid: &str, wrapped: &[u8]) -> Result<Self, VaultError> {
        let malformed = || VaultError::Malformed { what: "token key" };
        let scalar = vault.open(Purpose::JwtWrap, &aad(kid), wrapped)?;
        let key = p256::ecdsa::SigningKey::from_slice(scalar.expose()).map_err(|_| malformed())?;
        Some(Self::of(key)?).filter(|key| key.public.kid() == kid).ok_or_else(malformed)
    }

    /// The token of these claims. Equal claims give equal bytes.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] for claims that no verifier would take: the `aud` of another kind, an empty or overlong text,
    /// a life of no or more than 31 days; [`VaultError::TooLong`] if the token would be over the limit of verifiers.
    pub fn sign(&self, kind: TokenKind, claims: &Claims) -> Result<Sensitive<String>, VaultError> {
        let unusable = || VaultError::Malformed { what: "token" };
        let Value::Object(body) = claims.to_json() else { return Err(unusable()) };
        let read = Claims::of_ours(&body, kind.aud()).map_err(|_| unusable())?;
        if claims.aud != kind.aud() || !verify::is_life(&read) {
            return Err(unusable());
        }
        let token = self.jws(kind.typ(), &Value::Object(body));
        if token.len() > TOKEN_BYTES_MAX {
            return Err(VaultError::TooLong { what: "token", bytes_max: TOKEN_BYTES_MAX });
        }
        Ok(Sensitive::new(token))
    }

    /// A signed statement for others to keep: a compact JWS (RFC 7515) of `typ`, which must be none of a token's. Equal claims give
    /// equal bytes.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] for a `typ` by which a statement would pass for a token; [`VaultError::TooLong`].
    pub fn state(&self, typ: &str, claims: &Value) -> Result<String, VaultError> {
        if TokenKind::ALL.iter().any(|kind| kind.typ().eq_ignore_ascii_case(typ)) {
            return Err(VaultError::Malformed { what: "statement" });
        }
        let statement = self.jws(typ, claims);
        if statement.len() > STATEMENT_BYTES_MAX {
            return Err(VaultError::TooLong { what: "statement", bytes_max: STATEMENT_BYTES_MAX });
        }
        Ok(statement)
    }

    fn jws(&self, typ: &str, body: &Value) -> String {
        let header = json!({ "alg": "ES256", "kid": self.public.kid(), "typ": typ });
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let mut text = format!("{}.{}", part(&header), part(body));
        let signature: Signature = self.key.sign(text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.to_bytes(), &mut text);
        text
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({})", self.public.kid())
    }
}

fn aad(kid: &str) -> Aad {
    Aad::new(TABLE, kid, "private")
}

/// The public half: what verifies tokens.
#[derive(Clone)]
pub struct TokenPublicKey {
    kid: String,
    point: [u8; POINT_BYTES],
    key: DeviceKey,
}

impl TokenPublicKey {
    /// From an uncompressed point, 65 bytes.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] if it is no point of P-256.
    pub fn from_point_bytes(point: &[u8]) -> Result<Self, VaultError> {
        let malformed = || VaultError::Malformed { what: "token key" };
        let whole: [u8; POINT_BYTES] = point.try_into().map_err(|_| malformed())?;
        let [4, coordinates @ ..] = &whole else { return Err(malformed()) };
        let (x, y) = coordinates.split_at(32);
        let word = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key = DeviceKey::from_jwk_coordinates(&word(x), &word(y)).map_err(|_| malformed())?;
        Ok(Self { kid: key.jwk_thumbprint(), point: whole, key })
    }

    /// The keys of a JWK set; `None` if it is none. Keys that are not for ES256 are passed over.
    pub(crate) fn of_jwks(text: &str) -> Option<Vec<Self>> {
        let set: Value = serde_json::from_str(text).ok()?;
        let keys = set.get("keys")?.as_array()?.iter().filter_map(|jwk| {
            let word = |name: &str| jwk.get(name).and_then(Value::as_str);
            let key = DeviceKey::from_jwk_coordinates(word("x")?, word("y")?).ok()?;
            let decode = |name: &str| URL_SAFE_NO_PAD.decode(word(name)?).ok();
            let point = [vec![4], decode("x")?, decode("y")?].concat();
            let point = point.try_into().ok()?;
            Some(Self { kid: key.jwk_thumbprint(), point, key })
        });
        Some(keys.collect())
    }

    /// Its id: the JWK thumbprint (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The uncompressed point.
    #[must_use]
    pub const fn point_bytes(&self) -> &[u8; POINT_BYTES] {
        &self.point
    }

    /// What verifies.
    #[must_use]
    pub const fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// As a JWK.
    pub(crate) fn to_jwk(&self) -> Value {
        let (x, y) = self.point.split_at(1).1.split_at(32);
        let word = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": word(x), "y": word(y) })
    }
}

impl fmt::Debug for TokenPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenPublicKey({})", self.kid)
    }
}
