use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use ridgeline_domain::{DeviceId, DurationMs, FamilyId, SessionId, TrustLevel};
use ridgeline_ports::{Cas, Disposition, RowKey};
use ridgeline_runtime::SystemEntropy;
use ridgeline_testkit::memory::Memory;
use ridgeline_testkit::stall::{Stall, StallStore};
use ridgeline_vault::token::{Claims, Jwks, TokenKey};
use ridgeline_wire::auth_row::{SigningKeyEntry, SigningKeysRow, table};

use super::*;
use crate::subject_of;

const ISSUER: &str = "ridgeline";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const PROVIDER: &str = "https://id.example";

/// A store with keys, and how often it was asked.
struct Site {
    _memory: Memory,
    store: Arc<dyn Store>,
    reads: Stall,
}

impl Site {
    async fn new() -> Self {
        let memory = Memory::open();
        memory.store().ensure_tables(&[table::SIGNING_KEYS]).await.unwrap();
        let reads = Stall::default();
        let store = Arc::new(StallStore { inner: memory.store(), stall: reads.clone() });
        Self { _memory: memory, store, reads }
    }

    async fn with(keys: &[&TokenKey]) -> Self {
        let site = Self::new().await;
        site.put(SigningKeysRow { keys: keys.iter().map(|key| entry(key)).collect() }).await;
        site
    }

    async fn put(&self, row: SigningKeysRow) {
        let value: bytes::Bytes = ridgeline_wire::encode(&row).unwrap().into();
        let key = RowKey::single("jwt");
        let inserted = self.store.insert_new(table::SIGNING_KEYS, &key, value.clone(), None).await.unwrap();
        if let Cas::Conflict(Some(there)) = inserted {
            self.store.replace(table::SIGNING_KEYS, &key, there.version, value, None).await.unwrap();
        }
    }

    fn identity(&self, oidc: Option<OidcConfig>) -> Identity {
        Identity::new(IdentityConfig { issuer: ISSUER.to_owned(), oidc }, self.store.clone()).unwrap()
    }
}

fn key() -> TokenKey {
    TokenKey::generate(&SystemEntropy).unwrap()
}

fn entry(key: &TokenKey) -> SigningKeyEntry {
    let public = key.public();
    SigningKeyEntry {
        kid: public.kid().to_owned(),
        public: public.point_bytes().to_vec(),
        private: Vec::new(),
        signs_from: NOW,
        verifies_until: None,
    }
}

fn claims(kind: TokenKind) -> Claims {
    Claims {
        iss: ISSUER.to_owned(),
        aud: kind.aud().to_owned(),
        sub: "u1".to_owned(),
        iat: NOW,
        exp: NOW.plus(DurationMs::from_secs(900)),
        jti: "j".to_owned(),
        ..Claims::default()
    }
}

fn device_claims(kind: TokenKind) -> Claims {
    Claims {
        device_id: Some(DeviceId::from_bytes([1; 16])),
        session_id: Some(SessionId::from_bytes([2; 16])),
        trust_level: Some(TrustLevel::Medium),
        token_family: Some(FamilyId::from_bytes([3; 16])),
        rotation_count: Some(7),
        cnf_jkt: Some("thumb".to_owned()),
        ..claims(kind)
    }
}

fn sign(key: &TokenKey, kind: TokenKind, claims: &Claims) -> String {
    key.sign(kind, claims).unwrap().expose().clone()
}

fn is_refused<T>(result: &Result<T, IdentityError>) -> bool {
    matches!(result, Err(error @ IdentityError::Refused(_)) if error.disposition() == Disposition::Poison)
}

fn is_unavailable<T>(result: &Result<T, IdentityError>) -> bool {
    matches!(result, Err(error @ IdentityError::Unavailable(_)) if error.disposition() == Disposition::Retry)
}

