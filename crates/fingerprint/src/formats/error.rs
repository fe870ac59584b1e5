//! Why bytes are no record, or a record no template. No variant carries biometric content.

use std::fmt;

use super::RecordFormat;

/// Four bytes of a record's header as text, with what cannot be printed escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub [u8; 4]);

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.strip_suffix(&[0]).unwrap_or(&self.0);
        write!(formatter, "\"{}\"", text.escape_ascii())
    }
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The name belongs to no format.
    #[error("the format is none of iso2005, iso2011, ansi2004, ansi2009, ansi2009am1")]
    UnknownFormat,
    /// More bytes than a record may have.
    #[error("the record has more than {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// The bytes do not start like a biometric record.
    #[error("the bytes are no finger minutiae record")]
    NotARecord,
    /// Tagged data of a smart card.
    #[error("the card formats of ISO/IEC 19794-2 are not supported")]
    CardFormat,
    /// A record of another kind or edition.
    #[error("records of format {format} and version {version} are not supported")]
    Unsupported {
        /// Format identifier found.
        format: Tag,
        /// Version found.
        version: Tag,
    },
    /// A record of the other standard than declared.
    #[error("the record is of {found}, which is not the declared standard")]
    OtherStandard {
        /// What it is.
        found: RecordFormat,
    },
    /// The bytes end inside a field.
    #[error("the record is cut short")]
    Truncated,
    /// The record's own length differs from the number of bytes.
    #[error("the record declares another length than its {actual} bytes")]
    BadLength {
        /// Bytes given.
        actual: usize,
    },
    /// The parts end before the record does.
    #[error("{bytes} bytes follow the last view of the record")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The record counts no views.
    #[error("the record has no views")]
    NoViews,
    /// The length of one view's part differs from what its fields take.
    #[error("the length of a view does not fit its fields")]
    BadViewLength,
    /// A field has a value that the format does not know.
    #[error("the {0} of the record is out of range")]
    BadField(&'static str),
    /// A minutia lies outside the image that the record declares.
    #[error("a minutia lies outside the image")]
    OutsideImage,
    /// The blocks of extended data do not fill the length they declare.
    #[error("the extended data of the record do not add up")]
    BadExtension,
    /// A record to be written needs a field that the format cannot hold.
    #[error("{format} cannot hold {what}")]
    Inexpressible {
        /// The format.
        format: RecordFormat,
        /// What does not fit.
        what: &'static str,
    },
    /// The resolution is outside 250 to 1200 dpi.
    #[error("{per_cm} pixels per cm are outside the supported resolutions")]
    Resolution {
        /// Pixels per centimetre.
        per_cm: u16,
    },
    /// The two resolutions differ by more than 1 %.
    #[error("the resolutions of the two axes differ")]
    UnevenResolution,
    /// A side of the image is too long at 500 dpi.
    #[error("the image of the record is too large")]
    TooLargeImage,
}
