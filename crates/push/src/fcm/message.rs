//! A notification as FCM takes it: `projects.messages.send` of HTTP v1.

use ridgeline_domain::Timestamp;
use ridgeline_ports::{Push, PushError};
use serde_json::json;

/// The longest that FCM keeps a message: four weeks.
const KEPT_S_MAX: i64 = 2_419_200;
/// Longest token. Real ones have about 160 characters.
const TOKEN_BYTES_MAX: usize = 4_096;
/// Largest message. FCM takes 4 096 bytes of contents; the rest of it is ours.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// The body of the request, or why there is none.
pub(super) fn body(push: &Push, now: Timestamp) -> Result<Vec<u8>, PushError> {
    let token = push.token.expose();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(PushError::Refused("the device's token cannot be one".to_owned()));
    }
    let left = push.expires_at.since(now);
    if left.0 <= 0 {
        return Err(PushError::Refused("the confirmation has expired".to_owned()));
    }
    // Rounded down, so that nothing is shown for which it is too late.
    let ttl_s = (left.0 / 1_000).min(KEPT_S_MAX);
    let expires_s = push.expires_at.millis().div_euclid(1_000);
    let message = json!({ "message": {
        "token": token,
        "notification": { "title": push.title, "body": push.body },
        "data": {
            "type": "confirmation_request",
            "confirmationId": push.confirmation_id.to_string(),
            "actionType": push.action_type,
        },
        "android": {
            "priority": "high",
            "ttl": format!("{ttl_s}s"),
            // Sent twice, it shows once.
            "collapse_key": push.confirmation_id.to_string(),
            "notification": {
                "tag": push.confirmation_id.to_string(),
                "channel_id": "biometric_confirmations",
                "icon": "ic_notification",
                "color": "#2196F3",
            },
        },
        "apns": {
            "headers": {
                "apns-expiration": expires_s.to_string(),
                "apns-priority": "10",
                "apns-collapse-id": push.confirmation_id.to_string(),
            },
            "payload": {
                "aps": { "category": "BIOMETRIC_CONFIRMATION", "sound": "default" },
                "action": "CONFIRM_ACTION",
            },
        },
    }});
    let body = message.to_string().into_bytes();
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(PushError::Refused("the notification is larger than 16 KiB".to_owned()));
    }
    Ok(body)
}
