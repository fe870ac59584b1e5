//! Device authentication in a test: a worker that answers by rote, and tokens that the test signs itself.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use parking_lot::Mutex;
use ridgeline_domain::{
    ActionId, ActionStatus, AuthOperation, DecidedOperation, DeviceId, DurationMs, FamilyId, KeyAlgorithm, Language,
    Liveness, Outcome, Refusal, SessionId, Timestamp, TrustLevel, TrustPolicy, UserId,
};
use ridgeline_gateway::{AuthParts, GatewayLimits};
use ridgeline_identity::{Identity, IdentityConfig};
use ridgeline_ports::{Delivery, EventLog as _, Headers, PlainWrite, RowKey, TailStart};
use ridgeline_runtime::SystemEntropy;
use ridgeline_testkit::memory::Memory;
use ridgeline_vault::command::{CommandBinding, CommandOpener};
use ridgeline_vault::token::{Claims, TokenKey, TokenKind};
use ridgeline_vault::{Aad, KeyRing, Purpose};
use ridgeline_wire::action::ActionReply;
use ridgeline_wire::auth::{
    AuthBody, AuthCommand, AuthReply, ChallengeReply, DeviceReply, PushReply, RemovedReply, TokensReply,
};
use ridgeline_wire::auth_row::{
    AuthAnswerRow, DeviceRow, RevokedRow, SigningKeyEntry, SigningKeysRow, UserDevice, UserDevicesRow, table,
};
use ridgeline_wire::message::Decision;
use ridgeline_wire::{Topic, decode, encode};
use serde_json::Value;

use crate::harness::{Answer, Site, decided};

pub(crate) const ISSUER: &str = "https://ridgeline.example";
pub(crate) const URL: &str = "https://auth.example";
pub(crate) const DEVICE: DeviceId = DeviceId::from_bytes([0xd1; 16]);
pub(crate) const FAMILY: FamilyId = FamilyId::from_bytes([0xf1; 16]);
pub(crate) const ACTION: ActionId = ActionId::from_bytes([0xac; 16]);
pub(crate) const SESSION: SessionId = SessionId::from_bytes([0x51; 16]);

/// What the gateway asked of the workers.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) operation: AuthOperation,
    pub(crate) key: String,
    pub(crate) body: AuthBody,
    pub(crate) headers: Headers,
    pub(crate) request_id: String,
}

/// A refusal and its detail.
type Refused = (Refusal, Option<String>);

/// A gateway with device authentication.
pub(crate) struct AuthSite {
    pub(crate) site: Site,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    /// What the worker refuses with.
    pub(crate) refusal: Arc<Mutex<Option<Refused>>>,
    signing: TokenKey,
    ring: KeyRing,
}

impl AuthSite {
    /// With a worker.
    pub(crate) async fn open() -> Self {
        let site = Self::without_worker(GatewayLimits::default()).await;
        site.start_worker().await;
        site
    }

    pub(crate) async fn without_worker(limits: GatewayLimits) -> Self {
        Self::with(limits, false, &[]).await
    }

    /// Held to rates.
    pub(crate) async fn limited(trusted: &[&str]) -> Self {
        let site = Self::with(GatewayLimits::default(), true, trusted).await;
        site.start_worker().await;
        site
    }

