//! Reading: which standard and edition, then field by field.

use zeroize::Zeroizing;

use super::bytes::Reader;
use super::{
    CaptureTime, Device, Extension, MAX_POSITION, MAX_RECORD_BYTES, MinutiaType, QualityBlock, Record, RecordError,
    RecordFamily, RecordFormat, RecordMinutia, Tag, View,
};

/// Format identifier of finger minutiae records.
pub(super) const FORMAT_ID: [u8; 4] = *b"FMR\0";
const FIXED_FIELDS_BYTES: usize = 8;
/// Bytes of a block of extended data before its content.
pub(super) const EXTENSION_HEADER_BYTES: u16 = 4;
/// How far the ends of a record may lie apart, in all formats but ISO 2011, whose parts have lengths of their own.
const SLACK_BYTES: usize = 4;
/// What later editions write where a quality is missing.
const QUALITY_NOT_REPORTED: u8 = 254;

impl Record {
    /// Reads a record. `family`: the standard that it has to follow; `None`: either.
    ///
    /// Editions of the two standards share version numbers; they are told apart by where their length field stands, or
    /// by the lengths of their parts.
    ///
    /// # Errors
    /// A [`RecordError`] for bytes that are not exactly one record of a supported format.
    pub fn decode(bytes: &[u8], family: Option<RecordFamily>) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLarge { max: MAX_RECORD_BYTES });
        }
        let version = version_of(bytes)?;
        let record = match version {
            Version::V20 => first_edition(bytes, family),
            Version::V30 => second_edition(bytes, family),
            Version::V35 => ansi_2009(bytes, RecordFormat::Ansi2009Am1),
        }?;
        match family {
            Some(family) if family != record.format.family() => {
                Err(RecordError::OtherStandard { found: record.format })
            }
            _ => Ok(record),
        }
    }
}

enum Version {
    V20,
    V30,
    V35,
}

fn version_of(bytes: &[u8]) -> Result<Version, RecordError> {
    // Application tags that wrap the minutiae of a card (ISO/IEC 7816-11).
    if matches!(bytes, [0x7F, 0x2E | 0x60 | 0x61, ..]) {
        return Err(RecordError::CardFormat);
    }
    let mut reader = Reader::new(bytes);
    let too_short = if bytes.starts_with(FORMAT_ID.get(..3).unwrap_or(&[])) || FORMAT_ID.starts_with(bytes) {
        RecordError::Truncated
    } else {
        RecordError::NotARecord
    };
    if bytes.is_empty() {
        return Err(RecordError::NotARecord);
    }
    let format = reader.tag().map_err(|_| too_short)?;
    let version = reader.tag().map_err(|_| too_short)?;
    let is_tag =
        |tag: &[u8; 4]| matches!(tag, [a, b, c, 0] if [a, b, c].iter().all(|c| c.is_ascii_graphic() || **c == b' '));
    match (&format, &version) {
        (&FORMAT_ID, b" 20\0" | b"020\0") => Ok(Version::V20),
        (&FORMAT_ID, b" 30\0" | b"030\0") => Ok(Version::V30),
        (&FORMAT_ID, b" 35\0" | b"035\0") => Ok(Version::V35),
        (&FORMAT_ID, _) => Err(RecordError::Unsupported { format: Tag(format), version: Tag(version) }),
        _ if is_tag(&format) && is_tag(&version) => {
            Err(RecordError::Unsupported { format: Tag(format), version: Tag(version) })
        }
        _ => Err(RecordError::NotARecord),
    }
}

