//! The fields of a body: any JSON object whose names are unique. Names that nobody knows are passed over; no message shows a value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ridgeline_domain::{ErrorCode, Sensitive};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use crate::problem::Problem;

/// The members of a body. Its texts are overwritten when they go.
pub(super) struct Fields {
    members: Map<String, Value>,
    /// As it came, for what must be read by others exactly as it was sent.
    body: Sensitive<Vec<u8>>,
}

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// `MalformedRequest` for what is no JSON object with unique names.
    pub(super) fn read(body: Sensitive<Vec<u8>>) -> Result<Self, Problem> {
        let mut json = serde_json::Deserializer::from_slice(body.expose());
        let read = Strict::deserialize(&mut json).and_then(|value| json.end().map(|()| value));
        let value = read.map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Problem::malformed("a field of the body appears twice"),
            _ => Problem::malformed(format!("the body is not valid JSON, in line {}", error.line())),
        })?;
        match value {
            Strict(Value::Object(members)) => Ok(Self { members, body }),
            Strict(mut other) => {
                wipe(&mut other);
                Err(Problem::malformed("the body must be a JSON object"))
            }
        }
    }

    /// A text, if it is there.
    pub(super) fn optional(&mut self, name: &'static str) -> Result<Option<Sensitive<String>>, Problem> {
        match self.members.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(Sensitive::new(text))),
            Some(mut other) => {
                wipe(&mut other);
                Err(wrong(name, "must be a string"))
            }
        }
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Sensitive<String>, Problem> {
        self.optional(name)?.ok_or_else(|| wrong(name, "is required"))
    }

    /// A text that must be there and be one of `T`, by a rule in words.
    pub(super) fn ruled<T: FromStr>(&mut self, name: &'static str, rule: &'static str) -> Result<T, Problem> {
        self.text(name)?.expose().parse().map_err(|_| wrong(name, rule))
    }

    /// The same, if it is there.
    pub(super) fn ruled_optional<T: FromStr>(
        &mut self,
        name: &'static str,
        rule: &'static str,
    ) -> Result<Option<T>, Problem> {
        let parse = |text: Sensitive<String>| text.expose().parse().map_err(|_| wrong(name, rule));
        self.optional(name)?.map(parse).transpose()
    }

    /// A text that must be there and be one of `T`, whose errors say the rule.
    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, name: &'static str) -> Result<T, Problem> {
        self.text(name)?.expose().parse().map_err(|error: T::Err| wrong(name, &error.to_string()))
    }

    /// true, false, or nothing.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        match self.members.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(mut other) => {
                wipe(&mut other);
                Err(wrong(name, "must be true or false"))
            }
        }
    }

    /// A whole number, if it is there.
    pub(super) fn integer(&mut self, name: &'static str) -> Result<Option<i64>, Problem> {
        match self.members.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => {
                number.as_i64().map(Some).ok_or_else(|| wrong(name, "must be a whole number"))
            }
            Some(mut other) => {
                wipe(&mut other);
                Err(wrong(name, "must be a whole number"))
            }
        }
    }

    /// An object as its JSON, exactly as it was sent, if it is there.
    pub(super) fn object(&mut self, name: &'static str) -> Result<Option<Sensitive<String>>, Problem> {
        match self.members.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(mut value) => {
                let is_object = value.is_object();
                wipe(&mut value);
                if !is_object {
                    return Err(wrong(name, "must be a JSON object"));
                }
            }
        }
        // It was read as JSON with unique names before.
        let members: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_slice(self.body.expose()).map_err(|_| wrong(name, "must be a JSON object"))?;
        Ok(members.get(name).map(|raw| Sensitive::new(raw.get().to_owned())))
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        self.members.values_mut().for_each(wipe);
    }
}

/// A field breaks a rule.
pub(super) fn wrong(name: &'static str, rule: &str) -> Problem {
    Problem::field(ErrorCode::MalformedRequest, format!("/{name}"), rule)
}

/// Overwrites the texts of a value.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Any JSON without a name that appears twice in one object.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Strict(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let Strict(value) = map.next_value()?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate field"));
            }
        }
        Ok(Strict(Value::Object(members)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(problem: Problem) -> String {
        assert_eq!(problem.code(), ErrorCode::MalformedRequest);
        serde_json::to_value(problem.body("", "x")).unwrap()["detail"].as_str().unwrap().to_owned()
    }

    fn read(body: &[u8]) -> Result<Fields, Problem> {
        Fields::read(Sensitive::new(body.to_vec()))
    }

    fn refusal(body: &str) -> String {
        message(read(body.as_bytes()).err().unwrap())
    }

    #[test]
    fn fields_are_taken_by_name_and_others_passed_over() {
        let body =
            br#"{"a": "x", "b": true, "c": {"k": [1, "s", 99999999999999999999]}, "d": null, "other": [1.5, -2]}"#;
        let mut fields = read(body).unwrap();
        assert_eq!(fields.text("a").unwrap().expose(), "x");
        assert_eq!(fields.flag("b").unwrap(), Some(true));
        assert_eq!(fields.object("c").unwrap().unwrap().expose(), r#"{"k": [1, "s", 99999999999999999999]}"#);
        assert!(fields.optional("d").unwrap().is_none());
        assert_eq!(message(fields.text("a").unwrap_err()), "is required");
    }

    #[test]
    fn names_are_unique_at_every_depth() {
        for twice in [r#"{"a":1,"a":1}"#, r#"{"x":{"a":1,"a":2}}"#, r#"{"x":[{"a":1,"a":2}]}"#, r#"{"a":1,"\u0061":2}"#]
        {
            assert_eq!(refusal(twice), "a field of the body appears twice", "{twice}");
        }
    }

    #[test]
    fn every_prefix_of_a_body_is_refused_and_nothing_is_repeated() {
        let whole = r#"{"password": "hunter2", "n": [1, {"x": "secret"}]}"#;
        for end in 0..whole.len() {
            let said = refusal(&whole[..end]);
            assert!(!said.contains("hunter2") && !said.contains("secret"), "{said}");
        }
        for other in ["[]", "1", "\"hunter2\"", "null", "{} {}", "{}x", "\u{feff}{}", &"[".repeat(10_000)] {
            assert!(!refusal(other).contains("hunter2"));
        }
        assert!(read(b"{\"a\": \"\xff\"}").is_err());
    }

    #[test]
    fn wrong_types_are_named_without_their_value() {
        let mut fields = read(br#"{"a": 7, "b": "hunter2", "c": "hunter2"}"#).unwrap();
        assert_eq!(message(fields.text("a").unwrap_err()), "must be a string");
        assert_eq!(message(fields.flag("b").unwrap_err()), "must be true or false");
        assert_eq!(message(fields.object("c").unwrap_err()), "must be a JSON object");
    }
}
