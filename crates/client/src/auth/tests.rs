use std::sync::Arc;
use std::time::Duration;

use ridgeline_vault::dpop::{DpopProof, Expected};
use serde_json::json;

use super::*;
use crate::testing::{NOW, Server, StepClock, System, answer, auth_client, data, refusal};

const ID: &str = "000102030405060708090a0b0c0d0e0f";
const OTHER: &str = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
const TIME: &str = "2027-01-15T08:00:00.250Z";
const TOKEN: &str = "secret.access.token";

fn token() -> Sensitive<String> {
    Sensitive::new(TOKEN.to_owned())
}

fn action() -> ActionId {
    ID.parse().unwrap()
}

fn confirmation() -> Value {
    json!({
        "confirmationId": ID, "status": "pending", "actionType": "payment", "actionPayload": { "amount": 5 },
        "challenge": "secret-challenge", "approvals": [{ "approver": "linh", "at": TIME }], "requiredApprovals": 2,
        "needsDisplayCode": true,
        "createdAt": TIME, "expiresAt": TIME,
    })
}

fn tokens() -> Value {
    json!({
        "accessToken": TOKEN, "refreshToken": "secret.refresh", "accessTokenExpiresAt": TIME,
        "refreshTokenExpiresAt": TIME, "tokenType": "DPoP", "deviceId": OTHER, "trustLevel": "high", "sessionId": ID,
    })
}

/// A client of a server that gives these answers.
async fn serving(answers: Vec<String>) -> (Server, AuthClient) {
    let server = Server::answering(answers).await;
    let client = auth_client(&server.url, &StepClock::new());
    (server, client)
}

/// Whether the request carries a good proof for its own method and path at `url`.
fn proves(request: &crate::testing::Request, url: &str, key: &DpopKey, token: Option<&str>) {
    let (method, path) = request.line().split_once(' ').unwrap();
    let url = format!("{url}{}", path.split('?').next().unwrap());
    let (now, thumbprint) = (Timestamp::from_millis(NOW), key.thumbprint());
    let expected = Expected { method, url: &url, now, access_token: token, thumbprint: &thumbprint };
    DpopProof::verify(request.header("dpop").unwrap(), &expected).unwrap();
}

