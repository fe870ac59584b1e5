//! A registry that answers as it is told, over real HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use ridgeline_egress::ConfiguredOptions;
use ridgeline_registry::{Registry, subjects};
use serde_json::{Value, json};

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As a registry.
    Answers,
    /// Takes the connection and closes it.
    HangsUp,
    /// 200 and a page of something else.
    Page,
    /// 200 and JSON without what was asked for.
    Hollow,
    /// 503.
    Busy,
    /// 404 of a server that does not know the path.
    NoSuchPath,
    /// 401.
    Unauthorised,
}

struct State {
    mode: Mode,
    schemas: Vec<(u32, String)>,
    asked: Vec<String>,
}

/// Clones are one. Its thread ends with the test process.
#[derive(Clone)]
pub(crate) struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// Has every schema of this version, with ids from 1 in the order of the topics.
    pub(crate) fn full() -> Self {
        let fake = Self::empty();
        for (index, subject) in subjects("").iter().enumerate() {
            fake.add(u32::try_from(index).unwrap() + 1, subject.schema);
        }
        fake
    }

    pub(crate) fn empty() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { mode: Mode::Answers, schemas: vec![], asked: vec![] }));
        let fake = Self { address, state };
        let server = fake.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|socket| drop(server.answer(socket))));
        fake
    }

    pub(crate) fn add(&self, id: u32, schema: &str) {
        self.state.lock().unwrap().schemas.push((id, schema.to_owned()));
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|asked| *asked == path).count()
    }

    pub(crate) fn registry(&self) -> Registry {
        Registry::new(ConfiguredOptions::new(format!("http://{}", self.address))).unwrap()
    }

    fn answer(&self, mut socket: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(socket.try_clone()?);
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header == "\r\n" {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let Some((status, text)) = self.reply(&path, &body) else { return Ok(()) };
        let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.len());
        socket.write_all((head + &text).as_bytes())
    }

    fn reply(&self, path: &str, body: &[u8]) -> Option<(u16, String)> {
        let mut state = self.state.lock().unwrap();
        state.asked.push(path.to_owned());
        match state.mode {
            Mode::HangsUp => None,
            Mode::Page => Some((200, "<html>Welcome</html>".to_owned())),
            Mode::Hollow => Some((200, json!({ "id": "seven", "schema": 7 }).to_string())),
            Mode::Busy => Some((503, "upstream".to_owned())),
            Mode::NoSuchPath => Some((404, json!({ "error_code": 404, "message": "HTTP 404 Not Found" }).to_string())),
            Mode::Unauthorised => Some((401, json!({ "error_code": 401, "message": "who\r\nare you" }).to_string())),
            Mode::Answers => Some(known(&state.schemas, path, body)),
        }
    }
}

fn known(schemas: &[(u32, String)], path: &str, body: &[u8]) -> (u16, String) {
    let wanted: Option<u32> = path.strip_prefix("/schemas/ids/").and_then(|id| id.parse().ok());
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let found = schemas.iter().find(|(id, text)| wanted.map_or(body["schema"] == **text, |wanted| wanted == *id));
    match found {
        Some((id, text)) => (200, json!({ "id": id, "version": 1, "schema": text }).to_string()),
        None => (404, json!({ "error_code": 40403, "message": "no such schema" }).to_string()),
    }
}
