//! The service account that asks for tokens (RFC 7523).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use ridgeline_domain::{Sensitive, Timestamp};
use serde_json::{Map, Value, json};

use crate::SetupError;

/// Largest file. Real ones have about 2.4 KB.
const FILE_BYTES_MAX: usize = 64 << 10;
/// Longest member but for the key.
const MEMBER_CHARS_MAX: usize = 1_024;
/// Keys below it are no longer believed.
const KEY_BITS_MIN: u32 = 2_048;
/// Longest that a token may be asked for.
const LIFE_S: i64 = 3_600;
/// What the token is for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

/// What the file holds and is needed.
pub(super) struct ServiceAccount {
    email: String,
    key: PKey<Private>,
    key_id: Option<String>,
    /// Where tokens are asked for.
    pub(super) token_uri: String,
    /// Whose messages it may send.
    pub(super) project_id: Option<String>,
}

impl ServiceAccount {
    pub(super) fn read(file: &Sensitive<String>) -> Result<Self, SetupError> {
        use SetupError::ServiceAccount as Bad;
        if file.expose().len() > FILE_BYTES_MAX {
            return Err(Bad("is larger than 64 KiB"));
        }
        let Ok(Value::Object(mut members)) = serde_json::from_str(file.expose()) else {
            return Err(Bad("is not a JSON object"));
        };
        if members.get("type").is_some_and(|kind| kind != "service_account") {
            return Err(Bad("is for another kind of credential: its \"type\" must be \"service_account\""));
        }
        let pem = match members.remove("private_key") {
            Some(Value::String(pem)) => Sensitive::new(pem),
            _ => return Err(Bad("lacks \"private_key\", a text")),
        };
        Ok(Self {
            email: member(&members, "client_email").ok_or(Bad("lacks \"client_email\", a text"))?,
            key: key(&pem)?,
            key_id: member(&members, "private_key_id"),
            token_uri: member(&members, "token_uri").ok_or(Bad("lacks \"token_uri\", a text"))?,
            project_id: member(&members, "project_id"),
        })
    }

    /// What is exchanged for a token.
    pub(super) fn assertion(&self, now: Timestamp) -> Result<Sensitive<String>, ErrorStack> {
        let issued = now.millis().div_euclid(1_000);
        let mut header = json!({ "alg": "RS256", "typ": "JWT" });
        if let (Some(id), Some(header)) = (&self.key_id, header.as_object_mut()) {
            header.insert("kid".to_owned(), json!(id));
        }
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": issued,
            "exp": issued + LIFE_S,
        });
        let encoded = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key)?;
        let signature = signer.sign_oneshot_to_vec(signed.as_bytes())?;
        Ok(Sensitive::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

fn member(members: &Map<String, Value>, name: &str) -> Option<String> {
    let text = members.get(name)?.as_str()?;
    let fits = !text.is_empty() && text.len() <= MEMBER_CHARS_MAX && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}

fn key(pem: &Sensitive<String>) -> Result<PKey<Private>, SetupError> {
    use SetupError::ServiceAccount as Bad;
    // Without a callback a key under a password would be asked for at the terminal.
    let key = PKey::private_key_from_pem_callback(pem.expose().as_bytes(), |_| Ok(0));
    let key = key.map_err(|_| Bad("holds no readable \"private_key\" in PEM"))?;
    let rsa = key.rsa().map_err(|_| Bad("holds a \"private_key\" that is not RSA"))?;
    if key.bits() < KEY_BITS_MIN {
        return Err(Bad("holds a \"private_key\" of fewer than 2048 bits"));
    }
    match rsa.check_key() {
        Ok(true) => Ok(key),
        _ => Err(Bad("holds a \"private_key\" that is no RSA key")),
    }
}