/// ISO writes a length of four bytes; ANSI one of two, or zero and one of four.
///
/// A record ends where its header, its parts and its bytes say. Published examples disagree by a byte or two: a length
/// field that counts too few, extended data with a wrong length. Two of the three have to agree, and the
/// third be within [`SLACK_BYTES`]; what is compared later does not depend on it.
fn first_edition(bytes: &[u8], family: Option<RecordFamily>) -> Result<Record, RecordError> {
    let mut reader = Reader::new(bytes);
    reader.take(FIXED_FIELDS_BYTES)?;
    let slack = |declared: u32| match bytes.len().checked_sub(declared as usize) {
        Some(0) => Some(SLACK_BYTES),
        Some(1..=SLACK_BYTES) => Some(0),
        _ => None,
    };
    let mut iso = reader;
    let iso_length = iso.u32()?;
    if let Some(slack) = slack(iso_length) {
        return first_edition_of(RecordFormat::Iso2005, iso, slack);
    }
    let mut ansi = reader;
    let length = match ansi.u16()? {
        0 => ansi.u32()?,
        short => u32::from(short),
    };
    if let Some(slack) = slack(length) {
        return first_edition_of(RecordFormat::Ansi2004, ansi, slack);
    }
    // Neither length is right: what the caller declared decides which one is wrong.
    let declared = if family == Some(RecordFamily::Ansi378) { length } else { iso_length.min(length) };
    Err(match declared as usize {
        declared if declared > bytes.len() => RecordError::Truncated,
        _ => RecordError::BadLength { actual: bytes.len() },
    })
}

fn first_edition_of(format: RecordFormat, mut reader: Reader<'_>, slack: usize) -> Result<Record, RecordError> {
    let (owner, product) = match format {
        RecordFormat::Ansi2004 => (reader.u16()?, reader.u16()?),
        _ => (0, 0),
    };
    let device = reader.u16()?;
    let device = Device { compliance: (device >> 12) as u8, id: device & 0x0FFF, ..Device::default() };
    let (width, height) = (reader.u16()?, reader.u16()?);
    let (resolution_x, resolution_y) = (reader.u16()?, reader.u16()?);
    let count = reader.u8()?;
    reader.u8()?;
    let mut views = Vec::new();
    for left in (0..count).rev() {
        let position = position(reader.u8()?)?;
        let packed = reader.u8()?;
        let quality = reader.u8()?;
        let mut view = View {
            position,
            number: packed >> 4,
            impression: packed & 0x0F,
            qualities: vec![QualityBlock { value: quality, vendor: 0, algorithm: 0 }],
            device,
            width,
            height,
            resolution_x,
            resolution_y,
            ..blank_view()
        };
        let slack = if left == 0 { slack } else { 0 };
        read_body(&mut reader, &mut view, Body { with_quality: true, slack })?;
        views.push(view);
    }
    if reader.remaining() <= slack {
        reader.take(reader.remaining())?;
    }
    finished(format, (owner, product), views, reader)
}

/// Since 2009 both standards write version 030; only of an ISO record do the lengths of its parts add up.
fn second_edition(bytes: &[u8], family: Option<RecordFamily>) -> Result<Record, RecordError> {
    let is_iso = iso_2011_parts_add_up(bytes).is_ok_and(|adds_up| adds_up);
    match family {
        Some(RecordFamily::Iso19794) if is_iso => iso_2011(bytes),
        // The reason why it is no ISO record counts, unless it is a whole one of the other standard.
        Some(RecordFamily::Iso19794) => ansi_2009(bytes, RecordFormat::Ansi2009).or_else(|_| iso_2011(bytes)),
        None if is_iso => iso_2011(bytes),
        Some(RecordFamily::Ansi378) if is_iso => {
            ansi_2009(bytes, RecordFormat::Ansi2009).or_else(|error| iso_2011(bytes).map_err(|_| error))
        }
        Some(RecordFamily::Ansi378) => ansi_2009(bytes, RecordFormat::Ansi2009),
        None => ansi_2009(bytes, RecordFormat::Ansi2009).map_err(|error| match iso_2011(bytes) {
            Err(length @ RecordError::BadLength { .. }) => length,
            _ => error,
        }),
    }
}

fn iso_2011_parts_add_up(bytes: &[u8]) -> Result<bool, RecordError> {
    let mut reader = Reader::new(bytes);
    reader.take(FIXED_FIELDS_BYTES)?;
    let length = reader.u32()?;
    let count = reader.u16()?;
    let flag = reader.u8()?;
    for _ in 0..count {
        let length = reader.u32()? as usize;
        reader.take(length.checked_sub(4).ok_or(RecordError::BadViewLength)?)?;
    }
    Ok(flag <= 1 && length as usize == bytes.len() && reader.remaining() == 0)
}

