//! Every path of the public router.

use serde_json::{Value, json};

use super::build::{Operation, path, schema};

pub(super) fn all() -> Value {
    json!({
        "/api/v1/scans": path([("post", submit())]),
        "/api/v1/scans:batch": path([("post", batch())]),
        "/api/v1/scans/{confirmation_id}": path([("get", status())]),
        "/api/v1/scans/{confirmation_id}/events": path([("get", events())]),
        "/api/v1/subjects/{subject_id}": path([("get", subject()), ("delete", forget())]),
        "/api/v1/agent/records": path([("post", record())]),
        "/api/v1/tail/{stream}": path([("get", tail())]),
        "/health": path([("get", health())]),
        "/health/live": path([("get", plain("isAlive", "Whether the process answers"))]),
        "/health/ready": path([("get", plain("isReady", "Whether requests are accepted").refuses(&[503]))]),
        "/openapi.json": path([("get", plain("getOpenApi", "This document"))]),
        "/asyncapi.json": path([("get", plain("getAsyncApi", "The public topics (AsyncAPI 3)"))]),
        "/docs": path([("get", page("getDocs", "This document for people"))]),
        "/docs/errors/{code}": path([("get", page("getErrorPage", "What an error code means")
            .path("code", &json!({ "type": "string", "pattern": "^RL-[0-9]{4}$" }), "The code").refuses(&[404]))]),
        "/schemas/ids/{id}": path([("get", registry("getSchema", "A schema by id")
            .path("id", &json!({ "type": "integer" }), "The id in front of each record"))]),
        "/subjects": path([("get", registry("listSchemaSubjects", "Schema subjects, one for each public topic"))]),
        "/subjects/{subject}/versions": path([("get", registry("listSchemaVersions", "Versions of a schema subject")
            .path("subject", &json!({ "type": "string" }), "`<topic>-value`"))]),
        "/subjects/{subject}/versions/{version}": path([("get", registry("getSchemaVersion", "A version of a schema subject")
            .path("subject", &json!({ "type": "string" }), "`<topic>-value`")
            .path("version", &json!({ "type": "string" }), "A number or `latest`"))]),
    })
}

fn submit() -> Operation {
    let content = json!({
        "application/json": { "schema": schema("ScanRequest") },
        "multipart/form-data": { "schema": schema("ScanForm") },
    });
    waiting(Operation::new("scans", "submitScan", "Submit a scan"))
        .text("Durable before the answer. Needs the permission of its operation: `biometric:enroll`, `biometric:verify`, \
            `biometric:identify`, `biometric:extract` or `biometric:delete`. Bodies have at most 10 MiB, images at most \
            4 megapixels.")
        .body(&content)
        .refuses(&[400, 401, 403, 409, 413, 415, 422, 501, 503])
}

/// A submission: what it may ask for in headers, and how it is answered.
fn waiting(operation: Operation) -> Operation {
    operation
        .header(
            "Idempotency-Key",
            &json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
            "A repetition of the same request under it keeps the first confirmation id; another request is refused with 409. \
             Scope: the API key. Kept 7 days.",
        )
        .header("Prefer", &json!({ "type": "string", "examples": ["wait=10"] }), "`wait=SECONDS`, at most 30")
        .json(200, "Decided in the time that was to be waited", &schema("Decision"))
        .json(202, "Accepted; `Location` is where its status is", &schema("Accepted"))
}

fn confirmation_id(operation: Operation) -> Operation {
    operation.path("confirmation_id", &schema("ConfirmationId"), "From the answer to the submission")
}

fn status() -> Operation {
    confirmation_id(Operation::new("scans", "getScan", "Where a scan stands"))
        .text("A request of another key is not found, unless the key has `biometric:read_all`.")
        .query(
            "wait",
            &json!({ "type": "integer", "minimum": 0, "maximum": 30 }),
            "Wait so many seconds for the decision",
        )
        .json(200, "The status, with the decision once there is one", &schema("ScanStatus"))
        .refuses(&[400, 401, 404, 503])
}