#[tokio::test]
async fn a_device_is_registered_and_signed_in() {
    let challenge = json!({ "sessionId": ID, "challenge": "secret-challenge", "expiresAt": TIME });
    let registered = json!({ "deviceId": OTHER, "deviceName": "Máy Linh", "trustLevel": "high", "createdAt": TIME });
    let web = json!({ "accessToken": TOKEN, "accessTokenExpiresAt": TIME, "tokenType": "Bearer" });
    let script = [&web, &challenge, &registered, &challenge, &tokens(), &tokens()].map(data);
    let (server, client) = serving(script.to_vec()).await;
    let proof = DpopKey::generate(&System).unwrap();
    let (name, fingerprint) = ("Máy Linh".parse().unwrap(), "com.example:1".parse().unwrap());
    let device = NewDevice {
        name: &name,
        device_type: DeviceType::Mobile,
        fingerprint: &fingerprint,
        public_key: "PEM",
        algorithm: KeyAlgorithm::Es256,
        language: Some(Language::Vi),
        proof_key: Some(&proof),
    };
    let web = client.web_login("linh@example.vn", &Sensitive::new("secret word".to_owned())).await.unwrap();
    assert_eq!((web.access_token.expose().as_str(), web.expires_at.millis()), (TOKEN, 1_800_000_000_250));
    let challenge = client.register_challenge(&web.access_token, &device).await.unwrap();
    assert_eq!(challenge.text.expose(), "secret-challenge");
    let registered = client.register_verify(challenge.session_id, "sig", Some(&proof)).await.unwrap();
    assert_eq!((registered.device_name.as_str(), registered.trust_level.as_str()), ("Máy Linh", "high"));
    let challenge = client.login_challenge(&fingerprint, Some(registered.device_id)).await.unwrap();
    let session = client.login(challenge.session_id, "sig", false).await.unwrap();
    assert_eq!((session.token_type, session.device_id), (TokenType::Dpop, Some(registered.device_id)));
    let session = client.refresh(session.refresh_token.as_ref().unwrap(), Some(&proof)).await.unwrap();
    for shown in [format!("{session:?}"), format!("{web:?}"), format!("{challenge:?}"), format!("{client:?}")] {
        assert!(!shown.contains("secret"), "{shown}");
    }

    let seen = server.requests();
    let lines: Vec<_> = seen.iter().map(crate::testing::Request::line).collect();
    assert_eq!(
        lines,
        [
            "POST /api/v1/auth/login",
            "POST /api/v1/auth/devices/register/challenge",
            "POST /api/v1/auth/devices/register/verify",
            "POST /api/v1/auth/mobile/challenge",
            "POST /api/v1/auth/mobile/biometric",
            "POST /api/v1/auth/mobile/refresh",
        ]
    );
    assert_eq!(seen[0].body(), json!({ "email": "linh@example.vn", "password": "secret word" }));
    assert_eq!(seen[1].header("authorization"), Some("Bearer secret.access.token"));
    let jwk: Value = serde_json::from_str(&proof.jwk()).unwrap();
    let sent = json!({
        "deviceName": "Máy Linh", "deviceType": "mobile", "deviceFingerprint": "com.example:1", "publicKey": "PEM",
        "keyAlgorithm": "ES256", "language": "vi", "proofKey": jwk,
    });
    assert_eq!(seen[1].body(), sent);
    assert_eq!(seen[2].body(), json!({ "sessionId": ID, "signedChallenge": "sig" }));
    proves(&seen[2], &server.url, &proof, None);
    assert_eq!(seen[3].body(), json!({ "deviceFingerprint": "com.example:1", "deviceId": OTHER }));
    assert_eq!(seen[4].body(), json!({ "sessionId": ID, "signedChallenge": "sig", "rememberMe": false }));
    assert_eq!(seen[5].body(), json!({ "refreshToken": "secret.refresh" }));
    proves(&seen[5], &server.url, &proof, None);
    assert!(seen.iter().all(|request| request.header("x-api-key").is_none()));
}

