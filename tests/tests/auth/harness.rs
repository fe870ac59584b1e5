//! An auth worker in a directory of its own, a gateway's side of its topics, and phones.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::SigningKey as PhoneKey;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use parking_lot::RwLock;
use ridgeline_domain::{
    ActionId, AuthOperation, DeviceId, KeyAlgorithm, Policy, RequestId, Sensitive, SessionId, Timestamp, TrustPolicy,
    UserId,
};
use ridgeline_flow::auth::ApprovalPolicy;
use ridgeline_identity::{Identity, IdentityConfig};
use ridgeline_ports::{Cas, Delivery, Entropy, EventLog, NewRecord, RowKey, Store, TailStart};
use ridgeline_runtime::{CpuPool, Health, Limits, LogTime, SystemEntropy};
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::memory::Memory;
use ridgeline_vault::command::{CommandBinding, CommandOpener};
use ridgeline_vault::dpop::DpopKey;
use ridgeline_vault::{Aad, AgentRegistry, KeyRing, Purpose, SampleOpener, Vault, derive_id, order_seal, password};
use ridgeline_wire::action::{ActionStart, ActionVote, RevocationOrder};
use ridgeline_wire::action_row::{ActionRow, DeliveryRow, table as actions};
use ridgeline_wire::auth::{
    AuthBody, AuthCommand, AuthReply, ChallengeAnswer, ChallengeReply, DeviceReply, LoginStart, PasswordLogin,
    Registration, TokensReply,
};
use ridgeline_wire::auth_row::{AuditDetails, AuthAnswerRow, UserRow, table};
use ridgeline_wire::message::{Audit, DeadLetter, Decision, SealedPart};
use ridgeline_wire::row::table as tables;
use ridgeline_wire::{Topic, Topology, decode, encode};
use ridgeline_workers::{AuthConfig, AuthParts, NotifyParts, Platform, run_auth, run_notify};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const ISSUER: &str = "https://ridgeline.example";
pub(crate) const URL: &str = "https://auth.example";
pub(crate) const PASSWORD: &str = "correct horse battery";
/// Long enough for a loaded machine; a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Log and store.
pub(crate) type Ports = (Arc<dyn EventLog>, Arc<dyn Store>);

/// A service with one auth worker or several.
pub(crate) struct Site {
    pub(crate) memory: Memory,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) vault: Vault,
    ring: KeyRing,
    platform: Arc<Platform>,
    /// Who must approve what; read when a worker starts.
    pub(crate) approvals: ApprovalPolicy,
    stop: CancellationToken,
    workers: JoinSet<()>,
}

impl Site {
    /// One worker, its clock that of the log.
    pub(crate) async fn start() -> Self {
        let mut site = Self::open(TestClock::running(), None, |ports| ports).await;
        site.work(&["a"]);
        site
    }

    /// Log and store without a worker. `wrap` may look at what goes through them; `clock` is what workers believe.
    pub(crate) async fn open(
        log_clock: TestClock,
        clock: Option<TestClock>,
        wrap: impl FnOnce(Ports) -> Ports,
    ) -> Self {
        let memory = Memory::with(log_clock, |_| {});
        let (log, store) = (memory.log(), memory.store());
        for topic in Topic::ALL {
            log.ensure_topic(&topic.spec("", Topology::Embedded)).await.unwrap();
        }
        store.ensure_tables(tables::ALL).await.unwrap();
        let (log, store) = wrap((log, store));
        let mut ring = KeyRing::create(&SystemEntropy).unwrap();
        ring.ensure_command_keys(&SystemEntropy).unwrap();
        let vault = Vault::new(ring.clone());
        let platform = Arc::new(Platform {
            log: log.clone(),
            store: store.clone(),
            vault: vault.clone(),
            opener: SampleOpener::new(&ring),
            agents: Arc::new(RwLock::new(AgentRegistry::new())),
            refresh_agents: None,
            policy: Policy::default(),
            clock: clock.map_or_else(|| memory.clock() as Arc<_>, |clock| Arc::new(clock) as Arc<_>),
            log_time: LogTime::default(),
            entropy: Arc::new(SystemEntropy),
            cpu: CpuPool::with_default_threads().unwrap(),
            prefix: String::new(),
            health: Health::new(),
            limits: Limits::default(),
        });
        let stop = CancellationToken::new();
        Self {
            memory,
            log,
            store,
            vault,
            ring,
            platform,
            approvals: ApprovalPolicy::default(),
            stop,
            workers: JoinSet::new(),
        }
    }

