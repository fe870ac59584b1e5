//! One chart as SVG.

use plotters::prelude::*;

use crate::ReportError;
use crate::axis::Axis;

/// Size of a chart. Places are whole units, so the page shows it at about half its size.
const WIDTH: u32 = 1120;
const HEIGHT: u32 = 800;
/// Moves that no eye sees are left out, in units.
const LEAST_MOVE: f64 = 1.0;
const INK: RGBColor = RGBColor(0x33, 0x38, 0x40);
const GRID: RGBColor = RGBColor(0xdf, 0xe3, 0xe8);

/// Okabe & Ito's colours, which people of all kinds of colour vision tell apart, without the yellow that white drowns.
pub(crate) const COLOURS: [(u8, u8, u8); 7] = [
    (0x00, 0x72, 0xb2),
    (0xd5, 0x5e, 0x00),
    (0x00, 0x9e, 0x73),
    (0xcc, 0x79, 0xa7),
    (0x56, 0xb4, 0xe9),
    (0xe6, 0x9f, 0x00),
    (0x33, 0x33, 0x33),
];

/// The colour of the n-th series; they begin again after the last.
pub(crate) fn colour(index: usize) -> (u8, u8, u8) {
    COLOURS.get(index % COLOURS.len()).copied().unwrap_or_default()
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Solid,
    Dashed,
    /// Filled down to the low end of the axis.
    Area,
}

/// Points that are joined.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) colour: (u8, u8, u8),
    pub(crate) line: Line,
}

/// A chart with its axes.
#[derive(Debug)]
pub(crate) struct Chart<'a> {
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) x_name: &'a str,
    pub(crate) y_name: &'a str,
    pub(crate) series: Vec<Series>,
}

impl Chart<'_> {
    /// The chart as an `<svg>` element.
    ///
    /// # Errors
    /// [`ReportError::Chart`] if the drawing library fails.
    pub(crate) fn svg(&self) -> Result<String, ReportError> {
        let mut text = String::new();
        self.draw(&mut text).map_err(ReportError::Chart)?;
        // Inside a page it needs neither a declaration nor sizes of its own.
        let start = text.find("<svg").unwrap_or(0);
        let sizes = format!("width=\"{WIDTH}\" height=\"{HEIGHT}\" ");
        Ok(text.get(start..).unwrap_or_default().replacen(&sizes, "", 1))
    }

    fn draw(&self, text: &mut String) -> Result<(), String> {
        let fault = |error: DrawingAreaErrorKind<_>| error.to_string();
        let area = SVGBackend::with_string(text, (WIDTH, HEIGHT)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(16)
            .margin_right(56)
            .x_label_area_size(88)
            .y_label_area_size(138)
            .build_cartesian_2d(self.x.clone(), self.y.clone())
            .map_err(fault)?;
        let small = ("sans-serif", 28).into_font().color(&INK);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(2))
            .axis_style(INK.stroke_width(2))
            .label_style(small.clone())
            .axis_desc_style(small)
            .x_desc(self.x_name)
            .y_desc(self.y_name)
            .draw()
            .map_err(fault)?;
        for series in &self.series {
            let points = self.thinned(&series.points);
            let colour = RGBColor(series.colour.0, series.colour.1, series.colour.2);
            let style = colour.stroke_width(4);
            match series.line {
                Line::Solid => chart.draw_series(LineSeries::new(points, style)).map(|_| ()),
                Line::Dashed => chart.draw_series(DashedLineSeries::new(points, 14, 9, style)).map(|_| ()),
                Line::Area => {
                    let base = |point: Option<&(f64, f64)>| point.map(|(x, _)| (*x, self.y.low()));
                    let closed =
                        base(points.first()).into_iter().chain(points.iter().copied()).chain(base(points.last()));
                    let fill = Polygon::new(closed.collect::<Vec<_>>(), colour.mix(0.22).filled());
                    let drawn = chart.draw_series([fill]).map(|_| ());
                    drawn.and_then(|()| chart.draw_series(LineSeries::new(points, colour.stroke_width(2))).map(|_| ()))
                }
            }
            .map_err(fault)?;
        }
        area.present().map_err(fault)
    }

    /// Without points that lie where the one before does, but with the last.
    fn thinned(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let place = |(x, y): (f64, f64)| (self.x.place(x) * f64::from(WIDTH), self.y.place(y) * f64::from(HEIGHT));
        let mut kept: Vec<(f64, f64)> = Vec::new();
        for (index, point) in points.iter().enumerate() {
            let moved = kept.last().is_none_or(|last| {
                let (from, to) = (place(*last), place(*point));
                (from.0 - to.0).abs().max((from.1 - to.1).abs()) >= LEAST_MOVE
            });
            if moved || index + 1 == points.len() {
                kept.push(*point);
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, line: Line) -> Chart<'static> {
        let series = vec![Series { points, colour: colour(1), line }];
        Chart { x: Axis::between(0.0, 1.0), y: Axis::log_share(1e-3), x_name: "across", y_name: "up", series }
    }

    #[test]
    fn charts_are_elements_with_names_numbers_and_lines() {
        for line in [Line::Solid, Line::Dashed, Line::Area] {
            let svg = chart(vec![(0.0, 0.5), (0.4, 0.01), (1.0, 0.0)], line).svg().unwrap();
            assert!(svg.starts_with("<svg viewBox=\"0 0 1120 800\""), "{}", &svg[..90]);
            for text in ["across", "up", "0.1 %", "100 %", "#D55E00", "</svg>"] {
                assert!(svg.contains(text), "{text} for {line:?}");
            }
            assert!(!svg.contains("NaN") && !svg.contains("<?xml"));
        }
        assert!(chart(Vec::new(), Line::Area).svg().is_ok(), "a series may be empty");
    }

    #[test]
    fn crowded_points_are_thinned_and_the_last_is_kept() {
        let crowd: Vec<(f64, f64)> =
            (0..100_000).map(|i| (f64::from(i) / 100_000.0, 0.5)).chain([(1.0, 0.5)]).collect();
        let kept = chart(Vec::new(), Line::Solid).thinned(&crowd);
        assert!((500..1200).contains(&kept.len()), "{}", kept.len());
        assert_eq!((kept[0], *kept.last().unwrap()), (crowd[0], (1.0, 0.5)));
    }

    #[test]
    fn colours_begin_again() {
        assert_eq!(colour(0), colour(COLOURS.len()));
        assert_ne!(colour(0), colour(1));
    }
}
