//! The keys that sign tokens: in one row, private ones wrapped, each announced before it signs and kept until its last token is over.

use std::sync::Arc;

use parking_lot::Mutex;
use ridgeline_domain::{DurationMs, Timestamp};
use ridgeline_runtime::StepError;
use ridgeline_vault::token::TokenKey;
use ridgeline_wire::auth_row::{SigningKeyEntry, SigningKeysRow, table};

use super::Halt;
use super::rows::{Loaded, insert, load, replace};
use crate::platform::{Platform, vault_fault};

/// The name of the row.
pub(super) const ROW: &str = "jwt";
/// A key signs so long, then the next one does.
const SIGNS_FOR: DurationMs = DurationMs::from_days(30);
/// The next key stands in the row so long before it signs: verifiers read the row far more often.
const ANNOUNCED_FOR: DurationMs = DurationMs::from_secs(3_600);
/// A token is over so long after its key has signed the last one: the life of a refresh token and a margin.
const OUTLIVED_BY: DurationMs = DurationMs::from_days(31);
/// The row is read again after this time: half of what a new key is announced for.
const READ_AGAIN: DurationMs = DurationMs::from_secs(1_800);
/// Races for the row; each worker that starts in a new deployment tries to make the first key.
const RACES_MAX: usize = 8;

/// Signing keys as last read. Cheap to ask.
pub(super) struct SigningKeys {
    platform: Arc<Platform>,
    cached: Mutex<Option<Cached>>,
}

struct Cached {
    /// When a key signs from, newest last.
    keys: Vec<(Timestamp, Arc<TokenKey>)>,
    read_at: Timestamp,
}

impl Cached {
    fn at(&self, now: Timestamp) -> Option<Arc<TokenKey>> {
        let is_young = now.since(self.read_at) < READ_AGAIN && now >= self.read_at;
        is_young.then(|| newest(&self.keys, now)).flatten()
    }
}

fn newest(keys: &[(Timestamp, Arc<TokenKey>)], now: Timestamp) -> Option<Arc<TokenKey>> {
    // The first key signs also what was appended before it was made.
    let signing = keys.iter().rev().find(|(from, _)| *from <= now).or_else(|| keys.first());
    signing.map(|(_, key)| key.clone())
}

impl SigningKeys {
    pub(super) fn new(platform: Arc<Platform>) -> Self {
        Self { platform, cached: Mutex::default() }
    }

    /// The key that signs what is issued at `now`. Makes the first one, and the next one when it is time.
    pub(super) async fn at(&self, now: Timestamp) -> Result<Arc<TokenKey>, StepError> {
        if let Some(key) = self.cached.lock().as_ref().and_then(|cached| cached.at(now)) {
            return Ok(key);
        }
        for _ in 0..RACES_MAX {
            let row = load::<SigningKeysRow>(&self.platform, table::SIGNING_KEYS, ROW).await?;
            match self.kept_up(row, now).await {
                Ok(row) => {
                    let keys = self.unwrapped(&row)?;
                    let key = newest(&keys, now)
                        .ok_or_else(|| StepError::Fatal("the row of signing keys is empty".to_owned()))?;
                    *self.cached.lock() = Some(Cached { keys, read_at: now });
                    return Ok(key);
                }
                Err(Halt::Step(error)) => return Err(error),
                Err(Halt::Raced | Halt::Refused(..) | Halt::Nothing) => {}
            }
        }
        Err(StepError::Retry("others keep changing the signing keys".to_owned()))
    }

    /// The row with a key that signs now, and one for the time after it where that is near.
    async fn kept_up(&self, row: Option<Loaded<SigningKeysRow>>, now: Timestamp) -> Result<SigningKeysRow, Halt> {
        let Some(mut loaded) = row else {
            let first = SigningKeysRow { keys: vec![self.made(now)?] };
            let there = insert(&self.platform, table::SIGNING_KEYS, ROW, &first, None).await?;
            return Ok(there.map_or(first, |there| there.row));
        };
        let next_from = loaded.row.keys.last().map(|newest| newest.signs_from.plus(SIGNS_FOR));
        let is_due = next_from.is_none_or(|from| now.plus(ANNOUNCED_FOR) >= from);
        if is_due {
            let from = now.plus(ANNOUNCED_FOR);
            if let Some(newest) = loaded.row.keys.last_mut() {
                newest.verifies_until = Some(from.plus(OUTLIVED_BY));
            }
            loaded.row.keys.retain(|key| key.verifies_until.is_none_or(|until| until > now));
            loaded.row.keys.push(self.made(from)?);
            replace(&self.platform, table::SIGNING_KEYS, ROW, &loaded, None).await?;
            tracing::info!("a new key for tokens was made; it signs in an hour");
        }
        Ok(loaded.row)
    }

    fn made(&self, signs_from: Timestamp) -> Result<SigningKeyEntry, StepError> {
        let entropy = &*self.platform.entropy;
        let key = TokenKey::generate(entropy).map_err(|e| vault_fault(&e))?;
        let public = key.public();
        let private = key.wrap(&self.platform.vault, entropy).map_err(|e| vault_fault(&e))?;
        Ok(SigningKeyEntry {
            kid: public.kid().to_owned(),
            public: public.point_bytes().to_vec(),
            private,
            signs_from,
            verifies_until: None,
        })
    }

    fn unwrapped(&self, row: &SigningKeysRow) -> Result<Vec<(Timestamp, Arc<TokenKey>)>, StepError> {
        let unwrap = |entry: &SigningKeyEntry| {
            let key =
                TokenKey::unwrap(&self.platform.vault, &entry.kid, &entry.private).map_err(|e| vault_fault(&e))?;
            Ok((entry.signs_from, Arc::new(key)))
        };
        row.keys.iter().map(unwrap).collect()
    }
}
