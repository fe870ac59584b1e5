//! Devices go, with all their tokens; and where their notifications go to.

use ridgeline_domain::{DeviceId, Refusal, UserId};
use ridgeline_flow::auth::without;
use ridgeline_identity::revocation::RevocationKind;
use ridgeline_ports::RowKey;
use ridgeline_wire::auth::{AuthReply, PushReply, RemovedReply};
use ridgeline_wire::auth_row::{DeviceRow, FamilyRow, UserChange, UserDevicesRow, table};

use super::caller::Caller;
use super::register::{hex, known, write_devices};
use super::rows::{load, replace, seal};
use super::{Halt, Work};

/// Families of a device that are marked one by one, and counted; the device's own end covers any others.
const FAMILIES_MAX: usize = 256;

impl Work<'_> {
    /// Removes a device of the caller's and ends its families.
    pub(super) async fn remove_device(&mut self) -> Result<AuthReply, Halt> {
        let device = *self.needed(&self.command.body.device_id)?;
        let platform = &self.auth.platform;
        let loaded = load::<DeviceRow>(platform, table::DEVICES, &device.to_string()).await?;
        // A repeated command has been allowed already: its token may be over by what it did, or its key gone since.
        let begun = loaded.as_ref().filter(|loaded| loaded.row.removed_by == Some(self.command.id));
        let user = match begun {
            Some(loaded) => loaded.row.user.clone(),
            None => {
                let owner = self.caller().await?.unrevoked()?;
                let loaded = loaded.filter(|loaded| loaded.row.user == owner.user && loaded.row.is_active);
                loaded.ok_or(Refusal::UnknownDevice)?;
                owner.user
            }
        };
        self.about.user = Some(user.clone());
        self.about.device = Some(device);
        let revoked_tokens = self.end_device(device, "removed").await?;
        self.taken_from(&user, device).await?;
        let removed = RemovedReply { device_id: device, revoked_tokens };
        Ok(AuthReply { removed: Some(removed), ..AuthReply::default() })
    }

    pub(super) async fn taken_from(&self, user: &UserId, device: DeviceId) -> Result<(), Halt> {
        let platform = &self.auth.platform;
        let loaded = load::<UserDevicesRow>(platform, table::USER_DEVICES, user.as_str()).await?;
        let Some(loaded) = loaded else { return Ok(()) };
        let Some(rest) = without(&known(&loaded.row), device) else { return Ok(()) };
        let change = UserChange { request_id: self.command.id, removed: Some(device) };
        write_devices(platform, user, Some(loaded), &rest, change).await
    }

    /// Marks a device as removed by this command, takes it out of the index of fingerprints and ends its families; answers how many.
    /// Each step can be done again. The device's own revocation covers the tokens of all its families.
    pub(super) async fn end_device(&mut self, device: DeviceId, why: &str) -> Result<i32, Halt> {
        let (id, now) = (self.command.id, self.command.now);
        let key = device.to_string();
        let Some(mut loaded) = load::<DeviceRow>(&self.auth.platform, table::DEVICES, &key).await? else {
            self.revoke(RevocationKind::Device, &key, why).await?;
            return Ok(0);
        };
        if loaded.row.is_active {
            loaded.row.is_active = false;
            loaded.row.removed_by = Some(id);
            loaded.row.updated_at = now;
            loaded.row.push_token = None;
            replace(&self.auth.platform, table::DEVICES, &key, &loaded, None).await?;
        }
        let index = RowKey::new(hex(&loaded.row.fingerprint), key.clone());
        self.auth.platform.store.delete(table::DEVICE_FINGERPRINTS, &index, now).await?;
        let store = &self.auth.platform.store;
        let families = store.range(table::DEVICE_FAMILIES, &key, None, FAMILIES_MAX).await?;
        let mut ended = 0;
        for (row, _) in &families {
            let family = load::<FamilyRow>(&self.auth.platform, table::FAMILIES, &row.clustering).await?;
            let Some(family) = family else { continue };
            if family.row.revoked_by.is_none_or(|by| by == id) && family.row.expires_at > now {
                self.mark_ended(family, why).await?;
                ended += 1;
            }
        }
        self.revoke(RevocationKind::Device, &key, why).await?;
        Ok(ended)
    }

    /// Notes where notifications of a device go: the caller's own, or by a web token any of the user's.
    pub(super) async fn set_push_token(&mut self) -> Result<AuthReply, Halt> {
        let Caller { user, own, .. } = self.caller().await?.unrevoked()?;
        let device = *self.needed(&self.command.body.device_id)?;
        if own.is_some_and(|own| own.device != device) {
            return Err(Refusal::BadCredential.into());
        }
        let platform = &self.auth.platform;
        let loaded = load::<DeviceRow>(platform, table::DEVICES, &device.to_string()).await?;
        let loaded = loaded.filter(|loaded| loaded.row.user == user && loaded.row.is_active);
        let mut loaded = loaded.ok_or(Refusal::UnknownDevice)?;
        self.about.device = Some(device);
        let token = self.needed(&self.command.body.push_token)?;
        let key = device.to_string();
        loaded.row.push_token = Some(seal(platform, table::DEVICES, &key, "push_token", token.as_bytes())?);
        loaded.row.updated_at = self.command.now;
        replace(platform, table::DEVICES, &key, &loaded, None).await?;
        let push = PushReply { device_id: device, updated_at: self.command.now };
        Ok(AuthReply { push: Some(push), ..AuthReply::default() })
    }
}
