//! From a text to what it says, with suspicion.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{CANONICAL_BYTES_MAX, CANONICAL_DEPTH_MAX, CanonicalError, Key, Members, Value};

/// Beyond this one double stands for several integers.
const INTEGER_MAX: u64 = 1 << 53;
const INTEGER_MAX_DOUBLE: f64 = 9_007_199_254_740_992.0;

/// The members of the one object in `text`.
pub(super) fn object(text: &str) -> Result<Members, CanonicalError> {
    if text.len() > CANONICAL_BYTES_MAX {
        return Err(CanonicalError::TooLong);
    }
    let problem = Cell::new(None);
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Reader { depth: 0, problem: &problem }.deserialize(&mut json);
    let read = read.and_then(|value| json.end().map(|()| value));
    match read.map_err(|_| problem.get().unwrap_or(CanonicalError::Malformed))? {
        Value::Object(members) => Ok(members),
        _ => Err(CanonicalError::NotAnObject),
    }
}

/// Reads a value that lies in `depth` others. What is wrong is left in `problem`: the parser's own errors are texts.
#[derive(Clone, Copy)]
struct Reader<'a> {
    depth: usize,
    problem: &'a Cell<Option<CanonicalError>>,
}

impl Reader<'_> {
    fn refuse<E: Error>(self, problem: CanonicalError) -> E {
        self.problem.set(Some(problem));
        E::custom(problem)
    }

    fn inner<E: Error>(self) -> Result<Self, E> {
        if self.depth == CANONICAL_DEPTH_MAX {
            return Err(self.refuse(CanonicalError::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        if value > INTEGER_MAX {
            return Err(self.refuse(CanonicalError::Integer));
        }
        #[expect(clippy::cast_precision_loss, reason = "up to 2^53 every integer is a double")]
        Ok(Value::Number(value as f64))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > INTEGER_MAX {
            return Err(self.refuse(CanonicalError::Integer));
        }
        #[expect(clippy::cast_precision_loss, reason = "up to 2^53 every integer is a double")]
        Ok(Value::Number(value as f64))
    }

    /// Also called for integers of more than 64 bits. 2^53 itself is refused here: it may be a rounded neighbour.
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // Doubles of this size are all integers.
        if value.abs() >= INTEGER_MAX_DOUBLE {
            return Err(self.refuse(CanonicalError::Integer));
        }
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let (inner, mut values) = (self.inner()?, Vec::new());
        while let Some(value) = items.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let (inner, mut members) = (self.inner()?, Members::new());
        while let Some(key) = entries.next_key::<String>()? {
            if members.insert(Key::of(&key), entries.next_value_seed(inner)?).is_some() {
                return Err(self.refuse(CanonicalError::DuplicateKey));
            }
        }
        Ok(Value::Object(members))
    }
}
