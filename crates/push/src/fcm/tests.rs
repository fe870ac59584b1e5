use ridgeline_domain::{ActionId, DurationMs, Timestamp};
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::covers;
use serde_json::{Value, json};

use super::*;
use crate::fake::{FakeFcm, PROJECT, Reply};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);
const CONFIRMATION: &str = "abababababababababababababababab";

struct Stage {
    clock: Arc<TestClock>,
    fake: FakeFcm,
    sender: FcmSender,
}

async fn stage() -> Stage {
    let clock = Arc::new(TestClock::at(NOW));
    let fake = FakeFcm::start(clock.clone()).await.unwrap();
    let sender = FcmSender::new(options(&fake, clock.clone())).unwrap();
    Stage { clock, fake, sender }
}

fn options(fake: &FakeFcm, clock: Arc<TestClock>) -> FcmOptions {
    FcmOptions { base_url: fake.base_url().to_owned(), ..FcmOptions::new(fake.service_account_json(), clock) }
}

fn push(token: &str) -> Push {
    Push {
        token: Sensitive::new(token.to_owned()),
        title: "Xác nhận thanh toán".to_owned(),
        body: "Thanh toán 50.000 ₫".to_owned(),
        confirmation_id: ActionId::from_bytes([0xab; 16]),
        action_type: "payment_approval".to_owned(),
        expires_at: NOW.plus(DurationMs::from_secs(120)),
    }
}

fn words(error: PushError) -> String {
    let PushError::Later { what, .. } = error else { panic!("{error} is not for later") };
    what
}

#[tokio::test]
async fn the_data_say_what_waits() {
    covers!("R-128");
    let stage = stage().await;
    let receipt = stage.sender.send(&push("device-1")).await.unwrap();
    let [taken] = <[_; 1]>::try_from(stage.fake.taken()).unwrap_or_else(|_| panic!("one message is taken"));
    assert_eq!((receipt.message_id, "device-1"), (taken.id, taken.token.as_str()));
    assert_eq!(
        taken.message["data"],
        json!({ "type": "confirmation_request", "confirmationId": "ab".repeat(16), "actionType": "payment_approval" })
    );
    assert_eq!(taken.message["notification"], json!({ "title": "Xác nhận thanh toán", "body": "Thanh toán 50.000 ₫" }));
}

#[tokio::test]
async fn iphones_get_category_action_and_sound_until_the_end() {
    covers!("R-135");
    let stage = stage().await;
    stage.sender.send(&push("device-1")).await.unwrap();
    assert_eq!(
        stage.fake.taken()[0].message["apns"],
        json!({
            "headers": { "apns-expiration": "1800000120", "apns-priority": "10", "apns-collapse-id": CONFIRMATION },
            "payload": {
                "aps": { "category": "BIOMETRIC_CONFIRMATION", "sound": "default" },
                "action": "CONFIRM_ACTION",
            },
        })
    );
}

