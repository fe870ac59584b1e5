//! What users do: register, sign in, refresh.

use ridgeline_domain::{AuthOperation, DurationMs, Outcome, Refusal, TrustLevel};
use ridgeline_ports::Clock as _;
use ridgeline_testkit::covers;
use ridgeline_wire::auth_row::SessionRow;

use crate::harness::{Phone, Site, claim, user_id};

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_registered_signs_in_and_refreshes() {
    covers!("R-063", "R-068", "R-083", "R-093");
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::new("pixel-7");

    let challenge = phone.register_challenge(&site, &web).await.challenge.unwrap();
    assert_eq!(challenge.challenge.len(), 86, "64 bytes in base64url");
    let device = phone.verify_registration(&site, &challenge).await.device.unwrap();
    assert_eq!((device.trust_level, device.device_name.as_str()), (TrustLevel::Medium, "Điện thoại của Nguyễn"));

    let tokens = phone.login(&site).await;
    let now = site.memory.clock().now();
    let caller = site.identity().device(&tokens.access_token, now).await.unwrap();
    assert_eq!((&caller.user, caller.device), (&user_id("linh"), device.device_id));
    assert_eq!(Some(caller.session), tokens.session_id);
    assert!(!tokens.bound && caller.thumbprint.is_none());
    let life = caller.expires_at.since(caller.issued_at);
    assert_eq!(life, DurationMs::from_secs(900));

    let first = tokens.refresh_token.unwrap();
    let held = site.identity().refresh(&first, now).await.unwrap();
    assert_eq!((held.rotation_count, held.expires_at.since(held.issued_at)), (0, DurationMs::from_days(30)));
    let second = phone.refresh(&site, &first).await.tokens.unwrap().refresh_token.unwrap();
    let held_now = site.identity().refresh(&second, now).await.unwrap();
    assert_eq!((held_now.rotation_count, held_now.family), (1, held.family));

    // Decisions say the outcome and nothing else; every step is audited, with where it came from for investigators.
    let decisions = site.decisions().await;
    assert!(decisions.iter().all(|decision| decision.outcome == Outcome::Granted && decision.reason.is_none()));
    let audit = site.audit().await;
    let events: Vec<_> = audit.iter().map(|(entry, _)| entry.event_type.as_str()).collect();
    for event in [
        "auth.web_login",
        "auth.register_challenge",
        "auth.register",
        "auth.login_challenge",
        "auth.login",
        "auth.refresh",
    ] {
        assert!(events.contains(&event), "{event}");
    }
    let (entry, details) = audit.iter().find(|(entry, _)| entry.event_type == "auth.login").unwrap();
    let details = details.as_ref().unwrap();
    assert_eq!(entry.actor, user_id("linh").to_string());
    assert_eq!((details.address.as_str(), details.device_id), ("192.0.2.7", Some(device.device_id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_say_what_their_kind_says() {
    covers!("R-088", "R-089");
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::new("pixel-7");
    let device = phone.register(&site, &web).await.device_id;
    let tokens = phone.login(&site).await;
    let says = |token: &str, name: &str| claim(token, name);
    let access = &tokens.access_token;
    assert_eq!(says(access, "device_id"), Some(device.to_string()));
    assert_eq!(says(access, "auth_method").as_deref(), Some("device_key"));
    assert_eq!(says(access, "trust_level").as_deref(), Some("medium"));
    assert_eq!(says(access, "session_id"), tokens.session_id.map(|session| session.to_string()));
    assert_eq!((says(access, "sub").as_deref(), says(access, "binding").as_deref()), (Some("linh"), Some("none")));
    let refresh = tokens.refresh_token.unwrap();
    assert_eq!(says(&refresh, "token_family"), says(access, "token_family"));
    assert_ne!(says(&refresh, "jti"), says(access, "jti"));
    assert_eq!(tokens.access_expires_at.since(site.memory.clock().now()).0 / 60_000, 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_remember_me_there_is_no_refresh_token() {
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::new("pixel-7");
    phone.register(&site, &web).await;
    let challenge = phone.login_challenge(&site).await;
    let mut answer = phone.answer(&challenge);
    answer.answer.as_mut().unwrap().remember = false;
    let reply = site.ask(AuthOperation::Login, Some(challenge.session_id.to_string()), answer).await;
    let tokens = reply.tokens.unwrap();
    assert!(tokens.refresh_token.is_none() && tokens.refresh_expires_at.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_with_a_proof_key_is_trusted_high_and_its_tokens_are_bound() {
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::bound("pixel-7");
    assert_eq!(phone.register(&site, &web).await.trust_level, TrustLevel::High);
    let tokens = phone.login(&site).await;
    assert!(tokens.bound);
    let caller = site.identity().device(&tokens.access_token, site.memory.clock().now()).await.unwrap();
    assert_eq!(caller.thumbprint, phone.proof.as_ref().map(ridgeline_vault::dpop::DpopKey::thumbprint));
    assert!(phone.refresh(&site, &tokens.refresh_token.unwrap()).await.tokens.unwrap().bound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_in_with_a_password() {
    let site = Site::start().await;
    site.user("linh").await;
    for (email, password) in
        [("linh@ridgeline.example", "wrong password"), ("nobody@ridgeline.example", crate::harness::PASSWORD), ("", "")]
    {
        let reply = site.web_login(email, password).await;
        assert_eq!((reply.refusal, reply.tokens.is_none()), (Some(Refusal::BadCredential), true), "{email}");
    }
    let reply = site.web_login(" LINH@Ridgeline.Example ", crate::harness::PASSWORD).await;
    let token = reply.tokens.unwrap().access_token;
    let caller = site.identity().user(&token, site.memory.clock().now()).await.unwrap();
    assert_eq!((caller.user, caller.roles), (user_id("linh"), vec!["clerk".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_remembers_where_it_came_from_and_when_it_was_verified() {
    covers!("R-066", "R-067");
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::new("pixel-7");
    phone.register(&site, &web).await;
    let challenge = phone.login_challenge(&site).await;
    let read = async || {
        let key = ridgeline_ports::RowKey::single(challenge.session_id.to_string());
        let row = site.store.get(ridgeline_wire::auth_row::table::SESSIONS, &key).await.unwrap().unwrap();
        ridgeline_wire::decode::<SessionRow>(&row.value).unwrap()
    };
    assert!(read().await.verified_at.is_none());
    phone.verify_login(&site, &challenge).await.tokens.unwrap();
    let row = read().await;
    assert!(row.verified_at.is_some() && row.consumed_by.is_some() && !row.client.is_empty());
    assert_eq!(row.expires_at.since(row.created_at), DurationMs::from_secs(120));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_plaintext_on_disk_or_on_public_topics() {
    covers!("R-065");
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::new("a-rather-long-fingerprint-of-a-phone");
    let challenge = phone.register_challenge(&site, &web).await.challenge.unwrap();
    let device = phone.verify_registration(&site, &challenge).await.device.unwrap();
    let push = "push-token-of-the-phone";
    let asked = ridgeline_wire::auth::AuthBody {
        push_token: Some(push.to_owned()),
        ..crate::harness::device_body(&web, device.device_id)
    };
    site.ask(AuthOperation::SetPushToken, Some(device.device_id.to_string()), asked).await.push.unwrap();
    let tokens = phone.login(&site).await;
    let pem = phone.registration().public_key;
    let der_line = pem.lines().nth(1).unwrap().to_owned();
    let secrets = [
        web.clone(),
        challenge.challenge,
        tokens.access_token,
        tokens.refresh_token.unwrap(),
        push.to_owned(),
        phone.fingerprint.clone(),
        der_line,
        crate::harness::PASSWORD.to_owned(),
    ];
    let files = bytes_in(site.memory.dir());
    assert!(files.len() > 1_000);
    for secret in &secrets {
        let found = files.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "p2: one of the secrets of {} characters is readable on disk", secret.len());
    }
}

/// Every file below a directory, one after the other.
fn bytes_in(dir: &std::path::Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_in(&path));
        } else {
            all.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
    all
}
