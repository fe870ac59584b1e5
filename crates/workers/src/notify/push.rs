//! Notifications to the devices of somebody who is asked to approve.

use futures::future::join_all;
use ridgeline_domain::{ActionStatus, DeliveryStatus, DeviceId, DurationMs, Language, Sensitive, Timestamp};
use ridgeline_ports::{Cas, Push, PushError, RowKey};
use ridgeline_push::text;
use ridgeline_runtime::{StepError, metric};
use ridgeline_vault::{Aad, Purpose};
use ridgeline_wire::action_row::ActionRow;
use ridgeline_wire::auth_row::{DeviceRow, table as devices};
use ridgeline_wire::{decode, encode};
use serde_json::{Map, Value};

use super::{Delivery, Notify, Told};
use crate::platform::{vault_fault, wire_fault};

/// First pause before a device is tried again; doubles each time.
const PAUSE_FIRST: DurationMs = DurationMs::from_secs(1);
/// Longest pause; what the push service asks for may be longer.
const PAUSE_MAX: DurationMs = DurationMs::from_secs(60);
/// A device that others keep changing is looked at so often.
const RACES_MAX: usize = 8;

const OVER: &str = "the action's time was over";
const DECIDED: &str = "the action was decided before";
const UNREACHABLE: &str = "the device takes no notifications";
const UNREADABLE: &str = "what is stored about the device cannot be read";
const NO_SERVICE: &str = "no push service is configured";

impl Notify {
    /// Tells every device of the notice; when those are tried again that could not be told.
    pub(super) async fn ask_devices(&self, told: &Told) -> Result<Option<Timestamp>, StepError> {
        let action = self.action(&told.notice).await?;
        let asked = told.notice.devices.iter().map(|device| self.ask_device(told, action.as_ref(), *device));
        // Each to its end, also when another fails.
        let mut again: Option<Timestamp> = None;
        let mut failed = None;
        for end in join_all(asked).await {
            match end {
                Ok(Some(at)) => again = Some(again.map_or(at, |first| first.min(at))),
                Ok(None) => {}
                // A worse one is not forgotten over a milder one.
                Err(error) if matches!(failed, None | Some(StepError::Retry(_))) => failed = Some(error),
                Err(_) => {}
            }
        }
        failed.map_or(Ok(again), Err)
    }

    async fn ask_device(
        &self,
        told: &Told,
        action: Option<&ActionRow>,
        device: DeviceId,
    ) -> Result<Option<Timestamp>, StepError> {
        let mut delivery = self.delivery(&told.notice, Some(device)).await?;
        if delivery.row.status != DeliveryStatus::Pending {
            self.account(told, &delivery.row).await?;
            return Ok(None);
        }
        let now = self.now(&told.notice);
        let pushed = match self.push(told, action, device, now).await {
            // One device's row that cannot be read stops no other.
            Err(StepError::Poison(_)) => Err(NotTold::Never(UNREADABLE.to_owned())),
            pushed => pushed?,
        };
        let again = match pushed {
            Ok(message_id) => {
                tracing::info!(action_id = %told.notice.action_id, device_id = %device, message_id, "device told");
                delivery.row.status = DeliveryStatus::Sent;
                delivery.row.sent_at = Some(now);
                delivery.row.message_id = Some(message_id);
                delivery.row.error = None;
                None
            }
            Err(NotTold::Never(why)) => {
                delivery.row.status = DeliveryStatus::Failed;
                delivery.row.error = Some(why);
                None
            }
            Err(NotTold::Later(after, why)) => {
                let doubled = PAUSE_FIRST.0.saturating_mul(1 << delivery.row.attempts.clamp(0, 20)).min(PAUSE_MAX.0);
                let pause = DurationMs(after.map_or(0, |after| after.0).max(doubled));
                delivery.row.error = Some(why);
                if now.plus(pause) >= told.notice.expires_at {
                    delivery.row.status = DeliveryStatus::Failed;
                    None
                } else {
                    Some(told.partition_time().plus(pause))
                }
            }
        };
        delivery.row.attempts = delivery.row.attempts.saturating_add(1);
        self.note(&mut delivery, now).await?;
        // It may have come to its end meanwhile: shown, or over.
        let again = again.filter(|_| delivery.row.status == DeliveryStatus::Pending);
        if again.is_none() {
            self.end(told, &delivery, device).await?;
        }
        Ok(again)
    }

