use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::HkdfExtract;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use proptest::prelude::*;
use ridgeline_domain::{ActionId, Binding, DeviceId, DurationMs, FamilyId, SessionId, Timestamp, TrustLevel};
use ridgeline_testkit::covers;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::VaultError;
use crate::testing::{System, counting, golden_vault, hex};
use crate::{KeyRing, Vault};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ISSUER: &str = "https://ridgeline.example";

/// A provider's RSA keys and what they signed, made once with another implementation; nobody has the private keys any more.
static FIXTURES: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("fixtures.json")).unwrap());

fn secs(seconds: i64) -> Timestamp {
    NOW.plus(DurationMs::from_secs(seconds))
}

fn claims(kind: TokenKind) -> Claims {
    Claims {
        iss: ISSUER.to_owned(),
        aud: kind.aud().to_owned(),
        sub: "u17".to_owned(),
        iat: NOW,
        exp: secs(900),
        jti: "j1".to_owned(),
        device_id: Some(DeviceId::from_bytes([1; 16])),
        session_id: Some(SessionId::from_bytes([2; 16])),
        trust_level: Some(TrustLevel::High),
        auth_method: Some("device_key".to_owned()),
        amr: vec!["pop".to_owned()],
        acr: Some("urn:ridgeline:trust:high".to_owned()),
        binding: Some(Binding::Dpop),
        cnf_jkt: Some("thumbprint".to_owned()),
        token_family: Some(FamilyId::from_bytes([3; 16])),
        rotation_count: Some(4),
        ..Claims::default()
    }
}

fn key() -> TokenKey {
    TokenKey::generate(&System).unwrap()
}

fn verifier(key: &TokenKey) -> TokenVerifier {
    TokenVerifier::new(ISSUER, vec![key.public().clone()])
}

fn signed(key: &TokenKey, kind: TokenKind, claims: &Claims) -> String {
    key.sign(kind, claims).unwrap().expose().clone()
}