    async fn with(limits: GatewayLimits, rate_limits: bool, trusted: &[&str]) -> Self {
        let trusted_proxies = trusted.iter().map(|proxy| proxy.parse().unwrap()).collect();
        let site = Site::with_auth(limits, URL, |memory: &Memory, ring: &KeyRing| {
            let config = IdentityConfig { issuer: ISSUER.to_owned(), oidc: None };
            AuthParts {
                identity: Identity::new(config, memory.store()).unwrap(),
                commands: ring.command_key().unwrap(),
                sender: "gateway:test".parse().unwrap(),
                rate_limits,
                trust: TrustPolicy::default(),
                trusted_proxies,
            }
        })
        .await;
        let (site, ring) = site;
        let signing = TokenKey::generate(&SystemEntropy).unwrap();
        let entry = SigningKeyEntry {
            kid: signing.public().kid().to_owned(),
            public: signing.public().point_bytes().to_vec(),
            private: Vec::new(),
            signs_from: Timestamp::from_millis(0),
            verifies_until: None,
        };
        let row = encode(&SigningKeysRow { keys: vec![entry] }).unwrap().into();
        let store = site.memory.store();
        store.insert_new(table::SIGNING_KEYS, &RowKey::single("jwt"), row, None).await.unwrap();
        let (asked, refusal) = (Arc::default(), Arc::default());
        Self { site, asked, refusal, signing, ring }
    }

    pub(crate) async fn start_worker(&self) {
        let log = self.site.log.clone();
        let mut tail = log.tail(&Site::topic(Topic::AuthCommands), TailStart::Beginning).await.unwrap();
        let opener = CommandOpener::new(&self.ring).unwrap();
        let (asked, refusal) = (self.asked.clone(), self.refusal.clone());
        let (store, vault) = (self.site.memory.store(), self.site.vault.clone());
        tokio::spawn(async move {
            while let Some(delivery) = tail.deliveries.recv().await {
                let Delivery::Record { record, .. } = delivery else { continue };
                let command: AuthCommand = decode(record.value.as_ref().unwrap()).unwrap();
                let (id, operation) = (command.request_id, command.operation);
                let key = String::from_utf8(record.key.to_vec()).unwrap();
                let binding = CommandBinding { request_id: id, kind: operation.as_str(), key: &key };
                let body = opener.open(&command.body.key_id, &binding, &command.body.sealed).unwrap();
                let body: AuthBody = decode(body.expose()).unwrap();
                let reply = match refusal.lock().clone() {
                    Some((refusal, detail)) => AuthReply { refusal: Some(refusal), detail, ..AuthReply::default() },
                    None => reply(operation, &body),
                };
                let headers = record.headers.clone();
                asked.lock().push(Asked { operation, key, body, headers, request_id: id.to_string() });
                let row_key = RowKey::single(id.to_string());
                let aad = Aad::row("auth_answers", &row_key, "reply");
                let sealed = vault.seal(Purpose::Answer, &aad, &encode(&reply).unwrap(), &SystemEntropy).unwrap();
                let decision = encode(&decision(&command, record.append_time)).unwrap();
                let row = AuthAnswerRow {
                    request_id: id,
                    decision: decision.clone(),
                    audit: Vec::new(),
                    audit_key: String::new(),
                    revocations: Vec::new(),
                    notices: Vec::new(),
                    about: None,
                    reply: sealed,
                };
                let value = encode(&row).unwrap().into();
                store.insert_new(table::AUTH_ANSWERS, &row_key, value, None).await.unwrap();
                // A test may have switched publishing off meanwhile.
                let _ = log.publish(decided(id, decision)).await;
            }
        });
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.site.now()
    }

    pub(crate) fn user(name: &str) -> UserId {
        UserId::new(ISSUER, name).unwrap()
    }

    fn claims(&self, kind: TokenKind, life: DurationMs) -> Claims {
        let now = self.now();
        Claims {
            iss: ISSUER.to_owned(),
            aud: kind.aud().to_owned(),
            sub: "an".to_owned(),
            iat: now,
            exp: now.plus(life),
            jti: "1".to_owned(),
            ..Claims::default()
        }
    }

    fn sign(&self, kind: TokenKind, claims: &Claims) -> String {
        self.signing.sign(kind, claims).unwrap().expose().clone()
    }

    /// A web token of the user `an`.
    pub(crate) fn web(&self) -> String {
        self.sign(TokenKind::Web, &self.claims(TokenKind::Web, DurationMs::from_secs(3_600)))
    }

