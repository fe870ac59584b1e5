//! `ridgeline template`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use ridgeline_domain::Position;
use ridgeline_fingerprint::formats::RecordFormat;

/// What to do with a template in a file.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TemplateCommand {
    /// Write an image's minutiae, a template or a minutiae record as a minutiae record of a standard
    Convert(ConvertArgs),
    /// Join several impressions of one finger into one template
    Merge(MergeArgs),
}

/// Options of `template merge`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct MergeArgs {
    /// Images, templates or minutiae records, all of one finger
    #[arg(required = true, num_args = 2..=10, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where to write the template. It is biometric data, and only its owner can read it; an existing file is not
    /// replaced
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Resolution of images that do not carry it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(250..=1200))]
    pub(crate) dpi: Option<u16>,
}

/// Options of `template convert`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ConvertArgs {
    /// An image, a template that `synth --templates` wrote, or a record of ISO/IEC 19794-2 or ANSI INCITS 378
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The standard and its edition
    #[arg(long, value_name = "FORMAT")]
    pub(crate) to: TemplateFormat,
    /// Where to write the record
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Which finger, where the file does not say
    #[arg(long, default_value = "unknown")]
    pub(crate) position: Position,
    /// Resolution, unless the image carries it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(250..=1200))]
    pub(crate) dpi: Option<u16>,
}

/// Formats that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum TemplateFormat {
    /// ISO/IEC 19794-2:2005
    Iso2005,
    /// ISO/IEC 19794-2:2011
    Iso2011,
    /// ANSI INCITS 378-2004
    Ansi2004,
    /// ANSI INCITS 378-2009
    Ansi2009,
    /// ANSI INCITS 378-2009, amendment 1
    Ansi2009Am1,
}

impl From<TemplateFormat> for RecordFormat {
    fn from(format: TemplateFormat) -> Self {
        match format {
            TemplateFormat::Iso2005 => Self::Iso2005,
            TemplateFormat::Iso2011 => Self::Iso2011,
            TemplateFormat::Ansi2004 => Self::Ansi2004,
            TemplateFormat::Ansi2009 => Self::Ansi2009,
            TemplateFormat::Ansi2009Am1 => Self::Ansi2009Am1,
        }
    }
}