#[tokio::test]
async fn each_kind_of_token_says_whose_it_is_and_passes_for_no_other() {
    let key = key();
    let site = Site::with(&[&key]).await;
    let identity = site.identity(None);
    let web = Claims {
        roles: vec!["approver".to_owned()],
        client_id: Some("erp".to_owned()),
        sid: Some("s".to_owned()),
        ..claims(TokenKind::Web)
    };
    let web = sign(&key, TokenKind::Web, &web);
    let access = sign(&key, TokenKind::Access, &device_claims(TokenKind::Access));
    let refresh = sign(&key, TokenKind::Refresh, &device_claims(TokenKind::Refresh));
    let action = sign(&key, TokenKind::Action, &device_claims(TokenKind::Action));
    let ours = UserId::new(ISSUER, "u1").unwrap();

    let user = identity.user(&web, NOW).await.unwrap();
    assert_eq!((&user.user, user.client.as_str(), user.roles), (&ours, "erp", vec!["approver".to_owned()]));
    assert_eq!((user.issued_at, user.expires_at.since(NOW)), (NOW, DurationMs::from_secs(900)));
    let device = identity.device(&access, NOW).await.unwrap();
    assert_eq!(
        (&device.user, device.device, device.session),
        (&ours, DeviceId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]))
    );
    assert_eq!((device.family, device.trust), (Some(FamilyId::from_bytes([3; 16])), TrustLevel::Medium));
    assert_eq!(device.thumbprint.as_deref(), Some("thumb"));
    let again = identity.refresh(&refresh, NOW).await.unwrap();
    assert_eq!((again.family, again.rotation_count), (FamilyId::from_bytes([3; 16]), 7));

    for (token, kind) in [(&web, 0), (&access, 1), (&refresh, 2), (&action, 3)] {
        assert_eq!(is_refused(&identity.user(token, NOW).await), kind != 0);
        assert_eq!(is_refused(&identity.device(token, NOW).await), kind != 1);
        assert_eq!(is_refused(&identity.refresh(token, NOW).await), kind != 2);
        for length in 0..token.len() {
            assert!(is_refused(&identity.user(&token[..length], NOW).await));
        }
    }
    let stranger = sign(&self::key(), TokenKind::Web, &claims(TokenKind::Web));
    assert!(is_refused(&identity.user(&stranger, NOW).await));
    assert!(is_refused(&identity.user(&web, NOW.plus(DurationMs::from_secs(911))).await));
}

#[tokio::test]
async fn a_token_of_a_device_names_device_session_and_trust_and_to_refresh_family_and_generation() {
    let key = key();
    let site = Site::with(&[&key]).await;
    let identity = site.identity(None);
    let without: [fn(&mut Claims); 5] = [
        |claims| claims.device_id = None,
        |claims| claims.session_id = None,
        |claims| claims.trust_level = None,
        |claims| claims.token_family = None,
        |claims| claims.rotation_count = None,
    ];
    let (mut access, mut refresh) = (Vec::new(), Vec::new());
    for take in without {
        let mut claims = device_claims(TokenKind::Access);
        take(&mut claims);
        access.push(identity.device(&sign(&key, TokenKind::Access, &claims), NOW).await.is_ok());
        let mut claims = device_claims(TokenKind::Refresh);
        take(&mut claims);
        refresh.push(identity.refresh(&sign(&key, TokenKind::Refresh, &claims), NOW).await.is_ok());
    }
    assert_eq!(access, [false, false, false, true, true]);
    assert_eq!(refresh, [false, false, true, false, false]);
}

#[tokio::test]
async fn a_subject_is_read_back_as_it_was_written() {
    let key = key();
    let site = Site::with(&[&key]).await;
    let identity = site.identity(None);
    for (issuer, subject, text) in [
        (ISSUER, "u1", "u1"),
        (ISSUER, "a|b", "ridgeline|a|b"),
        (PROVIDER, "17", "https://id.example|17"),
        (PROVIDER, "ridgeline|u1", "https://id.example|ridgeline|u1"),
    ] {
        let user = UserId::new(issuer, subject).unwrap();
        assert_eq!(subject_of(&user, ISSUER), text);
        let claims = Claims { sub: text.to_owned(), ..device_claims(TokenKind::Access) };
        let caller = identity.device(&sign(&key, TokenKind::Access, &claims), NOW).await.unwrap();
        assert_eq!(caller.user, user);
    }
    for sub in ["|", "a b", "\u{111}", &"u".repeat(254)] {
        let claims = Claims { sub: sub.to_owned(), ..device_claims(TokenKind::Access) };
        let Ok(token) = key.sign(TokenKind::Access, &claims) else { continue };
        assert!(is_refused(&identity.device(token.expose(), NOW).await), "{sub}");
    }
}

