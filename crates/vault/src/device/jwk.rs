//! Keys as JWK (RFC 7517), and the signs that one is private.

use ridgeline_domain::KeyAlgorithm;
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use super::{DeviceKey, DeviceKeyError, armor};
use crate::jose::object;

/// Longest JWK. A P-256 key with an id and hints of its use has some 300 bytes.
pub const DEVICE_JWK_BYTES_MAX: usize = 4096;

/// Members that only private and symmetric keys have (RFC 7518, 6.2.2, 6.3.2, 6.4.1).
const PRIVATE_MEMBERS: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Curves that other keys are on, so that a refusal can name the mistake.
const OTHER_CURVES: &[&str] = &["P-384", "P-521", "secp256k1", "Ed25519", "X25519"];

impl DeviceKey {
    /// An ES256 key from the text of its JWK: `kty` `EC`, `crv` `P-256`, `x` and `y`. Other members are not looked at, but for
    /// those that would make it a private key.
    ///
    /// No copy of a private key stays behind here; the text is the caller's to erase.
    ///
    /// # Errors
    /// [`DeviceKeyError`].
    pub fn from_jwk(text: &str) -> Result<Self, DeviceKeyError> {
        if spells_private_member(text) || armor::has_private_label(text) {
            return Err(DeviceKeyError::PrivateKey);
        }
        if text.len() > DEVICE_JWK_BYTES_MAX {
            return Err(DeviceKeyError::NotJwk);
        }
        let mut members = object(text.as_bytes()).map_err(|_| DeviceKeyError::NotJwk)?;
        let key = Self::from_jwk_members(&members);
        // A name with an escape in it is found only now.
        members.values_mut().for_each(erase);
        key
    }

    /// The same, from members that were read.
    pub(crate) fn from_jwk_members(members: &Map<String, Value>) -> Result<Self, DeviceKeyError> {
        if PRIVATE_MEMBERS.iter().any(|name| members.contains_key(*name)) {
            return Err(DeviceKeyError::PrivateKey);
        }
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => {
                let (x, y) = text("x").zip(text("y")).ok_or(DeviceKeyError::PointForm)?;
                Self::from_jwk_coordinates(x, y)
            }
            (Some("EC" | "OKP"), Some(curve)) => {
                let known = OTHER_CURVES.iter().find(|known| **known == curve);
                Err(DeviceKeyError::WrongCurve { curve: known.unwrap_or(&"another curve") })
            }
            (Some("RSA"), _) => Err(DeviceKeyError::WrongKind { algorithm: KeyAlgorithm::Es256 }),
            _ => Err(DeviceKeyError::UnknownKind),
        }
    }
}

/// Whether a private member stands in the text, be it JSON or not: a text that was cut off holds half a key. In JSON only a
/// name is followed by a colon.
fn spells_private_member(text: &str) -> bool {
    PRIVATE_MEMBERS.iter().any(|name| {
        let quoted = format!("\"{name}\"");
        text.split(quoted.as_str()).skip(1).any(|after| after.trim_ascii_start().starts_with(':'))
    })
}

fn erase(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(erase),
        Value::Object(members) => members.values_mut().for_each(erase),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // RFC 7517, appendix A.
    const X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
    const Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
    const D: &str = "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE";

    fn jwk(more: &str) -> String {
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"{more}}}"#)
    }

    #[test]
    fn a_public_key_is_read_whatever_else_is_said_of_it() {
        let expected = DeviceKey::from_jwk_coordinates(X, Y).unwrap();
        for more in ["", r#","use":"sig","kid":"1","alg":"ES256","key_ops":["verify"],"ext":true"#, r#","kid":"d""#] {
            assert!(DeviceKey::from_jwk(&jwk(more)).unwrap() == expected, "{more}");
        }
        assert!(DeviceKey::from_jwk(&expected.jwk()).unwrap() == expected, "what is written is read");
    }

    #[test]
    fn a_private_key_is_named_as_such_however_it_is_sent() {
        let escaped = format!(r#","\u0064":"{D}""#);
        let spaced = format!(",\"d\" \n:\"{D}\"");
        let plain = format!(r#","d":"{D}""#);
        for more in [&plain, &spaced, &escaped, r#","d":null"#, r#","d":1"#] {
            assert_eq!(DeviceKey::from_jwk(&jwk(more)), Err(DeviceKeyError::PrivateKey), "{}", more.len());
        }
        let cut = jwk(&plain);
        assert_eq!(DeviceKey::from_jwk(&cut[..cut.len() - 20]), Err(DeviceKeyError::PrivateKey));
        for private in [
            r#"{"kty":"oct","k":"AAAA"}"#.to_owned(),
            r#"{"kty":"RSA","n":"AQ","e":"AQAB","p":"AQ"}"#.to_owned(),
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----".to_owned(),
            format!("{}{}", plain, " ".repeat(DEVICE_JWK_BYTES_MAX)),
        ] {
            assert_eq!(DeviceKey::from_jwk(&private), Err(DeviceKeyError::PrivateKey));
        }
        let error = format!("{:?} {0}", DeviceKey::from_jwk(&jwk(&plain)).unwrap_err());
        assert!(!error.contains("870MB"), "{error}");
    }

    #[test]
    fn keys_of_other_kinds_are_refused_by_name() {
        use DeviceKeyError::{NotJwk, PointForm, PointNotOnCurve, UnknownKind, WrongCurve, WrongKind};
        let with = |from: &str, to: &str| DeviceKey::from_jwk(&jwk("").replacen(from, to, 1)).unwrap_err();
        assert_eq!(with("P-256", "P-384"), WrongCurve { curve: "P-384" });
        assert_eq!(with("P-256", "p-256"), WrongCurve { curve: "another curve" });
        assert_eq!(with("EC", "RSA"), WrongKind { algorithm: KeyAlgorithm::Es256 });
        assert_eq!(with("EC", "ec"), UnknownKind);
        assert_eq!(with(r#""EC""#, "1"), UnknownKind);
        assert_eq!(with(r#""x""#, r#""z""#), PointForm);
        assert_eq!(with(X, &X[1..]), PointForm);
        assert_eq!(with(X, &format!("{X}=")), PointForm);
        assert_eq!(with(X, Y), PointNotOnCurve);
        assert_eq!(with(r#""kty""#, r#""kty":"EC","kty""#), NotJwk);
        let nested = format!(r#","a":{}"#, "[".repeat(1000));
        for garbage in ["", "null", "[]", "{", &jwk("")[1..], &jwk(&nested), &jwk(&" ".repeat(4096))] {
            assert_eq!(DeviceKey::from_jwk(garbage), Err(NotJwk), "{} bytes", garbage.len());
        }
        for len in 0..jwk("").len() {
            assert_eq!(DeviceKey::from_jwk(&jwk("")[..len]), Err(NotJwk), "{len} bytes");
        }
    }

    #[test]
    fn what_was_read_can_be_erased() {
        let mut members = object(br#"{"a":["secret",{"b":"secret"}],"c":"secret"}"#).unwrap();
        members.values_mut().for_each(erase);
        assert_eq!(serde_json::to_string(&members).unwrap(), r#"{"a":["",{"b":""}],"c":""}"#);
    }

    proptest! {
        #[test]
        fn any_text_is_refused(text: String) {
            prop_assert!(DeviceKey::from_jwk(&text).is_err());
        }
    }
}
