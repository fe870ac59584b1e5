//! Small pieces that operations are put together from.

use serde_json::{Map, Value, json};

/// A reference to a schema.
pub(super) fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// One operation of a path.
pub(super) struct Operation(Value);

impl Operation {
    pub(super) fn new(tag: &str, id: &str, summary: &str) -> Self {
        Self(json!({ "tags": [tag], "operationId": id, "summary": summary, "parameters": [], "responses": {} }))
    }

    fn set(mut self, name: &str, value: Value) -> Self {
        if let Some(operation) = self.0.as_object_mut() {
            operation.insert(name.to_owned(), value);
        }
        self
    }

    pub(super) fn text(self, description: &str) -> Self {
        self.set("description", description.into())
    }

    /// No credential is asked for.
    pub(super) fn open(self) -> Self {
        self.set("security", json!([]))
    }

    fn parameter(mut self, place: &str, name: &str, schema: &Value, description: &str) -> Self {
        if let Some(parameters) = self.0.get_mut("parameters").and_then(Value::as_array_mut) {
            let required = place == "path";
            parameters.push(json!({
                "in": place, "name": name, "required": required, "schema": schema, "description": description,
            }));
        }
        self
    }

    pub(super) fn path(self, name: &str, schema: &Value, description: &str) -> Self {
        self.parameter("path", name, schema, description)
    }

    pub(super) fn query(self, name: &str, schema: &Value, description: &str) -> Self {
        self.parameter("query", name, schema, description)
    }

    pub(super) fn header(self, name: &str, schema: &Value, description: &str) -> Self {
        self.parameter("header", name, schema, description)
    }

    pub(super) fn body(self, content: &Value) -> Self {
        self.set("requestBody", json!({ "required": true, "content": content }))
    }

    fn response(mut self, status: &str, response: Value) -> Self {
        if let Some(responses) = self.0.get_mut("responses").and_then(Value::as_object_mut) {
            responses.insert(status.to_owned(), response);
        }
        self
    }

    /// Answers with this media type and schema.
    pub(super) fn answers(self, status: u16, description: &str, kind: &str, schema: &Value) -> Self {
        let headers = json!({ "X-Request-Id": { "$ref": "#/components/headers/RequestId" } });
        let content = json!({ kind: { "schema": schema } });
        let response = json!({ "description": description, "headers": headers, "content": content });
        self.response(&status.to_string(), response)
    }

    pub(super) fn json(self, status: u16, description: &str, schema: &Value) -> Self {
        self.answers(status, description, "application/json", schema)
    }

    /// Answers without a body.
    pub(super) fn empty(self, status: u16, description: &str) -> Self {
        self.response(&status.to_string(), json!({ "description": description }))
    }

    /// Refuses with these statuses.
    pub(super) fn refuses(self, statuses: &[u16]) -> Self {
        statuses.iter().fold(self, |operation, status| {
            let name = if *status == 503 { "Unavailable" } else { "Problem" };
            operation.response(&status.to_string(), json!({ "$ref": format!("#/components/responses/{name}") }))
        })
    }

    /// The same in the envelope of device authentication.
    pub(super) fn refuses_in_envelope(self, statuses: &[u16]) -> Self {
        statuses.iter().fold(self, |operation, status| {
            let name = if matches!(status, 429 | 503) { "AuthLater" } else { "AuthRefused" };
            operation.response(&status.to_string(), json!({ "$ref": format!("#/components/responses/{name}") }))
        })
    }

    /// One of these credentials is asked for.
    pub(super) fn secured_by(self, schemes: &[&str]) -> Self {
        let schemes = schemes.iter().map(|scheme| json!({ (*scheme): [] }));
        self.set("security", schemes.collect())
    }

    pub(super) fn build(mut self) -> Value {
        if let Some(operation) = self.0.as_object_mut()
            && operation.get("parameters").and_then(Value::as_array).is_some_and(Vec::is_empty)
        {
            operation.remove("parameters");
        }
        self.0
    }
}

/// A path with its operations.
pub(super) fn path<const N: usize>(operations: [(&str, Operation); N]) -> Value {
    let operations = operations.into_iter().map(|(method, operation)| (method.to_owned(), operation.build()));
    Value::Object(operations.collect::<Map<_, _>>())
}

/// An object schema; fields of the list `required` are.
pub(super) fn object(description: &str, required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object", "description": description, "required": required, "properties": properties,
        "additionalProperties": false,
    })
}
