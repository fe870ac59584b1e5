//! Firebase Cloud Messaging, HTTP v1.

mod access;
mod account;
mod answer;
mod message;
mod wait;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ridgeline_domain::Sensitive;
use ridgeline_egress::{Answer, Configured, ConfiguredOptions, Method};
use ridgeline_ports::{Clock, Push, PushError, PushReceipt, PushSender};

use self::access::{Access, Token};
use self::account::ServiceAccount;
use self::answer::{receipt, unanswered, wants_another_token};
use crate::SetupError;

/// Where FCM is.
pub const BASE_URL: &str = "https://fcm.googleapis.com";
const WHOSE: &str = "FCM";
const JSON: &str = "application/json";
/// Answers have a few hundred bytes, a token's 2 KiB at most.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const PROJECT_CHARS_MAX: usize = 100;

/// Whose messages are sent, and how.
#[derive(Clone)]
pub struct FcmOptions {
    /// The text of the service account's key file, as the console gives it out.
    pub service_account: Sensitive<String>,
    /// The project; `None`: the service account's.
    pub project_id: Option<String>,
    /// Address of FCM. Default [`BASE_URL`]. Must be `https://`, or this machine.
    pub base_url: String,
    /// Certificates (PEM) that FCM and the token endpoint are believed by; `None`: the system's.
    pub authority: Option<String>,
    /// Of one exchange. A notification takes one, up to four where tokens are asked for. Default 5 s.
    pub timeout: Duration,
    /// Tells when tokens and confirmations end.
    pub clock: Arc<dyn Clock>,
}

impl FcmOptions {
    /// Defaults for a service account.
    #[must_use]
    pub fn new(service_account: Sensitive<String>, clock: Arc<dyn Clock>) -> Self {
        Self {
            service_account,
            project_id: None,
            base_url: BASE_URL.to_owned(),
            authority: None,
            timeout: Duration::from_secs(5),
            clock,
        }
    }
}

impl fmt::Debug for FcmOptions {
    /// Without what the service account's file says, and without an address that has not been checked for a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FcmOptions").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Sends notifications through FCM.
pub struct FcmSender {
    http: Configured,
    path: String,
    access: Access,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for FcmSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FcmSender").field("address", &self.http.address()).finish_non_exhaustive()
    }
}

impl FcmSender {
    /// A sender; asks for its first token with the first notification.
    ///
    /// # Errors
    /// A file that is no service account's, a project that is none, an address that cannot be used or that would show tokens on the way.
    pub fn new(options: FcmOptions) -> Result<Self, SetupError> {
        let account = ServiceAccount::read(&options.service_account)?;
        let project = options.project_id.as_ref().or(account.project_id.as_ref());
        let project = project.ok_or(SetupError::ServiceAccount("lacks \"project_id\", and none is configured"))?;
        if !is_project(project) {
            return Err(SetupError::Project);
        }
        let path = format!("/v1/projects/{project}/messages:send");
        let client = |base_url: &str| {
            Configured::new(ConfiguredOptions {
                authority: options.authority.clone(),
                accept: JSON,
                timeout: options.timeout,
                answer_bytes_max: ANSWER_BYTES_MAX,
                ..ConfiguredOptions::new(base_url)
            })
        };
        let http = client(&options.base_url).map_err(SetupError::Address)?;
        if !http.is_private() {
            return Err(SetupError::Exposed);
        }
        // The authority was read above, so what is wrong now is the address.
        let tokens = client(&account.token_uri).ok().filter(Configured::is_private);
        let tokens = tokens.ok_or(SetupError::ServiceAccount(
            "holds a \"token_uri\" that is not https:// with a host, or http:// on this machine",
        ))?;
        Ok(Self { http, path, access: Access::new(account, tokens, options.clock.clone()), clock: options.clock })
    }

    async fn exchange(&self, push: &Push, token: &Token) -> Result<Answer, PushError> {
        let body = message::body(push, self.clock.now())?;
        let answer = self.http.exchange_with_token(&token.text, Method::Post, &self.path, Some((JSON, body))).await;
        answer.map_err(|error| unanswered(WHOSE, &error))
    }
}

#[async_trait]
impl PushSender for FcmSender {
    async fn send(&self, push: &Push) -> Result<PushReceipt, PushError> {
        // Refused before a token is asked for. The request is written when it goes, because its time to live counts from then.
        message::body(push, self.clock.now())?;
        let token = self.access.token().await?;
        let mut answer = self.exchange(push, &token).await?;
        if wants_another_token(&answer) {
            let token = self.access.token_after(&token).await?;
            answer = self.exchange(push, &token).await?;
        }
        receipt(&answer, self.clock.now())
    }
}

/// Letters, digits, hyphens; old ones also have dots and a colon. Nothing that would make another path.
fn is_project(text: &str) -> bool {
    (1..=PROJECT_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':'))
        && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests;
