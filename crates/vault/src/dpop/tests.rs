use p256::ecdsa::signature::Signer as _;
use proptest::prelude::*;
use ridgeline_ports::Entropy;
use serde_json::json;

use super::*;
use crate::testing::{System, counting, hex};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const URL: &str = "https://auth.example/api/v1/auth/mobile/refresh";
const TOKEN: &str = "header.claims.signature";

/// A key, and what a good proof of it is about.
struct Case {
    key: DpopKey,
    thumbprint: String,
}

impl Case {
    fn new() -> Self {
        let key = DpopKey::generate(&System).unwrap();
        Self { thumbprint: key.thumbprint(), key }
    }

    fn expected(&self) -> Expected<'_> {
        Expected { method: "POST", url: URL, now: NOW, access_token: None, thumbprint: &self.thumbprint }
    }

    fn verify(&self, proof: &str) -> Result<ProofId, TokenError> {
        DpopProof::verify(proof, &self.expected())
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": serde_json::from_str::<Value>(&self.key.jwk()).unwrap() })
    }

    /// Any header and claims, signed.
    fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = p256::ecdsa::SigningKey::from_slice(self.key.private_bytes().as_slice()).unwrap();
        let signature: p256::ecdsa::Signature = key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    /// A good proof but for what `change` does to its header.
    fn with_header(&self, change: impl FnOnce(&mut Value)) -> Result<ProofId, TokenError> {
        let mut header = self.header();
        change(&mut header);
        self.verify(&self.sign(&header.to_string(), &claims().to_string()))
    }

    /// A good proof but for what `change` does to its claims.
    fn with_claims(&self, change: impl FnOnce(&mut Value)) -> Result<ProofId, TokenError> {
        let mut claims = claims();
        change(&mut claims);
        self.verify(&self.sign(&self.header().to_string(), &claims.to_string()))
    }

    fn with_claim(&self, name: &str, value: impl Into<Value>) -> Result<ProofId, TokenError> {
        self.with_claims(|claims| claims[name] = value.into())
    }
}

fn claims() -> Value {
    json!({ "htm": "POST", "htu": URL, "iat": NOW.millis() / 1_000, "jti": "j1" })
}

impl DpopKey {
    /// A proof for the call of [`Case::expected`].
    fn proof(&self, entropy: &dyn Entropy) -> String {
        self.prove("POST", URL, NOW, None, entropy)
    }
}

#[test]
fn the_samples_of_rfc_9449_verify() {
    const HEADER: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNo\
        UklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6\
        IlAtMjU2In19";
    // Section 5 and section 7.1.
    let to_get_a_token = format!(
        "{HEADER}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwia\
        WF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
    );
    let to_use_it = format!(
        "{HEADER}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0\
        ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqz\
        hrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
    );
    let expected = Expected {
        method: "POST",
        url: "https://server.example.com/token",
        now: Timestamp::from_millis(1_562_262_616_000),
        access_token: None,
        thumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
    };
    assert!(DpopProof::verify(&to_get_a_token, &expected).is_ok());
    let expected = Expected {
        method: "GET",
        url: "https://resource.example.org/protectedresource",
        access_token: Some("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"),
        ..expected
    };
    assert!(DpopProof::verify(&to_use_it, &expected).is_ok());
}

#[test]
fn a_proof_that_was_made_verifies_for_its_call_and_key() {
    let case = Case::new();
    let made = case.key.prove("POST", &format!("{URL}?x=1#y"), NOW, None, &System);
    assert!(case.verify(&made).is_ok());
    let carrying = case.key.prove("POST", URL, NOW, Some(TOKEN), &System);
    let expected = Expected { access_token: Some(TOKEN), ..case.expected() };
    assert!(DpopProof::verify(&carrying, &expected).is_ok());
    assert!(case.verify(&carrying).is_ok(), "where no token is carried nothing is asked about one");
    let kept = DpopKey::from_bytes(case.key.private_bytes().as_slice()).unwrap();
    assert!(case.verify(&kept.proof(&System)).is_ok());
    assert_eq!(proof_key_from_jwk(&case.key.jwk()).unwrap().jwk_thumbprint(), case.thumbprint);
}

#[test]
fn a_proof_of_another_key_is_refused() {
    let (case, other) = (Case::new(), Case::new());
    let stolen = other.key.proof(&System);
    assert_eq!(case.verify(&stolen), Err(TokenError::UnknownKey));
    // The right key in the header, the signature of another.
    let forged = other.sign(&case.header().to_string(), &claims().to_string());
    assert_eq!(case.verify(&forged), Err(TokenError::Signature));
    let unbound = Expected { thumbprint: "", ..case.expected() };
    let own = case.key.proof(&System);
    assert_eq!(DpopProof::verify(&own, &unbound), Err(TokenError::UnknownKey));
}

