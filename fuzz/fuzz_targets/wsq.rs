//! WSQ images.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ridgeline_fingerprint::{ImageFormat, Limits, decode};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { max_pixels: 100_000, ..Limits::default() };
    let _ = decode(bytes, Some(ImageFormat::Wsq), Some(500), &limits);
});
