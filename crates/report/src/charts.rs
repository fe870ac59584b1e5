//! The charts of the report with their legends.

use std::fmt::Write as _;

use ridgeline_evaluation::{Histogram, Point, Rates, Reject, Run, ScoreSet, error_versus_reject};

use crate::ReportError;
use crate::axis::Axis;
use crate::html::escaped;
use crate::page::Engine;
use crate::plot::{Chart, Line, Series, colour};

/// Steps of a histogram.
const STEPS: usize = 60;
/// Error against reject is shown up to this share.
const REJECTED_MAX: f64 = 0.5;
/// The false match rates at which a threshold may be fixed, the first that the impostors can show.
const LIMITS: [f64; 2] = [1e-3, 1e-2];

/// DET and ROC curves of all sets that have rates.
pub(crate) fn curves(ours: &Engine<'_>, other: Option<&Engine<'_>>) -> Result<String, ReportError> {
    let mut curves = Vec::new();
    for (index, set) in ours.run.sets.iter().enumerate() {
        curves.extend(set.rates().map(|rates| (set.name.as_str(), index, Line::Solid, rates)));
    }
    for set in other.iter().flat_map(|engine| &engine.run.sets) {
        // A set keeps its colour in both runs; one that only the other has follows after.
        let own = ours.run.sets.iter().position(|own| own.name == set.name).unwrap_or(ours.run.sets.len());
        curves.extend(set.rates().map(|rates| (set.name.as_str(), own, Line::Dashed, rates)));
    }
    if curves.is_empty() {
        return Ok("<p>No set has both genuine and impostor pairs, so there are no curves.</p>\n".to_owned());
    }
    let names: Vec<(String, usize, Line)> = curves
        .iter()
        .map(|(set, index, line, _)| {
            let engine = if *line == Line::Solid { ours } else { other.unwrap_or(ours) };
            (if other.is_some() { format!("{set} ({})", engine.name) } else { (*set).to_owned() }, *index, *line)
        })
        .collect();
    let least = |rate: fn(&Rates) -> Vec<f64>| {
        curves.iter().flat_map(|(.., rates)| rate(rates)).filter(|rate| *rate > 0.0).fold(1.0, f64::min)
    };
    let least_fmr = least(|rates| rates.points().iter().map(|point| point.fmr).collect());
    let least_fnmr = least(|rates| rates.points().iter().map(|point| point.fnmr).collect());
    let most_fnmr = curves.iter().filter_map(|(.., rates)| rates.fnmr_at(0.0)).fold(0.0, f64::max);
    let series = |place: fn((f64, f64)) -> (f64, f64)| -> Vec<Series> {
        let of = |rates: &Rates| trade(rates).iter().map(|point| place((point.fmr, point.fnmr))).collect();
        curves.iter().map(|(_, i, line, rates)| Series { points: of(rates), colour: colour(*i), line: *line }).collect()
    };
    let det = Chart {
        x: Axis::log_share(least_fmr),
        y: Axis::log_share(least_fnmr),
        x_name: "false match rate",
        y_name: "false non-match rate",
        series: series(|point| point),
    };
    let roc = Chart {
        x: Axis::log_share(least_fmr),
        y: Axis::upper_share(1.0 - most_fnmr),
        x_name: "false match rate",
        y_name: "genuine pairs that match",
        series: series(|(fmr, fnmr)| (fmr, 1.0 - fnmr)),
    };
    let det = figure("DET: lower and further left is better", &det.svg()?);
    let roc = figure("ROC: higher and further left is better", &roc.svg()?);
    Ok(format!("{}<div class=\"charts\">\n{det}{roc}</div>\n", legend(&names)))
}

/// The points between which one rate is bought with the other: at most one of each end has a rate of 0.
fn trade(rates: &Rates) -> &[Point] {
    let points = rates.points();
    let first = points.partition_point(|point| point.fnmr <= 0.0).saturating_sub(1);
    let end = (points.partition_point(|point| point.fmr > 0.0) + 1).min(points.len());
    points.get(first..end).unwrap_or(points)
}

