//! Device authentication: what each call asks of the workers and answers its caller.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::{Method, Request};
use p256::ecdsa::SigningKey;
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use ridgeline_domain::{AuthOperation, DeviceId, DurationMs, Refusal};
use ridgeline_gateway::{GatewayLimits, ServeLimits, Tls, serve};
use ridgeline_ports::Entropy as _;
use ridgeline_runtime::SystemEntropy;
use ridgeline_testkit::covers;
use ridgeline_vault::derive_id;
use ridgeline_vault::dpop::DpopKey;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::auth_site::{AuthSite, DEVICE, FAMILY, SESSION, URL, bearer, call, device, from};
use crate::harness::{Answer, Site};
use crate::sockets::certificate;

const NOON: &str = "2023-11-14T22:13:20.000Z";

pub(crate) fn public_key() -> String {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    let key = SigningKey::from_slice(&bytes).unwrap();
    key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap()
}

pub(crate) fn registration() -> Value {
    json!({
        "deviceName": "Điện thoại của Nguyễn", "deviceType": "mobile", "deviceFingerprint": "a1b2-c3",
        "publicKey": public_key(), "keyAlgorithm": "ES256", "somethingNewer": {"x": 1},
    })
}

pub(crate) fn signed() -> Value {
    json!({ "sessionId": SESSION.to_string(), "signedChallenge": "c2lnbmF0dXJl" })
}

#[track_caller]
fn is_data(answer: &Answer, status: u16, data: &Value) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert_eq!(answer.json, json!({ "data": data }));
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert!(answer.headers.contains_key("x-request-id"));
}

#[track_caller]
pub(crate) fn is_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.json["code"].as_str()), (status, Some(code)), "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/json");
    let mut members: Vec<_> = answer.json.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["code", "message", "requestId", "statusCode"]);
    assert_eq!(answer.json["statusCode"], status);
    assert_eq!(answer.json["requestId"], answer.headers["x-request-id"].to_str().unwrap());
    let retries = answer.headers.contains_key("retry-after");
    assert_eq!(retries, matches!(status, 429 | 503));
}

#[tokio::test]
async fn a_device_is_registered_by_its_user() {
    covers!("R-060");
    covers!("R-063");
    let site = AuthSite::open().await;
    let web = site.web();
    let mut body = registration();
    let proof_key = DpopKey::generate(&SystemEntropy).unwrap();
    body["proofKey"] = serde_json::from_str(&proof_key.jwk()).unwrap();
    body["language"] = json!("vi");
    let answer = site.post("/devices/register/challenge", Some(&web), &body).await;
    let challenge = json!({ "sessionId": SESSION.to_string(), "challenge": "a-challenge", "expiresAt": NOON });
    is_data(&answer, 200, &challenge);
    let asked = site.last();
    assert_eq!(asked.operation, AuthOperation::RegisterChallenge);
    let id = asked.request_id.parse().unwrap();
    assert_eq!(asked.key, ridgeline_domain::SessionId::from_bytes(derive_id("session", id)).to_string());
    assert_eq!(asked.body.credential.as_deref(), Some(web.as_str()));
    assert_eq!((asked.body.address.as_str(), asked.body.user_agent.as_deref()), ("192.0.2.7", Some("phone/1")));
    let sent = asked.body.registration.unwrap();
    assert_eq!(sent.device_name.as_str(), "Điện thoại của Nguyễn");
    assert_eq!(sent.public_key, body["publicKey"].as_str().unwrap());
    assert_eq!(serde_json::from_str::<Value>(&sent.proof_key.unwrap()).unwrap(), body["proofKey"]);
    let header = |name: &str| {
        let found = asked.headers.iter().find(|(header, _)| header == name);
        String::from_utf8(found.unwrap().1.to_vec()).unwrap()
    };
    assert_eq!(header("ce_id"), format!("{}:command", asked.request_id));
    assert!(header("traceparent").starts_with("00-"));

    let mut request = call(Method::POST, "/devices/register/verify", None, Some(&signed()));
    request.headers_mut().insert("dpop", "a.proof.here".parse().unwrap());
    let registered =
        json!({ "deviceId": DEVICE.to_string(), "deviceName": "Máy", "trustLevel": "high", "createdAt": NOON });
    is_data(&site.send(request).await, 201, &registered);
    let asked = site.last();
    assert_eq!((asked.operation, asked.key), (AuthOperation::Register, SESSION.to_string()));
    assert_eq!(asked.body.proof.as_deref(), Some("a.proof.here"));
    assert_eq!(asked.body.answer.unwrap().signature, "c2lnbmF0dXJl");
}

