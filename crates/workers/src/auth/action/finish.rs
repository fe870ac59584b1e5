//! The other ends of an action: a no, the end of its time, and the use of its token.

use ridgeline_domain::{ActionStatus, DeliveryStatus, Refusal, UserId};
use ridgeline_ports::Cas;
use ridgeline_runtime::StepError;
use ridgeline_wire::action_row::{ActionRow, DeliveryRow, table};
use ridgeline_wire::auth::AuthReply;
use ridgeline_wire::{decode, encode};

use super::super::rows::Loaded;
use super::super::{Halt, Work, credential};
use super::{of_row, status_of, steps_of};
use crate::platform::wire_fault;

/// More devices are never told of one action: 64 approvers with 20 devices each, in 8 steps.
const DELIVERIES_MAX: usize = 10_240;
/// What stands in the record of a notification that came too late.
const EXPIRED: &str = "the action's time was over";

impl Work<'_> {
    /// The initiator, or somebody who may approve, says no.
    pub(in super::super) async fn reject(&mut self) -> Result<AuthReply, Halt> {
        let mut loaded = self.action().await?;
        let (id, now) = (self.command.id, self.command.now);
        if loaded.row.finished_by == Some(id) {
            (self.about.user, self.about.device) = (loaded.row.rejected_by.clone(), loaded.row.rejected_with);
            self.ended(&loaded.row).await?;
            return Ok(status_of(&loaded.row));
        }
        let caller = self.caller().await?.unrevoked()?;
        self.about.device = caller.own.as_ref().map(|own| own.device);
        self.may_see(&loaded.row, &caller.user)?;
        of_row(&loaded.row).reject(id, now)?;
        let action = loaded.row.action_id;
        let reason = self.command.body.reason.as_ref();
        loaded.row.reason = reason.map(|why| self.sealed_for(action, "reason", why.as_bytes())).transpose()?;
        loaded.row.rejected_by = Some(caller.user);
        loaded.row.rejected_with = self.about.device;
        self.finished(loaded, ActionStatus::Rejected).await
    }

    /// The time of an action is over, says a timer; the row says whether that is so.
    pub(in super::super) async fn expire_action(&mut self) -> Result<AuthReply, Halt> {
        let item = self.needed(&self.command.body.due)?;
        let id = item.id.parse().map_err(|_| Halt::Nothing)?;
        let loaded = self.action_of(id).await.map_err(|halt| match halt {
            Halt::Refused(Refusal::UnknownAction, _) => Halt::Nothing,
            other => other,
        })?;
        self.about.user = Some(loaded.row.user.clone());
        if loaded.row.finished_by == Some(self.command.id) {
            self.ended(&loaded.row).await?;
            self.expire_deliveries(&loaded.row).await?;
            return Ok(status_of(&loaded.row));
        }
        if !of_row(&loaded.row).is_overdue(self.command.now) {
            return Err(Halt::Nothing);
        }
        self.expire_deliveries(&loaded.row).await?;
        self.finished(loaded, ActionStatus::Expired).await
    }

    async fn finished(&mut self, mut loaded: Loaded<ActionRow>, status: ActionStatus) -> Result<AuthReply, Halt> {
        loaded.row.status = status;
        loaded.row.finished_by = Some(self.command.id);
        loaded.row.finished_at = Some(self.command.now);
        let row = self.changed(loaded).await?;
        self.ended(&row).await?;
        Ok(status_of(&row))
    }

    /// Notifications that were not sent by now never are.
    async fn expire_deliveries(&self, row: &ActionRow) -> Result<(), StepError> {
        let store = &self.auth.platform.store;
        let action = row.action_id.to_string();
        for (key, found) in store.range(table::NOTIFICATIONS, &action, None, DELIVERIES_MAX).await? {
            let mut delivery: DeliveryRow = decode(&found.value).map_err(wire_fault)?;
            if delivery.status != DeliveryStatus::Pending {
                continue;
            }
            delivery.status = DeliveryStatus::Failed;
            delivery.error = Some(EXPIRED.to_owned());
            delivery.updated_at = self.command.now;
            let value = encode(&delivery).map_err(wire_fault)?.into();
            // Who changes it at the same moment has sent it just now.
            let _: Cas = store.replace(table::NOTIFICATIONS, &key, found.version, value, found.expires_at).await?;
        }
        Ok(())
    }

    /// The initiating client uses the token of an approved action up.
    pub(in super::super) async fn redeem(&mut self) -> Result<AuthReply, Halt> {
        let mut loaded = self.action().await?;
        let (id, now) = (self.command.id, self.command.now);
        if loaded.row.redeemed_by == Some(id) {
            self.about.user = Some(loaded.row.user.clone());
            return Ok(redeemed(&loaded.row));
        }
        let caller = self.user().await?;
        if loaded.row.user != caller.user {
            return Err(Refusal::UnknownAction.into());
        }
        if loaded.row.client != caller.client {
            return Err(Refusal::NotAllowed.into());
        }
        let token = self.needed(&self.command.body.action_token)?;
        let claims = self.auth.parts.identity.action(token, now).await.map_err(credential)?;
        let nonce = loaded.row.nonce.as_deref().ok_or(Refusal::BadCredential)?;
        let nonce = self.opened_of(loaded.row.action_id, "nonce", nonce)?;
        if claims.action != loaded.row.action_id || claims.user != loaded.row.user || claims.nonce != *nonce.expose() {
            return Err(Refusal::BadCredential.into());
        }
        // What was approved on a device that was stolen is not carried out.
        for approval in &loaded.row.approvals {
            if !self.still_counts(approval).await? {
                return Err(Refusal::Revoked.into());
            }
        }
        of_row(&loaded.row).redeem(id, now)?;
        loaded.row.redeemed_by = Some(id);
        loaded.row.redeemed_at = Some(now);
        // It works no more, and nobody needs to read it again.
        loaded.row.token = None;
        let row = self.changed(loaded).await?;
        Ok(redeemed(&row))
    }

    /// Whoever has nothing to do with an action does not learn that it is there.
    fn may_see(&self, row: &ActionRow, user: &UserId) -> Result<(), Refusal> {
        let may = row.user == *user || steps_of(row).names(user);
        if may { Ok(()) } else { Err(Refusal::UnknownAction) }
    }
}

fn redeemed(row: &ActionRow) -> AuthReply {
    let mut reply = status_of(row);
    if let Some(action) = &mut reply.action {
        action.redeemed_at = row.redeemed_at;
    }
    reply
}
