//! Refusals: `application/problem+json` (RFC 9457).
//!
//! A handler answers with a [`Problem`]; the outermost layer, which knows the request id, writes the body.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ridgeline_domain::ErrorCode;
use ridgeline_intake::IntakeError;
use ridgeline_ports::{LogError, StoreError};
use ridgeline_runtime::CpuError;
use ridgeline_vault::VaultError;
use ridgeline_wire::WireError;
use serde::Serialize;

/// When a caller may try again after 503.
const RETRY_AFTER_SECONDS: u64 = 1;

/// What is wrong with which field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FieldError {
    /// JSON pointer (RFC 6901) into the body, or the name of a form field behind a slash.
    pub(crate) pointer: String,
    /// For people; never a value that was sent.
    pub(crate) detail: String,
}

/// A refusal on its way to the caller.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    code: ErrorCode,
    detail: String,
    errors: Vec<FieldError>,
    retry_after_seconds: Option<u64>,
}

/// In which form a refusal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// RFC 9457.
    Problem,
    /// That of device authentication.
    Envelope,
}

impl Form {
    /// The form that callers of this path read.
    pub(crate) fn of(path: &str) -> Self {
        if path.starts_with("/api/v1/auth/") { Self::Envelope } else { Self::Problem }
    }
}

/// The body of a refusal.
#[derive(Serialize)]
pub(crate) struct ProblemBody {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    request_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// The same in the envelope of device authentication.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EnvelopeBody {
    message: String,
    status_code: u16,
    code: &'static str,
    request_id: String,
}

impl Problem {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let retry_after_seconds = (code == ErrorCode::Unavailable).then_some(RETRY_AFTER_SECONDS);
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after_seconds }
    }

    /// With the code's own words only: whatever led to it looks the same.
    pub(crate) fn plain(code: ErrorCode) -> Self {
        Self::new(code, code.title())
    }

    /// Too many requests; the next one counts after so many seconds.
    pub(crate) fn rate_limited(retry_after_seconds: u64) -> Self {
        Self { retry_after_seconds: Some(retry_after_seconds), ..Self::plain(ErrorCode::RateLimited) }
    }

    /// The same, with the time after which it may be tried again.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }

    /// A malformed request as a whole.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::MalformedRequest, detail)
    }

    /// One field is wrong.
    pub(crate) fn field(code: ErrorCode, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let error = FieldError { pointer: pointer.into(), detail: detail.clone() };
        Self { errors: vec![error], ..Self::new(code, detail) }
    }

    /// Several fields are wrong.
    pub(crate) fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.detail.clone(),
            many => format!("{} fields are not valid", many.len()),
        };
        Self { errors, ..Self::malformed(detail) }
    }

    /// Not there, or not the caller's: the two are told apart by nobody.
    pub(crate) fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "there is nothing here, or nothing that this API key may see")
    }

    /// Try again later.
    pub(crate) fn unavailable(detail: &'static str) -> Self {
        Self::new(ErrorCode::Unavailable, detail)
    }

    /// A fault of ours; what it was stands in the log only.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %chain(error), "request failed");
        Self::new(ErrorCode::Internal, "the request could not be processed")
    }

    pub(crate) const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The body under the base of the error pages' addresses.
    pub(crate) fn body(self, base: &str, request_id: &str) -> ProblemBody {
        ProblemBody {
            r#type: format!("{base}/docs/errors/{}", self.code),
            title: self.code.title(),
            status: self.code.http_status(),
            code: self.code.as_str(),
            detail: self.detail,
            request_id: request_id.to_owned(),
            errors: self.errors,
        }
    }

    /// The finished answer.
    pub(crate) fn render(self, form: Form, base: &str, request_id: &str) -> Response {
        let (code, retry_after) = (self.code, self.retry_after_seconds);
        let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (kind, body) = match form {
            Form::Problem => ("application/problem+json", serde_json::to_vec(&self.body(base, request_id))),
            Form::Envelope => ("application/json", serde_json::to_vec(&self.envelope(request_id))),
        };
        let mut response = (status, body.unwrap_or_default()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let challenge = match code {
            ErrorCode::Unauthenticated => Some("ApiKey realm=\"ridgeline\""),
            ErrorCode::CredentialRefused => {
                Some("Bearer realm=\"ridgeline\", DPoP realm=\"ridgeline\", algs=\"ES256\"")
            }
            _ => None,
        };
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }

    /// The message names each field and its rule.
    fn envelope(self, request_id: &str) -> EnvelopeBody {
        let named = |error: &FieldError| format!("{} {}", error.pointer.trim_start_matches('/'), error.detail);
        let message = match self.errors.as_slice() {
            [] => self.detail,
            errors => errors.iter().map(named).collect::<Vec<_>>().join("; "),
        };
        EnvelopeBody {
            message,
            status_code: self.code.http_status(),
            code: self.code.as_str(),
            request_id: request_id.to_owned(),
        }
    }
}

