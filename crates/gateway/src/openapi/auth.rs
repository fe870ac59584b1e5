//! Paths and schemas of device authentication.

use ridgeline_domain::{DeviceType, ErrorCode, KeyAlgorithm, TrustLevel};
use serde_json::{Value, json};

use super::build::{Operation, object, path, schema};

const DPOP: &str = "A proof (RFC 9449)";

pub(super) fn paths() -> Value {
    json!({
        "/api/v1/auth/login": path([("post", web_login())]),
        "/api/v1/auth/devices/register/challenge": path([("post", register_challenge())]),
        "/api/v1/auth/devices/register/verify": path([("post", register())]),
        "/api/v1/auth/mobile/challenge": path([("post", login_challenge())]),
        "/api/v1/auth/mobile/biometric": path([("post", login())]),
        "/api/v1/auth/mobile/refresh": path([("post", refresh())]),
        "/api/v1/auth/devices": path([("get", list())]),
        "/api/v1/auth/devices/{deviceId}": path([("delete", remove())]),
        "/api/v1/auth/devices/fcm-token": path([("put", set_push_token())]),
        "/.well-known/jwks.json": path([("get", jwks())]),
    })
}

fn operation(id: &str, summary: &str) -> Operation {
    Operation::new("devices", id, summary)
}

pub(super) fn body(operation: Operation, name: &str) -> Operation {
    operation.body(&json!({ "application/json": { "schema": schema(name) } }))
}

/// `data` of this schema.
pub(super) fn data(operation: Operation, status: u16, description: &str, of: &Value) -> Operation {
    operation.json(
        status,
        description,
        &json!({ "type": "object", "required": ["data"], "properties": { "data": of } }),
    )
}

pub(super) fn proof(operation: Operation) -> Operation {
    operation.header("DPoP", &json!({ "type": "string", "maxLength": 8192 }), DPOP)
}

fn web_login() -> Operation {
    let operation = operation("signInUser", "Sign in with e-mail and password")
        .text("For users of the service itself. Users of an OpenID Connect provider bring its token instead.")
        .open();
    data(body(operation, "PasswordLogin"), 200, "Signed in", &schema("WebToken"))
        .refuses_in_envelope(&[400, 401, 413, 415, 429, 501, 503])
}

fn register_challenge() -> Operation {
    let operation = operation("startRegistration", "Ask for a challenge for a new device")
        .text("The challenge lives 5 minutes and works once.")
        .secured_by(&["user_token"]);
    data(body(operation, "DeviceRegistration"), 200, "The challenge", &schema("Challenge"))
        .refuses_in_envelope(&[400, 401, 413, 415, 422, 429, 501, 503])
}

fn register() -> Operation {
    let operation = operation("finishRegistration", "Answer the challenge: the device is registered")
        .text("With `proofKey` registered, a proof by it is sent in `DPoP`. The same installation of the same user replaces its \
            old device.")
        .open();
    data(proof(body(operation, "ChallengeAnswer")), 201, "Registered", &schema("RegisteredDevice"))
        .refuses_in_envelope(&[400, 401, 413, 415, 422, 429, 501, 503])
}

fn login_challenge() -> Operation {
    let operation = operation("startLogin", "Ask for a challenge for a registered device")
        .text("The challenge lives 2 minutes and works once. An unknown fingerprint gets one too.")
        .open();
    data(body(operation, "LoginStart"), 200, "The challenge", &schema("Challenge"))
        .refuses_in_envelope(&[400, 401, 413, 415, 429, 501, 503])
}

fn login() -> Operation {
    let operation = operation("finishLogin", "Answer the challenge: tokens").open();
    data(body(operation, "LoginAnswer"), 200, "Signed in", &schema("DeviceTokens"))
        .refuses_in_envelope(&[400, 401, 413, 415, 429, 501, 503])
}

fn refresh() -> Operation {
    let operation = operation("refreshTokens", "Exchange a refresh token for new tokens")
        .text("A refresh token works once; an older one ends its session. With `proofKey` registered, a proof by it is sent in \
            `DPoP`.")
        .open();
    data(proof(body(operation, "RefreshRequest")), 200, "The next tokens", &schema("DeviceTokens"))
        .refuses_in_envelope(&[400, 401, 413, 415, 429, 501, 503])
}

