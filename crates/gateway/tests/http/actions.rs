//! Actions that must be approved: what each call asks of the workers, who sees what, and how one waits.

use std::time::Duration;

use axum::http::Method;
use ridgeline_domain::{
    ActionId, ActionStatus, AuthOperation, DecidedOperation, DurationMs, KeyAlgorithm, Liveness, Outcome, Refusal,
    RequestId, Timestamp, UserId,
};
use ridgeline_ports::{EventLog as _, RowKey};
use ridgeline_runtime::SystemEntropy;
use ridgeline_testkit::covers;
use ridgeline_vault::{Aad, Purpose, derive_id};
use ridgeline_wire::action_row::{ActionApproval, ActionRow, ActionStep, InboxRow, table};
use ridgeline_wire::encode;
use ridgeline_wire::message::Decision;
use serde_json::{Value, json};

use crate::auth::is_refused;
use crate::auth_site::{ACTION, AuthSite, DEVICE, bearer, call};
use crate::harness::decided;

const PAYLOAD: &str = r#"{"amount":50000,"currency":"VND","recipient":"Nguyễn Văn A"}"#;

fn payment() -> Value {
    json!({
        "actionType": "payment_approval",
        "actionPayload": { "recipient": "Nguyễn Văn A", "amount": 50000, "currency": "VND" },
    })
}

/// A pending action of `an`, who approves it too.
fn row(site: &AuthSite) -> ActionRow {
    let seal = |purpose, column: &str, text: &str| {
        let aad = Aad::row("actions", &RowKey::single(ACTION.to_string()), column);
        site.site.vault.seal(purpose, &aad, text.as_bytes(), &SystemEntropy).unwrap()
    };
    let now = site.now();
    ActionRow {
        action_id: ACTION,
        user: AuthSite::user("an"),
        client: String::new(),
        action_type: "payment_approval".parse().unwrap(),
        payload: seal(Purpose::Field, "payload", PAYLOAD),
        challenge: seal(Purpose::Field, "challenge", "a-challenge"),
        display_code: None,
        language: None,
        callback_url: None,
        caller: vec![],
        in_order: false,
        steps: vec![ActionStep {
            approvers: vec![AuthSite::user("an"), AuthSite::user("binh")],
            named: vec![],
            roles: vec![],
            required: 2,
        }],
        approvals: vec![],
        wrong_codes: vec![],
        status: ActionStatus::Pending,
        created_by: RequestId::from_bytes([1; 16]),
        created_at: now,
        expires_at: now.plus(DurationMs::from_secs(300)),
        finished_by: None,
        finished_at: None,
        rejected_by: None,
        rejected_with: None,
        reason: None,
        token: Some(seal(Purpose::Answer, "token", "an.action.token")),
        nonce: None,
        token_expires_at: None,
        redeemed_by: None,
        redeemed_at: None,
        updated_at: now,
    }
}

fn approval(user: UserId, at: Timestamp) -> ActionApproval {
    ActionApproval {
        user,
        device_id: DEVICE,
        request_id: RequestId::from_bytes([2; 16]),
        at,
        family_id: None,
        issued_at: at,
        key_algorithm: KeyAlgorithm::Es256,
        public_key: vec![],
        signature: vec![],
        caller: vec![],
    }
}

fn approved(site: &AuthSite) -> ActionRow {
    let now = site.now();
    ActionRow {
        status: ActionStatus::Approved,
        approvals: vec![approval(AuthSite::user("binh"), now), approval(AuthSite::user("an"), now)],
        finished_at: Some(now),
        token_expires_at: Some(now.plus(DurationMs::from_secs(300))),
        ..row(site)
    }
}

/// Stores the action, or what it has become.
async fn store(site: &AuthSite, row: &ActionRow) {
    let (store, key) = (site.site.memory.store(), RowKey::single(row.action_id.to_string()));
    let value = encode(row).unwrap().into();
    match store.get(table::ACTIONS, &key).await.unwrap() {
        Some(there) => store.replace(table::ACTIONS, &key, there.version, value, None).await.unwrap(),
        None => store.insert_new(table::ACTIONS, &key, value, None).await.unwrap(),
    };
    let entry = encode(&InboxRow { expires_at: row.expires_at }).unwrap().into();
    let write = ridgeline_ports::PlainWrite { at: site.now(), expires_at: Some(row.expires_at) };
    let key = RowKey::new(AuthSite::user("an").as_str(), row.action_id.to_string());
    store.put(table::ACTION_INBOX, &key, entry, write).await.unwrap();
}

fn path(action: ActionId, what: &str) -> String {
    format!("/confirmation/{action}/{what}")
}

async fn get(site: &AuthSite, path: &str, token: &str) -> crate::harness::Answer {
    site.send(call(Method::GET, path, Some(&bearer(token)), None)).await
}