fn iso_2011(bytes: &[u8]) -> Result<Record, RecordError> {
    let mut reader = after_long_length(bytes, 0)?;
    let count = reader.u16()?;
    let certified = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(RecordError::BadField("certification flag")),
    };
    let mut views = Vec::new();
    for _ in 0..count {
        let length = reader.u32()? as usize;
        let mut part = reader.part(length.checked_sub(4).ok_or(RecordError::BadViewLength)?)?;
        let view = iso_2011_view(&mut part, certified).map_err(|error| match error {
            RecordError::Truncated => RecordError::BadViewLength,
            other => other,
        })?;
        if part.remaining() > 0 {
            return Err(RecordError::BadViewLength);
        }
        views.push(view);
    }
    finished(RecordFormat::Iso2011, (0, 0), views, reader)
}

fn iso_2011_view(part: &mut Reader<'_>, certified: bool) -> Result<View, RecordError> {
    let mut view = blank_view();
    view.captured = CaptureTime {
        year: part.u16()?,
        month: part.u8()?,
        day: part.u8()?,
        hour: part.u8()?,
        minute: part.u8()?,
        second: part.u8()?,
        millisecond: part.u16()?,
    };
    view.device = Device { technology: part.u8()?, vendor: part.u16()?, id: part.u16()?, compliance: 0 };
    for _ in 0..part.u8()? {
        view.qualities.push(QualityBlock { value: part.u8()?, vendor: part.u16()?, algorithm: part.u16()? });
    }
    if certified {
        for _ in 0..part.u8()? {
            view.certificates.push((part.u16()?, part.u8()?));
        }
    }
    view.position = position(part.u8()?)?;
    view.number = part.u8()?;
    view.resolution_x = part.u16()?;
    view.resolution_y = part.u16()?;
    view.impression = part.u8()?;
    view.width = part.u16()?;
    view.height = part.u16()?;
    let flags = part.u8()?;
    let with_quality = match flags >> 4 {
        5 => false,
        6 => true,
        _ => return Err(RecordError::BadField("length of a minutia")),
    };
    view.ending_place = flags & 0x0F;
    read_body(part, &mut view, Body { with_quality, slack: 0 })?;
    Ok(view)
}

/// A draft of the 2009 edition packed device and compliance into two bytes; such records exist, and only one of the two
/// readings ends where the record does.
fn ansi_2009(bytes: &[u8], format: RecordFormat) -> Result<Record, RecordError> {
    let reader = after_long_length(bytes, SLACK_BYTES)?;
    ansi_2009_of(format, reader, false).or_else(|error| ansi_2009_of(format, reader, true).map_err(|_| error))
}

fn ansi_2009_of(format: RecordFormat, mut reader: Reader<'_>, is_draft: bool) -> Result<Record, RecordError> {
    let (owner, product) = (reader.u16()?, reader.u16()?);
    let device = if is_draft {
        let packed = reader.u16()?;
        Device { compliance: ((packed >> 12) << 4) as u8, id: packed & 0x0FFF, ..Device::default() }
    } else {
        Device { compliance: reader.u8()?, id: reader.u16()?, ..Device::default() }
    };
    let count = reader.u8()?;
    reader.u8()?;
    let mut views = Vec::new();
    for _ in 0..count {
        let mut view = View {
            position: position(reader.u8()?)?,
            number: reader.u8()?,
            impression: reader.u8()?,
            device,
            ..blank_view()
        };
        view.qualities.push(QualityBlock { value: reader.u8()?, vendor: reader.u16()?, algorithm: reader.u16()? });
        view.width = reader.u16()?;
        view.height = reader.u16()?;
        view.resolution_x = reader.u16()?;
        view.resolution_y = reader.u16()?;
        read_body(&mut reader, &mut view, Body { with_quality: true, slack: 0 })?;
        views.push(view);
    }
    finished(format, (owner, product), views, reader)
}

