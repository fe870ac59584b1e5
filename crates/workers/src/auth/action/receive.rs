//! A device says that it has shown an action to its user.

use ridgeline_domain::{DeliveryStatus, Refusal};
use ridgeline_ports::{Cas, RowKey};
use ridgeline_wire::action_row::{DeliveryRow, table};
use ridgeline_wire::auth::AuthReply;
use ridgeline_wire::{decode, encode};

use super::super::{Halt, Work};
use super::{status_of, steps_of};
use crate::platform::wire_fault;

impl Work<'_> {
    /// Notes that a notification has arrived. A device that found the action without one has nothing to note.
    pub(in super::super) async fn receive(&mut self) -> Result<AuthReply, Halt> {
        let row = self.action().await?.row;
        let device = self.device().await?;
        if !steps_of(&row).names(&device.user) {
            return Err(Refusal::UnknownAction.into());
        }
        let store = &self.auth.platform.store;
        let key = RowKey::new(row.action_id.to_string(), device.device.to_string());
        if let Some(found) = store.get(table::NOTIFICATIONS, &key).await? {
            let mut delivery: DeliveryRow = decode(&found.value).map_err(wire_fault)?;
            if delivery.status != DeliveryStatus::Delivered {
                delivery.status = DeliveryStatus::Delivered;
                delivery.delivered_at = Some(self.command.now);
                delivery.updated_at = self.command.now;
                let value = encode(&delivery).map_err(wire_fault)?.into();
                let written = store.replace(table::NOTIFICATIONS, &key, found.version, value, found.expires_at).await?;
                if matches!(written, Cas::Conflict(_)) {
                    return Err(Halt::Raced);
                }
            }
        }
        Ok(status_of(&row))
    }
}
