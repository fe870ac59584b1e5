use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use ridgeline_vault::{DeviceKey, DeviceSignature, VaultError};
use serde_json::{Value, json};

use super::*;
use crate::testing::{NOW, Server, StepClock, System, auth_client, data, lost, refusal};

const DEVICE: &str = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
const ID: &str = "000102030405060708090a0b0c0d0e0f";
const EXPIRES: &str = "2027-01-15T08:15:00.000Z";

/// A phone in a directory of its own, and the clock it goes by.
struct Case {
    dir: tempfile::TempDir,
    clock: Arc<StepClock>,
    phone: Phone,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let phone = Phone::create(&dir.path().join("phone.json"), &System).unwrap();
        Self { dir, clock: StepClock::new(), phone }
    }

    /// Registered, and signed in until a quarter past eight.
    async fn signed_in() -> Self {
        let mut case = Self::new();
        let server = Server::answering(entering()).await;
        case.register(&server).await.unwrap();
        case.phone.login(&case.client(&server)).await.unwrap();
        case
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("phone.json")
    }

    fn client(&self, server: &Server) -> AuthClient {
        auth_client(&server.url, &self.clock)
    }

    async fn register(&mut self, server: &Server) -> Result<Registered, PhoneError> {
        let profile =
            Profile { name: "Máy".parse().unwrap(), device_type: DeviceType::Mobile, language: Some(Language::Vi) };
        let client = self.client(server);
        self.phone.register(&client, &Sensitive::new("web".to_owned()), &profile).await
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    fn key(&self) -> DeviceKey {
        let pem = Sensitive::new(self.phone.signer.public_pem().unwrap());
        DeviceKey::from_pem(KeyAlgorithm::Es256, pem).unwrap()
    }

    /// Whether `signed` is the phone's signature of the challenge.
    fn signs(&self, challenge: &str, signed: &Value) -> bool {
        let signature = DeviceSignature::from_text(signed.as_str().unwrap()).unwrap();
        self.key().verify(challenge.as_bytes(), &signature).is_ok()
    }
}

fn plain() -> Challenge {
    Challenge::generate(&System)
}

fn challenge(challenge: &Challenge) -> String {
    data(&json!({ "sessionId": ID, "challenge": challenge.text(), "expiresAt": EXPIRES }))
}

fn registered() -> String {
    data(&json!({ "deviceId": DEVICE, "deviceName": "Máy", "trustLevel": "high", "createdAt": EXPIRES }))
}

/// The tokens of a generation.
fn tokens(generation: u32) -> String {
    data(&json!({
        "accessToken": format!("access{generation}"), "refreshToken": format!("refresh{generation}"),
        "accessTokenExpiresAt": EXPIRES, "refreshTokenExpiresAt": EXPIRES, "tokenType": "DPoP", "deviceId": DEVICE,
        "trustLevel": "high", "sessionId": ID,
    }))
}

fn entering() -> Vec<String> {
    vec![challenge(&plain()), registered(), challenge(&plain()), tokens(0)]
}

fn pending(action_type: &str, payload: &Value, challenge: Option<&Challenge>) -> Confirmation {
    let confirmation = json!({
        "confirmationId": ID, "status": "pending", "actionType": action_type, "actionPayload": payload,
        "challenge": challenge.map(Challenge::text), "createdAt": EXPIRES, "expiresAt": EXPIRES,
    });
    serde_json::from_value(confirmation).unwrap()
}

fn action_challenge(action_type: &str, payload: &Value) -> Challenge {
    Challenge::for_action(&System, &action_digest(action_type, &payload.to_string()).unwrap())
}