    pub(crate) fn web_of(&self, sub: &str) -> String {
        let claims = Claims { sub: sub.to_owned(), ..self.claims(TokenKind::Web, DurationMs::from_secs(3_600)) };
        self.sign(TokenKind::Web, &claims)
    }

    pub(crate) fn expired_web(&self) -> String {
        let now = self.now();
        let (iat, exp) = (now.plus(DurationMs::from_secs(-100)), now.plus(DurationMs::from_secs(-11)));
        self.sign(TokenKind::Web, &Claims { iat, exp, ..self.claims(TokenKind::Web, DurationMs::from_secs(1)) })
    }

    fn of_device(&self, kind: TokenKind, jkt: Option<String>) -> String {
        let claims = Claims {
            device_id: Some(DEVICE),
            session_id: Some(SESSION),
            trust_level: Some(TrustLevel::Medium),
            token_family: Some(FAMILY),
            rotation_count: Some(3),
            cnf_jkt: jkt,
            ..self.claims(kind, DurationMs::from_secs(900))
        };
        self.sign(kind, &claims)
    }

    /// An access token of `an`'s device.
    pub(crate) fn access(&self) -> String {
        self.of_device(TokenKind::Access, None)
    }

    /// One that needs a proof.
    pub(crate) fn bound(&self, jkt: String) -> String {
        self.of_device(TokenKind::Access, Some(jkt))
    }

    pub(crate) fn refresh(&self) -> String {
        self.of_device(TokenKind::Refresh, None)
    }

    pub(crate) async fn revoke(&self, key: &str) {
        let row = encode(&RevokedRow { at: self.now(), reason: "test".to_owned() }).unwrap().into();
        let write = PlainWrite { at: self.now(), expires_at: None };
        self.site.memory.store().put(table::REVOKED, &RowKey::single(key), row, write).await.unwrap();
    }

    /// Stores devices of the user `an`.
    pub(crate) async fn with_devices(&self, rows: &[DeviceRow]) {
        let store = self.site.memory.store();
        let user = Self::user("an");
        let devices = rows.iter().map(|row| UserDevice { device_id: row.device_id, fingerprint: vec![] }).collect();
        let list = UserDevicesRow { user: user.clone(), devices, changes: vec![] };
        let key = RowKey::single(user.as_str());
        store.insert_new(table::USER_DEVICES, &key, encode(&list).unwrap().into(), None).await.unwrap();
        for row in rows {
            let key = RowKey::single(row.device_id.to_string());
            store.insert_new(table::DEVICES, &key, encode(row).unwrap().into(), None).await.unwrap();
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        self.site.send(request).await
    }

    pub(crate) async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Answer {
        self.send(call(Method::POST, path, token.map(bearer).as_deref(), Some(body))).await
    }

    pub(crate) fn last(&self) -> Asked {
        self.asked.lock().last().cloned().unwrap()
    }

    pub(crate) fn asked_so_far(&self) -> usize {
        self.asked.lock().len()
    }
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A request to `/api/v1/auth` from one address.
pub(crate) fn call(method: Method, path: &str, authorization: Option<&str>, body: Option<&Value>) -> Request<Body> {
    let mut request =
        Request::builder().method(method).uri(format!("/api/v1/auth{path}")).header("user-agent", "phone/1");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    from("192.0.2.7", request.body(body).unwrap())
}

pub(crate) fn from(address: &str, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address.parse().unwrap(), 4711)));
    request
}

pub(crate) fn device(id: u8, created: Timestamp) -> DeviceRow {
    DeviceRow {
        device_id: DeviceId::from_bytes([id; 16]),
        user: AuthSite::user("an"),
        name: "Điện thoại của Nguyễn".parse().unwrap(),
        device_type: "mobile".parse().unwrap(),
        fingerprint: vec![],
        key_algorithm: KeyAlgorithm::Es256,
        public_key: vec![],
        proof_key: None,
        proof_thumbprint: None,
        language: Language::Vi,
        push_token: None,
        roles: vec![],
        is_active: true,
        registered_by: ridgeline_domain::RequestId::from_bytes([id; 16]),
        removed_by: None,
        last_used_at: created,
        created_at: created,
        updated_at: created,
    }
}

