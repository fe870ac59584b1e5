//! Time and randomness, asked for only in the shell.

use ridgeline_domain::{RequestId, Timestamp};

/// Wall-clock time. Deciding code never sees it; it stamps `decided_at`, spools and tokens.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// Random bits fit for keys.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random bits.
    fn fill(&self, bytes: &mut [u8]);

    /// A fresh confirmation id: 128 random bits.
    fn request_id(&self) -> RequestId {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        RequestId::from_bytes(bytes)
    }
}
