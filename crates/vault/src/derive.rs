//! Ids that follow from a request, so that a repeated request makes nothing new.

use ridgeline_domain::RequestId;
use sha2::{Digest as _, Sha256};

use crate::encode::Fields;

const LABEL: &str = "ridgeline/id/v1";

/// The id of `what` that this request makes: the first 128 bits of SHA-256 over a label, `what` and the request's id.
///
/// Who does not know the request's id cannot guess it; who knows one such id learns neither the request's nor another one.
#[must_use]
pub fn derive_id(what: &str, request: RequestId) -> [u8; 16] {
    // Both texts are short, so the fields always have a form.
    let fields = Fields::new().text(LABEL).text(what).text(&request.to_string()).finish().unwrap_or_default();
    let digest: [u8; 32] = Sha256::digest(fields).into();
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    #[test]
    fn golden_id() {
        let request = RequestId::from_bytes(*b"0123456789abcdef");
        assert_eq!(hex(&derive_id("session", request)), "e0a268192d49f0072285c6a34d9c11d5");
        assert_ne!(derive_id("session", request), derive_id("device", request));
        assert_ne!(derive_id("session", request), derive_id("session", RequestId::from_bytes([0; 16])));
    }
}