#[tokio::test]
async fn a_user_starts_an_action() {
    covers!("R-112", "R-115", "R-125");
    let site = AuthSite::open().await;
    let mut body = payment();
    body["displayCode"] = json!(true);
    body["callbackUrl"] = json!("https://erp.example/confirmed?x=1");
    body["requestedExpirySeconds"] = json!(120);
    let answer = site.post("/confirmation/initiate", Some(&site.web()), &body).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text);
    let expected = json!({
        "confirmationId": ACTION.to_string(), "challenge": "a-challenge", "displayCode": "42", "status": "pending",
        "expiresAt": "2023-11-14T22:13:20.000Z", "notifiedDevices": 2,
    });
    assert_eq!(answer.json["data"], expected);
    let asked = site.last();
    let id = asked.request_id.parse().unwrap();
    assert_eq!(asked.key, ActionId::from_bytes(derive_id("action", id)).to_string(), "the aggregate it makes");
    let start = asked.body.action.unwrap();
    assert_eq!(start.payload, PAYLOAD, "in canonical form");
    assert_eq!((start.life_seconds, start.display_code), (120, true));
    is_refused(&site.post("/confirmation/initiate", Some(&site.access()), &body).await, 401, "RL-1401");
    is_refused(&site.post("/confirmation/initiate", None, &body).await, 401, "RL-1401");
}

#[tokio::test]
async fn each_field_of_an_action_has_its_rule() {
    covers!("R-113", "R-114");
    let site = AuthSite::open().await;
    let web = site.web();
    let deep: String = format!("{}1{}", "{\"a\":".repeat(17), "}".repeat(17));
    let raw = async |body: String| {
        let mut request = call(Method::POST, "/confirmation/initiate", Some(&bearer(&web)), Some(&json!({})));
        *request.body_mut() = body.into();
        site.send(request).await
    };
    let with_payload = |payload: &str| format!("{{\"actionType\":\"a\",\"actionPayload\":{payload}}}");
    for payload in [
        format!("{{\"a\":\"{}\"}}", "x".repeat(4_089)),
        deep,
        "\"text\"".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "{\"a\":1,\"a\":2}".to_owned(),
        "{\"a\":9007199254740993}".to_owned(),
        "{\"a\":99999999999999999999}".to_owned(),
        "{\"a\":\"\\ud800\"}".to_owned(),
        "{".to_owned(),
    ] {
        is_refused(&raw(with_payload(&payload)).await, 400, "RL-1001");
    }
    assert_eq!(raw(with_payload(&format!("{{\"a\":\"{}\"}}", "x".repeat(4_088)))).await.status.as_u16(), 201);
    let with = |name: &str, value: Value| {
        let mut body = payment();
        body[name] = value;
        body
    };
    for (name, value) in [
        ("actionType", json!("")),
        ("actionType", json!("a b")),
        ("actionType", json!("điện")),
        ("actionType", json!("a".repeat(101))),
        ("actionType", json!(1)),
        ("requestedExpirySeconds", json!(119)),
        ("requestedExpirySeconds", json!(301)),
        ("requestedExpirySeconds", json!(200.5)),
        ("requestedExpirySeconds", json!("200")),
        ("displayCode", json!("yes")),
        ("language", json!("fr")),
        ("callbackUrl", json!("")),
        ("callbackUrl", json!("https://erp.example/ x")),
        ("callbackUrl", json!(format!("https://erp.example/{}", "x".repeat(2_040)))),
    ] {
        let answer = site.post("/confirmation/initiate", Some(&web), &with(name, value.clone())).await;
        is_refused(&answer, 400, "RL-1001");
        assert!(answer.json["message"].as_str().unwrap().starts_with(name), "{name} {value}: {}", answer.text);
    }
    assert_eq!(
        site.post("/confirmation/initiate", Some(&web), &with("actionType", json!("a".repeat(100)))).await.status,
        201
    );
}

