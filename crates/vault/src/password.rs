//! Passwords of the service's own users: Argon2id (RFC 9106), kept as a PHC string.
//!
//! A check takes the same path and the same work whether the user is there or not and whether what is stored can be read or not.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ridgeline_domain::Sensitive;
use ridgeline_ports::Entropy;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{VaultError, random};

/// Memory of one hash: 19 MiB. With [`PASSES`] and [`LANES`] it is a setting of OWASP's Password Storage Cheat Sheet.
pub const MEMORY_KIB: u32 = 19 * 1024;

/// Passes over that memory.
pub const PASSES: u32 = 2;

/// Lanes of that memory.
pub const LANES: u32 = 1;

/// Shortest password.
pub const PASSWORD_BYTES_MIN: usize = 8;

/// Longest password: beyond any passphrase, and no work to hash.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// A stored hash may be costlier than today's, but not so costly that a check is an attack: 64 MiB, 8 passes, 4 lanes.
const COST_MAX: Cost = Cost { memory_kib: 64 * 1024, passes: 8, lanes: 4 };

const COST: Cost = Cost { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES };
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// What a hash costs.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// A PHC string, read.
#[derive(Clone, Copy)]
struct Stored {
    cost: Cost,
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

/// Stands in where nothing is stored; no password is known to give this hash.
const NOBODY: Stored = Stored { cost: COST, salt: [0; SALT_BYTES], hash: [0; HASH_BYTES] };

/// Hashes a new password: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`, 16 and 32 bytes in base64 without padding.
///
/// # Errors
/// [`VaultError::TooShort`] below [`PASSWORD_BYTES_MIN`], [`VaultError::TooLong`] beyond [`PASSWORD_BYTES_MAX`].
pub fn hash(password: &Sensitive<String>, entropy: &dyn Entropy) -> Result<String, VaultError> {
    let password = within_limits(password)?;
    let salt = random::public::<SALT_BYTES>(entropy);
    let hash = digest(COST, &salt, password).ok_or(VaultError::Malformed { what: "password setting" })?;
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(*hash));
    Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${hash}"))
}

/// Whether `phc` is a hash of `password` that [`hash`] made, today or with a setting of higher cost.
///
/// `false` for anything that cannot be read; this takes the work of a check, too.
#[must_use]
pub fn verify(phc: &str, password: &Sensitive<String>) -> bool {
    let stored = Stored::parse(phc);
    is_password(&stored.unwrap_or(NOBODY), password) & stored.is_some()
}

/// The work of [`verify`] for a user who does not exist.
pub fn dummy_verify(password: &Sensitive<String>) {
    std::hint::black_box(is_password(&NOBODY, password));
}

/// Passwords out of limits are hashed as the empty one, so that they cost the same.
fn is_password(stored: &Stored, password: &Sensitive<String>) -> bool {
    let text = within_limits(password);
    let hash = digest(stored.cost, &stored.salt, text.as_ref().map_or(&[], |text| *text));
    hash.is_some_and(|hash| bool::from(hash.ct_eq(&stored.hash))) & text.is_ok()
}

fn within_limits(password: &Sensitive<String>) -> Result<&[u8], VaultError> {
    match password.expose().as_bytes() {
        short if short.len() < PASSWORD_BYTES_MIN => {
            Err(VaultError::TooShort { what: "password", bytes_min: PASSWORD_BYTES_MIN })
        }
        long if long.len() > PASSWORD_BYTES_MAX => {
            Err(VaultError::TooLong { what: "password", bytes_max: PASSWORD_BYTES_MAX })
        }
        fitting => Ok(fitting),
    }
}

/// Argon2id of version 1.3; `None` for a cost that it does not know.
fn digest(cost: Cost, salt: &[u8], password: &[u8]) -> Option<Zeroizing<[u8; HASH_BYTES]>> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(HASH_BYTES)).ok()?;
    let mut memory = Zeroizing::new(vec![Block::default(); params.block_count()]);
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, hash.as_mut_slice(), memory.as_mut_slice())
        .ok()?;
    Some(hash)
}

impl Stored {
    /// The one spelling that [`hash`] writes, with a cost from today's to [`COST_MAX`].
    fn parse(phc: &str) -> Option<Self> {
        let mut parts = phc.strip_prefix("$argon2id$v=19$")?.split('$');
        let (cost, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none();
        let mut costs = cost.split(',');
        let cost = Cost {
            memory_kib: number(costs.next()?, "m=")?,
            passes: number(costs.next()?, "t=")?,
            lanes: number(costs.next()?, "p=")?,
        };
        let fits = (MEMORY_KIB..=COST_MAX.memory_kib).contains(&cost.memory_kib)
            && (PASSES..=COST_MAX.passes).contains(&cost.passes)
            && (LANES..=COST_MAX.lanes).contains(&cost.lanes);
        let read = Self { cost, salt: bytes(salt)?, hash: bytes(hash)? };
        (whole && fits && costs.next().is_none()).then_some(read)
    }
}

/// A decimal number in its one spelling.
fn number(text: &str, prefix: &str) -> Option<u32> {
    let digits = text.strip_prefix(prefix)?;
    digits.parse().ok().filter(|number: &u32| number.to_string() == digits)
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
