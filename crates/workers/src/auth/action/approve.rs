//! A device signs an action's challenge. The last signature that is needed approves the action and makes the single-use token.

use ridgeline_domain::{ActionStatus, DurationMs, Refusal, Sensitive};
use ridgeline_flow::auth::{Approval, Vote};
use ridgeline_identity::DeviceCaller;
use ridgeline_identity::revocation::{self, Subjects};
use ridgeline_runtime::StepError;
use ridgeline_vault::token::{Claims, TokenKind};
use ridgeline_vault::{Aad, DeviceSignature, Purpose, request_digest};
use ridgeline_wire::action::ActionVote;
use ridgeline_wire::action_row::{ActionApproval, ActionRow, WrongCode, table};
use ridgeline_wire::auth::AuthReply;
use ridgeline_wire::auth_row::{self, DeviceRow};

use super::super::register::{hex, stored_key};
use super::super::rows::{Loaded, load};
use super::super::{Halt, Work};
use super::{of_row, status_of};
use crate::platform::{cpu_fault, vault_fault};

/// How long the token of an approved action lives.
const TOKEN_LIFE: DurationMs = DurationMs::from_secs(5 * 60);

impl Work<'_> {
    /// A signed vote for an action.
    pub(in super::super) async fn approve(&mut self) -> Result<AuthReply, Halt> {
        let loaded = self.action().await?;
        let id = self.command.id;
        // A repeated command has been allowed already: its token may be over since.
        let row = if let Some(row) = self.voted_before(&loaded.row) { row } else { self.vote(loaded).await? };
        if let Some(place) = row.approvals.iter().position(|approval| approval.request_id == id) {
            let asked = self.asked(&row, place + 1).await?;
            self.notice_of_request(&row, asked);
        }
        if row.finished_by == Some(id) {
            self.ended(&row).await?;
        }
        if row.wrong_codes.iter().any(|wrong| wrong.request_id == id) {
            return Err(Refusal::WrongDisplayCode.into());
        }
        // As it was when this vote was counted, not as others have left it since.
        let status = if row.finished_by == Some(id) { row.status } else { ActionStatus::Pending };
        Ok(status_of(&ActionRow { status, ..row }))
    }

    /// The row, if this command has left its mark in it.
    fn voted_before(&mut self, row: &ActionRow) -> Option<ActionRow> {
        let id = self.command.id;
        let approval = row.approvals.iter().find(|approval| approval.request_id == id);
        let wrong = row.wrong_codes.iter().find(|wrong| wrong.request_id == id);
        let (user, device) = match (approval, wrong) {
            (Some(approval), _) => (&approval.user, approval.device_id),
            (None, Some(wrong)) => (&wrong.user, wrong.device_id),
            (None, None) => return None,
        };
        (self.about.user, self.about.device) = (Some(user.clone()), Some(device));
        Some(row.clone())
    }

    async fn vote(&mut self, mut loaded: Loaded<ActionRow>) -> Result<ActionRow, Halt> {
        let device = self.device().await?;
        let vote = self.needed(&self.command.body.vote)?;
        let (id, now) = (self.command.id, self.command.now);
        if self.drop_the_revoked(&mut loaded.row).await? {
            // Whatever comes of this vote; it is judged by the row as it is then.
            self.changed(loaded).await?;
            return Err(Halt::Raced);
        }
        let action = of_row(&loaded.row);
        // Whoever has nothing to do with the action does not learn that it is there.
        if !action.steps.names(&device.user) {
            let knows = device.user == loaded.row.user;
            return Err(if knows { Refusal::NotAllowed } else { Refusal::UnknownAction }.into());
        }
        if vote.device_id != device.device {
            return Err(Refusal::BadCredential.into());
        }
        let key = load::<DeviceRow>(&self.auth.platform, auth_row::table::DEVICES, &device.device.to_string()).await?;
        let key = key.map(|key| key.row).filter(|key| key.is_active && key.user == device.user);
        let key = key.ok_or(Refusal::Revoked)?;
        if !is_entitled(&loaded.row, &key) {
            return Err(Refusal::NotAllowed.into());
        }
        let proven = self.signed(&loaded.row, &key, vote).await?;
        let code_is_right = self.has_code(&loaded.row, vote)?;
        let decided = action.approve(&Vote { user: &device.user, proven, code_is_right }, id, now)?;
        let row = &mut loaded.row;
        match decided {
            Approval::Again => return Ok(loaded.row),
            Approval::Counts => row.approvals.push(self.approval(row, (&key, &device), vote)?),
            Approval::Completes => {
                row.approvals.push(self.approval(row, (&key, &device), vote)?);
                (row.status, row.finished_by, row.finished_at) = (ActionStatus::Approved, Some(id), Some(now));
                self.give_token(row, &device).await?;
            }
            Approval::WrongCode | Approval::Ends => {
                let wrong = WrongCode { request_id: id, user: device.user.clone(), device_id: device.device };
                row.wrong_codes.push(wrong);
                if decided == Approval::Ends {
                    (row.status, row.finished_by, row.finished_at) = (ActionStatus::Rejected, Some(id), Some(now));
                    (row.rejected_by, row.rejected_with) = (Some(device.user), Some(device.device));
                }
            }
        }
        self.changed(loaded).await
    }

    /// Whether an approval still counts: its device is there, and neither that nor its token was revoked.
    pub(super) async fn still_counts(&self, approval: &ActionApproval) -> Result<bool, Halt> {
        let platform = &self.auth.platform;
        let key = approval.device_id.to_string();
        let device = load::<DeviceRow>(platform, auth_row::table::DEVICES, &key).await?;
        if !device.is_some_and(|device| device.row.is_active) {
            return Ok(false);
        }
        let subjects = Subjects {
            user: &approval.user,
            device: Some(&approval.device_id),
            family: approval.family_id.as_ref(),
            issued_at: approval.issued_at,
        };
        Ok(!revocation::revoked_in_store(&*platform.store, &subjects).await?)
    }

    /// Approvals that count no more go; their owners may approve again with what they have now. In order, those after them were given
    /// to something else. Answers whether any went.
    async fn drop_the_revoked(&self, row: &mut ActionRow) -> Result<bool, Halt> {
        if row.status != ActionStatus::Pending {
            return Ok(false);
        }
        let before = row.approvals.len();
        let mut kept = Vec::with_capacity(before);
        for approval in std::mem::take(&mut row.approvals) {
            if self.still_counts(&approval).await? {
                kept.push(approval);
            } else if row.in_order {
                break;
            }
        }
        row.approvals = kept;
        Ok(row.approvals.len() < before)
    }

    async fn signed(&self, row: &ActionRow, device: &DeviceRow, vote: &ActionVote) -> Result<bool, Halt> {
        let Ok(signature) = DeviceSignature::from_text(&vote.signature) else { return Ok(false) };
        let stored = ("public_key", device.key_algorithm);
        let key = stored_key(&self.auth.platform, device.device_id, stored, &device.public_key)?;
        let challenge = self.opened_of(row.action_id, "challenge", &row.challenge)?;
        let check = move || key.verify(challenge.expose().as_bytes(), &signature).is_ok();
        Ok(self.auth.platform.cpu.run(check).await.map_err(cpu_fault)?)
    }

    fn has_code(&self, row: &ActionRow, vote: &ActionVote) -> Result<bool, StepError> {
        let Some(sealed) = row.display_code.as_deref() else { return Ok(true) };
        let code = self.opened_of(row.action_id, "display_code", sealed)?;
        Ok(vote.display_code.as_ref() == Some(code.expose()))
    }

    /// The approval with all that proves it, also when the device is gone.
    fn approval(
        &self,
        row: &ActionRow,
        (device, caller): (&DeviceRow, &DeviceCaller),
        vote: &ActionVote,
    ) -> Result<ActionApproval, StepError> {
        let (platform, action) = (&self.auth.platform, row.action_id);
        let stored = ("public_key", device.key_algorithm);
        let key = stored_key(platform, device.device_id, stored, &device.public_key)?;
        let column = |name: &str| format!("approval.{}.{name}", self.command.id);
        Ok(ActionApproval {
            user: device.user.clone(),
            device_id: device.device_id,
            request_id: self.command.id,
            at: self.command.now,
            family_id: caller.family,
            issued_at: caller.issued_at,
            key_algorithm: device.key_algorithm,
            public_key: self.sealed_for(action, &column("public_key"), key.spki_der())?,
            signature: self.sealed_for(action, &column("signature"), vote.signature.as_bytes())?,
            caller: self.sealed_caller(action, &column("caller"))?,
        })
    }

    /// The token that the initiating client redeems once. Equal rows and requests give equal bytes.
    async fn give_token(&self, row: &mut ActionRow, device: &DeviceCaller) -> Result<(), StepError> {
        let platform = &self.auth.platform;
        let action = row.action_id.to_string();
        let parts =
            [b"action-nonce".as_slice(), action.as_bytes(), &self.command.id.to_string().into_bytes()].map(Vec::from);
        let nonce = Sensitive::new(hex(&request_digest(&platform.vault, parts.iter().map(Vec::as_slice))));
        let expires_at = self.command.now.plus(TOKEN_LIFE);
        let claims = Claims {
            confirmation_id: Some(row.action_id),
            action_type: Some(row.action_type.to_string()),
            nonce: Some(nonce.expose().clone()),
            ..self.action_claims(&row.user, device, expires_at)
        };
        let token = self.signed_token(TokenKind::Action, &claims).await?;
        let aad = Aad::new(table::ACTIONS.name, &action, "token");
        let sealed = platform.vault.seal(Purpose::Answer, &aad, token.expose().as_bytes(), &*platform.entropy);
        row.token = Some(sealed.map_err(|error| vault_fault(&error))?);
        row.nonce = Some(self.sealed_for(row.action_id, "nonce", nonce.expose().as_bytes())?);
        row.token_expires_at = Some(expires_at);
        Ok(())
    }
}

/// Whether this very device may sign: its user is named, or it was registered with a role that may.
fn is_entitled(row: &ActionRow, device: &DeviceRow) -> bool {
    row.steps
        .iter()
        .filter(|step| step.approvers.contains(&device.user))
        .any(|step| step.named.contains(&device.user) || step.roles.iter().any(|role| device.roles.contains(role)))
}
