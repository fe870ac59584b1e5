//! Templates as they are stored.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ridgeline_fingerprint::{Candidate, Probe, Template, compare};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(template) = Template::from_bytes(bytes) {
        if bytes[2] == 2 {
            assert!(template.to_bytes() == bytes);
        }
        assert!(Template::from_bytes(&template.to_bytes()).is_ok_and(|again| again == template));
        let _ = compare(&Probe::new(&template), &Candidate::new(&template));
    }
});
