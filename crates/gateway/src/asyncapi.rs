//! The AsyncAPI 3.0 document of the public topics, made of the topic table and the schemas themselves.
//!
//! `docs/asyncapi.json` is its committed form for a deployment without prefix and public address; a test compares the two.

use ridgeline_domain::DurationMs;
use ridgeline_ports::{Cleanup, TraceContext};
use ridgeline_wire::{Topic, TopicRow, schema_of};
use serde_json::{Map, Value, json};

use crate::gateway::SchemaSource;

/// Version of the Kafka bindings that the document uses.
const BINDING: &str = "0.5.0";
const CONTENT_TYPE: &str = "avro/binary";

/// What a deployment adds to the document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deployment<'a> {
    /// Prefix of the topics' names.
    pub(crate) prefix: &'a str,
    /// Where callers reach this service; empty if unknown.
    pub(crate) public_url: &'a str,
    /// Who gives the ids in front of values.
    pub(crate) schemas: SchemaSource,
}

/// The document.
#[must_use]
pub(crate) fn document(deployment: Deployment<'_>) -> Value {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for row in Topic::ALL.iter().map(|topic| topic.row()).filter(|row| row.public) {
        channels.insert(row.name.to_owned(), channel(row, deployment.prefix));
        operations.insert(format!("publish-{}", row.name), operation(row));
        messages.insert(row.name.to_owned(), message(row));
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ridgeline public topics",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "How requests ended and what is accounted for, for consumers with an ordinary Kafka and Avro client. \
                Values are Avro behind a zero byte and a schema id of four bytes, big endian (Confluent wire format). Schemas \
                change BACKWARD_TRANSITIVE. Delivery is at least once: a record that comes again has the same `ce_id`.",
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": servers(deployment),
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "securitySchemes": { "scram": { "type": "scramSha512", "description": "A user that may read the topic" } },
        },
    })
}

/// The brokers' addresses belong to the deployment; this service does not tell them to everybody.
fn servers(deployment: Deployment<'_>) -> Value {
    let mut binding = json!({ "schemaRegistryVendor": "confluent", "bindingVersion": BINDING });
    if deployment.schemas == SchemaSource::Own && !deployment.public_url.is_empty() {
        insert(&mut binding, "schemaRegistryUrl", deployment.public_url.into());
    }
    let lookup = match deployment.schemas {
        SchemaSource::Own => "Schemas by id: this service answers `/schemas/ids/{id}` and `/subjects`.",
        SchemaSource::Registry => "Schemas by id: in the deployment's schema registry.",
    };
    let server = |protocol: &str, how: &str| {
        json!({
            "host": "{brokers}",
            "protocol": protocol,
            "description": format!("{how} {lookup}"),
            "variables": { "brokers": {
                "default": "localhost:9092", "description": "Bootstrap address of the deployment's brokers" } },
            "bindings": { "kafka": binding },
        })
    };
    let mut secure = server("kafka-secure", "With TLS and a password.");
    insert(&mut secure, "security", json!([{ "$ref": "#/components/securitySchemes/scram" }]));
    json!({ "kafka": server("kafka", "Inside a protected network."), "kafka-secure": secure })
}

fn channel(row: &TopicRow, prefix: &str) -> Value {
    let topic = row.topic.name(prefix).to_string();
    let configuration = match row.cleanup {
        Cleanup::Delete { retention: DurationMs(ms) } => json!({ "cleanup.policy": ["delete"], "retention.ms": ms }),
        Cleanup::Compact { delete_retention: DurationMs(ms) } => {
            json!({ "cleanup.policy": ["compact"], "delete.retention.ms": ms })
        }
    };
    json!({
        "address": topic,
        "summary": summary(row),
        "servers": [{ "$ref": "#/servers/kafka" }, { "$ref": "#/servers/kafka-secure" }],
        "messages": { row.name: { "$ref": format!("#/components/messages/{}", row.name) } },
        "bindings": { "kafka": {
            "topic": topic,
            "partitions": row.partitions_kafka,
            "topicConfiguration": configuration,
            "bindingVersion": BINDING,
        } },
    })
}

/// Said of this service: it sends, consumers receive.
fn operation(row: &TopicRow) -> Value {
    json!({
        "action": "send",
        "summary": summary(row),
        "channel": { "$ref": format!("#/channels/{}", row.name) },
        "messages": [{ "$ref": format!("#/channels/{0}/messages/{0}", row.name) }],
    })
}

fn message(row: &TopicRow) -> Value {
    let id = match row.topic {
        Topic::Decisions => "confirmation_id",
        _ => "request_id",
    };
    json!({
        "name": kind(row),
        "summary": summary(row),
        "contentType": CONTENT_TYPE,
        "headers": headers(row),
        "payload": { "schemaFormat": "application/vnd.apache.avro+json;version=1.9.0", "schema": schema(row) },
        "correlationId": {
            "description": "The confirmation id that the caller was given",
            "location": format!("$message.payload#/{id}"),
        },
        "bindings": { "kafka": {
            "key": { "type": "string", "description": format!("UTF-8: {}", row.key) },
            "schemaIdLocation": "payload",
            "schemaIdPayloadEncoding": "confluent",
            "schemaLookupStrategy": "TopicNameStrategy",
            "bindingVersion": BINDING,
        } },
    })
}

