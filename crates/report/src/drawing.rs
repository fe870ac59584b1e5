//! Pictures of an impression: its minutiae, its orientation field, the clarity of its ridges.

use std::f32::consts::TAU;

use ridgeline_fingerprint::{Block, GreyImage, Maps, Minutia, MinutiaKind};

use crate::canvas::{Canvas, Rgb};

/// Pictures of small images are drawn at twice their size, so that marks hide little.
const SCALE: f32 = 2.0;
/// Longest side of a picture in pixels, whatever a template claims its size to be.
const SIDE_PIXELS_MAX: f32 = 1_600.0;
/// Between pictures.
const GAP: u32 = 12;

const WHITE: Rgb = [255, 255, 255];
const GROUND: Rgb = [236, 239, 243];
const ENDING: Rgb = [213, 40, 30];
const BIFURCATION: Rgb = [0, 99, 200];
const RIDGE: Rgb = [0, 90, 160];
/// Clarity from 0 to 1: from a colour for bad over one for fair to one for good, told apart by all kinds of colour vision.
const CLARITY: [Rgb; 3] = [[213, 94, 0], [240, 228, 66], [0, 114, 178]];

/// Radius of a mark and length of its line, in pixels at 500 dpi.
const RADIUS: f32 = 3.5;
const LINE: f32 = 13.0;

/// Three pictures side by side: the image with its minutiae, its orientation where it shows ridges, and their clarity.
pub fn draw_maps(maps: &Maps, minutiae: &[Minutia]) -> Canvas {
    let image = maps.image();
    let scale = scale(image.width(), image.height());
    let mut marked = shown(image, scale, 0.0);
    mark_all(&mut marked, minutiae, scale);
    let mut oriented = shown(image, scale, 0.6);
    let mut clear = shown(image, scale, 0.0);
    for (row, blocks) in maps.rows().enumerate() {
        for (column, block) in blocks.iter().enumerate().filter(|(_, block)| block.foreground) {
            draw_orientation(&mut oriented, block, (column, row), scale);
            draw_clarity(&mut clear, block, (column, row), scale);
        }
    }
    Canvas::beside(&[marked, oriented, clear], GAP, GROUND)
}

/// Minutiae on a blank ground of `width` × `height` pixels at 500 dpi.
pub fn draw_template(width: u16, height: u16, minutiae: &[Minutia]) -> Canvas {
    let scale = scale(u32::from(width), u32::from(height));
    let side = |pixels: u16| (f32::from(pixels) * scale).round() as u32;
    let mut canvas = Canvas::new(side(width), side(height), WHITE);
    mark_all(&mut canvas, minutiae, scale);
    canvas
}

/// Where a direction points on the image's axes: x to the right, y down.
pub(crate) fn heading(direction: u8) -> (f32, f32) {
    let (sin, cos) = (f32::from(direction) / 256.0 * TAU).sin_cos();
    (cos, -sin)
}

fn scale(width: u32, height: u32) -> f32 {
    (SIDE_PIXELS_MAX / width.max(height).max(1) as f32).min(SCALE)
}

/// The image at another size, faded towards white by a share.
fn shown(image: &GreyImage, scale: f32, faded: f32) -> Canvas {
    let side = |pixels: u32| (pixels as f32 * scale).round() as u32;
    let mut canvas = Canvas::new(side(image.width()), side(image.height()), WHITE);
    for y in 0..canvas.height() {
        for x in 0..canvas.width() {
            let grey = grey_at(image, (x as f32 + 0.5) / scale - 0.5, (y as f32 + 0.5) / scale - 0.5);
            canvas.mix(x, y, [grey; 3], 1.0 - faded);
        }
    }
    canvas
}

/// The grey value between pixels; places outside take the nearest.
fn grey_at(image: &GreyImage, x: f32, y: f32) -> u8 {
    let (right, bottom) = (image.width() - 1, image.height() - 1);
    let (x, y) = (x.clamp(0.0, right as f32), y.clamp(0.0, bottom as f32));
    let (x0, y0) = (x as u32, y as u32);
    let at = |x: u32, y: u32| {
        let index = y.min(bottom) as usize * image.width() as usize + x.min(right) as usize;
        f32::from(image.pixels().get(index).copied().unwrap_or_default())
    };
    let (fx, fy) = (x.fract(), y.fract());
    let top = at(x0, y0) * (1.0 - fx) + at(x0 + 1, y0) * fx;
    let below = at(x0, y0 + 1) * (1.0 - fx) + at(x0 + 1, y0 + 1) * fx;
    (top * (1.0 - fy) + below * fy).round() as u8
}

/// The strongest are drawn last, so that they stay visible in a crowd.
fn mark_all(canvas: &mut Canvas, minutiae: &[Minutia], scale: f32) {
    for minutia in minutiae.iter().rev() {
        let at = ((f32::from(minutia.x) + 0.5) * scale, (f32::from(minutia.y) + 0.5) * scale);
        let (dx, dy) = heading(minutia.direction);
        let point = |length: f32| (at.0 + dx * length * scale, at.1 + dy * length * scale);
        let colour = match minutia.kind {
            MinutiaKind::Ending => ENDING,
            MinutiaKind::Bifurcation => BIFURCATION,
        };
        // A light line below keeps marks apart from dark ridges.
        for (width, colour) in [(2.2 * scale, WHITE), (1.1 * scale, colour)] {
            canvas.line(point(RADIUS), point(LINE), width, colour);
            match minutia.kind {
                MinutiaKind::Ending => canvas.circle(at, RADIUS * scale, width, colour),
                MinutiaKind::Bifurcation => canvas.square(at, RADIUS * scale, width, colour),
            }
        }
    }
}

