//! Tokens and whose they are.

use std::sync::Arc;

use ridgeline_domain::{Timestamp, UserId};
use ridgeline_ports::Store;
use ridgeline_vault::token::{TokenError, TokenKind};

use crate::IdentityError;
use crate::caller::{self, ActionCaller, DeviceCaller, RefreshCaller, UserCaller};
use crate::own::OwnKeys;
use crate::provider::Provider;

/// A provider whose tokens users may bring.
#[derive(Clone, PartialEq, Eq)]
pub struct OidcConfig {
    /// Its `iss`, exactly.
    pub issuer: String,
    /// What `aud` must name.
    pub audience: String,
    /// Where its keys are: `https://`, or `http://` on this machine.
    pub jwks_url: String,
    /// Certificates (PEM) that it is believed by; `None`: the system's.
    pub authority: Option<String>,
}

impl std::fmt::Debug for OidcConfig {
    /// Without the address, which has not been checked for a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OidcConfig").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Whose tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityConfig {
    /// `iss` of our own tokens, and issuer of the service's own users.
    pub issuer: String,
    /// A provider beside us.
    pub oidc: Option<OidcConfig>,
}

/// Verifies tokens. Clones share the keys they have read.
///
/// Neither signature nor time of a token says that it has not been revoked: see [`revocation`](crate::revocation).
#[derive(Clone)]
pub struct Identity {
    shared: Arc<Shared>,
}

struct Shared {
    own: OwnKeys,
    provider: Option<Provider>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("issuer", &self.shared.own.issuer()).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads nothing yet.
    ///
    /// # Errors
    /// `Config`.
    pub fn new(config: IdentityConfig, store: Arc<dyn Store>) -> Result<Self, IdentityError> {
        let wrong = |what| Err(IdentityError::Config { what, source: None });
        if !is_issuer(&config.issuer) {
            return wrong("the issuer must have 1 to 200 printable characters of ASCII and no |");
        }
        // Else a subject of the provider could be a user of ours.
        if config.oidc.as_ref().is_some_and(|oidc| oidc.issuer == config.issuer) {
            return wrong("the issuer must differ from oidc.issuer: it is the service's own");
        }
        let provider = config.oidc.map(Provider::new).transpose()?;
        Ok(Self { shared: Arc::new(Shared { own: OwnKeys::new(config.issuer, store), provider }) })
    }

    /// Whose web token this is: of the service's own users, or of the provider's.
    ///
    /// # Errors
    /// `Refused`, `Unavailable`.
    pub async fn user(&self, token: &str, now: Timestamp) -> Result<UserCaller, IdentityError> {
        let Shared { own, provider } = &*self.shared;
        let refused = match (own.verify(TokenKind::Web, token, now).await, provider) {
            (Ok(claims), _) => return caller::own_user(claims, own.issuer()).map_err(IdentityError::Refused),
            (Err(IdentityError::Refused(refused)), Some(_)) if may_be_anothers(&refused) => refused,
            (Err(error), _) => return Err(error),
        };
        let Some(provider) = provider else { return Err(IdentityError::Refused(refused)) };
        let claims = provider.verify(token, now).await?;
        caller::provided_user(claims).map_err(IdentityError::Refused)
    }

    /// Whose access token this is.
    ///
    /// # Errors
    /// `Refused`, `Unavailable`.
    pub async fn device(&self, token: &str, now: Timestamp) -> Result<DeviceCaller, IdentityError> {
        let own = &self.shared.own;
        let claims = own.verify(TokenKind::Access, token, now).await?;
        caller::device(claims, own.issuer()).map_err(IdentityError::Refused)
    }

    /// Whose refresh token this is.
    ///
    /// # Errors
    /// `Refused`, `Unavailable`.
    pub async fn refresh(&self, token: &str, now: Timestamp) -> Result<RefreshCaller, IdentityError> {
        let own = &self.shared.own;
        let claims = own.verify(TokenKind::Refresh, token, now).await?;
        caller::refresh(claims, own.issuer()).map_err(IdentityError::Refused)
    }

    /// Which action this token approves.
    ///
    /// # Errors
    /// `Refused`, `Unavailable`.
    pub async fn action(&self, token: &str, now: Timestamp) -> Result<ActionCaller, IdentityError> {
        let own = &self.shared.own;
        let claims = own.verify(TokenKind::Action, token, now).await?;
        caller::action(claims, own.issuer()).map_err(IdentityError::Refused)
    }

    /// How our tokens, and those who read them, name a user.
    #[must_use]
    pub fn subject(&self, user: &UserId) -> String {
        caller::subject_of(user, self.shared.own.issuer())
    }

    /// The user that [`subject`](Self::subject) names so; `None` for what cannot be one.
    #[must_use]
    pub fn user_of(&self, subject: &str) -> Option<UserId> {
        caller::user_of(subject, self.shared.own.issuer()).ok()
    }

    /// Body of `/.well-known/jwks.json`: every key that signs, will sign or still verifies at `now`.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn jwks(&self, now: Timestamp) -> Result<String, IdentityError> {
        self.shared.own.jwks(now).await
    }
}

/// Issuer and subject together have at most 255 characters; this leaves room for the longest subject that is usual.
const ISSUER_CHARS_MAX: usize = 200;

pub(crate) fn is_issuer(text: &str) -> bool {
    text.len() <= ISSUER_CHARS_MAX && UserId::new(text, "x").is_ok()
}

/// Whether what made us refuse a token is natural for one that another issuer made.
const fn may_be_anothers(refused: &TokenError) -> bool {
    matches!(refused, TokenError::UnknownKey | TokenError::Algorithm | TokenError::Type | TokenError::Header)
}

#[cfg(test)]
mod tests;
