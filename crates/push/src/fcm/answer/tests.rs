use ridgeline_domain::DurationMs;
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(0);

fn judged(status: u16, body: &str) -> Result<PushReceipt, PushError> {
    receipt(&Answer { status, body: body.as_bytes().to_vec(), retry_after: Some("3".to_owned()) }, NOW)
}

fn error(status: u16, word: &str, details: Value) -> String {
    json!({ "error": { "code": status, "message": "secret", "status": word, "details": details } }).to_string()
}

fn fcm(status: u16, word: &str, code: &str) -> Result<PushReceipt, PushError> {
    judged(status, &error(status, word, json!([{ "@type": FCM_ERROR, "errorCode": code }])))
}

#[test]
fn a_token_is_dropped_only_when_fcm_says_that_it_is_over() {
    assert_eq!(fcm(404, "NOT_FOUND", "UNREGISTERED"), Err(PushError::Unregistered));
    assert_eq!(fcm(400, "INVALID_ARGUMENT", "UNREGISTERED"), Err(PushError::Unregistered));
    assert_eq!(judged(404, &error(404, "NOT_FOUND", json!([]))), Err(PushError::Unregistered));
    for page in ["", "<html>404</html>", "{}", "null", r#"{"error":"NOT_FOUND"}"#, r#"{"error":{"status":404}}"#] {
        let error = judged(404, page).unwrap_err();
        assert!(matches!(error, PushError::Later { .. }), "{page}: {error}");
    }
}

#[test]
fn what_will_never_be_taken_is_refused() {
    for (answer, words) in [
        (fcm(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"), "the device's token is not one of FCM's"),
        (fcm(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"), "the device's token belongs to another project"),
        (judged(400, &error(400, "INVALID_ARGUMENT", json!([]))), "FCM does not accept the notification"),
        (judged(400, "garbage"), "FCM cannot read the request"),
        (judged(413, ""), "the notification is too large"),
    ] {
        assert_eq!(answer, Err(PushError::Refused(words.to_owned())));
    }
    let violation = |field: &str| json!([{ "@type": BAD_REQUEST, "fieldViolations": [{ "field": field, "description": "secret" }] }]);
    let at = |field: &str| judged(400, &error(400, "INVALID_ARGUMENT", violation(field))).unwrap_err().to_string();
    assert!(at("message.token").ends_with("the device's token is not one of FCM's"));
    assert!(at("message.data[secret]").ends_with("FCM does not accept a field of the notification"));
}

#[test]
fn everything_else_may_be_taken_later_and_says_what_is_in_the_way() {
    for (answer, words) in [
        (fcm(401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), "no valid key for APNs"),
        (judged(401, ""), "service account's token (HTTP 401)"),
        (judged(403, ""), "may not send messages of the project (HTTP 403)"),
        (fcm(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), "asked too often"),
        (fcm(500, "INTERNAL", "INTERNAL"), "HTTP 500"),
        (judged(503, "<html>"), "HTTP 503"),
        (judged(302, ""), "HTTP 302"),
        (judged(407, ""), "HTTP 407"),
    ] {
        let Err(PushError::Later { after, what }) = answer else { panic!("{answer:?} for {words}") };
        assert_eq!(after, Some(DurationMs(3_000)));
        assert!(what.contains(words) && !what.contains("secret"), "{what}");
    }
}

#[test]
fn only_a_whole_receipt_is_one() {
    let whole = r#"{"name":"projects/p/messages/0:1%2"}"#;
    assert_eq!(judged(200, whole).unwrap().message_id, "projects/p/messages/0:1%2");
    let broken = (0..whole.len()).map(|end| whole[..end].to_owned()).chain([
        format!("{whole}x"),
        "[]".to_owned(),
        json!({ "name": 5 }).to_string(),
        json!({ "name": "" }).to_string(),
        json!({ "name": "a\nb" }).to_string(),
        json!({ "name": "a".repeat(256) }).to_string(),
    ]);
    for body in broken {
        assert!(matches!(judged(200, &body), Err(PushError::Later { .. })), "{body}");
    }
}

#[test]
fn any_json_is_judged_without_a_panic() {
    for details in [
        json!(5),
        json!([5, null, {}, []]),
        json!({ "@type": FCM_ERROR }),
        json!([{ "@type": FCM_ERROR, "errorCode": {} }]),
    ] {
        for status in [200, 400, 401, 403, 404, 429, 500, 999] {
            assert!(judged(status, &error(status, "NOT_FOUND", details.clone())).is_err());
        }
    }
}
