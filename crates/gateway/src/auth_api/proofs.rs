//! Proofs of possession that were used: each works once at a gateway.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;
use ridgeline_domain::{DurationMs, ErrorCode, Timestamp};
use ridgeline_vault::dpop::{PROOF_SKEW, ProofId};

use crate::problem::Problem;

/// A proof counts from a skew before its `iat` to a skew after, and the second that `iat` leaves open.
const REMEMBERED: DurationMs = DurationMs(2 * PROOF_SKEW.0 + 1_000);
/// Proofs that are remembered: about 10 MiB. More than 500 calls a second for two minutes are turned away.
const PROOFS_MAX: usize = 65_536;

/// What was used in the last two minutes.
pub(super) struct UsedProofs {
    max: usize,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    ids: HashSet<[u8; 32]>,
    /// Oldest first.
    order: VecDeque<(Timestamp, [u8; 32])>,
}

impl UsedProofs {
    pub(super) fn new() -> Self {
        Self { max: PROOFS_MAX, used: Mutex::default() }
    }

    /// Uses a proof up.
    ///
    /// # Errors
    /// `CredentialRefused` for one that was used; `Unavailable` while there is no room to remember it.
    pub(super) fn use_up(&self, proof: ProofId, now: Timestamp) -> Result<(), Problem> {
        let mut used = self.used.lock();
        while let Some((at, id)) = used.order.front().copied().filter(|(at, _)| now.since(*at) > REMEMBERED) {
            used.order.pop_front();
            used.ids.remove(&id);
            debug_assert!(at <= now, "what is older than a span is older than now");
        }
        if used.ids.contains(proof.as_bytes()) {
            return Err(Problem::plain(ErrorCode::CredentialRefused));
        }
        if used.ids.len() >= self.max {
            return Err(Problem::unavailable("too many proofs of possession are being remembered"));
        }
        used.ids.insert(*proof.as_bytes());
        used.order.push_back((now, *proof.as_bytes()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ridgeline_runtime::SystemEntropy;
    use ridgeline_vault::dpop::{DpopKey, DpopProof, Expected};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn proof() -> ProofId {
        let (key, url) = (DpopKey::generate(&SystemEntropy).unwrap(), "https://rl.example/x");
        let text = key.prove("GET", url, NOW, None, &SystemEntropy);
        let expected = Expected { method: "GET", url, now: NOW, access_token: None, thumbprint: &key.thumbprint() };
        DpopProof::verify(&text, &expected).unwrap()
    }

    #[test]
    fn a_proof_works_once_for_as_long_as_it_counts() {
        let (used, proof) = (UsedProofs::new(), proof());
        assert!(used.use_up(proof, NOW).is_ok());
        for later in [0, 1, 60_000, 121_000] {
            let again = used.use_up(proof, NOW.plus(DurationMs(later))).unwrap_err();
            assert_eq!(again.code(), ErrorCode::CredentialRefused);
        }
        assert!(used.use_up(proof, NOW.plus(DurationMs(121_001))).is_ok());
    }

    #[test]
    fn without_room_none_passes_unremembered() {
        let used = UsedProofs { max: 2, used: Mutex::default() };
        assert!(used.use_up(proof(), NOW).is_ok() && used.use_up(proof(), NOW).is_ok());
        let third = proof();
        assert_eq!(used.use_up(third, NOW).unwrap_err().code(), ErrorCode::Unavailable);
        let later = NOW.plus(DurationMs(121_001));
        assert!(used.use_up(third, later).is_ok());
        assert_eq!(used.used.lock().order.len(), 1);
    }
}
