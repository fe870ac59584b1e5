use proptest::prelude::*;

use super::*;
use crate::testing::{System, counting, hex};

const GOLDEN: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$4haPjwpbKDJ//oEb+Pxzp32NJMANRRi1PnUaEHmQDkw";

fn secret(text: &str) -> Sensitive<String> {
    Sensitive::new(text.to_owned())
}

#[test]
fn the_function_is_argon2id_as_its_authors_implement_it() {
    // `argon2` of the reference implementation: 64 MiB, 2 passes, 1 lane.
    let cost = Cost { memory_kib: 65_536, passes: 2, lanes: 1 };
    let expected = "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7";
    assert_eq!(hex(&*digest(cost, b"somesalt", b"password").unwrap()), expected);
}

#[test]
fn golden_hash_opens_for_its_password_only() {
    assert_eq!(hash(&secret("Đúng mật khẩu"), &counting()).unwrap(), GOLDEN);
    assert!(verify(GOLDEN, &secret("Đúng mật khẩu")));
    for wrong in ["Đúng mật khẩU", "Đúng mật khẩu ", "12345678", "", "Đúng", &"x".repeat(1025)] {
        assert!(!verify(GOLDEN, &secret(wrong)), "{} bytes", wrong.len());
    }
}

#[test]
fn equal_passwords_have_different_hashes() {
    let password = secret("correct horse");
    let hashes = [(); 2].map(|()| hash(&password, &System).unwrap());
    assert_ne!(hashes[0], hashes[1]);
    assert!(hashes.iter().all(|phc| verify(phc, &password)));
}

#[test]
fn passwords_have_8_to_1024_bytes() {
    for fitting in ["12345678", "mật khẩu", &"x".repeat(1024)] {
        assert!(verify(&hash(&secret(fitting), &System).unwrap(), &secret(fitting)), "{} bytes", fitting.len());
    }
    for short in ["", "1234567", "khẩu"] {
        let error = hash(&secret(short), &System).unwrap_err();
        assert!(matches!(error, VaultError::TooShort { bytes_min: 8, .. }), "{error}");
        assert_eq!(error.to_string(), "the password is shorter than 8 bytes");
    }
    let error = hash(&secret(&"x".repeat(1025)), &System).unwrap_err();
    assert!(matches!(error, VaultError::TooLong { bytes_max: 1024, .. }), "{error}");
}

#[test]
fn a_password_out_of_limits_does_not_pass_as_the_empty_one() {
    let empty = Stored { hash: *digest(COST, &[7; 16], b"").unwrap(), salt: [7; 16], cost: COST };
    for out in ["", "1234567", &"x".repeat(1025)] {
        assert!(!is_password(&empty, &secret(out)), "{} bytes", out.len());
    }
}

#[test]
fn what_stands_in_for_an_unknown_user_costs_what_a_hash_costs_and_is_nobodys() {
    let stored = Stored::parse(&hash(&secret("12345678"), &System).unwrap()).unwrap();
    assert!(stored.cost == NOBODY.cost);
    assert!(!is_password(&NOBODY, &secret("12345678")));
    dummy_verify(&secret("12345678"));
    assert!(!verify("", &secret("12345678")));
}

#[test]
fn what_is_stored_has_one_spelling_and_a_bounded_cost() {
    assert!(Stored::parse(GOLDEN).is_some());
    for len in 0..GOLDEN.len() {
        assert!(Stored::parse(&GOLDEN[..len]).is_none(), "{len} characters");
    }
    let with = |from: &str, to: &str| Stored::parse(&GOLDEN.replacen(from, to, 1)).is_some();
    assert!(with("m=19456,t=2,p=1", "m=65536,t=8,p=4"));
    for cost in [
        "m=19455,t=2,p=1",
        "m=65537,t=2,p=1",
        "m=4294967295,t=2,p=1",
        "m=4294967296,t=2,p=1",
        "m=19456,t=1,p=1",
        "m=19456,t=4294967295,p=1",
        "m=19456,t=2,p=0",
        "m=19456,t=2,p=5",
        "m=019456,t=2,p=1",
        "m=+19456,t=2,p=1",
        "m=-1,t=2,p=1",
        "t=2,m=19456,p=1",
        "m=19456,t=2",
        "m=19456,t=2,p=1,p=1",
        "m=19456,t=2,p=1,keyid=x",
        "",
    ] {
        assert!(!with("m=19456,t=2,p=1", cost), "{cost}");
    }
    for (from, to) in [("argon2id", "argon2i"), ("argon2id", "argon2d"), ("argon2id", "Argon2id"), ("v=19", "v=16")] {
        assert!(!with(from, to), "{to}");
    }
    for (from, to) in [("$AAEC", "$AAE"), ("$AAEC", "$AAECAA"), ("ODw$", "ODw==$"), ("ODw$", "ODx$"), ("Dw$", "Dw$$")] {
        assert!(!with(from, to), "{to}");
    }
    assert!(Stored::parse(&format!("{GOLDEN}$")).is_none());
    assert!(Stored::parse(&format!("{GOLDEN}\n")).is_none());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text: String) {
        prop_assert!(Stored::parse(&text).is_none());
        let headed = format!("$argon2id$v=19${text}");
        prop_assert!(Stored::parse(&headed).is_none());
    }
}
