//! What FCM's answers mean. Nothing of them is repeated but words from closed lists: they quote tokens and texts.

use ridgeline_domain::Timestamp;
use ridgeline_egress::{Answer, EgressError};
use ridgeline_ports::{PushError, PushReceipt};
use serde_json::Value;

use super::wait::retry_after;

/// Longest id that is kept.
const MESSAGE_ID_BYTES_MAX: usize = 255;
/// What FCM's own error is marked with among the details.
const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
/// How a refused field is marked.
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
/// The field that holds the device's token.
const TOKEN_FIELD: &str = "message.token";

/// The receipt, or why there is none.
pub(super) fn receipt(answer: &Answer, now: Timestamp) -> Result<PushReceipt, PushError> {
    let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    if !matches!(answer.status, 200..=299) {
        return Err(refusal(answer, &body, now));
    }
    let name = body.get("name").and_then(Value::as_str).filter(|name| is_message_id(name));
    name.map(|name| PushReceipt { message_id: name.to_owned() })
        .ok_or_else(|| later(answer, now, "FCM's answer names no message".to_owned()))
}

fn is_message_id(name: &str) -> bool {
    (1..=MESSAGE_ID_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether the token of the request is over, or none of FCM's. A device that is not reached over APNs has the same status.
pub(super) fn wants_another_token(answer: &Answer) -> bool {
    let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    answer.status == 401 && fcm_code(&body) != Some("THIRD_PARTY_AUTH_ERROR")
}

fn refusal(answer: &Answer, body: &Value, now: Timestamp) -> PushError {
    let status = body.pointer("/error/status").and_then(Value::as_str);
    let setup = |what: &str| later(answer, now, format!("{what} (HTTP {})", answer.status));
    match (answer.status, fcm_code(body)) {
        (_, Some("UNREGISTERED")) => PushError::Unregistered,
        // A page of a proxy, or of another server, says nothing about the device.
        (404, _) if status == Some("NOT_FOUND") => PushError::Unregistered,
        (404, _) => setup("the address of FCM leads elsewhere, or the project is unknown"),
        (_, Some("SENDER_ID_MISMATCH")) => {
            PushError::Refused("the device's token belongs to another project".to_owned())
        }
        (_, Some("THIRD_PARTY_AUTH_ERROR")) => setup("the project has no valid key for APNs or web push"),
        (400, _) if status == Some("INVALID_ARGUMENT") => PushError::Refused(argument(body).to_owned()),
        (400, _) => PushError::Refused("FCM cannot read the request".to_owned()),
        (413, _) => PushError::Refused("the notification is too large".to_owned()),
        (401, _) => setup("FCM does not accept the service account's token"),
        (403, _) => setup("the service account may not send messages of the project"),
        (429, _) => setup("FCM is asked too often"),
        (status, _) => later(answer, now, format!("FCM answers with HTTP {status}")),
    }
}

/// Which argument is refused, as far as it is one of ours.
fn argument(body: &Value) -> &'static str {
    let violations = details(body, BAD_REQUEST).find_map(|detail| detail.get("fieldViolations")?.as_array());
    let mut fields = violations.into_iter().flatten().filter_map(|violation| violation.get("field")?.as_str());
    match fields.next() {
        Some(TOKEN_FIELD) => "the device's token is not one of FCM's",
        Some(_) => "FCM does not accept a field of the notification",
        // Without a field the argument is the token.
        None if fcm_code(body).is_some() => "the device's token is not one of FCM's",
        None => "FCM does not accept the notification",
    }
}

fn fcm_code(body: &Value) -> Option<&str> {
    details(body, FCM_ERROR).find_map(|detail| detail.get("errorCode")?.as_str())
}

fn details<'a>(body: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let details = body.pointer("/error/details").and_then(Value::as_array).into_iter().flatten();
    details.filter(move |detail| detail.get("@type").is_some_and(|found| found == kind))
}

fn later(answer: &Answer, now: Timestamp, what: String) -> PushError {
    PushError::Later { after: retry_after(answer, now), what }
}

/// There is no answer.
pub(super) fn unanswered(whose: &str, error: &EgressError) -> PushError {
    let what = match error {
        EgressError::TooLarge { max, .. } => format!("the answer of {whose} exceeds {max} bytes"),
        EgressError::BadLogin => format!("the token for {whose} has characters that cannot be sent"),
        other => format!("{whose} cannot be reached{}", causes(other)),
    };
    PushError::Later { after: None, what }
}

/// What the connection said. The address is left out: it may stand in the service account's file.
fn causes(error: &EgressError) -> String {
    let first = std::error::Error::source(error);
    let causes = std::iter::successors(first, |cause| cause.source());
    causes.map(|cause| format!(": {cause}")).collect()
}

#[cfg(test)]
mod tests;
