//! `[auth]`: whose tokens are believed, and what a device is worth.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use ridgeline_domain::{DurationMs, TrustPolicy};
use ridgeline_egress::{Untrusted, UntrustedOptions};
use ridgeline_flow::auth::ApprovalPolicy;
use ridgeline_gateway::TrustedProxy;
use ridgeline_identity::{IdentityConfig, OidcConfig};
use serde::Deserialize;

use super::approvals;

/// Issuer of tokens where `auth.issuer` names none. Not the public address: users belong to their issuer, and an address may change.
const ISSUER: &str = "ridgeline";
/// An issuer and a subject together have at most 255 characters.
const ISSUER_CHARS_MAX: usize = 200;

/// Device authentication as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthSettings {
    /// `iss` of the service's own tokens; equal in all processes of a deployment.
    pub(crate) issuer: String,
    /// A provider whose users may register devices too.
    pub(crate) oidc: Option<OidcSettings>,
    /// What a device is worth.
    pub(crate) trust: TrustPolicy,
    /// Whether callers are held to their rates; off only to measure.
    pub(crate) rate_limits: bool,
    /// Proxies whose `X-Forwarded-For` says where a call came from.
    pub(crate) trusted_proxies: Vec<TrustedProxy>,
    /// File of the approval policy; `None`: everybody approves what he initiates.
    pub(crate) approvals: Option<PathBuf>,
    /// Whether callbacks may lead into this network and be plain HTTP.
    pub(crate) private_callbacks: bool,
    /// Certificates that callbacks are believed by beside the system's.
    pub(crate) callback_ca_file: Option<PathBuf>,
    /// Where notifications go.
    pub(crate) push: Option<PushSettings>,
}

/// Firebase Cloud Messaging.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PushSettings {
    /// JSON file of the service account.
    pub(crate) service_account_file: PathBuf,
    /// The project; `None`: the service account's.
    pub(crate) project_id: Option<String>,
    /// Address of the service; `None`: Google's.
    pub(crate) base_url: Option<String>,
    /// Certificates that it is believed by; `None`: the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

/// A provider of identities (OpenID Connect).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OidcSettings {
    /// Its `iss`.
    pub(crate) issuer: String,
    /// What `aud` must name.
    pub(crate) audience: String,
    /// Where its keys are.
    pub(crate) jwks_url: String,
    /// Certificates that it is believed by; `None`: the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuthFile {
    issuer: Option<String>,
    oidc: Option<OidcSettings>,
    trust: TrustFile,
    rate_limits: Option<bool>,
    trusted_proxies: Vec<String>,
    approvals: Option<PathBuf>,
    private_callbacks: bool,
    callback_ca_file: Option<PathBuf>,
    push: Option<PushSettings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TrustFile {
    recent_days: Option<u16>,
    moderate_days: Option<u16>,
}

/// # Errors
/// A value outside its range.
pub(super) fn auth(file: AuthFile) -> anyhow::Result<AuthSettings> {
    let issuer = file.issuer.unwrap_or_else(|| ISSUER.to_owned());
    check_issuer("auth.issuer", &issuer)?;
    if let Some(oidc) = &file.oidc {
        check_issuer("auth.oidc.issuer", &oidc.issuer)?;
        if oidc.issuer == issuer {
            bail!("auth.oidc.issuer must differ from auth.issuer, which is the service's own");
        }
        if oidc.audience.is_empty() {
            bail!("auth.oidc.audience must not be empty");
        }
    }
    let days = |name: &str, days: Option<u16>, default: DurationMs| match days {
        None => Ok(default),
        Some(days @ 1..=365) => Ok(DurationMs::from_days(i64::from(days))),
        Some(_) => bail!("auth.trust.{name} must lie between 1 and 365"),
    };
    let default = TrustPolicy::default();
    let trust = TrustPolicy {
        recent: days("recent_days", file.trust.recent_days, default.recent)?,
        moderate: days("moderate_days", file.trust.moderate_days, default.moderate)?,
    };
    if trust.recent > trust.moderate {
        bail!("auth.trust.recent_days must not exceed auth.trust.moderate_days");
    }
    let proxy = |text: &String| text.parse().with_context(|| format!("auth.trusted_proxies {text:?}"));
    let trusted_proxies = file.trusted_proxies.iter().map(proxy).collect::<Result<_, _>>()?;
    Ok(AuthSettings {
        issuer,
        oidc: file.oidc,
        trust,
        rate_limits: file.rate_limits.unwrap_or(true),
        trusted_proxies,
        approvals: file.approvals,
        private_callbacks: file.private_callbacks,
        callback_ca_file: file.callback_ca_file,
        push: file.push,
    })
}

fn check_issuer(name: &str, issuer: &str) -> anyhow::Result<()> {
    let valid = |byte: u8| byte.is_ascii_graphic() && byte != b'|';
    if !(1..=ISSUER_CHARS_MAX).contains(&issuer.len()) || !issuer.bytes().all(valid) {
        bail!("{name} must have 1 to {ISSUER_CHARS_MAX} printable characters of ASCII and no |");
    }
    Ok(())
}

