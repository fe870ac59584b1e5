//! Sealed commands: HPKE as samples have it, to the key pair of the auth workers.
//!
//! `info` is `ridgeline/auth/v1`; the associated data is the [`CommandBinding`], so a command that is moved to another request,
//! given another word or published under another key does not open. A gateway cannot read what it has sealed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ridgeline_domain::{RequestId, Sensitive};
use ridgeline_ports::Entropy;

use crate::encode::Fields;
use crate::keyring::Generations;
use crate::sealing::{self, Scheme, SealingPair};
use crate::{KeyRing, SealingKey, VaultError};

/// How much longer a sealed command is than the command: the encapsulated key and the tag.
pub const SEALED_COMMAND_OVERHEAD_BYTES: usize = sealing::OVERHEAD_BYTES;

/// Longest sealed command. The largest has a public key of 10 KiB, a token and a proof of 8 KiB each: about half of it.
pub const SEALED_COMMAND_BYTES_MAX: usize = 64 << 10;

const COMMANDS: Scheme =
    Scheme { info: b"ridgeline/auth/v1", what: "sealed command", bytes_max: SEALED_COMMAND_BYTES_MAX };

/// The one record that a command may stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandBinding<'a> {
    /// The request.
    pub request_id: RequestId,
    /// The word for what is asked.
    pub kind: &'a str,
    /// The key of the record.
    pub key: &'a str,
}

impl CommandBinding<'_> {
    /// request id ‖ kind ‖ key of the record.
    fn aad(&self) -> Result<Vec<u8>, VaultError> {
        Fields::new().text(&self.request_id.to_string()).text(self.kind).text(self.key).finish()
    }
}

/// A command that only an auth worker can read.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedCommand {
    /// Which key of the auth workers opens it.
    pub key_id: String,
    /// Encapsulated key (65 bytes, an uncompressed point) ‖ ciphertext ‖ tag (16 bytes).
    pub bytes: Vec<u8>,
}

impl fmt::Debug for SealedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedCommand({}, {} bytes)", self.key_id, self.bytes.len())
    }
}

/// The public key of the auth workers, as gateways hold it ([`KeyRing::command_key`]). Text form and id are those of a
/// [`SealingKey`].
#[derive(Clone, PartialEq, Eq)]
pub struct CommandKey(SealingKey);

impl CommandKey {
    /// From an uncompressed point, 65 bytes.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] if it is no point of P-256.
    pub fn from_public_bytes(bytes: &[u8]) -> Result<Self, VaultError> {
        SealingKey::from_public_bytes(bytes).map(Self)
    }

    pub(crate) const fn of(key: SealingKey) -> Self {
        Self(key)
    }

    /// The id that stands beside a sealed command: 16 hex digits.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.0.key_id()
    }

    /// The uncompressed point.
    #[must_use]
    pub fn public_bytes(&self) -> [u8; 65] {
        self.0.public_bytes()
    }

    /// Seals a command to the auth workers.
    ///
    /// # Errors
    /// [`VaultError::TooLong`] if the result would exceed [`SEALED_COMMAND_BYTES_MAX`], or a text of the binding 65 535 bytes.
    pub fn seal(
        &self,
        binding: &CommandBinding<'_>,
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<SealedCommand, VaultError> {
        let bytes = COMMANDS.seal(&self.0, &binding.aad()?, plaintext, entropy)?;
        Ok(SealedCommand { key_id: self.key_id().to_owned(), bytes })
    }
}

impl fmt::Display for CommandKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for CommandKey {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, VaultError> {
        text.parse().map(Self)
    }
}

impl fmt::Debug for CommandKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandKey({})", self.key_id())
    }
}

/// Opens commands with the private keys of a ring, retired ones included. Cheap to clone.
#[derive(Clone)]
pub struct CommandOpener {
    pairs: Arc<Generations<String, SealingPair>>,
}

impl CommandOpener {
    /// An opener with the private keys of `ring`.
    ///
    /// # Errors
    /// [`VaultError::NoCommandKeys`] if the ring has none: an opener without keys would refuse every command for ever.
    pub fn new(ring: &KeyRing) -> Result<Self, VaultError> {
        ring.commands.clone().map(|pairs| Self { pairs: Arc::new(pairs) }).ok_or(VaultError::NoCommandKeys)
    }

    /// The command that [`CommandKey::seal`] sealed to `key_id` for `binding`.
    ///
    /// # Errors
    /// [`VaultError::UnknownSealingKey`] for a key id that the ring does not have, [`VaultError::TooLong`] or
    /// [`VaultError::Malformed`] for bytes that cannot be a sealed command, [`VaultError::Authentication`] if key, binding and
    /// bytes do not belong together.
    pub fn open(
        &self,
        key_id: &str,
        binding: &CommandBinding<'_>,
        bytes: &[u8],
    ) -> Result<Sensitive<Vec<u8>>, VaultError> {
        COMMANDS.open(&self.pairs, key_id, &binding.aad()?, bytes)
    }
}

impl fmt::Debug for CommandOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommandOpener").field(&self.pairs.iter().map(|(key_id, ..)| key_id).collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests;
