//! A phone and the service, over HTTP: registration, login, refresh, a theft, and a crash in between.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use ridgeline_client::{Client, ClientError, ClientOptions};
use ridgeline_domain::Sensitive;
use serde_json::{Value, json};

use crate::running::{Up, text};
use crate::users::{PASSWORD, told, users};

struct Phone {
    key: SigningKey,
    client: Client,
}

impl Phone {
    fn new(up: &Up) -> Self {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        Self { key, client: Client::new(ClientOptions::new(up.url(), None)).unwrap() }
    }

    async fn call(&self, path: &str, token: Option<&str>, body: &Value) -> Result<Value, ClientError> {
        let bearer = token.map(|token| Sensitive::new(format!("Bearer {token}")));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer)).collect();
        let answer = self.client.call_json("POST", &format!("/api/v1/auth{path}"), &headers, Some(body)).await?;
        Ok(answer["data"].clone())
    }

    /// Signs the challenge that `path` gives and sends the answer to `then`.
    async fn prove(&self, challenge: &Value, then: &str) -> Result<Value, ClientError> {
        let signature: p256::ecdsa::Signature = self.key.sign(challenge["challenge"].as_str().unwrap().as_bytes());
        let signed = STANDARD.encode(signature.to_der());
        self.call(then, None, &json!({ "sessionId": challenge["sessionId"], "signedChallenge": signed })).await
    }

    async fn register(&self, web: &str) -> Value {
        let body = json!({
            "deviceName": "Điện thoại của Nguyễn",
            "deviceType": "mobile",
            "deviceFingerprint": "pixel-7",
            "publicKey": self.key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap(),
            "keyAlgorithm": "ES256",
        });
        let challenge = self.call("/devices/register/challenge", Some(web), &body).await.unwrap();
        self.prove(&challenge, "/devices/register/verify").await.unwrap()
    }

    async fn login(&self) -> Value {
        let challenge = self.call("/mobile/challenge", None, &json!({ "deviceFingerprint": "pixel-7" })).await.unwrap();
        self.prove(&challenge, "/mobile/biometric").await.unwrap()
    }

    async fn refresh(&self, token: &Value) -> Result<Value, ClientError> {
        self.call("/mobile/refresh", None, &json!({ "refreshToken": token })).await
    }
}

/// Audit events from the first on, until each of the words was seen.
fn audit_until(up: &Up, words: &[&str]) -> String {
    let mut command = up.command();
    command.args(["audit", "tail", "--from-beginning"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut tail = command.spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap());
    let mut shown = String::new();
    while !words.iter().all(|word| shown.contains(word)) {
        assert_ne!(lines.read_line(&mut shown).unwrap(), 0, "{shown}");
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
    shown
}

fn status(answer: Result<Value, ClientError>) -> u16 {
    answer.unwrap_err().problem().unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_registers_signs_in_and_survives_a_crash_and_a_thief_ends_his_own_session() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Up::start(dir.path(), &[]);
    let added = users(&up, &["add", "linh@example.vn", "--password-stdin"], PASSWORD);
    assert!(added.status.success(), "{}", text(&added.stderr));
    let phone = Phone::new(&up);
    let login = json!({ "email": "Linh@example.vn", "password": PASSWORD });
    let web = phone.call("/login", None, &login).await.unwrap()["accessToken"].as_str().unwrap().to_owned();
    let wrong = json!({ "email": "linh@example.vn", "password": "wrong password" });
    assert_eq!(status(phone.call("/login", None, &wrong).await), 401);

    let device = phone.register(&web).await;
    assert_eq!((&device["deviceName"], &device["trustLevel"]), (&"Điện thoại của Nguyễn".into(), &"medium".into()));
    let (session, other) = (phone.login().await, phone.login().await);
    assert_eq!((&session["deviceId"], &session["tokenType"]), (&device["deviceId"], &"Bearer".into()));
    let stolen = session["refreshToken"].clone();

    // kill -9, and up again over the same directory: nothing is lost and nothing doubled.
    up.kill();
    let mut up = Up::start(dir.path(), &[]);
    let phone = Phone::new(&up);
    let owners = phone.refresh(&stolen).await.unwrap()["refreshToken"].clone();
    assert_eq!(status(phone.refresh(&stolen).await), 401, "the thief");
    assert_eq!(status(phone.refresh(&owners).await), 401, "the owner, whose session has ended");
    assert!(phone.refresh(&other["refreshToken"]).await.is_ok(), "another session goes on");

    // Access tokens of the ended session are over at once, at the gateway too.
    let devices = |token: String| {
        let bearer = Sensitive::new(format!("Bearer {token}"));
        let client = phone.client.clone();
        async move { client.call_json("GET", "/api/v1/auth/devices", &[("authorization", &bearer)], None).await }
    };
    let token = |session: &Value| session["accessToken"].as_str().unwrap().to_owned();
    assert_eq!(devices(token(&other)).await.unwrap()["data"].as_array().unwrap().len(), 1);
    assert_eq!(status(devices(token(&session)).await), 401);

    let shown = audit_until(&up, &["refresh_token_reused", "auth.register\"", "auth.web_login"]);
    let (_, _, log) = up.terminate();
    for secret in [PASSWORD, &token(&session), stolen.as_str().unwrap()] {
        assert!(!log.contains(secret) && !shown.contains(secret), "a secret was written");
    }
}

#[test]
fn a_phone_in_software_registers_signs_in_and_shows_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Up::start(dir.path(), &[]);
    assert!(users(&up, &["add", "linh@example.vn", "--password-stdin"], PASSWORD).status.success());
    let file = dir.path().join("p.json");
    let mut shown = String::new();
    let mut phone = |arguments: &[&str], input: &str| {
        let arguments = [&["--file", file.to_str().unwrap()], arguments].concat();
        let output = told(&up, "phone", &arguments, input);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        shown.push_str(&said);
        (output.status.code().unwrap(), said)
    };
    let fails = |(code, said): (i32, String), advice: &str| assert!(code == 2 && said.contains(advice), "{said}");
    let works = |(code, said): (i32, String), word: &str| assert!(code == 0 && said.contains(word), "{said}");
    let register = ["register", "--email", "linh@example.vn", "--password-stdin", "--device-name", "Máy Linh"];
    fails(phone(&["login"], ""), "phone register");
    fails(phone(&register, "wrong password"), "RL-1401");
    works(phone(&register, PASSWORD), "trust high");
    fails(phone(&["devices"], ""), "phone login");
    works(phone(&["login"], ""), "signed in until");
    // Each is a process of its own: what one got the next one has.
    for _ in 0..3 {
        works(phone(&["refresh"], ""), "signed in until");
    }
    works(phone(&["devices"], ""), "Máy Linh, mobile, ES256, trust high");

    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let (_, _, log) = up.terminate();
    let session = &kept["session"];
    for secret in [&kept["signingKey"], &kept["proofKey"], &session["accessToken"], &session["refreshToken"]] {
        let secret = secret.as_str().unwrap().trim();
        assert!(!shown.contains(secret) && !log.contains(secret), "a secret was written");
    }
    assert!(!shown.contains(PASSWORD) && !shown.contains("PRIVATE KEY"), "a secret was written");
}
