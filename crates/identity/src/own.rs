//! The keys that sign our own tokens: public ones, from their row in the store.

use std::sync::Arc;
use std::time::Duration;

use ridgeline_domain::Timestamp;
use ridgeline_ports::{RowKey, Store};
use ridgeline_vault::token::{Claims, Jwks, TokenError, TokenKind, TokenPublicKey, TokenVerifier};
use ridgeline_wire::auth_row::{SigningKeysRow, table};
use tokio::time::timeout;

use crate::IdentityError;
use crate::kept::{Kept, Times};

/// Name of the row.
const ROW: &str = "jwt";
/// A key stands in its row an hour before it signs.
const TIMES: Times = Times { fresh: Duration::from_secs(30), pause: Duration::from_secs(1) };
/// Longest wait for the row.
const READ_MAX: Duration = Duration::from_secs(5);

/// Keys as last read.
pub(crate) struct OwnKeys {
    issuer: String,
    store: Arc<dyn Store>,
    kept: Kept<Keys>,
}

struct Keys(Vec<Key>);

struct Key {
    public: TokenPublicKey,
    /// Its tokens are over by then.
    verifies_until: Option<Timestamp>,
}

impl Keys {
    fn at(&self, now: Timestamp) -> Vec<TokenPublicKey> {
        let living = self.0.iter().filter(|key| key.verifies_until.is_none_or(|until| now < until));
        living.map(|key| key.public.clone()).collect()
    }
}

impl OwnKeys {
    pub(crate) fn new(issuer: String, store: Arc<dyn Store>) -> Self {
        Self { issuer, store, kept: Kept::new(TIMES) }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// By the keys at hand. A key that is not among them may have been made since.
    pub(crate) async fn verify(&self, kind: TokenKind, token: &str, now: Timestamp) -> Result<Claims, IdentityError> {
        let keys = self.kept.get(|| self.read()).await?;
        match self.check(&keys, kind, token, now) {
            Err(TokenError::UnknownKey) => {}
            checked => return checked.map_err(IdentityError::Refused),
        }
        let newer = self.kept.newer(&keys, || self.read()).await?;
        let checked = newer.map_or(Err(TokenError::UnknownKey), |keys| self.check(&keys, kind, token, now));
        checked.map_err(IdentityError::Refused)
    }

    /// Those that sign, will sign or still verify.
    pub(crate) async fn jwks(&self, now: Timestamp) -> Result<String, IdentityError> {
        let keys = self.kept.get(|| self.read()).await?;
        Ok(Jwks(keys.at(now)).to_json())
    }

    fn check(&self, keys: &Keys, kind: TokenKind, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        TokenVerifier::new(self.issuer.clone(), keys.at(now)).verify(kind, token, now)
    }

    /// No row is no keys: the first auth worker makes it.
    async fn read(&self) -> Result<Keys, IdentityError> {
        let key = RowKey::single(ROW);
        let row = timeout(READ_MAX, self.store.get(table::SIGNING_KEYS, &key)).await;
        let row = row.map_err(unavailable)?.map_err(unavailable)?;
        let Some(row) = row else { return Ok(Keys(Vec::new())) };
        let row: SigningKeysRow = ridgeline_wire::decode(&row.value).map_err(unavailable)?;
        let read = row.keys.iter().map(|entry| {
            let public = TokenPublicKey::from_point_bytes(&entry.public).map_err(unavailable)?;
            if public.kid() != entry.kid {
                return Err(IdentityError::Unavailable("a stored key has another key's id".into()));
            }
            Ok(Key { public, verifies_until: entry.verifies_until })
        });
        read.collect::<Result<_, _>>().map(Keys)
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> IdentityError {
    IdentityError::Unavailable(Box::new(error))
}
