//! The OpenAPI 3.1 document of the public router, built here so that it is read, reviewed and changed beside the handlers.
//!
//! `docs/openapi.json` is its committed form; a test compares the two and the paths with the routes.

mod actions;
mod auth;
mod build;
mod paths;
mod schemas;

use serde_json::{Value, json};

/// The document.
#[must_use]
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ridgeline",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Biometric verification and identification over an event log",
            "description": "Scans are submitted asynchronously: a request is durable before it is answered with 202, and its \
                decision is fetched by confirmation id. JSON is snake_case, times are RFC 3339 in UTC with milliseconds, \
                binary is standard base64. Unknown request fields are refused. Every answer carries `X-Request-Id`. Device \
                authentication is camelCase, answers `{\"data\": …}` and passes over unknown fields.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "api_key": [] }],
        "tags": [
            { "name": "scans", "description": "Enrol, verify, identify, extract, delete" },
            { "name": "subjects", "description": "Who is enrolled" },
            { "name": "devices", "description": "Device authentication: a phone's key in place of a password. What a device signs is \
                always the challenge text exactly as it was sent, as ASCII bytes" },
            { "name": "confirmations", "description": "Actions that a user starts and somebody approves by signing them on a phone" },
            { "name": "streams", "description": "The public topics without a Kafka client" },
            { "name": "agents", "description": "Capture agents" },
            { "name": "service", "description": "Health, documentation, schemas" },
        ],
        "paths": merged(merged(paths::all(), auth::paths()), actions::paths()),
        "components": {
            "securitySchemes": {
                "api_key": { "type": "apiKey", "in": "header", "name": "X-API-Key",
                    "description": "`rl_<id>_<secret>`, made by an operator; carries permissions" },
                "user_token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "Of a user: from `/api/v1/auth/login` or from the configured OpenID Connect provider" },
                "device_token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "Access token of a device. One with `cnf.jkt` is sent as `Authorization: DPoP <token>` with a \
                        fresh proof in `DPoP` that has `ath` (RFC 9449); `htu` is the address under which callers reach the service" },
            },
            "headers": {
                "RequestId": { "description": "The caller's X-Request-Id if it is valid, else ours",
                    "schema": { "type": "string", "maxLength": 128 } },
                "RetryAfter": { "description": "Seconds", "schema": { "type": "integer" } },
            },
            "responses": {
                "Problem": {
                    "description": "Refused; `code` says why, `type` leads to its page",
                    "headers": { "X-Request-Id": { "$ref": "#/components/headers/RequestId" } },
                    "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
                },
                "Unavailable": {
                    "description": "Log or store cannot be reached, or the service is full; try again",
                    "headers": { "Retry-After": { "$ref": "#/components/headers/RetryAfter" } },
                    "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
                },
                "AuthRefused": {
                    "description": "Refused; `code` says why",
                    "headers": { "X-Request-Id": { "$ref": "#/components/headers/RequestId" } },
                    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/AuthError" } } },
                },
                "AuthLater": {
                    "description": "Try again later; after 503 what was asked for may still be done",
                    "headers": { "Retry-After": { "$ref": "#/components/headers/RetryAfter" } },
                    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/AuthError" } } },
                },
            },
            "schemas": schemas(),
        },
    })
}

fn schemas() -> Value {
    merged(merged(schemas::all(), auth::schemas()), actions::schemas())
}

/// The members of both.
fn merged(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

    #[test]
    fn the_committed_document_is_todays() {
        if std::env::var_os("RIDGELINE_BLESS").is_some_and(|value| value == "1") {
            let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
            std::fs::write(Path::new(FILE), text).unwrap();
        }
        // As values: the order of members depends on which features of the JSON crate others switch on.
        let committed = std::fs::read(Path::new(FILE)).unwrap_or_default();
        let committed: Value = serde_json::from_slice(&committed).unwrap_or_default();
        assert!(committed == document(), "docs/openapi.json is out of date: run this test with RIDGELINE_BLESS=1");
    }

    #[test]
    fn documented_paths_and_routes_are_the_same() {
        let source = include_str!("../routes.rs");
        let public = source.split("pub(crate) fn admin").next().unwrap();
        let routes: BTreeSet<_> =
            public.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let document = document();
        let documented: BTreeSet<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(documented, routes);
    }

    #[test]
    fn every_reference_leads_somewhere_and_ids_are_unique() {
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
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 30);
        for target in found {
            assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
        }
        let operations =
            document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
        let ids: Vec<_> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }
}
