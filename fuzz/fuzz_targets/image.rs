//! Image files of any format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ridgeline_fingerprint::{Limits, decode};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { max_pixels: 250_000, ..Limits::default() };
    let _ = decode(bytes, None, None, &limits);
    let _ = decode(bytes, None, Some(500), &limits);
});
