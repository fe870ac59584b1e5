//! What the tests share: a server that follows a script, a clock that is moved, the system's randomness.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use ridgeline_domain::Timestamp;
use ridgeline_ports::{Clock, Entropy};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use crate::{AuthClient, ClientOptions};

/// Where the tests' clock begins.
pub(crate) const NOW: i64 = 1_800_000_000_000;

/// A server that answers connections with given texts, one after the other, and keeps what it was sent. An empty text is an
/// answer that gets lost.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn answering(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        tokio::spawn(async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let request = read_request(&mut socket).await;
                log.lock().unwrap().push(request);
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, seen }
    }

    /// An address where nobody listens, and can while the socket is held.
    pub(crate) fn nobody() -> (String, TcpSocket) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        (format!("http://{}", socket.local_addr().unwrap()), socket)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().iter().map(|text| Request(text.clone())).collect()
    }
}

/// What the server was sent.
pub(crate) struct Request(String);

impl Request {
    /// Method and path.
    pub(crate) fn line(&self) -> &str {
        self.0.split(" HTTP/").next().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next().unwrap();
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn body(&self) -> Value {
        let body = self.0.split_once("\r\n\r\n").unwrap().1;
        if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() }
    }
}

async fn read_request(socket: &mut tokio::net::TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let n = socket.read(&mut buffer).await.unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if n == 0 || body.len() >= length.map_or(0, |n| n.parse().unwrap()) {
            return text;
        }
    }
}

pub(crate) fn answer(status: &str, extra: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{extra}\r\n{body}", body.len())
}

/// A success of device authentication.
pub(crate) fn data(data: &Value) -> String {
    answer("200 OK", "", &json!({ "data": data }).to_string())
}

/// A refusal of device authentication.
pub(crate) fn refusal(status: u16) -> String {
    let body = json!({ "message": "No", "statusCode": status, "code": "RL-1401", "requestId": "r1" });
    answer(&format!("{status} No"), "", &body.to_string())
}

/// An answer that does not arrive.
pub(crate) fn lost() -> String {
    String::new()
}

/// A clock that is moved, and moves by a step whenever it is read.
#[derive(Debug)]
pub(crate) struct StepClock {
    pub(crate) now: AtomicI64,
    pub(crate) step: AtomicI64,
}

impl StepClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { now: AtomicI64::new(NOW), step: AtomicI64::new(0) })
    }

    pub(crate) fn advance(&self, millis: i64) {
        self.now.fetch_add(millis, Ordering::SeqCst);
    }

    pub(crate) fn step(&self, millis: i64) {
        self.step.store(millis, Ordering::SeqCst);
    }
}

impl Clock for StepClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.fetch_add(self.step.load(Ordering::SeqCst), Ordering::SeqCst))
    }
}

/// The system's randomness.
pub(crate) struct System;

impl Entropy for System {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).unwrap();
    }
}

pub(crate) fn auth_client(url: &str, clock: &Arc<StepClock>) -> AuthClient {
    AuthClient::new(ClientOptions::new(url, None), clock.clone(), Arc::new(System)).unwrap()
}