#[tokio::test]
async fn an_action_is_initiated_shown_approved_rejected_and_redeemed() {
    let initiated = json!({
        "confirmationId": ID, "challenge": "secret-challenge", "displayCode": "42", "status": "pending",
        "expiresAt": TIME, "notifiedDevices": 2,
    });
    let approved = json!({ "confirmationId": ID, "status": "approved" });
    let rejected = json!({ "confirmationId": ID, "status": "rejected" });
    let redeemed = json!({ "confirmationId": ID, "actionType": "payment", "redeemedAt": TIME });
    let mut done = confirmation();
    done["confirmationToken"] = "secret.action".into();
    let script = [&initiated, &done, &json!([confirmation()]), &approved, &rejected, &redeemed].map(data);
    let (server, client) = serving(script.to_vec()).await;
    let (web, key) = (token(), DpopKey::generate(&System).unwrap());
    let payload = json!({ "amount": 5 });
    let action_type: ActionType = "payment".parse().unwrap();
    let asked = InitiateAction {
        action_type,
        action_payload: payload.as_object().unwrap().clone(),
        language: Some(Language::En),
        display_code: true,
        callback_url: None,
        requested_expiry_seconds: Some(120),
    };
    let initiated = client.initiate(&web, &asked).await.unwrap();
    assert_eq!((initiated.notified_devices, initiated.status), (2, ConfirmationState::Pending));
    let phone = Credential::Bound { token: &web, key: &key };
    let shown = client.status(phone, action(), Duration::from_secs(90)).await.unwrap();
    assert_eq!((shown.required_approvals, shown.approvals[0].approver.as_str()), (2, "linh"));
    assert_eq!(shown.needs_display_code, Some(true));
    assert_eq!(client.pending(phone).await.unwrap().len(), 1);
    let device = OTHER.parse().unwrap();
    let settled = client.verify(phone, action(), device, "sig", Some("42")).await.unwrap();
    assert_eq!(settled.status, ConfirmationState::Approved);
    let settled = client.reject(Credential::Bearer(&web), action(), Some("not mine")).await.unwrap();
    assert_eq!(settled.status, ConfirmationState::Rejected);
    let redeemed = client.redeem(&web, action(), shown.confirmation_token.as_ref().unwrap()).await.unwrap();
    assert_eq!(redeemed.action_type.as_str(), "payment");
    for text in [format!("{initiated:?}"), format!("{shown:?}"), format!("{asked:?}"), format!("{phone:?}")] {
        assert!(!text.contains("secret") && !text.contains("amount"), "{text}");
    }
    assert!(!format!("{initiated:?}").contains("\"42\""));

    let seen = server.requests();
    let sent = json!({
        "actionType": "payment", "actionPayload": payload, "language": "en", "displayCode": true,
        "requestedExpirySeconds": 120,
    });
    assert_eq!((seen[0].line(), seen[0].body()), ("POST /api/v1/auth/confirmation/initiate", sent));
    assert_eq!(seen[1].line(), format!("GET /api/v1/auth/confirmation/{ID}/status?wait=30"));
    assert_eq!(seen[2].line(), "GET /api/v1/auth/confirmation?status=pending");
    assert_eq!(seen[3].line(), format!("POST /api/v1/auth/confirmation/{ID}/verify"));
    assert_eq!(seen[3].body(), json!({ "deviceId": OTHER, "signedChallenge": "sig", "displayCode": "42" }));
    for request in &seen[1..4] {
        assert_eq!(request.header("authorization"), Some("DPoP secret.access.token"));
        proves(request, &server.url, &key, Some(TOKEN));
    }
    assert_eq!(seen[4].line(), format!("POST /api/v1/auth/confirmation/{ID}/reject"));
    assert_eq!(seen[4].body(), json!({ "reason": "not mine" }));
    assert_eq!(seen[5].line(), format!("POST /api/v1/auth/confirmation/{ID}/redeem"));
    assert_eq!(seen[5].body(), json!({ "confirmationToken": "secret.action" }));
}

#[tokio::test]
async fn devices_are_listed_removed_and_told_where_to_be_notified() {
    let device = json!({
        "deviceId": OTHER, "deviceName": "Máy", "deviceType": "tablet", "keyAlgorithm": "ES256", "trustLevel": "medium",
        "isActive": true, "hasPushToken": false, "lastUsedAt": TIME, "createdAt": TIME,
    });
    let removed = json!({ "deviceId": OTHER, "revokedTokens": 3 });
    let set = json!({ "deviceId": OTHER, "updatedAt": TIME });
    let script = vec![data(&json!([device])), data(&removed), refusal(503), data(&set)];
    let (server, client) = serving(script).await;
    let (web, id) = (token(), OTHER.parse().unwrap());
    let user = Credential::Bearer(&web);
    assert_eq!(client.devices(user).await.unwrap()[0].device_type, DeviceType::Tablet);
    assert_eq!(client.remove_device(user, id).await.unwrap().revoked_tokens, 3);
    let push = Sensitive::new("secret-push".to_owned());
    assert_eq!(client.set_push_token(user, &push, Some(id)).await.unwrap().device_id, id);
    let seen = server.requests();
    assert_eq!(seen[0].line(), "GET /api/v1/auth/devices");
    assert_eq!(seen[1].line(), format!("DELETE /api/v1/auth/devices/{OTHER}"));
    for request in &seen[2..] {
        assert_eq!(request.line(), "PUT /api/v1/auth/devices/fcm-token");
        assert_eq!(request.body(), json!({ "fcmToken": "secret-push", "deviceId": OTHER }));
    }
}