    /// Starts a worker for each member.
    pub(crate) fn work(&mut self, members: &[&str]) {
        for member in members {
            let (platform, stop, member) = (self.platform.clone(), self.stop.clone(), (*member).to_owned());
            let parts = AuthParts {
                opener: CommandOpener::new(&self.ring).unwrap(),
                commands: self.ring.command_key().unwrap(),
                sender: "auth:test".parse().unwrap(),
                identity: self.identity(),
                config: AuthConfig {
                    issuer: ISSUER.to_owned(),
                    public_url: URL.to_owned(),
                    trust: TrustPolicy::default(),
                    approvals: self.approvals.clone(),
                    private_callbacks: true,
                },
            };
            self.workers.spawn(async move { run_auth(platform, parts, &member, stop).await.unwrap() });
        }
    }

    /// Says where notifications of a device go.
    pub(crate) async fn push_token(&self, web: &str, device: DeviceId, token: &str) {
        let asked = AuthBody { push_token: Some(token.to_owned()), ..device_body(web, device) };
        self.ask(AuthOperation::SetPushToken, Some(device.to_string()), asked).await.push.unwrap();
    }

    /// Starts a notify worker.
    pub(crate) fn tell(&mut self, parts: NotifyParts) {
        let (platform, stop) = (self.platform.clone(), self.stop.clone());
        self.workers.spawn(async move { run_notify(platform, parts, "n", stop).await.unwrap() });
    }

    /// The stored deliveries of an action, by device or `callback`.
    pub(crate) async fn deliveries(&self, action: ActionId) -> Vec<(String, DeliveryRow)> {
        let rows = self.memory.store().range(actions::NOTIFICATIONS, &action.to_string(), None, 100).await.unwrap();
        rows.into_iter().map(|(key, row)| (key.clustering, decode(&row.value).unwrap())).collect()
    }

    /// Lets all workers finish; log and store stay.
    pub(crate) async fn rest(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.workers.join_next().await {
            ended.unwrap();
        }
        self.stop = CancellationToken::new();
    }

    pub(crate) fn identity(&self) -> Identity {
        let config = IdentityConfig { issuer: ISSUER.to_owned(), oidc: None };
        Identity::new(config, self.store.clone()).unwrap()
    }

    /// Publishes a command as a gateway does.
    pub(crate) async fn send(&self, id: RequestId, operation: AuthOperation, key: &str, body: &AuthBody) {
        let record = self.sealed(id, operation, key, body);
        self.log.publish(record).await.unwrap();
    }

    pub(crate) fn sealed(&self, id: RequestId, operation: AuthOperation, key: &str, body: &AuthBody) -> NewRecord {
        let binding = CommandBinding { request_id: id, kind: operation.as_str(), key };
        let seal = self.ring.command_key().unwrap();
        let sealed = seal.seal(&binding, &encode(body).unwrap(), &SystemEntropy).unwrap();
        let body = SealedPart { key_id: sealed.key_id, sealed: sealed.bytes };
        let command = AuthCommand { request_id: id, operation, sender: "gateway:test".parse().unwrap(), body };
        NewRecord {
            topic: Topic::AuthCommands.name(""),
            partition: None,
            key: key.to_owned().into(),
            value: Some(encode(&command).unwrap().into()),
            headers: Vec::new(),
        }
    }

    /// The stored answer of a request, once it is there.
    pub(crate) async fn reply(&self, id: RequestId) -> AuthReply {
        self.row_of(id).await.1
    }

