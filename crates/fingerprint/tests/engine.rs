//! What the extractor accepts and refuses, and that it always answers the same.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::f32::consts::TAU;
use std::path::PathBuf;

use ridgeline_fingerprint::{
    Candidate, Classical, ExtractError, Extractor, GreyImage, Limits, Minutia, MinutiaKind, Probe, Template, compare,
    decode, eval, normalise, self_check,
};

const SIDE: i32 = 320;

/// Round ridges with a minutia at each of 30 places that depend on `seed`.
fn finger(seed: u32, dx: f32, dy: f32, turn: f32) -> GreyImage {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(99);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0
    };
    let spots: Vec<(f32, f32, f32)> = (0..30)
        .map(|i| (next() * 200.0 - 100.0, next() * 200.0 - 100.0, if i % 2 == 0 { 1.0 } else { -1.0 }))
        .collect();
    let centre = 40.0 + 40.0 * next();
    let (sin, cos) = turn.sin_cos();
    let grey = |index: i32| {
        let (px, py) = ((index % SIDE - SIDE / 2) as f32 - dx, (index / SIDE - SIDE / 2) as f32 - dy);
        let (x, y) = (cos * px + sin * py, cos * py - sin * px);
        let mut phase = x.hypot(y - centre) / 9.0 * TAU;
        for (sx, sy, sign) in &spots {
            phase += sign * (y - sy).atan2(x - sx);
        }
        let inside = (x / 120.0).powi(2) + (y / 130.0).powi(2) < 1.0;
        if inside { (130.0 + 80.0 * phase.cos()) as u8 } else { 235 }
    };
    image((0..SIDE * SIDE).map(grey).collect())
}

fn image(pixels: Vec<u8>) -> GreyImage {
    GreyImage::new(SIDE as u32, SIDE as u32, 500, pixels).unwrap()
}

fn template(image: &GreyImage) -> Template {
    Classical.extract(image).unwrap().template
}

fn score(a: &Template, b: &Template) -> f32 {
    compare(&Probe::new(a), &Candidate::new(b)).value()
}

fn each(value: impl Fn(i32, i32, u32) -> u8) -> GreyImage {
    let mut state = 7_u32;
    let pixels = (0..SIDE * SIDE).map(|i| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        value(i % SIDE, i / SIDE, state >> 8)
    });
    image(pixels.collect())
}

#[test]
fn images_without_a_finger_are_refused() {
    let letters = |x: i32, y: i32| {
        let (cell, line) = (x / 9, y / 18);
        let ink = (cell * 7 + line * 13) % 5 != 0 && (x % 9) < 6 && (y % 18) < 11;
        let stroke = (x % 9) % 5 == 0 || (y % 18) % 5 == (cell + line) % 5;
        if ink && stroke { 20 } else { 245 }
    };
    let photo = |x: i32, y: i32| {
        let (fx, fy) = (x as f32 / 60.0, y as f32 / 45.0);
        (128.0 + 60.0 * (fx + (fy * 1.3).sin()).sin() + 40.0 * (fy * 0.7 - fx).cos()) as u8
    };
    // Ellipses: hair, head, eyes, mouth; shaded from one side.
    let face = |x: i32, y: i32, noise: u32| {
        let inside = |cx: i32, cy: i32, rx: i32, ry: i32| {
            ((x - cx) as f32 / rx as f32).powi(2) + ((y - cy) as f32 / ry as f32).powi(2) < 1.0
        };
        let grey = match () {
            () if inside(120, 140, 16, 8) || inside(200, 140, 16, 8) => 40,
            () if inside(160, 230, 40, 10) => 90,
            () if inside(160, 175, 95, 125) => 190 - (x - 60).clamp(0, 200) / 4,
            () if inside(160, 150, 115, 140) => 60 + (x / 3 + y) % 9,
            () => 225,
        };
        (grey + (noise % 7) as i32) as u8
    };
    let disc = |x: i32, y: i32| {
        let inside = (x - 160).pow(2) + (y - 160).pow(2) < 140 * 140;
        if inside { (128.0 + 90.0 * (x as f32 / 14.0 * TAU).cos()) as u8 } else { 235 }
    };
    let cases = [
        ("round grating", each(|x, y, _| disc(x, y))),
        ("white", each(|_, _, _| 255)),
        ("black", each(|_, _, _| 0)),
        ("grey", each(|_, _, _| 128)),
        ("noise", each(|_, _, noise| noise as u8)),
        ("faint noise", each(|_, _, noise| 120 + (noise % 16) as u8)),
        ("ramp", each(|x, _, _| (x * 255 / SIDE) as u8)),
        ("stripes", each(|x, _, _| if x / 5 % 2 == 0 { 30 } else { 220 })),
        ("chequers", each(|x, y, _| if (x / 20 + y / 20) % 2 == 0 { 30 } else { 220 })),
        ("text", each(|x, y, _| letters(x, y))),
        ("photo", each(|x, y, _| photo(x, y))),
        ("face", each(face)),
    ];
    for (name, image) in cases {
        let refused = Classical.extract(&image).map(|e| e.template.minutiae().len());
        assert_eq!(refused, Err(ExtractError::NotAFingerprint), "{name}");
    }
    for side in [1, 16] {
        let small = GreyImage::new(side, side, 500, vec![0; (side * side) as usize]).unwrap();
        assert_eq!(Classical.extract(&small).map(|_| ()), Err(ExtractError::TooSmall), "{side}");
    }
}