#[tokio::test]
async fn what_is_sent_again_has_a_proof_of_its_own_and_writes_are_sent_once() {
    let (server, client) = serving(vec![refusal(503), data(&json!([])), refusal(503), data(&json!([]))]).await;
    let (access, key) = (token(), DpopKey::generate(&System).unwrap());
    let phone = Credential::Bound { token: &access, key: &key };
    assert!(client.pending(phone).await.unwrap().is_empty());
    let error = client.reject(phone, action(), None).await.unwrap_err();
    assert_eq!(error.problem().unwrap().status, 503);
    let seen = server.requests();
    assert_eq!(seen.len(), 3);
    for request in &seen {
        proves(request, &server.url, &key, Some(TOKEN));
    }
    assert_ne!(seen[0].header("dpop"), seen[1].header("dpop"));
    assert_eq!(seen[2].body(), json!({}));
}

#[tokio::test]
async fn proofs_name_the_address_that_the_service_knows_itself_by() {
    let (server, client) = serving(vec![data(&json!([]))]).await;
    let client = client.with_public_url("https://rl.example/").unwrap();
    let (access, key) = (token(), DpopKey::generate(&System).unwrap());
    client.devices(Credential::Bound { token: &access, key: &key }).await.unwrap();
    proves(&server.requests()[0], "https://rl.example", &key, Some(TOKEN));
    assert!(matches!(client.with_public_url("rl.example"), Err(ClientError::BadAddress(_))));
}

#[tokio::test]
async fn answers_that_are_none_are_refused_without_showing_them() {
    let whole = json!({ "data": tokens() }).to_string();
    let mut bodies: Vec<String> = (0..whole.len()).step_by(7).map(|len| whole[..len].to_owned()).collect();
    for (name, value) in [
        ("accessToken", json!(["secret"])),
        ("accessTokenExpiresAt", json!("secret")),
        ("tokenType", json!("secret")),
        ("deviceId", json!("secret")),
        ("trustLevel", json!(7)),
        ("refreshToken", json!({})),
        ("refreshTokenExpiresAt", json!("2027-13-01T00:00:00Z")),
    ] {
        let mut tokens = tokens();
        tokens[name] = value;
        bodies.push(json!({ "data": tokens }).to_string());
    }
    bodies.extend(["", "null", "[]", "{}", "<html>secret</html>", "{\"data\":null}", "\u{0}"].map(str::to_owned));
    let count = bodies.len();
    let (server, client) = serving(bodies.iter().map(|body| answer("200 OK", "", body)).collect()).await;
    for body in bodies {
        let error = client.login(ID.parse().unwrap(), "sig", true).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, ClientError::Unexpected { what: "a login" }), "{body}: {error}");
        assert!(!shown.contains("secret"), "{shown}");
    }
    assert_eq!(server.requests().len(), count, "none is sent again");
}

#[tokio::test]
async fn a_token_that_no_header_carries_is_refused_before_anything_is_sent() {
    let (server, client) = serving(vec![data(&json!([]))]).await;
    let bad = Sensitive::new("secret\r\nx-evil: 1".to_owned());
    let error = client.devices(Credential::Bearer(&bad)).await.unwrap_err();
    assert!(matches!(error, ClientError::BadToken) && !error.to_string().contains("secret"));
    assert!(server.requests().is_empty());
    assert!(AuthClient::new(ClientOptions::new("x", None), StepClock::new(), Arc::new(System)).is_err());
}

#[test]
fn times_are_written_for_people_whatever_they_are() {
    assert_eq!(rfc3339(Timestamp::from_millis(1_700_000_000_999)), "2023-11-14T22:13:20Z");
    assert_eq!(rfc3339(Timestamp::from_millis(-1)), "1969-12-31T23:59:59Z");
    assert_eq!(rfc3339(Timestamp::from_millis(i64::MAX)), "1970-01-01T00:00:00Z");
}
