//! Device authentication against bodies that are wrong.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::http::{Method, Request};
use parking_lot::Mutex;
use ridgeline_testkit::covers;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::auth::{is_refused, registration, signed};
use crate::auth_site::{AuthSite, DEVICE, bearer, call, from};
use crate::harness::Answer;

/// Everything that this test program logs.
static LOGGED: LazyLock<Logged> = LazyLock::new(|| {
    let logged = Logged::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(logged.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    logged
});

#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logged {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

#[track_caller]
fn names(answer: &Answer, field: &str) {
    is_refused(answer, 400, "RL-1001");
    let message = answer.json["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("{field} ")), "{message}");
}

#[tokio::test]
async fn each_field_of_a_registration_has_its_rule() {
    covers!("R-217");
    let site = AuthSite::open().await;
    let web = site.web();
    let text = |text: &str| json!(text);
    for (field, value) in [
        ("deviceName", text("")),
        ("deviceName", text("   ")),
        ("deviceName", json!("a".repeat(256))),
        ("deviceName", text("a\u{7}b")),
        ("deviceName", text("a\nb")),
        ("deviceName", text("<script>")),
        ("deviceName", json!(7)),
        ("deviceName", Value::Null),
        ("deviceType", text("watch")),
        ("deviceType", text("Mobile")),
        ("deviceFingerprint", text("")),
        ("deviceFingerprint", text("a b")),
        ("deviceFingerprint", json!("f".repeat(256))),
        ("publicKey", Value::Null),
        ("publicKey", json!(["x"])),
        ("publicKey", json!("x".repeat(10_241))),
        ("keyAlgorithm", text("none")),
        ("keyAlgorithm", text("HS256")),
        ("keyAlgorithm", text("es256")),
        ("language", text("fr")),
        ("proofKey", text("{}")),
        ("proofKey", json!([])),
    ] {
        let answer = site.post("/devices/register/challenge", Some(&web), &with(registration(), field, value)).await;
        names(&answer, field);
    }
    assert_eq!(site.asked_so_far(), 0);
    for name in ["Điện thoại của Nguyễn", "O'Brien-2", &"ễ".repeat(255)] {
        let body = with(registration(), "deviceName", text(name));
        assert_eq!(site.post("/devices/register/challenge", Some(&web), &body).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn keys_are_checked_before_a_challenge_is_asked_for() {
    covers!("R-061");
    let site = AuthSite::open().await;
    let web = site.web();
    let good = registration();
    let pem = good["publicKey"].as_str().unwrap();
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": "A".repeat(43), "y": "A".repeat(43) });
    for (field, value, said) in [
        ("publicKey", json!(""), "PEM"),
        ("publicKey", json!("x".repeat(10_240)), "PEM"),
        ("publicKey", json!(&pem[..pem.len() / 2]), "PEM"),
        ("publicKey", json!(format!("{pem}{pem}")), "several"),
        ("publicKey", json!(pem.replace("PUBLIC KEY", "CERTIFICATE")), "labelled"),
        ("keyAlgorithm", json!("RS256"), "RSA key"),
        ("proofKey", json!({}), "EC key"),
        ("proofKey", jwk.clone(), "not on P-256"),
        ("proofKey", with(jwk, "d", json!("A".repeat(43))), "private key"),
    ] {
        let answer = site.post("/devices/register/challenge", Some(&web), &with(good.clone(), field, value)).await;
        is_refused(&answer, 422, "RL-1402");
        let message = answer.json["message"].as_str().unwrap();
        assert!(message.contains(said), "{message}");
    }
    assert_eq!(site.asked_so_far(), 0);
}

#[tokio::test]
async fn signed_challenges_are_base64_of_either_alphabet() {
    covers!("R-219");
    let site = AuthSite::open().await;
    for path in ["/devices/register/verify", "/mobile/biometric"] {
        for good in ["-_-_", "+/+/", "YQ==", "YQ", &"A".repeat(680)] {
            let answer = site.post(path, None, &with(signed(), "signedChallenge", json!(good))).await;
            assert!(answer.status.is_success(), "{good}: {}", answer.text);
        }
        let asked = site.asked_so_far();
        for bad in ["", "+_+_", "-/-/", "YQ=", "YQ===", "Y", "YR==", "a b=", "YQ==\n", "ä", "A.B.", &"A".repeat(685)] {
            names(&site.post(path, None, &with(signed(), "signedChallenge", json!(bad))).await, "signedChallenge");
        }
        for bad in [json!(""), json!("x"), json!("A".repeat(32)), json!("a".repeat(31)), json!(7), Value::Null] {
            names(&site.post(path, None, &with(signed(), "sessionId", bad)).await, "sessionId");
        }
        assert_eq!(site.asked_so_far(), asked);
    }
    names(&site.post("/mobile/biometric", None, &with(signed(), "rememberMe", json!("yes"))).await, "rememberMe");
}

#[tokio::test]
async fn other_fields_have_their_rules_too() {
    let site = AuthSite::open().await;
    let access = bearer(&site.access());
    for token in ["", "a b", "a\n", "ä", &"f".repeat(256)] {
        let body = json!({ "fcmToken": token });
        names(&site.send(call(Method::PUT, "/devices/fcm-token", Some(&access), Some(&body))).await, "fcmToken");
    }
    let longest = json!({ "fcmToken": "f".repeat(255) });
    let answer = site.send(call(Method::PUT, "/devices/fcm-token", Some(&access), Some(&longest))).await;
    assert_eq!(answer.status, 200);
    let body = json!({ "fcmToken": "f", "deviceId": "x" });
    names(&site.send(call(Method::PUT, "/devices/fcm-token", Some(&access), Some(&body))).await, "deviceId");
    let other = format!("/devices/{}", DEVICE.to_string().to_uppercase());
    names(&site.send(call(Method::DELETE, &other, Some(&access), None)).await, "deviceId");
    for (path, body, field) in [
        ("/login", json!({ "password": "p" }), "email"),
        ("/login", json!({ "email": "no address", "password": "p" }), "email"),
        ("/login", json!({ "email": "a@b.vn" }), "password"),
        ("/login", json!({ "email": "a@b.vn", "password": "" }), "password"),
        ("/login", json!({ "email": "a@b.vn", "password": "p".repeat(1_025) }), "password"),
        ("/mobile/challenge", json!({}), "deviceFingerprint"),
        ("/mobile/challenge", json!({ "deviceFingerprint": "f", "deviceId": "x" }), "deviceId"),
        ("/mobile/refresh", json!({}), "refreshToken"),
        ("/mobile/refresh", json!({ "refreshToken": "" }), "refreshToken"),
        ("/mobile/refresh", json!({ "refreshToken": "r".repeat(8_193) }), "refreshToken"),
    ] {
        names(&site.post(path, None, &body).await, field);
    }
}

#[tokio::test]
async fn bodies_are_small_json_objects_with_unique_names() {
    let site = AuthSite::open().await;
    let paths = ["/login", "/devices/register/verify", "/mobile/challenge", "/mobile/biometric", "/mobile/refresh"];
    let raw = |path: &str, kind: Option<&str>, body: &str| {
        let mut request = Request::builder().method(Method::POST).uri(format!("/api/v1/auth{path}"));
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        site.send(from("192.0.2.7", request.body(Body::from(body.to_owned())).unwrap()))
    };
    let json = Some("application/json");
    for path in paths {
        for body in ["", "{", "[]", "null", "{\"a\":1,\"a\":2}", "{\"x\":{\"a\":1,\"a\":2}}", "{} {}", &"[".repeat(500)]
        {
            is_refused(&raw(path, json, body).await, 400, "RL-1001");
        }
        is_refused(&raw(path, json, &format!("{{\"x\":\"{}\"}}", "a".repeat(65_536))).await, 413, "RL-1002");
        is_refused(&raw(path, Some("text/plain"), "{}").await, 415, "RL-1004");
        is_refused(&raw(path, None, "{}").await, 415, "RL-1004");
    }
    let whole = signed().to_string();
    for end in 0..whole.len() {
        let answer = raw("/mobile/biometric", json, whole.get(..end).unwrap_or_default()).await;
        assert_eq!(answer.status, 400, "{end}");
    }
    assert_eq!(site.asked_so_far(), 0);
}

#[tokio::test]
async fn the_longest_of_everything_still_fits_a_command() {
    let site = AuthSite::open().await;
    let mut sent = call(Method::POST, "/devices/register/verify", Some(&bearer(&"t".repeat(30_000))), Some(&signed()));
    sent.headers_mut().insert("dpop", "p".repeat(30_000).parse().unwrap());
    assert_eq!(site.send(sent).await.status, 201);
    let asked = site.last().body;
    assert!(asked.proof.is_none() && asked.credential.is_none(), "neither can be one");
    let email = format!("{}a@b.vn", " ".repeat(64_000));
    let answer = site.post("/login", None, &json!({ "email": email, "password": "p".repeat(1_024) })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(site.last().body.password.unwrap().email, "a@b.vn");
    // White space around a key is no part of it: the longest text of a key that is one.
    let mut body = registration();
    let key = body["publicKey"].as_str().unwrap();
    body["publicKey"] = json!(format!("{key}{}", "\n".repeat(10_240 - key.len())));
    body["deviceName"] = json!("ễ".repeat(255));
    body["deviceFingerprint"] = json!("f".repeat(255));
    let answer = site.post("/devices/register/challenge", Some(&site.web()), &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn no_secret_comes_back_or_into_the_log() {
    let logged = LOGGED.clone();
    let site = AuthSite::open().await;
    let web = site.web();
    let secret = "c2VjcmV0c2VjcmV0c2VjcmV0";
    let private = format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n");
    let answer =
        site.post("/devices/register/challenge", Some(&web), &with(registration(), "publicKey", json!(private))).await;
    is_refused(&answer, 422, "RL-1402");
    assert!(answer.json["message"].as_str().unwrap().contains("private key"), "{}", answer.text);
    let mut answers = vec![answer.text];
    let mut send = async |path: &str, token: Option<&str>, body: Value| {
        answers.push(site.post(path, token, &body).await.text);
    };
    send("/login", None, json!({ "email": "a@b.vn", "password": secret })).await;
    send("/login", None, json!({ "email": secret, "password": secret })).await;
    send("/login", None, json!({ "email": [secret], "password": { "x": secret } })).await;
    send("/mobile/refresh", None, json!({ "refreshToken": secret })).await;
    send("/mobile/biometric", None, with(signed(), "signedChallenge", json!(secret))).await;
    send("/mobile/challenge", None, json!({ "deviceFingerprint": format!("{secret} ") })).await;
    send("/devices/register/challenge", Some(secret), registration()).await;
    send("/devices/register/challenge", Some(&web), registration()).await;
    let mut bound = call(Method::GET, "/devices", Some(&format!("DPoP {}", site.access())), None);
    bound.headers_mut().insert("dpop", secret.parse().unwrap());
    answers.push(site.send(bound).await.text);

    let log = String::from_utf8_lossy(&logged.0.lock()).into_owned();
    assert!(log.contains("/api/v1/auth/login"), "the access log is there");
    for text in answers.iter().chain([&log]) {
        assert!(!text.contains(secret), "{}", text.chars().take(300).collect::<String>());
    }
    for hidden in [web.as_str(), "a-challenge", "an.access.token", "192.0.2.7"] {
        assert!(!log.contains(hidden), "{hidden}");
    }
    // Commands are sealed.
    let sealed = site.site.memory.dir();
    let stored = std::fs::read_dir(sealed).unwrap().flat_map(|entry| files(&entry.unwrap().path())).collect::<Vec<_>>();
    assert!(!stored.is_empty());
    for bytes in stored {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

fn files(path: &std::path::Path) -> Vec<Vec<u8>> {
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().flat_map(|entry| files(&entry.unwrap().path())).collect()
    } else {
        vec![std::fs::read(path).unwrap_or_default()]
    }
}
