//! What the tests share: reproducible entropy, a fixed key ring, and the walk over damaged inputs.

use std::sync::Mutex;

use ridgeline_domain::Timestamp;
use ridgeline_ports::Entropy;

use crate::{KeyRing, ScanBinding, Vault, VaultError};

/// The bytes 0, 1, 2, … 255, 0, … however they are drawn. For golden bytes only.
pub(crate) struct Counting(Mutex<u8>);

pub(crate) fn counting() -> Counting {
    Counting(Mutex::new(0))
}

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let mut next = self.0.lock().unwrap();
        for byte in bytes {
            *byte = *next;
            *next = next.wrapping_add(1);
        }
    }
}

/// The system's randomness.
pub(crate) struct System;

impl Entropy for System {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).unwrap();
    }
}

/// A file of version 1 as it was first written: it must stay readable. The keys are counted bytes, used nowhere else.
pub(crate) const GOLDEN_RING: &str = "\
ridgeline-key-ring 1
# purpose version state key
template 1 retired AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=
template 2 active AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE=
answer 1 active EBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8=
command 1 active ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=
topic 1 active MDEyMzQ1Njc4OTo7PD0+P0BBQkNERUZHSElKS0xNTk8=
spool 1 active QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=
field 1 active UFFSU1RVVldYWVpbXF1eX2BhYmNkZWZnaGlqa2xtbm8=
jwt-wrap 1 active YGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn8=
agent-grant 1 active cHFyc3R1dnd4eXp7fH1+f4CBgoOEhYaHiImKi4yNjo8=
digest 1 active oKGio6SlpqeoqaqrrK2ur7CxsrO0tba3uLm6u7y9vr8=
sample 4d5b0b6697ec9846 retired QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=
sample e4baa6e8fe2fe499 active UFFSU1RVVldYWVpbXF1eX2BhYmNkZWZnaGlqa2xtbm8=
end 12
";

pub(crate) fn golden_ring() -> KeyRing {
    KeyRing::from_text(GOLDEN_RING).unwrap()
}

/// The golden ring once pairs for commands were added and rotated.
pub(crate) const GOLDEN_COMMAND_LINES: &str = "\
command-sealing df6da844bf893e9a retired YGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn8=
command-sealing 6eacd2f79d5ba408 active cHFyc3R1dnd4eXp7fH1+f4CBgoOEhYaHiImKi4yNjo8=
end 14
";

pub(crate) fn golden_ring_with_commands() -> KeyRing {
    KeyRing::from_text(&GOLDEN_RING.replace("end 12\n", GOLDEN_COMMAND_LINES)).unwrap()
}

pub(crate) fn golden_vault() -> Vault {
    Vault::new(golden_ring())
}

pub(crate) fn binding() -> ScanBinding {
    ScanBinding {
        request_id: "000102030405060708090a0b0c0d0e0f".parse().unwrap(),
        agent: "agent-1".parse().unwrap(),
        operation: ridgeline_domain::Operation::Verify,
        subject: Some("Badge_7-b".parse().unwrap()),
        captured_at: Timestamp::from_millis(1_700_000_000_000),
        valid_until: Timestamp::from_millis(1_700_000_060_000),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(pair).collect()
}

/// Whether an error is one that hostile bytes may cause: never a fault of ours, never a success.
pub(crate) fn is_refusal(error: &VaultError) -> bool {
    matches!(
        error,
        VaultError::Malformed { .. }
            | VaultError::Authentication
            | VaultError::UnknownKey { .. }
            | VaultError::TooLong { .. }
    )
}

/// Opens every proper prefix of `bytes` and `bytes` with one byte more; each must be refused.
pub(crate) fn refuses_other_lengths<T>(bytes: &[u8], open: impl Fn(&[u8]) -> Result<T, VaultError>) {
    assert!(open(bytes).is_ok(), "the whole must open");
    let longer = [bytes, &[0]].concat();
    for damaged in (0..bytes.len()).map(|len| &bytes[..len]).chain([longer.as_slice()]) {
        let error = open(damaged).err().unwrap_or_else(|| panic!("{} of {} bytes open", damaged.len(), bytes.len()));
        assert!(is_refusal(&error), "{} of {} bytes: {error}", damaged.len(), bytes.len());
    }
}
