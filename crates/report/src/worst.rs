//! The worst pairs, side by side with their minutiae.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ridgeline_evaluation::Pair;
use ridgeline_fingerprint::{GreyImage, Minutia, MinutiaKind, Position, Template, WORKING_DPI, encode_png};

use crate::html::escaped;
use crate::page::Engine;

/// Sides of pictures in pixels; larger ones are halved, or divided further.
const SIDE_PIXELS_MAX: u32 = 480;
/// Grey levels of pictures: enough to see ridges, and half the bytes.
const GREY_STEP: u8 = 8;
/// Length of a minutia's line and radius of its mark, in pixels at 500 dpi.
const LINE: f32 = 14.0;
const RADIUS: f32 = 4.0;
/// A paired minutia stands exactly where the matcher saw it, up to rounding.
const SAME_PIXELS: f32 = 0.75;

/// One side of a pair.
#[derive(Clone, Debug)]
pub struct Side {
    /// The image that was extracted.
    pub image: GreyImage,
    /// What was found in it.
    pub template: Option<Template>,
}

/// A pair to be shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Name of its set.
    pub set: String,
    /// The pair.
    pub pair: Pair,
    /// Its sides, in the pair's order.
    pub sides: [Side; 2],
    /// Minutiae that the matcher paired, as places on the sides.
    pub paired: Vec<(Position, Position)>,
}

/// Cards of pairs; `ours` and `other` tell what their scores mean.
pub(crate) fn cards(pairs: &[Shown], ours: &Engine<'_>, other: Option<&Engine<'_>>) -> String {
    if pairs.is_empty() {
        return "<p>There are no such pairs.</p>\n".to_owned();
    }
    let mut out = String::from("<div class=\"pairs\">\n");
    for shown in pairs {
        let Pair { a, b, .. } = shown.pair;
        let _ = write!(
            out,
            "<figure><figcaption><b>{}</b> finger {} impression {} with finger {} impression {}<br>{}, {} minutiae paired",
            escaped(&shown.set),
            a.0,
            a.1,
            b.0,
            b.1,
            meaning(ours, &shown.set, shown.pair.score),
            shown.paired.len()
        );
        let of_pair = |other: &Engine<'_>| {
            let pairs = &other.run.set(&shown.set)?.pairs;
            pairs.iter().find(|pair| pair.sides() == shown.pair.sides()).map(|pair| pair.score)
        };
        if let Some((other, score)) = other.and_then(|other| Some((other, of_pair(other)?))) {
            let _ = write!(out, "<br>{}: {}", escaped(&other.name), meaning(other, &shown.set, score));
        }
        let (left, right): (Vec<Position>, Vec<Position>) = shown.paired.iter().copied().unzip();
        out.push_str("</figcaption><div class=\"sides\">");
        for (side, paired) in shown.sides.iter().zip([left, right]) {
            let _ = write!(out, "<div>{}</div>", picture(side, &paired));
        }
        out.push_str("</div></figure>\n");
    }
    out.push_str("</div>\n");
    out
}

/// A score and how many strangers of the set reach it.
fn meaning(engine: &Engine<'_>, set: &str, score: f64) -> String {
    let rates = engine.run.set(set).and_then(|set| set.rates());
    let mut text = format!("score {score:.2}");
    if let Some(rates) = rates {
        let _ = write!(text, ", reached by {:.3} % of the set's impostor pairs", 100.0 * rates.fmr_of(score));
    }
    text
}

fn picture(side: &Side, paired: &[Position]) -> String {
    let image = &side.image;
    let scale = f32::from(WORKING_DPI) / f32::from(image.dpi());
    let (width, height) = (image.width() as f32 * scale, image.height() as f32 * scale);
    let png = STANDARD.encode(encode_png(&light(image)));
    let mut out = format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"impression with its minutiae\">\
         <image width=\"{width:.0}\" height=\"{height:.0}\" href=\"data:image/png;base64,{png}\"/>"
    );
    let Some(template) = &side.template else {
        return out + "</svg>no template";
    };
    for minutia in template.minutiae() {
        let (x, y) = (f32::from(minutia.x), f32::from(minutia.y));
        let is_paired = paired.iter().any(|place| (place.0 - x).abs().max((place.1 - y).abs()) < SAME_PIXELS);
        mark(&mut out, minutia, is_paired);
    }
    let _ = write!(out, "</svg>{} minutiae, quality {}", template.minutiae().len(), template.quality().value());
    out
}

/// Endings are round, bifurcations square; paired ones are filled.
fn mark(out: &mut String, minutia: &Minutia, is_paired: bool) {
    let (x, y) = (f32::from(minutia.x), f32::from(minutia.y));
    let (dx, dy) = crate::drawing::heading(minutia.direction);
    let colour = match minutia.kind {
        MinutiaKind::Ending => "#d5281e",
        MinutiaKind::Bifurcation => "#0063c8",
    };
    let (fill, opacity) = if is_paired { (colour, 1.0) } else { ("none", 0.55) };
    let _ = write!(out, "<g stroke=\"{colour}\" stroke-width=\"1.6\" fill=\"{fill}\" opacity=\"{opacity}\">");
    let _ = match minutia.kind {
        MinutiaKind::Ending => write!(out, "<circle cx=\"{x}\" cy=\"{y}\" r=\"{RADIUS}\"/>"),
        MinutiaKind::Bifurcation => {
            let (left, top, side) = (x - RADIUS, y - RADIUS, 2.0 * RADIUS);
            write!(out, "<rect x=\"{left}\" y=\"{top}\" width=\"{side}\" height=\"{side}\"/>")
        }
    };
    let (from, to) = ((x + dx * RADIUS, y + dy * RADIUS), (x + dx * LINE, y + dy * LINE));
    let _ = write!(out, "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\"/></g>", from.0, from.1, to.0, to.1);
}

/// The picture with fewer pixels and grey levels.
fn light(image: &GreyImage) -> GreyImage {
    let by = image.width().max(image.height()).div_ceil(SIDE_PIXELS_MAX).max(1);
    let (width, height) = ((image.width() / by).max(1), (image.height() / by).max(1));
    let row = |y: u32| image.pixels().get((y * image.width()) as usize..).unwrap_or_default();
    let mean = |x: u32, y: u32| {
        let cells = (0..by).flat_map(|dy| row(y * by + dy).iter().skip((x * by) as usize).take(by as usize));
        let (sum, count) = cells.fold((0_u32, 0_u32), |(sum, count), grey| (sum + u32::from(*grey), count + 1));
        let grey = u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX);
        (grey / GREY_STEP).saturating_mul(GREY_STEP)
    };
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| mean(x, y)).collect();
    GreyImage::new(width, height, image.dpi(), pixels).unwrap_or_else(|_| image.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_made_light_and_keep_what_they_show() {
        let half_dark = |side: u32| {
            let pixels = (0..side * side).map(|i| if i % side < side / 2 { 16 } else { 200 }).collect();
            light(&GreyImage::new(side, side, 500, pixels).unwrap())
        };
        let (small, large) = (half_dark(100), half_dark(1200));
        assert_eq!((small.width(), large.width(), large.height()), (100, 400, 400));
        for image in [small, large] {
            let row = &image.pixels()[..image.width() as usize];
            assert_eq!((row[0], row[row.len() - 1]), (16, 200));
        }
    }
}
