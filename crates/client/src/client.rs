//! The calls.

use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use ridgeline_domain::{Sensitive, SubjectId};
use serde::Deserialize;
use tokio::time::Instant;

use crate::transport::{Call, Transport, WAIT_MAX, path_segment};
use crate::{ClientError, Decision, EventStream, Scan, ScanState, ScanStatus};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Address of the service, for instance `http://127.0.0.1:8080`.
    pub base_url: String,
    /// Sent as `X-API-Key`.
    pub api_key: Option<Sensitive<String>>,
    /// Time for an exchange beyond what the service was asked to wait. Default 30 s.
    pub timeout: Duration,
    /// Largest answer in bytes. Default 4 MiB.
    pub answer_bytes_max: usize,
    /// How often a request that may be repeated is sent at most. Default 4.
    pub attempts_max: u32,
}

impl ClientOptions {
    /// Defaults for a service at `base_url`.
    #[must_use]
    pub fn new(base_url: impl Into<String>, api_key: Option<Sensitive<String>>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key,
            timeout: Duration::from_secs(30),
            answer_bytes_max: 4 << 20,
            attempts_max: 4,
        }
    }
}

/// Names a submission, so that sending it again asks for nothing new: 1–255 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(HeaderValue);

impl IdempotencyKey {
    /// Takes the text over; `None` if it is empty, too long or not printable.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        let fits = (1..=255).contains(&text.len()) && printable;
        fits.then(|| HeaderValue::from_str(text).ok()).flatten().map(Self)
    }
}

/// What a submission ended in so far.
#[derive(Debug, Clone)]
pub enum Submitted {
    /// Durable; the decision comes later.
    Accepted {
        /// Ask for the decision under this id.
        confirmation_id: String,
    },
    /// Decided within the time that was to be waited.
    Decided(Box<Decision>),
}

/// Which of the public streams to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicStream {
    /// How requests end.
    Decisions,
    /// What is accounted for.
    Audit,
}

#[derive(Deserialize)]
struct Accepted {
    confirmation_id: String,
}

/// A client. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client(Transport);

