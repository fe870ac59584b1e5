//! What the real services check of what they are sent.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Public};
use openssl::sign::Verifier;
use ridgeline_domain::Timestamp;
use serde_json::{Value, from_slice, json};

use super::http::Request;
use super::{EMAIL, KEY_ID};

const FORM: &str = "application/x-www-form-urlencoded";
const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// Between the clocks of two machines.
const SKEW_S: i64 = 300;
const LIFE_S_MAX: i64 = 3_600;
/// Contents of a message: notification and data.
const CONTENT_BYTES_MAX: usize = 4_096;

/// Members that an object may have; others are refused by the field's name.
const MEMBERS: &[(&str, &[&str])] = &[
    ("", &["message"]),
    ("/message", &["token", "notification", "data", "android", "apns"]),
    ("/message/notification", &["title", "body"]),
    ("/message/android", &["priority", "ttl", "collapse_key", "notification"]),
    ("/message/android/notification", &["channel_id", "icon", "color", "tag"]),
    ("/message/apns", &["headers", "payload"]),
];

/// Whether a form asks for a token with an assertion of the service account (RFC 7523).
pub(super) fn is_grant(request: &Request, key: &PKey<Public>, token_uri: &str, now: Timestamp) -> bool {
    let form = std::str::from_utf8(&request.body).ok();
    let assertion = form.and_then(|form| form.strip_prefix(GRANT)?.strip_prefix("&assertion="));
    let claims = assertion.and_then(|assertion| signed(assertion, key));
    request.header("content-type") == Some(FORM) && claims.is_some_and(|claims| is_meant(&claims, token_uri, now))
}

/// The claims, if the signature verifies.
fn signed(assertion: &str, key: &PKey<Public>) -> Option<Value> {
    let (signed, signature) = assertion.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let header: Value = from_slice(&decoded(header)?).ok()?;
    if header != json!({ "alg": "RS256", "typ": "JWT", "kid": KEY_ID }) {
        return None;
    }
    let mut verifier = Verifier::new(MessageDigest::sha256(), key).ok()?;
    let verifies = verifier.verify_oneshot(&decoded(signature)?, signed.as_bytes()).ok()?;
    verifies.then_some(())?;
    from_slice(&decoded(claims)?).ok()
}

fn is_meant(claims: &Value, token_uri: &str, now: Timestamp) -> bool {
    let now_s = now.millis().div_euclid(1_000);
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    let (Some(issued), Some(expires)) = (time("iat"), time("exp")) else { return false };
    claims.get("iss").is_some_and(|issuer| issuer == EMAIL)
        && claims.get("aud").is_some_and(|audience| audience == token_uri)
        && claims.get("scope").is_some_and(|scope| scope == SCOPE)
        && issued <= now_s + SKEW_S
        && expires > now_s - SKEW_S
        && (1..=LIFE_S_MAX).contains(&(expires - issued))
}

/// The message, or the field that is not accepted.
pub(super) fn message(request: &Request) -> Result<Value, String> {
    let body: Value = from_slice(&request.body).map_err(|_| "body".to_owned())?;
    for (path, names) in MEMBERS {
        let members = body.pointer(path).and_then(Value::as_object).ok_or_else(|| field(path))?;
        if let Some(name) = members.keys().find(|name| !names.contains(&name.as_str())) {
            return Err(field(&format!("{path}/{name}")));
        }
    }
    for path in ["/message/data", "/message/apns/headers"] {
        let members = body.pointer(path).and_then(Value::as_object).ok_or_else(|| field(path))?;
        if !members.values().all(Value::is_string) {
            return Err(field(path));
        }
    }
    for (path, is_good) in TEXTS {
        if !body.pointer(path).and_then(Value::as_str).is_some_and(is_good) {
            return Err(field(path));
        }
    }
    let sizes = ["/message/notification", "/message/data"].map(|path| body.pointer(path).map(Value::to_string));
    if sizes.into_iter().flatten().map(|text| text.len()).sum::<usize>() > CONTENT_BYTES_MAX {
        return Err("message".to_owned());
    }
    body.get("message").cloned().ok_or_else(|| "message".to_owned())
}

/// Whether a text is as it must be.
type Rule = fn(&str) -> bool;

/// Texts that must be there, and what they must be like.
const TEXTS: &[(&str, Rule)] = &[
    ("/message/token", |token| !token.is_empty()),
    ("/message/android/priority", |priority| matches!(priority, "high" | "normal")),
    ("/message/android/ttl", |ttl| {
        ttl.strip_suffix('s').and_then(|seconds| seconds.parse().ok()).is_some_and(|seconds: u32| seconds <= 2_419_200)
    }),
    ("/message/android/notification/color", |color| {
        color.strip_prefix('#').is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }),
];

/// `/message/data` as Google's services write it.
fn field(path: &str) -> String {
    path.trim_start_matches('/').replace('/', ".")
}
