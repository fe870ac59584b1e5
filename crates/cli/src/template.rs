//! `ridgeline template`: minutiae as records that other systems read, and several impressions as one template.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use ridgeline_domain::{Position, Sensitive};
use ridgeline_fingerprint::formats::{Record, RecordFormat};
use ridgeline_fingerprint::{Classical, Extractor as _, Limits, Template, decode, merge};

use crate::args::{ConvertArgs, MergeArgs, TemplateCommand};
use crate::{eval, output};

/// No file that can be converted is larger.
const FILE_BYTES_MAX: u64 = 10 << 20;

/// Runs a subcommand.
///
/// # Errors
/// If the file cannot be read or written, or holds no minutiae.
pub(crate) fn run(command: &TemplateCommand) -> anyhow::Result<ExitCode> {
    match command {
        TemplateCommand::Convert(args) => convert(args)?,
        TemplateCommand::Merge(args) => merge_files(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn convert(args: &ConvertArgs) -> anyhow::Result<()> {
    let record = converted(args)?;
    let bytes = Sensitive::new(record.encode()?);
    std::fs::write(&args.out, bytes.expose()).with_context(|| format!("cannot write {}", args.out.display()))?;
    let minutiae: usize = record.views.iter().map(|view| view.minutiae.len()).sum();
    let views = record.views.len();
    output::line(&format!("{}: {views} views, {minutiae} minutiae in {}", record.format, args.out.display()));
    Ok(())
}

/// Every impression has to agree with the best one; a foreign finger among them is an error.
fn merge_files(args: &MergeArgs) -> anyhow::Result<()> {
    let (mut impressions, mut files) = (Vec::new(), Vec::new());
    for file in &args.files {
        let found = impressions_of(file, args.dpi).with_context(|| format!("cannot use {}", file.display()))?;
        files.resize(files.len() + found.len(), file);
        impressions.extend(found);
    }
    let merged = merge(&impressions)?;
    if let Some((_, file)) = files.iter().enumerate().find(|(index, _)| !merged.used.contains(index)) {
        bail!("{} does not show the finger that the other impressions show", file.display());
    }
    eval::write(&args.out, Sensitive::new(merged.template.to_bytes()).expose())?;
    let (count, minutiae) = (impressions.len(), merged.template.minutiae().len());
    output::line(&format!("{count} impressions, {minutiae} minutiae in {}", args.out.display()));
    Ok(())
}

/// The impressions in a file: one of an image or a template, each view of a record.
fn impressions_of(file: &Path, dpi: Option<u16>) -> anyhow::Result<Vec<Template>> {
    let bytes = read(file)?;
    let bytes = bytes.expose();
    if bytes.starts_with(b"RM") {
        return Ok(vec![Template::from_bytes(bytes)?]);
    }
    if bytes.starts_with(b"FMR") {
        let record = Record::decode(bytes, None)?;
        return Ok(record.views.iter().map(|view| view.to_template(record.format)).collect::<Result<_, _>>()?);
    }
    let image = decode(bytes, None, dpi, &Limits::default())?;
    Ok(vec![Classical.extract(&image)?.template])
}

fn converted(args: &ConvertArgs) -> anyhow::Result<Record> {
    let bytes = read(&args.file)?;
    let bytes = bytes.expose();
    let to = RecordFormat::from(args.to);
    let context = || format!("cannot convert {}", args.file.display());
    if bytes.starts_with(b"RM") {
        let template = Template::from_bytes(bytes).with_context(context)?;
        return Ok(Record::of_template(to, &template, args.position.iso_code())?);
    }
    if bytes.starts_with(b"FMR") {
        let mut record = Record::decode(bytes, None).with_context(context)?.converted(to).with_context(context)?;
        for view in record.views.iter_mut().filter(|view| view.position == Position::Unknown.iso_code()) {
            view.position = args.position.iso_code();
        }
        return Ok(record);
    }
    let image = decode(bytes, None, args.dpi, &Limits::default()).with_context(context)?;
    let extraction = Classical.extract(&image).with_context(context)?;
    Ok(Record::of_template(to, &extraction.template, args.position.iso_code())?)
}

/// The bytes of a small file.
///
/// # Errors
/// If it cannot be read or is too large for an image or a template.
pub(crate) fn read(path: &Path) -> anyhow::Result<Sensitive<Vec<u8>>> {
    let context = || format!("cannot read {}", path.display());
    if std::fs::metadata(path).with_context(context)?.len() > FILE_BYTES_MAX {
        bail!("{} is larger than {FILE_BYTES_MAX} bytes", path.display());
    }
    Ok(Sensitive::new(std::fs::read(path).with_context(context)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use ridgeline_fingerprint::{ENGINE, Minutia, MinutiaKind, Quality};

    #[test]
    fn templates_and_records_become_records() {
        let dir = tempfile::tempdir().unwrap();
        let minutia =
            |i: u8| Minutia { x: 10 * u16::from(i), y: 50, direction: i, kind: MinutiaKind::Ending, quality: 60 };
        let template = Template::new(ENGINE, 200, 100, Quality::new(71), (1..9).map(minutia).collect()).unwrap();
        let first = dir.path().join("a.template");
        std::fs::write(&first, template.to_bytes()).unwrap();
        let convert = |from: &Path, to: &str, position: Position| {
            let out = dir.path().join(format!("{to}.fmr"));
            let to = ValueEnum::from_str(to, false).unwrap();
            let args = ConvertArgs { file: from.to_owned(), to, out: out.clone(), position, dpi: None };
            run(&TemplateCommand::Convert(args)).map(|_| out)
        };
        let iso = convert(&first, "iso2005", Position::Unknown).unwrap();
        let ansi = convert(&iso, "ansi2009am1", Position::LeftThumb).unwrap();
        let record = Record::decode(&std::fs::read(ansi).unwrap(), None).unwrap();
        assert_eq!((record.format, record.views[0].position), (RecordFormat::Ansi2009Am1, 6));
        let back = record.views[0].to_template(record.format).unwrap();
        assert_eq!((back.minutiae().len(), back.quality()), (8, template.quality()));
        std::fs::write(&first, b"RM and nothing else").unwrap();
        assert!(convert(&first, "iso2011", Position::Unknown).is_err());
        assert!(convert(&dir.path().join("missing"), "iso2011", Position::Unknown).is_err());
    }

    #[test]
    fn impressions_of_one_finger_become_one_template_and_a_foreign_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let impression = |name: &str, finger: u32, number: u32| {
            let (width, height) = ridgeline_synth::template_size();
            let found = ridgeline_synth::template_minutiae(ridgeline_synth::Seed(5), finger, number);
            let minutia = |m: &ridgeline_synth::SynthMinutia| Minutia {
                x: m.x,
                y: m.y,
                direction: m.direction,
                kind: MinutiaKind::Ending,
                quality: 60,
            };
            let minutiae = found.iter().map(minutia).collect();
            let template = Template::new(ENGINE, width, height, Quality::new(60), minutiae).unwrap();
            std::fs::write(dir.path().join(name), template.to_bytes()).unwrap();
            template.minutiae().len()
        };
        let most = (0..3).map(|number| impression(&format!("{number}"), 1, number)).max().unwrap();
        impression("other", 2, 0);
        std::fs::write(dir.path().join("torn"), b"RM and nothing else").unwrap();
        let merge = |names: &[&str], out: &str| {
            let files = names.iter().map(|name| dir.path().join(name)).collect();
            run(&TemplateCommand::Merge(MergeArgs { files, out: dir.path().join(out), dpi: None }))
        };
        merge(&["0", "1", "2"], "merged").unwrap();
        let merged = Template::from_bytes(&std::fs::read(dir.path().join("merged")).unwrap()).unwrap();
        assert!(merged.minutiae().len() > most, "{} of {most}", merged.minutiae().len());
        assert!(merge(&["0", "1"], "merged").is_err(), "an existing file is not replaced");
        let refused = merge(&["0", "1", "other"], "none").unwrap_err().to_string();
        assert!(refused.ends_with("other does not show the finger that the other impressions show"), "{refused}");
        assert!(merge(&["0", "torn"], "none").is_err() && merge(&["0", "missing"], "none").is_err());
        assert!(!dir.path().join("none").exists());
    }
}
