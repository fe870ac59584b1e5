//! Who a command is from, by its own credential: checked here again, whoever sent it.

use ridgeline_domain::{AuthOperation, DeviceId, Refusal, Timestamp, UserId};
use ridgeline_identity::revocation::{self, Subjects};
use ridgeline_identity::{DeviceCaller, IdentityError, UserCaller};
use ridgeline_vault::dpop;

use super::{Halt, Work, credential};

const DEVICES_PATH: &str = "/api/v1/auth/devices";
const ACTIONS_PATH: &str = "/api/v1/auth/confirmation";

/// A user on the web or on a device.
pub(super) struct Caller {
    pub(super) user: UserId,
    /// The caller's own device; `None` for a user on the web.
    pub(super) own: Option<DeviceCaller>,
    /// Whether the caller's token was revoked.
    pub(super) revoked: bool,
}

impl Caller {
    /// The caller, if its token still counts.
    pub(super) fn unrevoked(self) -> Result<Self, Refusal> {
        if self.revoked { Err(Refusal::Revoked) } else { Ok(self) }
    }
}

impl Work<'_> {
    /// The user that the command's own credential names, by a web token of ours or of the provider.
    pub(super) async fn user(&mut self) -> Result<UserCaller, Halt> {
        let token = self.command.body.credential.as_deref().ok_or(Refusal::BadCredential)?;
        let caller = self.auth.parts.identity.user(token, self.command.now).await.map_err(credential)?;
        self.about.user = Some(caller.user.clone());
        if self.is_revoked(&caller.user, None, caller.issued_at).await? {
            return Err(Refusal::Revoked.into());
        }
        Ok(caller)
    }

    /// The user on the web, or on a device; a token that is bound to a key comes with a proof for this call.
    pub(super) async fn caller(&mut self) -> Result<Caller, Halt> {
        let token = self.command.body.credential.as_deref().ok_or(Refusal::BadCredential)?;
        let (identity, now) = (&self.auth.parts.identity, self.command.now);
        let on_the_web = match identity.user(token, now).await {
            Ok(caller) => {
                self.about.user = Some(caller.user.clone());
                let revoked = self.is_revoked(&caller.user, None, caller.issued_at).await?;
                return Ok(Caller { user: caller.user, own: None, revoked });
            }
            Err(error) => error,
        };
        let caller = match identity.device(token, now).await {
            Ok(caller) => caller,
            // The provider may be away whose token this is.
            Err(IdentityError::Refused(_)) => return Err(credential(on_the_web)),
            Err(error) => return Err(credential(error)),
        };
        self.about.user = Some(caller.user.clone());
        if let Some(thumbprint) = &caller.thumbprint {
            self.proven_for_this(thumbprint, token).await?;
        }
        let revoked = self.is_revoked(&caller.user, Some(&caller), caller.issued_at).await?;
        Ok(Caller { user: caller.user.clone(), own: Some(caller), revoked })
    }

    /// The device whose access token the command brings.
    pub(super) async fn device(&mut self) -> Result<DeviceCaller, Halt> {
        let caller = self.caller().await?.unrevoked()?;
        let device = caller.own.ok_or(Refusal::BadCredential)?;
        self.about.device = Some(device.device);
        self.about.session = Some(device.session);
        Ok(device)
    }

    pub(super) async fn is_revoked(
        &self,
        user: &UserId,
        device: Option<&DeviceCaller>,
        issued_at: Timestamp,
    ) -> Result<bool, Halt> {
        let id: Option<&DeviceId> = device.map(|device| &device.device);
        let family = device.and_then(|device| device.family.as_ref());
        let subjects = Subjects { user, device: id, family, issued_at };
        Ok(revocation::revoked_in_store(&*self.auth.platform.store, &subjects).await?)
    }

    /// Gateways remember proofs each for itself; here one works once in the whole deployment.
    async fn proven_for_this(&self, thumbprint: &str, token: &str) -> Result<(), Halt> {
        let (base, key) = (&self.auth.parts.config.public_url, &self.command.key);
        let (method, url) = match self.command.operation {
            AuthOperation::RemoveDevice => ("DELETE", format!("{base}{DEVICES_PATH}/{key}")),
            AuthOperation::ApproveAction => ("POST", format!("{base}{ACTIONS_PATH}/{key}/verify")),
            AuthOperation::RejectAction => ("POST", format!("{base}{ACTIONS_PATH}/{key}/reject")),
            AuthOperation::ReceiveAction => ("POST", format!("{base}{ACTIONS_PATH}/{key}/received")),
            _ => ("PUT", format!("{base}{DEVICES_PATH}/fcm-token")),
        };
        let proof = self.command.body.proof.as_deref().ok_or(Refusal::BadProof)?;
        let now = self.command.now;
        let expected = dpop::Expected { method, url: &url, now, access_token: Some(token), thumbprint };
        self.use_up(proof, &expected).await
    }
}
