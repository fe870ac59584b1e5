//! `ridgeline inspect`: what the engine sees in an image, or what a template holds.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use ridgeline_domain::Sensitive;
use ridgeline_fingerprint::formats::{MinutiaType, Record, View};
use ridgeline_fingerprint::{
    Classical, ENGINE, Extractor as _, GreyImage, Limits, Minutia, MinutiaKind, Template, decode, maps, normalise,
};
use ridgeline_report::{Canvas, draw_maps, draw_template};

use crate::args::InspectArgs;
use crate::{eval, output, template};

/// Views of a record that are drawn; the table has all.
const VIEWS_DRAWN: usize = 8;
/// Between pictures, and its colour.
const GAP: u32 = 12;
const GROUND: [u8; 3] = [236, 239, 243];

/// Says the table and writes the picture. An image without a template has both, and exit code 1.
///
/// # Errors
/// If the file is neither an image nor a template, or the picture cannot be written.
pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let bytes = template::read(&args.file)?;
    let context = || format!("cannot inspect {}", args.file.display());
    let seen = inspected(&bytes, args.dpi).with_context(context)?;
    output::line(&format!("{:<12} {}", "file", args.file.display()));
    for (name, value) in &seen.lines {
        output::line(&format!("{name:<12} {value}"));
    }
    if let Some(path) = &args.out {
        draw(path, &seen.pictures)?;
        output::line(&format!("{:<12} {} ({}); it shows biometric data", "picture", path.display(), seen.shows));
    }
    Ok(if seen.is_usable { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn draw(path: &Path, pictures: &[Canvas]) -> anyhow::Result<()> {
    let png = Sensitive::new(Canvas::beside(pictures, GAP, GROUND).png()?);
    eval::write(path, png.expose())
}

/// What is said and shown of a file.
struct Seen {
    lines: Vec<(&'static str, String)>,
    pictures: Vec<Canvas>,
    shows: &'static str,
    is_usable: bool,
}

fn inspected(bytes: &Sensitive<Vec<u8>>, dpi: Option<u16>) -> anyhow::Result<Seen> {
    let bytes = bytes.expose();
    if bytes.starts_with(b"RM") {
        return Ok(of_template(&Template::from_bytes(bytes)?, bytes.len()));
    }
    if bytes.starts_with(b"FMR") {
        return of_record(&Record::decode(bytes, None)?);
    }
    of_image(&decode(bytes, None, dpi, &Limits::default())?)
}

fn of_image(image: &GreyImage) -> anyhow::Result<Seen> {
    let sample = normalise(image);
    let maps = maps(&sample)?;
    let found = Classical.extract(&sample);
    let size = |image: &GreyImage| format!("{} x {} pixels at {} dpi", image.width(), image.height(), image.dpi());
    let mut lines = vec![
        ("kind", "image".to_owned()),
        ("size", size(image)),
        ("compared as", size(&sample)),
        ("extractor", ENGINE.to_string()),
        (
            "ridges",
            format!("{:.0} % of the area, mean clarity {:.2}", 100.0 * maps.foreground_share(), maps.mean_clarity()),
        ),
    ];
    let minutiae: &[Minutia] = match &found {
        Ok(found) => {
            lines.push(("quality", found.quality.value().to_string()));
            lines.push(("minutiae", counted(found.template.minutiae())));
            lines.push(("template", format!("{} bytes", found.template.to_bytes().len())));
            found.template.minutiae()
        }
        Err(error) => {
            lines.push(("template", format!("none: {error}")));
            &[]
        }
    };
    let shows = "minutiae: endings red, bifurcations blue; orientation; clarity: orange low, blue high";
    Ok(Seen { lines, pictures: vec![draw_maps(&maps, minutiae)], shows, is_usable: found.is_ok() })
}

fn of_template(template: &Template, length: usize) -> Seen {
    let lines = vec![
        ("kind", "template".to_owned()),
        ("size", format!("{} x {} pixels at 500 dpi", template.width(), template.height())),
        ("extractor", template.engine().to_string()),
        ("quality", template.quality().value().to_string()),
        ("minutiae", counted(template.minutiae())),
        ("template", format!("{length} bytes")),
    ];
    let picture = draw_template(template.width(), template.height(), template.minutiae());
    Seen { lines, pictures: vec![picture], shows: "endings red, bifurcations blue", is_usable: true }
}

fn of_record(record: &Record) -> anyhow::Result<Seen> {
    let mut lines = vec![("kind", record.format.to_string()), ("views", record.views.len().to_string())];
    let mut pictures = Vec::new();
    for view in &record.views {
        lines.push(("view", described(view)));
        match view.to_template(record.format) {
            Ok(template) if pictures.len() < VIEWS_DRAWN => {
                pictures.push(draw_template(template.width(), template.height(), template.minutiae()));
            }
            Ok(_) => {}
            Err(error) => lines.push(("", format!("not comparable: {error}"))),
        }
    }
    let is_usable = !pictures.is_empty();
    if record.views.len() > VIEWS_DRAWN {
        lines.push(("", format!("a picture shows the first {VIEWS_DRAWN} comparable views")));
    }
    Ok(Seen { lines, pictures, shows: "each view: endings red, bifurcations blue", is_usable })
}

fn described(view: &View) -> String {
    let of_kind = |kind| view.minutiae.iter().filter(|minutia| minutia.kind == kind).count();
    let quality = view.quality().map_or_else(|| "not reported".to_owned(), |quality| quality.to_string());
    format!(
        "{} of finger {}: {} x {} pixels at {} x {} per cm, quality {quality}, {} minutiae ({} endings, {} bifurcations, \
         {} other)",
        view.number,
        view.position,
        view.width,
        view.height,
        view.resolution_x,
        view.resolution_y,
        view.minutiae.len(),
        of_kind(MinutiaType::Ending),
        of_kind(MinutiaType::Bifurcation),
        of_kind(MinutiaType::Other),
    )
}

fn counted(minutiae: &[Minutia]) -> String {
    let endings = minutiae.iter().filter(|minutia| minutia.kind == MinutiaKind::Ending).count();
    format!("{} ({endings} endings, {} bifurcations)", minutiae.len(), minutiae.len() - endings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ridgeline_fingerprint::Quality;
    use ridgeline_fingerprint::formats::RecordFormat;
    use std::os::unix::fs::PermissionsExt as _;

    fn template() -> Template {
        let kind = |i: u8| if i.is_multiple_of(2) { MinutiaKind::Ending } else { MinutiaKind::Bifurcation };
        let minutia = |i: u8| Minutia { x: 10 * u16::from(i), y: 50, direction: i, kind: kind(i), quality: 60 };
        Template::new(ENGINE, 200, 100, Quality::new(71), (1..9).map(minutia).collect()).unwrap()
    }

    fn seen(bytes: Vec<u8>) -> anyhow::Result<Seen> {
        inspected(&Sensitive::new(bytes), None)
    }

    fn line<'a>(seen: &'a Seen, name: &str) -> &'a str {
        seen.lines.iter().find(|line| line.0 == name).map(|line| line.1.as_str()).unwrap()
    }

    #[test]
    fn an_image_is_described_and_drawn_for_its_owner_once() {
        let dir = tempfile::tempdir().unwrap();
        let drawn = ridgeline_synth::finger(ridgeline_synth::Seed(1), 0).impression(0, &Default::default());
        let file = dir.path().join("1_1.png");
        std::fs::write(&file, crate::synth::png(&drawn).unwrap()).unwrap();
        let out = dir.path().join("seen.png");
        let args = InspectArgs { file, dpi: None, out: Some(out.clone()) };
        assert_eq!(run(&args).unwrap(), ExitCode::SUCCESS);
        assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(std::fs::read(&out).unwrap().starts_with(b"\x89PNG"));
        assert!(run(&args).is_err(), "an existing picture is not replaced");
        let seen = seen(std::fs::read(&args.file).unwrap()).unwrap();
        assert!(line(&seen, "extractor").starts_with("ridgeline-classical/"));
        assert!(line(&seen, "minutiae").contains(" endings, "));
    }

    #[test]
    fn an_image_without_a_finger_has_a_picture_and_says_so() {
        let black = GreyImage::new(120, 120, 500, vec![0; 120 * 120]).unwrap();
        let seen = seen(ridgeline_fingerprint::encode_png(&black)).unwrap();
        assert!(!seen.is_usable && line(&seen, "template").starts_with("none: "));
        assert_eq!(seen.pictures.len(), 1);
    }

    #[test]
    fn templates_and_records_are_described_view_by_view() {
        let own = seen(template().to_bytes()).unwrap();
        assert_eq!(line(&own, "extractor"), ENGINE.to_string());
        assert_eq!((line(&own, "minutiae"), line(&own, "quality")), ("8 (4 endings, 4 bifurcations)", "71"));
        assert_eq!((own.pictures[0].width(), own.pictures[0].height()), (400, 200));
        for format in RecordFormat::ALL {
            let record = Record::of_template(format, &template(), 3).unwrap();
            let foreign = seen(record.encode().unwrap()).unwrap();
            assert_eq!((line(&foreign, "kind"), foreign.pictures.len()), (format.to_string().as_str(), 1));
            assert!(line(&foreign, "view").contains("finger 3") && line(&foreign, "view").contains("4 endings"));
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let template = template().to_bytes();
        let record = Record::of_template(RecordFormat::Iso2011, &Template::from_bytes(&template).unwrap(), 3).unwrap();
        let record = record.encode().unwrap();
        for length in 0..template.len() {
            assert!(seen(template[..length].to_vec()).is_err(), "{length}");
        }
        for length in 0..record.len() {
            assert!(seen(record[..length].to_vec()).is_err(), "{length}");
        }
        assert!(seen(b"no image at all".to_vec()).is_err());
    }
}
