//! Reading and writing rows under their versions, and their encrypted columns.

use ridgeline_domain::{Sensitive, Timestamp};
use ridgeline_ports::{Cas, PlainWrite, RowKey, TableSpec, Version};
use ridgeline_runtime::StepError;
use ridgeline_vault::{Aad, Purpose};
use ridgeline_wire::{Encoded, decode, encode};

use super::Halt;
use crate::platform::{Platform, vault_fault, wire_fault};

/// A row as read.
pub(super) struct Loaded<T> {
    pub(super) row: T,
    pub(super) version: Version,
}

/// Reads a conditional row, as the last write that may have been decided left it.
pub(super) async fn load<T: Encoded>(
    platform: &Platform,
    table: TableSpec,
    key: &str,
) -> Result<Option<Loaded<T>>, StepError> {
    let Some(stored) = platform.store.get(table, &RowKey::single(key)).await? else { return Ok(None) };
    Ok(Some(Loaded { row: decode(&stored.value).map_err(wire_fault)?, version: stored.version }))
}

/// Inserts a row. `Some`: the row that is there already.
pub(super) async fn insert<T: Encoded>(
    platform: &Platform,
    table: TableSpec,
    key: &str,
    row: &T,
    expires_at: Option<Timestamp>,
) -> Result<Option<Loaded<T>>, StepError> {
    let value = encode(row).map_err(wire_fault)?.into();
    match platform.store.insert_new(table, &RowKey::single(key), value, expires_at).await? {
        Cas::Applied(_) => Ok(None),
        Cas::Conflict(Some(there)) => {
            Ok(Some(Loaded { row: decode(&there.value).map_err(wire_fault)?, version: there.version }))
        }
        Cas::Conflict(None) => Err(StepError::Retry("a row vanished while it was read".to_owned())),
    }
}

/// Replaces a row as it was read.
///
/// # Errors
/// [`Halt::Raced`] if it changed since.
pub(super) async fn replace<T: Encoded>(
    platform: &Platform,
    table: TableSpec,
    key: &str,
    loaded: &Loaded<T>,
    expires_at: Option<Timestamp>,
) -> Result<(), Halt> {
    let value = encode(&loaded.row).map_err(wire_fault)?.into();
    match platform.store.replace(table, &RowKey::single(key), loaded.version, value, expires_at).await? {
        Cas::Applied(_) => Ok(()),
        Cas::Conflict(_) => Err(Halt::Raced),
    }
}

/// Writes a row of a plain table at a record's time.
pub(super) async fn put<T: Encoded>(
    platform: &Platform,
    table: TableSpec,
    key: &RowKey,
    row: &T,
    write: PlainWrite,
) -> Result<(), StepError> {
    let value = encode(row).map_err(wire_fault)?.into();
    Ok(platform.store.put(table, key, value, write).await?)
}

/// An encrypted column of a row.
pub(super) fn seal(
    platform: &Platform,
    table: TableSpec,
    key: &str,
    column: &str,
    plaintext: &[u8],
) -> Result<Vec<u8>, StepError> {
    let aad = Aad::new(table.name, key, column);
    platform.vault.seal(Purpose::Field, &aad, plaintext, &*platform.entropy).map_err(|e| vault_fault(&e))
}

/// Its plaintext.
pub(super) fn open(
    platform: &Platform,
    table: TableSpec,
    key: &str,
    column: &str,
    ciphertext: &[u8],
) -> Result<Sensitive<Vec<u8>>, StepError> {
    let aad = Aad::new(table.name, key, column);
    platform.vault.open(Purpose::Field, &aad, ciphertext).map_err(|e| vault_fault(&e))
}