/// Score histograms of every set, one beside the other run's.
pub(crate) fn histograms(engines: &[&Engine<'_>]) -> Result<String, ReportError> {
    let names = [("impostor pairs", 1), ("genuine pairs", 0)];
    let mut out = legend(&names.map(|(name, index)| (name.to_owned(), index, Line::Area)));
    out.push_str("<div class=\"charts\">\n");
    let first = engines.first().map_or([].as_slice(), |engine| &engine.run.sets);
    let rest = engines.iter().skip(1).flat_map(|engine| &engine.run.sets);
    let only_other = rest.filter(|set| !first.iter().any(|own| own.name == set.name));
    for set in first.iter().chain(only_other) {
        for engine in engines {
            let Some(set) = engine.run.set(&set.name) else { continue };
            let title = if engines.len() > 1 { format!("{} ({})", set.name, engine.name) } else { set.name.clone() };
            out.push_str(&histogram(set, &title)?);
        }
    }
    out.push_str("</div>\n");
    Ok(out)
}

fn histogram(set: &ScoreSet, title: &str) -> Result<String, ReportError> {
    let (genuine, impostors) = set.split();
    let Some(found) = Histogram::new(&genuine, &impostors, STEPS) else { return Ok(String::new()) };
    let end = found.low + found.step * STEPS as f64;
    let steps = |shares: &[f64], index: usize| {
        let edge = |(step, share): (usize, &f64)| {
            let left = found.low + found.step * step as f64;
            [(left, *share), (left + found.step, *share)]
        };
        let points = shares.iter().enumerate().flat_map(edge).collect();
        Series { points, colour: colour(index), line: Line::Area }
    };
    let mut series = vec![steps(&found.impostors, 1), steps(&found.genuine, 0)];
    series.retain(|series| series.points.iter().any(|(_, share)| *share > 0.0));
    let least = 1.0 / genuine.len().max(impostors.len()).max(1) as f64;
    let y = Axis::log_share(least);
    let rates = set.rates();
    let marked = rates.and_then(|rates| {
        let limit = LIMITS.into_iter().find(|limit| rates.threshold_at(*limit).is_some())?;
        rates.threshold_at(limit).filter(|threshold| threshold.is_finite()).map(|threshold| (limit, threshold))
    });
    let mut caption = title.to_owned();
    if let Some((limit, threshold)) = marked {
        let points = vec![(threshold, y.low()), (threshold, y.high())];
        series.push(Series { points, colour: colour(6), line: Line::Dashed });
        let _ = write!(caption, ": FMR {} % from {threshold:.2} on", 100.0 * limit);
    }
    let chart = Chart {
        x: Axis::between(found.low, end),
        y,
        x_name: "score",
        y_name: "share of the pairs in each step",
        series,
    };
    Ok(figure(&caption, &chart.svg()?))
}

/// The error of one set, or of all together, against the share that is rejected.
pub(crate) struct Rejects {
    pub(crate) name: String,
    pub(crate) limit: f64,
    pub(crate) points: Vec<Reject>,
    colour: usize,
    line: Line,
}

/// Curves of every set whose images have qualities, and of all sets under one threshold.
pub(crate) fn rejects(engine: &Engine<'_>, line: Line, name: impl Fn(&str) -> String) -> Vec<Rejects> {
    let sets: Vec<&ScoreSet> = engine.run.sets.iter().collect();
    let mut found: Vec<Rejects> = Vec::new();
    let groups = sets.chunks(1).enumerate().map(|(index, set)| (set, index));
    for (sets, index) in groups.chain((sets.len() > 1).then_some((sets.as_slice(), 6))) {
        let title = if let [set] = sets { set.name.as_str() } else { "all sets, one threshold" };
        let curve = rejected(engine, sets);
        found.extend(curve.map(|(limit, points)| Rejects { name: name(title), limit, points, colour: index, line }));
    }
    found
}

fn rejected(engine: &Engine<'_>, sets: &[&ScoreSet]) -> Option<(f64, Vec<Reject>)> {
    let (mut genuine, mut scores, mut impostors) = (Vec::new(), Vec::new(), Vec::new());
    for set in sets {
        let quality = engine.costs.of(&set.name).quality;
        for pair in set.pairs.iter().filter(|pair| pair.is_genuine()) {
            genuine.push(((*quality.get(&pair.a)?).min(*quality.get(&pair.b)?), pair.score));
            scores.push(pair.score);
        }
        impostors.extend(set.split().1);
    }
    let rates = Rates::new(&scores, &impostors)?;
    LIMITS.into_iter().find_map(|limit| Some((limit, error_versus_reject(&genuine, &rates, limit)?)))
}

/// The chart of these curves; empty without any.
pub(crate) fn reject_chart(curves: &[Rejects]) -> Result<String, ReportError> {
    if curves.is_empty() {
        return Ok(String::new());
    }
    let names: Vec<(String, usize, Line)> = curves.iter().map(|c| (c.name.clone(), c.colour, c.line)).collect();
    let series = curves.iter().map(|curve| {
        let shown = curve.points.iter().filter(|point| point.rejected <= REJECTED_MAX);
        let points = shown.map(|point| (point.rejected, point.fnmr)).collect();
        Series { points, colour: colour(curve.colour), line: curve.line }
    });
    let series: Vec<Series> = series.collect();
    let most = series.iter().flat_map(|series| &series.points).map(|point| point.1).fold(0.0, f64::max);
    let chart = Chart {
        x: Axis::share(REJECTED_MAX),
        y: Axis::share(most),
        x_name: "genuine pairs rejected for the lower of their two qualities",
        y_name: "false non-match rate of the others",
        series,
    };
    let drawn =
        figure("Error versus reject: a curve that falls fast has a quality that foresees errors", &chart.svg()?);
    Ok(format!("{}<div class=\"charts\">\n{drawn}</div>\n", legend(&names)))
}

/// Whether any image of a run has a quality.
pub(crate) fn has_quality(run: &Run, engine: &Engine<'_>) -> bool {
    run.sets.iter().any(|set| !engine.costs.of(&set.name).quality.is_empty())
}

fn figure(caption: &str, svg: &str) -> String {
    let caption = escaped(caption);
    let labelled = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{caption}\" "), 1);
    format!("<figure><figcaption>{caption}</figcaption>{labelled}</figure>\n")
}

