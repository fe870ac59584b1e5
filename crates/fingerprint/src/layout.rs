//! Templates as bytes, big endian, the highest bit first.
//!
//! Layout 2, which is written: `RM`, layout u8, version of the engine u16, length of its name u8, its name, width u16,
//! height u16, quality u8, count u8; then for each minutia x and y in as many bits as the sides need, direction in 8, kind in
//! 1 (set for a bifurcation), quality in 7; bits up to the end of the last byte are 0.
//!
//! Layout 1, still read: `RM`, layout u8, version u16, width u16, height u16, quality u8, count u8; then x u16 with bit 15 set
//! for a bifurcation, y u16, direction u8, quality u8.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::engine::Engine;
use crate::extract::ENGINE_NAME;
use crate::formats::FOREIGN_ENGINE_NAME;
use crate::template::{Minutia, MinutiaKind, Quality, Template, TemplateError};

const MAGIC: [u8; 2] = *b"RM";
const LAYOUT: u8 = 2;
/// Bytes of a header beside the name.
const HEADER_BYTES: usize = 12;
const DIRECTION_BITS: u32 = 8;
const KIND_BITS: u32 = 1;
const QUALITY_BITS: u32 = 7;

const OLD_LAYOUT: u8 = 1;
const OLD_MINUTIA_BYTES: usize = 6;
const OLD_BIFURCATION_BIT: u16 = 0x8000;
/// In layout 1 the version alone tells other systems' minutiae from ours.
const OLD_FOREIGN_VERSIONS: std::ops::RangeFrom<u16> = 0xF000..;

/// The bytes of a template.
pub(crate) fn write(template: &Template) -> Vec<u8> {
    let (engine, minutiae) = (template.engine(), template.minutiae());
    let places = Places::of(template.width(), template.height());
    let mut out = Vec::with_capacity(HEADER_BYTES + engine.name().len() + places.bytes(minutiae.len()));
    out.extend_from_slice(&MAGIC);
    out.push(LAYOUT);
    out.extend_from_slice(&engine.version().to_be_bytes());
    out.push(engine.name().len() as u8);
    out.extend_from_slice(engine.name().as_bytes());
    out.extend_from_slice(&template.width().to_be_bytes());
    out.extend_from_slice(&template.height().to_be_bytes());
    out.extend_from_slice(&[template.quality().value(), minutiae.len() as u8]);
    let mut bits = BitWriter { out, pending: 0, count: 0 };
    for minutia in minutiae {
        bits.put(minutia.x, places.x);
        bits.put(minutia.y, places.y);
        bits.put(minutia.direction.into(), DIRECTION_BITS);
        bits.put(u16::from(minutia.kind == MinutiaKind::Bifurcation), KIND_BITS);
        bits.put(minutia.quality.into(), QUALITY_BITS);
    }
    bits.finish()
}

/// The template of some bytes. Every template of layout 2 has exactly one form.
pub(crate) fn read(bytes: &[u8]) -> Result<Template, TemplateError> {
    let Some(bytes) = bytes.strip_prefix(&MAGIC) else { return Err(TemplateError::BadMagic) };
    let mut rest = Reader { bytes };
    match rest.byte()? {
        LAYOUT => read_packed(rest),
        OLD_LAYOUT => read_old(rest),
        other => Err(TemplateError::UnsupportedLayout(other)),
    }
}

fn read_packed(mut rest: Reader<'_>) -> Result<Template, TemplateError> {
    let version = rest.two()?;
    let length = rest.byte()?;
    let name = std::str::from_utf8(rest.take(length.into())?).map_err(|_| TemplateError::BadField)?;
    if !Engine::is_valid_name(name) {
        return Err(TemplateError::BadField);
    }
    let (width, height) = (rest.two()?, rest.two()?);
    let (quality, count) = (rest.byte()?, rest.byte()?);
    let places = Places::of(width, height);
    if rest.bytes.len() != places.bytes(count.into()) {
        return Err(TemplateError::BadLength);
    }
    let mut bits = BitReader { bytes: rest.bytes.iter(), pending: 0, count: 0 };
    let minutiae = (0..count).map(|_| Minutia {
        x: bits.take(places.x),
        y: bits.take(places.y),
        direction: bits.take(DIRECTION_BITS) as u8,
        kind: kind_of(bits.take(KIND_BITS) == 1),
        quality: bits.take(QUALITY_BITS) as u8,
    });
    let minutiae = minutiae.collect();
    if bits.pending != 0 {
        return Err(TemplateError::BadField);
    }
    made(Engine::named(name, version), (width, height), quality, minutiae)
}

