//! The secrets of a data directory: made at the first start, owner-only, never printed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ridgeline_domain::{Permission, Sensitive, Timestamp};
use ridgeline_ports::{Cas, Entropy, RowKey, Store};
use ridgeline_vault::{Aad, ApiKey, KeyRing, Purpose, SealingKey, SigningKey, Vault, keyring};
use ridgeline_wire::row::{ApiKeyRow, table};

/// Names of files in a data directory.
pub(crate) mod name {
    /// The key ring.
    pub(crate) const KEY_RING: &str = "key-ring";
    /// Key of the HTTP layer as a source of scans.
    pub(crate) const GATEWAY_KEY: &str = "gateway-key.pem";
    /// Key of the built-in agent.
    pub(crate) const AGENT_KEY: &str = "agent-key.pem";
    /// Opens the admin port.
    pub(crate) const ADMIN_KEY: &str = "admin-key";
    /// The first API key.
    pub(crate) const API_KEY: &str = "api-key";
    /// Public: what agents seal samples to.
    pub(crate) const SEALING_KEY: &str = "sealing-key";
}

/// Secrets longer than this are none of ours.
const SECRET_CHARS_MAX: u64 = 4_096;

/// Makes a directory that only its owner enters; one that is there stays as it is.
pub(crate) fn private_dir(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make data directory {}", path.display()))
}

/// The key ring, made if it is missing. Of processes that start at once one makes it, and the others read it.
pub(crate) fn ring(path: &Path, entropy: &dyn Entropy) -> anyhow::Result<KeyRing> {
    let made = if path.exists() { None } else { Some(keyring::create(path, entropy)) };
    let ring = match made {
        Some(Ok(ring)) => Ok(ring),
        Some(Err(error)) if !path.exists() => Err(error),
        // A ring of an earlier version has no keys for commands yet.
        _ => keyring::complete(path, entropy),
    };
    ring.with_context(|| format!("key ring {}", path.display()))
}

/// A signing key, made if it is missing.
pub(crate) fn signing_key(path: &Path, entropy: &dyn Entropy) -> anyhow::Result<SigningKey> {
    let context = || format!("signing key {}", path.display());
    if path.exists() {
        return SigningKey::load(path).with_context(context);
    }
    let key = SigningKey::generate(entropy).with_context(context)?;
    key.save(path).with_context(context)?;
    Ok(key)
}

/// The key ring as it is.
pub(crate) fn read_ring(path: &Path) -> anyhow::Result<KeyRing> {
    keyring::load(path).with_context(|| format!("key ring {}", path.display()))
}

/// Writes the public key that agents seal to.
pub(crate) fn publish_sealing_key(dir: &Path, key: &SealingKey) -> anyhow::Result<()> {
    replace(&dir.join(name::SEALING_KEY), &format!("{}\n", STANDARD.encode(key.public_bytes())), 0o644)
}

/// Reads what [`publish_sealing_key`] wrote.
pub(crate) fn read_sealing_key(path: &Path) -> anyhow::Result<SealingKey> {
    let context = || format!("sealing key {}", path.display());
    let text = std::fs::read_to_string(path).with_context(context)?;
    let bytes = STANDARD.decode(text.trim()).with_context(context)?;
    SealingKey::from_public_bytes(&bytes).with_context(context)
}

/// The key of the admin port, made if it is missing.
pub(crate) fn admin_key(dir: &Path, entropy: &dyn Entropy) -> anyhow::Result<Sensitive<String>> {
    let path = dir.join(name::ADMIN_KEY);
    if path.exists() {
        return read_secret(&path);
    }
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    let key = Sensitive::new(format!("rla_{}", URL_SAFE_NO_PAD.encode(bytes)));
    replace(&path, key.expose(), 0o600)?;
    Ok(key)
}

/// The first API key: all permissions. The file comes first, so that a key in the store always has its owner.
pub(crate) async fn api_key(
    dir: &Path,
    store: &dyn Store,
    entropy: &dyn Entropy,
    now: Timestamp,
) -> anyhow::Result<PathBuf> {
    let path = dir.join(name::API_KEY);
    if !path.exists() {
        let key = ApiKey::generate(entropy)?;
        replace(&path, key.reveal().expose(), 0o600)?;
    }
    let text = read_secret(&path)?;
    let key = ApiKey::parse(text.expose()).with_context(|| format!("API key file {}", path.display()))?;
    let row = ApiKeyRow {
        name: "first key".to_owned(),
        digest: key.digest().as_bytes().to_vec(),
        permissions: Permission::ALL.to_vec(),
        created_at: now,
        revoked: false,
    };
    let value = ridgeline_wire::encode(&row)?.into();
    // A conflict is the key of an earlier start, perhaps revoked since: it stays as it is.
    let (Cas::Applied(_) | Cas::Conflict(_)) =
        store.insert_new(table::API_KEYS, &RowKey::single(key.id().as_str()), value, None).await?;
    Ok(path)
}

