//! Tables of the report.

use std::fmt::Write as _;

use ridgeline_evaluation::SetCosts;

use crate::charts::Rejects;
use crate::figures::{COUNT, Figure, NAMES, Row, Table};
use crate::html::escaped;
use crate::page::Engine;

/// What stands where there is no figure.
const NONE: &str = "–";

/// The rates of both runs and what is between them.
pub(crate) fn rates(parts: &[(&str, &Table)], differences: &[Row]) -> String {
    let mut out = String::from("<table>\n<thead><tr><th>set</th><th>genuine</th><th>impostor</th>");
    for name in NAMES {
        let _ = write!(out, "<th>{name}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (name, table) in parts {
        part(&mut out, name, COUNT + 3, parts.len() + differences.len() > 1);
        for row in &table.rows {
            rate_row(&mut out, row, "", share);
        }
        if let Some(mean) = &table.mean {
            rate_row(&mut out, mean, " class=\"mean\"", share);
        }
    }
    if let (Some((ours, _)), Some((theirs, _)), false) = (parts.first(), parts.get(1), differences.is_empty()) {
        part(&mut out, &format!("{ours} less {theirs}, in points; below 0 {ours} errs less"), COUNT + 3, true);
        for row in differences {
            rate_row(&mut out, row, "", points);
        }
    }
    out.push_str("</tbody>\n</table>\n");
    out
}

fn part(out: &mut String, name: &str, columns: usize, is_shown: bool) {
    if is_shown {
        let _ = writeln!(out, "<tr class=\"part\"><th colspan=\"{columns}\">{}</th></tr>", escaped(name));
    }
}

fn rate_row(out: &mut String, row: &Row, class: &str, cell: fn(Option<Figure>) -> String) {
    let _ = write!(out, "<tr{class}><td>{}</td><td>{}</td><td>{}</td>", escaped(&row.name), row.genuine, row.impostors);
    for figure in row.figures {
        let _ = write!(out, "<td>{}</td>", cell(figure));
    }
    out.push_str("</tr>\n");
}

fn share(figure: Option<Figure>) -> String {
    let Some(Figure { value, interval }) = figure else { return NONE.to_owned() };
    let mut text = format!("{:.2} %", 100.0 * value);
    if let Some(interval) = interval {
        let _ = write!(text, " <small>{:.2}–{:.2}</small>", 100.0 * interval.low, 100.0 * interval.high);
    }
    text
}

fn points(figure: Option<Figure>) -> String {
    let Some(Figure { value, interval }) = figure else { return NONE.to_owned() };
    let mut text = format!("{:+.2}", 100.0 * value);
    if let Some(interval) = interval {
        let _ = write!(text, " <small>{:+.2} to {:+.2}</small>", 100.0 * interval.low, 100.0 * interval.high);
    }
    text
}

/// What extraction and comparison cost. Empty where no file tells.
pub(crate) fn costs(engines: &[&Engine<'_>]) -> String {
    let known: Vec<(&Engine<'_>, Vec<(&str, SetCosts)>)> = engines
        .iter()
        .map(|engine| {
            let sets = engine.run.sets.iter().map(|set| (set.name.as_str(), engine.costs.of(&set.name)));
            (*engine, sets.filter(|(_, costs)| *costs != SetCosts::default()).collect())
        })
        .filter(|(_, sets): &(_, Vec<_>)| !sets.is_empty())
        .collect();
    if known.is_empty() {
        return "<p>The files of the runs do not tell.</p>\n".to_owned();
    }
    let head = ["set", "images", "without template", "extraction, median ms", "template, mean bytes"];
    let mut out = String::from("<table>\n<thead><tr>");
    for name in head.iter().chain(&["comparisons a second", "preparing a probe, µs"]) {
        let _ = write!(out, "<th>{name}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (engine, sets) in &known {
        part(&mut out, &engine.name, 7, known.len() > 1);
        for (name, costs) in sets {
            let number = |value: Option<f64>, decimals: usize| {
                value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.decimals$}"))
            };
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escaped(name),
                costs.extract_ms.len(),
                costs.failed,
                number(costs.median_extract_ms(), 2),
                number(costs.mean_template_bytes(), 0),
                number(costs.matches_per_cpu_s, 0),
                number(costs.prepare_probe_us, 1),
            );
        }
    }
    out.push_str("</tbody>\n</table>\n");
    out
}

/// FNMR where the worst pairs are set aside.
pub(crate) fn rejects(curves: &[Rejects], shares: &[f64]) -> String {
    let mut out = String::from("<table>\n<thead><tr><th>set</th><th>at FMR</th>");
    for share in shares {
        let _ = write!(out, "<th>{:.0} % rejected</th>", 100.0 * share);
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for curve in curves {
        let _ = write!(out, "<tr><td>{}</td><td>{} %</td>", escaped(&curve.name), 100.0 * curve.limit);
        for share in shares {
            let fnmr = ridgeline_evaluation::fnmr_at_reject(&curve.points, *share);
            let _ = match fnmr {
                Some(fnmr) => write!(out, "<td>{:.2} %</td>", 100.0 * fnmr),
                None => write!(out, "<td>{NONE}</td>"),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n");
    out
}