#[tokio::test]
async fn a_device_signs_in_and_stays_signed_in() {
    covers!("R-068");
    let site = AuthSite::open().await;
    let body = json!({ "deviceFingerprint": "a1b2-c3", "deviceId": DEVICE.to_string() });
    let answer = site.post("/mobile/challenge", None, &body).await;
    assert_eq!(answer.json["data"]["challenge"], "a-challenge", "{}", answer.text);
    assert_eq!(site.last().body.login.unwrap().device_id, Some(DEVICE));

    let answer = site.post("/mobile/biometric", None, &signed()).await;
    let tokens = json!({
        "accessToken": "an.access.token", "refreshToken": "a.refresh.token", "accessTokenExpiresAt": NOON,
        "refreshTokenExpiresAt": NOON, "tokenType": "Bearer", "deviceId": DEVICE.to_string(), "trustLevel": "medium",
        "sessionId": SESSION.to_string(),
    });
    is_data(&answer, 200, &tokens);
    assert_eq!(site.last().key, SESSION.to_string());
    let mut forget = signed();
    forget["rememberMe"] = json!(false);
    let answer = site.post("/mobile/biometric", None, &forget).await;
    assert!(answer.json["data"]["refreshToken"].is_null() && answer.json["data"]["accessToken"].is_string());

    let refresh = site.refresh();
    let answer = site.post("/mobile/refresh", None, &json!({ "refreshToken": refresh })).await;
    assert_eq!(answer.json["data"]["tokenType"], "DPoP", "{}", answer.text);
    let asked = site.last();
    assert_eq!((asked.operation, asked.key), (AuthOperation::Refresh, FAMILY.to_string()));
    assert_eq!(asked.body.refresh_token, Some(refresh));
}

#[tokio::test]
async fn a_user_signs_in_with_a_password() {
    let site = AuthSite::open().await;
    let body = json!({ "email": "An.Nguyen@Example.vn", "password": "correct horse" });
    let answer = site.post("/login", None, &body).await;
    let token = json!({ "accessToken": "an.access.token", "accessTokenExpiresAt": NOON, "tokenType": "Bearer" });
    is_data(&answer, 200, &token);
    let login = site.last().body.password.unwrap();
    assert_eq!((login.email.as_str(), login.password.as_str()), ("An.Nguyen@Example.vn", "correct horse"));
}

#[tokio::test]
async fn a_user_sees_the_active_devices_and_removes_one() {
    covers!("R-076");
    let site = AuthSite::open().await;
    let empty = site.send(call(Method::GET, "/devices", Some(&bearer(&site.web())), None)).await;
    is_data(&empty, 200, &json!([]));
    let now = site.now();
    let days = |days: i64| now.plus(DurationMs::from_days(-days));
    let mut removed = device(3, days(1));
    removed.is_active = false;
    let mut bound = device(2, days(1));
    (bound.proof_thumbprint, bound.push_token) = (Some("x".to_owned()), Some(vec![1]));
    let mut foreign = device(4, days(1));
    foreign.user = AuthSite::user("binh");
    site.with_devices(&[bound, device(1, days(40)), removed, foreign]).await;
    for token in [site.web(), site.access()] {
        let answer = site.send(call(Method::GET, "/devices", Some(&bearer(&token)), None)).await;
        let data = answer.json["data"].as_array().unwrap();
        let seen: Vec<_> = data
            .iter()
            .map(|one| (one["trustLevel"].as_str().unwrap(), one["hasPushToken"].as_bool().unwrap()))
            .collect();
        assert_eq!(seen, [("low", false), ("high", true)], "{}", answer.text);
        let mut names: Vec<_> = data[0].as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected = [
            "createdAt",
            "deviceId",
            "deviceName",
            "deviceType",
            "hasPushToken",
            "isActive",
            "keyAlgorithm",
            "lastUsedAt",
            "trustLevel",
        ];
        assert_eq!(names, expected);
    }
    let other = site.send(call(Method::GET, "/devices", Some(&bearer(&site.web_of("binh"))), None)).await;
    is_data(&other, 200, &json!([]));

    let path = format!("/devices/{DEVICE}");
    let answer = site.send(call(Method::DELETE, &path, Some(&bearer(&site.web())), None)).await;
    is_data(&answer, 200, &json!({ "deviceId": DEVICE.to_string(), "revokedTokens": 2 }));
    assert_eq!(site.last().key, DEVICE.to_string());
    *site.refusal.lock() = Some((Refusal::UnknownDevice, None));
    is_refused(&site.send(call(Method::DELETE, &path, Some(&bearer(&site.web())), None)).await, 404, "RL-1303");
}

