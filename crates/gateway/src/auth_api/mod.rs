//! Device authentication. Every change goes as a sealed command to the auth workers, who check the caller's credential again and decide;
//! the gateway holds no key that signs a token, and checks first so that what is plainly refused costs no record.

mod actions;
mod address;
mod call;
mod command;
mod devices;
mod fields;
mod login;
mod proofs;
mod rate;
mod registration;
mod streams;
mod view;

use std::sync::Arc;

use axum::extract::State as Extract;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use ridgeline_domain::{AgentId, ErrorCode, Timestamp, TrustPolicy, UserId};
use ridgeline_identity::revocation::RevocationCache;
use ridgeline_identity::{Identity, IdentityError};
use ridgeline_intake::CommandSealer;
use ridgeline_ports::TopicName;
use ridgeline_vault::command::CommandKey;

pub(crate) use actions::{
    events as action_events, initiate, pending, received, redeem, reject, status as action_status, verify as approve,
};
pub use address::{TrustedProxy, TrustedProxyError};
pub(crate) use command::Command;
pub(crate) use devices::{list, remove, set_push_token};
pub(crate) use login::{challenge, login, refresh, web_login};
pub(crate) use registration::{challenge as register_challenge, verify as register};

use crate::gateway::{Shared, State};
use crate::problem::Problem;
use proofs::UsedProofs;
use rate::RateLimits;
use streams::Watchers;

/// Longest body: a public key of 10 KiB and a token of 8 KiB fit several times.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What device authentication needs beside the rest of the gateway.
#[derive(Clone)]
pub struct AuthParts {
    /// Checks callers' tokens.
    pub identity: Identity,
    /// What commands are sealed to.
    pub commands: CommandKey,
    /// Who publishes them.
    pub sender: AgentId,
    /// Whether callers are held to their rates; off only to measure.
    pub rate_limits: bool,
    /// What a device is worth.
    pub trust: TrustPolicy,
    /// Whose `X-Forwarded-For` is believed. Behind a proxy that is not listed all callers share its address and its rate.
    pub trusted_proxies: Vec<TrustedProxy>,
}

impl std::fmt::Debug for AuthParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthParts").field("sender", &self.sender).finish_non_exhaustive()
    }
}

/// The parts and what is remembered between calls.
pub(crate) struct DeviceAuth {
    parts: AuthParts,
    sealer: CommandSealer,
    limits: RateLimits,
    proofs: UsedProofs,
    pub(crate) watchers: Watchers,
    pub(crate) revocations: Arc<RevocationCache>,
}

impl DeviceAuth {
    pub(crate) fn new(parts: AuthParts, topic: TopicName, revocations: RevocationCache) -> Self {
        let limits = RateLimits::new(parts.rate_limits);
        let sealer = CommandSealer { commands: parts.commands.clone(), sender: parts.sender.clone(), topic };
        Self {
            parts,
            sealer,
            limits,
            proofs: UsedProofs::new(),
            watchers: Watchers::default(),
            revocations: Arc::new(revocations),
        }
    }
}

impl DeviceAuth {
    /// The user of a `sub` of our tokens; `None` for what cannot be one.
    pub(crate) fn user(&self, subject: &str) -> Option<UserId> {
        self.parts.identity.user_of(subject)
    }

    /// The keys that sign tokens and statements.
    pub(crate) async fn jwks(&self, now: Timestamp) -> Result<String, Problem> {
        Ok(self.parts.identity.jwks(now).await?)
    }
}

impl Shared {
    /// Device authentication, where this gateway has it.
    pub(crate) fn device_auth(&self) -> Result<&DeviceAuth, Problem> {
        let missing = || Problem::new(ErrorCode::NotImplemented, "this deployment has no device authentication");
        self.auth.as_ref().ok_or_else(missing)
    }
}

/// `GET /.well-known/jwks.json`
pub(crate) async fn jwks(Extract(state): Extract<State>) -> Result<Response, Problem> {
    let now = state.parts.clock.now();
    let keys = state.device_auth()?.parts.identity.jwks(now).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
    ];
    Ok((headers, keys).into_response())
}

impl From<IdentityError> for Problem {
    /// One refusal for all credentials; why stands in no answer and no log, since anybody can cause it.
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Refused(_) => Self::plain(ErrorCode::CredentialRefused),
            IdentityError::Unavailable(_) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "tokens cannot be checked");
                Self::unavailable("the keys of tokens cannot be read")
            }
            IdentityError::Config { .. } => Self::internal(&error),
        }
    }
}