    async fn end(&self, told: &Told, delivery: &Delivery, device: DeviceId) -> Result<(), StepError> {
        let status = delivery.row.status.as_str();
        metrics::counter!(metric::NOTIFICATIONS, "kind" => "push", "status" => status).increment(1);
        if let (DeliveryStatus::Failed, Some(error)) = (delivery.row.status, &delivery.row.error) {
            tracing::warn!(action_id = %told.notice.action_id, device_id = %device, error, "device not told");
        }
        self.account(told, &delivery.row).await
    }

    /// Sends one notification: the push service's id for it, or why not.
    async fn push(
        &self,
        told: &Told,
        action: Option<&ActionRow>,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<Result<String, NotTold>, StepError> {
        let never = |why: &str| Ok(Err(NotTold::Never(why.to_owned())));
        let notice = &told.notice;
        if now >= notice.expires_at {
            return never(OVER);
        }
        let Some(action) = action.filter(|action| action.status == ActionStatus::Pending) else {
            return never(DECIDED);
        };
        let Some(sender) = &self.parts.push else { return never(NO_SERVICE) };
        let Some(row) = self.device(device).await? else { return never(UNREACHABLE) };
        let Some(token) = self.token(&row)? else { return never(UNREACHABLE) };
        let payload = self.opened(notice, "payload", &action.payload)?;
        let payload: Map<String, Value> = serde_json::from_str(&payload).unwrap_or_default();
        let language = Some(row.language).or(action.language).unwrap_or(Language::En);
        let words = text::notice(language, action.action_type.as_str(), &payload);
        let push = Push {
            token: token.clone(),
            title: words.title,
            body: words.body,
            confirmation_id: notice.action_id,
            action_type: action.action_type.to_string(),
            expires_at: notice.expires_at,
        };
        match sender.send(&push).await {
            Ok(receipt) => Ok(Ok(receipt.message_id)),
            Err(error @ PushError::Unregistered) => {
                self.forget_token(device, &token).await?;
                Ok(Err(NotTold::Never(error.to_string())))
            }
            Err(error @ PushError::Refused(_)) => Ok(Err(NotTold::Never(error.to_string()))),
            Err(PushError::Later { after, what }) => Ok(Err(NotTold::Later(after, what))),
        }
    }

    async fn device(&self, device: DeviceId) -> Result<Option<DeviceRow>, StepError> {
        let row = self.platform.store.get(devices::DEVICES, &RowKey::single(device.to_string())).await?;
        let row: Option<DeviceRow> = row.map(|row| decode(&row.value).map_err(wire_fault)).transpose()?;
        Ok(row.filter(|row| row.is_active))
    }

    fn token(&self, row: &DeviceRow) -> Result<Option<Sensitive<String>>, StepError> {
        let Some(sealed) = row.push_token.as_deref() else { return Ok(None) };
        let aad = Aad::new(devices::DEVICES.name, &row.device_id.to_string(), "push_token");
        let token = self.platform.vault.open(Purpose::Field, &aad, sealed).map_err(|error| vault_fault(&error))?;
        Ok(String::from_utf8(token.expose().clone()).ok().map(Sensitive::new))
    }

    /// Takes a token away that leads nowhere, unless the device has another one by now.
    async fn forget_token(&self, device: DeviceId, token: &Sensitive<String>) -> Result<(), StepError> {
        let key = RowKey::single(device.to_string());
        for _ in 0..RACES_MAX {
            let Some(found) = self.platform.store.get(devices::DEVICES, &key).await? else { return Ok(()) };
            let mut row: DeviceRow = decode(&found.value).map_err(wire_fault)?;
            if self.token(&row)?.is_none_or(|held| held.expose() != token.expose()) {
                return Ok(());
            }
            row.push_token = None;
            let value = encode(&row).map_err(wire_fault)?.into();
            match self.platform.store.replace(devices::DEVICES, &key, found.version, value, found.expires_at).await? {
                Cas::Applied(_) => return Ok(()),
                Cas::Conflict(_) => {}
            }
        }
        Ok(())
    }
}

/// Why a device was not told.
enum NotTold {
    Never(String),
    Later(Option<DurationMs>, String),
}
