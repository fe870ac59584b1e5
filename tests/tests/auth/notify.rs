//! Phones are told over HTTP by a server that behaves like FCM, and initiating clients by the address they named.

use std::sync::Arc;

use parking_lot::Mutex;
use ridgeline_domain::{ActionId, ActionStatus, AuthOperation, DeliveryStatus, DeviceId, DurationMs};
use ridgeline_egress::{Untrusted, UntrustedOptions};
use ridgeline_ports::PushSender;
use ridgeline_push::fake::{FakeFcm, Reply};
use ridgeline_push::{FcmOptions, FcmSender};
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::covers;
use ridgeline_vault::evidence::check_evidence;
use ridgeline_vault::order_seal;
use ridgeline_wire::action::ActionStart;
use ridgeline_wire::auth::AuthBody;
use ridgeline_wire::auth_row::{DeviceRow, table};
use ridgeline_workers::NotifyParts;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::actions::Person;
use crate::harness::{Phone, Site, about_action, body, payment};

fn callbacks() -> Untrusted {
    Untrusted::new(UntrustedOptions { allow_private: true, ..UntrustedOptions::default() }).unwrap()
}

/// A service with an auth worker and a notify worker, and the server it pushes to.
async fn site() -> (Site, FakeFcm) {
    let mut site = Site::open(TestClock::running(), None, |ports| ports).await;
    site.work(&["a"]);
    let fcm = FakeFcm::start(site.memory.clock()).await.unwrap();
    let mut options = FcmOptions::new(fcm.service_account_json(), site.memory.clock());
    options.base_url = fcm.base_url().to_owned();
    let push: Arc<dyn PushSender> = Arc::new(FcmSender::new(options).unwrap());
    site.tell(NotifyParts { push: Some(push), callbacks: callbacks(), callback_pause: DurationMs(200) });
    (site, fcm)
}

/// Linh with phones that are told, by these push tokens.
async fn phones(site: &Site, tokens: &[&str]) -> (Person, Vec<DeviceId>) {
    let linh = Person::of(site, "linh", "clerk").await;
    let mut devices = vec![linh.tokens.device_id.unwrap()];
    for number in 1..tokens.len() {
        devices.push(Phone::new(&format!("phone-{number}")).register(site, &linh.web).await.device_id);
    }
    for (device, token) in devices.iter().zip(tokens) {
        site.push_token(&linh.web, *device, token).await;
    }
    (linh, devices)
}

