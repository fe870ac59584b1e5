//! Randomness in the forms that the primitives ask for.

use hpke::rand_core::{CryptoRng, RngCore};
use ridgeline_domain::Sensitive;
use ridgeline_ports::Entropy;

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
