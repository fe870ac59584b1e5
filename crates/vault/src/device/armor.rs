//! PEM (RFC 7468, strict but for the length of lines) and the signs that a text holds a private key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::pkcs8::der::{Decode as _, Header, Reader as _, SliceReader, Tag};
use zeroize::Zeroizing;

use super::{DEVICE_KEY_BYTES_MAX, DeviceKeyError};

const BEGIN: &str = "-----BEGIN ";
const BEGIN_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----";
const END_PUBLIC: &str = "-----END PUBLIC KEY-----";

/// In every label of a private key: PKCS#8, encrypted or not, PKCS#1, SEC 1, OpenSSH.
const PRIVATE_WORDS: &[u8] = b"PRIVATE KEY";

/// What an OpenSSH private key begins with, under whatever label.
const OPENSSH_MAGIC: &[u8] = b"openssh-key-v1\0";

/// The DER of the one block in `text`. Buffers are erased on every path, for they may hold a private key.
pub(super) fn open(text: &str) -> Result<Zeroizing<Vec<u8>>, DeviceKeyError> {
    if text.len() > DEVICE_KEY_BYTES_MAX {
        return Err(DeviceKeyError::TooLong);
    }
    if names_private_key(text) {
        return Err(DeviceKeyError::PrivateKey);
    }
    let text = text.trim_ascii();
    let lines = match block(text) {
        Ok(lines) => lines,
        Err(_) if decode(between_labels(text)).is_some_and(|der| is_private(&der)) => {
            return Err(DeviceKeyError::PrivateKey);
        }
        Err(error) => return Err(error),
    };
    decode(lines).ok_or(DeviceKeyError::Base64)
}

/// The lines between the labels of the only block.
fn block(text: &str) -> Result<&str, DeviceKeyError> {
    let (before, _) = text.split_once(BEGIN).ok_or(DeviceKeyError::NotPem)?;
    if text.matches(BEGIN).nth(1).is_some() {
        return Err(DeviceKeyError::SeveralBlocks);
    }
    if !before.is_empty() {
        return Err(DeviceKeyError::TextAround);
    }
    let Some(rest) = text.strip_prefix(BEGIN_PUBLIC) else {
        // A label that is cut off is an incomplete block, not another label.
        let is_cut = BEGIN_PUBLIC.starts_with(text);
        return Err(if is_cut { DeviceKeyError::NotPem } else { DeviceKeyError::WrongLabel });
    };
    let (lines, after) = rest.split_once(END_PUBLIC).ok_or(DeviceKeyError::NotPem)?;
    if !after.is_empty() {
        return Err(DeviceKeyError::TextAround);
    }
    let lines = lines.strip_prefix("\r\n").or_else(|| lines.strip_prefix('\n')).ok_or(DeviceKeyError::NotPem)?;
    lines.strip_suffix('\n').map(|lines| lines.strip_suffix('\r').unwrap_or(lines)).ok_or(DeviceKeyError::NotPem)
}

/// Whatever stands between labels, whichever these are, or the whole text if there are none.
fn between_labels(text: &str) -> &str {
    let body = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once("-----")).map_or(text, |(_, body)| body);
    body.split_once("-----END").map_or(body, |(body, _)| body).trim_ascii()
}

/// Base64 of the standard alphabet, padded, in lines of any length; `None` for anything else.
fn decode(lines: &str) -> Option<Zeroizing<Vec<u8>>> {
    // Sized before they are filled: a buffer that grows leaves copies behind.
    let mut joined = Zeroizing::new(String::with_capacity(lines.len()));
    for line in lines.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return None;
        }
        joined.push_str(line);
    }
    let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(joined.len())]);
    let len = STANDARD.decode_slice(joined.as_bytes(), &mut der).ok()?;
    der.truncate(len);
    Some(der)
}

/// Whether a label says so, or the text is a JWK with a private member.
fn names_private_key(text: &str) -> bool {
    has_private_label(text) || text.trim_ascii_start().starts_with('{') && text.contains(r#""d""#)
}

/// Whether the text holds the words that label private keys.
pub(super) fn has_private_label(text: &str) -> bool {
    text.as_bytes().windows(PRIVATE_WORDS.len()).any(|words| words.eq_ignore_ascii_case(PRIVATE_WORDS))
}

/// Whether `der` begins as a private key does: PKCS#8 (RFC 5958), encrypted PKCS#8, SEC 1 (RFC 5915), PKCS#1 (RFC 8017),
/// OpenSSH. What follows may be damaged: half a private key is one, too.
pub(super) fn is_private(der: &[u8]) -> bool {
    use Tag::{Integer, OctetString, Sequence};
    der.starts_with(OPENSSH_MAGIC)
        || match leading_tags(der) {
            // Version, then the algorithm or the secret scalar.
            [Some(Integer), Some(Sequence | OctetString), ..] => true,
            // Version, modulus, exponent, secret; a public PKCS#1 key ends after two.
            [Some(Integer), Some(Integer), Some(Integer)] => true,
            // The encryption's algorithm, then the encrypted key; a public key is a bit string.
            [Some(Sequence), Some(OctetString), ..] => true,
            _ => false,
        }
}

/// The tags of the first elements of the outer sequence, as far as they can be read.
fn leading_tags(der: &[u8]) -> [Option<Tag>; 3] {
    let mut tags = [None; 3];
    let Ok(mut reader) = SliceReader::new(der) else { return tags };
    if !Header::decode(&mut reader).is_ok_and(|header| header.tag == Tag::Sequence) {
        return tags;
    }
    for slot in &mut tags {
        let Ok(header) = Header::decode(&mut reader) else { break };
        *slot = Some(header.tag);
        if reader.read_slice(header.length).is_err() {
            break;
        }
    }
    tags
}
