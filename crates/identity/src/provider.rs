//! The keys of a configured provider of identities (OpenID Connect).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ridgeline_domain::Timestamp;
use ridgeline_egress::{Configured, ConfiguredOptions, Method};
use ridgeline_vault::token::{Claims, OidcKeys, OidcVerifier, TokenError};

use crate::identity::is_issuer;
use crate::kept::{Kept, Times};
use crate::{IdentityError, OidcConfig};

/// Providers announce new keys hours before they sign; an unknown one is looked for sooner.
const TIMES: Times = Times { fresh: Duration::from_secs(600), pause: Duration::from_secs(30) };
const JWKS_BYTES_MAX: usize = 256 << 10;
const OK: u16 = 200;

/// Keys as last fetched.
pub(crate) struct Provider {
    issuer: String,
    audience: String,
    http: Configured,
    path: String,
    kept: Kept<OidcVerifier>,
}

impl Provider {
    pub(crate) fn new(config: OidcConfig) -> Result<Self, IdentityError> {
        let (base, path) = split(&config.jwks_url).ok_or(config_error(
            "oidc.jwks_url must be an https:// address, or http:// on this machine, in printable characters without a fragment",
        ))?;
        if config.audience.is_empty() {
            return Err(config_error("oidc.audience must not be empty"));
        }
        if !is_issuer(&config.issuer) {
            return Err(config_error("oidc.issuer must have 1 to 200 printable characters of ASCII and no |"));
        }
        let options = ConfiguredOptions {
            authority: config.authority,
            accept: "application/json",
            answer_bytes_max: JWKS_BYTES_MAX,
            ..ConfiguredOptions::new(base)
        };
        let http = Configured::new(options).map_err(|error| IdentityError::Config {
            what: "no client can be made for oidc.jwks_url and oidc.ca_file",
            source: Some(Box::new(error)),
        })?;
        Ok(Self {
            issuer: config.issuer,
            audience: config.audience,
            http,
            path: path.to_owned(),
            kept: Kept::new(TIMES),
        })
    }

    /// By the keys at hand. A key that is not among them may be new.
    pub(crate) async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, IdentityError> {
        let verifier = self.kept.get(|| self.fetch()).await?;
        match verifier.verify(token, now) {
            Err(TokenError::UnknownKey) => {}
            checked => return checked.map_err(IdentityError::Refused),
        }
        // While the provider is away a token of an unknown key is none of those that are believed.
        let newer: Option<Arc<OidcVerifier>> =
            self.kept.newer(&verifier, || self.fetch()).await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "the provider's keys cannot be fetched again");
                None
            });
        let checked = newer.map_or(Err(TokenError::UnknownKey), |verifier| verifier.verify(token, now));
        checked.map_err(IdentityError::Refused)
    }

    async fn fetch(&self) -> Result<OidcVerifier, IdentityError> {
        let answer = self.http.exchange(Method::Get, &self.path, None).await;
        let answer = answer.map_err(|error| IdentityError::Unavailable(Box::new(error)))?;
        if answer.status != OK {
            return Err(IdentityError::Unavailable(format!("the provider answers with HTTP {}", answer.status).into()));
        }
        let text = String::from_utf8(answer.body).map_err(|_| IdentityError::Unavailable("not a JWK set".into()))?;
        let keys = OidcKeys::from_jwks_json(&text).map_err(|error| IdentityError::Unavailable(Box::new(error)))?;
        Ok(OidcVerifier { issuer: self.issuer.clone(), audience: self.audience.clone(), keys })
    }
}

fn config_error(what: &'static str) -> IdentityError {
    IdentityError::Config { what, source: None }
}

/// Scheme and host, and the path from its slash. The client refuses what it takes for more than an address.
fn split(url: &str) -> Option<(&str, &str)> {
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains('#') {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let host_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(host_end)?;
    let is_safe = match scheme {
        "https" => !authority.is_empty(),
        "http" => is_loopback(authority),
        _ => false,
    };
    let base = url.strip_suffix(path)?;
    is_safe.then_some((base, path))
}

/// `localhost`, `127.0.0.1` or `[::1]`, with or without a port.
fn is_loopback(authority: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = authority.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(authority, |(host, _)| host);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
