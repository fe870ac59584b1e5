//! Key files: mode 0600, replaced atomically, refused when others may read them.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::VaultError;

/// Far above a ring of ten thousand keys; a larger file is no key file.
pub const KEY_FILE_BYTES_MAX: u64 = 1 << 20;

const OWNER_ONLY: u32 = 0o600;
const OTHERS: u32 = 0o077;

/// Reads a key file as text.
///
/// # Errors
/// [`VaultError::Exposed`] if group or others have any permission, [`VaultError::TooLong`] beyond the limit,
/// [`VaultError::File`] for everything the system says and for bytes that are not UTF-8.
pub fn read(path: &Path) -> Result<Zeroizing<String>, VaultError> {
    let failed = |source| VaultError::File { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // The opened file is asked, not the path, so nothing can be swapped in between.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(VaultError::Exposed { path: path.to_owned(), mode });
    }
    if metadata.len() > KEY_FILE_BYTES_MAX {
        return Err(VaultError::TooLong { what: "key file", bytes_max: 1 << 20 });
    }
    // The whole size at once: a buffer that grows leaves copies of the keys behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Lets one process at a time change the key file at `path`, until the lock is dropped.
///
/// The lock is on the file that is replaced, so who waited reads the path again: it may lead to a newer file.
pub(crate) fn lock(path: &Path) -> Result<File, VaultError> {
    let locked = File::open(path).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|source| VaultError::File { action: "lock", path: path.to_owned(), source })
}

/// Puts `text` in the place of whatever is at `path`: a reader sees the old file or the new one, also after a crash.
///
/// # Errors
/// [`VaultError::File`].
pub fn replace(path: &Path, text: &str) -> Result<(), VaultError> {
    write_beside(path, text)
        .and_then(|beside| std::fs::rename(&beside, path))
        .and_then(|()| sync_folder(path))
        .map_err(|source| VaultError::File { action: "write", path: path.to_owned(), source })
}

/// Like [`replace`], but fails with `AlreadyExists` if there is a file: a key must not be lost by a second start.
///
/// # Errors
/// [`VaultError::File`].
pub fn create(path: &Path, text: &str) -> Result<(), VaultError> {
    let link = |beside: PathBuf| {
        let linked = std::fs::hard_link(&beside, path);
        std::fs::remove_file(&beside)?;
        linked
    };
    write_beside(path, text).and_then(link).and_then(|()| sync_folder(path)).map_err(|source| VaultError::File {
        action: "create",
        path: path.to_owned(),
        source,
    })
}

/// Writes and syncs `<name>.<process>.new` next to `path`: processes that start at once do not write into each other's file.
fn write_beside(path: &Path, text: &str) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
    let mut beside_name = OsString::from(name);
    beside_name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(beside_name);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(beside)
}

/// Makes the new name itself durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}
