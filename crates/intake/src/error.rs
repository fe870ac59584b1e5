//! Why bytes do not become a record. No variant carries content.

use ridgeline_domain::ErrorCode;
use ridgeline_fingerprint::ImageError;
use ridgeline_fingerprint::formats::RecordError;
use ridgeline_vault::VaultError;
use ridgeline_wire::WireError;

/// A refusal; `code` says which public error it is.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The format's name is none of the interface.
    #[error("format must be one of png, jpeg, bmp, tiff, pgm, wsq, iso19794-2, ansi378, sealed")]
    UnknownFormat,
    /// The image cannot be used; the source says why in words fit for callers.
    #[error("image refused")]
    Image(#[source] ImageError),
    /// The minutiae record cannot be used; the source says why in words fit for callers.
    #[error("record refused")]
    Record(#[source] RecordError),
    /// The minutiae record holds no view that can be meant, or several fingers that could be.
    #[error("{0}")]
    Views(&'static str),
    /// Bytes declared as a sealed template are none.
    #[error("not a sealed template")]
    Template(#[source] VaultError),
    /// Number of samples, or their presence, does not fit the operation.
    #[error("{0}")]
    Shape(&'static str),
    /// All sealed parts together exceed what a record may hold.
    #[error("sealed samples of {bytes} bytes exceed {max} bytes")]
    TooLarge {
        /// Sealed size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Sealing or signing failed.
    #[error("sealing the samples failed")]
    Seal(#[source] VaultError),
    /// Encoding failed.
    #[error("encoding the record failed")]
    Encode(#[source] WireError),
}

impl IntakeError {
    /// The public code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownFormat | Self::Shape(_) => ErrorCode::MalformedRequest,
            Self::Image(error) => match error {
                ImageError::TooManyPixels { .. } => ErrorCode::ImageTooLarge,
                ImageError::TooSmall { .. } => ErrorCode::ImageTooSmall,
                ImageError::MissingDpi | ImageError::DpiOutOfRange { .. } => ErrorCode::ResolutionUnknown,
                ImageError::TooManyBytes { .. } => ErrorCode::BodyTooLarge,
                ImageError::Empty
                | ImageError::UnknownFormat
                | ImageError::FormatMismatch
                | ImageError::Malformed
                | ImageError::BadDimensions { .. } => ErrorCode::UndecodableSample,
            },
            Self::Record(error) => match error {
                RecordError::TooLarge { .. } => ErrorCode::BodyTooLarge,
                RecordError::Resolution { .. } | RecordError::UnevenResolution => ErrorCode::ResolutionUnknown,
                RecordError::TooLargeImage => ErrorCode::ImageTooLarge,
                _ => ErrorCode::UndecodableSample,
            },
            Self::Views(_) => ErrorCode::UndecodableSample,
            Self::Template(_) => ErrorCode::TemplateUndecodable,
            Self::TooLarge { .. } => ErrorCode::SealedTooLarge,
            Self::Seal(_) | Self::Encode(_) => ErrorCode::Internal,
        }
    }

    /// What a caller may read: never more than the shape of what was refused.
    #[must_use]
    pub fn public_detail(&self) -> String {
        match self {
            Self::Image(source) => source.to_string(),
            Self::Record(source) => source.to_string(),
            Self::Template(source) => source.to_string(),
            Self::Seal(_) | Self::Encode(_) => "the request could not be processed".to_owned(),
            other => other.to_string(),
        }
    }
}