/// A token with any header and claims, signed with the bare key.
fn forged(key: &p256::ecdsa::SigningKey, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature: p256::ecdsa::Signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

fn bare() -> (p256::ecdsa::SigningKey, TokenPublicKey) {
    let mut bytes = [0; 32];
    ridgeline_ports::Entropy::fill(&System, &mut bytes);
    let key = p256::ecdsa::SigningKey::from_slice(&bytes).unwrap();
    let public = TokenPublicKey::from_point_bytes(key.verifying_key().to_encoded_point(false).as_bytes()).unwrap();
    (key, public)
}

#[test]
fn what_was_signed_is_read_back() {
    let key = key();
    for kind in TokenKind::ALL {
        let claims = claims(*kind);
        let token = signed(&key, *kind, &claims);
        assert!(verifier(&key).verify(*kind, &token, NOW).unwrap() == claims);
        assert!(token.len() < 1_024, "{}", token.len());
    }
}

#[test]
fn equal_claims_give_equal_bytes() {
    let key = key();
    let again =
        TokenKey::unwrap(&golden_vault(), key.public().kid(), &key.wrap(&golden_vault(), &System).unwrap()).unwrap();
    let token = signed(&key, TokenKind::Refresh, &claims(TokenKind::Refresh));
    assert_eq!(token, signed(&again, TokenKind::Refresh, &claims(TokenKind::Refresh)));
    assert!(!format!("{key:?}").contains("Signing"));
}

/// Computed with another implementation of RFC 6979 and RFC 7638. Members stand in the order of their names.
#[test]
fn golden_token() {
    let key = TokenKey::generate(&counting()).unwrap();
    assert_eq!(key.public().kid(), "b4Kc2UsqKPV9A-nYQqJsleJHKGt76kfXYuxImMb4dkQ");
    let token = signed(&key, TokenKind::Refresh, &claims(TokenKind::Refresh));
    let digest = "ee1e407a278d8e9b7772281aaa6fdbbe388d4476ff6800257aea63a2ae8307ed";
    assert_eq!(hex(&Sha256::digest(&token)), digest, "{token}");
}

#[test]
fn what_no_verifier_would_take_is_not_signed() {
    let key = key();
    let refused = |change: &dyn Fn(&mut Claims)| {
        let mut claims = claims(TokenKind::Web);
        change(&mut claims);
        key.sign(TokenKind::Web, &claims).err().map(|error| error.to_string())
    };
    let unusable = Some(VaultError::Malformed { what: "token" }.to_string());
    assert_eq!(refused(&|_| {}), None);
    assert_eq!(refused(&|claims| claims.aud = TokenKind::Access.aud().to_owned()), unusable);
    assert_eq!(refused(&|claims| claims.sub = String::new()), unusable);
    assert_eq!(refused(&|claims| claims.sub = "x".repeat(256)), unusable);
    assert_eq!(refused(&|claims| claims.jti = String::new()), unusable);
    assert_eq!(refused(&|claims| claims.exp = claims.iat), unusable);
    // Times are written in whole seconds, so this one would end when it begins.
    assert_eq!(refused(&|claims| claims.exp = claims.iat.plus(DurationMs(999))), unusable);
    assert_eq!(refused(&|claims| claims.exp = secs(31 * 86_400 + 1)), unusable);
    assert_eq!(refused(&|claims| claims.iat = Timestamp::from_millis(-1)), unusable);
    assert_eq!(refused(&|claims| claims.roles = vec!["r".to_owned(); 129]), unusable);
    let too_long = VaultError::TooLong { what: "token", bytes_max: 8_192 }.to_string();
    assert_eq!(refused(&|claims| claims.roles = vec!["r".repeat(100); 100]), Some(too_long));
}

#[test]
fn a_wrapped_key_opens_under_its_own_id_and_ring_only() {
    let key = key();
    let wrapped = key.wrap(&golden_vault(), &System).unwrap();
    assert!(TokenKey::unwrap(&golden_vault(), "another", &wrapped).is_err());
    let other = Vault::new(KeyRing::create(&System).unwrap());
    assert!(TokenKey::unwrap(&other, key.public().kid(), &wrapped).is_err());
    for end in 0..wrapped.len() {
        assert!(TokenKey::unwrap(&golden_vault(), key.public().kid(), &wrapped[..end]).is_err());
    }
}

#[test]
fn kinds_do_not_pass_for_each_other() {
    covers!("R-091");
    let key = key();
    for made in TokenKind::ALL {
        let token = signed(&key, *made, &claims(*made));
        for asked in TokenKind::ALL.iter().filter(|asked| *asked != made) {
            assert!(verifier(&key).verify(*asked, &token, NOW).is_err(), "{made:?} as {asked:?}");
        }
    }
}

#[test]
fn times_are_kept_give_or_take_ten_seconds() {
    let key = key();
    let at = |now: i64| {
        let token = signed(&key, TokenKind::Access, &claims(TokenKind::Access));
        verifier(&key).verify(TokenKind::Access, &token, secs(now)).err()
    };
    assert_eq!((at(-10), at(-11)), (None, Some(TokenError::NotYetValid)));
    assert_eq!((at(909), at(910)), (None, Some(TokenError::Expired)));
    let (bare, public) = bare();
    let verifier = TokenVerifier::new(ISSUER, vec![public.clone()]);
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": public.kid() }).to_string();
    let ask = |change: &dyn Fn(&mut Value)| {
        let mut json = claims(TokenKind::Access).to_json();
        change(&mut json);
        verifier.verify(TokenKind::Access, &forged(&bare, &header, &json.to_string()), NOW).err()
    };
    let now = NOW.millis() / 1_000;
    assert_eq!(ask(&|_| {}), None);
    assert_eq!(ask(&|json| json["nbf"] = json!(now + 11)), Some(TokenError::NotYetValid));
    assert_eq!(ask(&|json| json["nbf"] = json!(now + 10)), None);
    assert_eq!(ask(&|json| json["exp"] = json!(now)), Some(TokenError::Claims));
    assert_eq!(ask(&|json| json["exp"] = json!(now + 32 * 86_400)), Some(TokenError::Claims));
    for wrong in [json!("soon"), json!(null), json!(-1), json!(1e300), json!([])] {
        assert_eq!(ask(&|json| json["exp"] = wrong.clone()), Some(TokenError::Claims), "{wrong}");
        assert_eq!(ask(&|json| json["iat"] = wrong.clone()), Some(TokenError::Claims), "{wrong}");
    }
    for (name, wrong) in [
        ("iss", json!("https://evil.example")),
        ("aud", json!(["ridgeline:device"])),
        ("aud", json!("ridgeline:web")),
        ("aud", json!(null)),
        ("jti", json!(null)),
        ("cnf", json!({ "jkt": "x".repeat(256) })),
        ("cnf", json!("thumbprint")),
        ("trust_level", json!("HIGH")),
        ("binding", json!(["dpop"])),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("device_id", json!("x")),
        ("cnf", json!({ "jwk": {} })),
        ("rotation_count", json!(-1)),
        ("rotation_count", json!(1.5)),
        ("roles", json!("admin")),
        ("roles", json!([1])),
    ] {
        assert!(ask(&|json| json[name] = wrong.clone()).is_some(), "{name} {wrong}");
    }
}

#[test]
fn the_algorithm_and_the_key_are_ours_to_choose() {
    let (key, public) = bare();
    let verifier = TokenVerifier::new(ISSUER, vec![public.clone()]);
    let body = claims(TokenKind::Access).to_json().to_string();
    let header = |change: &dyn Fn(&mut Value)| {
        let mut header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": public.kid() });
        change(&mut header);
        header.to_string()
    };
    let ask = |header: &str| verifier.verify(TokenKind::Access, &forged(&key, header, &body), NOW).err();
    assert_eq!(ask(&header(&|_| {})), None);
    for alg in ["none", "None", "NONE", "nOnE", "HS256", "RS256", "ES384", "es256", ""] {
        let header = header(&|header| header["alg"] = json!(alg));
        assert_eq!(ask(&header), Some(TokenError::Algorithm), "{alg}");
        // The same without a signature.
        let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&body));
        assert!(verifier.verify(TokenKind::Access, &unsigned, NOW).is_err());
    }
    for (name, value) in [
        ("jwk", public.to_jwk()),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!([])),
        ("x5t", json!("")),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        // Of no harm known, but nothing that our keys have signed.
        ("cty", json!("JWT")),
        ("iat", json!(0)),
    ] {
        assert_eq!(ask(&header(&|header| header[name] = value.clone())), Some(TokenError::Header), "{name}");
    }
    for kid in ["../../etc/passwd", "", "https://evil.example", "' OR 1=1"] {
        assert_eq!(ask(&header(&|header| header["kid"] = json!(kid))), Some(TokenError::UnknownKey), "{kid}");
    }
    assert_eq!(ask(&header(&|header| header["typ"] = json!("JWT"))), Some(TokenError::Type));
    // HS256 under the public key as secret, in both forms that are public.
    let hs = header(&|header| header["alg"] = json!("HS256"));
    let der = key.verifying_key().to_public_key_der().unwrap();
    let pem = key.verifying_key().to_public_key_pem(p256::pkcs8::LineEnding::LF).unwrap();
    for secret in [der.as_bytes(), pem.as_bytes(), public.point_bytes().as_slice()] {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(&hs), URL_SAFE_NO_PAD.encode(&body));
        let mut mac = HkdfExtract::<Sha256>::new(Some(secret));
        mac.input_ikm(signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().0));
        assert_eq!(verifier.verify(TokenKind::Access, &token, NOW).err(), Some(TokenError::Algorithm));
    }
    // Another key under the same id.
    let (stranger, _) = bare();
    let token = forged(&stranger, &header(&|_| {}), &body);
    assert_eq!(verifier.verify(TokenKind::Access, &token, NOW).err(), Some(TokenError::Signature));
}

