//! The page as a whole.

use std::fmt::Write as _;

use ridgeline_evaluation::{Costs, Run};

use crate::ReportError;
use crate::charts::{self, Rejects};
use crate::figures::Table;
use crate::html::{escaped, framed};
use crate::plot::Line;
use crate::tables;
use crate::worst::{Shown, cards};

/// Shares of rejected pairs in the table.
const REJECTED: [f64; 5] = [0.0, 0.1, 0.2, 0.3, 0.4];

/// A run and what is known of it.
#[derive(Clone, Debug)]
pub struct Engine<'a> {
    /// How people call it.
    pub name: String,
    /// Its scores.
    pub run: &'a Run,
    /// Its costs and qualities.
    pub costs: &'a Costs,
    /// Its figures.
    pub table: &'a Table,
}

/// What a report shows.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The run.
    pub ours: Engine<'a>,
    /// The run that it is compared with.
    pub other: Option<Engine<'a>>,
    /// What has to be said before figures are read, as [`notes`](crate::notes) has it.
    pub notes: &'a [String],
    /// Impostor pairs of high score, worst first.
    pub false_matches: Vec<Shown>,
    /// Genuine pairs of low score, worst first.
    pub false_non_matches: Vec<Shown>,
}

/// The report as one HTML page that needs no other file. Equal reports make equal pages.
///
/// # Errors
/// [`ReportError::Chart`] if a chart cannot be drawn.
pub fn page(report: &Report<'_>) -> Result<String, ReportError> {
    let (ours, other) = (&report.ours, report.other.as_ref());
    let engines: Vec<&Engine<'_>> = std::iter::once(ours).chain(other).collect();
    let mut body = String::from(
        "<p class=\"warn\"><b>This page holds biometric data:</b> impressions of fingers, their minutiae, and which of them \
         are alike. Keep it as you keep the images, and do not pass it on.</p>\n",
    );
    let _ = writeln!(body, "<p>{}.</p>", escaped(&subject(report)));
    if !report.notes.is_empty() {
        let items: String = report.notes.iter().map(|note| format!("<li>{}</li>", escaped(note))).collect();
        let _ = writeln!(body, "<ul class=\"notes\">{items}</ul>");
    }
    body.push_str("<h2>Error rates</h2>\n");
    let parts: Vec<(&str, &Table)> = engines.iter().map(|engine| (engine.name.as_str(), engine.table)).collect();
    let differences = other.map_or_else(Vec::new, |other| ours.table.minus(ours.run, other.table, other.run));
    body.push_str(&tables::rates(&parts, &differences));
    body.push_str(TERMS);
    body.push_str("<h2>DET and ROC</h2>\n");
    body.push_str(&charts::curves(ours, other)?);
    body.push_str("<h2>Scores</h2>\n<p>Shares are on a scale of powers of ten, where tails can be seen.</p>\n");
    body.push_str(&charts::histograms(&engines)?);
    body.push_str("<h2>Quality: error versus reject</h2>\n");
    body.push_str(&reject_part(&engines)?);
    body.push_str("<h2>Costs</h2>\n<p>CPU time of one thread.</p>\n");
    body.push_str(&tables::costs(&engines));
    body.push_str(MARKS);
    body.push_str("<h2>Worst false matches</h2>\n<p>Different fingers that score highest.</p>\n");
    body.push_str(&cards(&report.false_matches, ours, other));
    body.push_str("<h2>Worst false non-matches</h2>\n<p>Impressions of one finger that score lowest.</p>\n");
    body.push_str(&cards(&report.false_non_matches, ours, other));
    Ok(framed("Fingerprint comparison: error rates", &body))
}

fn subject(report: &Report<'_>) -> String {
    let run = report.ours.run;
    let pairs: usize = run.sets.iter().map(|set| set.pairs.len()).sum();
    let sets = match run.sets.len() {
        1 => "one set".to_owned(),
        count => format!("{count} sets"),
    };
    let compared = report.other.as_ref().map_or_else(String::new, |other| format!(", beside {} (dashed)", other.name));
    format!("{}: {pairs} pairs of {sets}{compared}", report.ours.name)
}

