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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyRing;
    use crate::testing::{System, counting, golden_vault, hex, is_refusal, refuses_other_lengths, unhex};
    use proptest::prelude::*;

    const GOLDEN_HEADER: &str = "524c540101000102030405060708090a0b0c0d0e0f0000018bcfe56800000942616467655f372d62\
        000f72696467656c696e652f302e312e30";
    const GOLDEN_BODY: &str = "524c310100000002000102030405060708090a0b0c0d0e0f101112131415161718191a1b\
        af41535535309cdab90f2ab15450b685d77a32b9af817feb";

    fn header() -> TemplateHeader {
        TemplateHeader {
            kind: TemplateKind::Reference,
            id: std::array::from_fn(|at| u8::try_from(at).unwrap()),
            subject: Some("Badge_7-b".parse().unwrap()),
            made_at: Timestamp::from_millis(1_700_000_000_000),
            engine: "ridgeline/0.1.0".to_owned(),
        }
    }

    fn golden() -> Vec<u8> {
        unhex(&[GOLDEN_HEADER, GOLDEN_BODY].concat())
    }

    #[test]
    fn golden_sealed_template() {
        let sealed = seal_template(&golden_vault(), &header(), b"minutiae", &counting()).unwrap();
        assert_eq!(hex(&sealed), [GOLDEN_HEADER, GOLDEN_BODY].concat());
        assert_eq!(peek_template(&sealed).unwrap(), header());
        let (opened, template) = open_template(&golden_vault(), &golden()).unwrap();
        assert_eq!((opened, template.expose().as_slice()), (header(), b"minutiae".as_slice()));
    }

    #[test]
    fn a_probe_may_be_without_subject_but_a_reference_may_not() {
        let probe = TemplateHeader { kind: TemplateKind::Probe, subject: None, ..header() };
        let sealed = seal_template(&golden_vault(), &probe, b"minutiae", &System).unwrap();
        assert_eq!(open_template(&golden_vault(), &sealed).unwrap().0, probe);
        let reference = TemplateHeader { subject: None, ..header() };
        let refused = seal_template(&golden_vault(), &reference, b"minutiae", &System);
        assert!(matches!(refused, Err(VaultError::Malformed { .. })));
        let mut relabelled = sealed;
        relabelled[4] = TemplateKind::Reference as u8;
        assert!(matches!(peek_template(&relabelled), Err(VaultError::Malformed { .. })));
    }

    #[test]
    fn v_4_no_field_of_the_header_can_be_changed() {
        let body = unhex(GOLDEN_BODY);
        let swapped = |change: fn(&mut TemplateHeader)| {
            let mut other = header();
            change(&mut other);
            let bytes = [other.encode().unwrap(), body.clone()].concat();
            assert_eq!(peek_template(&bytes).unwrap(), other, "well-formed, so that only the vault can notice");
            matches!(open_template(&golden_vault(), &bytes), Err(VaultError::Authentication))
        };
        assert!(!swapped(|_| ()));
        assert!(swapped(|other| other.kind = TemplateKind::Probe));
        assert!(swapped(|other| other.id[0] ^= 1));
        assert!(swapped(|other| other.subject = Some("Badge_8".parse().unwrap())));
        assert!(swapped(|other| other.made_at = Timestamp::from_millis(0)));
        assert!(swapped(|other| other.engine = "ridgeline/0.1.1".to_owned()));
    }

    #[test]
    fn engines_outside_their_form_are_refused() {
        for engine in ["", "two words", "ligne\n", "ü", &"x".repeat(65)] {
            let header = TemplateHeader { engine: engine.to_owned(), ..header() };
            assert!(seal_template(&golden_vault(), &header, b"", &System).is_err(), "{engine:?}");
            let bytes = [header.encode().unwrap(), unhex(GOLDEN_BODY)].concat();
            assert!(peek_template(&bytes).is_err(), "{engine:?}");
        }
    }

    #[test]
    fn another_deployment_cannot_open_it() {
        let vault = Vault::new(KeyRing::create(&System).unwrap());
        assert!(open_template(&vault, &golden()).is_err());
    }

    #[test]
    fn no_other_length_opens() {
        refuses_other_lengths(&golden(), |bytes| open_template(&golden_vault(), bytes));
    }

    proptest! {
        #[test]
        fn every_changed_bit_is_noticed(at in 0..(GOLDEN_HEADER.len() + GOLDEN_BODY.len()) * 4) {
            let mut sealed = golden();
            sealed[at / 8] ^= 1 << (at % 8);
            let error = open_template(&golden_vault(), &sealed).unwrap_err();
            prop_assert!(is_refusal(&error), "{}", error);
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes: Vec<u8>, headed: bool) {
            let bytes = if headed { [MAGIC, &bytes].concat() } else { bytes };
            prop_assert!(open_template(&golden_vault(), &bytes).is_err());
        }
    }
}