fn draw_orientation(canvas: &mut Canvas, block: &Block, (column, row): (usize, usize), scale: f32) {
    let side = Maps::BLOCK_PIXELS as f32 * scale;
    let centre = ((column as f32 + 0.5) * side, (row as f32 + 0.5) * side);
    let (sin, cos) = block.orientation.sin_cos();
    // Where gradients disagree the line is short.
    let half = side * (0.15 + 0.33 * block.coherence);
    let (from, to) = ((centre.0 - cos * half, centre.1 - sin * half), (centre.0 + cos * half, centre.1 + sin * half));
    canvas.line(from, to, 0.9 * scale, RIDGE);
}

fn draw_clarity(canvas: &mut Canvas, block: &Block, (column, row): (usize, usize), scale: f32) {
    let side = Maps::BLOCK_PIXELS as f32 * scale;
    let edge = |index: usize, limit: u32| ((index as f32 * side).round() as u32).min(limit);
    let colour = ramp(block.clarity);
    for y in edge(row, canvas.height())..edge(row + 1, canvas.height()) {
        for x in edge(column, canvas.width())..edge(column + 1, canvas.width()) {
            canvas.mix(x, y, colour, 0.55);
        }
    }
}

fn ramp(share: f32) -> Rgb {
    let [bad, fair, good] = CLARITY;
    let share = share.clamp(0.0, 1.0);
    let (from, to, weight) = if share < 0.5 { (bad, fair, 2.0 * share) } else { (fair, good, 2.0 * share - 1.0) };
    let mut parts = from.iter().zip(to);
    std::array::from_fn(|_| {
        parts.next().map_or(0, |(a, b)| (f32::from(*a) * (1.0 - weight) + f32::from(b) * weight) as u8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ridgeline_fingerprint::{Classical, Extractor as _, maps};

    #[test]
    fn an_image_is_drawn_three_times_with_its_minutiae() {
        let drawn = ridgeline_synth::finger(ridgeline_synth::Seed(1), 0).impression(0, &Default::default());
        let image = GreyImage::new(drawn.width, drawn.height, drawn.dpi, drawn.pixels.clone()).unwrap();
        let maps = maps(&image).unwrap();
        let template = Classical.extract(&image).unwrap().template;
        let canvas = draw_maps(&maps, template.minutiae());
        let scale = scale(image.width(), image.height());
        let width = (image.width() as f32 * scale).round() as u32;
        assert_eq!(canvas.width(), 3 * width + 2 * GAP);
        let strongest = template.minutiae()[0];
        let (dx, dy) = heading(strongest.direction);
        let middle = |start: f32, step: f32| ((start + 0.5 + step * (RADIUS + LINE) / 2.0) * scale) as u32;
        let (x, y) = (middle(f32::from(strongest.x), dx), middle(f32::from(strongest.y), dy));
        let wanted = if strongest.kind == MinutiaKind::Ending { ENDING } else { BIFURCATION };
        assert_eq!(canvas.at(x, y), Some(wanted));
        let is_coloured = |x: u32, y: u32| canvas.at(x, y).is_some_and(|[r, g, b]| r != g || g != b);
        for panel in 0..3 {
            let coloured = (0..canvas.height())
                .flat_map(|y| (0..width).map(move |x| (x, y)))
                .filter(|(x, y)| is_coloured(panel * (width + GAP) + x, *y))
                .count();
            assert!(coloured > 1000, "panel {panel}: {coloured}");
        }
    }

    #[test]
    fn pictures_of_templates_stay_small_whatever_they_claim() {
        let minutia = |x, direction, kind| Minutia { x, y: 50, direction, kind, quality: 9 };
        let minutiae = [minutia(40, 0, MinutiaKind::Ending), minutia(60, 64, MinutiaKind::Bifurcation)];
        let canvas = draw_template(100, 80, &minutiae);
        assert_eq!((canvas.width(), canvas.height()), (200, 160));
        assert_eq!(canvas.at(97, 101), Some(ENDING), "a direction of 0 points right");
        assert_eq!(canvas.at(121, 85), Some(BIFURCATION), "a quarter of a turn points up");
        let huge = draw_template(16_383, 16_383, &minutiae);
        assert_eq!((huge.width(), huge.height()), (1600, 1600));
        assert_eq!(draw_template(1, 16_383, &[]).width(), 1);
    }

    #[test]
    fn the_scale_of_clarity_has_three_stops() {
        assert_eq!((ramp(0.0), ramp(0.5), ramp(1.0), ramp(9.0)), (CLARITY[0], CLARITY[1], CLARITY[2], CLARITY[2]));
    }
}
