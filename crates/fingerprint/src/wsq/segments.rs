//! The segments of a file: tables, size, comments, and where the coded blocks lie.

use super::huffman::HuffmanTable;

/// Start of image.
pub(crate) const MAGIC: [u8; 2] = [0xFF, 0xA0];

const END_OF_IMAGE: u8 = 0xA1;
const START_OF_FRAME: u8 = 0xA2;
const START_OF_BLOCK: u8 = 0xA3;
const TRANSFORM_TABLE: u8 = 0xA4;
const QUANTISATION_TABLE: u8 = 0xA5;
const HUFFMAN_TABLE: u8 = 0xA6;
const COMMENT: u8 = 0xA8;

const SUBBANDS: usize = 64;
const HUFFMAN_TABLES: usize = 8;
/// Longest filter; the standard's own have 9 and 7 taps.
const MAX_TAPS: u8 = 31;
/// No number of the format needs more decimal places; ten to this still fits.
const MAX_DECIMALS: u8 = 12;

/// Size of the image and how pixels were scaled.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) shift: f32,
    pub(super) scale: f32,
}

/// Quantisation of one subband; a width of 0 means that it is not coded.
#[derive(Clone, Copy, Default)]
pub(super) struct Bin {
    pub(super) width: f32,
    pub(super) zero: f32,
}

#[derive(Clone)]
pub(super) struct Quantisation {
    pub(super) centre: f32,
    pub(super) bins: [Bin; SUBBANDS],
}

/// Synthesis filters, from the centre outwards: both are symmetric.
#[derive(Clone)]
pub(super) struct Filters {
    pub(super) low: Vec<f32>,
    pub(super) high: Vec<f32>,
}

/// What the segments said so far; a later table replaces an earlier one.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) frame: Option<Frame>,
    filters: Option<Filters>,
    quantisation: Option<Quantisation>,
    huffman: [Option<HuffmanTable>; HUFFMAN_TABLES],
}

impl Tables {
    pub(super) fn huffman(&self, id: u8) -> Option<&HuffmanTable> {
        self.huffman.get(usize::from(id))?.as_ref()
    }
}

/// The tables that hold for the whole image.
pub(super) struct Header {
    pub(super) filters: Filters,
    pub(super) quantisation: Quantisation,
}

impl Header {
    pub(super) fn of(tables: &Tables) -> Option<Self> {
        Some(Self { filters: tables.filters.clone()?, quantisation: tables.quantisation.clone()? })
    }
}

/// A coded block.
pub(super) struct Block<'a> {
    pub(super) table: u8,
    /// Coded bytes, with the zero bytes that follow each 0xFF.
    pub(super) data: &'a [u8],
    /// Where its data end in the file.
    pub(super) end: usize,
}

/// What tables end with.
pub(super) enum Marker<'a> {
    Block(Block<'a>),
    End,
}

/// A walk over the segments.
pub(super) struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.starts_with(&MAGIC).then_some(Self { bytes, at: MAGIC.len() })
    }

    /// Marker and content of the next segment; the end of the image has none.
    fn next_segment(&mut self) -> Option<(u8, &'a [u8])> {
        let [lead, marker] = *self.bytes.get(self.at..)?.first_chunk()?;
        if lead != 0xFF {
            return None;
        }
        self.at += 2;
        if marker == END_OF_IMAGE {
            return Some((marker, &[]));
        }
        let length = usize::from(u16::from_be_bytes(*self.bytes.get(self.at..)?.first_chunk()?));
        let content = self.bytes.get(self.at..)?.get(2..length)?;
        self.at += length;
        Some((marker, content))
    }

    /// Reads tables up to the next block or the end of the image.
    pub(super) fn read_tables(&mut self, tables: &mut Tables) -> Option<Marker<'a>> {
        loop {
            let (marker, content) = self.next_segment()?;
            let mut fields = Fields(content);
            match marker {
                END_OF_IMAGE => return Some(Marker::End),
                START_OF_FRAME => tables.frame = Some(frame(&mut fields)?),
                TRANSFORM_TABLE => tables.filters = Some(filters(&mut fields)?),
                QUANTISATION_TABLE => tables.quantisation = Some(quantisation(&mut fields)?),
                HUFFMAN_TABLE => {
                    while !fields.0.is_empty() {
                        let id = usize::from(fields.u8()?);
                        *tables.huffman.get_mut(id)? = Some(huffman(&mut fields)?);
                    }
                }
                COMMENT => fields.0 = &[],
                START_OF_BLOCK => {
                    let table = fields.u8()?;
                    let end = self.end_of_data()?;
                    return fields.0.is_empty().then_some(Marker::Block(Block {
                        table,
                        data: self.bytes.get(self.at..end)?,
                        end,
                    }));
                }
                _ => return None,
            }
            if !fields.0.is_empty() {
                return None;
            }
        }
    }

    /// Where the next marker stands: an 0xFF that no zero byte follows.
    fn end_of_data(&self) -> Option<usize> {
        let pairs = self.bytes.get(self.at..)?.windows(2);
        pairs.enumerate().find(|(_, pair)| matches!(pair, [0xFF, 1..=0xFF])).map(|(offset, _)| self.at + offset)
    }

    pub(super) fn skip_to(&mut self, end: usize) {
        self.at = end;
    }
}

