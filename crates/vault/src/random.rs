//! Randomness in the forms that the primitives ask for.

use hpke::rand_core::{CryptoRng, RngCore};
use p256::ecdsa::SigningKey;
use ridgeline_domain::Sensitive;
use ridgeline_ports::Entropy;

use crate::VaultError;

/// Fresh random bits that are not secret by themselves (salts, nonces, ids).
pub(crate) fn public<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// A fresh 256-bit secret.
pub(crate) fn secret(entropy: &dyn Entropy) -> Sensitive<[u8; 32]> {
    Sensitive::new(public(entropy))
}

/// Refuses a source that stands still, before keys are made from it.
pub(crate) fn check(entropy: &dyn Entropy) -> Result<(), VaultError> {
    if public::<32>(entropy) == public::<32>(entropy) { Err(VaultError::Randomness) } else { Ok(()) }
}

/// A scalar is out of range once in 2³² draws; so many in a row mean that the source is broken.
const KEY_DRAWS_MAX: usize = 8;

/// A fresh private key on P-256.
pub(crate) fn p256_key(entropy: &dyn Entropy) -> Result<SigningKey, VaultError> {
    let draw = |_| SigningKey::from_slice(secret(entropy).expose()).ok();
    (0..KEY_DRAWS_MAX).find_map(draw).ok_or(VaultError::Randomness)
}

/// Lets HPKE draw from the [`Entropy`] port.
pub(crate) struct PortRng<'a>(pub(crate) &'a dyn Entropy);

impl RngCore for PortRng<'_> {
    fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(public(self.0))
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(public(self.0))
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

impl CryptoRng for PortRng<'_> {}
