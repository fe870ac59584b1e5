//! As much of HTTP/1.1 as a client needs that sends whole bodies of known length.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const HEAD_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: usize = 64 << 10;
const HEAD_END: &[u8] = b"\r\n\r\n";

pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub(super) enum Response {
    Whole {
        status: u16,
        kind: &'static str,
        retry_after: Option<String>,
        body: Vec<u8>,
    },
    /// As they are; the connection ends with them.
    Bytes(Vec<u8>),
}

impl Response {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::Whole {
            status,
            kind: "application/json; charset=UTF-8",
            retry_after: None,
            body: body.to_string().into_bytes(),
        }
    }

    /// What a server says that is asked for something it has not.
    pub(super) fn page(status: u16) -> Self {
        Self::Whole {
            status,
            kind: "text/html",
            retry_after: None,
            body: b"<!DOCTYPE html><title>Error</title>".to_vec(),
        }
    }

    pub(super) fn retry_after(self, after: &str) -> Self {
        match self {
            Self::Whole { status, kind, body, .. } => {
                Self::Whole { status, kind, retry_after: Some(after.to_owned()), body }
            }
            bytes @ Self::Bytes(_) => bytes,
        }
    }

    /// The bytes, and whether the connection stays.
    fn bytes(self) -> (Vec<u8>, bool) {
        match self {
            Self::Bytes(bytes) => (bytes, false),
            Self::Whole { status, kind, retry_after, body } => {
                let after = retry_after.map(|after| format!("retry-after: {after}\r\n")).unwrap_or_default();
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} .\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{after}\r\n");
                ([head.into_bytes(), body].concat(), true)
            }
        }
    }
}

/// Answers the requests of a connection until it ends or makes no sense.
pub(super) async fn serve(mut stream: TcpStream, answer: impl Fn(&Request) -> Response) {
    let mut read = Vec::new();
    while let Some(request) = next(&mut stream, &mut read).await {
        let (bytes, stays) = answer(&request).bytes();
        if stream.write_all(&bytes).await.is_err() || !stays {
            // Without the other side's leave the last bytes could be lost.
            let _ = stream.shutdown().await;
            return;
        }
    }
}

/// The next request; `read` holds what came after the last one.
async fn next(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Request> {
    let head_end = loop {
        if let Some(at) = read.windows(HEAD_END.len()).position(|window| window == HEAD_END) {
            break at;
        }
        more(stream, read, HEAD_BYTES_MAX).await?;
    };
    let head = String::from_utf8(read.drain(..head_end + HEAD_END.len()).collect()).ok()?;
    let mut request = parse(&head)?;
    let length: usize = request.header("content-length").unwrap_or("0").parse().ok()?;
    if length > BODY_BYTES_MAX {
        return None;
    }
    while read.len() < length {
        more(stream, read, BODY_BYTES_MAX).await?;
    }
    request.body = read.drain(..length).collect();
    Some(request)
}

async fn more(stream: &mut TcpStream, read: &mut Vec<u8>, max: usize) -> Option<()> {
    let came = stream.read_buf(read).await.ok()?;
    (came > 0 && read.len() <= max + HEAD_BYTES_MAX).then_some(())
}

fn parse(head: &str) -> Option<Request> {
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers = lines.map(header).collect::<Option<Vec<_>>>()?;
    Some(Request { method, path, headers, body: Vec::new() })
}
