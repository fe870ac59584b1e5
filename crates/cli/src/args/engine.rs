//! Options of the tools that look at the fingerprint engine itself.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// Options of `eval`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct EvalArgs {
    /// Images named `<finger>_<impression>.<ext>`, or a folder of such images for each set
    #[arg(long, value_name = "DIR")]
    pub(crate) scans: PathBuf,
    /// Resolution of images that do not carry it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(250..=1200))]
    pub(crate) dpi: Option<u16>,
    /// Folders to take as sets [default: all]; for images without folders, the name of their set
    #[arg(long, value_name = "NAME")]
    pub(crate) set: Vec<String>,
    /// Where to write report.html and the ours.*.csv files; those of an earlier run are not replaced. The report shows
    /// impressions and minutiae: it is biometric data, and only its owner can read it
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// A run to lay beside this one in the report: its folder, or its .scores.csv where a folder holds several
    #[arg(long, value_name = "DIR")]
    pub(crate) compare: Option<PathBuf>,
    /// Extractions of each image; the median CPU time counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) passes: usize,
    /// Threads that extract and compare [default: one for each processor]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

/// Options of `inspect`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct InspectArgs {
    /// An image, a template that `synth --templates` wrote, or a record of ISO/IEC 19794-2 or ANSI INCITS 378
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Resolution, unless the image carries it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(250..=1200))]
    pub(crate) dpi: Option<u16>,
    /// Where to write a picture: minutiae, orientation and clarity of an image, or a template's minutiae on a blank
    /// ground. It is biometric data, and only its owner can read it; an existing file is not replaced
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: Option<PathBuf>,
}
