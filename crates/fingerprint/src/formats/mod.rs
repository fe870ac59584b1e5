//! Finger minutiae records of other systems: ISO/IEC 19794-2:2005 and :2011, ANSI INCITS 378-2004, 378-2009 and 2009/AM1.
//!
//! A [`Record`] holds what a file says, field by field and in the file's own units; [`View::to_template`] brings one of
//! its views to 500 dpi and 1/256 of a turn, [`Record::of_template`] goes the other way. Reading never panics, allocates
//! no more than the bytes given justify, and refuses a record whose lengths and counts do not add up exactly.
//!
//! Extended data (ridge counts, cores and deltas, zonal quality, what a vendor adds) is kept as bytes and never looked at.
//! The card formats of ISO/IEC 19794-2 carry neither header nor version and are not read.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bytes;
mod convert;
mod error;
mod read;
mod write;

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, Zeroizing};

pub use self::convert::{
    FOREIGN_ENGINE, FOREIGN_ENGINE_NAME, FOREIGN_ENGINE_VERSION, UNREPORTED_MINUTIA_QUALITY, UNREPORTED_QUALITY,
};
pub use self::error::{RecordError, Tag};

/// Most bytes of a record: more than 255 views of 255 minutiae take, and room for extended data.
pub const MAX_RECORD_BYTES: usize = 1 << 20;
/// Minutiae that one view can count.
pub const MAX_VIEW_MINUTIAE: usize = 255;
/// Greatest code of a finger: 0 is unknown, 1 to 5 the right hand from thumb to little finger, 6 to 10 the left.
pub const MAX_POSITION: u8 = 10;

/// The standard that a caller says a record follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFamily {
    /// ISO/IEC 19794-2.
    Iso19794,
    /// ANSI INCITS 378.
    Ansi378,
}

/// A standard and its edition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordFormat {
    /// ISO/IEC 19794-2:2005, record format.
    Iso2005,
    /// ISO/IEC 19794-2:2011, record format.
    Iso2011,
    /// ANSI INCITS 378-2004.
    Ansi2004,
    /// ANSI INCITS 378-2009.
    Ansi2009,
    /// ANSI INCITS 378-2009, amendment 1.
    Ansi2009Am1,
}

impl RecordFormat {
    /// All that are read and written.
    pub const ALL: [Self; 5] = [Self::Iso2005, Self::Iso2011, Self::Ansi2004, Self::Ansi2009, Self::Ansi2009Am1];

    /// Whose standard it is.
    #[must_use]
    pub const fn family(self) -> RecordFamily {
        match self {
            Self::Iso2005 | Self::Iso2011 => RecordFamily::Iso19794,
            Self::Ansi2004 | Self::Ansi2009 | Self::Ansi2009Am1 => RecordFamily::Ansi378,
        }
    }

    /// The short name that [`FromStr`] reads.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iso2005 => "iso2005",
            Self::Iso2011 => "iso2011",
            Self::Ansi2004 => "ansi2004",
            Self::Ansi2009 => "ansi2009",
            Self::Ansi2009Am1 => "ansi2009am1",
        }
    }

    /// Whether sizes, resolution and device stand once in the header for all views.
    const fn has_one_geometry(self) -> bool {
        matches!(self, Self::Iso2005 | Self::Ansi2004)
    }
}

impl FromStr for RecordFormat {
    type Err = RecordError;

    /// Reads `iso2005`, `iso2011`, `ansi2004`, `ansi2009` or `ansi2009am1`.
    fn from_str(name: &str) -> Result<Self, RecordError> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or(RecordError::UnknownFormat)
    }
}

impl fmt::Display for RecordFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Iso2005 => "ISO/IEC 19794-2:2005",
            Self::Iso2011 => "ISO/IEC 19794-2:2011",
            Self::Ansi2004 => "ANSI INCITS 378-2004",
            Self::Ansi2009 => "ANSI INCITS 378-2009",
            Self::Ansi2009Am1 => "ANSI INCITS 378-2009/AM1",
        })
    }
}

/// What a record calls a minutia.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum MinutiaType {
    /// Neither of the two, either of them, or not known (code 0).
    Other,
    /// A ridge ending (code 1).
    Ending,
    /// A ridge bifurcation (code 2).
    Bifurcation,
}