/// Whether the key ring is the one that the stored data are sealed with. The first process of a deployment leaves a
/// ciphertext that all others must be able to open: a worker with another ring would refuse every record as poison.
///
/// # Errors
/// If the ring does not open it, or the store cannot be reached.
pub(crate) async fn belongs(
    store: &dyn Store,
    vault: &Vault,
    entropy: &dyn Entropy,
    file: &Path,
) -> anyhow::Result<()> {
    const ROW: &str = "key-ring";
    let (key, aad) = (RowKey::single(ROW), Aad::new(table::DEPLOYMENT.name, ROW, "value"));
    let held = match store.get(table::DEPLOYMENT, &key).await? {
        Some(row) => row.value,
        None => {
            let own = vault.seal(Purpose::Field, &aad, ROW.as_bytes(), entropy)?;
            match store.insert_new(table::DEPLOYMENT, &key, own.into(), None).await? {
                Cas::Applied(_) => return Ok(()),
                Cas::Conflict(row) => row.context("the mark of the key ring vanished while it was read")?.value,
            }
        }
    };
    let opened = vault.open(Purpose::Field, &aad, &held);
    opened.map(drop).with_context(|| {
        let file = file.display();
        format!(
            "key ring {file} is not the one that this deployment's data are sealed with; every process needs the same"
        )
    })
}

/// Reads a file that holds one secret.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<Sensitive<String>> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        bail!("{} can be read by others; run: chmod 600 {}", path.display(), path.display());
    }
    if metadata.len() > SECRET_CHARS_MAX {
        bail!("{} holds no key", path.display());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Sensitive::new(text.trim().to_owned()))
}

/// Puts `text` in the place of the file, atomically and synced.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.new", std::process::id()));
        let beside = PathBuf::from(beside);
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use ridgeline_runtime::SystemEntropy;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("data");
        private_dir(&dir).unwrap();
        let entropy = &SystemEntropy;
        let first = admin_key(&dir, entropy).unwrap();
        assert_eq!(admin_key(&dir, entropy).unwrap().expose(), first.expose());
        let ring_file = dir.join(name::KEY_RING);
        let ring_text = ring(&ring_file, entropy).unwrap().to_text();
        assert_eq!(*ring(&ring_file, entropy).unwrap().to_text(), *ring_text);
        let pem = dir.join(name::GATEWAY_KEY);
        let key = signing_key(&pem, entropy).unwrap().verifying_key();
        assert!(signing_key(&pem, entropy).unwrap().verifying_key() == key);
        for file in [name::ADMIN_KEY, name::KEY_RING, name::GATEWAY_KEY] {
            assert_eq!(std::fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        }
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api-key");
        replace(&path, "rl_x", 0o644).unwrap();
        let error = read_secret(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn the_sealing_key_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyRing::create(&SystemEntropy).unwrap().sealing_key();
        publish_sealing_key(dir.path(), &key).unwrap();
        assert_eq!(read_sealing_key(&dir.path().join(name::SEALING_KEY)).unwrap().key_id(), key.key_id());
    }

    #[tokio::test]
    async fn the_first_key_survives_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let clock = std::sync::Arc::new(ridgeline_runtime::SystemClock);
        let options = ridgeline_embedded::EmbeddedOptions::new(clock);
        let embedded = ridgeline_embedded::Embedded::open(&dir.path().join("log"), options).unwrap();
        let store = embedded.store();
        store.ensure_tables(table::ALL).await.unwrap();
        let now = Timestamp::from_millis(0);
        let path = api_key(dir.path(), store.as_ref(), &SystemEntropy, now).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        api_key(dir.path(), store.as_ref(), &SystemEntropy, now).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let page = store.scan(table::API_KEYS, None, 10).await.unwrap();
        assert_eq!(page.rows.len(), 1);
        embedded.shutdown().await;
    }

    #[tokio::test]
    async fn another_key_ring_is_refused_and_a_rotated_one_is_not() {
        let memory = ridgeline_testkit::memory::Memory::open();
        let store = memory.store();
        store.ensure_tables(table::ALL).await.unwrap();
        let check = async |ring: &KeyRing| {
            belongs(store.as_ref(), &Vault::new(ring.clone()), &SystemEntropy, Path::new("the-ring")).await
        };
        let mut ours = KeyRing::create(&SystemEntropy).unwrap();
        check(&ours).await.unwrap();
        ours.rotate(Purpose::Field, &SystemEntropy).unwrap();
        check(&ours).await.unwrap();
        let error = check(&KeyRing::create(&SystemEntropy).unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("the-ring") && error.contains("same"), "{error}");
    }
}
