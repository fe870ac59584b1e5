//! Which RSA keys are taken: those whose private half nobody can compute from the public one, as far as that can be seen.

use p256::pkcs8::der::Decode as _;
use rsa::{BigUint, RsaPublicKey, pkcs1};

use super::DeviceKeyError;

const MODULUS_BITS_MIN: usize = 2048;
const MODULUS_BITS_MAX: usize = 4096;
const EXPONENT_MIN: u64 = 65_537;
/// What the `rsa` crate computes with; it also bounds the cost of a check.
const EXPONENT_MAX: u64 = (1 << 33) - 1;

/// Primes below this bound are tried as factors (NIST SP 800-89, 5.3.3 d).
const FACTOR_BOUND: u64 = 752;

/// The largest of the 39 primes whose product every ROCA modulus of 512 bits or more is built on.
const ROCA_PRIME_MAX: u64 = 167;

/// The generator of the subgroup that the faulty library takes its primes from.
const ROCA_GENERATOR: u64 = 65_537;

/// Reads a DER `RSAPublicKey` (RFC 8017, A.1.1) and checks it.
pub(super) fn read(der: &[u8]) -> Result<RsaPublicKey, DeviceKeyError> {
    let key = pkcs1::RsaPublicKey::from_der(der).map_err(|_| DeviceKeyError::Der)?;
    let (modulus, exponent) = (key.modulus.as_bytes(), key.public_exponent.as_bytes());
    let leading_zeros = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = (modulus.len() * 8).saturating_sub(leading_zeros);
    if !(MODULUS_BITS_MIN..=MODULUS_BITS_MAX).contains(&bits) {
        return Err(DeviceKeyError::ModulusBits { bits });
    }
    check_exponent(exponent)?;
    check_residues(modulus)?;
    let numbers = (BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent));
    RsaPublicKey::new(numbers.0, numbers.1).map_err(|_| DeviceKeyError::Exponent)
}

fn check_exponent(bytes: &[u8]) -> Result<(), DeviceKeyError> {
    let value = (bytes.len() <= 8).then(|| bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)));
    let in_range = |value: &u64| (EXPONENT_MIN..=EXPONENT_MAX).contains(value) && value % 2 == 1;
    value.filter(in_range).map(drop).ok_or(DeviceKeyError::Exponent)
}

/// Tries small factors, then ROCA's fingerprint (Nemec, Sys, Svenda, Klinec, Matyas: "The Return of Coppersmith's Attack",
/// CCS 2017): both primes of a weak modulus are powers of 65537 modulo every small prime, so the modulus is one, too. Of
/// sound moduli one in 2²⁷ passes for weak.
fn check_residues(modulus: &[u8]) -> Result<(), DeviceKeyError> {
    let mut is_roca = true;
    let mut primes = (2..FACTOR_BOUND).filter(|number| is_prime(*number)).peekable();
    while let Some(first) = primes.next() {
        // One pass over the modulus serves several primes: residues modulo a product give those modulo its factors.
        let (mut group, mut product) = (vec![first], first);
        while let Some(prime) = primes.next_if(|prime| product * prime <= u64::from(u32::MAX)) {
            group.push(prime);
            product *= prime;
        }
        let residue = residue(modulus, product);
        if group.iter().any(|prime| residue.is_multiple_of(*prime)) {
            return Err(DeviceKeyError::ModulusFactor);
        }
        let mut suspects = group.iter().filter(|prime| (3..=ROCA_PRIME_MAX).contains(*prime));
        is_roca = is_roca && suspects.all(|prime| is_power_of_generator(residue % prime, *prime));
    }
    if is_roca { Err(DeviceKeyError::Roca) } else { Ok(()) }
}

/// `bytes`, big endian, modulo a number of at most 32 bits.
fn residue(bytes: &[u8], modulo: u64) -> u64 {
    let (head, limbs) = bytes.split_at_checked(bytes.len() % 4).unwrap_or((bytes, &[]));
    let step =
        |residue: u64, limb: &[u8]| limb.iter().fold(residue, |residue, byte| residue << 8 | u64::from(*byte)) % modulo;
    limbs.chunks_exact(4).fold(step(0, head), step)
}

/// Whether `value` is among the powers of 65537 modulo `prime`.
fn is_power_of_generator(value: u64, prime: u64) -> bool {
    let powers = std::iter::successors(Some(1), |power| Some(power * ROCA_GENERATOR % prime));
    let order = usize::try_from(prime).unwrap_or(usize::MAX);
    powers.take(order).any(|power| power == value)
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..).take_while(|factor| factor * factor <= number).all(|factor| !number.is_multiple_of(factor))
}
