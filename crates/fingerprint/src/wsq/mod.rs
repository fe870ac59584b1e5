//! Decoding of WSQ, the wavelet scalar quantisation format of the FBI for 8-bit grey fingerprint images
//! (IAFIS-IC-0110, version 3.1).
//!
//! ```text
//! segments ─► Huffman codes ─► quantised coefficients of 64 subbands ─► 20 inverse wavelet steps ─► pixels
//! ```
//!
//! Only symmetric filters of odd length are read, which is what the published encoders write; restart intervals are not.
//! Arithmetic is that of `f32` in one fixed order, so every platform gives the same pixels.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod huffman;
mod segments;
mod subbands;
mod synthesis;

use self::huffman::{BitReader, Symbol};
use self::segments::{Frame, Header, Marker, Quantisation, Segments, Tables};
use self::subbands::Layout;
use crate::decode::ImageError;

pub(crate) use self::segments::{MAGIC, resolution};

/// Subbands that can be coded; the last four of the 64 never are.
const CODED_SUBBANDS: usize = 60;

/// Decodes an image whose sides pass `check`, which is asked before anything of its size is allocated, to width, height
/// and grey values, row major.
///
/// # Errors
/// What `check` answers; [`ImageError::Malformed`] for bytes that are no complete image.
pub(crate) fn decode(
    bytes: &[u8],
    check: impl FnOnce(u32, u32) -> Result<(), ImageError>,
) -> Result<(u32, u32, Vec<u8>), ImageError> {
    let mut segments = Segments::new(bytes).ok_or(ImageError::Malformed)?;
    let mut tables = Tables::default();
    let marker = segments.read_tables(&mut tables).ok_or(ImageError::Malformed)?;
    // The size stands before the first block, so an image too large is refused for that and nothing else.
    let frame = tables.frame.ok_or(ImageError::Malformed)?;
    let (width, height) = (u32::from(frame.width), u32::from(frame.height));
    check(width, height)?;
    let pixels = decode_blocks(segments, tables, marker, &frame).ok_or(ImageError::Malformed)?;
    Ok((width, height, pixels))
}

/// `None` for anything that is not a whole image.
fn decode_blocks<'a>(
    mut segments: Segments<'a>,
    mut tables: Tables,
    mut marker: Marker<'a>,
    frame: &Frame,
) -> Option<Vec<u8>> {
    let header = Header::of(&tables)?;
    let layout = Layout::new(usize::from(frame.width), usize::from(frame.height));
    let expected = coded(&layout, &header.quantisation).map(|(area, _)| area.width * area.height).sum::<usize>();
    let mut coefficients = Vec::with_capacity(expected);
    while let Marker::Block(block) = marker {
        let table = tables.huffman(block.table)?;
        let mut bits = BitReader::new(block.data);
        while let Some(symbol) = table.decode(&mut bits) {
            push(&mut coefficients, symbol, &mut bits, expected)?;
        }
        // Fewer bits than a code are padding; a whole code that means nothing is damage.
        if !bits.is_at_end() {
            return None;
        }
        segments.skip_to(block.end);
        marker = segments.read_tables(&mut tables)?;
    }
    if coefficients.len() != expected || expected == 0 {
        return None;
    }
    let mut plane = vec![0.0; usize::from(frame.width) * usize::from(frame.height)];
    dequantise(&mut plane, &layout, &header.quantisation, &coefficients);
    synthesis::reconstruct(&mut plane, &layout, &header.filters);
    let grey = |value: &f32| (value * frame.scale + frame.shift + 0.5).clamp(0.0, 255.0) as u8;
    Some(plane.iter().map(grey).collect())
}

/// The subbands that have coefficients, with their number.
fn coded<'a>(
    layout: &'a Layout,
    quantisation: &'a Quantisation,
) -> impl Iterator<Item = (&'a subbands::Area, segments::Bin)> {
    let bins = quantisation.bins.iter().take(CODED_SUBBANDS);
    layout.bands.iter().zip(bins).filter(|(_, bin)| bin.width > 0.0).map(|(area, bin)| (area, *bin))
}

/// Appends what a symbol stands for; `None` when that is nothing, or more than the image has.
fn push(coefficients: &mut Vec<i32>, symbol: Symbol, bits: &mut BitReader<'_>, most: usize) -> Option<()> {
    let (count, value) = match symbol {
        Symbol::Zeros(count) => (usize::from(count), 0),
        Symbol::Value(value) => (1, i32::from(value)),
        Symbol::LongValue { bits: length, negative } => {
            let value = i32::from(bits.take(length)?);
            (1, if negative { -value } else { value })
        }
        Symbol::LongZeros { bits: length } => (usize::from(bits.take(length)?), 0),
    };
    let length = coefficients.len().checked_add(count).filter(|length| *length <= most)?;
    if value == 0 {
        coefficients.resize(length, 0);
    } else {
        coefficients.push(value);
    }
    Some(())
}

fn dequantise(plane: &mut [f32], layout: &Layout, quantisation: &Quantisation, coefficients: &[i32]) {
    let mut next = coefficients.iter();
    for (area, bin) in coded(layout, quantisation) {
        let (half, centre) = (bin.zero / 2.0, quantisation.centre);
        for row in plane.chunks_exact_mut(layout.width).skip(area.y).take(area.height) {
            for (cell, value) in row.iter_mut().skip(area.x).take(area.width).zip(&mut next) {
                *cell = match *value {
                    0 => 0.0,
                    value if value > 0 => bin.width * (value as f32 - centre) + half,
                    value => bin.width * (value as f32 + centre) - half,
                };
            }
        }
    }
}
