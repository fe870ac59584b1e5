//! What must never yield a token.

use ridgeline_domain::{AuthOperation, DurationMs, Refusal, Severity};
use ridgeline_ports::{Entropy as _, NewRecord};
use ridgeline_runtime::SystemEntropy;
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::covers;
use ridgeline_wire::Topic;
use ridgeline_wire::auth::{AuthBody, ChallengeAnswer};

use crate::harness::{Phone, Site, body, family_in, session_of};

#[tokio::test(flavor = "multi_thread")]
async fn v2_a_challenge_is_answered_once() {
    covers!("R-071");
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::new("pixel-7");
    let registration = phone.register_challenge(&site, &web).await.challenge.unwrap();
    phone.verify_registration(&site, &registration).await.device.unwrap();
    assert_eq!(phone.verify_registration(&site, &registration).await.refusal, Some(Refusal::ChallengeUsed));

    let login = phone.login_challenge(&site).await;
    assert!(phone.verify_login(&site, &login).await.tokens.is_some());
    let again = phone.verify_login(&site, &login).await;
    assert_eq!((again.refusal, again.tokens.is_none()), (Some(Refusal::ChallengeUsed), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_a_challenge_is_answered_in_time_by_the_logs_clock() {
    covers!("R-062", "R-070");
    // The worker believes it is ten minutes later, then ten minutes earlier, than the log does.
    for off in [DurationMs::from_secs(600), DurationMs(-600_000)] {
        let clock = TestClock::running();
        clock.advance(off);
        let mut site = Site::open(TestClock::running(), Some(clock), |ports| ports).await;
        site.work(&["a"]);
        let web = site.user("linh").await;
        let phone = Phone::new("pixel-7");
        let registration = phone.register_challenge(&site, &web).await.challenge.unwrap();
        site.memory.clock().advance(DurationMs::from_secs(290));
        phone.verify_registration(&site, &registration).await.device.unwrap();
        let login = phone.login_challenge(&site).await;
        site.memory.clock().advance(DurationMs::from_secs(110));
        assert!(phone.verify_login(&site, &login).await.tokens.is_some());

        let login = phone.login_challenge(&site).await;
        site.memory.clock().advance(DurationMs::from_secs(121));
        assert_eq!(phone.verify_login(&site, &login).await.refusal, Some(Refusal::ChallengeExpired));
        let web = site.web_login("linh@ridgeline.example", crate::harness::PASSWORD).await.tokens.unwrap().access_token;
        let late = Phone::new("pixel-8");
        let registration = late.register_challenge(&site, &web).await.challenge.unwrap();
        site.memory.clock().advance(DurationMs::from_secs(301));
        assert_eq!(late.verify_registration(&site, &registration).await.refusal, Some(Refusal::ChallengeExpired));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_or_another_session_does_not_answer() {
    covers!("R-064");
    let site = Site::start().await;
    let web = site.user("linh").await;
    let (phone, thief) = (Phone::new("pixel-7"), Phone::new("pixel-7"));
    phone.register(&site, &web).await;
    let challenge = phone.login_challenge(&site).await;
    assert_eq!(thief.verify_login(&site, &challenge).await.refusal, Some(Refusal::BadSignature));
    // A signature of one challenge under another session.
    let other = phone.login_challenge(&site).await;
    let signature = phone.sign(&challenge.challenge);
    let answer = ChallengeAnswer { session_id: other.session_id, signature, remember: true };
    let asked = AuthBody { answer: Some(answer), ..body() };
    let reply = site.ask(AuthOperation::Login, Some(other.session_id.to_string()), asked).await;
    assert_eq!(reply.refusal, Some(Refusal::BadSignature));
    // A login's answer does not register, nor the other way round.
    let reply =
        site.ask(AuthOperation::Register, Some(challenge.session_id.to_string()), phone.answer(&challenge)).await;
    assert_eq!(reply.refusal, Some(Refusal::UnknownSession));
    for garbage in ["", "!!!", "AAAA", &"A".repeat(684)] {
        let answer =
            ChallengeAnswer { session_id: challenge.session_id, signature: garbage.to_owned(), remember: true };
        let asked = AuthBody { answer: Some(answer), ..body() };
        let reply = site.ask(AuthOperation::Login, Some(challenge.session_id.to_string()), asked).await;
        assert_eq!(reply.refusal, Some(Refusal::BadSignature), "{garbage}");
    }
    // None of it used the challenge up.
    assert!(phone.verify_login(&site, &challenge).await.tokens.is_some());
    // A session that never was.
    let unknown = session_of(SystemEntropy.request_id());
    let answer = ChallengeAnswer { session_id: unknown, signature: phone.sign("x"), remember: true };
    let reply =
        site.ask(AuthOperation::Login, Some(unknown.to_string()), AuthBody { answer: Some(answer), ..body() }).await;
    assert_eq!(reply.refusal, Some(Refusal::UnknownSession));
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_stolen_refresh_token_ends_its_family_and_only_that() {
    covers!("R-094");
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::new("pixel-7");
    phone.register(&site, &web).await;
    let (stolen, other) =
        (phone.login(&site).await.refresh_token.unwrap(), phone.login(&site).await.refresh_token.unwrap());
    let owners = phone.refresh(&site, &stolen).await.tokens.unwrap().refresh_token.unwrap();
    // The thief comes second: both lose.
    assert_eq!(phone.refresh(&site, &stolen).await.refusal, Some(Refusal::RefreshTokenReused));
    assert_eq!(phone.refresh(&site, &owners).await.refusal, Some(Refusal::Revoked));
    assert!(phone.refresh(&site, &other).await.tokens.is_some(), "the other family lives");
    let audit = site.audit().await;
    let critical: Vec<_> = audit
        .iter()
        .filter(|(_, details)| details.as_ref().is_some_and(|d| d.severity == Severity::Critical))
        .collect();
    assert_eq!(critical.len(), 1);
    assert_eq!(critical[0].0.reason.as_deref(), Some("refresh_token_reused"));
    // Gateways hear of it.
    let revocations: Vec<ridgeline_wire::auth::Revocation> = site.all(Topic::Revocations).await;
    let families: Vec<_> = revocations.iter().filter(|one| one.kind == "family").map(|one| one.id.clone()).collect();
    assert_eq!(families, [family_in(&stolen)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_with_a_proof_a_lost_answer_is_forgiven_and_without_one_it_is_theft() {
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::bound("pixel-7");
    phone.register(&site, &web).await;
    let first = phone.login(&site).await.refresh_token.unwrap();
    let given = phone.refresh(&site, &first).await.tokens.unwrap();
    let again = phone.refresh(&site, &first).await.tokens.unwrap();
    assert!(given == again, "the same tokens, byte for byte");
    // Without a proof the live token is refused and nothing ends.
    let live = again.refresh_token.unwrap();
    let bare =
        Phone { proof: None, ..Phone { key: phone.key.clone(), proof: None, fingerprint: phone.fingerprint.clone() } };
    assert_eq!(bare.refresh(&site, &live).await.refusal, Some(Refusal::BadProof));
    // After the grace the predecessor ends the family, proof or not.
    site.memory.clock().advance(DurationMs::from_secs(31));
    assert_eq!(phone.refresh(&site, &first).await.refusal, Some(Refusal::RefreshTokenReused));
    assert_eq!(phone.refresh(&site, &live).await.refusal, Some(Refusal::Revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_works_once() {
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::bound("pixel-7");
    phone.register(&site, &web).await;
    let token = phone.login(&site).await.refresh_token.unwrap();
    let proof = phone.proof(&site, "/api/v1/auth/mobile/refresh");
    let ask = |token: String| {
        let asked = AuthBody { refresh_token: Some(token.clone()), proof: proof.clone(), ..body() };
        site.ask(AuthOperation::Refresh, Some(family_in(&token)), asked)
    };
    let next = ask(token).await.tokens.unwrap().refresh_token.unwrap();
    assert_eq!(ask(next).await.refusal, Some(Refusal::BadProof));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_do_not_pass_for_each_other() {
    covers!("R-091");
    let site = Site::start().await;
    let web = site.user("linh").await;
    let phone = Phone::new("pixel-7");
    let device = phone.register(&site, &web).await.device_id;
    let tokens = phone.login(&site).await;
    let (access, refresh) = (tokens.access_token, tokens.refresh_token.unwrap());
    for wrong in [&access, &web] {
        let asked = AuthBody { refresh_token: Some(wrong.clone()), ..body() };
        let reply = site.ask(AuthOperation::Refresh, Some(family_in(&refresh)), asked).await;
        assert_eq!(reply.refusal, Some(Refusal::BadCredential));
    }
    for wrong in [&access, &refresh] {
        assert_eq!(phone.register_challenge(&site, wrong).await.refusal, Some(Refusal::BadCredential));
    }
    let asked = crate::harness::device_body(&refresh, device);
    let reply = site.ask(AuthOperation::RemoveDevice, Some(device.to_string()), asked).await;
    assert_eq!(reply.refusal, Some(Refusal::BadCredential));
    // A refresh token under another family's key.
    let asked = AuthBody { refresh_token: Some(refresh.clone()), ..body() };
    let reply = site.ask(AuthOperation::Refresh, Some("0".repeat(32)), asked).await;
    assert_eq!(reply.refusal, Some(Refusal::BadCredential));
    assert!(phone.refresh(&site, &refresh).await.tokens.is_some(), "nothing of it ended the family");
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_what_is_no_command_is_buried_and_nothing_is_answered_under_its_id() {
    let site = Site::start().await;
    let record = |key: &str, value: Option<Vec<u8>>| NewRecord {
        topic: Topic::AuthCommands.name(""),
        partition: None,
        key: key.to_owned().into(),
        value: value.map(Into::into),
        headers: Vec::new(),
    };
    let id = SystemEntropy.request_id();
    let good = site.sealed(id, AuthOperation::LoginChallenge, &session_of(id).to_string(), &body());
    let bytes = good.value.clone().unwrap().to_vec();
    // A tombstone, garbage, a truncated command, one under a foreign key, and one that lacks what its operation needs.
    site.log.publish(record("k", None)).await.unwrap();
    site.log.publish(record("k", Some(b"garbage".to_vec()))).await.unwrap();
    site.log.publish(record(&session_of(id).to_string(), Some(bytes[..bytes.len() - 1].to_vec()))).await.unwrap();
    site.log.publish(record("elsewhere", Some(bytes.clone()))).await.unwrap();
    site.log.publish(good).await.unwrap();
    site.until(async || site.dead().await.len() == 5).await;
    let audit = site.audit().await;
    assert_eq!(audit.iter().filter(|(entry, _)| entry.event_type == "record.refused").count(), 5);
    assert!(site.decisions().await.is_empty());
    // The worker goes on.
    assert!(!site.user("linh").await.is_empty());
}
