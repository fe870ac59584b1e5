//! Bringing images to one form before they are stored or sent on.

use crate::extract::{WORKING_DPI, at_working_resolution};
use crate::field;
use crate::half::halved;
use crate::image::GreyImage;
use crate::plane::BLOCK;

/// Ground kept around the finger, in blocks.
const MARGIN_BLOCKS: usize = 3;

/// The image at 500 dpi, cropped to the finger with a small margin.
///
/// Deterministic. Extraction finds what it finds in the original, shifted by the crop. An image
/// without a visible finger is only rescaled; one that cannot be rescaled is returned as it is.
pub fn normalise(image: &GreyImage) -> GreyImage {
    let Ok(plane) = at_working_resolution(image) else { return image.clone() };
    let mask = field::estimate(&plane, &halved(&plane)).foreground;
    let (mut left, mut top, mut right, mut bottom) = (usize::MAX, usize::MAX, 0, 0);
    for y in 0..mask.height {
        for x in (0..mask.width).filter(|&x| mask.at(x, y)) {
            (left, top) = (left.min(x), top.min(y));
            (right, bottom) = (right.max(x + 1), bottom.max(y + 1));
        }
    }
    if left == usize::MAX {
        (left, top, right, bottom) = (0, 0, mask.width, mask.height);
    }
    // Whole blocks keep the crop on the grid of the original, so that the fields stay the same.
    let (x0, y0) = (left.saturating_sub(MARGIN_BLOCKS) * BLOCK, top.saturating_sub(MARGIN_BLOCKS) * BLOCK);
    let x1 = ((right + MARGIN_BLOCKS) * BLOCK).min(plane.width);
    let y1 = ((bottom + MARGIN_BLOCKS) * BLOCK).min(plane.height);
    let pixels: Vec<u8> = (y0..y1).flat_map(|y| &plane.row(y)[x0..x1]).copied().collect();
    GreyImage::new((x1 - x0) as u32, (y1 - y0) as u32, WORKING_DPI, pixels).unwrap_or_else(|_| image.clone())
}