/// One minutia in the record's units. Its `Debug` shows nothing: it is biometric data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecordMinutia {
    /// Ending, bifurcation or neither.
    pub kind: MinutiaType,
    /// Pixels from the left edge, 14 bits.
    pub x: u16,
    /// Pixels from the top edge, 14 bits.
    pub y: u16,
    /// Direction, counter-clockwise from the positive x axis: in 1/256 of a turn (ISO) or in 2 degrees (ANSI).
    pub angle: u8,
    /// 0 to 100; 0 means "not reported" before 2009, 254 that and 255 "failed" since.
    pub quality: u8,
}

/// A quality and who computed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QualityBlock {
    /// 0 (worst) to 100 (best), 254 not reported, 255 could not be computed.
    pub value: u8,
    /// Vendor of the algorithm; 0 before 2009, which do not say.
    pub vendor: u16,
    /// The vendor's number of the algorithm.
    pub algorithm: u16,
}

/// The capture device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Compliance bits: four before 2009, eight in ANSI since, none in ISO 2011.
    pub compliance: u8,
    /// Sensing technology (ISO 2011; 0 is unknown).
    pub technology: u8,
    /// Vendor (ISO 2011).
    pub vendor: u16,
    /// The vendor's number of the device, 12 bits before 2009.
    pub id: u16,
}

/// Local date and time of a capture, as written; every field of all ones means unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureTime {
    /// Year.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999.
    pub millisecond: u16,
}

impl CaptureTime {
    /// A time that is not known.
    pub const UNKNOWN: Self = Self {
        year: u16::MAX,
        month: u8::MAX,
        day: u8::MAX,
        hour: u8::MAX,
        minute: u8::MAX,
        second: u8::MAX,
        millisecond: u16::MAX,
    };
}

/// A block of extended data, unread.
#[derive(Clone, PartialEq, Eq)]
pub struct Extension {
    /// 1 ridge counts, 2 cores and deltas, 3 zonal quality, others a vendor's.
    pub kind: u16,
    /// What follows kind and length.
    pub data: Zeroizing<Vec<u8>>,
}

/// One impression of one finger.
#[derive(Clone, PartialEq, Eq)]
pub struct View {
    /// Finger, 0 to [`MAX_POSITION`].
    pub position: u8,
    /// Number among the views of that finger, from 0.
    pub number: u8,
    /// Impression type as written: 0 live-scan plain, 1 live-scan rolled, 2 and 3 the same not live, 8 swipe, …
    pub impression: u8,
    /// Qualities of the finger; exactly one in all formats but ISO 2011.
    pub qualities: Vec<QualityBlock>,
    /// The capture device.
    pub device: Device,
    /// When it was captured (ISO 2011).
    pub captured: CaptureTime,
    /// Certification blocks: authority and scheme (ISO 2011).
    pub certificates: Vec<(u16, u8)>,
    /// Width of the image in pixels.
    pub width: u16,
    /// Height of the image in pixels.
    pub height: u16,
    /// Horizontal resolution in pixels per centimetre.
    pub resolution_x: u16,
    /// Vertical resolution in pixels per centimetre.
    pub resolution_y: u16,
    /// Where an ending lies (ISO 2011): 0 on the fork of the valley, 1 on the end of the ridge.
    pub ending_place: u8,
    /// The minutiae.
    pub minutiae: Zeroizing<Vec<RecordMinutia>>,
    /// Extended data.
    pub extensions: Vec<Extension>,
}

/// A finger minutiae record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Standard and edition.
    pub format: RecordFormat,
    /// Owner of the product that wrote it (ANSI).
    pub owner: u16,
    /// The owner's number of the product (ANSI).
    pub product: u16,
    /// At least one view.
    pub views: Vec<View>,
}

impl fmt::Debug for MinutiaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MinutiaType")
    }
}

impl fmt::Debug for RecordMinutia {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RecordMinutia")
    }
}

impl fmt::Debug for Extension {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Extension({} bytes)", self.data.len())
    }
}

impl fmt::Debug for View {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "View({} minutiae)", self.minutiae.len())
    }
}

impl Zeroize for RecordMinutia {
    fn zeroize(&mut self) {
        self.x.zeroize();
        self.y.zeroize();
        self.angle.zeroize();
        self.quality.zeroize();
        self.kind = MinutiaType::Other;
    }
}
