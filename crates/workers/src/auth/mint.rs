//! Tokens from what a row says. Equal rows and requests give equal bytes.

use ridgeline_domain::{Binding, DeviceId, DurationMs, FamilyId, Sensitive, SessionId, Timestamp, TrustLevel, UserId};
use ridgeline_identity::{DeviceCaller, subject_of};
use ridgeline_runtime::StepError;
use ridgeline_vault::derive_id;
use ridgeline_vault::token::{Claims, TokenKind};
use ridgeline_wire::auth::TokensReply;

use super::Work;
use crate::platform::vault_fault;

/// How long an access token lives.
pub(super) const ACCESS_LIFE: DurationMs = DurationMs::from_secs(15 * 60);
/// How long a refresh token lives.
pub(super) const REFRESH_LIFE: DurationMs = DurationMs::from_days(30);
/// How long a web token of the service's own users lives.
pub(super) const WEB_LIFE: DurationMs = DurationMs::from_secs(3_600);

/// How the user of a device signs in: by a signature after a prompt of the device, which only the device sees.
pub(super) const AUTH_METHOD: &str = "device_key";
/// Proof of possession of a key (RFC 8176); whether hardware holds it nobody can tell from here.
const AMR: &str = "pop";

/// A session on a device, and the refresh token family if it has one.
pub(super) struct Session<'a> {
    pub(super) user: &'a UserId,
    pub(super) device: DeviceId,
    pub(super) session: SessionId,
    pub(super) trust: TrustLevel,
    /// Thumbprint of the key that proves possession.
    pub(super) thumbprint: Option<&'a str>,
    /// Family and generation.
    pub(super) family: Option<(FamilyId, u32)>,
}

impl Work<'_> {
    /// Access token, and refresh token where there is a family, issued at the command's time.
    pub(super) async fn tokens(&self, session: &Session<'_>) -> Result<TokensReply, StepError> {
        let now = self.command.now;
        let access_expires_at = now.plus(ACCESS_LIFE);
        let access =
            self.signed_token(TokenKind::Access, &self.claims(session, TokenKind::Access, access_expires_at)).await?;
        let (mut refresh_token, mut refresh_expires_at) = (None, None);
        if session.family.is_some() {
            let end = now.plus(REFRESH_LIFE);
            let token = self.signed_token(TokenKind::Refresh, &self.claims(session, TokenKind::Refresh, end)).await?;
            (refresh_token, refresh_expires_at) = (Some(token.expose().clone()), Some(end));
        }
        Ok(TokensReply {
            access_token: access.expose().clone(),
            access_expires_at,
            refresh_token,
            refresh_expires_at,
            device_id: Some(session.device),
            trust_level: Some(session.trust),
            session_id: Some(session.session),
            bound: session.thumbprint.is_some(),
        })
    }

    /// A web token for a user of the service's own.
    pub(super) async fn web_token(
        &self,
        user: &UserId,
        email: &str,
        roles: &[String],
    ) -> Result<TokensReply, StepError> {
        let access_expires_at = self.command.now.plus(WEB_LIFE);
        let claims = Claims {
            email: Some(email.to_owned()),
            roles: roles.to_vec(),
            auth_method: Some("password".to_owned()),
            amr: vec!["pwd".to_owned()],
            sid: Some(self.jti("web")),
            ..self.bare(TokenKind::Web, user, access_expires_at)
        };
        let token = self.signed_token(TokenKind::Web, &claims).await?;
        Ok(TokensReply {
            access_token: token.expose().clone(),
            access_expires_at,
            refresh_token: None,
            refresh_expires_at: None,
            device_id: None,
            trust_level: None,
            session_id: None,
            bound: false,
        })
    }

    /// What the token of an approved action says of who approved it last.
    pub(super) fn action_claims(&self, user: &UserId, device: &DeviceCaller, expires_at: Timestamp) -> Claims {
        Claims {
            device_id: Some(device.device),
            session_id: Some(device.session),
            auth_method: Some(AUTH_METHOD.to_owned()),
            trust_level: Some(device.trust),
            amr: vec![AMR.to_owned()],
            binding: Some(Binding::None),
            ..self.bare(TokenKind::Action, user, expires_at)
        }
    }

    pub(super) async fn signed_token(&self, kind: TokenKind, claims: &Claims) -> Result<Sensitive<String>, StepError> {
        let key = self.auth.keys.at(self.command.now).await?;
        key.sign(kind, claims).map_err(|e| vault_fault(&e))
    }

    fn claims(&self, session: &Session<'_>, kind: TokenKind, expires_at: Timestamp) -> Claims {
        let rotation_count = session.family.filter(|_| kind == TokenKind::Refresh).map(|(_, generation)| generation);
        Claims {
            device_id: Some(session.device),
            session_id: Some(session.session),
            auth_method: Some(AUTH_METHOD.to_owned()),
            trust_level: Some(session.trust),
            amr: vec![AMR.to_owned()],
            acr: Some(format!("urn:ridgeline:trust:{}", session.trust)),
            binding: Some(if session.thumbprint.is_some() { Binding::Dpop } else { Binding::None }),
            cnf_jkt: session.thumbprint.map(ToOwned::to_owned),
            token_family: session.family.map(|(family, _)| family),
            rotation_count,
            ..self.bare(kind, session.user, expires_at)
        }
    }

    fn bare(&self, kind: TokenKind, user: &UserId, expires_at: Timestamp) -> Claims {
        let issuer = &self.auth.parts.config.issuer;
        Claims {
            iss: issuer.clone(),
            aud: kind.aud().to_owned(),
            sub: subject_of(user, issuer),
            iat: self.command.now,
            exp: expires_at,
            jti: self.jti(kind.aud()),
            ..Claims::default()
        }
    }

    /// Derived from the request, so that a repeated one names its tokens as the first time.
    fn jti(&self, what: &str) -> String {
        derive_id(what, self.command.id).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
