//! Actions that must be approved (V-3): the story, races of two workers, timers, steps, and what somebody may try.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ridgeline_domain::{ActionId, ActionStatus, AuthOperation, DurationMs, Refusal};
use ridgeline_ports::Entropy as _;
use ridgeline_runtime::SystemEntropy;
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::covers;
use ridgeline_testkit::told::{Hears, Told};
use ridgeline_vault::{Purpose, action_digest};
use ridgeline_wire::action::ActionStart;
use ridgeline_wire::auth::{AuthBody, AuthReply, TokensReply};

use crate::harness::{Phone, Site, about_action, action_of, body, claim, initiate, payment, user_id, vote};

/// A user with a phone that is signed in.
pub(crate) struct Person {
    pub(crate) web: String,
    pub(crate) phone: Phone,
    pub(crate) tokens: TokensReply,
}

impl Person {
    pub(crate) async fn of(site: &Site, name: &str, role: &str) -> Self {
        let web = site.user_with_role(name, role).await;
        let phone = Phone::new(&format!("phone-of-{name}"));
        phone.register(site, &web).await;
        let tokens = phone.login(site).await;
        Self { web, phone, tokens }
    }

    pub(crate) async fn approves(&self, site: &Site, action: ActionId, challenge: &str) -> AuthReply {
        let vote = vote(&self.phone, &self.tokens, action, challenge);
        site.ask(AuthOperation::ApproveAction, Some(action.to_string()), vote).await
    }

    pub(crate) async fn rejects(&self, site: &Site, action: ActionId) -> AuthReply {
        let asked = about_action(&self.tokens.access_token, action, body());
        site.ask(AuthOperation::RejectAction, Some(action.to_string()), asked).await
    }

    pub(crate) async fn redeems(&self, site: &Site, action: ActionId, token: &str) -> AuthReply {
        let asked = AuthBody { action_token: Some(token.to_owned()), ..about_action(&self.web, action, body()) };
        site.ask(AuthOperation::RedeemAction, Some(action.to_string()), asked).await
    }

    pub(crate) async fn starts(&self, site: &Site, start: ActionStart) -> (ActionId, String) {
        let action = initiate(site, &self.web, start).await.action.unwrap();
        (action.action_id, action.challenge.unwrap())
    }
}

pub(crate) async fn token_of(site: &Site, action: ActionId) -> String {
    let row = site.action(action).await;
    site.column(action, Purpose::Answer, "token", &row.token.unwrap())
}

