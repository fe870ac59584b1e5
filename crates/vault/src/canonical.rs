//! Canonical JSON (RFC 8785) of what an action asks to approve, and the digest that its challenge carries.
//!
//! Stricter than the RFC where two readers could see two things: a key that stands twice is refused, and an integer that a
//! double does not tell from its neighbour.

mod number;
mod read;

use std::collections::BTreeMap;

use ridgeline_ports::Disposition;
use sha2::{Digest as _, Sha256};

/// Longest text that is read.
pub const CANONICAL_BYTES_MAX: usize = 4096;

/// How many objects and arrays may be open at once.
pub const CANONICAL_DEPTH_MAX: usize = 16;

/// Why a text has no canonical form here. No variant repeats a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// The text is over its limit.
    #[error("the JSON is longer than {CANONICAL_BYTES_MAX} bytes")]
    TooLong,
    /// Not exactly one JSON value, or a lone surrogate in a text, or a number that is no finite double.
    #[error("this is not one well-formed JSON object")]
    Malformed,
    /// A JSON value of another kind.
    #[error("the JSON is not an object")]
    NotAnObject,
    /// An object names a member twice.
    #[error("a key stands twice in one object")]
    DuplicateKey,
    /// An integer that other readers may round.
    #[error("an integer is beyond 2^53: send it as a string")]
    Integer,
    /// Too many levels.
    #[error("the JSON is nested deeper than {CANONICAL_DEPTH_MAX} levels")]
    TooDeep,
}

impl CanonicalError {
    /// What the runtime does about it: another try reads the same text.
    #[must_use]
    pub const fn disposition(self) -> Disposition {
        Disposition::Poison
    }
}

/// The canonical form of a JSON object of at most [`CANONICAL_BYTES_MAX`] bytes.
///
/// # Errors
/// [`CanonicalError`].
pub fn canonical_json(text: &str) -> Result<String, CanonicalError> {
    let mut out = String::with_capacity(text.len());
    write_object(&read::object(text)?, &mut out);
    Ok(out)
}

/// SHA-256 of the canonical form of `{"actionPayload":…,"actionType":…}`, where `payload` is the text of a JSON object.
///
/// # Errors
/// [`CanonicalError`], about `payload`.
pub fn action_digest(action_type: &str, payload: &str) -> Result<[u8; 32], CanonicalError> {
    let mut members = Members::new();
    members.insert(Key::of("actionPayload"), Value::Object(read::object(payload)?));
    members.insert(Key::of("actionType"), Value::Text(action_type.to_owned()));
    let mut out = String::with_capacity(payload.len() + action_type.len());
    write_object(&members, &mut out);
    Ok(Sha256::digest(out).into())
}

/// A member's name, ordered by its UTF-16 code units as the RFC wants it: not the order of code points.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    utf16: Vec<u16>,
    text: String,
}

impl Key {
    fn of(text: &str) -> Self {
        Self { utf16: text.encode_utf16().collect(), text: text.to_owned() }
    }
}

type Members = BTreeMap<Key, Value>;

/// What a text says, without the way in which it says it.
enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Array(Vec<Value>),
    Object(Members),
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => number::write(*number, out),
        Value::Text(text) => write_text(text, out),
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(value, out);
            }
            out.push(']');
        }
        Value::Object(members) => write_object(members, out),
    }
}

fn write_object(members: &Members, out: &mut String) {
    out.push('{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_text(&key.text, out);
        out.push(':');
        write(value, out);
    }
    out.push('}');
}

/// Escapes what must be escaped and nothing else.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control @ ..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