fn read_old(mut rest: Reader<'_>) -> Result<Template, TemplateError> {
    let version = rest.two()?;
    let sides = (rest.two()?, rest.two()?);
    let (quality, count) = (rest.byte()?, rest.byte()?);
    let (records, left) = rest.bytes.as_chunks::<OLD_MINUTIA_BYTES>();
    if records.len() != usize::from(count) || !left.is_empty() {
        return Err(TemplateError::BadLength);
    }
    let minutia = |&[x0, x1, y0, y1, direction, quality]: &[u8; OLD_MINUTIA_BYTES]| {
        let x = u16::from_be_bytes([x0, x1]);
        let kind = kind_of(x & OLD_BIFURCATION_BIT != 0);
        Minutia { x: x & !OLD_BIFURCATION_BIT, y: u16::from_be_bytes([y0, y1]), direction, kind, quality }
    };
    let name = if OLD_FOREIGN_VERSIONS.contains(&version) { FOREIGN_ENGINE_NAME } else { ENGINE_NAME };
    made(Engine::new(name, version), sides, quality, records.iter().map(minutia).collect())
}

/// The template, if its minutiae already stand in canonical order. Refused ones are wiped as a template.
fn made(
    engine: Engine,
    (width, height): (u16, u16),
    quality: u8,
    minutiae: Vec<Minutia>,
) -> Result<Template, TemplateError> {
    let canonical = quality <= 100 && minutiae.is_sorted_by(|a, b| Template::order(a, b).is_le());
    let template = Template::new(engine, width, height, Quality::new(quality), minutiae)?;
    if canonical { Ok(template) } else { Err(TemplateError::BadField) }
}

fn kind_of(bifurcation: bool) -> MinutiaKind {
    if bifurcation { MinutiaKind::Bifurcation } else { MinutiaKind::Ending }
}

/// Bits of coordinates within given sides.
struct Places {
    x: u32,
    y: u32,
}

impl Places {
    fn of(width: u16, height: u16) -> Self {
        let bits = |side: u16| u16::BITS - side.saturating_sub(1).leading_zeros();
        Self { x: bits(width), y: bits(height) }
    }

    fn bytes(&self, minutiae: usize) -> usize {
        (minutiae * (self.x + self.y + DIRECTION_BITS + KIND_BITS + QUALITY_BITS) as usize).div_ceil(8)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], TemplateError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(TemplateError::BadLength)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn two(&mut self) -> Result<u16, TemplateError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(TemplateError::BadLength)?;
        self.bytes = rest;
        Ok(u16::from_be_bytes(*taken))
    }

    fn byte(&mut self) -> Result<u8, TemplateError> {
        let (byte, rest) = self.bytes.split_first().ok_or(TemplateError::BadLength)?;
        self.bytes = rest;
        Ok(*byte)
    }
}

/// Up to 7 bits wait for the rest of their byte.
struct BitWriter {
    out: Vec<u8>,
    pending: u32,
    count: u32,
}

impl BitWriter {
    /// Appends the lowest `bits` of a value, 16 at most.
    fn put(&mut self, value: u16, bits: u32) {
        self.pending = self.pending << bits | u32::from(value);
        self.count += bits;
        while self.count >= 8 {
            self.count -= 8;
            self.out.push((self.pending >> self.count) as u8);
            self.pending &= (1 << self.count) - 1;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
        self.out
    }
}

/// Takes bits off bytes; past the end they are 0.
struct BitReader<'a> {
    bytes: std::slice::Iter<'a, u8>,
    pending: u32,
    count: u32,
}

impl BitReader<'_> {
    /// The next `bits` as a number, 16 at most.
    fn take(&mut self, bits: u32) -> u16 {
        while self.count < bits {
            self.pending = self.pending << 8 | u32::from(self.bytes.next().copied().unwrap_or(0));
            self.count += 8;
        }
        self.count -= bits;
        let value = self.pending >> self.count;
        self.pending &= (1 << self.count) - 1;
        value as u16
    }
}