#[tokio::test]
async fn a_phone_registers_and_signs_in_and_its_file_remembers() {
    let mut case = Case::new();
    let (first, second) = (plain(), plain());
    let server =
        Server::answering(vec![challenge(&first), registered(), challenge(&second), tokens(0), data(&json!([]))]).await;
    let client = case.client(&server);
    assert!(matches!(case.phone.login(&client).await, Err(PhoneError::NotRegistered)));
    assert!(matches!(case.phone.access(&client).await, Err(PhoneError::NotSignedIn)));
    let device = case.register(&server).await.unwrap();
    assert_eq!(device.device_id.to_string(), DEVICE);
    let signed_in = case.phone.login(&client).await.unwrap();
    assert_eq!((signed_in.access_expires_at.millis(), signed_in.trust_level), (NOW + 900_000, Some(TrustLevel::High)));

    let mut kept = Phone::open(&case.path()).unwrap();
    assert_eq!((kept.device_id(), kept.service()), (Some(device.device_id), Some(server.url.as_str())));
    assert_eq!(kept.fingerprint(), case.phone.fingerprint());
    assert!(kept.devices(&client).await.unwrap().is_empty());
    assert_eq!(std::fs::metadata(case.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{kept:?}").contains("access0"));

    let seen = server.requests();
    assert!(case.signs(first.text(), &seen[1].body()["signedChallenge"]));
    assert!(case.signs(second.text(), &seen[3].body()["signedChallenge"]));
    let pem = seen[0].body()["publicKey"].as_str().unwrap().to_owned();
    assert!(DeviceKey::from_pem(KeyAlgorithm::Es256, Sensitive::new(pem)).unwrap() == case.key());
    assert!(seen[1].header("dpop").is_some(), "a registration proves the second key");
    assert_eq!(seen[2].body(), json!({ "deviceFingerprint": case.phone.fingerprint().as_str(), "deviceId": DEVICE }));
    assert_eq!(seen[4].header("authorization"), Some("DPoP access0"));
}

#[test]
fn a_fingerprint_is_a_random_uuid() {
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str| Phone::create(&dir.path().join(name), &System).unwrap().fingerprint().to_string();
    let (one, other) = (of("1"), of("2"));
    assert_ne!(one, other);
    let parts: Vec<&str> = one.split('-').collect();
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert!(parts[2].starts_with('4') && "89ab".contains(&parts[3][..1]), "{one}");
}

#[tokio::test]
async fn tokens_are_replaced_before_they_run_out_and_saved_before_they_are_used() {
    let mut case = Case::signed_in().await;
    let server = Server::answering(vec![data(&json!([])), tokens(1), data(&json!([]))]).await;
    let client = case.client(&server);
    case.clock.advance(839_000);
    case.phone.devices(&client).await.unwrap();
    assert_eq!(server.requests().len(), 1, "61 s are left");
    case.clock.advance(1_000);
    case.phone.devices(&client).await.unwrap();
    let seen = server.requests();
    assert_eq!(seen[1].body(), json!({ "refreshToken": "refresh0" }));
    assert!(seen[1].header("dpop").is_some());
    assert_eq!(seen[2].header("authorization"), Some("DPoP access1"));
    assert!(case.text().contains("refresh1") && !case.text().contains("refresh0"));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again_with_another_proof() {
    let mut case = Case::signed_in().await;
    let server = Server::answering(vec![lost(), refusal(503), tokens(1)]).await;
    case.phone.refresh(&case.client(&server)).await.unwrap();
    let seen = server.requests();
    let sent: Vec<_> = seen.iter().map(|request| request.body()["refreshToken"].clone()).collect();
    assert_eq!(sent, ["refresh0"; 3]);
    let proofs: std::collections::BTreeSet<_> = seen.iter().map(|request| request.header("dpop").unwrap()).collect();
    assert_eq!(proofs.len(), 3);
    assert!(case.text().contains("refresh1") && !case.text().contains("refreshSentAtMs"));
}

#[tokio::test]
async fn a_token_that_may_have_been_replaced_is_not_presented_when_that_would_look_like_a_theft() {
    let mut case = Case::signed_in().await;
    let server = Server::answering(vec![lost(), lost(), tokens(1)]).await;
    let client = case.client(&server);
    case.clock.step(13_000);
    assert!(matches!(case.phone.refresh(&client).await, Err(PhoneError::Call(ClientError::Unreachable { .. }))));
    case.clock.step(0);
    assert!(case.text().contains("refreshSentAtMs"), "another process must know");
    let mut other = Phone::open(&case.path()).unwrap();
    case.clock.advance(REPEAT_WITHIN.0);
    let before = server.requests().len();
    assert!(matches!(other.refresh(&client).await, Err(PhoneError::AnswerLost)));
    case.clock.advance(-DurationMs::from_days(1).0);
    assert!(
        matches!(other.refresh(&client).await, Err(PhoneError::AnswerLost)),
        "a clock that went back proves nothing"
    );
    assert_eq!(server.requests().len(), before);

    let server = Server::answering(vec![challenge(&plain()), tokens(7), tokens(8)]).await;
    other.login(&case.client(&server)).await.unwrap();
    other.refresh(&case.client(&server)).await.unwrap();
    assert!(case.text().contains("refresh8"));
}

#[tokio::test]
async fn within_the_time_another_process_asks_for_the_lost_answer() {
    let mut case = Case::signed_in().await;
    let server = Server::answering(vec![lost(), tokens(1)]).await;
    let client = case.client(&server);
    case.clock.step(REPEAT_WITHIN.0);
    assert!(case.phone.refresh(&client).await.is_err());
    case.clock.step(0);
    case.clock.now.store(NOW + 20_000, std::sync::atomic::Ordering::SeqCst);
    Phone::open(&case.path()).unwrap().refresh(&client).await.unwrap();
    assert_eq!(server.requests()[1].body(), json!({ "refreshToken": "refresh0" }));
}

#[tokio::test]
async fn what_was_never_sent_leaves_the_session_as_it_was() {
    let mut case = Case::signed_in().await;
    let before = case.text();
    let (url, _held) = Server::nobody();
    let nobody = auth_client(&url, &case.clock);
    let error = case.phone.refresh(&nobody).await.unwrap_err();
    assert!(matches!(error, PhoneError::Call(ClientError::Unreachable { .. })), "{error}");
    assert_eq!(case.text(), before);
    let server = Server::answering(vec![refusal(429), tokens(1)]).await;
    let client = case.client(&server);
    let error = case.phone.refresh(&client).await.unwrap_err();
    assert!(matches!(error, PhoneError::Call(ClientError::Refused(_))), "{error}");
    assert_eq!((server.requests().len(), case.text()), (1, before), "who calls too often does not insist");
    case.clock.advance(3_600_000);
    case.phone.refresh(&client).await.unwrap();
}

#[tokio::test]
async fn a_session_that_the_service_ended_is_forgotten() {
    let mut case = Case::signed_in().await;
    let server = Server::answering(vec![refusal(401)]).await;
    let client = case.client(&server);
    let error = case.phone.refresh(&client).await.unwrap_err();
    assert!(matches!(&error, PhoneError::SessionEnded(source) if source.problem().unwrap().status == 401), "{error}");
    assert!(!case.text().contains("refresh0"));
    assert!(matches!(case.phone.refresh(&client).await, Err(PhoneError::NotSignedIn)));
    assert!(matches!(case.phone.pending(&client).await, Err(PhoneError::NotSignedIn)));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn of_two_that_share_a_file_one_refreshes() {
    let mut case = Case::signed_in().await;
    let mut other = Phone::open(&case.path()).unwrap();
    let server = Server::answering(vec![tokens(1), tokens(2)]).await;
    let client = case.client(&server);
    case.phone.state.session.as_mut().unwrap().access_expires_at_ms = NOW;
    case.phone.state.replace(&case.path()).unwrap();
    let (one, two) = tokio::join!(case.phone.access(&client), other.access(&client));
    assert_eq!(one.unwrap().token.expose(), "access1");
    assert_eq!(two.unwrap().token.expose(), "access1");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_stays_locked_is_not_waited_for_for_ever() {
    let mut case = Case::new();
    let _held = lock(&case.path()).await.unwrap();
    let client = auth_client("http://127.0.0.1:9", &case.clock);
    assert!(matches!(case.phone.refresh(&client).await, Err(PhoneError::Busy { .. })));
}

#[tokio::test]
async fn an_action_is_approved_with_the_signature_of_its_challenge() {
    let mut case = Case::signed_in().await;
    let payload = json!({ "amount": 1_500_000, "to": "Nguyễn", "rate": 0.1, "items": [1, { "b": null, "a": true }] });
    let text = action_challenge("payment", &payload);
    let shown = pending("payment", &payload, Some(&text));
    let approved = data(&json!({ "confirmationId": ID, "status": "approved" }));
    let server = Server::answering(vec![approved]).await;
    let client = case.client(&server);
    let settled = case.phone.approve(&client, &shown, Some("42")).await.unwrap();
    assert_eq!(settled.status, crate::ConfirmationState::Approved);
    let request = &server.requests()[0];
    assert_eq!(request.line(), format!("POST /api/v1/auth/confirmation/{ID}/verify"));
    let body = request.body();
    assert_eq!((&body["deviceId"], &body["displayCode"]), (&json!(DEVICE), &json!("42")));
    assert!(case.signs(text.text(), &body["signedChallenge"]));
}

#[tokio::test]
async fn a_challenge_of_anything_but_the_shown_action_is_not_signed() {
    let mut case = Case::signed_in().await;
    let payload = json!({ "amount": 5, "to": "An" });
    let own = action_challenge("payment", &payload);
    let server = Server::answering(vec![data(&json!({ "confirmationId": ID, "status": "approved" }))]).await;
    let client = case.client(&server);
    let garbled = Challenge::for_action(&System, &[0; 32]);
    for (action_type, payload, challenge) in [
        ("payment", json!({ "amount": 50, "to": "An" }), &own),
        ("payment", json!({ "amount": 5 }), &own),
        ("payment", json!({ "amount": "5", "to": "An" }), &own),
        ("payment", json!({ "amount": 5, "to": "An", "x": null }), &own),
        ("payment", json!({}), &own),
        ("refund", payload.clone(), &own),
        ("payment", payload.clone(), &plain()),
        ("payment", payload.clone(), &garbled),
        ("payment", json!({ "amount": (1_u64 << 53) + 1 }), &own),
        ("payment", json!({ "long": "x".repeat(5_000) }), &own),
    ] {
        let shown = pending(action_type, &payload, Some(challenge));
        let error = case.phone.approve(&client, &shown, None).await.unwrap_err();
        assert!(matches!(error, PhoneError::OtherAction), "{payload}: {error}");
    }
    let without = pending("payment", &payload, None);
    assert!(matches!(case.phone.approve(&client, &without, None).await, Err(PhoneError::NoChallenge)));
    for text in ["", "secret", &own.text()[..127], &"A".repeat(132)] {
        let mut cut = pending("payment", &payload, Some(&own));
        cut.challenge = Some(Sensitive::new(text.to_owned()));
        let error = case.phone.approve(&client, &cut, None).await.unwrap_err();
        assert!(matches!(error, PhoneError::OtherAction) && !error.to_string().contains("secret"), "{error}");
    }
    for status in ["Approved", "Rejected", "Expired"].map(str::to_lowercase) {
        let mut ended = pending("payment", &payload, Some(&own));
        ended.status = serde_json::from_value(json!(status)).unwrap();
        assert!(matches!(case.phone.approve(&client, &ended, None).await, Err(PhoneError::NotPending(_))));
    }
    assert!(server.requests().is_empty(), "nothing was signed or sent");
    let shown = pending("payment", &payload, Some(&own));
    case.phone.approve(&client, &shown, None).await.unwrap();
}

#[tokio::test]
async fn an_action_is_not_signed_in_the_guise_of_a_login() {
    let mut case = Case::new();
    let action = action_challenge("payment", &json!({ "amount": 5 }));
    let server =
        Server::answering(vec![challenge(&action), challenge(&plain()), registered(), challenge(&action)]).await;
    assert!(matches!(case.register(&server).await, Err(PhoneError::NoPlainChallenge)));
    case.register(&server).await.unwrap();
    let error = case.phone.login(&case.client(&server)).await.unwrap_err();
    assert!(matches!(error, PhoneError::NoPlainChallenge), "{error}");
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn tokens_of_another_device_are_not_kept() {
    let mut case = Case::signed_in().await;
    let other = tokens(1).replace(DEVICE, ID);
    let server = Server::answering(vec![challenge(&plain()), other]).await;
    assert!(matches!(case.phone.login(&case.client(&server)).await, Err(PhoneError::OtherDevice)));
    assert!(!case.text().contains("refresh1"));
}

#[tokio::test]
async fn a_damaged_or_foreign_file_is_told_apart_and_not_shown() {
    let case = Case::signed_in().await;
    let whole = case.text();
    // Without its last line break the file is whole.
    for len in 0..whole.len() - 1 {
        case.write(&whole[..len]);
        let error = Phone::open(&case.path()).unwrap_err();
        assert!(matches!(error, PhoneError::NotAPhone { .. }), "{len}: {error}");
    }
    let (pem, scalar) = ("-----BEGIN PRIVATE KEY-----", "\"proofKey\": \"");
    for (from, to) in [
        ("ridgeline-phone", "secret-phone"),
        ("refresh0", "secret\u{0}"),
        (pem, "-----BEGIN SECRET KEY-----"),
        (scalar, "\"proofKey\": \"secret"),
        ("\"registered\"", "\"secret\""),
        (DEVICE, "secret"),
        ("\"isBound\": true", "\"isBound\": \"secret\""),
    ] {
        let changed = whole.replacen(from, to, 1);
        assert_ne!(changed, whole, "{from}");
        case.write(&changed);
        let error = Phone::open(&case.path()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, PhoneError::NotAPhone { .. }) && !shown.contains("secret"), "{from}: {shown}");
    }
    for garbage in ["", "\u{0}", "null", "[]", "{}", "secret", "{\"format\":\"ridgeline-phone\",\"version\":-1}"] {
        case.write(garbage);
        assert!(matches!(Phone::open(&case.path()), Err(PhoneError::NotAPhone { .. })), "{garbage:?}");
    }
    case.write(&whole.replacen("\"version\": 1", "\"version\": 2, \"more\": []", 1));
    let error = Phone::open(&case.path()).unwrap_err();
    assert!(matches!(error, PhoneError::OtherVersion { found: 2, known: 1, .. }), "{error}");
    std::fs::write(case.path(), [0xff, 0xfe, 0x00]).unwrap();
    assert!(matches!(Phone::open(&case.path()), Err(PhoneError::File(VaultError::File { .. }))));
    case.write(&"x".repeat(2 << 20));
    assert!(matches!(Phone::open(&case.path()), Err(PhoneError::File(VaultError::TooLong { .. }))));
    case.write(&whole);
    assert!(Phone::open(&case.path()).is_ok());
}

#[test]
fn a_file_that_others_can_read_is_refused_and_one_that_is_there_is_kept() {
    let case = Case::new();
    let before = case.text();
    let again = Phone::create(&case.path(), &System).unwrap_err();
    assert!(
        matches!(&again, PhoneError::File(VaultError::File { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists)
    );
    assert_eq!(case.text(), before);
    for mode in [0o640, 0o604, 0o660, 0o666] {
        std::fs::set_permissions(case.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let error = Phone::open(&case.path()).unwrap_err();
        assert!(matches!(error, PhoneError::File(VaultError::Exposed { .. })), "{mode:o}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    let missing = Phone::open(&case.dir.path().join("none")).unwrap_err();
    assert!(
        matches!(&missing, PhoneError::File(VaultError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound)
    );
    assert!(Phone::open(case.dir.path()).is_err(), "a directory");
}