#[tokio::test]
async fn a_push_token_is_set_for_the_callers_own_device() {
    covers!("R-078");
    let site = AuthSite::open().await;
    let put = |token: String, body: Value| {
        let request = call(Method::PUT, "/devices/fcm-token", Some(&bearer(&token)), Some(&body));
        site.send(request)
    };
    let set = json!({ "deviceId": DEVICE.to_string(), "updatedAt": NOON });
    is_data(&put(site.access(), json!({ "fcmToken": "f:1" })).await, 200, &set);
    assert_eq!(site.last().body.push_token.as_deref(), Some("f:1"));
    is_data(&put(site.access(), json!({ "fcmToken": "f:1", "deviceId": DEVICE.to_string() })).await, 200, &set);
    is_data(&put(site.web(), json!({ "fcmToken": "f:1", "deviceId": DEVICE.to_string() })).await, 200, &set);
    let asked = site.asked_so_far();
    is_refused(&put(site.web(), json!({ "fcmToken": "f:1" })).await, 400, "RL-1001");
    let other = DeviceId::from_bytes([9; 16]).to_string();
    is_refused(&put(site.access(), json!({ "fcmToken": "f:1", "deviceId": other })).await, 401, "RL-1401");
    assert_eq!(site.asked_so_far(), asked);
}