const NOON: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn reply(operation: AuthOperation, body: &AuthBody) -> AuthReply {
    let none = AuthReply::default();
    match operation {
        AuthOperation::RegisterChallenge | AuthOperation::LoginChallenge => AuthReply {
            challenge: Some(ChallengeReply {
                session_id: SESSION,
                challenge: "a-challenge".to_owned(),
                expires_at: NOON,
            }),
            ..none
        },
        AuthOperation::Register => AuthReply {
            device: Some(DeviceReply {
                device_id: DEVICE,
                device_name: "Máy".parse().unwrap(),
                trust_level: TrustLevel::High,
                created_at: NOON,
            }),
            ..none
        },
        AuthOperation::Login | AuthOperation::Refresh | AuthOperation::WebLogin => {
            let device = operation != AuthOperation::WebLogin;
            let remember = device && body.answer.as_ref().is_none_or(|answer| answer.remember);
            AuthReply {
                tokens: Some(TokensReply {
                    access_token: "an.access.token".to_owned(),
                    access_expires_at: NOON,
                    refresh_token: remember.then(|| "a.refresh.token".to_owned()),
                    refresh_expires_at: remember.then_some(NOON),
                    device_id: device.then_some(DEVICE),
                    trust_level: device.then_some(TrustLevel::Medium),
                    session_id: device.then_some(SESSION),
                    bound: operation == AuthOperation::Refresh,
                }),
                ..none
            }
        }
        AuthOperation::RemoveDevice => {
            AuthReply { removed: Some(RemovedReply { device_id: body.device_id.unwrap(), revoked_tokens: 2 }), ..none }
        }
        AuthOperation::SetPushToken => {
            AuthReply { push: Some(PushReply { device_id: body.device_id.unwrap(), updated_at: NOON }), ..none }
        }
        AuthOperation::InitiateAction => {
            let start = body.action.as_ref().unwrap();
            let pending = ActionReply {
                challenge: Some("a-challenge".to_owned()),
                display_code: start.display_code.then(|| "42".to_owned()),
                notified_devices: 2,
                ..action(ACTION, ActionStatus::Pending)
            };
            AuthReply { action: Some(pending), ..none }
        }
        AuthOperation::ApproveAction | AuthOperation::ReceiveAction => {
            AuthReply { action: Some(action(body.action_id.unwrap(), ActionStatus::Pending)), ..none }
        }
        AuthOperation::RejectAction => {
            AuthReply { action: Some(action(body.action_id.unwrap(), ActionStatus::Rejected)), ..none }
        }
        AuthOperation::RedeemAction => {
            let approved = action(body.action_id.unwrap(), ActionStatus::Approved);
            AuthReply { action: Some(ActionReply { redeemed_at: Some(NOON), ..approved }), ..none }
        }
        AuthOperation::Expire | AuthOperation::Revoke | AuthOperation::ExportEvidence => {
            AuthReply { revoked: Some(3), ..none }
        }
    }
}

fn action(action_id: ActionId, status: ActionStatus) -> ActionReply {
    ActionReply {
        action_id,
        status,
        action_type: "payment_approval".parse().unwrap(),
        challenge: None,
        display_code: None,
        expires_at: NOON,
        notified_devices: 0,
        redeemed_at: None,
    }
}

fn decision(command: &AuthCommand, now: Timestamp) -> Decision {
    Decision {
        confirmation_id: command.request_id,
        operation: DecidedOperation::Auth(command.operation),
        modality: None,
        outcome: Outcome::Granted,
        reason: None,
        subject_id: None,
        agent: command.sender.clone(),
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
    }
}
