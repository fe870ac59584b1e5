//! A server that behaves like FCM and its token endpoint, on a port of this machine. For tests and demonstrations: it checks what it is
//! sent as strictly as the real one and keeps it in memory, and it answers as it was told to.

mod check;
mod http;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::Rsa;
use parking_lot::Mutex;
use ridgeline_domain::{DurationMs, Sensitive, Timestamp};
use ridgeline_ports::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use self::http::{Request, Response};

/// The project of the service account.
pub const PROJECT: &str = "ridgeline-fake";
const EMAIL: &str = "push@ridgeline-fake.iam.gserviceaccount.com";
const KEY_ID: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN_PATH: &str = "/token";
const TOKEN_LIFE_S: i64 = 3_600;

/// How a request is answered that would be taken otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// 404: the app is gone from the device.
    Unregistered,
    /// 400: the token is none.
    Invalid,
    /// 403: the token is another project's.
    OtherSender,
    /// 429 with `Retry-After` as it is.
    Busy(String),
    /// 500.
    Broken,
    /// 503 with `Retry-After` as it is.
    Away(String),
    /// These bytes, head and body, and the end of the connection.
    Bytes(Vec<u8>),
}

/// A message that was taken.
#[derive(Clone, PartialEq)]
pub struct Taken {
    /// Its id, as it was answered.
    pub id: String,
    /// The device's token.
    pub token: String,
    /// `message` of the request.
    pub message: Value,
}

/// The server. It ends when this is dropped.
pub struct FakeFcm {
    base_url: String,
    account: Sensitive<String>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    key: PKey<Public>,
    token_uri: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Answers to the token endpoint's callers, then to messages, by the device's token.
    grants: VecDeque<Reply>,
    once: HashMap<String, VecDeque<Reply>>,
    always: HashMap<String, Reply>,
    taken: Vec<Taken>,
    /// Tokens that were given out and until when they are good.
    tokens: HashMap<String, Timestamp>,
    granted: usize,
    asked: usize,
    sent: usize,
    life_s: Option<i64>,
}

impl FakeFcm {
    /// Starts on a free port with a service account of its own. Tokens and assertions end by `clock`.
    ///
    /// # Errors
    /// No port, or no key can be made.
    pub async fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base_url = format!("http://{}", listener.local_addr()?);
        let token_uri = format!("{base_url}{TOKEN_PATH}");
        let key = PKey::from_rsa(Rsa::generate(2_048)?)?;
        let public = PKey::public_key_from_der(&key.public_key_to_der()?)?;
        let account = account(&key, &token_uri)?;
        let shared = Arc::new(Shared { key: public, token_uri, clock, state: Mutex::default() });
        let task = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self { base_url, account, shared, task })
    }

    /// Where FCM is, for [`crate::FcmOptions::base_url`].
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The key file of the service account.
    #[must_use]
    pub fn service_account_json(&self) -> Sensitive<String> {
        self.account.clone()
    }

    /// Answers the next `times` messages to a device so.
    pub fn reply(&self, token: &str, reply: Reply, times: usize) {
        let mut state = self.shared.state.lock();
        state.once.entry(token.to_owned()).or_default().extend(std::iter::repeat_n(reply, times));
    }

    /// Answers all messages to a device so, after those that [`Self::reply`] speaks of.
    pub fn reply_always(&self, token: &str, reply: Reply) {
        self.shared.state.lock().always.insert(token.to_owned(), reply);
    }

    /// Answers the next `times` callers of the token endpoint so.
    pub fn reply_to_grants(&self, reply: Reply, times: usize) {
        self.shared.state.lock().grants.extend(std::iter::repeat_n(reply, times));
    }

    /// How long the tokens live that are given out from now on. An hour at first.
    pub fn grant_for(&self, seconds: i64) {
        self.shared.state.lock().life_s = Some(seconds);
    }

    /// Ends all tokens that were given out.
    pub fn revoke(&self) {
        self.shared.state.lock().tokens.clear();
    }

    /// The messages that were taken, in order.
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.state.lock().taken.clone()
    }

    /// Callers of the token endpoint so far, refused ones included.
    #[must_use]
    pub fn grants(&self) -> usize {
        self.shared.state.lock().asked
    }

    /// Messages that came, refused ones included.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.shared.state.lock().sent
    }
}