#[tokio::test]
async fn votes_noes_and_redemptions_go_to_the_workers() {
    let site = AuthSite::open().await;
    let (web, access) = (site.web(), site.access());
    let vote = json!({ "deviceId": DEVICE.to_string(), "signedChallenge": "c2lnbmF0dXJl", "displayCode": "42" });
    let answer = site.post(&path(ACTION, "verify"), Some(&access), &vote).await;
    assert_eq!(
        answer.json["data"],
        json!({ "confirmationId": ACTION.to_string(), "status": "pending" }),
        "{}",
        answer.text
    );
    let asked = site.last();
    assert_eq!((asked.operation, asked.key.as_str()), (AuthOperation::ApproveAction, ACTION.to_string().as_str()));
    assert_eq!(asked.body.credential.as_deref(), Some(access.as_str()), "the worker checks the caller again");
    assert_eq!(asked.body.vote.unwrap().display_code.as_deref(), Some("42"));
    let answer = site.post(&path(ACTION, "reject"), Some(&access), &json!({ "reason": "không phải tôi" })).await;
    assert_eq!(answer.json["data"]["status"], "rejected");
    assert_eq!(site.last().body.reason.as_deref(), Some("không phải tôi"));
    let bodyless = site.send(call(Method::POST, &path(ACTION, "reject"), Some(&bearer(&web)), None)).await;
    assert_eq!(bodyless.status, 200, "{}", bodyless.text);
    let answer = site.post(&path(ACTION, "redeem"), Some(&web), &json!({ "confirmationToken": "x.y.z" })).await;
    assert_eq!(answer.json["data"]["redeemedAt"], "2023-11-14T22:13:20.000Z", "{}", answer.text);
    let received = site.send(call(Method::POST, &path(ACTION, "received"), Some(&bearer(&access)), None)).await;
    assert_eq!((received.status.as_u16(), site.last().operation), (200, AuthOperation::ReceiveAction));

    let asked = site.asked_so_far();
    let with = |name: &str, value: Value| {
        let mut body = vote.clone();
        body[name] = value;
        body
    };
    let other = with("deviceId", json!("0".repeat(32)));
    is_refused(&site.post(&path(ACTION, "verify"), Some(&access), &other).await, 401, "RL-1401");
    is_refused(&site.post(&path(ACTION, "verify"), Some(&web), &vote).await, 401, "RL-1401");
    is_refused(
        &site.post(&path(ACTION, "redeem"), Some(&access), &json!({ "confirmationToken": "x" })).await,
        401,
        "RL-1401",
    );
    for (name, value) in [
        ("signedChallenge", json!("!")),
        ("signedChallenge", json!("A".repeat(685))),
        ("deviceId", json!("x")),
        ("displayCode", json!("4")),
        ("displayCode", json!("4x")),
        ("displayCode", json!(42)),
    ] {
        is_refused(&site.post(&path(ACTION, "verify"), Some(&access), &with(name, value)).await, 400, "RL-1001");
    }
    for reason in [json!("x".repeat(501)), json!("a\u{7}b"), json!(7)] {
        let answer = site.post(&path(ACTION, "reject"), Some(&access), &json!({ "reason": reason })).await;
        is_refused(&answer, 400, "RL-1001");
    }
    for id in ["", "x", "..%2f..%2fetc", &"a".repeat(255)] {
        let answer = site.post(&format!("/confirmation/{id}/verify"), Some(&access), &vote).await;
        assert_eq!(answer.status, 404, "{id}: {}", answer.text);
    }
    assert_eq!(site.asked_so_far(), asked, "nothing of these reached a worker");
}

#[tokio::test]
async fn what_workers_refuse_has_its_code() {
    let site = AuthSite::open().await;
    let vote = json!({ "deviceId": DEVICE.to_string(), "signedChallenge": "c2lnbmF0dXJl" });
    for (refusal, status, code) in [
        (Refusal::UnknownAction, 404, "RL-1303"),
        (Refusal::NotAllowed, 403, "RL-1406"),
        (Refusal::ActionFinal, 409, "RL-1407"),
        (Refusal::TooManyPending, 429, "RL-1408"),
        (Refusal::ApproversMissing, 422, "RL-1409"),
        (Refusal::ActionNotCovered, 422, "RL-1410"),
        (Refusal::WrongDisplayCode, 422, "RL-1411"),
        (Refusal::BadSignature, 401, "RL-1401"),
    ] {
        *site.refusal.lock() = Some((refusal, None));
        is_refused(&site.post(&path(ACTION, "verify"), Some(&site.access()), &vote).await, status, code);
    }
}