fn list() -> Operation {
    let operation = operation("listDevices", "The caller's active devices").secured_by(&["user_token", "device_token"]);
    data(proof(operation), 200, "Oldest first", &json!({ "type": "array", "items": schema("Device") }))
        .refuses_in_envelope(&[401, 429, 501, 503])
}

fn remove() -> Operation {
    let operation = operation("removeDevice", "Remove a device and end its sessions")
        .secured_by(&["user_token", "device_token"])
        .path("deviceId", &schema("DeviceId"), "One of the caller's devices");
    data(proof(operation), 200, "Removed", &schema("RemovedDevice"))
        .refuses_in_envelope(&[400, 401, 404, 429, 501, 503])
}

fn set_push_token() -> Operation {
    let operation =
        operation("setPushToken", "Where notifications of a device go").secured_by(&["device_token", "user_token"]);
    data(proof(body(operation, "PushToken")), 200, "Noted", &schema("PushTokenSet"))
        .refuses_in_envelope(&[400, 401, 404, 413, 415, 429, 501, 503])
}

fn jwks() -> Operation {
    operation("getTokenKeys", "The keys that sign tokens (JWK set, RFC 7517)")
        .open()
        .json(
            200,
            "Those that sign, will sign or still verify; may be kept for 5 minutes",
            &json!({ "type": "object" }),
        )
        .refuses(&[501, 503])
}

pub(super) fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

pub(super) fn time(description: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": description })
}

pub(super) fn schemas() -> Value {
    let id = |description: &str| json!({ "type": "string", "pattern": "^[0-9a-f]{32}$", "description": description });
    let words = |words: Vec<&str>| json!({ "type": "string", "enum": words });
    json!({
        "DeviceId": id("A registered device"),
        "AuthSessionId": id("What a challenge belongs to"),
        "DeviceType": words(DeviceType::ALL.iter().map(|word| word.as_str()).collect()),
        "KeyAlgorithm": words(KeyAlgorithm::ALL.iter().map(|word| word.as_str()).collect()),
        "TrustLevel": words(TrustLevel::ALL.iter().map(|word| word.as_str()).collect()),
        "DeviceFingerprint": { "type": "string", "pattern": "^[A-Za-z0-9+/=_.:-]{1,255}$", "description": "What the installation calls itself" },
        "PasswordLogin": asked("A user's e-mail and password", &["email", "password"], json!({
            "email": { "type": "string", "maxLength": 254 },
            "password": { "type": "string", "minLength": 1, "maxLength": 1024 },
        })),
        "DeviceRegistration": registration(),
        "ChallengeAnswer": asked("A signed challenge", &["sessionId", "signedChallenge"], answer(json!({}))),
        "LoginAnswer": asked("A signed challenge", &["sessionId", "signedChallenge"], answer(json!({
            "rememberMe": { "type": "boolean", "default": true, "description": "false: no refresh token" },
        }))),
        "LoginStart": asked("Which device signs in", &["deviceFingerprint"], json!({
            "deviceFingerprint": schema("DeviceFingerprint"), "deviceId": schema("DeviceId"),
        })),
        "RefreshRequest": asked("A refresh token", &["refreshToken"], json!({
            "refreshToken": { "type": "string", "maxLength": 8192 },
        })),
        "PushToken": asked("Where notifications go", &["fcmToken"], json!({
            "fcmToken": { "type": "string", "pattern": "^[!-~]{1,255}$" },
            "deviceId": { "allOf": [schema("DeviceId")], "description": "Required with the token of a user; with that of a device its own or absent" },
        })),
        "Challenge": object("To be signed", &["sessionId", "challenge", "expiresAt"], json!({
            "sessionId": schema("AuthSessionId"),
            "challenge": text("The text to sign: 64 random bytes in base64url"),
            "expiresAt": time("The answer must arrive before"),
        })),
        "RegisteredDevice": object("A new device", &["deviceId", "deviceName", "trustLevel", "createdAt"], json!({
            "deviceId": schema("DeviceId"), "deviceName": text("Its name"), "trustLevel": schema("TrustLevel"),
            "createdAt": time("When"),
        })),
        "WebToken": object("A user's token", &["accessToken", "accessTokenExpiresAt", "tokenType"], json!({
            "accessToken": text("Signed with a key of the JWK set"), "accessTokenExpiresAt": time("Its end"),
            "tokenType": { "const": "Bearer" },
        })),
        "DeviceTokens": tokens(),
        "Device": device(),
        "RemovedDevice": object("A device that was removed", &["deviceId", "revokedTokens"], json!({
            "deviceId": schema("DeviceId"),
            "revokedTokens": { "type": "integer", "description": "How many sessions ended with it" },
        })),
        "PushTokenSet": object("A push token that was set", &["deviceId", "updatedAt"], json!({
            "deviceId": schema("DeviceId"), "updatedAt": time("When"),
        })),
        "AuthError": error(),
    })
}

