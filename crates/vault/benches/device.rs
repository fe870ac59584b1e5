//! What the vault adds to the primitives it calls, measured in turns in one run: checks of signatures, challenges, fields.
//!
//! Each line: microseconds of ours and of the bare primitive, the median of the rounds' ratios, and what is asked of it.
//! `cargo bench -p ridgeline-vault --bench device`; with `--strict` a missed figure fails.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]
#![allow(clippy::unwrap_used, reason = "a bench on inputs of its own making")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use aes_gcm::aead::AeadInPlace as _;
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::DecodePublicKey as _;
use ridgeline_domain::{KeyAlgorithm, Sensitive};
use ridgeline_ports::Entropy;
use ridgeline_vault::{Aad, Challenge, DeviceKey, DeviceSignature, KeyRing, Purpose, Vault};
use sha2::Sha256;

const PAGE: &str = include_str!("../../../docs/device-signatures.md");
const ROUNDS: usize = 31;

struct System;

impl Entropy for System {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).unwrap();
    }
}

/// One of the page's vectors.
struct Vector {
    pem: String,
    message: String,
    signature: String,
}

fn vector(algorithm: KeyAlgorithm) -> Vector {
    let (_, section) = PAGE.split_once(&format!("\n### {algorithm}\n")).unwrap();
    let between =
        |from: &str, to: &str| section.split_once(from).unwrap().1.split_once(to).unwrap().0.trim().to_owned();
    Vector {
        pem: between("```pem\n", "```"),
        message: between("\nmessage ", "\n"),
        signature: between("\nsignature ", "\n"),
    }
}

fn main() -> ExitCode {
    println!("{:<44} {:>9} {:>9} {:>7} {:>8}", "what", "ours, µs", "bare, µs", "ratio", "must");
    let mut missed = 0;
    for algorithm in KeyAlgorithm::ALL {
        missed += check(*algorithm);
    }
    missed += challenge();
    for bytes in [91, 550, 4096] {
        missed += field(bytes);
    }
    let strict = std::env::args().any(|argument| argument == "--strict");
    if strict && missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// From the signature's text to the verdict, against the crate's own check of bytes that are there already.
fn check(algorithm: KeyAlgorithm) -> usize {
    let Vector { pem, message, signature: text } = vector(algorithm);
    let key = DeviceKey::from_pem(algorithm, Sensitive::new(pem.clone())).unwrap();
    let bytes = DeviceSignature::from_text(&text).unwrap().as_bytes().to_vec();
    let message = message.as_bytes();
    let ours = || key.verify(black_box(message), &DeviceSignature::from_text(black_box(&text)).unwrap()).unwrap();
    let rsa = || rsa::RsaPublicKey::from_public_key_der(key.spki_der()).unwrap();
    let name = format!("check a signature, {algorithm}");
    match algorithm {
        KeyAlgorithm::Es256 => {
            let bare = p256::ecdsa::VerifyingKey::from_public_key_pem(&pem).unwrap();
            let signature = |bytes: &[u8]| p256::ecdsa::Signature::from_der(bytes).unwrap();
            compare(&name, 40, 1.05, ours, || bare.verify(message, &signature(black_box(&bytes))).unwrap())
        }
        KeyAlgorithm::Rs256 => {
            let bare = rsa::pkcs1v15::VerifyingKey::<Sha256>::new(rsa());
            let signature = |bytes: &[u8]| rsa::pkcs1v15::Signature::try_from(bytes).unwrap();
            compare(&name, 40, 1.05, ours, || bare.verify(message, &signature(black_box(&bytes))).unwrap())
        }
        KeyAlgorithm::Ps256 => {
            let bare = rsa::pss::VerifyingKey::<Sha256>::new(rsa());
            let signature = |bytes: &[u8]| rsa::pss::Signature::try_from(bytes).unwrap();
            compare(&name, 40, 1.05, ours, || bare.verify(message, &signature(black_box(&bytes))).unwrap())
        }
    }
}

fn challenge() -> usize {
    let bare = || {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes).unwrap();
        drop(black_box(URL_SAFE_NO_PAD.encode(bytes)));
    };
    compare("make a challenge", 2000, 2.0, || drop(black_box(Challenge::generate(&System))), bare)
}

/// Sealing a column of a row, against AES-256-GCM with a random nonce: under a key that is there already, which is what is
/// asked, and under a key that is set up for the message, as each ciphertext's is.
fn field(bytes: usize) -> usize {
    let vault = Vault::new(KeyRing::create(&System).unwrap());
    let place = Aad::new("registered_devices", "8f14e45fceea167a5a36dedd4bea2543", "public_key");
    let plaintext = vec![7; bytes];
    let cipher = Aes256Gcm::new(&[7; 32].into());
    let bare = |cipher: &Aes256Gcm| {
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).unwrap();
        let mut out = Vec::with_capacity(bytes + 28);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(black_box(&plaintext));
        let tag = cipher.encrypt_in_place_detached(&Nonce::from(nonce), b"registered_devices", &mut out[12..]).unwrap();
        out.extend_from_slice(&tag);
        drop(black_box(out));
    };
    let ours = || drop(black_box(vault.seal(Purpose::Field, &place, black_box(&plaintext), &System).unwrap()));
    let name = format!("seal a field of {bytes} bytes");
    let missed = compare(&name, 1000, 1.3, ours, || bare(&cipher));
    compare(&format!("{name}, a key for each"), 1000, f64::INFINITY, ours, || {
        bare(&Aes256Gcm::new(black_box(&[7; 32]).into()));
    });
    missed
}

/// Prints a line; 1 if the ratio is above `most`.
fn compare(what: &str, times: u32, most: f64, ours: impl Fn(), bare: impl Fn()) -> usize {
    let (mut of_ours, mut of_bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Who goes first changes, so that a slow moment favours neither.
        let (our, their) = if round % 2 == 0 {
            let our = each(times, &ours);
            (our, each(times, &bare))
        } else {
            let their = each(times, &bare);
            (each(times, &ours), their)
        };
        of_ours.push(our);
        of_bare.push(their);
        ratios.push(our / their);
    }
    let ratio = median(ratios);
    let met = ratio <= most;
    let (must, word) = match (most.is_finite(), met) {
        (false, _) => (String::new(), ""),
        (true, true) => (format!("<= {most}"), "met"),
        (true, false) => (format!("<= {most}"), "MISSED"),
    };
    println!("{what:<44} {:>9.2} {:>9.2} {ratio:>7.3} {must:>8} {word}", median(of_ours), median(of_bare));
    usize::from(!met)
}

/// Microseconds a call.
fn each(times: u32, call: impl Fn()) -> f64 {
    let start = Instant::now();
    (0..times).for_each(|_| call());
    start.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