    pub(crate) async fn row_of(&self, id: RequestId) -> (AuthAnswerRow, AuthReply) {
        let key = RowKey::single(id.to_string());
        let started = tokio::time::Instant::now();
        loop {
            if let Some(row) = self.memory.store().get(table::AUTH_ANSWERS, &key).await.unwrap() {
                let row: AuthAnswerRow = decode(&row.value).unwrap();
                let aad = Aad::new(table::AUTH_ANSWERS.name, &id.to_string(), "reply");
                let reply = self.vault.open(Purpose::Answer, &aad, &row.reply).unwrap();
                return (row, decode(reply.expose()).unwrap());
            }
            assert!(started.elapsed() < PATIENCE, "no answer");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Sends a command under the key of its aggregate and waits for the answer.
    pub(crate) async fn ask(&self, operation: AuthOperation, key: Option<String>, body: AuthBody) -> AuthReply {
        let id = SystemEntropy.request_id();
        let key = key.unwrap_or_else(|| session_of(id).to_string());
        self.send(id, operation, &key, &body).await;
        self.reply(id).await
    }

    /// Adds a user of the service's own and signs in: a web token.
    pub(crate) async fn user(&self, name: &str) -> String {
        self.user_with_role(name, "clerk").await
    }

    pub(crate) async fn user_with_role(&self, name: &str, role: &str) -> String {
        let email = format!("{name}@ridgeline.example");
        let row = UserRow {
            user_id: name.to_owned(),
            email: email.clone(),
            password: password::hash(&Sensitive::new(PASSWORD.to_owned()), &SystemEntropy).unwrap(),
            roles: vec![role.to_owned()],
            department: None,
            disabled: false,
            created_at: Timestamp::from_millis(0),
        };
        let added =
            self.store.insert_new(table::USERS, &RowKey::single(&email), encode(&row).unwrap().into(), None).await;
        assert!(matches!(added.unwrap(), Cas::Applied(_)));
        self.web_login(&email, PASSWORD).await.tokens.unwrap().access_token
    }

    /// The log's time.
    pub(crate) fn now(&self) -> Timestamp {
        use ridgeline_ports::Clock as _;
        self.memory.clock().now()
    }

    /// A web token for a user who was given and then lost all roles.
    pub(crate) async fn web_token_without_roles(&self, name: &str) -> String {
        let email = format!("{name}@ridgeline.example");
        let key = RowKey::single(&email);
        let found = self.store.get(table::USERS, &key).await.unwrap().unwrap();
        let row = UserRow { roles: vec![], ..decode(&found.value).unwrap() };
        self.store.replace(table::USERS, &key, found.version, encode(&row).unwrap().into(), None).await.unwrap();
        self.web_login(&email, PASSWORD).await.tokens.unwrap().access_token
    }

    pub(crate) async fn web_login(&self, email: &str, password: &str) -> AuthReply {
        let password = PasswordLogin { email: email.to_owned(), password: password.to_owned() };
        self.ask(AuthOperation::WebLogin, None, AuthBody { password: Some(password), ..body() }).await
    }

    /// An order of an operator, sealed as a gateway seals it.
    pub(crate) async fn revoke(&self, kind: &str, id: &str) -> AuthReply {
        self.revoke_before(kind, id, None).await
    }

    pub(crate) async fn revoke_before(&self, kind: &str, id: &str, before: Option<Timestamp>) -> AuthReply {
        let request = SystemEntropy.request_id();
        let credential = Some(order_seal(&self.vault, request, kind, id));
        let order = RevocationOrder { kind: kind.to_owned(), id: id.to_owned(), before };
        let body = AuthBody { credential, revocation: Some(order), ..body() };
        self.send(request, AuthOperation::Revoke, &format!("{kind}:{id}"), &body).await;
        self.reply(request).await
    }

    /// The stored row of an action.
    pub(crate) async fn action(&self, id: ActionId) -> ActionRow {
        let key = RowKey::single(id.to_string());
        let row = self.memory.store().get(actions::ACTIONS, &key).await.unwrap().unwrap();
        decode(&row.value).unwrap()
    }

    /// What a column of it says.
    pub(crate) fn column(&self, id: ActionId, purpose: Purpose, column: &str, ciphertext: &[u8]) -> String {
        let aad = Aad::new(actions::ACTIONS.name, &id.to_string(), column);
        String::from_utf8(self.vault.open(purpose, &aad, ciphertext).unwrap().expose().clone()).unwrap()
    }

    /// All records of a topic so far.
    pub(crate) async fn all<T: ridgeline_wire::Encoded>(&self, topic: Topic) -> Vec<T> {
        let ends = self.log.end_offsets(&topic.name("")).await.unwrap();
        let mut tail = self.memory.log().tail(&topic.name(""), TailStart::Beginning).await.unwrap();
        let mut left: u64 = ends.iter().map(|end| end.0).sum();
        let mut all = Vec::new();
        while left > 0 {
            if let Some(Delivery::Record { record, .. }) = tail.deliveries.recv().await {
                left -= 1;
                all.extend(record.value.map(|value| decode::<T>(&value).unwrap()));
            }
        }
        all
    }

    pub(crate) async fn decisions(&self) -> Vec<Decision> {
        self.all(Topic::Decisions).await
    }

    /// Audit entries with their details opened.
    pub(crate) async fn audit(&self) -> Vec<(Audit, Option<AuditDetails>)> {
        let entries: Vec<Audit> = self.all(Topic::Audit).await;
        let opened = entries.into_iter().map(|entry| {
            let details = entry.details.as_ref().map(|sealed| {
                let aad = Aad::new("audit", &entry.event_id, "details");
                decode(self.vault.open(Purpose::Field, &aad, sealed).unwrap().expose()).unwrap()
            });
            (entry, details)
        });
        opened.collect()
    }

    pub(crate) async fn dead(&self) -> Vec<DeadLetter> {
        self.all(Topic::DeadLetters).await
    }

    /// Waits until `holds` says so.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, holds: impl Fn() -> F) {
        let started = tokio::time::Instant::now();
        while !holds().await {
            assert!(started.elapsed() < PATIENCE, "waited in vain");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The id of the session that a request opens, which is also the key of its command.
pub(crate) fn session_of(id: RequestId) -> SessionId {
    SessionId::from_bytes(derive_id("session", id))
}

/// A command's body with nothing asked yet.
pub(crate) fn body() -> AuthBody {
    AuthBody { address: "192.0.2.7".to_owned(), user_agent: Some("phone/1".to_owned()), ..AuthBody::default() }
}

/// A phone: a key, a fingerprint, and whatever it was given.
pub(crate) struct Phone {
    pub(crate) key: PhoneKey,
    pub(crate) proof: Option<DpopKey>,
    pub(crate) fingerprint: String,
}

impl Phone {
    pub(crate) fn new(fingerprint: &str) -> Self {
        let mut bytes = [0; 32];
        SystemEntropy.fill(&mut bytes);
        Self { key: PhoneKey::from_slice(&bytes).unwrap(), proof: None, fingerprint: fingerprint.to_owned() }
    }

    /// With a second key that proves possession.
    pub(crate) fn bound(fingerprint: &str) -> Self {
        Self { proof: Some(DpopKey::generate(&SystemEntropy).unwrap()), ..Self::new(fingerprint) }
    }

    pub(crate) fn registration(&self) -> Registration {
        Registration {
            device_name: "Điện thoại của Nguyễn".parse().unwrap(),
            device_type: "mobile".parse().unwrap(),
            device_fingerprint: self.fingerprint.parse().unwrap(),
            public_key: self.key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap(),
            key_algorithm: KeyAlgorithm::Es256,
            language: None,
            proof_key: self.proof.as_ref().map(DpopKey::jwk),
        }
    }

    /// P1363 in base64.
    pub(crate) fn sign(&self, challenge: &str) -> String {
        let signature: p256::ecdsa::Signature = self.key.sign(challenge.as_bytes());
        STANDARD.encode(signature.to_bytes())
    }

    /// A proof for a POST to `path`.
    pub(crate) fn proof(&self, site: &Site, path: &str) -> Option<String> {
        use ridgeline_ports::Clock as _;
        let now = site.memory.clock().now();
        let url = format!("{URL}{path}");
        self.proof.as_ref().map(|key| key.prove("POST", &url, now, None, &SystemEntropy))
    }

    pub(crate) async fn register_challenge(&self, site: &Site, web: &str) -> AuthReply {
        let body = AuthBody { credential: Some(web.to_owned()), registration: Some(self.registration()), ..body() };
        site.ask(AuthOperation::RegisterChallenge, None, body).await
    }

    pub(crate) fn answer(&self, challenge: &ChallengeReply) -> AuthBody {
        let signature = self.sign(&challenge.challenge);
        let answer = ChallengeAnswer { session_id: challenge.session_id, signature, remember: true };
        AuthBody { answer: Some(answer), ..body() }
    }

    pub(crate) async fn verify_registration(&self, site: &Site, challenge: &ChallengeReply) -> AuthReply {
        let proof = self.proof(site, "/api/v1/auth/devices/register/verify");
        let body = AuthBody { proof, ..self.answer(challenge) };
        site.ask(AuthOperation::Register, Some(challenge.session_id.to_string()), body).await
    }

    /// The whole registration.
    pub(crate) async fn register(&self, site: &Site, web: &str) -> DeviceReply {
        let challenge = self.register_challenge(site, web).await.challenge.unwrap();
        self.verify_registration(site, &challenge).await.device.unwrap()
    }

    pub(crate) async fn login_challenge(&self, site: &Site) -> ChallengeReply {
        let login = LoginStart { device_fingerprint: self.fingerprint.parse().unwrap(), device_id: None };
        let reply = site.ask(AuthOperation::LoginChallenge, None, AuthBody { login: Some(login), ..body() }).await;
        reply.challenge.unwrap()
    }

    pub(crate) async fn verify_login(&self, site: &Site, challenge: &ChallengeReply) -> AuthReply {
        site.ask(AuthOperation::Login, Some(challenge.session_id.to_string()), self.answer(challenge)).await
    }

    /// The whole login.
    pub(crate) async fn login(&self, site: &Site) -> TokensReply {
        let challenge = self.login_challenge(site).await;
        self.verify_login(site, &challenge).await.tokens.unwrap()
    }

    /// Refreshes with a token, as a gateway that has read its family.
    pub(crate) async fn refresh(&self, site: &Site, token: &str) -> AuthReply {
        let proof = self.proof(site, "/api/v1/auth/mobile/refresh");
        let body = AuthBody { refresh_token: Some(token.to_owned()), proof, ..body() };
        let family = family_in(token);
        site.ask(AuthOperation::Refresh, Some(family), body).await
    }
}

/// An action of S2's sample.
pub(crate) fn payment() -> ActionStart {
    ActionStart {
        action_type: "payment_approval".parse().unwrap(),
        payload: r#"{"amount":50000,"currency":"VND","recipient":"Nguyễn Văn A"}"#.to_owned(),
        language: None,
        display_code: false,
        callback_url: None,
        life_seconds: 300,
    }
}

/// Starts an action with a web token.
pub(crate) async fn initiate(site: &Site, web: &str, start: ActionStart) -> AuthReply {
    let id = SystemEntropy.request_id();
    let body = AuthBody { credential: Some(web.to_owned()), action: Some(start), ..body() };
    site.send(id, AuthOperation::InitiateAction, &action_of(id).to_string(), &body).await;
    site.reply(id).await
}

/// The id of the action that a request starts.
pub(crate) fn action_of(id: RequestId) -> ActionId {
    ActionId::from_bytes(derive_id("action", id))
}

/// A device's vote.
pub(crate) fn vote(phone: &Phone, tokens: &TokensReply, action: ActionId, challenge: &str) -> AuthBody {
    let vote =
        ActionVote { device_id: tokens.device_id.unwrap(), signature: phone.sign(challenge), display_code: None };
    about_action(&tokens.access_token, action, AuthBody { vote: Some(vote), ..body() })
}

/// A command about an action by this credential.
pub(crate) fn about_action(credential: &str, action: ActionId, body: AuthBody) -> AuthBody {
    AuthBody { credential: Some(credential.to_owned()), action_id: Some(action), ..body }
}

/// The claim `token_family` of a token, unverified.
pub(crate) fn family_in(token: &str) -> String {
    claim(token, "token_family").unwrap_or_else(|| "none".to_owned())
}

/// A text claim of a token, unverified.
pub(crate) fn claim(token: &str, name: &str) -> Option<String> {
    let payload = token.split('.').nth(1)?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    let text = String::from_utf8(payload).ok()?;
    let after = text.split(&format!("\"{name}\":\"")).nth(1)?;
    Some(after.split('"').next()?.to_owned())
}

pub(crate) fn user_id(name: &str) -> UserId {
    UserId::new(ISSUER, name).unwrap()
}

/// What workers remove and phones ask about.
pub(crate) fn device_body(web: &str, device: DeviceId) -> AuthBody {
    AuthBody { credential: Some(web.to_owned()), device_id: Some(device), ..body() }
}
