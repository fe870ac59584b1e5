//! Every schema of the document.

use ridgeline_domain::{ErrorCode, Liveness, Operation, Outcome, Position, Reason};
use serde_json::{Value, json};

use super::build::{object, schema};

pub(super) fn all() -> Value {
    let words = |words: Vec<&str>| json!({ "type": "string", "enum": words });
    json!({
        "ConfirmationId": { "type": "string", "pattern": "^[0-9a-f]{32}$", "description": "128 random bits" },
        "SubjectId": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$" },
        "Operation": words(Operation::ALL.iter().map(|word| word.as_str()).collect()),
        "Position": words(Position::ALL.iter().map(|word| word.as_str()).collect()),
        "Outcome": words(Outcome::ALL.iter().map(|word| word.as_str()).collect()),
        "Reason": {
            "type": "string", "examples": Reason::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>(),
            "description": "Later versions may know more of them",
        },
        "ScanRequest": scan_request(),
        "ScanForm": scan_form(),
        "Sample": sample(),
        "ScanOptions": scan_options(),
        "Metadata": {
            "type": "object", "additionalProperties": { "type": "string" },
            "description": "At most 4096 bytes of names and values; stored encrypted with the subject",
        },
        "Accepted": object("The request is durable", &["confirmation_id", "status", "status_url"], json!({
            "confirmation_id": schema("ConfirmationId"),
            "status": { "const": "accepted" },
            "status_url": { "type": "string" },
        })),
        "ScanStatus": object("Where a request stands", &["confirmation_id", "status"], json!({
            "confirmation_id": schema("ConfirmationId"),
            "status": { "type": "string", "enum": ["accepted", "decided", "failed"] },
            "decision": schema("Decision"),
        })),
        "Decision": decision(),
        "Candidate": object("A subject worth considering", &["subject_id", "position", "confidence"], json!({
            "subject_id": schema("SubjectId"),
            "position": schema("Position"),
            "confidence": percentage("Judged with all comparisons of the search"),
        })),
        "BatchAnswer": object("One line; either a confirmation id or a problem", &["line"], json!({
            "line": { "type": "integer", "minimum": 1 },
            "confirmation_id": schema("ConfirmationId"),
            "problem": schema("Problem"),
        })),
        "Subject": subject(),
        "Appended": object("The record is durable", &["confirmation_id"], json!({
            "confirmation_id": schema("ConfirmationId"),
        })),
        "Health": health(),
        "Problem": problem(),
    })
}

fn percentage(description: &str) -> Value {
    json!({ "type": "number", "minimum": 0, "maximum": 100, "description": description })
}

fn time(description: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": description })
}

fn dpi() -> Value {
    json!({ "type": "integer", "minimum": 250, "maximum": 1200, "description": "Required unless the image carries it" })
}

fn format() -> Value {
    json!({
        "type": "string",
        "enum": ["png", "jpeg", "bmp", "tiff", "pgm", "wsq", "iso19794-2", "ansi378", "sealed"],
        "description": "`iso19794-2` (2005, 2011) and `ansi378` (2004, 2009, 2009/AM1): a finger minutiae record of another system. Its views \
            of the finger at `position` count as one impression each; its own quality is what the quality minima are held against. `sealed`: a template \
            that this service returned",
    })
}

fn scan_request() -> Value {
    object(
        "A request; unknown fields are refused",
        &["operation"],
        json!({
            "operation": schema("Operation"),
            "subject_id": {
                "allOf": [schema("SubjectId")], "description": "Required for enrol, verify and delete",
            },
            "modality": { "type": "string", "enum": ["fingerprint"], "default": "fingerprint" },
            "position": { "allOf": [schema("Position")], "default": "unknown" },
            "samples": {
                "type": "array", "minItems": 1, "maxItems": 10, "items": schema("Sample"),
                "description": "Required for all operations but delete",
            },
            "options": schema("ScanOptions"),
            "metadata": schema("Metadata"),
            "callback_url": { "type": "string", "format": "uri", "description": "Not in this version (501)" },
        }),
    )
}

fn scan_form() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    object(
        "The same request as a form; `format` and `dpi` hold for all samples",
        &["operation"],
        json!({
            "operation": schema("Operation"),
            "subject_id": schema("SubjectId"),
            "modality": { "type": "string", "enum": ["fingerprint"], "default": "fingerprint" },
            "position": schema("Position"),
            "sample": {
                "type": "array", "minItems": 1, "maxItems": 10,
                "items": { "type": "string", "format": "binary" }, "description": "One part for each sample",
            },
            "format": format(),
            "dpi": dpi(),
            "options": text("ScanOptions as JSON"),
            "metadata": text("Metadata as JSON"),
            "callback_url": text("Not in this version (501)"),
        }),
    )
}

