//! What this version needs under which name.

use ridgeline_wire::{SchemaId, Topic, schema_of};

use crate::Level;

/// A topic's values in the registry: `<full name of the topic>-value`, where stock clients look by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Name in the registry.
    pub name: String,
    /// The topic.
    pub topic: Topic,
    /// Our id of the schema.
    pub local: SchemaId,
    /// Text of the schema.
    pub schema: &'static str,
}

impl Subject {
    /// What the registry is to demand of a new version: public schemas are a promise, internal ones may break until 1.0.
    #[must_use]
    pub fn level(&self) -> Level {
        if self.topic.row().public { Level::BackwardTransitive } else { Level::None }
    }
}

/// The subjects of a deployment whose topics have this prefix.
#[must_use]
pub fn subjects(prefix: &str) -> Vec<Subject> {
    let subject = |topic: &Topic| {
        let local = topic.row().schema;
        let name = format!("{}-value", topic.name(prefix));
        schema_of(local).map(|schema| Subject { name, topic: *topic, local, schema })
    };
    Topic::ALL.iter().filter_map(subject).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_its_subject_and_public_ones_are_a_promise() {
        let all = subjects("site.");
        assert_eq!(all.len(), Topic::ALL.len());
        let promised: Vec<_> =
            all.iter().filter(|one| one.level() == Level::BackwardTransitive).map(|one| one.name.as_str()).collect();
        assert_eq!(promised, ["site.decisions-value", "site.audit-value"]);
    }
}