/// The schema of a request: other fields may be there.
pub(super) fn asked(description: &str, required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "description": description, "required": required, "properties": properties })
}

fn answer(more: Value) -> Value {
    super::merged(
        json!({
            "sessionId": schema("AuthSessionId"),
            "signedChallenge": {
                "type": "string", "maxLength": 684,
                "description": "base64 or base64url of the signature; ECDSA as DER or as r ‖ s (P1363)",
            },
        }),
        more,
    )
}

fn registration() -> Value {
    let required = ["deviceName", "deviceType", "deviceFingerprint", "publicKey", "keyAlgorithm"];
    asked(
        "A device and its key",
        &required,
        json!({
            "deviceName": {
                "type": "string", "minLength": 1, "maxLength": 255,
                "description": "Letters of any script, digits, spaces, hyphens and apostrophes",
            },
            "deviceType": schema("DeviceType"),
            "deviceFingerprint": schema("DeviceFingerprint"),
            "publicKey": {
                "type": "string", "maxLength": 10240,
                "description": "PEM SubjectPublicKeyInfo: P-256 for ES256, RSA of 2048 to 4096 bits for RS256 and PS256",
            },
            "keyAlgorithm": schema("KeyAlgorithm"),
            "language": { "type": "string", "enum": ["vi", "en"], "description": "What the device's user reads" },
            "proofKey": {
                "type": "object", "description": "JWK of a second P-256 key that signs without asking the user, public half only",
            },
        }),
    )
}

fn tokens() -> Value {
    let required = ["accessToken", "accessTokenExpiresAt", "tokenType", "deviceId", "trustLevel", "sessionId"];
    object(
        "Tokens of a device",
        &required,
        json!({
            "accessToken": text("For calls of the device"),
            "refreshToken": text("For the next tokens; works once"),
            "accessTokenExpiresAt": time("Its end"),
            "refreshTokenExpiresAt": time("Its end"),
            "tokenType": { "type": "string", "enum": ["Bearer", "DPoP"] },
            "deviceId": schema("DeviceId"),
            "trustLevel": schema("TrustLevel"),
            "sessionId": schema("AuthSessionId"),
        }),
    )
}

fn device() -> Value {
    let required = [
        "deviceId",
        "deviceName",
        "deviceType",
        "keyAlgorithm",
        "trustLevel",
        "isActive",
        "hasPushToken",
        "lastUsedAt",
        "createdAt",
    ];
    object(
        "A registered device",
        &required,
        json!({
            "deviceId": schema("DeviceId"),
            "deviceName": text("Its name"),
            "deviceType": schema("DeviceType"),
            "keyAlgorithm": schema("KeyAlgorithm"),
            "trustLevel": schema("TrustLevel"),
            "isActive": { "type": "boolean" },
            "hasPushToken": { "type": "boolean" },
            "lastUsedAt": time("Last login or refresh"),
            "createdAt": time("Registration"),
        }),
    )
}

fn error() -> Value {
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    object(
        "Why a call of device authentication was refused",
        &["message", "statusCode", "code", "requestId"],
        json!({
            "message": text("For people; the same for every credential that is refused"),
            "statusCode": { "type": "integer" },
            "code": { "type": "string", "enum": codes },
            "requestId": text("That of X-Request-Id"),
        }),
    )
}
