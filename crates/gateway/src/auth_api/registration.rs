//! A user registers a device.

use axum::extract::{Request, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use ridgeline_domain::{AuthOperation, ErrorCode, KeyAlgorithm, Sensitive};
use ridgeline_vault::dpop::proof_key_from_jwk;
use ridgeline_vault::{DEVICE_KEY_BYTES_MAX, DEVICE_SIGNATURE_CHARS_MAX, DeviceKey, DeviceKeyError, DeviceSignature};
use ridgeline_wire::auth::{AuthBody, ChallengeAnswer, Registration};

use super::call::{Call, Limited, end};
use super::command::{Command, carry_out};
use super::fields::{Fields, wrong};
use super::rate::Category;
use crate::body::Incoming;
use crate::gateway::{Shared, State};
use crate::problem::Problem;

/// The rule of every id here, in words.
pub(super) const ID_RULE: &str = "must be 32 lower-case hexadecimal digits";

/// `POST /api/v1/auth/devices/register/challenge`
pub(crate) async fn challenge(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let (call, mut incoming) = Call::of(&state, request);
    let answer = ask_challenge(&state, &call, &mut incoming).await;
    end(incoming, answer).await
}

async fn ask_challenge(shared: &Shared, call: &Call, incoming: &mut Incoming) -> Result<Response, Problem> {
    let auth = call.admit(shared, Category::Registration)?;
    let user = call.user(auth).await?;
    call.limit(shared, Category::Registration, &Limited::User(&user.user))?;
    let registration = registration(shared, call.fields(shared, incoming).await?).await?;
    let body = AuthBody { registration: Some(registration), ..call.body() };
    let command = Command::opening(shared, AuthOperation::RegisterChallenge, body);
    carry_out(shared, call, StatusCode::OK, command).await
}

/// The fields of a registration, its keys checked.
async fn registration(shared: &Shared, mut fields: Fields) -> Result<Registration, Problem> {
    let (name, key) = ("publicKey", fields.text("publicKey")?);
    let registration = Registration {
        device_name: fields.parsed("deviceName")?,
        device_type: fields.ruled("deviceType", "must be one of mobile, desktop, tablet")?,
        device_fingerprint: fields.parsed("deviceFingerprint")?,
        public_key: String::new(),
        key_algorithm: fields.ruled("keyAlgorithm", "must be one of ES256, RS256, PS256")?,
        language: fields.ruled_optional("language", "must be vi or en")?,
        proof_key: None,
    };
    if key.expose().len() > DEVICE_KEY_BYTES_MAX {
        return Err(wrong(name, &format!("must have at most {DEVICE_KEY_BYTES_MAX} bytes")));
    }
    let proof_key = fields.object("proofKey")?;
    let algorithm = registration.key_algorithm;
    let (key, proof_key) = shared.parts.cpu.run(move || sound(algorithm, key, proof_key)).await??;
    let proof_key = proof_key.map(|jwk| jwk.expose().clone());
    Ok(Registration { public_key: key.expose().clone(), proof_key, ..registration })
}

type Keys = (Sensitive<String>, Option<Sensitive<String>>);

/// Gives the texts back if both keys may be registered. What may not is overwritten: it may be a private key.
fn sound(
    algorithm: KeyAlgorithm,
    key: Sensitive<String>,
    proof_key: Option<Sensitive<String>>,
) -> Result<Keys, Problem> {
    let refused = |field: &'static str| {
        move |error: DeviceKeyError| {
            Problem::field(ErrorCode::DeviceKeyRefused, format!("/{field}"), format!("is refused: {error}"))
        }
    };
    DeviceKey::from_pem(algorithm, key.clone()).map_err(refused("publicKey"))?;
    if let Some(jwk) = &proof_key {
        proof_key_from_jwk(jwk.expose()).map_err(refused("proofKey"))?;
    }
    Ok((key, proof_key))
}

/// `POST /api/v1/auth/devices/register/verify`
pub(crate) async fn verify(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let (call, mut incoming) = Call::of(&state, request);
    let answer = send_answer(&state, &call, &mut incoming).await;
    end(incoming, answer).await
}

async fn send_answer(shared: &Shared, call: &Call, incoming: &mut Incoming) -> Result<Response, Problem> {
    call.admit(shared, Category::Registration)?;
    let answer = challenge_answer(&mut call.fields(shared, incoming).await?)?;
    let session = answer.session_id;
    let body = AuthBody { answer: Some(answer), credential: None, ..call.body() };
    let command = Command::about(shared, AuthOperation::Register, session, body);
    carry_out(shared, call, StatusCode::CREATED, command).await
}

/// A signed challenge.
pub(super) fn challenge_answer(fields: &mut Fields) -> Result<ChallengeAnswer, Problem> {
    let session_id = fields.ruled("sessionId", ID_RULE)?;
    let signature = fields.text("signedChallenge")?;
    DeviceSignature::from_text(signature.expose()).map_err(|_| {
        let rule =
            format!("must be a signature in base64 or base64url, at most {DEVICE_SIGNATURE_CHARS_MAX} characters");
        wrong("signedChallenge", &rule)
    })?;
    let remember = fields.flag("rememberMe")?.unwrap_or(true);
    Ok(ChallengeAnswer { session_id, signature: signature.expose().clone(), remember })
}
