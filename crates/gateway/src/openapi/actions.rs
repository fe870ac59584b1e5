//! Paths and schemas of actions that must be approved.

use ridgeline_domain::ActionStatus;
use serde_json::{Value, json};

use super::auth::{asked, body, data, proof, text, time};
use super::build::{Operation, object, path, schema};

pub(super) fn paths() -> Value {
    json!({
        "/api/v1/auth/confirmation/initiate": path([("post", initiate())]),
        "/api/v1/auth/confirmation": path([("get", pending())]),
        "/api/v1/auth/confirmation/{id}/status": path([("get", action_status())]),
        "/api/v1/auth/confirmation/{id}/events": path([("get", action_events())]),
        "/api/v1/auth/confirmation/{id}/verify": path([("post", approve())]),
        "/api/v1/auth/confirmation/{id}/reject": path([("post", reject())]),
        "/api/v1/auth/confirmation/{id}/redeem": path([("post", redeem())]),
        "/api/v1/auth/confirmation/{id}/received": path([("post", received())]),
    })
}

fn action(id: &str, summary: &str) -> Operation {
    Operation::new("confirmations", id, summary).path("id", &schema("ConfirmationId"), "What `initiate` answered")
}

fn initiate() -> Operation {
    let operation = Operation::new("confirmations", "initiateConfirmation", "Start an action that must be approved")
        .text("At most three of a user wait at a time. What must be approved by whom is the deployment's policy; without one the \
            user approves on a device of his own.")
        .secured_by(&["user_token"]);
    data(body(operation, "NewConfirmation"), 201, "It waits", &schema("InitiatedConfirmation"))
        .refuses_in_envelope(&[400, 401, 413, 415, 422, 429, 501, 503])
}

fn pending() -> Operation {
    let operation = Operation::new("confirmations", "listPendingConfirmations", "What waits for the device's user")
        .query("status", &json!({ "const": "pending" }), "The only one listed")
        .secured_by(&["device_token"]);
    data(proof(operation), 200, "Oldest first", &json!({ "type": "array", "items": schema("Confirmation") }))
        .refuses_in_envelope(&[400, 401, 429, 501, 503])
}

fn action_status() -> Operation {
    let wait = json!({ "type": "integer", "minimum": 0, "maximum": 30 });
    let operation = action("getConfirmation", "How far a confirmation is")
        .query("wait", &wait, "Seconds to wait for something to happen")
        .secured_by(&["user_token", "device_token"]);
    data(proof(operation), 200, "How far it is", &schema("Confirmation"))
        .refuses_in_envelope(&[400, 401, 404, 429, 501, 503])
}

fn action_events() -> Operation {
    let operation = action("followConfirmation", "How far a confirmation is, now and whenever it goes on")
        .text("Server-sent events named `pending`, `approved`, `rejected`, `expired`; their data is a Confirmation. The stream ends \
            with a final one.")
        .secured_by(&["user_token", "device_token"]);
    proof(operation)
        .answers(200, "Events", "text/event-stream", &json!({ "type": "string" }))
        .refuses_in_envelope(&[401, 404, 429, 501, 503])
}

fn approve() -> Operation {
    let operation = action("approveConfirmation", "Sign a confirmation's challenge")
        .text("Counts once for each user. The last approval that is needed makes it `approved`.")
        .secured_by(&["device_token"]);
    data(proof(body(operation, "Approval")), 200, "It counts", &schema("DecidedConfirmation"))
        .refuses_in_envelope(&[400, 401, 403, 404, 409, 413, 415, 422, 429, 501, 503])
}

fn reject() -> Operation {
    let operation = action("rejectConfirmation", "Say no").secured_by(&["device_token", "user_token"]);
    data(proof(body(operation, "Rejection")), 200, "It is over", &schema("DecidedConfirmation"))
        .refuses_in_envelope(&[400, 401, 404, 409, 413, 415, 429, 501, 503])
}

fn redeem() -> Operation {
    let operation = action("redeemConfirmation", "Use the token of an approved confirmation up")
        .text("Once, within five minutes of the approval, by the client that initiated it.")
        .secured_by(&["user_token"]);
    data(body(operation, "Redemption"), 200, "Used up now", &schema("RedeemedConfirmation"))
        .refuses_in_envelope(&[400, 401, 403, 404, 409, 413, 415, 429, 501, 503])
}

