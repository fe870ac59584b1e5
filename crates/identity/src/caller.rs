//! What a verified token says of its bearer.

use ridgeline_domain::{ActionId, DeviceId, FamilyId, SessionId, Timestamp, TrustLevel, UserId};
use ridgeline_vault::token::{Claims, TokenError};

/// A user, by a web token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCaller {
    /// Who.
    pub user: UserId,
    /// Their roles.
    pub roles: Vec<String>,
    /// What they call with: the first of `azp`, `client_id` and `sid`, else empty.
    pub client: String,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `exp`.
    pub expires_at: Timestamp,
}

/// A device, by an access token. That it has not been revoked is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCaller {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub device: DeviceId,
    /// The login.
    pub session: SessionId,
    /// The refresh token family, if the session has one.
    pub family: Option<FamilyId>,
    /// What the session is worth.
    pub trust: TrustLevel,
    /// Thumbprint of the key that must prove possession; `None`: the token is worth something by itself.
    pub thumbprint: Option<String>,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `exp`.
    pub expires_at: Timestamp,
}

/// A device that wants new tokens, by a refresh token. Whether it is the live one is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshCaller {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub device: DeviceId,
    /// The login.
    pub session: SessionId,
    /// The family.
    pub family: FamilyId,
    /// The generation.
    pub rotation_count: u32,
    /// Thumbprint of the key that must prove possession.
    pub thumbprint: Option<String>,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `exp`.
    pub expires_at: Timestamp,
}

/// The approval of one action. Whether it was redeemed before is another question.
#[derive(Clone, PartialEq, Eq)]
pub struct ActionCaller {
    /// Whose action.
    pub user: UserId,
    /// Which.
    pub action: ActionId,
    /// What makes the token unique.
    pub nonce: String,
}

/// `sub` of our own tokens: the bare subject of a user of `issuer`, our own, else the whole `issuer|sub`.
#[must_use]
pub fn subject_of(user: &UserId, issuer: &str) -> String {
    // A bar in the subject would make it read as a whole.
    if user.issuer() == issuer && !user.subject().contains('|') {
        user.subject().to_owned()
    } else {
        user.as_str().to_owned()
    }
}

/// The user of a `sub` that [`subject_of`] made.
pub(crate) fn user_of(subject: &str, issuer: &str) -> Result<UserId, TokenError> {
    let user = if subject.contains('|') { subject.parse() } else { UserId::new(issuer, subject) };
    user.map_err(|_| TokenError::Claims)
}

/// A web token of our own.
pub(crate) fn own_user(claims: Claims, issuer: &str) -> Result<UserCaller, TokenError> {
    let user = user_of(&claims.sub, issuer)?;
    Ok(user_caller(user, claims))
}

/// A token of the provider. Its subjects are its own, whatever they hold.
pub(crate) fn provided_user(claims: Claims) -> Result<UserCaller, TokenError> {
    let user = UserId::new(&claims.iss, &claims.sub).map_err(|_| TokenError::Claims)?;
    Ok(user_caller(user, claims))
}

fn user_caller(user: UserId, claims: Claims) -> UserCaller {
    let client = claims.azp.or(claims.client_id).or(claims.sid).unwrap_or_default();
    UserCaller { user, roles: claims.roles, client, issued_at: claims.iat, expires_at: claims.exp }
}

pub(crate) fn device(claims: Claims, issuer: &str) -> Result<DeviceCaller, TokenError> {
    Ok(DeviceCaller {
        user: user_of(&claims.sub, issuer)?,
        device: claims.device_id.ok_or(TokenError::Claims)?,
        session: claims.session_id.ok_or(TokenError::Claims)?,
        family: claims.token_family,
        trust: claims.trust_level.ok_or(TokenError::Claims)?,
        thumbprint: claims.cnf_jkt,
        issued_at: claims.iat,
        expires_at: claims.exp,
    })
}

pub(crate) fn action(claims: Claims, issuer: &str) -> Result<ActionCaller, TokenError> {
    Ok(ActionCaller {
        user: user_of(&claims.sub, issuer)?,
        action: claims.confirmation_id.ok_or(TokenError::Claims)?,
        nonce: claims.nonce.ok_or(TokenError::Claims)?,
    })
}

pub(crate) fn refresh(claims: Claims, issuer: &str) -> Result<RefreshCaller, TokenError> {
    Ok(RefreshCaller {
        user: user_of(&claims.sub, issuer)?,
        device: claims.device_id.ok_or(TokenError::Claims)?,
        session: claims.session_id.ok_or(TokenError::Claims)?,
        family: claims.token_family.ok_or(TokenError::Claims)?,
        rotation_count: claims.rotation_count.ok_or(TokenError::Claims)?,
        thumbprint: claims.cnf_jkt,
        issued_at: claims.iat,
        expires_at: claims.exp,
    })
}