#[tokio::test]
async fn androids_get_channel_icon_and_colour_until_the_end() {
    covers!("R-136");
    let stage = stage().await;
    stage.clock.advance(DurationMs(1));
    stage.sender.send(&push("device-1")).await.unwrap();
    assert_eq!(
        stage.fake.taken()[0].message["android"],
        json!({
            "priority": "high",
            "ttl": "119s",
            "collapse_key": CONFIRMATION,
            "notification": { "tag": CONFIRMATION, "channel_id": "biometric_confirmations", "icon": "ic_notification", "color": "#2196F3" },
        })
    );
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_anybody_is_asked() {
    let stage = stage().await;
    let mut late = push("device-1");
    late.expires_at = NOW;
    let mut long = push("device-1");
    long.body = "x".repeat(17 << 10);
    for bad in [late, long, push(""), push("a b"), push("a\n"), push("ä"), push(&"a".repeat(4_097))] {
        assert!(matches!(stage.sender.send(&bad).await, Err(PushError::Refused(_))));
    }
    assert_eq!((stage.fake.grants(), stage.fake.sent()), (0, 0));
    let mut distant = push("device-1");
    distant.expires_at = NOW.plus(DurationMs::from_days(365));
    stage.sender.send(&distant).await.unwrap();
    assert_eq!(stage.fake.taken()[0].message["android"]["ttl"], "2419200s");
}

#[tokio::test]
async fn each_device_is_answered_for_itself() {
    let Stage { fake, sender, .. } = stage().await;
    fake.reply_always("gone", Reply::Unregistered);
    fake.reply_always("bad", Reply::Invalid);
    fake.reply_always("foreign", Reply::OtherSender);
    fake.reply("busy", Reply::Busy("30".to_owned()), 1);
    fake.reply("away", Reply::Away("Fri, 15 Jan 2027 08:00:10 GMT".to_owned()), 1);
    fake.reply("broken", Reply::Broken, 2);

    assert_eq!(sender.send(&push("gone")).await, Err(PushError::Unregistered));
    assert!(matches!(sender.send(&push("bad")).await, Err(PushError::Refused(_))));
    assert!(matches!(sender.send(&push("foreign")).await, Err(PushError::Refused(_))));
    let after = |error| if let Err(PushError::Later { after, .. }) = error { after } else { panic!("{error:?}") };
    assert_eq!(after(sender.send(&push("busy")).await), Some(DurationMs(30_000)));
    assert_eq!(after(sender.send(&push("away")).await), Some(DurationMs(9_500)));
    for _ in 0..2 {
        assert_eq!(after(sender.send(&push("broken")).await), None);
    }
    for token in ["broken", "busy", "away", "other"] {
        assert!(sender.send(&push(token)).await.is_ok(), "{token}");
    }
    assert_eq!(fake.grants(), 1);
}

#[tokio::test]
async fn a_token_is_kept_until_its_last_minute() {
    let Stage { clock, fake, sender } = stage().await;
    let mut push = push("device-1");
    push.expires_at = NOW.plus(DurationMs::from_days(1));
    for (seconds, grants) in [(0, 1), (3_539, 1), (1, 2), (3_539, 2), (7_200, 3)] {
        clock.advance(DurationMs::from_secs(seconds));
        sender.send(&push).await.unwrap();
        assert_eq!(fake.grants(), grants, "after {seconds} s more");
    }
    assert_eq!(fake.sent(), 5);
}

#[tokio::test]
async fn a_token_that_is_over_too_soon_is_used_once() {
    let Stage { fake, sender, .. } = stage().await;
    fake.grant_for(30);
    for grants in 1..=3 {
        sender.send(&push("device-1")).await.unwrap();
        assert_eq!(fake.grants(), grants);
    }
}

#[tokio::test]
async fn many_at_once_ask_for_one_token() {
    let Stage { fake, sender, .. } = stage().await;
    let sender = Arc::new(sender);
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..16 {
        let sender = sender.clone();
        tasks.spawn(async move { sender.send(&push(&format!("device-{at}"))).await });
    }
    while let Some(sent) = tasks.join_next().await {
        sent.unwrap().unwrap();
    }
    assert_eq!((fake.grants(), fake.taken().len()), (1, 16));
    fake.revoke();
    for at in 0..16 {
        let sender = sender.clone();
        tasks.spawn(async move { sender.send(&push(&format!("device-{at}"))).await });
    }
    while let Some(sent) = tasks.join_next().await {
        sent.unwrap().unwrap();
    }
    assert_eq!((fake.grants(), fake.taken().len()), (2, 32));
}

/// An answer with a body of this length.
fn whole(status: u16, body: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let Stage { fake, sender, .. } = stage().await;
    sender.send(&push("device-1")).await.unwrap();
    fake.reply("device-1", whole(401, ""), 1);
    sender.send(&push("device-1")).await.unwrap();
    assert_eq!((fake.grants(), fake.sent()), (2, 3));

    fake.reply_always("device-2", whole(401, ""));
    let what = words(sender.send(&push("device-2")).await.unwrap_err());
    assert!(what.contains("does not accept the service account's token"), "{what}");
    assert_eq!((fake.grants(), fake.sent()), (3, 5));

    // No token of ours helps where the project's key for APNs is wrong.
    let details = json!([{ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "THIRD_PARTY_AUTH_ERROR" }]);
    fake.reply("device-3", whole(401, &json!({ "error": { "details": details } }).to_string()), 1);
    assert!(words(sender.send(&push("device-3")).await.unwrap_err()).contains("APNs"));
    assert_eq!((fake.grants(), fake.sent()), (3, 6));
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_is_left_alone_for_a_while() {
    let Stage { clock, fake, sender } = stage().await;
    fake.reply_to_grants(Reply::Away("5".to_owned()), 1);
    for _ in 0..3 {
        let refused = sender.send(&push("device-1")).await.unwrap_err();
        assert!(matches!(&refused, PushError::Later { after: Some(DurationMs(5_000)), .. }), "{refused}");
    }
    assert_eq!(fake.grants(), 1);
    clock.advance(DurationMs(4_999));
    assert!(sender.send(&push("device-1")).await.is_err());
    clock.advance(DurationMs(1));
    sender.send(&push("device-1")).await.unwrap();
    assert_eq!(fake.grants(), 2);
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named() {
    let clock = Arc::new(TestClock::at(NOW));
    let fake = FakeFcm::start(clock).await.unwrap();
    let wrong = Arc::new(TestClock::at(NOW.plus(DurationMs::from_secs(-7_200))));
    let error = FcmSender::new(options(&fake, wrong)).unwrap().send(&push("device-1")).await.unwrap_err();
    let what = words(error);
    assert!(what.contains("clock is wrong") && !what.contains("gserviceaccount"), "{what}");
}

#[tokio::test]
async fn another_accounts_key_gets_no_token() {
    let clock = Arc::new(TestClock::at(NOW));
    let (one, other) = (FakeFcm::start(clock.clone()).await.unwrap(), FakeFcm::start(clock.clone()).await.unwrap());
    let mut file: Value = serde_json::from_str(one.service_account_json().expose()).unwrap();
    let foreign: Value = serde_json::from_str(other.service_account_json().expose()).unwrap();
    file["private_key"] = foreign["private_key"].clone();
    let options = FcmOptions { service_account: Sensitive::new(file.to_string()), ..options(&one, clock) };
    let what = words(FcmSender::new(options).unwrap().send(&push("device-1")).await.unwrap_err());
    assert!(what.contains("the key is revoked"), "{what}");
    assert_eq!((one.grants(), one.sent()), (1, 0));
}

#[tokio::test]
async fn answers_that_are_cut_lie_or_go_on_are_for_later() {
    let Stage { clock, fake, sender } = stage().await;
    sender.send(&push("device-1")).await.unwrap();
    let good = b"HTTP/1.1 200 .\r\ncontent-length: 34\r\n\r\n{\"name\":\"projects/p/messages/0:1\"}".to_vec();
    let cut = (0..good.len()).map(|end| good[..end].to_vec());
    let others = [
        b"HTTP/1.1 200 .\r\ncontent-length: 99999999999\r\n\r\n{}".to_vec(),
        b"HTTP/1.1 200 .\r\ncontent-length: -1\r\n\r\n{}".to_vec(),
        b"\0\xff\x13garbage".to_vec(),
        [b"HTTP/1.1 200 .\r\n\r\n".to_vec(), b"[".repeat(100_000)].concat(),
        [b"HTTP/1.1 200 .\r\n\r\n".to_vec(), b"[".repeat(60_000)].concat(),
    ];
    let mut push = push("device-1");
    push.expires_at = NOW.plus(DurationMs::from_secs(3_000));
    for (at, bytes) in cut.chain(others).enumerate() {
        fake.reply("device-1", Reply::Bytes(bytes.clone()), 1);
        let sent = sender.send(&push).await;
        assert!(matches!(sent, Err(PushError::Later { .. })), "{at}: {sent:?}");
        fake.reply_to_grants(Reply::Bytes(bytes), 1);
        fake.revoke();
        let sent = sender.send(&push).await;
        assert!(matches!(sent, Err(PushError::Later { .. })), "{at}: {sent:?}");
        clock.advance(DurationMs(2_000));
        sender.send(&push).await.unwrap();
    }
    fake.reply("device-1", Reply::Bytes(good), 1);
    assert!(sender.send(&push).await.is_ok());
}

#[tokio::test]
async fn grants_without_a_token_that_can_be_sent_are_for_later() {
    let Stage { clock, fake, sender } = stage().await;
    for body in [
        json!({}),
        json!([]),
        json!({ "access_token": "t" }),
        json!({ "access_token": "t", "expires_in": "3600" }),
        json!({ "access_token": "t", "expires_in": 0 }),
        json!({ "access_token": "t", "expires_in": -5 }),
        json!({ "access_token": 5, "expires_in": 3600 }),
        json!({ "access_token": "", "expires_in": 3600 }),
        json!({ "access_token": "secret\r\nx: y", "expires_in": 3600 }),
        json!({ "access_token": "s".repeat(8_193), "expires_in": 3600 }),
    ] {
        fake.reply_to_grants(whole(200, &body.to_string()), 1);
        let what = words(sender.send(&push("device-1")).await.unwrap_err());
        assert_eq!(what, "the answer of the token endpoint holds no token", "{body}");
        clock.advance(DurationMs(2_000));
    }
    // One that lives for ever is asked for again after a day; the fake does not know it.
    fake.reply_to_grants(whole(200, &json!({ "access_token": "t", "expires_in": i64::MAX }).to_string()), 1);
    sender.send(&push("device-1")).await.unwrap();
    assert_eq!((fake.grants(), fake.taken().len()), (12, 1));
}

#[tokio::test]
async fn nobody_there_is_for_later_and_no_secret_is_told() {
    let Stage { fake, sender, clock } = stage().await;
    sender.send(&push("secret-device")).await.unwrap();
    let unused = FcmSender::new(options(&fake, clock)).unwrap();
    let file: Value = serde_json::from_str(fake.service_account_json().expose()).unwrap();
    drop(fake);
    for (sender, whose) in [(&sender, "FCM cannot be reached"), (&unused, "the token endpoint cannot be reached")] {
        let mut what = String::new();
        for _ in 0..100 {
            // What is on its way when the server ends may be anything that is for later.
            what = words(sender.send(&push("secret-device")).await.unwrap_err());
            if what.contains("refused") {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(what.starts_with(whose), "{what}");
        let shown = format!("{what} {sender:?}");
        for member in ["private_key", "private_key_id", "client_email", "project_id"] {
            assert!(!shown.contains(file[member].as_str().unwrap()), "{member}");
        }
        assert!(!shown.contains("secret-device") && !shown.contains("/token"), "{shown}");
    }
}

/// What the fake says to a body that no sender of ours writes.
async fn posted(fake: &FakeFcm, token: &str, body: &Value) -> (u16, Value) {
    let http = Configured::new(ConfiguredOptions::new(fake.base_url())).unwrap();
    let path = format!("/v1/projects/{PROJECT}/messages:send");
    let body = body.to_string().into_bytes();
    let token = Sensitive::new(token.to_owned());
    let answer = http.exchange_with_token(&token, Method::Post, &path, Some((JSON, body))).await.unwrap();
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

#[tokio::test]
async fn the_fake_takes_only_what_fcm_takes() {
    let Stage { clock, fake, sender } = stage().await;
    sender.send(&push("device-1")).await.unwrap();
    let good = json!({ "message": fake.taken()[0].message });
    assert_eq!(posted(&fake, "fake-1", &good).await.0, 200);
    assert_eq!(posted(&fake, "fake-2", &good).await.0, 401);
    for (path, value, field) in [
        ("/message/token", json!(""), "message.token"),
        ("/message/data/confirmationId", json!(5), "message.data"),
        ("/message/android/ttl", json!("120"), "message.android.ttl"),
        ("/message/android/ttl", json!("2419201s"), "message.android.ttl"),
        ("/message/android/priority", json!("urgent"), "message.android.priority"),
        ("/message/android/notification/color", json!("blue"), "message.android.notification.color"),
        ("/message/notification", json!({ "title": "", "body": "", "sound": "x" }), "message.notification.sound"),
        ("/message/notification/body", json!("x".repeat(4_096)), "message"),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value;
        let (status, answer) = posted(&fake, "fake-1", &bad).await;
        assert_eq!((status, &answer["error"]["details"][1]["fieldViolations"][0]["field"]), (400, &json!(field)));
    }
    clock.advance(DurationMs::from_secs(3_600));
    assert_eq!(posted(&fake, "fake-1", &good).await.0, 401);
    assert_eq!(fake.taken().len(), 2);
}

#[tokio::test]
async fn the_fake_outlives_what_is_no_request() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let Stage { fake, sender, .. } = stage().await;
    let address = fake.base_url().strip_prefix("http://").unwrap();
    let endless = format!("POST /token HTTP/1.1\r\nx: {}", "y".repeat(64 << 10));
    for bytes in ["", "\r\n\r\n", "\0", "POST", "POST /token HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n", &endless] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(bytes.as_bytes()).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    assert!(sender.send(&push("device-1")).await.is_ok());
}

/// The file with one member changed, or gone.
fn changed(file: &str, name: &str, value: Option<Value>) -> String {
    let mut file: Value = serde_json::from_str(file).unwrap();
    let members = file.as_object_mut().unwrap();
    match value {
        Some(value) => drop(members.insert(name.to_owned(), value)),
        None => drop(members.remove(name)),
    }
    file.to_string()
}

fn refusal(file: &str) -> String {
    let clock = Arc::new(TestClock::at(NOW));
    let options = FcmOptions::new(Sensitive::new(file.to_owned()), clock);
    assert!(!format!("{options:?}").contains("secret"));
    let error = FcmSender::new(options).unwrap_err();
    assert_eq!(error.disposition(), ridgeline_ports::Disposition::Fatal);
    let shown = format!("{error:?} {error}");
    assert!(!shown.contains("secret") && !shown.contains("BEGIN"), "{shown}");
    error.to_string()
}

#[tokio::test]
async fn a_file_that_is_no_service_accounts_is_refused_in_words() {
    let fake = FakeFcm::start(Arc::new(TestClock::at(NOW))).await.unwrap();
    let file = fake.service_account_json().expose().clone();
    for end in 0..file.len() {
        assert_eq!(refusal(&file[..end]), "the service account's file is not a JSON object");
    }
    assert_eq!(refusal("[\"secret\"]"), "the service account's file is not a JSON object");
    assert!(refusal(&" ".repeat(65 << 10)).contains("64 KiB"));
    let small = openssl::rsa::Rsa::generate(1_024).unwrap().private_key_to_pem().unwrap();
    let small = String::from_utf8(small).unwrap();
    let elliptic = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let elliptic = openssl::ec::EcKey::generate(&elliptic).unwrap().private_key_to_pem().unwrap();
    let elliptic = String::from_utf8(elliptic).unwrap();
    let locked = openssl::rsa::Rsa::generate(2_048).unwrap();
    let locked = locked.private_key_to_pem_passphrase(openssl::symm::Cipher::aes_128_cbc(), b"secret").unwrap();
    let locked = String::from_utf8(locked).unwrap();
    for (name, value, words) in [
        ("type", Some(json!("authorized_user")), "another kind of credential"),
        ("private_key", None, "lacks \"private_key\""),
        ("private_key", Some(json!(5)), "lacks \"private_key\""),
        ("private_key", Some(json!("secret")), "no readable \"private_key\""),
        ("private_key", Some(json!(locked)), "no readable \"private_key\""),
        ("private_key", Some(json!(elliptic)), "not RSA"),
        ("private_key", Some(json!(small)), "fewer than 2048 bits"),
        ("client_email", None, "lacks \"client_email\""),
        ("client_email", Some(json!("")), "lacks \"client_email\""),
        ("client_email", Some(json!("a\nsecret")), "lacks \"client_email\""),
        ("token_uri", None, "lacks \"token_uri\""),
        ("token_uri", Some(json!("http://secret.example/token")), "\"token_uri\" that is not https://"),
        ("token_uri", Some(json!("https://me:secret@h/token")), "\"token_uri\" that is not https://"),
        ("token_uri", Some(json!("secret")), "\"token_uri\" that is not https://"),
        ("project_id", None, "lacks \"project_id\""),
        ("project_id", Some(json!("../../secret")), "the project id must have"),
        ("project_id", Some(json!("..")), "the project id must have"),
        ("project_id", Some(json!("p".repeat(101))), "the project id must have"),
    ] {
        let told = refusal(&changed(&file, name, value));
        assert!(told.contains(words), "{name}: {told}");
    }
}

#[tokio::test]
async fn options_that_cannot_work_are_refused() {
    let Stage { clock, fake, .. } = stage().await;
    let good = || options(&fake, clock.clone());
    let made = |options| FcmSender::new(options).map(|_| ()).unwrap_err();
    assert!(matches!(made(FcmOptions { base_url: "secret".to_owned(), ..good() }), SetupError::Address(_)));
    assert!(matches!(made(FcmOptions { base_url: "http://h.example".to_owned(), ..good() }), SetupError::Exposed));
    assert!(matches!(made(FcmOptions { authority: Some("secret".to_owned()), ..good() }), SetupError::Address(_)));
    assert!(matches!(made(FcmOptions { project_id: Some("a/b".to_owned()), ..good() }), SetupError::Project));

    let other = FcmSender::new(FcmOptions { project_id: Some("other".to_owned()), ..good() }).unwrap();
    let what = words(other.send(&push("device-1")).await.unwrap_err());
    assert!(what.contains("the project is unknown"), "{what}");
    let named = FcmSender::new(FcmOptions { project_id: Some(PROJECT.to_owned()), ..good() }).unwrap();
    assert!(named.send(&push("device-1")).await.is_ok());
}