fn received() -> Operation {
    let operation =
        action("confirmReceipt", "Say that the device has shown a confirmation").secured_by(&["device_token"]);
    data(proof(operation), 200, "Noted", &schema("DecidedConfirmation")).refuses_in_envelope(&[401, 404, 429, 501, 503])
}

pub(super) fn schemas() -> Value {
    let words: Vec<_> = ActionStatus::ALL.iter().map(|word| word.as_str()).collect();
    let payload = json!({ "type": "object", "description": "At most 4096 bytes, 16 levels, no integer beyond 2^53 (send it as text)" });
    json!({
        "ConfirmationId": { "type": "string", "pattern": "^[0-9a-f]{32}$", "description": "An action that must be approved" },
        "ConfirmationStatus": { "type": "string", "enum": words },
        "NewConfirmation": asked("What is to be approved", &["actionType", "actionPayload"], json!({
            "actionType": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$", "description": "For instance payment_approval" },
            "actionPayload": payload,
            "language": { "type": "string", "enum": ["vi", "en"], "description": "What is shown where a device has no language" },
            "displayCode": { "type": "boolean", "default": false, "description": "Whether approvers must type a code that the initiator shows" },
            "callbackUrl": { "type": "string", "maxLength": 2048, "description": "https; told of the end, at most three times" },
            "requestedExpirySeconds": { "type": "integer", "minimum": 120, "maximum": 300, "default": 300 },
        })),
        "InitiatedConfirmation": object("It waits", &["confirmationId", "challenge", "status", "expiresAt", "notifiedDevices"], json!({
            "confirmationId": schema("ConfirmationId"),
            "challenge": text("The text to sign: 64 random bytes and SHA-256 of the canonical JSON of type and payload, base64url"),
            "displayCode": text("Two digits, to be shown to whoever approves"),
            "status": schema("ConfirmationStatus"), "expiresAt": time("Over unless decided before"),
            "notifiedDevices": { "type": "integer", "description": "Devices that are told" },
        })),
        "Confirmation": confirmation(&payload),
        "Approval": asked("A signed approval", &["deviceId", "signedChallenge"], json!({
            "deviceId": schema("DeviceId"),
            "signedChallenge": { "type": "string", "maxLength": 684, "description": "base64 or base64url of the signature over the challenge" },
            "displayCode": { "type": "string", "pattern": "^[0-9]{2}$", "description": "Where one is needed: as typed" },
        })),
        "Rejection": asked("Why not", &[], json!({ "reason": { "type": "string", "maxLength": 500 } })),
        "Redemption": asked("The token", &["confirmationToken"], json!({ "confirmationToken": { "type": "string", "maxLength": 8192 } })),
        "DecidedConfirmation": object("How far it is", &["confirmationId", "status"], json!({
            "confirmationId": schema("ConfirmationId"), "status": schema("ConfirmationStatus"),
        })),
        "RedeemedConfirmation": object("Used up", &["confirmationId", "actionType", "redeemedAt"], json!({
            "confirmationId": schema("ConfirmationId"), "actionType": text("Its kind"), "redeemedAt": time("When"),
        })),
    })
}

fn confirmation(payload: &Value) -> Value {
    let required = [
        "confirmationId",
        "status",
        "actionType",
        "actionPayload",
        "approvals",
        "requiredApprovals",
        "needsDisplayCode",
        "createdAt",
        "expiresAt",
    ];
    let approval =
        object("One approval", &["approver", "at"], json!({ "approver": text("Subject"), "at": time("When") }));
    object(
        "How far it is",
        &required,
        json!({
            "confirmationId": schema("ConfirmationId"),
            "status": schema("ConfirmationStatus"),
            "actionType": text("Its kind"),
            "actionPayload": payload,
            "challenge": text("The text to sign; for devices, while it is pending"),
            "approvals": { "type": "array", "items": approval },
            "requiredApprovals": { "type": "integer" },
            "needsDisplayCode": { "type": "boolean", "description": "Whether approvers must type what the initiator shows" },
            "createdAt": time("When"),
            "expiresAt": time("Over unless decided before"),
            "approvedAt": time("Last approval"),
            "rejectedAt": time("When somebody said no"),
            "confirmationToken": text("To be redeemed once; only for the client that initiated it"),
        }),
    )
}