fn legend(names: &[(String, usize, Line)]) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for (name, index, line) in names {
        let (red, green, blue) = colour(*index);
        let look = match line {
            Line::Solid => format!("style=\"border-color:rgb({red},{green},{blue})\""),
            Line::Dashed => format!("style=\"border-color:rgb({red},{green},{blue});border-top-style:dashed\""),
            Line::Area => format!(
                "class=\"area\" style=\"border-color:rgb({red},{green},{blue});background:rgba({red},{green},{blue},.22)\""
            ),
        };
        let _ = write!(out, "<li><span {look}></span>{}</li>", escaped(name));
    }
    out.push_str("</ul>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_end_where_a_rate_is_zero() {
        let ends = |genuine: &[f64], impostors: &[f64]| {
            let rates = Rates::new(genuine, impostors).unwrap();
            let points = trade(&rates);
            (points[0].threshold, points[points.len() - 1].threshold)
        };
        assert_eq!(ends(&[3.0, 5.0, 9.0], &[1.0, 2.0, 4.0, 6.0]), (3.0, 9.0));
        assert_eq!(ends(&[8.0, 9.0], &[1.0, 2.0]), (8.0, 8.0), "groups that lie apart meet in one point");
        assert_eq!(ends(&[1.0], &[2.0]), (1.0, f64::INFINITY));
    }
}