#[tokio::test]
async fn every_refused_credential_looks_the_same() {
    covers!("R-222");
    let site = AuthSite::open().await;
    let request_id = |mut request: Request<axum::body::Body>| {
        request.headers_mut().insert("x-request-id", "same".parse().unwrap());
        request
    };
    let mut texts = Vec::new();
    for refusal in [
        Refusal::BadCredential,
        Refusal::UnknownSession,
        Refusal::ChallengeExpired,
        Refusal::ChallengeUsed,
        Refusal::BadSignature,
        Refusal::BadProof,
        Refusal::ProofUsed,
        Refusal::Revoked,
        Refusal::TokenExpired,
        Refusal::RefreshTokenReused,
        Refusal::ForeignDevice,
    ] {
        *site.refusal.lock() = Some((refusal, Some("a detail that must not be shown".to_owned())));
        let answer = site.send(request_id(call(Method::POST, "/mobile/biometric", None, Some(&signed())))).await;
        is_refused(&answer, 401, "RL-1401");
        texts.push((answer.text, answer.headers["www-authenticate"].clone()));
    }
    let asked = site.asked_so_far();
    let basic = "Basic YTpi".to_owned();
    let (web, access, refresh) = (site.web(), site.access(), site.refresh());
    let mut forged = web.clone();
    forged.replace_range(web.len() - 4.., "AAAA");
    let wrong = [
        None,
        Some(basic),
        Some("Bearer".to_owned()),
        Some(bearer("")),
        Some(bearer("not.a.token")),
        Some(bearer(&site.expired_web())),
        Some(bearer(&forged)),
        Some(bearer(&access)),
        Some(bearer(&refresh)),
        Some(format!("DPoP {web}")),
    ];
    for authorization in &wrong {
        let body = registration();
        let sent = call(Method::POST, "/devices/register/challenge", authorization.as_deref(), Some(&body));
        let answer = site.send(request_id(sent)).await;
        is_refused(&answer, 401, "RL-1401");
        texts.push((answer.text, answer.headers["www-authenticate"].clone()));
    }
    for token in ["x", &web, &access] {
        let body = json!({ "refreshToken": token });
        let answer = site.send(request_id(call(Method::POST, "/mobile/refresh", None, Some(&body)))).await;
        texts.push((answer.text, answer.headers["www-authenticate"].clone()));
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(site.asked_so_far(), asked, "none of these is worth a command");
}

#[tokio::test]
async fn what_is_wrong_with_a_sound_request_is_told() {
    let site = AuthSite::open().await;
    for (refusal, detail, code, message) in [
        (Refusal::KeyRefused, Some("because of this"), "RL-1402", "because of this"),
        (Refusal::KeyInUse, None, "RL-1403", "The public key is registered already"),
        (Refusal::TooManyDevices, None, "RL-1404", "Too many devices"),
    ] {
        *site.refusal.lock() = Some((refusal, detail.map(str::to_owned)));
        let answer = site.post("/devices/register/verify", None, &signed()).await;
        is_refused(&answer, 422, code);
        assert_eq!(answer.json["message"], message);
    }
}

#[tokio::test]
async fn a_revoked_device_is_refused() {
    let site = AuthSite::open().await;
    let (gateway, stop) = (site.site.gateway.clone(), CancellationToken::new());
    let list = || site.send(call(Method::GET, "/devices", Some(&bearer(&site.access())), None));
    assert_eq!(list().await.status, 200);
    site.revoke(&format!("family:{FAMILY}")).await;
    is_refused(&list().await, 401, "RL-1401");
    // Without a heartbeat the cache is never fresh, so the store goes on being asked.
    let following = tokio::spawn({
        let stop = stop.clone();
        async move { gateway.run_revocations(stop).await }
    });
    is_refused(&list().await, 401, "RL-1401");
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test]
async fn a_bound_token_needs_a_fresh_proof_each_time() {
    let site = AuthSite::open().await;
    let key = DpopKey::generate(&SystemEntropy).unwrap();
    let token = site.bound(key.thumbprint());
    let url = format!("{URL}/api/v1/auth/devices");
    let proof = |key: &DpopKey, method: &str, url: &str, token: Option<&str>| {
        key.prove(method, url, site.now(), token, &SystemEntropy)
    };
    let send = |scheme: &str, proofs: &[&str]| {
        let mut request = call(Method::GET, "/devices?x=1", Some(&format!("{scheme} {token}")), None);
        for proof in proofs {
            request.headers_mut().append("dpop", proof.parse().unwrap());
        }
        site.send(request)
    };
    let good = proof(&key, "GET", &url, Some(&token));
    assert_eq!(send("DPoP", &[&good]).await.status, 200);
    is_refused(&send("DPoP", &[&good]).await, 401, "RL-1401");
    let again = proof(&key, "GET", &url, Some(&token));
    assert_eq!(send("dpop", &[&again]).await.status, 200, "another proof");

    let fresh = || proof(&key, "GET", &url, Some(&token));
    let other_key = DpopKey::generate(&SystemEntropy).unwrap();
    let (one, two) = (fresh(), fresh());
    let old = key.prove("GET", &url, site.now().plus(DurationMs::from_secs(-63)), Some(&token), &SystemEntropy);
    let wrong = [
        ("DPoP", vec![]),
        ("Bearer", vec![]),
        ("Bearer", vec![fresh()]),
        ("DPoP", vec![one, two]),
        ("DPoP", vec![proof(&key, "POST", &url, Some(&token))]),
        ("DPoP", vec![proof(&key, "GET", "https://evil.example/api/v1/auth/devices", Some(&token))]),
        ("DPoP", vec![proof(&key, "GET", &format!("{url}/x"), Some(&token))]),
        ("DPoP", vec![proof(&key, "GET", &url, None)]),
        ("DPoP", vec![proof(&key, "GET", &url, Some("another"))]),
        ("DPoP", vec![proof(&other_key, "GET", &url, Some(&token))]),
        ("DPoP", vec![old]),
        ("DPoP", vec!["garbage".to_owned()]),
    ];
    for (at, (scheme, proofs)) in wrong.iter().enumerate() {
        let proofs: Vec<_> = proofs.iter().map(String::as_str).collect();
        let answer = send(scheme, &proofs).await;
        assert_eq!(answer.status, 401, "case {at}: {}", answer.text);
    }
    // A token that is not bound does not come with the scheme of one that is.
    let unbound = format!("DPoP {}", site.access());
    is_refused(&site.send(call(Method::GET, "/devices", Some(&unbound), None)).await, 401, "RL-1401");
}

#[tokio::test]
async fn the_keys_of_tokens_are_public() {
    let site = AuthSite::open().await;
    let request = Request::builder().uri("/.well-known/jwks.json").body(axum::body::Body::empty()).unwrap();
    let answer = site.send(request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["cache-control"], "public, max-age=300");
    let keys = answer.json["keys"].as_array().unwrap();
    assert_eq!((keys.len(), keys[0]["crv"].as_str(), keys[0].get("d")), (1, Some("P-256"), None));
}

#[tokio::test]
async fn without_device_authentication_its_paths_are_not_available() {
    let site = Site::open().await;
    for (method, path) in [
        (Method::POST, "/login"),
        (Method::POST, "/devices/register/challenge"),
        (Method::POST, "/devices/register/verify"),
        (Method::POST, "/mobile/challenge"),
        (Method::POST, "/mobile/biometric"),
        (Method::POST, "/mobile/refresh"),
        (Method::GET, "/devices"),
        (Method::DELETE, "/devices/x"),
        (Method::PUT, "/devices/fcm-token"),
    ] {
        is_refused(&site.send(call(method, path, None, Some(&json!({})))).await, 501, "RL-1201");
    }
    let request = Request::builder().uri("/.well-known/jwks.json").body(axum::body::Body::empty()).unwrap();
    site.send(request).await.is_problem(501, "RL-1201");
    let stop = CancellationToken::new();
    stop.cancel();
    site.gateway.run_revocations(stop).await;
}

#[tokio::test]
async fn without_an_answer_the_caller_is_told_that_it_may_still_come() {
    let limits = GatewayLimits { command_time: Duration::from_millis(150), ..GatewayLimits::default() };
    let site = AuthSite::without_worker(limits).await;
    let answer = site.post("/mobile/biometric", None, &signed()).await;
    is_refused(&answer, 503, "RL-5002");
    assert!(answer.json["message"].as_str().unwrap().contains("may still be done"), "{}", answer.text);
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn with_log_or_store_away_callers_come_again() {
    let site = AuthSite::open().await;
    site.site.log.down.store(true, Ordering::SeqCst);
    let answer = site.post("/mobile/challenge", None, &json!({ "deviceFingerprint": "f" })).await;
    is_refused(&answer, 503, "RL-5002");
    assert!(!answer.text.contains("secret"));
    site.site.log.down.store(false, Ordering::SeqCst);

    let limits = GatewayLimits { store_time: Duration::from_millis(100), ..GatewayLimits::default() };
    let site = AuthSite::without_worker(limits).await;
    let token = bearer(&site.web());
    assert_eq!(site.send(call(Method::GET, "/devices", Some(&token), None)).await.status, 200);
    site.site.stall_store.set(true);
    // The lookup of a user's devices passes no switch; the revocations of a device are asked of the store.
    let access = bearer(&site.access());
    is_refused(&site.send(call(Method::GET, "/devices", Some(&access), None)).await, 503, "RL-5002");
    site.site.stall_store.set(false);
}

#[tokio::test]
async fn paths_under_it_have_its_envelope_also_where_nothing_is() {
    let site = AuthSite::open().await;
    is_refused(&site.send(call(Method::GET, "/nothing", None, None)).await, 404, "RL-1303");
    let wrong = site.send(call(Method::GET, "/mobile/biometric", None, None)).await;
    is_refused(&wrong, 405, "RL-1304");
    assert_eq!(wrong.headers["allow"], "POST");
    let elsewhere =
        from("192.0.2.7", Request::builder().uri("/api/v1/nothing").body(axum::body::Body::empty()).unwrap());
    let answer = site.send(elsewhere).await;
    assert_eq!(
        (answer.status, answer.json["status"].as_u64()),
        (404.try_into().unwrap(), Some(404)),
        "the service's own form"
    );
}

#[tokio::test]
async fn the_peers_address_comes_from_the_connection_with_and_without_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(dir.path());
    let site = AuthSite::open().await;
    let body = json!({ "deviceFingerprint": "f" }).to_string();
    let request = format!(
        "POST /api/v1/auth/mobile/challenge HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Forwarded-For: 203.0.113.1\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for tls in [None, Some(Tls::from_files(&cert, &key).unwrap())] {
        let is_tls = tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = site.site.gateway.router();
        tokio::spawn(serve(listener, router, tls, site.site.stop.clone(), ServeLimits::default()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        if is_tls {
            let mut connector = openssl::ssl::SslConnector::builder(openssl::ssl::SslMethod::tls_client()).unwrap();
            connector.set_ca_file(&cert).unwrap();
            let ssl = connector.build().configure().unwrap().into_ssl("localhost").unwrap();
            let mut stream = tokio_openssl::SslStream::new(ssl, stream).unwrap();
            std::pin::Pin::new(&mut stream).connect().await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.read_to_end(&mut answer).await.unwrap();
        } else {
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.read_to_end(&mut answer).await.unwrap();
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(site.last().body.address, "127.0.0.1");
    }
    assert_eq!(site.asked_so_far(), 2);
}
