//! Sealed templates: what a caller gets instead of a template. It can be handed back, but not read or changed.
//!
//! `RLT ‖ 1 ‖ kind u8 ‖ id 16 ‖ made_at i64 ‖ subject ‖ engine ‖ ciphertext`, texts as u16 length and UTF-8, big endian.
//! The header is in clear; every field of it is part of the ciphertext's associated data.

use ridgeline_domain::{Sensitive, SubjectId, Timestamp};
use ridgeline_ports::Entropy;

use crate::encode::{Cursor, Fields};
use crate::{Aad, Purpose, Vault, VaultError};

const MAGIC: &[u8] = b"RLT\x01";

/// Longest name and version of an engine.
pub const ENGINE_BYTES_MAX: usize = 64;

/// What a sealed template may be used for (V-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TemplateKind {
    /// Returned by an enrolment: what a live capture is compared with, never itself a capture.
    Reference = 1,
    /// Made from a fresh sample: compared once with what is enrolled.
    Probe = 2,
}

impl TemplateKind {
    /// The word for messages and associated data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Probe => "probe",
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Reference, Self::Probe].into_iter().find(|kind| *kind as u8 == code)
    }
}

/// What a sealed template says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateHeader {
    /// What it may be used for.
    pub kind: TemplateKind,
    /// Its identity: single use is recorded under it.
    pub id: [u8; 16],
    /// Whose it is. A reference always has a subject.
    pub subject: Option<SubjectId>,
    /// When it was made.
    pub made_at: Timestamp,
    /// Name and version of the engine that made it: 1–64 bytes of visible ASCII.
    pub engine: String,
}

impl TemplateHeader {
    /// The rules that every header keeps, whether written or read.
    fn check(&self) -> Result<(), VaultError> {
        let engine = self.engine.as_bytes();
        let engine_ok = (1..=ENGINE_BYTES_MAX).contains(&engine.len()) && engine.iter().all(u8::is_ascii_graphic);
        let subject_ok = self.subject.is_some() || self.kind == TemplateKind::Probe;
        if engine_ok && subject_ok { Ok(()) } else { Err(MALFORMED) }
    }

    fn encode(&self) -> Result<Vec<u8>, VaultError> {
        Fields::new()
            .fixed(MAGIC)
            .fixed(&[self.kind as u8])
            .fixed(&self.id)
            .time(self.made_at)
            .text(self.subject.as_ref().map_or("", SubjectId::as_str))
            .text(&self.engine)
            .finish()
    }

    fn aad(&self) -> Aad {
        let id: String = self.id.iter().map(|byte| format!("{byte:02x}")).collect();
        let subject = self.subject.as_ref().map_or("", SubjectId::as_str);
        let made_at = self.made_at.millis().to_string();
        Aad::compound("sealed-template", &[self.kind.as_str(), &id, subject, &made_at, &self.engine], "template")
    }
}

const MALFORMED: VaultError = VaultError::Malformed { what: "sealed template" };

/// Seals a template for a caller.
///
/// # Errors
/// [`VaultError::Malformed`] for a reference without subject or an engine outside its form, and those of [`Vault::seal`].
pub fn seal_template(
    vault: &Vault,
    header: &TemplateHeader,
    template: &[u8],
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, VaultError> {
    header.check()?;
    let mut bytes = header.encode()?;
    bytes.extend_from_slice(&vault.seal(Purpose::Template, &header.aad(), template, entropy)?);
    Ok(bytes)
}

/// Opens what [`seal_template`] made; header and template are authentic.
///
/// # Errors
/// [`VaultError::Malformed`] for bytes that are no sealed template, and those of [`Vault::open`].
pub fn open_template(vault: &Vault, bytes: &[u8]) -> Result<(TemplateHeader, Sensitive<Vec<u8>>), VaultError> {
    let (header, ciphertext) = split(bytes)?;
    let template = vault.open(Purpose::Template, &header.aad(), ciphertext)?;
    Ok((header, template))
}

/// What the bytes claim to be. Nothing vouches for it: fit for refusals, never for an acceptance.
///
/// # Errors
/// [`VaultError::Malformed`] for bytes that are no sealed template.
pub fn peek_template(bytes: &[u8]) -> Result<TemplateHeader, VaultError> {
    split(bytes).map(|(header, _)| header)
}

fn split(bytes: &[u8]) -> Result<(TemplateHeader, &[u8]), VaultError> {
    let mut cursor = Cursor::new("sealed template", bytes);
    cursor.expect(MAGIC)?;
    let kind = TemplateKind::from_code(cursor.byte()?).ok_or(MALFORMED)?;
    let id = cursor.array()?;
    let made_at = cursor.time()?;
    let subject = match cursor.text()? {
        "" => None,
        text => Some(text.parse::<SubjectId>().map_err(|_| MALFORMED)?),
    };
    let engine = cursor.text()?.to_owned();
    let header = TemplateHeader { kind, id, subject, made_at, engine };
    header.check()?;
    Ok((header, cursor.rest()))
}