#[test]
fn garbage_is_refused() {
    let key = key();
    let token = signed(&key, TokenKind::Access, &claims(TokenKind::Access));
    let refused = |token: &str| verifier(&key).verify(TokenKind::Access, token, NOW).is_err();
    for end in 0..token.len() {
        assert!(refused(&token[..end]), "{end} characters");
    }
    let padded = format!("{token}=");
    let spaced = format!(" {token}");
    let fourth = format!("{token}.AAAA");
    let huge = "A".repeat(9_000);
    let standard = token.replace('_', "/").replace('-', "+");
    for garbage in ["", ".", "..", "...", "a.b.c", "{}.{}.{}", padded.as_str(), &spaced, &fourth, &huge, "é.é.é"] {
        assert!(refused(garbage), "{garbage}");
    }
    assert!(standard == token || refused(&standard));
    let (bare, public) = bare();
    let verifier = TokenVerifier::new(ISSUER, vec![public.clone()]);
    let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{}"}}"#, public.kid());
    let body = claims(TokenKind::Access).to_json().to_string();
    let twice = body.replacen('{', r#"{"sub":"admin","#, 1);
    let nested = body.replacen('{', r#"{"x":{"a":1,"a":2},"#, 1);
    for (header, body) in [
        (header.replacen('{', r#"{"alg":"none","#, 1), body.clone()),
        (header.clone(), twice),
        (header.clone(), nested),
        (header.clone(), format!("[{body}]")),
        (header.clone(), format!("{body} x")),
        (header.clone(), "[".repeat(4_000)),
        (header.replacen('{', &format!(r#"{{"x":"{}","#, "x".repeat(1_024)), 1), body.clone()),
        (format!("[{header}]"), body),
    ] {
        let token = forged(&bare, &header, &body);
        assert_eq!(verifier.verify(TokenKind::Access, &token, NOW).err(), Some(TokenError::Malformed));
    }
}

#[test]
fn a_key_set_holds_public_halves_only() {
    let key = key();
    let json: Value = serde_json::from_str(&Jwks(vec![key.public().clone()]).to_json()).unwrap();
    let jwk = json["keys"][0].as_object().unwrap();
    let names: Vec<_> = jwk.keys().map(String::as_str).collect();
    assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    assert_eq!(jwk["kid"], json!(key.public().kid()));
}

/// A provider with an EC key, and what its tokens look like.
fn provider() -> (p256::ecdsa::SigningKey, OidcVerifier) {
    let (key, public) = bare();
    let mut jwk = public.to_jwk();
    jwk["kid"] = json!("2026");
    let keys = OidcKeys::from_jwks_json(&json!({ "keys": [jwk] }).to_string()).unwrap();
    (key, OidcVerifier { issuer: "https://id.example".to_owned(), audience: "ridgeline".to_owned(), keys })
}

#[test]
fn a_providers_token_is_read() {
    let (key, verifier) = provider();
    let now = NOW.millis() / 1_000;
    let base = json!({
        "iss": "https://id.example", "aud": ["other", "ridgeline"], "sub": "auth0|17", "iat": now, "exp": now + 300,
        "roles": ["clerk"], "azp": "erp", "email": "linh@example.com", "unknown": { "nested": [1, 2] },
    });
    let ask = |header: Value, change: &dyn Fn(&mut Value)| {
        let mut body = base.clone();
        change(&mut body);
        verifier.verify(&forged(&key, &header.to_string(), &body.to_string()), NOW)
    };
    let header = json!({ "alg": "ES256", "kid": "2026", "typ": "JWT" });
    let claims = ask(header.clone(), &|_| {}).map_err(|error| error.to_string()).unwrap();
    assert_eq!((claims.sub.as_str(), claims.azp.as_deref(), claims.roles.len()), ("auth0|17", Some("erp"), 1));
    assert!(ask(json!({ "alg": "ES256", "kid": "2026" }), &|body| body["aud"] = json!("ridgeline")).is_ok());
    let err = |header: Value, change: &dyn Fn(&mut Value)| ask(header, change).err();
    assert_eq!(err(header.clone(), &|body| body["aud"] = json!("other")), Some(TokenError::Audience));
    assert_eq!(err(header.clone(), &|body| body["iss"] = json!("https://id.example/")), Some(TokenError::Issuer));
    assert_eq!(err(header.clone(), &|body| body["sub"] = json!("x".repeat(256))), Some(TokenError::Claims));
    assert_eq!(err(header.clone(), &|body| body["exp"] = json!(now - 11)), Some(TokenError::Claims));
    for alg in ["none", "NONE", "HS256", "ES384", "EdDSA"] {
        assert_eq!(err(json!({ "alg": alg, "kid": "2026" }), &|_| {}), Some(TokenError::Algorithm), "{alg}");
    }
    assert_eq!(err(json!({ "alg": "RS256", "kid": "2026" }), &|_| {}), Some(TokenError::Algorithm));
    assert_eq!(err(json!({ "alg": "ES256" }), &|_| {}), Some(TokenError::UnknownKey));
    assert_eq!(err(json!({ "alg": "ES256", "kid": "2026", "typ": "rt+jwt" }), &|_| {}), Some(TokenError::Type));
    assert_eq!(err(json!({ "alg": "ES256", "kid": "2026", "jku": "https://x" }), &|_| {}), Some(TokenError::Header));
}

#[test]
fn a_providers_keys_are_taken_with_care() {
    let count = |text: &str| OidcKeys::from_jwks_json(text).map(|keys| keys.len());
    let (_, public) = bare();
    let good = public.to_jwk();
    let with = |name: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[name] = value;
        count(&json!({ "keys": [jwk] }).to_string())
    };
    assert_eq!(count(&json!({ "keys": [good.clone()] }).to_string()), Ok(1));
    assert_eq!(count(&json!({ "keys": [] }).to_string()), Ok(0));
    let ignored = [
        ("use", json!("enc")),
        ("use", json!(7)),
        ("alg", json!("ES384")),
        ("alg", json!(null)),
        ("crv", json!("P-384")),
        ("key_ops", json!(["encrypt"])),
        ("key_ops", json!("verify")),
        ("x", json!("AAAA")),
        ("y", json!(7)),
        ("kty", json!("oct")),
        ("kty", json!("RSA")),
        ("kid", json!(7)),
        ("d", json!("AAAA")),
        ("k", json!("AAAA")),
    ];
    for (name, value) in ignored {
        assert_eq!(with(name, value.clone()), Ok(0), "{name} {value}");
    }
    assert_eq!(with("key_ops", json!(["verify"])), Ok(1));
    let mut other = good.clone();
    other["use"] = json!("enc");
    assert_eq!(count(&json!({ "keys": [other, good.clone()] }).to_string()), Ok(1), "only usable keys claim an id");
    // RSA below 2048 bits.
    let short = json!({ "kty": "RSA", "kid": "r", "n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB" });
    assert_eq!(count(&json!({ "keys": [short] }).to_string()), Ok(0));
    for wrong in ["", "{}", "[]", "null", r#"{"keys":7}"#, r#"{"keys":[],"keys":[]}"#] {
        assert_eq!(count(wrong), Err(TokenError::Malformed), "{wrong}");
    }
    assert_eq!(count(&json!({ "keys": [good.clone(), good.clone()] }).to_string()), Err(TokenError::Malformed));
    assert_eq!(count(&json!({ "keys": vec![json!({}); 65] }).to_string()), Err(TokenError::Malformed));
    assert_eq!(count(&" ".repeat(300_000)), Err(TokenError::Malformed));
}

/// What the provider of [`FIXTURES`] signs with its RSA keys.
fn rsa_provider() -> OidcVerifier {
    let keys = OidcKeys::from_jwks_json(&FIXTURES["jwks"].to_string()).unwrap();
    assert_eq!(keys.len(), 3, "the key of 1024 bits is left out");
    OidcVerifier { issuer: "https://id.example".to_owned(), audience: "ridgeline".to_owned(), keys }
}

#[test]
fn a_provider_may_sign_with_rsa() {
    let verifier = rsa_provider();
    for (name, token) in FIXTURES["good"].as_object().unwrap() {
        let claims = verifier.verify(token.as_str().unwrap(), NOW).map_err(|error| format!("{name}: {error}")).unwrap();
        assert_eq!((claims.sub.as_str(), claims.sid.as_deref()), ("auth0|17", Some("s-1")), "{name}");
    }
}

#[test]
fn an_rsa_key_verifies_with_its_own_algorithm_only() {
    let verifier = rsa_provider();
    let cases = FIXTURES["refused"].as_array().unwrap();
    assert_eq!(cases.len(), 14);
    for case in cases {
        let refused = verifier.verify(case[2].as_str().unwrap(), NOW).err().map(|error| format!("{error:?}"));
        assert_eq!(refused.as_deref(), case[1].as_str(), "{}", case[0]);
    }
}

#[test]
fn no_prefix_of_a_providers_token_verifies() {
    let verifier = rsa_provider();
    let token = FIXTURES["good"]["ps"].as_str().unwrap();
    for end in 0..token.len() {
        assert!(verifier.verify(&token[..end], NOW).is_err(), "{end} characters");
    }
    for garbage in [String::new(), "..".to_owned(), format!("{token}."), format!("{token}A"), "A".repeat(8_193)] {
        assert!(verifier.verify(&garbage, NOW).is_err());
    }
}

#[test]
fn a_provider_does_not_choose_key_or_algorithm_by_header() {
    let (key, verifier) = provider();
    let now = NOW.millis() / 1_000;
    let base = json!({ "iss": "https://id.example", "aud": "ridgeline", "sub": "17", "iat": now, "exp": now + 300 });
    let ask = |change: &dyn Fn(&mut Value)| {
        let mut header = json!({ "alg": "ES256", "kid": "2026", "typ": "JWT" });
        change(&mut header);
        let token = forged(&key, &header.to_string(), &base.to_string());
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert!(verifier.verify(&format!("{signed}."), NOW).is_err(), "unsigned");
        verifier.verify(&token, NOW).err()
    };
    assert_eq!(ask(&|_| {}), None);
    for alg in [json!("none"), json!("None"), json!("NONE"), json!("nOnE"), json!(""), json!(null), json!(["ES256"])] {
        assert_eq!(ask(&|header| header["alg"] = alg.clone()), Some(TokenError::Algorithm), "{alg}");
    }
    assert_eq!(ask(&|header| header["x5t"] = json!("aGludA")), None, "a hint that providers send");
    for name in ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"] {
        assert_eq!(ask(&|header| header[name] = json!({})), Some(TokenError::Header), "{name}");
    }
    for kid in [json!("../../etc/passwd"), json!(""), json!("2026 "), json!(2026), json!(null)] {
        assert_eq!(ask(&|header| header["kid"] = kid.clone()), Some(TokenError::UnknownKey), "{kid}");
    }
    for typ in ["rt+jwt", "act+jwt", "dpop+jwt", "logout+jwt", ""] {
        assert_eq!(ask(&|header| header["typ"] = json!(typ)), Some(TokenError::Type), "{typ}");
    }
}

#[test]
fn a_provider_names_users_and_not_our_devices() {
    let (key, verifier) = provider();
    let now = NOW.millis() / 1_000;
    let ask = |change: &dyn Fn(&mut Value)| {
        let mut body =
            json!({ "iss": "https://id.example", "aud": "ridgeline", "sub": "17", "iat": now, "exp": now + 300 });
        change(&mut body);
        let header = json!({ "alg": "ES256", "kid": "2026" }).to_string();
        verifier.verify(&forged(&key, &header, &body.to_string()), NOW)
    };
    let ours = claims(TokenKind::Refresh).to_json();
    let names =
        ["device_id", "session_id", "trust_level", "binding", "auth_method", "token_family", "rotation_count", "nonce"];
    for name in names {
        for value in [ours[name].clone(), json!("no such thing"), json!({ "a": [] })] {
            let read = ask(&|body| body[name] = value.clone()).map_err(|error| format!("{name}: {error}")).unwrap();
            let bare = ask(&|_| {}).map_err(|error| error.to_string()).unwrap();
            assert!(read == bare, "{name} {value}");
        }
    }
    // Bound to a key that nobody would ask for.
    assert_eq!(ask(&|body| body["cnf"] = json!({ "jkt": "x" })).err(), Some(TokenError::Claims));
    for (name, value) in [
        ("sub", json!(null)),
        ("sub", json!("")),
        ("roles", json!("clerk")),
        ("roles", json!([["clerk"]])),
        ("email", json!(["linh@example.com"])),
        ("azp", json!("x".repeat(256))),
        ("exp", json!(now + 32 * 86_400)),
        ("exp", json!(null)),
        ("iat", json!(null)),
    ] {
        assert_eq!(ask(&|body| body[name] = value.clone()).err(), Some(TokenError::Claims), "{name} {value}");
    }
    for aud in [json!(null), json!([]), json!([["ridgeline"]]), json!("ridgeline "), json!({ "ridgeline": 1 })] {
        assert_eq!(ask(&|body| body["aud"] = aud.clone()).err(), Some(TokenError::Audience), "{aud}");
    }
    assert_eq!(ask(&|body| body["iat"] = json!(now + 10)).err(), None);
    assert_eq!(ask(&|body| body["iat"] = json!(now + 11)).err(), Some(TokenError::NotYetValid));
    assert_eq!(ask(&|body| body["nbf"] = json!(now + 11)).err(), Some(TokenError::NotYetValid));
    let past = |age: i64| ask(&|body| (body["iat"], body["exp"]) = (json!(now - 300), json!(now - age))).err();
    assert_eq!((past(9), past(10)), (None, Some(TokenError::Expired)));
}

#[test]
fn no_changed_bit_verifies() {
    let key = key();
    let verifier = verifier(&key);
    let token = signed(&key, TokenKind::Refresh, &claims(TokenKind::Refresh));
    for at in 0..token.len() * 8 {
        let mut bytes = token.clone().into_bytes();
        bytes[at / 8] ^= 1 << (at % 8);
        // A token is a text before it comes here.
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        assert!(verifier.verify(TokenKind::Refresh, &changed, NOW).is_err(), "bit {at}");
    }
}

fn any_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(".{0,40}")
}

prop_compose! {
    fn any_claims()(
        sub in ".{1,60}",
        (life, at) in (1_i64..31 * 86_400, 0_i64..253_000_000_000),
        jti in ".{1,40}",
        (device, session, family, action) in any::<[Option<[u8; 16]>; 4]>().prop_map(Into::into),
        (acr, email, azp, client_id, sid) in (any_text(), any_text(), any_text(), any_text(), any_text()),
        (auth_method, action_type, nonce) in (any_text(), any_text(), any_text()),
        (amr, roles) in (prop::collection::vec(".{0,20}", 0..4), prop::collection::vec(".{0,20}", 0..9)),
        cnf_jkt in prop::option::of(".{1,43}"),
        rotation_count: Option<u32>,
        (trust_level, binding) in (
            prop::option::of(prop::sample::select(TrustLevel::ALL)),
            prop::option::of(prop::sample::select(Binding::ALL)),
        ),
    ) -> Claims {
        let iat = Timestamp::from_millis(at * 1_000);
        Claims {
            iss: ISSUER.to_owned(), sub, iat, exp: iat.plus(DurationMs::from_secs(life)), jti,
            device_id: device.map(DeviceId::from_bytes), session_id: session.map(SessionId::from_bytes),
            token_family: family.map(FamilyId::from_bytes), confirmation_id: action.map(ActionId::from_bytes),
            acr, email, azp, client_id, sid, auth_method, action_type, nonce, amr, roles, cnf_jkt, rotation_count,
            trust_level, binding, ..Claims::default()
        }
    }
}

thread_local! {
    static KEY: (TokenKey, TokenVerifier) = {
        let key = key();
        let verifier = verifier(&key);
        (key, verifier)
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_claims_are_read_back_and_no_bit_of_them_changes(
        claims in any_claims(),
        kind in prop::sample::select(TokenKind::ALL),
        at: prop::sample::Index,
    ) {
        let claims = Claims { aud: kind.aud().to_owned(), ..claims };
        KEY.with(|(key, verifier)| {
            let token = signed(key, kind, &claims);
            let read = verifier.verify(kind, &token, claims.iat);
            prop_assert!(read.is_ok_and(|read| read == claims));
            let at = at.index(token.len() * 8);
            let mut bytes = token.into_bytes();
            bytes[at / 8] ^= 1 << (at % 8);
            if let Ok(changed) = String::from_utf8(bytes) {
                prop_assert!(verifier.verify(kind, &changed, claims.iat).is_err());
            }
            Ok(())
        })?;
    }

    #[test]
    fn any_text_is_refused(text: String, parts in prop::array::uniform3("[A-Za-z0-9_-]{0,40}")) {
        let provider = OidcVerifier { issuer: ISSUER.to_owned(), audience: "a".to_owned(), keys: OidcKeys::default() };
        KEY.with(|(_, verifier)| {
            for token in [text, parts.join(".")] {
                for kind in TokenKind::ALL {
                    prop_assert!(verifier.verify(*kind, &token, NOW).is_err());
                }
                prop_assert!(provider.verify(&token, NOW).is_err());
            }
            Ok(())
        })?;
    }
}
