//! What the extractor sees on its way to a template, for people to look at.

use std::fmt;

use zeroize::Zeroize;

use crate::extract::{ExtractError, Impression, WORKING_DPI, at_working_resolution};
use crate::image::GreyImage;
use crate::matcher::{Candidate, Matcher, Probe};
use crate::plane::BLOCK;
use crate::template::Template;

/// One block of an image.
#[derive(Clone, Copy)]
pub struct Block {
    /// Angle of the ridges in radians on the image's axes (y down), modulo π.
    pub orientation: f32,
    /// Share of the gradients that agree on the orientation, 0 to 1.
    pub coherence: f32,
    /// How clear the ridges are, 0 to 1.
    pub clarity: f32,
    /// Whether the block shows ridges.
    pub foreground: bool,
}

/// The fields of an image, block by block. Biometric data: wiped on drop and never printed.
pub struct Maps {
    image: GreyImage,
    columns: usize,
    blocks: Vec<Block>,
}

/// The fields that the extractor computes for an image.
///
/// # Errors
/// [`ExtractError::TooSmall`] and [`ExtractError::TooLarge`], as the extractor. An image without a finger has maps too.
pub fn maps(image: &GreyImage) -> Result<Maps, ExtractError> {
    let plane = at_working_resolution(image)?;
    let (seen, _) = Impression::of(&plane, 0, &mut |_| ()).ok_or(ExtractError::NotAFingerprint)?;
    let Impression { fields, clarity, .. } = &seen;
    let (columns, rows) = (fields.foreground.width, fields.foreground.height);
    let block = |(column, row): (usize, usize)| Block {
        orientation: libm::atan2f(fields.sin2.at(column, row), fields.cos2.at(column, row)) / 2.0,
        coherence: fields.coherence.at(column, row).clamp(0.0, 1.0),
        clarity: clarity.at(column, row).clamp(0.0, 1.0),
        foreground: fields.foreground.at(column, row),
    };
    let blocks = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row))).map(block).collect();
    let (width, height) = (plane.width as u32, plane.height as u32);
    let image = GreyImage::new(width, height, WORKING_DPI, plane.data).map_err(|_| ExtractError::TooSmall)?;
    Ok(Maps { image, columns, blocks })
}

impl Maps {
    /// Side of a block in pixels at 500 dpi; the last of a row or column may be cut.
    pub const BLOCK_PIXELS: usize = BLOCK;

    /// The image at 500 dpi, on which minutiae and blocks lie.
    pub fn image(&self) -> &GreyImage {
        &self.image
    }

    /// The blocks, row by row.
    pub fn rows(&self) -> impl Iterator<Item = &[Block]> {
        self.blocks.chunks(self.columns.max(1))
    }

    /// Share of the blocks that show ridges, 0 to 1.
    pub fn foreground_share(&self) -> f32 {
        let shown = self.blocks.iter().filter(|block| block.foreground).count();
        shown as f32 / self.blocks.len().max(1) as f32
    }

    /// Mean clarity of the blocks that show ridges; 0 without any.
    pub fn mean_clarity(&self) -> f32 {
        let shown: Vec<f32> = self.blocks.iter().filter(|block| block.foreground).map(|block| block.clarity).collect();
        shown.iter().sum::<f32>() / shown.len().max(1) as f32
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Block")
    }
}

impl fmt::Debug for Maps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Maps({} blocks)", self.blocks.len())
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        for block in &mut self.blocks {
            block.orientation.zeroize();
            block.coherence.zeroize();
            block.clarity.zeroize();
            block.foreground.zeroize();
        }
    }
}

/// A position in pixels at 500 dpi.
pub type Position = (f32, f32);

/// Where the minutiae lie that a comparison pairs, on the probe and on the candidate; empty when it pairs none.
pub fn paired(probe: &Template, candidate: &Template) -> Vec<(Position, Position)> {
    let (probe, candidate) = (Probe::new(probe), Candidate::new(candidate));
    let found = Matcher::new().alignment(&probe, &candidate);
    let pairs = found.map_or_else(Vec::new, |found| found.pairs);
    pairs.iter().map(|pair| (probe.0.at(pair.a), candidate.0.at(pair.b))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::{Classical, Extractor as _};
    use crate::selfcheck::dummy;

    #[test]
    fn maps_cover_the_image_and_know_the_finger() {
        let image = dummy(1);
        let maps = maps(&image).unwrap();
        let (columns, rows) = (image.width().div_ceil(8) as usize, image.height().div_ceil(8) as usize);
        assert_eq!((maps.rows().count(), maps.rows().map(<[Block]>::len).sum::<usize>()), (rows, rows * columns));
        assert!(maps.foreground_share() > 0.2 && maps.mean_clarity() > 0.4);
        let unit = 0.0..=1.0_f32;
        for block in maps.rows().flatten() {
            assert!(unit.contains(&block.coherence) && unit.contains(&block.clarity) && block.orientation.is_finite());
        }
        assert_eq!(format!("{:?}", maps.rows().next().unwrap()[0]), "Block");
        assert_eq!(format!("{maps:?}"), format!("Maps({} blocks)", rows * columns));
    }

    #[test]
    fn images_without_a_finger_have_maps_and_small_ones_none() {
        let black = maps(&GreyImage::new(100, 90, 500, vec![0; 9000]).unwrap()).unwrap();
        assert_eq!((black.foreground_share(), black.mean_clarity()), (0.0, 0.0));
        let fine = maps(&GreyImage::new(100, 90, 1000, vec![9; 9000]).unwrap()).unwrap();
        assert_eq!((fine.image().width(), fine.image().height(), fine.image().dpi()), (50, 45, 500));
        let small = GreyImage::new(16, 16, 500, vec![0; 256]).unwrap();
        assert_eq!(maps(&small).unwrap_err(), ExtractError::TooSmall);
    }

    #[test]
    fn a_template_is_paired_with_itself_in_place() {
        let template = Classical.extract(&dummy(1)).unwrap().template;
        let pairs = paired(&template, &template);
        assert!(pairs.len() >= template.minutiae().len().min(96) / 2);
        assert!(pairs.iter().all(|(a, b)| (a.0 - b.0).hypot(a.1 - b.1) < 3.0));
        let empty = Template::new(template.engine().clone(), 100, 100, template.quality(), Vec::new()).unwrap();
        assert!(paired(&template, &empty).is_empty() && paired(&empty, &empty).is_empty());
    }
}
