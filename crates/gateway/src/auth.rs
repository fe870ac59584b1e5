//! Who calls: the API key of `X-API-Key`, checked against its stored digest.

use axum::http::HeaderMap;
use ridgeline_domain::{ApiKeyId, ErrorCode, Permission};
use ridgeline_ports::RowKey;
use ridgeline_vault::{ApiKey, ApiKeyDigest};
use ridgeline_wire::row::{ApiKeyRow, table};

use crate::gateway::Shared;
use crate::problem::Problem;

const API_KEY: &str = "x-api-key";

/// An authenticated caller.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) key: ApiKeyId,
    permissions: Vec<Permission>,
}

impl Caller {
    /// Who holds the key of the request.
    ///
    /// # Errors
    /// `Unauthenticated` with one text for every reason; `Unavailable` if the store cannot say.
    pub(crate) async fn of(shared: &Shared, headers: &HeaderMap) -> Result<Self, Problem> {
        let refused = || Problem::new(ErrorCode::Unauthenticated, "send a valid API key in the header X-API-Key");
        let mut values = headers.get_all(API_KEY).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(refused()) };
        let key = value.to_str().ok().and_then(|text| ApiKey::parse(text).ok()).ok_or_else(refused)?;
        let row = shared.parts.store.peek(table::API_KEYS, &RowKey::single(key.id().as_str())).await?;
        let row: ApiKeyRow = ridgeline_wire::decode(&row.ok_or_else(refused)?.value)?;
        let digest = <[u8; 32]>::try_from(row.digest.as_slice()).map_err(|_| refused())?;
        if !ApiKeyDigest::from_bytes(digest).matches(&key) || row.revoked {
            return Err(refused());
        }
        Ok(Self { key: key.id().clone(), permissions: row.permissions })
    }

    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    /// Fails with `Forbidden` unless the key has the permission.
    pub(crate) fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.may(permission) {
            Ok(())
        } else {
            Err(Problem::new(ErrorCode::Forbidden, format!("this needs the permission {permission}")))
        }
    }
}
