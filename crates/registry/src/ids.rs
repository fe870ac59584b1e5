//! Our ids and the registry's. Pure.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use ridgeline_ports::TopicName;
use ridgeline_wire::SchemaId;
use serde_json::Value;

use crate::{Registry, RegistryError, RegistryId, subjects};

/// Zero byte and id.
const FRAME_BYTES: usize = 5;

/// Per topic, the two ids of the schema of its values. Loaded once at start.
#[derive(Debug, Clone, Default)]
pub struct SchemaIds {
    topics: HashMap<TopicName, Pair>,
}

#[derive(Debug, Clone)]
struct Pair {
    local: SchemaId,
    registry: RegistryId,
    schema: &'static str,
}

/// What to do with a value that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// Hand it on as it is: it bears our id, no id, or its topic is none of ours.
    Keep,
    /// It bears the registry's id of our schema.
    Translate(SchemaId),
    /// It bears another id.
    Unknown(RegistryId),
}

impl SchemaIds {
    /// Asks the registry for the id of every schema of this version.
    ///
    /// # Errors
    /// `NotRegistered` names all subjects that lack it; else what the registry says.
    pub async fn load(registry: &Registry, prefix: &str) -> Result<Self, RegistryError> {
        let (mut topics, mut missing) = (HashMap::new(), Vec::new());
        for subject in subjects(prefix) {
            match registry.find(&subject.name, subject.schema).await? {
                Some(found) => {
                    let pair = Pair { local: subject.local, registry: found.id, schema: subject.schema };
                    topics.insert(subject.topic.name(prefix), pair);
                }
                None => missing.push(subject.name),
            }
        }
        if missing.is_empty() {
            Ok(Self { topics })
        } else {
            Err(RegistryError::NotRegistered { address: registry.address().to_owned(), subjects: missing })
        }
    }

    /// A value on its way into the log: our id becomes the registry's. Anything else stays as it is.
    pub(crate) fn outgoing(&self, topic: &TopicName, value: Bytes) -> Bytes {
        match (self.topics.get(topic), id_of(&value)) {
            (Some(pair), Some(id)) if id == pair.local.0 => with_id(value, pair.registry.0),
            _ => value,
        }
    }

    /// What a value that was read from a topic needs. Our own id is always ours there, so that what was written before there was
    /// a registry stays readable.
    pub(crate) fn incoming(&self, topic: &TopicName, value: &[u8]) -> Read {
        match (self.topics.get(topic), id_of(value)) {
            (Some(pair), Some(id)) if id == pair.registry.0 => Read::Translate(pair.local),
            (Some(pair), Some(id)) if id != pair.local.0 => Read::Unknown(RegistryId(id)),
            _ => Read::Keep,
        }
    }

    /// Our id, if this text describes the same values as the topic's schema: equal but for documentation.
    pub(crate) fn alias(&self, topic: &TopicName, schema: &str) -> Option<SchemaId> {
        let pair = self.topics.get(topic)?;
        let layout = |text: &str| serde_json::from_str(text).ok().map(without_docs);
        let (theirs, ours) = (layout(schema)?, layout(pair.schema)?);
        (theirs == ours).then_some(pair.local)
    }
}

fn id_of(value: &[u8]) -> Option<u32> {
    match value.split_at_checked(FRAME_BYTES)? {
        ([0, id @ ..], _) => Some(id.iter().fold(0, |id, byte| id << 8 | u32::from(*byte))),
        _ => None,
    }
}

/// The same value behind another id. Copied only if somebody else holds it too.
pub(crate) fn with_id(value: Bytes, id: u32) -> Bytes {
    let mut bytes = value.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
    if let Some(place) = bytes.get_mut(1..FRAME_BYTES) {
        place.copy_from_slice(&id.to_be_bytes());
    }
    bytes.freeze()
}

fn without_docs(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(name, _)| name != "doc");
            Value::Object(kept.map(|(name, value)| (name, without_docs(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_docs).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use ridgeline_wire::Topic;

    use super::*;

    fn ids() -> (SchemaIds, TopicName) {
        let (topic, subject) = (Topic::Decisions, &subjects("p.")[4]);
        assert_eq!(subject.topic, topic);
        let pair = Pair { local: subject.local, registry: RegistryId(7), schema: subject.schema };
        (SchemaIds { topics: HashMap::from([(topic.name("p."), pair)]) }, topic.name("p."))
    }

    fn value(id: u32) -> Bytes {
        [&[0][..], &id.to_be_bytes(), b"body"].concat().into()
    }

    #[test]
    fn ids_are_exchanged_both_ways_and_nothing_else_is_touched() {
        let (ids, topic) = ids();
        assert_eq!(ids.outgoing(&topic, value(5_001)), value(7));
        assert_eq!(ids.incoming(&topic, &value(7)), Read::Translate(SchemaId(5_001)));
        assert_eq!(with_id(value(7), 5_001), value(5_001));
        assert_eq!(ids.incoming(&topic, &value(5_001)), Read::Keep, "written before there was a registry");
        assert_eq!(ids.incoming(&topic, &value(8)), Read::Unknown(RegistryId(8)));
        let odd: [&'static [u8]; 4] = [b"", &[0, 0, 0, 7], &[1, 0, 0, 0, 7, 9], b"text that is none of ours"];
        for odd in odd {
            assert_eq!(ids.outgoing(&topic, Bytes::from_static(odd)), odd);
            assert_eq!(ids.incoming(&topic, odd), Read::Keep);
        }
        let other = TopicName::new("elsewhere");
        assert_eq!(ids.outgoing(&other, value(5_001)), value(5_001));
        assert_eq!(ids.incoming(&other, &value(7)), Read::Keep);
    }

    #[test]
    fn a_value_that_others_hold_is_not_changed_under_them() {
        let held = value(5_001);
        let (ids, topic) = ids();
        assert_eq!(ids.outgoing(&topic, held.clone()), value(7));
        assert_eq!(held, value(5_001));
    }

    #[test]
    fn only_documentation_may_differ() {
        let (ids, topic) = ids();
        let schema = subjects("")[4].schema;
        let changed = |from: &str, to: &str| {
            assert!(schema.contains(from), "{from}");
            schema.replacen(from, to, 1)
        };
        assert_eq!(ids.alias(&topic, &changed("Confirmation id of the request.", "An id.")), Some(SchemaId(5_001)));
        for other in [
            changed("\"confirmation_id\"", "\"id\""),
            changed("timestamp-millis", "timestamp-micros"),
            changed("\"default\": null", "\"default\": \"\""),
            "{nonsense".to_owned(),
            "\"bytes\"".to_owned(),
        ] {
            assert_eq!(ids.alias(&topic, &other), None, "{other}");
        }
    }
}
