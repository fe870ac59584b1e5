//! Devices of users: one for each installation, shared fingerprints, decoys, removal.

use std::sync::Arc;

use parking_lot::Mutex;
use ridgeline_domain::{AuthOperation, Refusal};
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::covers;
use ridgeline_testkit::told::{Call, Hears, Told};
use ridgeline_wire::auth::AuthBody;

use crate::harness::{Phone, Site, device_body};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_installation_again_replaces_its_device_and_ends_its_sessions() {
    covers!("R-079");
    let site = Site::start().await;
    let web = site.user("linh").await;
    let (old, new) = (Phone::new("pixel-7"), Phone::new("pixel-7"));
    let first = old.register(&site, &web).await.device_id;
    let token = old.login(&site).await.refresh_token.unwrap();
    let challenge = new.register_challenge(&site, &web).await.challenge.unwrap();
    assert!(old.refresh(&site, &token).await.tokens.is_some(), "until the signature verifies nothing changes");
    let second = new.verify_registration(&site, &challenge).await.device.unwrap().device_id;
    assert_ne!(first, second);
    let challenge = old.login_challenge(&site).await;
    assert_eq!(old.verify_login(&site, &challenge).await.refusal, Some(Refusal::BadSignature));
    assert_eq!(old.refresh(&site, &token).await.refusal, Some(Refusal::Revoked));
    new.login(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_installation() {
    let site = Site::start().await;
    let (linh, minh) = (site.user("linh").await, site.user("minh").await);
    let phone = Phone::new("pixel-7");
    phone.register(&site, &linh).await;
    let copy = Phone { key: phone.key.clone(), proof: None, fingerprint: "pixel-8".to_owned() };
    for web in [&linh, &minh] {
        let challenge = copy.register_challenge(&site, web).await.challenge.unwrap();
        assert_eq!(copy.verify_registration(&site, &challenge).await.refusal, Some(Refusal::KeyInUse));
    }
    // The same installation may register its key again.
    phone.register(&site, &linh).await;
    phone.login(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_devices_are_enough() {
    let site = Site::start().await;
    let web = site.user("linh").await;
    for number in 0..20 {
        Phone::new(&format!("phone-{number}")).register(&site, &web).await;
    }
    let one_more = Phone::new("phone-20");
    let challenge = one_more.register_challenge(&site, &web).await.challenge.unwrap();
    assert_eq!(one_more.verify_registration(&site, &challenge).await.refusal, Some(Refusal::TooManyDevices));
    Phone::new("phone-3").register(&site, &web).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_may_share_a_fingerprint_and_the_signature_decides() {
    let site = Site::start().await;
    let mut phones = Vec::new();
    for name in ["linh", "minh", "an"] {
        let web = site.user(name).await;
        let phone = Phone::new("kiosk-build-7");
        let device = phone.register(&site, &web).await.device_id;
        phones.push((phone, device));
    }
    for (phone, device) in &phones {
        assert_eq!(phone.login(&site).await.device_id, Some(*device));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_and_its_tokens_are_over() {
    covers!("R-077");
    let site = Site::start().await;
    let (web, foreign) = (site.user("linh").await, site.user("minh").await);
    let phone = Phone::new("pixel-7");
    let device = phone.register(&site, &web).await.device_id;
    let (one, two) = (phone.login(&site).await, phone.login(&site).await);
    let remove = |web: &str| site.ask(AuthOperation::RemoveDevice, Some(device.to_string()), device_body(web, device));
    assert_eq!(remove(&foreign).await.refusal, Some(Refusal::UnknownDevice), "another user's");
    let removed = remove(&web).await.removed.unwrap();
    assert_eq!((removed.device_id, removed.revoked_tokens), (device, 2));
    assert_eq!(remove(&web).await.refusal, Some(Refusal::UnknownDevice), "gone already");
    for tokens in [one, two] {
        assert_eq!(phone.refresh(&site, &tokens.refresh_token.unwrap()).await.refusal, Some(Refusal::Revoked));
    }
    let challenge = phone.login_challenge(&site).await;
    assert_eq!(phone.verify_login(&site, &challenge).await.refusal, Some(Refusal::BadSignature));
    let revocations: Vec<ridgeline_wire::auth::Revocation> = site.all(ridgeline_wire::Topic::Revocations).await;
    assert!(revocations.iter().any(|one| one.kind == "device" && one.id == device.to_string()));
    // The installation may come back.
    phone.register(&site, &web).await;
    phone.login(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_token_is_set_by_the_device_itself_or_by_its_user() {
    covers!("R-078");
    let site = Site::start().await;
    let web = site.user("linh").await;
    let (phone, other) = (Phone::new("pixel-7"), Phone::new("pixel-8"));
    let (device, second) = (phone.register(&site, &web).await.device_id, other.register(&site, &web).await.device_id);
    let access = phone.login(&site).await.access_token;
    let set = |credential: &str, device: ridgeline_domain::DeviceId| {
        let asked = AuthBody { push_token: Some("token".to_owned()), ..device_body(credential, device) };
        site.ask(AuthOperation::SetPushToken, Some(device.to_string()), asked)
    };
    assert!(set(&access, device).await.push.is_some());
    assert!(set(&web, second).await.push.is_some());
    assert_eq!(set(&access, second).await.refusal, Some(Refusal::BadCredential), "another device's");
    assert_eq!(set("garbage", device).await.refusal, Some(Refusal::BadCredential));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_phone_proves_itself_when_it_removes_itself() {
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::bound("pixel-7");
    let device = phone.register(&site, &web).await.device_id;
    let tokens = phone.login(&site).await;
    let access = tokens.access_token;
    let remove = |proof: Option<String>| {
        let asked = AuthBody { proof, ..device_body(&access, device) };
        site.ask(AuthOperation::RemoveDevice, Some(device.to_string()), asked)
    };
    assert_eq!(remove(None).await.refusal, Some(Refusal::BadProof));
    let url = format!("{}/api/v1/auth/devices/{device}", crate::harness::URL);
    let now = ridgeline_ports::Clock::now(&*site.memory.clock());
    let key = phone.proof.as_ref().unwrap();
    let prove = |method| key.prove(method, &url, now, Some(&access), &ridgeline_runtime::SystemEntropy);
    assert_eq!(remove(Some(prove("PUT"))).await.refusal, Some(Refusal::BadProof));
    assert!(remove(Some(prove("DELETE"))).await.removed.is_some());
    assert_eq!(remove(Some(prove("DELETE"))).await.refusal, Some(Refusal::Revoked));
}

/// Calls, tables, topics and sizes between asking for a challenge and the answer to it.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_fingerprint_looks_like_a_known_one() {
    let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
    let heard = calls.clone();
    let hears: Hears = Arc::new(move |call| {
        heard.lock().push(call.clone());
        true
    });
    let mut site = Site::open(TestClock::running(), None, |(log, store)| {
        (Arc::new(Told { inner: log, hears: hears.clone() }), Arc::new(Told { inner: store, hears: hears.clone() }))
    })
    .await;
    site.work(&["a"]);
    let web = site.user("linh").await;
    let known = Phone::new("fingerprint-0001");
    known.register(&site, &web).await;
    // The thief knows the fingerprint, not the key: for both the answer is refused alike.
    let thief = Phone::new("fingerprint-0001");
    let unknown = Phone::new("fingerprint-0002");
    let mut seen = Vec::new();
    // Web login and the two calls of the registration have been told by then.
    site.until(async || site.decisions().await.len() == 3).await;
    for phone in [&thief, &unknown] {
        calls.lock().clear();
        let challenge = phone.login_challenge(&site).await;
        assert_eq!(challenge.challenge.len(), 86);
        let reply = phone.verify_login(&site, &challenge).await;
        assert_eq!((reply.refusal, reply.detail), (Some(Refusal::BadSignature), None));
        let expected = 2;
        site.until(async || calls.lock().iter().filter(|call| call.place == "decisions").count() == expected).await;
        seen.push(
            calls
                .lock()
                .iter()
                .filter(|call| !["revocations", "auth.commands", "sweeps"].contains(&call.place.as_str()))
                // What is due is looked through meanwhile.
                .filter(|call| (call.what, call.place.as_str()) != ("range", "due_by_minute"))
                .cloned()
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].len() > 8, "{:?}", seen[0]);
}