/// What follows a length of four bytes, which may count `slack` bytes too few.
fn after_long_length(bytes: &[u8], slack: usize) -> Result<Reader<'_>, RecordError> {
    let mut reader = Reader::new(bytes);
    reader.take(FIXED_FIELDS_BYTES)?;
    match bytes.len().checked_sub(reader.u32()? as usize) {
        None => Err(RecordError::Truncated),
        Some(missing) if missing > slack => Err(RecordError::BadLength { actual: bytes.len() }),
        Some(_) => Ok(reader),
    }
}

struct Body {
    with_quality: bool,
    /// How many bytes of extended data may be missing.
    slack: usize,
}

/// Minutiae and extended data, which all formats end a view with.
fn read_body(reader: &mut Reader<'_>, view: &mut View, body: Body) -> Result<(), RecordError> {
    if view.width == 0 || view.height == 0 {
        return Err(RecordError::BadField("image size"));
    }
    if view.resolution_x == 0 || view.resolution_y == 0 {
        return Err(RecordError::BadField("resolution"));
    }
    for _ in 0..reader.u8()? {
        let (x, y) = (reader.u16()?, reader.u16()?);
        let angle = reader.u8()?;
        let quality = if body.with_quality { reader.u8()? } else { QUALITY_NOT_REPORTED };
        let kind = match x >> 14 {
            0 => MinutiaType::Other,
            1 => MinutiaType::Ending,
            2 => MinutiaType::Bifurcation,
            _ => return Err(RecordError::BadField("type of a minutia")),
        };
        let minutia = RecordMinutia { kind, x: x & 0x3FFF, y: y & 0x3FFF, angle, quality };
        if minutia.x >= view.width || minutia.y >= view.height {
            return Err(RecordError::OutsideImage);
        }
        view.minutiae.push(minutia);
    }
    let length = usize::from(reader.u16()?);
    let missing = length.saturating_sub(reader.remaining());
    let blocks =
        if missing <= body.slack { reader.part(length - missing)? } else { return Err(RecordError::Truncated) };
    // A block's length counts its header; some writers leave it out. Only one of the two readings fills the whole.
    view.extensions = extensions(blocks, EXTENSION_HEADER_BYTES)
        .or_else(|_| extensions(blocks, 0))
        .or(if missing > 0 { Ok(Vec::new()) } else { Err(RecordError::BadExtension) })?;
    Ok(())
}

fn extensions(mut blocks: Reader<'_>, counted: u16) -> Result<Vec<Extension>, RecordError> {
    let mut found = Vec::new();
    while blocks.remaining() > 0 {
        found.push(extension(&mut blocks, counted)?);
    }
    Ok(found)
}

fn extension(blocks: &mut Reader<'_>, counted: u16) -> Result<Extension, RecordError> {
    let kind = blocks.u16()?;
    let length = blocks.u16()?.checked_sub(counted).ok_or(RecordError::BadExtension)?;
    Ok(Extension { kind, data: Zeroizing::new(blocks.take(usize::from(length))?.to_vec()) })
}

fn position(code: u8) -> Result<u8, RecordError> {
    if code <= MAX_POSITION { Ok(code) } else { Err(RecordError::BadField("finger position")) }
}

fn blank_view() -> View {
    View {
        position: 0,
        number: 0,
        impression: 0,
        qualities: Vec::new(),
        device: Device::default(),
        captured: CaptureTime::UNKNOWN,
        certificates: Vec::new(),
        width: 0,
        height: 0,
        resolution_x: 0,
        resolution_y: 0,
        ending_place: 0,
        minutiae: Zeroizing::default(),
        extensions: Vec::new(),
    }
}

fn finished(
    format: RecordFormat,
    (owner, product): (u16, u16),
    views: Vec<View>,
    rest: Reader<'_>,
) -> Result<Record, RecordError> {
    if rest.remaining() > 0 {
        return Err(RecordError::Trailing { bytes: rest.remaining() });
    }
    if views.is_empty() {
        return Err(RecordError::NoViews);
    }
    Ok(Record { format, owner, product, views })
}