#[test]
fn extraction_and_comparison_are_deterministic() {
    let (a, b) = (finger(1, 0.0, 0.0, 0.0), finger(1, 6.0, -4.0, 0.1));
    let (first, second) = (template(&a), template(&b));
    assert!(first == template(&a));
    assert_eq!(score(&first, &second).to_bits(), score(&first, &second).to_bits());
    assert_eq!(self_check(), Ok(()));
}

fn synthetic(index: u32) -> GreyImage {
    let image = ridgeline_synth::finger(ridgeline_synth::Seed(20_000), index)
        .impression(0, &ridgeline_synth::ImpressionOptions::default());
    GreyImage::new(image.width, image.height, image.dpi, image.pixels.clone()).unwrap()
}

/// FNV-1a over all fields of all minutiae.
fn digest(template: &Template) -> u64 {
    let fields = |m: &Minutia| {
        let [x0, x1] = m.x.to_be_bytes();
        let [y0, y1] = m.y.to_be_bytes();
        [x0, x1, y0, y1, m.direction, u8::from(m.kind == MinutiaKind::Bifurcation), m.quality]
    };
    let bytes = template.minutiae().iter().flat_map(fields);
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// The same on every platform: functions that platforms round differently come from one library.
#[test]
fn the_minutiae_of_one_image_are_known() {
    assert_eq!(digest(&template(&synthetic(0))), 0x65A2_E5FA_2FAD_3341);
}

#[test]
fn light_ridges_on_a_dark_ground_give_the_same_minutiae() {
    let dark = synthetic(1);
    let light = dark.pixels().iter().map(|grey| 255 - grey).collect();
    let light = GreyImage::new(dark.width(), dark.height(), 500, light).unwrap();
    let (dark, light) = (template(&dark), template(&light));
    assert!(score(&dark, &light) > 0.95 * score(&dark, &dark));
    let shared = dark.minutiae().iter().filter(|m| light.minutiae().contains(m)).count();
    assert!(shared * 10 >= dark.minutiae().len() * 8, "{shared} of {} with kind", dark.minutiae().len());
}

#[test]
fn finer_and_coarser_scans_of_a_finger_match() {
    let image = synthetic(2);
    let own = template(&image);
    let (width, height) = (image.width(), image.height());
    let doubled = (0..4 * width * height).map(|i| {
        let (x, y) = (i % (2 * width) / 2, i / (2 * width) / 2);
        image.pixels()[(y * width + x) as usize]
    });
    let doubled = GreyImage::new(2 * width, 2 * height, 1000, doubled.collect()).unwrap();
    let halved = (0..width / 2 * (height / 2)).map(|i| {
        let (x, y) = (i % (width / 2) * 2, i / (width / 2) * 2);
        let at = |dx: u32, dy: u32| u32::from(image.pixels()[((y + dy) * width + x + dx) as usize]);
        ((at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4) as u8
    });
    let halved = GreyImage::new(width / 2, height / 2, 250, halved.collect()).unwrap();
    let stranger = score(&own, &template(&synthetic(3)));
    for (name, scan) in [("1000 dpi", doubled), ("250 dpi", halved)] {
        let found = score(&own, &template(&scan));
        assert!(found > 2.0 * stranger.max(5.0), "{name}: {found}, a stranger {stranger}");
    }
}

#[test]
fn shifts_and_rotations_of_the_finger_keep_the_score_high() {
    let still = template(&finger(3, 0.0, 0.0, 0.0));
    let strangers = (4..9).map(|seed| score(&still, &template(&finger(seed, 0.0, 0.0, 0.0))));
    let worst = strangers.fold(0.0, f32::max);
    for (dx, dy, turn) in [(15.0, -9.0, 0.0), (0.0, 0.0, 0.3), (-8.0, 10.0, -0.5), (3.0, 3.0, 3.0)] {
        let moved = template(&finger(3, dx, dy, turn));
        let own = score(&still, &moved);
        assert!(own > 2.0 * worst.max(4.0), "{own} after ({dx}, {dy}, {turn}); strangers {worst}");
    }
}

#[test]
fn normalising_keeps_what_is_extracted() {
    let original = finger(5, 10.0, 5.0, 0.2);
    let normal = normalise(&original);
    assert!(normal.width() <= original.width() && normal.dpi() == 500);
    assert!(normalise(&normal) == normalise(&normal.clone()));
    let (a, b) = (template(&original), template(&normal));
    assert!(score(&a, &b) > 0.85 * score(&a, &a));
    let coarse = GreyImage::new(SIDE as u32, SIDE as u32, 400, original.pixels().to_vec()).unwrap();
    assert_eq!(normalise(&coarse).dpi(), 500);
}

/// The public set is read where RIDGELINE_TEST_DATA names the folder that holds `fingerprint/`.
#[test]
fn error_rate_on_the_public_set() {
    let Ok(root) = std::env::var("RIDGELINE_TEST_DATA") else {
        println!("skipped: RIDGELINE_TEST_DATA is not set");
        return;
    };
    let folder = PathBuf::from(root).join("fingerprint/fvc2002_db1_b");
    let mut samples = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let Some(id) = eval::SampleId::of_stem(stem) else { continue };
        let bytes = std::fs::read(&path).unwrap();
        samples.push(eval::Sample { id, image: decode(&bytes, None, Some(500), &Limits::default()).unwrap() });
    }
    samples.sort_by_key(|sample| sample.id);
    let rows = eval::extract_all(&samples, 1, &mut || 0);
    assert!(rows.iter().all(|row| row.template.is_some()));
    let scores = eval::score_all(&rows);
    let (genuine, impostor): (Vec<&eval::ScoreRow>, Vec<&eval::ScoreRow>) =
        scores.iter().partition(|row| row.a.finger == row.b.finger);
    assert_eq!((genuine.len(), impostor.len()), (280, 2880));
    let least_error = genuine.iter().map(|threshold: &&eval::ScoreRow| {
        let missed = genuine.iter().filter(|row| row.score < threshold.score).count();
        let passed = impostor.iter().filter(|row| row.score >= threshold.score).count();
        (missed as f64 / 280.0).max(passed as f64 / 2880.0)
    });
    assert!(least_error.fold(1.0, f64::min) <= 0.08);
}