/// Resolution in dots per inch that a NISTCOM comment states.
pub(crate) fn resolution(bytes: &[u8]) -> Option<u16> {
    let mut segments = Segments::new(bytes)?;
    loop {
        let (marker, content) = segments.next_segment()?;
        match marker {
            END_OF_IMAGE | START_OF_BLOCK => return None,
            COMMENT if content.starts_with(b"NIST_COM") => {
                let lines = content.split(|byte| *byte == b'\n');
                let mut stated = lines.filter_map(|line| line.strip_prefix(b"PPI "));
                if let Some(text) = stated.next() {
                    return std::str::from_utf8(text).ok()?.trim().parse().ok();
                }
            }
            _ => {}
        }
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A decimal exponent and a number of two bytes.
    fn decimal(&mut self) -> Option<f32> {
        let places = self.u8()?;
        Some((f64::from(self.u16()?) / power_of_ten(places)?) as f32)
    }

    /// A sign, a decimal exponent and a number of four bytes.
    fn tap(&mut self) -> Option<f32> {
        let negative = self.u8()? != 0;
        let places = self.u8()?;
        let value = (f64::from(self.array().map(u32::from_be_bytes)?) / power_of_ten(places)?) as f32;
        Some(if negative { -value } else { value })
    }
}

fn power_of_ten(places: u8) -> Option<f64> {
    (places <= MAX_DECIMALS).then(|| (0..places).fold(1.0, |power, _| power * 10.0))
}

fn frame(fields: &mut Fields<'_>) -> Option<Frame> {
    // Grey of black and white: of the capture, not of the coding.
    fields.u16()?;
    let (height, width) = (fields.u16()?, fields.u16()?);
    let (shift, scale) = (fields.decimal()?, fields.decimal()?);
    // Encoder and version of its software.
    fields.u8()?;
    fields.u16()?;
    Some(Frame { width, height, shift, scale })
}

fn quantisation(fields: &mut Fields<'_>) -> Option<Quantisation> {
    let centre = fields.decimal()?;
    let mut bins = [Bin::default(); SUBBANDS];
    for bin in &mut bins {
        *bin = Bin { width: fields.decimal()?, zero: fields.decimal()? };
    }
    Some(Quantisation { centre, bins })
}

/// The file holds the analysis filters from the centre outwards. Synthesis takes each for the other band, with the signs
/// of odd taps turned.
fn filters(fields: &mut Fields<'_>) -> Option<Filters> {
    let (low_taps, high_taps) = (fields.u8()?, fields.u8()?);
    let mut half = |taps: u8| {
        if taps.is_multiple_of(2) || taps > MAX_TAPS {
            return None;
        }
        let turned = |(at, tap): (usize, f32)| if at % 2 == 1 { -tap } else { tap };
        let found = (0..=taps / 2).map(|_| fields.tap()).collect::<Option<Vec<_>>>()?;
        Some(found.into_iter().enumerate().map(turned).collect())
    };
    let (high, low) = (half(low_taps)?, half(high_taps)?);
    Some(Filters { low, high })
}

fn huffman(fields: &mut Fields<'_>) -> Option<HuffmanTable> {
    let counts: [u8; 16] = fields.array()?;
    let total = counts.iter().map(|count| usize::from(*count)).sum::<usize>();
    let (values, rest) = fields.0.split_at_checked(total)?;
    fields.0 = rest;
    HuffmanTable::new(&counts, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_comment(text: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xFF, 0xA0, 0xFF, COMMENT];
        bytes.extend_from_slice(&(text.len() as u16 + 2).to_be_bytes());
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(&[0xFF, END_OF_IMAGE]);
        bytes
    }

    #[test]
    fn a_comment_states_the_resolution() {
        let stated = |text: &[u8]| resolution(&with_comment(text));
        assert_eq!(stated(b"NIST_COM 10\nPIX_WIDTH 500\nPPI 508\nLOSSY 1\n"), Some(508));
        assert_eq!(stated(b"NIST_COM 10\nPPI -1\n"), None, "not known");
        assert_eq!(stated(b"NIST_COM 10\nPPI 70000\n"), None);
        assert_eq!(stated(b"NIST_COM 10\nPPI \xFF\n"), None);
        assert_eq!(stated(b"PPI 500\n"), None, "another comment");
        assert_eq!(resolution(b"\xFF\xA0\xFF\xA8\xFF\xFFNIST_COM"), None);
        assert_eq!(resolution(b"\xFF\xA0\xFF\xA8\0\x01"), None, "a length without itself");
    }
}