#[tokio::test]
async fn everybody_sees_of_an_action_what_is_his() {
    covers!("R-117");
    let site = AuthSite::open().await;
    let pending = row(&site);
    store(&site, &ActionRow { approvals: vec![approval(AuthSite::user("binh"), site.now())], ..pending }).await;
    let status = path(ACTION, "status");
    let seen = get(&site, &status, &site.web()).await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    let data = &seen.json["data"];
    assert_eq!(data["actionPayload"], serde_json::from_str::<Value>(PAYLOAD).unwrap());
    assert_eq!((data["status"].as_str(), data["requiredApprovals"].as_i64()), (Some("pending"), Some(2)));
    assert_eq!(data["approvals"][0]["approver"], "binh");
    assert!(data["challenge"].is_null(), "for devices only");
    let on_device = get(&site, &status, &site.access()).await;
    assert_eq!(on_device.json["data"]["challenge"], "a-challenge");
    assert_eq!(get(&site, &status, &site.web_of("binh")).await.status, 200, "an approver");
    is_refused(&get(&site, &status, &site.web_of("eve")).await, 404, "RL-1303");
    is_refused(&get(&site, &path(ActionId::from_bytes([9; 16]), "status"), &site.web()).await, 404, "RL-1303");
    is_refused(&get(&site, "/confirmation/x/status", &site.web()).await, 404, "RL-1303");
    is_refused(&get(&site, &format!("{status}?wait=31"), &site.web()).await, 400, "RL-1001");

    store(&site, &approved(&site)).await;
    let token = async |token: &str| get(&site, &status, token).await.json["data"]["confirmationToken"].clone();
    assert_eq!(token(&site.web()).await, "an.action.token");
    assert!(token(&site.access()).await.is_null() && token(&site.web_of("binh")).await.is_null());
    let other_client = ActionRow { client: "another-client".to_owned(), ..approved(&site) };
    store(&site, &other_client).await;
    assert!(token(&site.web()).await.is_null(), "only the client that initiated it");
    let over = ActionRow { token_expires_at: Some(site.now()), ..approved(&site) };
    store(&site, &over).await;
    assert!(token(&site.web()).await.is_null());
}

#[tokio::test]
async fn a_phone_finds_what_waits_without_having_been_told() {
    let site = AuthSite::open().await;
    store(&site, &row(&site)).await;
    let list = "/confirmation?status=pending";
    let seen = get(&site, list, &site.access()).await;
    assert_eq!(seen.json["data"].as_array().map(Vec::len), Some(1), "{}", seen.text);
    assert_eq!(seen.json["data"][0]["challenge"], "a-challenge");
    is_refused(&get(&site, list, &site.web()).await, 401, "RL-1401");
    is_refused(&get(&site, "/confirmation?status=approved", &site.access()).await, 400, "RL-1001");
    let signed = ActionRow { approvals: vec![approval(AuthSite::user("an"), site.now())], ..row(&site) };
    store(&site, &signed).await;
    assert_eq!(get(&site, list, &site.access()).await.json["data"], json!([]), "signed already");
    store(&site, &approved(&site)).await;
    assert_eq!(get(&site, list, &site.access()).await.json["data"], json!([]));
}

/// The decision about an action, as an auth worker publishes it.
async fn tell(site: &AuthSite) {
    let id = RequestId::from_bytes([7; 16]);
    let now = site.now();
    let decision = Decision {
        confirmation_id: id,
        operation: DecidedOperation::Auth(AuthOperation::ApproveAction),
        modality: None,
        outcome: Outcome::Granted,
        reason: None,
        subject_id: None,
        agent: "gateway:test".parse().unwrap(),
        reader: None,
        quality: vec![],
        confidence: None,
        confidence_basis: None,
        liveness: Liveness::NotAssessed,
        coverage: None,
        engine: "rote-1".to_owned(),
        gallery_version: None,
        session_requested: false,
        valid_until: now,
        evaluated_at: now,
        decided_at: now,
        duration_ms: 1,
    };
    let mut record = decided(id, encode(&decision).unwrap());
    record.headers.push((ridgeline_wire::SUBJECT.to_owned(), ACTION.to_string().into()));
    site.site.log.publish(record).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_action_is_woken_by_the_decision_about_it() {
    let site = std::sync::Arc::new(AuthSite::open().await);
    store(&site, &row(&site)).await;
    let (waiting, token) = (site.clone(), site.web());
    let waiting = tokio::spawn(async move { get(&waiting, &path(ACTION, "status?wait=30"), &token).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    store(&site, &approved(&site)).await;
    tell(&site).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap();
    assert_eq!(answer.json["data"]["status"], "approved", "{}", answer.text);
    assert!(answer.json["data"]["approvedAt"].is_string());
    let at_once = get(&site, &path(ACTION, "status?wait=30"), &site.web()).await;
    assert_eq!(at_once.json["data"]["status"], "approved", "a final one is not waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_followed_to_its_end() {
    let site = std::sync::Arc::new(AuthSite::open().await);
    store(&site, &row(&site)).await;
    let (following, token) = (site.clone(), site.web());
    let stream = tokio::spawn(async move { get(&following, &path(ACTION, "events"), &token).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    store(&site, &ActionRow { approvals: vec![approval(AuthSite::user("binh"), site.now())], ..row(&site) }).await;
    tell(&site).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    store(&site, &approved(&site)).await;
    tell(&site).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), stream).await.unwrap().unwrap();
    let events: Vec<_> = answer.text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(events, ["pending", "pending", "approved"], "{}", answer.text);
    is_refused(&get(&site, &path(ACTION, "events"), &site.web_of("eve")).await, 404, "RL-1303");
}