impl Client {
    /// A client; connects with the first call. Proxies of the environment are not used for loopback addresses.
    ///
    /// # Errors
    /// `BadAddress`, `BadApiKey`, `Setup`.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        Transport::new(options).map(Self)
    }

    /// Submits a request. With `wait` (at most 30 s) the service answers with the decision if it comes in time. With an
    /// Idempotency-Key the submission is repeated when the connection breaks or the service is busy.
    ///
    /// # Errors
    /// `Refused` with the service's reason, `Unreachable`, `TooLarge`, `Unexpected`.
    pub async fn submit(
        &self,
        scan: &Scan,
        wait: Option<Duration>,
        key: Option<&IdempotencyKey>,
    ) -> Result<Submitted, ClientError> {
        const UNEXPECTED: ClientError = ClientError::Unexpected { what: "a submission" };
        let body = serde_json::to_vec(&scan.body()).map_err(|_| UNEXPECTED)?;
        let mut call = Call::new(Method::POST, "api/v1/scans");
        call.body = Some((HeaderValue::from_static("application/json"), body));
        if let Some(wait) = wait {
            call.wait = wait.min(WAIT_MAX);
            let prefer = format!("wait={}", call.wait.as_secs());
            call.headers.insert("prefer", HeaderValue::from_str(&prefer).map_err(|_| UNEXPECTED)?);
        }
        if let Some(IdempotencyKey(value)) = key {
            call.headers.insert(HeaderName::from_static("idempotency-key"), value.clone());
            call.repeatable = true;
        }
        let (status, bytes) = self.0.exchange(&call).await?;
        if status == StatusCode::OK {
            let decision = serde_json::from_slice(&bytes).map_err(|_| UNEXPECTED)?;
            return Ok(Submitted::Decided(decision));
        }
        let Accepted { confirmation_id } = serde_json::from_slice(&bytes).map_err(|_| UNEXPECTED)?;
        Ok(Submitted::Accepted { confirmation_id })
    }

    /// How far a request is; waits up to `wait` (at most 30 s) for its decision.
    ///
    /// # Errors
    /// As [`Client::submit`]; an id that is unknown or another key's is `Refused` with status 404.
    pub async fn status(&self, confirmation_id: &str, wait: Duration) -> Result<ScanStatus, ClientError> {
        let wait = wait.min(WAIT_MAX);
        let mut path = format!("api/v1/scans/{}", path_segment(confirmation_id));
        if wait.as_secs() > 0 {
            path.push_str(&format!("?wait={}", wait.as_secs()));
        }
        let mut call = Call::new(Method::GET, path);
        call.wait = wait;
        self.0.json(&call, "a status request").await
    }

    /// Submits and waits until the request is decided.
    ///
    /// # Errors
    /// As [`Client::submit`]; `Undecided` once `deadline` has passed.
    pub async fn decide(
        &self,
        scan: &Scan,
        key: Option<&IdempotencyKey>,
        deadline: Duration,
    ) -> Result<Decision, ClientError> {
        let end = Instant::now() + deadline;
        match self.submit(scan, Some(deadline), key).await? {
            Submitted::Decided(decision) => Ok(*decision),
            Submitted::Accepted { confirmation_id } => self.decision(&confirmation_id, end, deadline).await,
        }
    }

    async fn decision(&self, id: &str, end: Instant, deadline: Duration) -> Result<Decision, ClientError> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // The service counts whole seconds; less than one is still worth a question.
            let status = self.status(id, left.max(Duration::from_secs(1))).await?;
            match status.decision {
                Some(decision) => return Ok(decision),
                None if status.status != ScanState::Accepted => {
                    return Err(ClientError::Unexpected { what: "a status request" });
                }
                None if Instant::now() >= end => {
                    let confirmation_id = id.to_owned();
                    return Err(ClientError::Undecided { confirmation_id, seconds: deadline.as_secs() });
                }
                None => {}
            }
        }
    }

    /// Asks for a subject to be forgotten; returns the confirmation id.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn delete_subject(&self, subject: &SubjectId) -> Result<String, ClientError> {
        let call = Call::new(Method::DELETE, format!("api/v1/subjects/{subject}"));
        let Accepted { confirmation_id } = self.0.json(&call, "a deletion").await?;
        Ok(confirmation_id)
    }

    /// Waits for the decision of a request that was accepted earlier.
    ///
    /// # Errors
    /// As [`Client::status`]; `Undecided` once `deadline` has passed.
    pub async fn await_decision(&self, confirmation_id: &str, deadline: Duration) -> Result<Decision, ClientError> {
        self.decision(confirmation_id, Instant::now() + deadline, deadline).await
    }

    /// Follows a public stream from now on, or from the oldest event that is kept.
    ///
    /// # Errors
    /// `Refused`, `Unreachable`.
    pub async fn tail(&self, stream: PublicStream, from_beginning: bool) -> Result<EventStream, ClientError> {
        let name = match stream {
            PublicStream::Decisions => "decisions",
            PublicStream::Audit => "audit",
        };
        let from = if from_beginning { "?from=beginning" } else { "" };
        self.0.stream(&format!("api/v1/tail/{name}{from}")).await
    }

    /// Hands in one sealed, signed record; returns after the service has made it durable. Safe to repeat: the pipeline
    /// answers a request once.
    ///
    /// # Errors
    /// `Refused` with the code that says what is wrong with the record, `Unreachable`.
    pub async fn upload_record(&self, record: Vec<u8>, traceparent: Option<&[u8]>) -> Result<(), ClientError> {
        let mut call = Call::new(Method::POST, "api/v1/agent/records");
        if let Some(trace) = traceparent.and_then(|trace| HeaderValue::from_bytes(trace).ok()) {
            call.headers.insert(HeaderName::from_static("traceparent"), trace);
        }
        call.body = Some((HeaderValue::from_static("avro/binary"), record));
        // The agent's spool repeats it with back-off of its own.
        self.0.exchange(&call).await.map(drop)
    }

    /// The service's own account of its health.
    ///
    /// # Errors
    /// `Unreachable`; `Refused` with status 503 while a component does not work.
    pub async fn health(&self) -> Result<serde_json::Value, ClientError> {
        let mut call = Call::new(Method::GET, "health");
        call.repeatable = false;
        self.0.json(&call, "a health request").await
    }

    /// Calls any path with an optional JSON body and extra headers, for operators' commands and for phones.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn call_json(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &Sensitive<String>)],
        body: Option<&serde_json::Value>,
    ) -> Result<serde_json::Value, ClientError> {
        const UNEXPECTED: ClientError = ClientError::Unexpected { what: "an operator's request" };
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| UNEXPECTED)?;
        let mut call = Call::new(method, path.trim_start_matches('/'));
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| ClientError::BadApiKey)?;
            value.set_sensitive(true);
            call.headers.insert(HeaderName::from_static(name), value);
        }
        if let Some(body) = body {
            let body = serde_json::to_vec(body).map_err(|_| UNEXPECTED)?;
            call.body = Some((HeaderValue::from_static("application/json"), body));
        }
        let (_, bytes) = self.0.exchange(&call).await?;
        if bytes.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| UNEXPECTED)
    }
}

#[cfg(test)]
mod tests;