pub(crate) fn status(reply: &AuthReply) -> Option<ActionStatus> {
    reply.action.as_ref().map(|action| action.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_signed_on_the_phone_and_redeemed_once() {
    covers!("R-090", "R-095", "R-116", "R-119", "R-120");
    let site = Site::start().await;
    let linh = Person::of(&site, "linh", "clerk").await;
    let (action, challenge) = linh.starts(&site, payment()).await;
    let bytes = URL_SAFE_NO_PAD.decode(&challenge).unwrap();
    let digest = action_digest("payment_approval", &payment().payload).unwrap();
    assert_eq!((bytes.len(), &bytes[64..]), (96, digest.as_slice()), "what was shown is what is signed");

    assert_eq!(status(&linh.approves(&site, action, &challenge).await), Some(ActionStatus::Approved));
    let row = site.action(action).await;
    assert_eq!(row.approvals[0].device_id, linh.tokens.device_id.unwrap());
    assert!(row.finished_at.is_some());
    let token = token_of(&site, action).await;
    assert_eq!(claim(&token, "confirmation_id"), Some(action.to_string()));
    assert_eq!(claim(&token, "action_type").as_deref(), Some("payment_approval"));
    assert_eq!(claim(&token, "nonce").map(|nonce| nonce.len()), Some(64));
    assert_eq!(row.token_expires_at.unwrap().since(row.finished_at.unwrap()), DurationMs::from_secs(300));

    let redeemed = linh.redeems(&site, action, &token).await.action.unwrap();
    assert!(redeemed.redeemed_at.is_some());
    assert_eq!(linh.redeems(&site, action, &token).await.refusal, Some(Refusal::ActionFinal));
    assert_eq!(linh.approves(&site, action, &challenge).await.refusal, Some(Refusal::ActionFinal));
    assert_eq!(linh.rejects(&site, action).await.refusal, Some(Refusal::ActionFinal));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_is_accounted_for_and_where_it_came_from_is_kept() {
    covers!("R-121", "R-123", "R-124");
    let site = Site::start().await;
    let linh = Person::of(&site, "linh", "clerk").await;
    let (approved, challenge) = linh.starts(&site, payment()).await;
    linh.approves(&site, approved, &challenge).await;
    linh.redeems(&site, approved, &token_of(&site, approved).await).await;
    let (rejected, _) = linh.starts(&site, payment()).await;
    assert_eq!(status(&linh.rejects(&site, rejected).await), Some(ActionStatus::Rejected));
    assert!(site.action(rejected).await.finished_at.is_some());
    let steps = [
        ("auth.initiate_action", approved),
        ("auth.approve_action", approved),
        ("auth.redeem_action", approved),
        ("auth.reject_action", rejected),
    ];
    for (event, action) in steps {
        site.until(async || {
            let audit = site.audit().await;
            audit.iter().any(|(entry, details)| {
                entry.event_type == event
                    && details.as_ref().is_some_and(|details| {
                        details.action_id == Some(action)
                            && details.user == Some(user_id("linh"))
                            && details.address == "192.0.2.7"
                    })
            })
        })
        .await;
    }
    let row = site.action(approved).await;
    let caller = site.vault.open(Purpose::Field, &aad(approved, "caller"), &row.caller).unwrap();
    let caller: ridgeline_wire::auth_row::ClientDetails = ridgeline_wire::decode(caller.expose()).unwrap();
    assert_eq!((caller.address.as_str(), caller.user_agent.as_deref()), ("192.0.2.7", Some("phone/1")));
}

fn aad(action: ActionId, column: &str) -> ridgeline_vault::Aad {
    ridgeline_vault::Aad::new("actions", &action.to_string(), column)
}

/// V-3 with two workers: votes and noes at once, then redemptions at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn v3_of_many_at_once_one_ends_the_action_and_one_redeems_it() {
    let mut site = Site::open(TestClock::running(), None, |ports| ports).await;
    site.work(&["a", "b"]);
    let linh = Person::of(&site, "linh", "clerk").await;
    for round in 0..4 {
        let (action, challenge) = linh.starts(&site, payment()).await;
        let ids: Vec<_> = (0..8).map(|_| SystemEntropy.request_id()).collect();
        for (number, id) in ids.iter().enumerate() {
            let (operation, asked) = if (number + round) % 2 == 0 {
                (AuthOperation::ApproveAction, vote(&linh.phone, &linh.tokens, action, &challenge))
            } else {
                (AuthOperation::RejectAction, about_action(&linh.tokens.access_token, action, body()))
            };
            site.send(*id, operation, &action.to_string(), &asked).await;
        }
        let mut ends = Vec::new();
        for id in &ids {
            ends.extend(status(&site.reply(*id).await));
        }
        assert_eq!(ends.len(), 1, "v3: {ends:?}");
        let row = site.action(action).await;
        assert_eq!(row.status, ends[0]);
        if row.status != ActionStatus::Approved {
            continue;
        }
        let token = token_of(&site, action).await;
        let ids: Vec<_> = (0..8).map(|_| SystemEntropy.request_id()).collect();
        for id in &ids {
            let asked = AuthBody { action_token: Some(token.clone()), ..about_action(&linh.web, action, body()) };
            site.send(*id, AuthOperation::RedeemAction, &action.to_string(), &asked).await;
        }
        let mut redeemed = 0;
        for id in &ids {
            redeemed += usize::from(site.reply(*id).await.action.is_some());
        }
        assert_eq!(redeemed, 1, "exactly one wins");
    }
}

/// Every write of a command in turn is carried out and not acknowledged, so that the command starts over behind it.
#[tokio::test(flavor = "multi_thread")]
async fn d1_v3_a_command_that_starts_over_behind_any_of_its_writes_ends_as_if_it_had_not() {
    const WRITES: i64 = 6;
    let left = Arc::new(AtomicI64::new(-1));
    let counted = left.clone();
    let hears: Hears = Arc::new(move |call| !call.writes_a_row() || counted.fetch_sub(1, Ordering::SeqCst) != 0);
    let mut site =
        Site::open(TestClock::running(), None, |(log, store)| (log, Arc::new(Told { inner: store, hears }))).await;
    site.work(&["a"]);
    let linh = Person::of(&site, "linh", "clerk").await;
    let lose = |number| left.store(number, Ordering::SeqCst);
    for lost in 0..WRITES {
        lose(lost);
        let (action, challenge) = linh.starts(&site, payment()).await;
        lose(lost);
        assert_eq!(status(&linh.approves(&site, action, &challenge).await), Some(ActionStatus::Approved), "{lost}");
        lose(-1);
        let token = token_of(&site, action).await;
        lose(lost);
        assert!(linh.redeems(&site, action, &token).await.action.is_some(), "behind write {lost}");
        lose(lost);
        let (other, _) = linh.starts(&site, payment()).await;
        lose(lost);
        assert_eq!(status(&linh.rejects(&site, other).await), Some(ActionStatus::Rejected), "behind write {lost}");
        lose(lost);
        let guarded = ActionStart { display_code: true, ..payment() };
        let (guarded, challenge) = linh.starts(&site, guarded).await;
        lose(lost);
        assert_eq!(linh.approves(&site, guarded, &challenge).await.refusal, Some(Refusal::WrongDisplayCode));
        lose(-1);
        assert_eq!(site.action(guarded).await.wrong_codes.len(), 1, "behind write {lost}");
        linh.rejects(&site, guarded).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_nothing_to_do_with_an_action_does_not_learn_of_it() {
    let site = Site::start().await;
    let linh = Person::of(&site, "linh", "clerk").await;
    let eve = Person::of(&site, "eve", "clerk").await;
    let (action, challenge) = linh.starts(&site, payment()).await;
    assert_eq!(eve.approves(&site, action, &challenge).await.refusal, Some(Refusal::UnknownAction));
    assert_eq!(eve.rejects(&site, action).await.refusal, Some(Refusal::UnknownAction));
    let made_up = action_of(SystemEntropy.request_id());
    assert_eq!(eve.approves(&site, made_up, &challenge).await.refusal, Some(Refusal::UnknownAction));

    // A vote with another's device id, another's key, or over another action.
    let asked = |body| site.ask(AuthOperation::ApproveAction, Some(action.to_string()), body);
    let mut foreign = vote(&linh.phone, &linh.tokens, action, &challenge);
    foreign.vote.as_mut().unwrap().device_id = eve.tokens.device_id.unwrap();
    assert_eq!(asked(foreign).await.refusal, Some(Refusal::BadCredential));
    assert_eq!(asked(vote(&eve.phone, &linh.tokens, action, &challenge)).await.refusal, Some(Refusal::BadSignature));
    let changed = ActionStart { payload: payment().payload.replace("50000", "5000000"), ..payment() };
    let (other, other_challenge) = linh.starts(&site, changed).await;
    assert_eq!(
        asked(vote(&linh.phone, &linh.tokens, action, &other_challenge)).await.refusal,
        Some(Refusal::BadSignature)
    );

    assert_eq!(status(&linh.approves(&site, action, &challenge).await), Some(ActionStatus::Approved));
    let token = token_of(&site, action).await;
    assert_eq!(eve.redeems(&site, action, &token).await.refusal, Some(Refusal::UnknownAction));
    assert_eq!(status(&linh.approves(&site, other, &other_challenge).await), Some(ActionStatus::Approved));
    assert_eq!(linh.redeems(&site, other, &token).await.refusal, Some(Refusal::BadCredential), "the other's token");
    assert_eq!(linh.redeems(&site, action, &linh.tokens.access_token).await.refusal, Some(Refusal::BadCredential));
    // The same user by another client: another web session.
    let elsewhere = site.web_login("linh@ridgeline.example", crate::harness::PASSWORD).await.tokens.unwrap();
    let elsewhere = Person { web: elsewhere.access_token, phone: Phone::new("x"), tokens: linh.tokens.clone() };
    assert_eq!(elsewhere.redeems(&site, action, &token).await.refusal, Some(Refusal::NotAllowed));
    site.memory.clock().advance(DurationMs::from_secs(301));
    let again = site.web_login("linh@ridgeline.example", crate::harness::PASSWORD).await;
    assert!(again.tokens.is_some());
    assert_eq!(linh.redeems(&site, action, &token).await.refusal, Some(Refusal::TokenExpired), "over");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_may_wait_and_a_wrong_code_three_times_is_a_no() {
    let site = Site::start().await;
    let linh = Person::of(&site, "linh", "clerk").await;
    let guarded = ActionStart { display_code: true, ..payment() };
    let started = initiate(&site, &linh.web, guarded).await.action.unwrap();
    let (action, challenge, code) = (started.action_id, started.challenge.unwrap(), started.display_code.unwrap());
    assert!(code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_digit()));
    let (second, _) = linh.starts(&site, payment()).await;
    linh.starts(&site, payment()).await;
    assert_eq!(initiate(&site, &linh.web, payment()).await.refusal, Some(Refusal::TooManyPending));
    linh.rejects(&site, second).await;
    linh.starts(&site, payment()).await;
    assert_eq!(initiate(&site, &linh.web, payment()).await.refusal, Some(Refusal::TooManyPending));

    let wrong = format!("{:02}", (code.parse::<u32>().unwrap() + 1) % 100);
    let typed = async |code: Option<&str>| {
        let mut asked = vote(&linh.phone, &linh.tokens, action, &challenge);
        asked.vote.as_mut().unwrap().display_code = code.map(ToOwned::to_owned);
        site.ask(AuthOperation::ApproveAction, Some(action.to_string()), asked).await
    };
    assert_eq!(typed(None).await.refusal, Some(Refusal::WrongDisplayCode));
    assert_eq!(typed(Some(&wrong)).await.refusal, Some(Refusal::WrongDisplayCode));
    assert_eq!(site.action(action).await.status, ActionStatus::Pending);
    assert_eq!(typed(Some(&wrong)).await.refusal, Some(Refusal::WrongDisplayCode));
    assert_eq!(site.action(action).await.status, ActionStatus::Rejected);
    assert_eq!(typed(Some(&code)).await.refusal, Some(Refusal::ActionFinal));
    // A place is free again.
    let guarded = initiate(&site, &linh.web, ActionStart { display_code: true, ..payment() }).await.action.unwrap();
    let mut right = vote(&linh.phone, &linh.tokens, guarded.action_id, &guarded.challenge.unwrap());
    right.vote.as_mut().unwrap().display_code = guarded.display_code;
    let approved = site.ask(AuthOperation::ApproveAction, Some(guarded.action_id.to_string()), right).await;
    assert_eq!(status(&approved), Some(ActionStatus::Approved));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_two_readers_could_read_differently_is_refused_by_the_worker_too() {
    let site = Site::start().await;
    let linh = Person::of(&site, "linh", "clerk").await;
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(4_089));
    let deep = format!("{}1{}", "{\"a\":".repeat(17), "}".repeat(17));
    for payload in [&long, &deep, "", "[]", "null", "{", "{\"a\":1,\"a\":2}", "{\"a\":9007199254740993}"] {
        let start = ActionStart { payload: payload.to_string(), ..payment() };
        assert_eq!(initiate(&site, &linh.web, start).await.refusal, Some(Refusal::Invalid), "{payload:.20}");
    }
    let longest = format!("{{\"a\":\"{}\"}}", "x".repeat(4_088));
    linh.starts(&site, ActionStart { payload: longest, ..payment() }).await;
    for life_seconds in [-1, 0, 119, 301, i32::MAX] {
        let start = ActionStart { life_seconds, ..payment() };
        assert_eq!(initiate(&site, &linh.web, start).await.refusal, Some(Refusal::Invalid));
    }
    let access = linh.tokens.access_token.clone();
    assert_eq!(initiate(&site, &access, payment()).await.refusal, Some(Refusal::BadCredential), "U, not B");
    let phoneless = site.user("bob").await;
    assert_eq!(initiate(&site, &phoneless, payment()).await.refusal, Some(Refusal::ApproversMissing));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_the_tokens_of_a_user_a_device_a_family_or_everybody() {
    covers!("R-100");
    let site = Site::start().await;
    let linh = Person::of(&site, "linh", "clerk").await;
    let eve = Person::of(&site, "eve", "clerk").await;
    let refresh = |tokens: &TokensReply| tokens.refresh_token.clone().unwrap();
    // An order that the deployment's keys did not seal.
    let forged = AuthBody {
        credential: Some("0".repeat(64)),
        revocation: Some(ridgeline_wire::action::RevocationOrder {
            kind: "user".to_owned(),
            id: user_id("linh").to_string(),
            before: None,
        }),
        ..body()
    };
    let key = format!("user:{}", user_id("linh"));
    let refused = site.ask(AuthOperation::Revoke, Some(key), forged).await;
    assert_eq!(refused.refusal, Some(Refusal::BadCredential));
    let open = linh.phone.register_challenge(&site, &linh.web).await.challenge.unwrap();
    let family = crate::harness::family_in(&refresh(&linh.tokens));
    let second = linh.phone.login(&site).await;
    assert_eq!(site.revoke("family", &family).await.revoked, Some(1));
    assert_eq!(linh.phone.refresh(&site, &refresh(&linh.tokens)).await.refusal, Some(Refusal::Revoked));
    let second = linh.phone.refresh(&site, &refresh(&second)).await.tokens.unwrap();

    site.memory.clock().advance(DurationMs::from_secs(2));
    site.revoke("user", user_id("linh").as_str()).await.revoked.unwrap();
    site.memory.clock().advance(DurationMs::from_secs(2));
    assert_eq!(linh.phone.refresh(&site, &refresh(&second)).await.refusal, Some(Refusal::Revoked));
    assert_eq!(initiate(&site, &linh.web, payment()).await.refusal, Some(Refusal::Revoked), "web tokens too");
    let late = linh.phone.verify_registration(&site, &open).await;
    assert_eq!(late.refusal, Some(Refusal::Revoked), "a registration that an ended token began");
    let back = linh.phone.login(&site).await;
    assert!(eve.starts(&site, payment()).await.1.len() == 128, "others go on");

    // The family before it is over too, but nobody had marked it.
    assert_eq!(site.revoke("device", &back.device_id.unwrap().to_string()).await.revoked, Some(2));
    assert_eq!(linh.phone.refresh(&site, &refresh(&back)).await.refusal, Some(Refusal::Revoked));
    assert_eq!(site.revoke("device", &"0".repeat(32)).await.refusal, Some(Refusal::UnknownDevice));

    site.memory.clock().advance(DurationMs::from_secs(2));
    // A session that was refreshed since does not outlive what ends its login.
    let refreshed = eve.phone.refresh(&site, &refresh(&eve.tokens)).await.tokens.unwrap();
    let login = site.now().plus(DurationMs::from_secs(-1));
    site.memory.clock().advance(DurationMs::from_secs(2));
    site.revoke_before("all", "", Some(login)).await.revoked.unwrap();
    assert_eq!(eve.phone.refresh(&site, &refresh(&refreshed)).await.refusal, Some(Refusal::Revoked));
    let eve = Person { tokens: eve.phone.login(&site).await, ..eve };
    site.memory.clock().advance(DurationMs::from_secs(2));
    site.revoke("all", "").await.revoked.unwrap();
    site.memory.clock().advance(DurationMs::from_secs(2));
    assert_eq!(eve.phone.refresh(&site, &refresh(&eve.tokens)).await.refusal, Some(Refusal::Revoked));
    assert!(eve.phone.login(&site).await.refresh_token.is_some(), "and signs in again");
}