impl AuthSettings {
    /// The approval policy, read.
    ///
    /// # Errors
    /// A file that cannot be read, or a rule that nobody could keep.
    pub(crate) fn approval_policy(&self) -> anyhow::Result<ApprovalPolicy> {
        self.approvals
            .as_ref()
            .map_or_else(|| Ok(ApprovalPolicy::default()), |path| approvals::read(path, &self.issuer))
    }

    /// What calls the addresses that initiating clients name.
    ///
    /// # Errors
    /// A file that cannot be read or holds no certificate.
    pub(crate) fn callbacks(&self) -> anyhow::Result<Untrusted> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).with_context(|| format!("auth.callback_ca_file {}", path.display()))
        };
        let authority = self.callback_ca_file.as_ref().map(read).transpose()?;
        let options =
            UntrustedOptions { allow_private: self.private_callbacks, authority, ..UntrustedOptions::default() };
        Untrusted::new(options).context("auth.callback_ca_file")
    }

    /// With the provider's certificates read.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn identity(&self) -> anyhow::Result<IdentityConfig> {
        let provider = |oidc: &OidcSettings| -> anyhow::Result<OidcConfig> {
            let read = |path: &PathBuf| {
                std::fs::read_to_string(path).with_context(|| format!("auth.oidc.ca_file {}", path.display()))
            };
            Ok(OidcConfig {
                issuer: oidc.issuer.clone(),
                audience: oidc.audience.clone(),
                jwks_url: oidc.jwks_url.clone(),
                authority: oidc.ca_file.as_ref().map(read).transpose()?,
            })
        };
        Ok(IdentityConfig { issuer: self.issuer.clone(), oidc: self.oidc.as_ref().map(provider).transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    const OIDC: &str =
        "[auth.oidc]\nissuer = \"https://id.example\"\naudience = \"erp\"\njwks_url = \"https://id.example/keys\"";

    #[test]
    fn the_issuer_is_named_or_is_the_product() {
        let issuer = |file: &str| settings("ridgeline up", file).unwrap().auth.issuer;
        assert_eq!(issuer(""), "ridgeline");
        assert_eq!(issuer("public_url = \"https://bio.example/\""), "ridgeline", "addresses change");
        assert_eq!(issuer("public_url = \"https://bio.example/\"\n[auth]\nissuer = \"bio\""), "bio");
    }

    #[test]
    fn defaults_hold_where_nothing_is_said() {
        let auth = settings("ridgeline up", "").unwrap().auth;
        assert_eq!((auth.trust, auth.rate_limits, auth.oidc), (TrustPolicy::default(), true, None));
        let file = format!("[auth]\nrate_limits = false\n[auth.trust]\nrecent_days = 3\n{OIDC}");
        let auth = settings("ridgeline up", &file).unwrap().auth;
        assert_eq!((auth.trust.recent, auth.rate_limits), (DurationMs::from_days(3), false));
        let identity = auth.identity().unwrap();
        assert_eq!(identity.oidc.map(|oidc| oidc.audience).as_deref(), Some("erp"));
    }

    #[test]
    fn the_providers_certificates_are_read_from_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let file = format!("{OIDC}\nca_file = \"{}\"", path.display());
        let auth = settings("ridgeline up", &file).unwrap().auth;
        assert!(format!("{:#}", auth.identity().unwrap_err()).contains("auth.oidc.ca_file"));
        std::fs::write(&path, "certificates").unwrap();
        assert_eq!(auth.identity().unwrap().oidc.unwrap().authority.as_deref(), Some("certificates"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_name() {
        let own = format!("[auth]\nissuer = \"https://id.example\"\n{OIDC}");
        let long = format!("[auth]\nissuer = \"{}\"", "i".repeat(ISSUER_CHARS_MAX + 1));
        for (file, said) in [
            ("[auth]\nissuer = \"a|b\"", "auth.issuer"),
            ("[auth]\nissuer = \"a b\"", "auth.issuer"),
            ("[auth]\nissuer = \"\"", "auth.issuer"),
            (&long, "auth.issuer"),
            (&own, "auth.oidc.issuer"),
            ("[auth.oidc]\nissuer = \"i\"\naudience = \"\"\njwks_url = \"https://k\"", "auth.oidc.audience"),
            ("[auth.oidc]\nissuer = \"i\"\naudience = \"a\"", "jwks_url"),
            ("[auth.trust]\nrecent_days = 0", "auth.trust.recent_days"),
            ("[auth.trust]\nmoderate_days = 366", "auth.trust.moderate_days"),
            ("[auth.trust]\nrecent_days = 31", "auth.trust.recent_days"),
            ("[auth]\ntrusted_proxies = [\"10.0.0.0/33\"]", "auth.trusted_proxies"),
            ("[auth]\nsecret = \"hunter2\"", "secret"),
        ] {
            let error = format!("{:#}", settings("ridgeline up", file).unwrap_err());
            assert!(error.contains(said) && !error.contains("hunter2"), "{file}: {error}");
        }
    }
}