impl Drop for FakeFcm {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn account(key: &PKey<Private>, token_uri: &str) -> io::Result<Sensitive<String>> {
    let pem = String::from_utf8(key.private_key_to_pem_pkcs8()?).map_err(io::Error::other)?;
    let file = json!({
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": KEY_ID,
        "private_key": pem,
        "client_email": EMAIL,
        "token_uri": token_uri,
    });
    Ok(Sensitive::new(file.to_string()))
}

/// Connections end with the server.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(http::serve(stream, move |request| shared.answer(request)));
        while connections.try_join_next().is_some() {}
    }
}

impl Shared {
    fn answer(&self, request: &Request) -> Response {
        let send = format!("/v1/projects/{PROJECT}/messages:send");
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", TOKEN_PATH) => self.grant(request),
            ("POST", path) if path == send => self.send(request),
            _ => Response::page(404),
        }
    }

    fn grant(&self, request: &Request) -> Response {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.asked += 1;
        if let Some(reply) = state.grants.pop_front() {
            return scripted(&reply);
        }
        if !check::is_grant(request, &self.key, &self.token_uri, now) {
            return Response::json(
                400,
                &json!({ "error": "invalid_grant", "error_description": format!("Invalid JWT of {EMAIL}") }),
            );
        }
        state.granted += 1;
        let token = format!("fake-{}", state.granted);
        let life_s = state.life_s.unwrap_or(TOKEN_LIFE_S);
        state.tokens.insert(token.clone(), now.plus(DurationMs::from_secs(life_s)));
        Response::json(200, &json!({ "access_token": token, "expires_in": life_s, "token_type": "Bearer" }))
    }

    fn send(&self, request: &Request) -> Response {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.sent += 1;
        let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if bearer.and_then(|token| state.tokens.get(token)).is_none_or(|until| *until <= now) {
            return error(401, "UNAUTHENTICATED", None, None);
        }
        let message = match check::message(request) {
            Ok(message) => message,
            Err(field) => return error(400, "INVALID_ARGUMENT", Some("INVALID_ARGUMENT"), Some(&field)),
        };
        let token = message.get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
        let once = state.once.get_mut(&token).and_then(VecDeque::pop_front);
        if let Some(reply) = once.or_else(|| state.always.get(&token).cloned()) {
            return scripted(&reply);
        }
        let id = format!("projects/{PROJECT}/messages/0:{}", state.taken.len() + 1);
        state.taken.push(Taken { id: id.clone(), token, message });
        Response::json(200, &json!({ "name": id }))
    }
}

fn scripted(reply: &Reply) -> Response {
    match reply {
        Reply::Unregistered => error(404, "NOT_FOUND", Some("UNREGISTERED"), None),
        Reply::Invalid => error(400, "INVALID_ARGUMENT", Some("INVALID_ARGUMENT"), Some("message.token")),
        Reply::OtherSender => error(403, "PERMISSION_DENIED", Some("SENDER_ID_MISMATCH"), None),
        Reply::Busy(after) => error(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED"), None).retry_after(after),
        Reply::Broken => error(500, "INTERNAL", Some("INTERNAL"), None),
        Reply::Away(after) => error(503, "UNAVAILABLE", Some("UNAVAILABLE"), None).retry_after(after),
        Reply::Bytes(bytes) => Response::Bytes(bytes.clone()),
    }
}

/// An error as Google's services write it.
fn error(code: u16, status: &str, fcm: Option<&str>, field: Option<&str>) -> Response {
    let fcm =
        fcm.map(|code| json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code }));
    let field = field.map(|field| {
        let violation = json!({ "field": field, "description": "not accepted" });
        json!({ "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation] })
    });
    let details: Vec<Value> = fcm.into_iter().chain(field).collect();
    Response::json(
        code,
        &json!({ "error": { "code": code, "message": "refused", "status": status, "details": details } }),
    )
}