#[test]
fn a_proof_is_for_one_method_url_and_token() {
    let case = Case::new();
    let proof = case.key.prove("POST", URL, NOW, Some(TOKEN), &System);
    let verify = |expected: Expected<'_>| DpopProof::verify(&proof, &expected);
    for elsewhere in [
        Expected { method: "GET", ..case.expected() },
        Expected { method: "post", ..case.expected() },
        Expected { url: "https://auth.example/api/v1/auth/devices", ..case.expected() },
        Expected { url: "", ..case.expected() },
    ] {
        assert_eq!(verify(elsewhere), Err(TokenError::Audience));
    }
    let other_token = Expected { access_token: Some("header.claims.other"), ..case.expected() };
    assert_eq!(verify(other_token), Err(TokenError::Claims));
    let without = case.key.proof(&System);
    let expected = Expected { access_token: Some(TOKEN), ..case.expected() };
    assert_eq!(DpopProof::verify(&without, &expected), Err(TokenError::Claims));
    for name in ["htm", "htu", "iat", "jti"] {
        let left_out = case.with_claims(|claims| drop(claims.as_object_mut().unwrap().remove(name)));
        assert_eq!(left_out, Err(TokenError::Claims), "{name}");
        for value in [Value::Null, json!(true), json!([]), json!({})] {
            assert_eq!(case.with_claim(name, value), Err(TokenError::Claims), "{name}");
        }
        assert!(case.with_claim(name, "").is_err(), "{name}");
    }
}

#[test]
fn a_proof_is_good_for_60_seconds_before_and_after() {
    let case = Case::new();
    let at = |seconds: i64| case.with_claim("iat", NOW.millis() / 1_000 + seconds).map(drop);
    for near in [-60, -1, 0, 60] {
        assert_eq!(at(near), Ok(()), "{near} s");
    }
    assert_eq!(at(-61), Err(TokenError::Expired));
    assert_eq!(at(61), Err(TokenError::NotYetValid));
    let later = |millis: i64| {
        let now = NOW.plus(DurationMs(millis));
        DpopProof::verify(&case.key.proof(&System), &Expected { now, ..case.expected() }).map(drop)
    };
    assert_eq!(later(60_999), Ok(()), "the proof may have been made at the end of its second");
    assert_eq!(later(61_000), Err(TokenError::Expired));
    assert_eq!(later(-60_000), Ok(()));
    assert_eq!(later(-60_001), Err(TokenError::NotYetValid));
    let ahead = case.key.prove("POST", URL, NOW.plus(PROOF_SKEW), None, &System);
    let used = |millis: i64| {
        let now = NOW.plus(DurationMs(millis));
        DpopProof::verify(&ahead, &Expected { now, ..case.expected() }).is_ok()
    };
    assert!(used(0) && used(PROOF_MEMORY.0 - 1) && !used(PROOF_MEMORY.0), "an id is forgotten when its proof is over");
    for none in [json!(-1), json!(i64::MIN), json!(u64::MAX), json!(1e300)] {
        assert_eq!(case.with_claim("iat", none), Err(TokenError::Claims));
    }
}

#[test]
fn a_proof_has_an_id_by_which_it_is_used_once() {
    let case = Case::new();
    let id = |jti: &str| case.with_claim("jti", jti);
    assert_eq!(id("a"), id("a"));
    assert_ne!(id("a"), id("b"));
    assert_ne!(id("a").unwrap(), Case::new().with_claim("jti", "a").unwrap(), "ids of different keys do not meet");
    let longest = "é".repeat(128);
    assert!(id(&longest).is_ok());
    assert_eq!(id(&format!("{longest}x")), Err(TokenError::Claims));
    let again = [(); 2].map(|()| case.verify(&case.key.proof(&System)).unwrap());
    assert_ne!(again[0], again[1]);
    let golden = "ed99b184c9920f6a0f342eb02aac4086ecd0221fc2a8980862e062f19cbc1f6e";
    assert_eq!(hex(ProofId::of("thumbprint", "j1").unwrap().as_bytes()), golden);
    assert_eq!(format!("{:?}", ProofId::of("thumbprint", "j1").unwrap()), format!("ProofId({golden})"));
}

#[test]
fn other_types_and_algorithms_are_refused() {
    let case = Case::new();
    for typ in [json!("jwt"), json!("DPoP+jwt"), json!("at+jwt"), json!(""), Value::Null] {
        assert_eq!(case.with_header(|header| header["typ"] = typ), Err(TokenError::Type));
    }
    for alg in ["none", "None", "NONE", "nOnE", "HS256", "RS256", "PS256", "ES384", "es256", ""] {
        assert_eq!(case.with_header(|header| header["alg"] = json!(alg)), Err(TokenError::Algorithm), "{alg}");
    }
    let unsigned = case.sign(&case.header().to_string(), &claims().to_string());
    let (signed, _) = unsigned.rsplit_once('.').unwrap();
    assert_eq!(case.verify(&format!("{signed}.")), Err(TokenError::Signature));
}