#[tokio::test]
async fn a_key_counts_until_its_time_and_the_set_shows_those_that_count() {
    let (old, new, next) = (key(), key(), key());
    let ends = NOW.plus(DurationMs::from_secs(60));
    let mut row = SigningKeysRow { keys: vec![entry(&old), entry(&new), entry(&next)] };
    row.keys[0].verifies_until = Some(ends);
    row.keys[2].signs_from = NOW.plus(DurationMs::from_secs(3_600));
    let site = Site::new().await;
    site.put(row).await;
    let identity = site.identity(None);
    let token = sign(&old, TokenKind::Web, &claims(TokenKind::Web));
    let just_before = ends.plus(DurationMs(-1));
    assert!(identity.user(&token, just_before).await.is_ok());
    assert!(is_refused(&identity.user(&token, ends).await), "though the token itself is not over");
    for (now, shown) in [(just_before, [true, true, true]), (ends, [false, true, true])] {
        let jwks = identity.jwks(now).await.unwrap();
        assert_eq!([&old, &new, &next].map(|key| jwks.contains(key.public().kid())), shown, "{jwks}");
    }
}

#[tokio::test]
async fn a_key_made_since_is_found_at_once_and_strangers_cost_no_more_than_a_read() {
    let (first, second) = (key(), key());
    let site = Site::new().await;
    let identity = site.identity(None);
    assert_eq!(identity.jwks(NOW).await.unwrap(), Jwks(Vec::new()).to_json());
    // Not within the pause after the first reading.
    tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
    site.put(SigningKeysRow { keys: vec![entry(&first)] }).await;
    let before = site.reads.calls();
    let token = sign(&first, TokenKind::Web, &claims(TokenKind::Web));
    assert!(identity.user(&token, NOW).await.is_ok());
    assert_eq!(site.reads.calls(), before + 1);
    let stranger = sign(&second, TokenKind::Web, &claims(TokenKind::Web));
    for _ in 0..5 {
        assert!(is_refused(&identity.user(&stranger, NOW).await));
    }
    assert!(identity.clone().user(&token, NOW).await.is_ok());
    assert!(site.reads.calls() <= before + 2);
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_no_refusal() {
    let key = key();
    let token = sign(&key, TokenKind::Web, &claims(TokenKind::Web));
    let away = Memory::open();
    let identity = Identity::new(IdentityConfig { issuer: ISSUER.to_owned(), oidc: None }, away.store()).unwrap();
    assert!(is_unavailable(&identity.user(&token, NOW).await), "its tables were never made");
    assert!(is_unavailable(&identity.jwks(NOW).await));
    let good = ridgeline_wire::encode(&SigningKeysRow { keys: vec![entry(&key)] }).unwrap();
    let mut renamed = SigningKeysRow { keys: vec![entry(&key)] };
    renamed.keys[0].kid = "another".to_owned();
    let mut off_curve = SigningKeysRow { keys: vec![entry(&key)] };
    off_curve.keys[0].public[64] ^= 1;
    for value in [
        good[..good.len() - 1].to_vec(),
        Vec::new(),
        ridgeline_wire::encode(&renamed).unwrap(),
        ridgeline_wire::encode(&off_curve).unwrap(),
    ] {
        let site = Site::new().await;
        site.store.insert_new(table::SIGNING_KEYS, &RowKey::single("jwt"), value.into(), None).await.unwrap();
        assert!(is_unavailable(&site.identity(None).user(&token, NOW).await));
    }
}

#[test]
fn what_cannot_be_an_issuer_is_refused() {
    let store = Memory::open().store();
    let oidc = |issuer: &str| OidcConfig {
        issuer: issuer.to_owned(),
        audience: "erp".to_owned(),
        jwks_url: "https://id.example/keys".to_owned(),
        authority: None,
    };
    for (issuer, oidc) in [("", None), ("a|b", None), ("a b", None), (PROVIDER, Some(oidc(PROVIDER)))] {
        let made = Identity::new(IdentityConfig { issuer: issuer.to_owned(), oidc }, store.clone());
        assert!(matches!(made, Err(error @ IdentityError::Config { .. }) if error.disposition() == Disposition::Fatal));
    }
}

#[test]
fn futures_of_an_identity_go_to_any_thread() {
    fn any_thread<T: Send>(_: T) {}
    let identity =
        Identity::new(IdentityConfig { issuer: ISSUER.to_owned(), oidc: None }, Memory::open().store()).unwrap();
    any_thread(identity.user("", NOW));
    any_thread(identity.device("", NOW));
    any_thread(identity.refresh("", NOW));
    any_thread(identity.jwks(NOW));
}

/// Answers one request after the other with these, then is gone.
struct Server {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn new(answers: Vec<(u16, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let answers = Mutex::new(VecDeque::from(answers));
        let counter = asked.clone();
        std::thread::spawn(move || {
            while let Some((status, body)) = { answers.lock().pop_front() } {
                let Ok((mut socket, _)) = listener.accept() else { return };
                let mut head = [0; 2_048];
                let length = socket.read(&mut head).unwrap_or_default();
                assert!(head[..length].starts_with(b"GET /keys HTTP/1.1\r\n"));
                counter.fetch_add(1, Ordering::SeqCst);
                let length = body.len();
                let text =
                    format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
                // A client that has read enough may have gone.
                let _ = socket.write_all(text.as_bytes());
            }
        });
        Self { url, asked }
    }

    fn config(&self) -> OidcConfig {
        OidcConfig {
            issuer: PROVIDER.to_owned(),
            audience: AUDIENCE.to_owned(),
            jwks_url: self.url.clone(),
            authority: None,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

const AUDIENCE: &str = "ridgeline:web";

fn provided(sub: &str) -> Claims {
    Claims { iss: PROVIDER.to_owned(), sub: sub.to_owned(), azp: Some("spa".to_owned()), ..claims(TokenKind::Web) }
}

fn jwks(keys: &[&TokenKey]) -> (u16, String) {
    (200, Jwks(keys.iter().map(|key| key.public().clone()).collect()).to_json())
}

#[tokio::test]
async fn users_of_the_provider_are_its_own_and_ours_are_ours() {
    let (ours, theirs) = (key(), key());
    let site = Site::with(&[&ours]).await;
    let server = Server::new(vec![jwks(&[&theirs])]);
    let identity = site.identity(Some(server.config()));
    let own = sign(&ours, TokenKind::Web, &claims(TokenKind::Web));
    assert_eq!(identity.user(&own, NOW).await.unwrap().user, UserId::new(ISSUER, "u1").unwrap());
    assert_eq!(server.asked(), 0, "for a token of ours nobody else is asked");
    for sub in ["u1", "ridgeline|u1", "auth0|17"] {
        let caller = identity.user(&sign(&theirs, TokenKind::Web, &provided(sub)), NOW).await.unwrap();
        assert_eq!((caller.user, caller.client.as_str()), (UserId::new(PROVIDER, sub).unwrap(), "spa"));
    }
    assert_eq!(server.asked(), 1);

    let forged = [
        sign(&theirs, TokenKind::Web, &claims(TokenKind::Web)),
        sign(&ours, TokenKind::Web, &provided("u1")),
        sign(&theirs, TokenKind::Access, &Claims { iss: PROVIDER.to_owned(), ..claims(TokenKind::Access) }),
        sign(&theirs, TokenKind::Web, &Claims { iss: "https://id.example/".to_owned(), ..provided("u1") }),
        sign(&theirs, TokenKind::Web, &provided("\u{111}")),
        sign(&key(), TokenKind::Web, &provided("u1")),
    ];
    for token in forged {
        assert!(is_refused(&identity.user(&token, NOW).await));
    }
    let device = Claims { iss: PROVIDER.to_owned(), ..device_claims(TokenKind::Access) };
    assert!(is_refused(&identity.device(&sign(&theirs, TokenKind::Access, &device), NOW).await));
    // The server has gone; its last keys stay.
    assert!(identity.user(&sign(&theirs, TokenKind::Web, &provided("u1")), NOW).await.is_ok());
}

#[tokio::test]
async fn a_provider_that_is_away_or_answers_nonsense_keeps_only_its_own_users_waiting() {
    let (ours, theirs) = (key(), key());
    let site = Site::with(&[&ours]).await;
    let good = jwks(&[&theirs]).1;
    for answer in [
        (500, good.clone()),
        (302, good.clone()),
        (204, String::new()),
        (200, "nonsense".to_owned()),
        (200, good[..good.len() - 1].to_owned()),
        (200, format!("{good}{}", " ".repeat(256 << 10))),
    ] {
        let server = Server::new(vec![answer]);
        let identity = site.identity(Some(server.config()));
        let token = sign(&theirs, TokenKind::Web, &provided("u1"));
        let result = identity.user(&token, NOW).await;
        assert!(is_unavailable(&result), "{result:?}");
        assert!(is_unavailable(&identity.user(&token, NOW).await), "and it is not asked again at once");
        assert_eq!(server.asked(), 1);
        assert!(identity.user(&sign(&ours, TokenKind::Web, &claims(TokenKind::Web)), NOW).await.is_ok());
        assert!(is_refused(&identity.user("no token", NOW).await));
    }
}
