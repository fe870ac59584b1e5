//! An operator ends tokens before their time.

use ridgeline_domain::{Refusal, Timestamp, UserId};
use ridgeline_identity::revocation::{self, RevocationKind};
use ridgeline_ports::PlainWrite;
use ridgeline_wire::action::RevocationOrder;
use ridgeline_wire::auth::{AuthReply, Revocation};
use ridgeline_wire::auth_row::{DeviceRow, FamilyRow, RevokedRow, table};

use super::mint::REFRESH_LIFE;
use super::rows::{load, put};
use super::{Halt, Work};

/// Why, in rows and records.
const WHY: &str = "operator";

impl Work<'_> {
    /// Ends a user's, a device's or a family's tokens, or everybody's.
    pub(super) async fn revoke_by_order(&mut self) -> Result<AuthReply, Halt> {
        let order = self.needed(&self.command.body.revocation)?;
        self.ordered(&order.kind, &order.id)?;
        let kind = RevocationKind::from_word(&order.kind).ok_or(Refusal::Invalid)?;
        let ended = match kind {
            RevocationKind::User => {
                let user: UserId = order.id.parse().map_err(|_| Refusal::Invalid)?;
                self.about.user = Some(user);
                self.end_up_to(kind, order).await?;
                0
            }
            RevocationKind::All => {
                self.end_up_to(kind, order).await?;
                0
            }
            RevocationKind::Device => {
                let device = order.id.parse().map_err(|_| Refusal::Invalid)?;
                let loaded = load::<DeviceRow>(&self.auth.platform, table::DEVICES, &order.id).await?;
                let user = loaded.ok_or(Refusal::UnknownDevice)?.row.user;
                (self.about.user, self.about.device) = (Some(user.clone()), Some(device));
                let ended = self.end_device(device, WHY).await?;
                self.taken_from(&user, device).await?;
                ended
            }
            RevocationKind::Family => {
                let loaded = load::<FamilyRow>(&self.auth.platform, table::FAMILIES, &order.id).await?;
                let family = loaded.ok_or(Refusal::UnknownDevice)?;
                self.about.user = Some(family.row.user.clone());
                self.about.family = Some(family.row.family_id);
                self.end_family(family, WHY).await?;
                1
            }
        };
        Ok(AuthReply { revoked: Some(ended), ..AuthReply::default() })
    }

    /// Tokens that were issued up to a time are over; one that was said before and reaches further stays.
    async fn end_up_to(&mut self, kind: RevocationKind, order: &RevocationOrder) -> Result<(), Halt> {
        let (platform, now) = (&self.auth.platform, self.command.now);
        let key = revocation::row_key(kind, &order.id);
        let before = platform.store.get(table::REVOKED, &key).await?;
        let before = before.map(|row| ridgeline_wire::decode::<RevokedRow>(&row.value)).transpose();
        let before = before.map_err(crate::platform::wire_fault)?.map(|row| row.at);
        let at = order.before.unwrap_or(now).min(now).max(before.unwrap_or(Timestamp::from_millis(0)));
        let row = RevokedRow { at, reason: WHY.to_owned() };
        let write = PlainWrite { at: now, expires_at: Some(now.plus(REFRESH_LIFE)) };
        put(platform, table::REVOKED, &key, &row, write).await?;
        let revocation = Revocation { kind: kind.to_string(), id: order.id.clone(), at, reason: WHY.to_owned() };
        self.follows.revocations.push(revocation);
        Ok(())
    }
}
