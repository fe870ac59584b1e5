//! Tokens that end before their time.
//!
//! A revocation stands in the store before anybody is told of it; the topic `revocations` only spares gateways the reading.

mod cache;
mod known;

use std::fmt;

use ridgeline_domain::{DeviceId, FamilyId, Timestamp, UserId};
use ridgeline_ports::{RowKey, Store, StoreError};
use ridgeline_wire::auth_row::{RevokedRow, table};

pub use cache::RevocationCache;

/// Whose tokens are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RevocationKind {
    /// All of a user's that were issued up to a time.
    User,
    /// All of a device, whenever issued: its id never comes again.
    Device,
    /// All of a refresh token family, whenever issued.
    Family,
    /// Everybody's that were issued up to a time.
    All,
}

impl RevocationKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[Self::User, Self::Device, Self::Family, Self::All];

    /// Its word in keys and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Device => "device",
            Self::Family => "family",
            Self::All => "all",
        }
    }

    /// The kind of a word; `None` for any other.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for RevocationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the table `revoked` has it. The id of [`RevocationKind::All`] is empty.
#[must_use]
pub fn row_key(kind: RevocationKind, id: &str) -> RowKey {
    RowKey::single(record_key(kind, id))
}

/// Key of the record on `revocations`: `family:<id>`, `all:`.
#[must_use]
pub fn record_key(kind: RevocationKind, id: &str) -> String {
    format!("{kind}:{id}")
}

/// Whom a token speaks of, and when it was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subjects<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The device; a web token has none.
    pub device: Option<&'a DeviceId>,
    /// The family, if the session has one.
    pub family: Option<&'a FamilyId>,
    /// `iat`.
    pub issued_at: Timestamp,
}

impl Subjects<'_> {
    /// What would end the token.
    fn each(&self) -> impl Iterator<Item = (RevocationKind, String)> {
        let family = self.family.map(|family| (RevocationKind::Family, family.to_string()));
        let device = self.device.map(|device| (RevocationKind::Device, device.to_string()));
        let others = [(RevocationKind::User, self.user.to_string()), (RevocationKind::All, String::new())];
        others.into_iter().chain(device).chain(family)
    }

    /// Whether a revocation of this kind up to `at` ends the token.
    fn ended_by(&self, kind: RevocationKind, at: Timestamp) -> bool {
        match kind {
            RevocationKind::Device | RevocationKind::Family => true,
            RevocationKind::User | RevocationKind::All => self.issued_at <= at,
        }
    }
}

/// Whether a token is over, by the store alone.
///
/// # Errors
/// What the store said; `Corrupt` for a row that cannot be read.
pub async fn revoked_in_store(store: &dyn Store, subjects: &Subjects<'_>) -> Result<bool, StoreError> {
    let ends = async |kind: RevocationKind, id: String| {
        let Some(row) = store.get(table::REVOKED, &row_key(kind, &id)).await? else { return Ok(false) };
        let unreadable = |error: ridgeline_wire::WireError| StoreError::Corrupt(format!("table revoked: {error}"));
        let row: RevokedRow = ridgeline_wire::decode(&row.value).map_err(unreadable)?;
        Ok::<bool, StoreError>(subjects.ended_by(kind, row.at))
    };
    let some = async |kind: RevocationKind, id: Option<String>| match id {
        Some(id) => ends(kind, id).await,
        None => Ok(false),
    };
    let (user, device, family, all) = tokio::try_join!(
        ends(RevocationKind::User, subjects.user.to_string()),
        some(RevocationKind::Device, subjects.device.map(ToString::to_string)),
        some(RevocationKind::Family, subjects.family.map(ToString::to_string)),
        ends(RevocationKind::All, String::new()),
    )?;
    Ok(user || device || family || all)
}