#[test]
fn the_header_brings_a_public_p256_key_and_no_other() {
    let case = Case::new();
    let with = |name: &str, value: Value| case.with_header(|header| header["jwk"][name] = value);
    let secret = URL_SAFE_NO_PAD.encode([7; 32]);
    for (name, value) in [
        ("d", json!(secret)),
        ("d", Value::Null),
        ("k", json!(secret)),
        ("kty", json!("RSA")),
        ("kty", json!("oct")),
        ("crv", json!("P-384")),
        ("x", json!(secret)),
        ("x", json!("")),
        ("y", json!(1)),
    ] {
        assert_eq!(with(name, value), Err(TokenError::Header), "{name}");
    }
    assert!(with("use", json!("sig")).is_ok());
    for jwk in [Value::Null, json!([]), json!({}), json!(case.key.jwk())] {
        assert_eq!(case.with_header(|header| header["jwk"] = jwk), Err(TokenError::Header));
    }
    for name in ["jku", "x5u", "x5c", "crit", "b64", "zip"] {
        assert_eq!(case.with_header(|header| header[name] = json!("x")), Err(TokenError::Header), "{name}");
    }
}

#[test]
fn damaged_proofs_are_refused() {
    let case = Case::new();
    let proof = case.key.proof(&System);
    for len in 0..proof.len() {
        assert!(case.verify(&proof[..len]).is_err(), "{len} characters");
    }
    for garbage in ["", ".", "..", "a.b.c", "!.!.!", "e30.e30.", "\u{e9}.\u{e9}.\u{e9}"] {
        assert!(case.verify(garbage).is_err(), "{garbage}");
    }
    assert_eq!(case.verify(&format!("{proof}.")), Err(TokenError::Malformed));
    assert_eq!(case.verify(&format!(" {proof}")), Err(TokenError::Malformed));
    assert_eq!(case.verify(&format!("{proof}=")), Err(TokenError::Malformed));
    assert_eq!(case.with_claim("x", "x".repeat(8 << 10)), Err(TokenError::Malformed));
    let twice = claims().to_string().replacen('{', r#"{"htm":"POST","#, 1);
    assert_eq!(case.verify(&case.sign(&case.header().to_string(), &twice)), Err(TokenError::Malformed));
    let twice = case.header().to_string().replacen('{', r#"{"alg":"ES256","#, 1);
    assert_eq!(case.verify(&case.sign(&twice, &claims().to_string())), Err(TokenError::Malformed));
    let twice = case.header().to_string().replacen(r#""crv""#, r#""crv":"P-256","crv""#, 1);
    assert_eq!(case.verify(&case.sign(&twice, &claims().to_string())), Err(TokenError::Malformed));
    assert_eq!(case.verify(&case.sign("[]", "{}")), Err(TokenError::Malformed));
}

#[test]
fn what_is_no_private_key_makes_no_proofs() {
    for bytes in [&[][..], &[1; 31], &[1; 33], &[0; 32], &[0xff; 32]] {
        assert!(matches!(DpopKey::from_bytes(bytes), Err(crate::VaultError::Malformed { .. })), "{}", bytes.len());
    }
}

#[test]
fn a_signature_in_der_is_no_signature_of_a_proof() {
    let case = Case::new();
    let proof = case.key.proof(&System);
    let (signed, signature) = proof.rsplit_once('.').unwrap();
    let signature = p256::ecdsa::Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let der = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_der()));
    assert_eq!(case.verify(&der), Err(TokenError::Signature));
}

#[test]
fn equal_calls_and_randomness_give_equal_proofs_and_debug_shows_no_key() {
    let key = DpopKey::generate(&counting()).unwrap();
    let proofs = [(); 2].map(|()| key.proof(&counting()));
    assert_eq!(proofs[0], proofs[1]);
    assert_eq!(format!("{key:?}"), format!("DpopKey({})", key.thumbprint()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_changed_bit_of_a_proof_is_noticed(at: prop::sample::Index, bit in 0..8_u32) {
        let key = DpopKey::generate(&counting()).unwrap();
        let thumbprint = key.thumbprint();
        let expected =
            Expected { method: "POST", url: URL, now: NOW, access_token: None, thumbprint: &thumbprint };
        let mut bytes = key.proof(&counting()).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(DpopProof::verify(&changed, &expected).is_err(), "{}", at);
        }
    }

    #[test]
    fn any_text_is_refused(text: String) {
        let expected = Expected { method: "POST", url: URL, now: NOW, access_token: None, thumbprint: "x" };
        prop_assert!(DpopProof::verify(&text, &expected).is_err());
    }
}