fn reject_part(engines: &[&Engine<'_>]) -> Result<String, ReportError> {
    let mut curves: Vec<Rejects> = Vec::new();
    let mut lacking = Vec::new();
    for (engine, line) in engines.iter().zip([Line::Solid, Line::Dashed]) {
        if !charts::has_quality(engine.run, engine) {
            lacking.push(format!("<p>The files of {} tell no qualities.</p>\n", escaped(&engine.name)));
        }
        let name = |set: &str| if engines.len() > 1 { format!("{set} ({})", engine.name) } else { set.to_owned() };
        curves.extend(charts::rejects(engine, line, name));
    }
    let mut out = lacking.concat();
    if curves.is_empty() {
        out.push_str("<p>No set has qualities and at least 100 impostor pairs, so there are no curves.</p>\n");
        return Ok(out);
    }
    out.push_str(
        "<p>The threshold is that of the FMR over all pairs and stays where it is while pairs are rejected. Pairs of equal \
         quality go together.</p>\n",
    );
    out.push_str(&charts::reject_chart(&curves)?);
    out.push_str(&tables::rejects(&curves, &REJECTED));
    Ok(out)
}

const TERMS: &str = "<p><small>Genuine pairs are of one finger, impostor pairs of two. EER: where false match rate and false \
                     non-match rate are equal. FMR100, FMR1000, FMR10000: least false non-match rate with a false match rate \
                     of at most 1 %, 0.1 %, 0.01 %; ZeroFMR: with none; – where there are too few impostor pairs to show it. \
                     Small figures: 95 % intervals from 1 000 draws of the fingers of each set with replacement.</small></p>\n";

const MARKS: &str = "<h2>Reading the pictures below</h2>\n<p>Endings are red circles, bifurcations blue squares, with a line \
                     in their direction. Filled marks were paired by the matcher; faint ones found no partner. An impression \
                     appears once in each list, so that a single bad one does not fill it.</p>\n";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::notes::notes;
    use crate::worst::Side;
    use ridgeline_evaluation::Pair;
    use ridgeline_fingerprint::{Classical, Extractor as _, GreyImage, paired};

    /// Sets of `fingers` fingers with two impressions each; `worse` raises what impostors score.
    pub(crate) fn run(sets: &[&str], fingers: u32, worse: u32) -> Run {
        let mut text = String::from("set,finger_a,imp_a,finger_b,imp_b,score\n");
        for set in sets {
            let ids: Vec<(u32, u32)> = (1..=fingers).flat_map(|f| [(f, 1), (f, 2)]).collect();
            for (place, a) in ids.iter().enumerate() {
                for b in ids.iter().skip(place + 1) {
                    let score = if a.0 == b.0 { 8 + 5 * a.0 % 7 } else { (3 * a.0 + 5 * b.0 + a.1 * b.1) % 9 + worse };
                    writeln!(text, "{set},{},{},{},{},{score}", a.0, a.1, b.0, b.1).unwrap();
                }
            }
        }
        Run::read(&text).unwrap()
    }

    fn costs(sets: &[&str], fingers: u32) -> Costs {
        let mut costs = Costs::default();
        let mut quality = String::from("set,finger,imp,quality\n");
        let mut extract = String::from("set,finger,imp,wall_ms,cpu_ms,template_bytes,iso_bytes\n");
        for set in sets {
            for finger in 1..=fingers {
                for imp in 1..=2 {
                    writeln!(quality, "{set},{finger},{imp},{}", 50 + 7 * finger % 31).unwrap();
                    writeln!(extract, "{set},{finger},{imp},0,12.5,280,0").unwrap();
                }
            }
        }
        costs.read_quality(&quality).unwrap();
        costs.read_extract(&extract).unwrap();
        costs
    }

    fn shown() -> Shown {
        let drawn = ridgeline_synth::finger(ridgeline_synth::Seed(1), 0).impression(0, &Default::default());
        let image = GreyImage::new(drawn.width, drawn.height, drawn.dpi, drawn.pixels.clone()).unwrap();
        let template = Classical.extract(&image).unwrap().template;
        let paired = paired(&template, &template);
        let black = Side { image: GreyImage::new(64, 64, 500, vec![0; 4096]).unwrap(), template: None };
        let pair = Pair { a: (1, 1), b: (2, 1), score: 8.0 };
        Shown { set: "a".into(), pair, sides: [Side { image, template: Some(template) }, black], paired }
    }

    fn report<'a>(run: &'a Run, costs: &'a Costs, table: &'a Table) -> Report<'a> {
        let ours = Engine { name: "ours".into(), run, costs, table };
        Report { ours, other: None, notes: &[], false_matches: Vec::new(), false_non_matches: Vec::new() }
    }

    #[test]
    fn a_page_needs_nothing_else_and_says_what_it_holds() {
        let (run, costs) = (run(&["a", "b"], 8, 0), costs(&["a", "b"], 8));
        let table = Table::of(&run);
        let report = Report { false_matches: vec![shown()], ..report(&run, &costs, &table) };
        let page = page(&report).unwrap();
        assert_eq!(page, super::page(&report).unwrap());
        for text in
            ["biometric data", "mean over sets", "DET", "ROC", "Error versus reject", "12.50", "data:image/png;base64,"]
        {
            assert!(page.contains(text), "{text}");
        }
        for text in ["NaN", "inf", "http://", "https://", "<script", "src=\"/"] {
            let page = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!page.contains(text), "{text}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        // DET and ROC, two histograms, error versus reject, two sides.
        assert_eq!(page.matches("<svg").count(), 7);
        assert!(page.contains("no template") && page.contains("There are no such pairs"));
    }

    #[test]
    fn a_second_run_lies_over_the_first() {
        let (ours, theirs) = (run(&["a", "b"], 8, 0), run(&["a", "<b>"], 8, 3));
        let (costs, none, table) = (costs(&["a", "b"], 8), Costs::default(), Table::of(&ours));
        let their_table = Table::of(&theirs);
        let other = Engine { name: "<other>".into(), run: &theirs, costs: &none, table: &their_table };
        let notes = notes(&ours, Some(("<other>", &theirs)));
        let report =
            Report { other: Some(other), notes: &notes, false_matches: vec![shown()], ..report(&ours, &costs, &table) };
        let page = page(&report).unwrap();
        for text in
            ["a (&lt;other&gt;)", "ours less &lt;other&gt;", "&lt;b&gt;: only &lt;other&gt; has", "tell no qualities"]
        {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("<other>") && !page.contains("<b>:"));
    }

    #[test]
    fn one_finger_alone_makes_a_page_that_says_so() {
        let (run, costs) = (run(&["a"], 1, 0), Costs::default());
        let table = Table::of(&run);
        let notes = notes(&run, None);
        let page = page(&Report { notes: &notes, ..report(&run, &costs, &table) }).unwrap();
        assert!(page.contains("no rates") && page.contains("no curves") && page.contains("do not tell"));
        assert!(!page.contains("NaN"));
    }
}