fn sample() -> Value {
    object(
        "An image, a minutiae record or a sealed template",
        &["format", "data"],
        json!({
            "format": format(),
            "data": { "type": "string", "contentEncoding": "base64" },
            "dpi": dpi(),
        }),
    )
}

fn scan_options() -> Value {
    object(
        "Further wishes",
        &[],
        json!({
            "threshold_confidence": percentage("Raises the accept bound of the deployment; cannot lower it"),
            "top_k": { "type": "integer", "minimum": 1, "maximum": 100, "description": "Candidates to return" },
            "dedup": { "type": "boolean", "description": "Search for the finger under other subjects first; not in this version (501)" },
            "gallery": { "type": "object", "description": "Restricts an identification; not in this version (501)" },
            "strict_quality": { "type": "boolean", "description": "Hold samples to the recommended quality" },
        }),
    )
}

fn decision() -> Value {
    let required = [
        "confirmation_id",
        "operation",
        "outcome",
        "liveness",
        "engine",
        "valid_until",
        "evaluated_at",
        "decided_at",
        "duration_ms",
    ];
    object(
        "How a request ended; refuse it after `valid_until`",
        &required,
        json!({
            "confirmation_id": schema("ConfirmationId"),
            "operation": schema("Operation"),
            "outcome": schema("Outcome"),
            "subject_id": schema("SubjectId"),
            "confidence": percentage("70 is a false match rate of 1 in 10 000; of a non-match only with `biometric:analyze`"),
            "quality": { "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 100 } },
            "candidates": {
                "type": "array", "items": schema("Candidate"), "description": "Best first; only with `biometric:analyze`",
            },
            "coverage": object("How much of the gallery was searched", &["searched", "total", "templates"], json!({
                "searched": { "type": "integer" }, "total": { "type": "integer" }, "templates": { "type": "integer" },
            })),
            "reason": schema("Reason"),
            "liveness": object("Presentation attack detection", &["status"], json!({
                "status": { "type": "string", "enum": Liveness::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>() },
                "score": percentage("Of the detector"),
            })),
            "template": {
                "type": "string", "contentEncoding": "base64", "description": "Sealed template; only for the key that asked",
            },
            "engine": { "type": "string" },
            "valid_until": time("A relying party must refuse the decision after this time"),
            "evaluated_at": time("The time it was judged for"),
            "decided_at": time("When it was first stored"),
            "duration_ms": { "type": "integer", "description": "From the append of the request to the decision" },
        }),
    )
}

fn subject() -> Value {
    let required = ["subject_id", "version", "engine", "positions", "created_at", "updated_at"];
    object(
        "An enrolled subject",
        &required,
        json!({
            "subject_id": schema("SubjectId"),
            "version": { "type": "integer", "description": "Rises by one with each change" },
            "engine": { "type": "string" },
            "positions": {
                "type": "array",
                "items": object("An enrolled finger", &["position", "quality", "templates", "enrolled_at"], json!({
                    "position": schema("Position"),
                    "quality": { "type": "integer", "minimum": 0, "maximum": 100 },
                    "templates": { "type": "integer", "description": "How many" },
                    "enrolled_at": time("When"),
                })),
            },
            "created_at": time("First enrolment"),
            "updated_at": time("Last change"),
        }),
    )
}

fn health() -> Value {
    let state = json!({ "type": "string", "enum": ["healthy", "degraded", "unhealthy"] });
    object(
        "The worst component decides",
        &["status", "version", "components", "readers"],
        json!({
            "status": state,
            "version": { "type": "string" },
            "components": {
                "type": "object",
                "additionalProperties": { "type": "object", "properties": { "status": state } },
            },
            "readers": { "type": "object", "properties": {
                "attached": { "type": "integer" }, "note": { "type": "string" },
            } },
        }),
    )
}

fn problem() -> Value {
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    object(
        "Why a request was refused (RFC 9457)",
        &["type", "title", "status", "code", "detail", "request_id"],
        json!({
            "type": { "type": "string", "format": "uri-reference", "description": "The page of the code" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "code": { "type": "string", "enum": codes },
            "detail": { "type": "string" },
            "request_id": { "type": "string" },
            "errors": { "type": "array", "items": object("One field", &["pointer", "detail"], json!({
                "pointer": { "type": "string", "format": "json-pointer" }, "detail": { "type": "string" },
            })) },
        }),
    )
}