/// CloudEvents in Kafka's binary mode, and where the record stands in its trace.
fn headers(row: &TopicRow) -> Value {
    json!({
        "type": "object",
        "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "content-type"],
        "properties": {
            "ce_specversion": { "const": "1.0" },
            "ce_id": { "type": "string", "description": "Equal when the same event comes again" },
            "ce_type": { "const": kind(row) },
            "ce_source": { "type": "string", "format": "uri-reference" },
            "content-type": { "const": CONTENT_TYPE },
            TraceContext::HEADER: {
                "type": "string",
                "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
                "description": "W3C Trace Context of the request; absent from counts of refusals",
            },
        },
    })
}

fn kind(row: &TopicRow) -> String {
    format!("dev.ridgeline.{}.v1", row.name)
}

fn schema(row: &TopicRow) -> Value {
    schema_of(row.schema).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The schema's own first words.
fn summary(row: &TopicRow) -> Value {
    schema(row).get("doc").cloned().unwrap_or_default()
}

/// Adds a member to an object.
fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/asyncapi.json");
    const BARE: Deployment<'_> = Deployment { prefix: "", public_url: "", schemas: SchemaSource::Own };

    #[test]
    fn the_committed_document_is_todays() {
        if std::env::var_os("RIDGELINE_BLESS").is_some_and(|value| value == "1") {
            let text = serde_json::to_string_pretty(&document(BARE)).unwrap() + "\n";
            std::fs::write(Path::new(FILE), text).unwrap();
        }
        // As values: the order of members depends on which features of the JSON crate others switch on.
        let committed = std::fs::read(Path::new(FILE)).unwrap_or_default();
        let committed: Value = serde_json::from_slice(&committed).unwrap_or_default();
        assert!(committed == document(BARE), "docs/asyncapi.json is out of date: run this test with RIDGELINE_BLESS=1");
    }

    #[test]
    fn the_document_has_what_asyncapi_3_requires() {
        let document = document(BARE);
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let members = |pointer: &str| document.pointer(pointer).unwrap().as_object().unwrap().clone();
        assert_eq!(text("/asyncapi"), "3.0.0");
        assert!(!text("/info/title").is_empty() && !text("/info/version").is_empty());
        for (name, server) in members("/servers") {
            assert!(server["host"].is_string() && server["protocol"].is_string(), "{name}");
            for variable in server["host"].as_str().unwrap().split('{').skip(1) {
                let variable = variable.split('}').next().unwrap();
                assert!(server["variables"][variable].is_object(), "{name}: {variable}");
            }
        }
        assert_eq!(members("/channels").keys().collect::<Vec<_>>(), ["audit", "decisions"]);
        for (name, operation) in members("/operations") {
            assert!(matches!(operation["action"].as_str(), Some("send" | "receive")), "{name}");
            let channel = operation["channel"]["$ref"].as_str().unwrap();
            for message in operation["messages"].as_array().unwrap() {
                let target = message["$ref"].as_str().unwrap();
                assert!(target.starts_with(&format!("{channel}/messages/")), "{name}: {target}");
            }
        }
        for (name, message) in members("/components/messages") {
            assert!(message["payload"]["schemaFormat"].as_str().unwrap().contains("avro"), "{name}");
            assert_eq!(message["payload"]["schema"]["type"], "record", "{name}");
            assert_eq!(message["headers"]["type"], "object", "{name}");
            let place = message["correlationId"]["location"].as_str().unwrap().split("#/").nth(1).unwrap().to_owned();
            let fields = message["payload"]["schema"]["fields"].as_array().unwrap();
            assert!(fields.iter().any(|field| field["name"] == *place), "{name}: {place}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(map) => map.iter().for_each(|(name, value)| match value {
                    Value::String(target) if name == "$ref" => found.push(target),
                    _ => references(value, found),
                }),
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = document(BARE);
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() >= 10);
        for target in found {
            assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
        }
    }

    #[test]
    fn a_deployment_shows_its_own_names_and_no_registry_that_is_not_here() {
        let url = "/servers/kafka/bindings/kafka/schemaRegistryUrl";
        let own = Deployment { prefix: "site.", public_url: "https://id.example", ..BARE };
        let shown = document(own);
        assert_eq!(shown["channels"]["decisions"]["address"], "site.decisions");
        assert_eq!(shown.pointer(url).unwrap(), "https://id.example");
        let shown = document(Deployment { schemas: SchemaSource::Registry, ..own });
        assert_eq!(shown.pointer(url), None);
    }
}