fn events() -> Operation {
    confirmation_id(Operation::new("scans", "followScan", "Follow a scan"))
        .text("Server-sent events: `accepted` at once, `decided` with the status when it is, then the stream ends. It also ends \
            after 10 minutes; connect again. With `Last-Event-ID: decided` the answer is 204.")
        .answers(200, "The events; their data is a ScanStatus", "text/event-stream", &json!({ "type": "string" }))
        .empty(204, "Nothing more will come")
        .refuses(&[401, 404, 503])
}

fn batch() -> Operation {
    let lines = |description: &str| json!({ "type": "string", "description": description });
    Operation::new("scans", "submitScans", "Submit a stream of scans")
        .text("One ScanRequest on each line, at most 10 MiB a line, any number of lines. One BatchAnswer for each line comes \
            back in the same order while the body is still being sent. Read while you write.")
        .body(&json!({ "application/x-ndjson": { "schema": lines("ScanRequest on each line") } }))
        .answers(200, "The answers so far", "application/x-ndjson", &lines("BatchAnswer on each line"))
        .refuses(&[401, 415, 503])
}

fn subject_id(operation: Operation) -> Operation {
    operation.path("subject_id", &schema("SubjectId"), "Whose biometrics")
}

fn subject() -> Operation {
    subject_id(Operation::new("subjects", "getSubject", "What is enrolled"))
        .text("Never a template. Needs `biometric:read_all`.")
        .json(200, "Enrolled positions", &schema("Subject"))
        .refuses(&[400, 401, 403, 404, 503])
}

fn forget() -> Operation {
    waiting(subject_id(Operation::new("subjects", "deleteSubject", "Forget a subject")))
        .text("The same as a scan with the operation `delete`. Needs `biometric:delete`.")
        .refuses(&[400, 401, 403, 409, 503])
}

fn record() -> Operation {
    let bytes = json!({ "schema": { "type": "string", "format": "binary", "maxLength": 12 << 20 } });
    Operation::new("agents", "appendRecord", "Append a sealed, signed record")
        .text("One value of the topic `scans` with its schema id in front. The agent's signature is the credential. Answered \
            after the durable append; sending a record twice does no harm.")
        .open()
        .body(&json!({ "application/octet-stream": bytes, "avro/binary": bytes }))
        .json(200, "Appended", &schema("Appended"))
        .refuses(&[400, 413, 415, 422, 503])
}

fn tail() -> Operation {
    Operation::new("streams", "tail", "Follow a public topic")
        .text("Server-sent events `decision` or `audit`; ids are `<partition>:<offset>`. Needs `audit:read`.")
        .path("stream", &json!({ "type": "string", "enum": ["decisions", "audit"] }), "Which topic")
        .query("from", &json!({ "type": "string", "enum": ["beginning", "end"], "default": "end" }), "Where to begin")
        .answers(200, "The records as JSON", "text/event-stream", &json!({ "type": "string" }))
        .refuses(&[400, 401, 403, 404, 503])
}

fn health() -> Operation {
    Operation::new("service", "getHealth", "How the components are")
        .open()
        .json(200, "Healthy or degraded", &schema("Health"))
        .json(503, "Unhealthy", &schema("Health"))
}

fn plain(id: &str, summary: &str) -> Operation {
    Operation::new("service", id, summary).open().json(200, summary, &json!({}))
}

fn registry(id: &str, summary: &str) -> Operation {
    plain(id, summary).text("The read side of a schema registry, as Confluent's clients ask for it: their `schema.registry.url` is the address of \
            this service. Every schema is shown by id, public topics also as subjects. 404 where the deployment has a schema \
            registry of its own, whose ids stand in front of values then.").refuses(&[404])
}

fn page(id: &str, summary: &str) -> Operation {
    Operation::new("service", id, summary).open().answers(200, summary, "text/html", &json!({ "type": "string" }))
}
