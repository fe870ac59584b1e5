//! `ridgeline template`: minutiae as records that other systems read.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use ridgeline_domain::{Position, Sensitive};
use ridgeline_fingerprint::formats::{Record, RecordFormat};
use ridgeline_fingerprint::{Classical, Extractor as _, Limits, Template, decode};

use crate::args::{ConvertArgs, TemplateCommand};
use crate::output;

/// No file that can be converted is larger.
const FILE_BYTES_MAX: u64 = 10 << 20;

/// Runs a subcommand.
///
/// # Errors
/// If the file cannot be read or written, or holds no minutiae.
pub(crate) fn run(command: &TemplateCommand) -> anyhow::Result<ExitCode> {
    let TemplateCommand::Convert(args) = command;
    let record = converted(args)?;
    let bytes = Sensitive::new(record.encode()?);
    std::fs::write(&args.out, bytes.expose()).with_context(|| format!("cannot write {}", args.out.display()))?;
    let minutiae: usize = record.views.iter().map(|view| view.minutiae.len()).sum();
    let views = record.views.len();
    output::line(&format!("{}: {views} views, {minutiae} minutiae in {}", record.format, args.out.display()));
    Ok(ExitCode::SUCCESS)
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
}
