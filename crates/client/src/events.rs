//! Server-sent events (WHATWG HTML, "Server-sent events"): the part that the service uses.

use std::collections::VecDeque;

use crate::ClientError;

/// Longest event; a decision or audit entry has a few KiB.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Its name; empty where the service gave none.
    pub name: String,
    /// Its id; empty where the service gave none.
    pub id: String,
    /// Its data: JSON.
    pub data: String,
}

/// An open stream.
#[derive(Debug)]
pub struct EventStream {
    response: reqwest::Response,
    address: String,
    parser: Parser,
    ready: VecDeque<Event>,
}

impl EventStream {
    pub(crate) fn new(response: reqwest::Response, address: String) -> Self {
        Self { response, address, parser: Parser::default(), ready: VecDeque::new() }
    }

    /// The next event; `None` once the service has closed the stream. Cancel-safe.
    ///
    /// # Errors
    /// `Unreachable` if the connection broke, `TooLarge` for an event beyond 1 MiB.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let chunk = self.response.chunk().await;
            let chunk = chunk.map_err(|source| ClientError::Unreachable { address: self.address.clone(), source })?;
            let Some(chunk) = chunk else { return Ok(None) };
            self.parser.push(&chunk, &mut self.ready)?;
        }
    }
}

#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl Parser {
    fn push(&mut self, bytes: &[u8], out: &mut VecDeque<Event>) -> Result<(), ClientError> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() + self.event.data.len() > EVENT_BYTES_MAX {
                    return Err(ClientError::TooLarge { max: EVENT_BYTES_MAX });
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            self.end_line(&String::from_utf8_lossy(&line), out);
        }
        Ok(())
    }

    fn end_line(&mut self, line: &str, out: &mut VecDeque<Event>) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                out.push_back(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" => value.clone_into(&mut self.event.id),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // Comments keep the connection alive; other fields mean nothing here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chunks: &[&str]) -> Vec<Event> {
        let (mut parser, mut out) = (Parser::default(), VecDeque::new());
        for chunk in chunks {
            parser.push(chunk.as_bytes(), &mut out).unwrap();
        }
        out.into()
    }

    fn event(name: &str, id: &str, data: &str) -> Event {
        Event { name: name.into(), id: id.into(), data: data.into() }
    }

    #[test]
    fn events_may_be_cut_anywhere() {
        let text = ": hello\n\nevent: decided\r\nid: 7\ndata: {\"a\":\ndata: 1}\n\ndata:x\n\nevent: unfinished\n";
        let whole = parse(&[text]);
        assert_eq!(whole, [event("decided", "7", "{\"a\":\n1}"), event("", "", "x")]);
        for cut in 0..text.len() {
            assert_eq!(parse(&[&text[..cut], &text[cut..]]), whole);
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        let line = vec![b'a'; EVENT_BYTES_MAX + 1];
        assert!(matches!(parser.push(&line, &mut VecDeque::new()), Err(ClientError::TooLarge { .. })));
    }
}
