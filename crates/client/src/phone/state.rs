//! What a phone keeps, and the file that it is kept in.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ridgeline_domain::{DeviceFingerprint, DeviceId, Sensitive};
use ridgeline_vault::file;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::PhoneError;

const FORMAT: &str = "ridgeline-phone";
const VERSION: u64 = 1;
/// Keys and tokens are below 8 KiB each; room for all of them, so that no buffer grows and leaves copies behind.
const FILE_BYTES: usize = 32 << 10;
/// Another process holds the lock for a refresh at most, which ends within half of this.
const LOCK_WAIT: Duration = Duration::from_secs(60);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// All that a phone keeps.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct State {
    format: String,
    version: u64,
    /// PKCS#8 PEM.
    #[serde(with = "secret")]
    pub(super) signing_key: Sensitive<String>,
    /// The scalar in base64url.
    #[serde(with = "secret")]
    pub(super) proof_key: Sensitive<String>,
    #[serde(with = "word")]
    pub(super) fingerprint: DeviceFingerprint,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) registered: Option<Registration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<Session>,
}

/// Where the phone is registered.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Registration {
    #[serde(with = "word")]
    pub(super) device: DeviceId,
    /// Address of the service.
    pub(super) service: String,
}

/// What the last login or refresh gave. Times are milliseconds since the epoch.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Session {
    #[serde(with = "secret")]
    pub(super) access_token: Sensitive<String>,
    pub(super) access_expires_at_ms: i64,
    /// Whether the access token needs a proof.
    pub(super) is_bound: bool,
    #[serde(with = "optional_secret", default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<Sensitive<String>>,
    /// When the refresh token was first presented, while the answer is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refresh_sent_at_ms: Option<i64>,
}

/// What is read of a file of any version.
#[derive(Deserialize)]
struct Mark {
    format: String,
    version: u64,
}

impl State {
    pub(super) fn new(signing_key: &str, proof_key: String, fingerprint: DeviceFingerprint) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            signing_key: Sensitive::new(signing_key.to_owned()),
            proof_key: Sensitive::new(proof_key),
            fingerprint,
            registered: None,
            session: None,
        }
    }

    pub(super) fn read(path: &Path) -> Result<Self, PhoneError> {
        let text = file::read(path)?;
        // What the parser says may repeat a part of the text.
        let damaged = |error: serde_json::Error| damaged_at(path, error.line());
        let mark: Mark = serde_json::from_str(&text).map_err(damaged)?;
        if mark.format != FORMAT {
            return Err(damaged_at(path, 1));
        }
        if mark.version != VERSION {
            return Err(PhoneError::OtherVersion { path: path.to_owned(), found: mark.version, known: VERSION });
        }
        serde_json::from_str(&text).map_err(damaged)
    }

    pub(super) fn create(&self, path: &Path) -> Result<(), PhoneError> {
        Ok(file::create(path, self.text(path)?.expose())?)
    }

    pub(super) fn replace(&self, path: &Path) -> Result<(), PhoneError> {
        Ok(file::replace(path, self.text(path)?.expose())?)
    }

    fn text(&self, path: &Path) -> Result<Sensitive<String>, PhoneError> {
        let mut bytes = Vec::with_capacity(FILE_BYTES);
        serde_json::to_writer_pretty(&mut bytes, self).map_err(|_| damaged_at(path, 1))?;
        bytes.push(b'\n');
        String::from_utf8(bytes).map(Sensitive::new).map_err(|_| damaged_at(path, 1))
    }
}

pub(super) fn damaged_at(path: &Path, line: usize) -> PhoneError {
    PhoneError::NotAPhone { path: path.to_owned(), line: line.max(1) }
}

/// Lets one process at a time change the file, until the lock is dropped. The lock lies beside the file, which is replaced.
pub(super) async fn lock(path: &Path) -> Result<File, PhoneError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    let failed = |source| PhoneError::Lock { path: beside.clone(), source };
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside);
    let file = opened.map_err(failed)?;
    let end = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::WouldBlock) => return Err(PhoneError::Busy { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

/// The one place where a secret is written: a file that only its owner reads.
mod secret {
    use ridgeline_domain::Sensitive;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Sensitive<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sensitive<String>, D::Error> {
        String::deserialize(deserializer).map(Sensitive::new)
    }
}

mod optional_secret {
    use ridgeline_domain::Sensitive;
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        secret: &Option<Sensitive<String>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Sensitive::expose).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Sensitive<String>>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Sensitive::new))
    }
}

/// Ids, as their text.
mod word {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer, T: Display>(word: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(word)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|_| D::Error::custom("not an id"))
    }
}
