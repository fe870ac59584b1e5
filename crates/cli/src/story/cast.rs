//! Whose fingers appear: synthetic ones, or those of a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use ridgeline_domain::{Sensitive, SubjectId};
use ridgeline_synth::{ImpressionOptions, NonFinger, Seed, finger, not_a_fingerprint};

use crate::eval;
use crate::synth::png;

/// Impressions of each synthetic finger.
const IMPRESSIONS: u32 = 4;
/// Impressions that enrol a finger.
pub(super) const ENROLLED_FROM: usize = 2;
/// The unknown finger has this number whatever the size of the cast, so that no earlier demo enrolled it.
const STRANGER: u32 = 1_000_000;
/// The finger of the examples to copy and paste.
const VISITOR: u32 = 2_000_000;

/// An image with its name for people.
#[derive(Clone)]
pub(crate) struct Picture {
    pub(crate) name: String,
    /// `png`, `jpeg`, …
    pub(crate) format: &'static str,
    pub(crate) bytes: Sensitive<Vec<u8>>,
    pub(crate) dpi: Option<u16>,
}

/// A finger with its impressions.
#[derive(Clone)]
pub(crate) struct Finger {
    pub(crate) subject: SubjectId,
    pub(crate) pictures: Vec<Picture>,
}

/// Where fingers come from. Each is made when its turn comes.
pub(crate) enum Cast {
    /// Made up.
    Synthetic {
        /// How many, the unknown one included.
        fingers: u32,
        /// What they derive from.
        seed: u64,
    },
    /// Read from files: the paths of each finger's impressions, in order.
    Files {
        /// By number.
        fingers: Vec<(u32, Vec<PathBuf>)>,
        /// Resolution, unless the files carry it.
        dpi: Option<u16>,
    },
}

impl Cast {
    /// The fingers of a folder.
    ///
    /// # Errors
    /// If the folder holds fewer than two fingers with three impressions each.
    pub(crate) fn of_folder(folder: &Path, dpi: Option<u16>) -> anyhow::Result<Self> {
        let mut fingers: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
        for (id, path) in eval::images(folder)? {
            fingers.entry(id.finger).or_default().push(path);
        }
        if fingers.len() < 2 || fingers.values().any(|paths| paths.len() <= ENROLLED_FROM) {
            bail!("the story needs at least two fingers with three impressions each");
        }
        Ok(Self::Files { fingers: fingers.into_iter().collect(), dpi })
    }

    /// How many fingers, the unknown one included.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Synthetic { fingers, .. } => *fingers as usize,
            Self::Files { fingers, .. } => fingers.len(),
        }
    }

    /// Whether the fingers are made up.
    pub(crate) const fn is_synthetic(&self) -> bool {
        matches!(self, Self::Synthetic { .. })
    }

    /// Makes or reads a finger. Takes some tenths of a CPU second.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn finger(&self, index: usize) -> anyhow::Result<Finger> {
        match self {
            Self::Synthetic { fingers, seed } => {
                let index = u32::try_from(index)?;
                let last = index + 1 == *fingers;
                synthetic(Seed(*seed), if last { STRANGER } else { index }, index + 1)
            }
            Self::Files { fingers, dpi } => {
                let (number, paths) = fingers.get(index).context("a finger of the folder")?;
                let pictures = paths.iter().map(|path| read(path, *dpi)).collect::<Result<_, _>>()?;
                Ok(Finger { subject: number.to_string().parse()?, pictures })
            }
        }
    }

    /// An image that shows no finger.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn no_finger(&self) -> anyhow::Result<Picture> {
        let bytes = png(&not_a_fingerprint(Seed(1), NonFinger::Text))?;
        Ok(Picture { name: "no-finger".to_owned(), format: "png", bytes: Sensitive::new(bytes), dpi: Some(500) })
    }
}

fn synthetic(seed: Seed, index: u32, number: u32) -> anyhow::Result<Finger> {
    let ridges = finger(seed, index);
    let picture = |impression: u32| {
        let bytes = png(&ridges.impression(impression, &ImpressionOptions::default()))?;
        let name = format!("{number}_{}", impression + 1);
        Ok(Picture { name, format: "png", bytes: Sensitive::new(bytes), dpi: Some(500) })
    };
    let pictures = (0..IMPRESSIONS).map(picture).collect::<anyhow::Result<_>>()?;
    Ok(Finger { subject: format!("finger-{number}").parse()?, pictures })
}

fn read(path: &Path, dpi: Option<u16>) -> anyhow::Result<Picture> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    let format = match ending.as_str() {
        "png" => "png",
        "jpg" | "jpeg" => "jpeg",
        "bmp" => "bmp",
        "tif" | "tiff" => "tiff",
        "pgm" => "pgm",
        _ => bail!("{} is no image that the service reads", path.display()),
    };
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Picture { name, format, bytes: Sensitive::new(bytes), dpi })
}

/// Writes images of one more finger for people to try: two to enrol, one to verify, one to identify.
///
/// # Errors
/// If the folder cannot be written.
pub(crate) fn write_examples(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let visitor = synthetic(Seed(1), VISITOR, 1)?;
    for (name, picture) in ["enrol-1", "enrol-2", "verify", "identify"].iter().zip(&visitor.pictures) {
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, picture.bytes.expose()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_needs_enough_impressions() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["1_1", "1_2", "1_3", "2_1", "2_2"] {
            std::fs::write(dir.path().join(format!("{name}.png")), "x").unwrap();
        }
        assert!(Cast::of_folder(dir.path(), None).is_err());
        std::fs::write(dir.path().join("2_3.png"), "x").unwrap();
        let cast = Cast::of_folder(dir.path(), Some(500)).unwrap();
        let finger = cast.finger(1).unwrap();
        assert_eq!((cast.len(), finger.subject.as_str(), finger.pictures.len()), (2, "2", 3));
        assert_eq!((finger.pictures[2].name.as_str(), finger.pictures[2].dpi), ("2_3", Some(500)));
    }
}
