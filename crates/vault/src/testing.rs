//! Reproducible entropy for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use ridgeline_ports::Entropy;
use sha2::{Digest as _, Sha256};

/// SHA-256 of a seed and a counter, byte by byte: the same bits in every run, however they are drawn.
pub(crate) struct Counted {
    seed: u64,
    drawn: AtomicU64,
}

impl Counted {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, drawn: AtomicU64::new(0) }
    }
}

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let at = self.drawn.fetch_add(1, Ordering::Relaxed);
            let block = Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update((at / 32).to_be_bytes());
            *byte = block.finalize()[usize::try_from(at % 32).unwrap()];
        }
    }
}