async fn status(site: &Site, action: ActionId, device: DeviceId) -> Option<DeliveryStatus> {
    let all = site.deliveries(action).await;
    all.into_iter().find(|(who, _)| *who == device.to_string()).map(|(_, row)| row.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_device_is_told_and_ones_failure_stops_no_other() {
    covers!("R-127", "R-129", "R-130", "R-137", "R-138");
    let (site, fcm) = site().await;
    fcm.reply_always("gone", Reply::Unregistered);
    fcm.reply_always("wrong", Reply::Invalid);
    fcm.reply("slow", Reply::Busy("1".to_owned()), 1);
    fcm.reply("broken", Reply::Broken, 2);
    let (linh, devices) = phones(&site, &["good", "gone", "wrong", "slow", "broken"]).await;
    let (action, challenge) = linh.starts(&site, payment()).await;
    for (place, ends) in [(0, true), (1, false), (2, false), (3, true), (4, true)] {
        let ends = if ends { DeliveryStatus::Sent } else { DeliveryStatus::Failed };
        site.until(async || status(&site, action, devices[place]).await == Some(ends)).await;
    }
    let rows = site.deliveries(action).await;
    let row =
        |place: usize| rows.iter().find(|(who, _)| *who == devices[place].to_string()).map(|(_, row)| row).unwrap();
    assert!(row(0).message_id.is_some() && row(0).sent_at.is_some() && row(0).error.is_none());
    assert!(row(1).message_id.is_none() && row(1).error.as_deref().is_some_and(|error| error.contains("no longer")));
    assert_eq!((row(3).attempts, row(4).attempts), (2, 3), "tried again");
    assert_eq!(row(0).expires_at, site.action(action).await.expires_at, "its record ends with the confirmation");
    let taken = fcm.taken();
    assert_eq!(taken.len(), 3);
    let first = &taken.iter().find(|taken| taken.token == "good").unwrap().message;
    assert_eq!(first["data"]["confirmationId"], action.to_string());
    assert_eq!(first["notification"]["body"].as_str().unwrap(), "Payment of ₫50,000 to: Nguyễn Văn A");
    // A token that leads nowhere is dropped.
    let dropped = async |place: usize| {
        let key = ridgeline_ports::RowKey::single(devices[place].to_string());
        let row = site.store.get(table::DEVICES, &key).await.unwrap().unwrap();
        ridgeline_wire::decode::<DeviceRow>(&row.value).unwrap().push_token.is_none()
    };
    assert!(dropped(1).await && !dropped(0).await && !dropped(2).await);
    site.until(async || {
        let audit = site.audit().await;
        let of = |outcome: &str| {
            audit
                .iter()
                .filter(|(entry, _)| entry.event_type == "notify.confirmation_request" && entry.outcome == outcome)
                .count()
        };
        of("sent") == 3 && of("failed") == 2
    })
    .await;
    // The device says that it has shown it.
    let received = about_action(&linh.tokens.access_token, action, body());
    site.ask(AuthOperation::ReceiveAction, Some(action.to_string()), received).await.action.unwrap();
    assert_eq!(status(&site, action, devices[0]).await, Some(DeliveryStatus::Delivered));
    linh.approves(&site, action, &challenge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_until_the_end_is_not_sent_after_it() {
    let (site, fcm) = site().await;
    fcm.reply_always("away", Reply::Away("20".to_owned()));
    let (linh, devices) = phones(&site, &["away"]).await;
    let (action, _) = linh.starts(&site, payment()).await;
    site.until(async || site.deliveries(action).await.first().is_some_and(|(_, row)| row.attempts > 0)).await;
    assert_eq!(
        status(&site, action, devices[0]).await,
        Some(DeliveryStatus::Pending),
        "{:?}",
        site.deliveries(action).await[0].1.error
    );
    site.memory.clock().advance(DurationMs::from_secs(301));
    site.until(async || site.action(action).await.status == ActionStatus::Expired).await;
    site.until(async || status(&site, action, devices[0]).await == Some(DeliveryStatus::Failed)).await;
    assert!(fcm.taken().is_empty());
    // And what was decided before it could be sent is not sent either.
    fcm.reply("late", Reply::Away("2".to_owned()), 1);
    site.push_token(
        &site.web_login("linh@ridgeline.example", crate::harness::PASSWORD).await.tokens.unwrap().access_token,
        devices[0],
        "late",
    )
    .await;
    let again = linh.phone.login(&site).await;
    let linh = Person { tokens: again, ..linh };
    let (action, _) = linh.starts(&site, payment()).await;
    site.until(async || site.deliveries(action).await.first().is_some_and(|(_, row)| row.attempts == 1)).await;
    linh.rejects(&site, action).await.action.unwrap();
    site.until(async || status(&site, action, devices[0]).await == Some(DeliveryStatus::Failed)).await;
    assert!(fcm.taken().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_starts_over_repeats_no_notification_that_was_noted() {
    let (mut site, fcm) = site().await;
    let (linh, devices) = phones(&site, &["good"]).await;
    let (action, _) = linh.starts(&site, payment()).await;
    site.until(async || status(&site, action, devices[0]).await == Some(DeliveryStatus::Sent)).await;
    site.rest().await;
    crate::redelivery::rewind(&site, ridgeline_wire::Topic::Notifications, "notify").await;
    let mut options = FcmOptions::new(fcm.service_account_json(), site.memory.clock());
    options.base_url = fcm.base_url().to_owned();
    site.tell(NotifyParts {
        push: Some(Arc::new(FcmSender::new(options).unwrap())),
        callbacks: callbacks(),
        callback_pause: DurationMs(200),
    });
    // Accounted for again under the same id, and not sent.
    site.until(async || {
        let audit = site.audit().await;
        audit.iter().filter(|(entry, _)| entry.event_type == "notify.confirmation_request").count() == 2
    })
    .await;
    assert_eq!(fcm.taken().len(), 1);
}

/// Answers each request with the next status, and keeps the bodies.
async fn client(statuses: &'static [u16]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/confirmed?secret=x", listener.local_addr().unwrap());
    let bodies: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = bodies.clone();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
            loop {
                let read = socket.read(&mut buffer).await.unwrap();
                seen.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&seen).to_lowercase();
                let Some(head) = text.find("\r\n\r\n") else { continue };
                let length = text
                    .split("content-length: ")
                    .nth(1)
                    .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
                if read == 0 || seen.len() >= head + 4 + length.unwrap_or(0) {
                    break;
                }
            }
            let text = String::from_utf8(seen).unwrap();
            kept.lock().push(text.split("\r\n\r\n").nth(1).unwrap().to_owned());
            let status = statuses.get(number).or(statuses.last()).unwrap();
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, bodies)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_initiating_client_is_told_at_most_three_times_and_signed() {
    let (site, _fcm) = site().await;
    let linh = Person::of(&site, "linh", "clerk").await;
    let ended = async |action| {
        let all = site.deliveries(action).await;
        all.into_iter().find(|(who, _)| who == "callback").map(|(_, row)| row)
    };
    let (url, bodies) = client(&[503, 202]).await;
    let (action, challenge) = linh.starts(&site, ActionStart { callback_url: Some(url), ..payment() }).await;
    linh.approves(&site, action, &challenge).await;
    site.until(async || ended(action).await.is_some_and(|row| row.status == DeliveryStatus::Delivered)).await;
    let statements = bodies.lock().clone();
    assert_eq!(statements.len(), 2);
    assert_eq!(statements[0], statements[1], "the same statement");
    let claim = |name| crate::harness::claim(&statements[0], name);
    assert_eq!((claim("status").as_deref(), claim("confirmationId")), (Some("approved"), Some(action.to_string())));
    assert!(!statements[0].contains("50000"), "what it was about is not in it");

    let (url, bodies) = client(&[500]).await;
    let (action, _) = linh.starts(&site, ActionStart { callback_url: Some(url), ..payment() }).await;
    linh.rejects(&site, action).await;
    site.until(async || ended(action).await.is_some_and(|row| row.status == DeliveryStatus::Failed)).await;
    let calls = bodies.lock().len();
    assert_eq!((calls, ended(action).await.unwrap().attempts), (3, 3));

    // One that says no is not asked again.
    let (url, bodies) = client(&[410]).await;
    let (action, _) = linh.starts(&site, ActionStart { callback_url: Some(url), ..payment() }).await;
    linh.rejects(&site, action).await;
    site.until(async || ended(action).await.is_some_and(|row| row.status == DeliveryStatus::Failed)).await;
    assert_eq!(bodies.lock().len(), 1);
    let error = ended(action).await.unwrap().error.unwrap();
    assert!(error.contains("410") && !error.contains("secret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_holds_what_was_shown_signed_and_by_whom() {
    covers!("R-311");
    let (site, _fcm) = site().await;
    let linh = Person::of(&site, "linh", "clerk").await;
    let (action, challenge) = linh.starts(&site, payment()).await;
    linh.approves(&site, action, &challenge).await;
    let export = async |sealed: bool| {
        let id = ridgeline_ports::Entropy::request_id(&ridgeline_runtime::SystemEntropy);
        let credential =
            if sealed { order_seal(&site.vault, id, "evidence", &action.to_string()) } else { "0".repeat(64) };
        let asked = AuthBody { action_id: Some(action), credential: Some(credential), ..body() };
        site.send(id, AuthOperation::ExportEvidence, &action.to_string(), &asked).await;
        site.reply(id).await
    };
    assert!(export(false).await.evidence.is_none(), "only by an order");
    let file = export(true).await.evidence.unwrap();
    let jwks = site.identity().jwks(ridgeline_ports::Clock::now(&*site.memory.clock())).await.unwrap();
    let proven = check_evidence(&file, &jwks).unwrap();
    assert_eq!((proven.action, proven.status), (action.to_string(), ActionStatus::Approved));
    assert_eq!(proven.payload, payment().payload);
    assert_eq!(proven.approvers, ["linh"]);
}
