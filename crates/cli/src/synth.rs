//! `ridgeline synth`: synthetic fingerprints as files.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use ridgeline_fingerprint::{ENGINE, GreyImage, Minutia, MinutiaKind, Quality, Template, encode_png};
use ridgeline_synth::{Image, ImpressionOptions, Seed, SynthKind, finger, template_minutiae, template_size};

use crate::args::SynthArgs;
use crate::{output, work};

/// What a template made without an image claims: that of a good impression.
const TEMPLATE_QUALITY: u8 = 80;

/// Writes the files; equal arguments write equal bytes.
///
/// # Errors
/// If the folder cannot be written.
pub(crate) fn run(args: &SynthArgs) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let bar = work::bar(u64::from(args.fingers) * u64::from(args.impressions), "impressions");
    work::parallel(work::threads(args.threads), args.fingers as usize, |index| {
        let index = u32::try_from(index)?;
        // The ridge pattern is the costly part: made once for all impressions of a finger, and not at all for templates.
        let ridges = (!args.templates).then(|| finger(Seed(args.seed), index));
        for number in 0..args.impressions {
            let (ending, bytes) = match &ridges {
                Some(finger) => ("png", png(&finger.impression(number, &ImpressionOptions::default()))?),
                None => ("template", template(Seed(args.seed), index, number)?),
            };
            write(&args.out.join(format!("{}_{}.{ending}", index + 1, number + 1)), &bytes)?;
            bar.inc(1);
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    let what = if args.templates { "templates" } else { "impressions" };
    let count = u64::from(args.fingers) * u64::from(args.impressions);
    output::line(&format!("{count} {what} of {} fingers in {}", args.fingers, args.out.display()));
    Ok(ExitCode::SUCCESS)
}

/// A synthetic image as a PNG file that carries its resolution.
///
/// # Errors
/// If the image is outside the engine's limits, which none is.
pub(crate) fn png(image: &Image) -> anyhow::Result<Vec<u8>> {
    Ok(encode_png(&GreyImage::new(image.width, image.height, image.dpi, image.pixels.clone())?))
}

fn template(seed: Seed, index: u32, number: u32) -> anyhow::Result<Vec<u8>> {
    let (width, height) = template_size();
    let minutiae = template_minutiae(seed, index, number).into_iter().map(|minutia| Minutia {
        x: minutia.x,
        y: minutia.y,
        direction: minutia.direction,
        kind: match minutia.kind {
            SynthKind::Ending => MinutiaKind::Ending,
            SynthKind::Bifurcation => MinutiaKind::Bifurcation,
        },
        quality: TEMPLATE_QUALITY,
    });
    let quality = Quality::new(TEMPLATE_QUALITY);
    Ok(Template::new(ENGINE, width, height, quality, minutiae.collect())?.to_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_readable_and_repeat_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let args = SynthArgs {
            fingers: 3,
            impressions: 2,
            out: dir.path().join("new"),
            seed: 7,
            templates: true,
            threads: Some(2),
        };
        run(&args).unwrap();
        let read = |name: &str| std::fs::read(args.out.join(name)).unwrap();
        let first = read("1_1.template");
        assert!(Template::from_bytes(&first).unwrap().minutiae().len() >= 20);
        assert_ne!(first, read("2_1.template"));
        assert_eq!(std::fs::read_dir(&args.out).unwrap().count(), 6);
        run(&args).unwrap();
        assert_eq!(first, read("1_1.template"));
    }
}