impl IntoResponse for Problem {
    /// Leaves the refusal in the extensions for the outermost layer.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(error = %error, "store unavailable");
                Self::unavailable("the store cannot be reached")
            }
            StoreError::Misuse { .. } | StoreError::Corrupt(_) => Self::internal(&error),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match error {
            LogError::TooLarge { .. } => {
                Self::new(ErrorCode::RecordTooLarge, "the record is larger than a message may be")
            }
            LogError::Unavailable(_) | LogError::Closed => {
                tracing::warn!(error = %error, "log unavailable");
                Self::unavailable("the log cannot be reached")
            }
            other => Self::internal(&other),
        }
    }
}

impl From<IntakeError> for Problem {
    fn from(error: IntakeError) -> Self {
        let (code, detail) = (error.code(), error.public_detail());
        if code == ErrorCode::Internal {
            tracing::error!(error = %chain(&error), "sample could not be sealed");
        }
        Self::new(code, detail)
    }
}

impl From<CpuError> for Problem {
    fn from(error: CpuError) -> Self {
        match error {
            CpuError::Panicked => Self::internal(&error),
            CpuError::Stopped => Self::unavailable("the service is stopping"),
        }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::UnknownKey { .. } => {
                tracing::warn!(error = %error, "a key has not arrived yet");
                Self::unavailable("a key of the service has not arrived yet")
            }
            other => Self::internal(&other),
        }
    }
}

impl From<WireError> for Problem {
    /// For rows and records of our own; what a caller sent is refused with the error's own code instead.
    fn from(error: WireError) -> Self {
        Self::internal(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_members_of_the_contract() {
        let problem = Problem::field(ErrorCode::MalformedRequest, "/subject_id", "is required for enrol");
        let body = serde_json::to_value(problem.body("https://rl.example", "abc")).unwrap();
        let expected = serde_json::json!({
            "type": "https://rl.example/docs/errors/RL-1001", "title": "The request is malformed", "status": 400,
            "code": "RL-1001", "detail": "is required for enrol", "request_id": "abc",
            "errors": [{"pointer": "/subject_id", "detail": "is required for enrol"}],
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn refusals_that_need_them_carry_their_headers() {
        let busy = Problem::unavailable("full").render(Form::Problem, "", "x");
        assert_eq!((busy.status().as_u16(), busy.headers()[header::RETRY_AFTER].to_str().unwrap()), (503, "1"));
        let anonymous = Problem::new(ErrorCode::Unauthenticated, "no key").render(Form::Problem, "", "x");
        assert!(anonymous.headers().contains_key(header::WWW_AUTHENTICATE));
    }

    #[test]
    fn the_envelope_names_fields_and_has_no_other_members() {
        let problem = Problem::field(ErrorCode::MalformedRequest, "/deviceName", "must be a string");
        let body = serde_json::to_value(problem.envelope("abc")).unwrap();
        let expected = serde_json::json!({
            "message": "deviceName must be a string", "statusCode": 400, "code": "RL-1001", "requestId": "abc",
        });
        assert_eq!(body, expected);
        let slow = Problem::rate_limited(60).render(Form::Envelope, "", "x");
        assert_eq!((slow.status().as_u16(), slow.headers()[header::RETRY_AFTER].to_str().unwrap()), (429, "60"));
        assert_eq!(slow.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(Form::of("/api/v1/auth/nothing/here"), Form::Envelope);
        assert_eq!(Form::of("/api/v1/authors"), Form::Problem);
    }

    #[test]
    fn what_the_store_says_stays_inside() {
        let problem = Problem::from(StoreError::Corrupt("page 7 of /secret/place".to_owned()));
        assert_eq!(problem.code(), ErrorCode::Internal);
        assert!(!serde_json::to_string(&problem.body("", "x")).unwrap().contains("secret"));
    }
}
