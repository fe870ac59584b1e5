//! Galleries, merged enrolments and the ends of the range of templates.
#![allow(clippy::unwrap_used, reason = "tests")]

use ridgeline_fingerprint::{
    Candidate, Classical, ENGINE, ENGINE_NAME, ENGINE_VERSION, Engine, Extractor, Gallery, GreyImage, Matcher,
    MergeError, Minutia, MinutiaKind, Probe, Quality, Template, calibration, compare, merge, search,
};
use ridgeline_synth::{ImpressionOptions, Seed, SynthKind, finger, template_minutiae, template_size};

/// An impression of a synthetic finger, drawn as minutiae.
fn impression(seed: u64, index: u32, number: u32) -> Template {
    let (width, height) = template_size();
    let minutiae = template_minutiae(Seed(seed), index, number).into_iter().map(|m| Minutia {
        x: m.x,
        y: m.y,
        direction: m.direction,
        kind: if m.kind == SynthKind::Ending { MinutiaKind::Ending } else { MinutiaKind::Bifurcation },
        quality: 60,
    });
    Template::new(ENGINE, width, height, Quality::new(70), minutiae.collect()).unwrap()
}

fn score(a: &Template, b: &Template) -> f32 {
    compare(&Probe::new(a), &Candidate::new(b)).value()
}

/// `count` minutiae on a grid, at the greatest size a template has.
fn crowded(count: u16) -> Template {
    let minutiae = (0..count).map(|i| Minutia {
        x: 16_000 - (i % 16) * 12,
        y: 16_000 - (i / 16) * 12,
        direction: (i * 37 % 256) as u8,
        kind: MinutiaKind::Ending,
        quality: (i % 101) as u8,
    });
    Template::new(ENGINE, 16_383, 16_383, Quality::new(1), minutiae.collect()).unwrap()
}

#[test]
fn templates_of_any_size_are_compared() {
    let sizes: Vec<_> = [0, 1, 2, 3, 60, 96, 97, 255].map(crowded).into();
    for a in &sizes {
        for b in &sizes {
            assert!(score(a, b).is_finite());
        }
    }
    for small in &sizes[..3] {
        let rate = calibration::fmr(compare(&Probe::new(small), &Candidate::new(small)));
        assert!(rate > 0.1, "{} minutiae are no evidence", small.minutiae().len());
    }
    let one_place = |count| {
        let m = Minutia { x: 5, y: 5, direction: 9, kind: MinutiaKind::Ending, quality: 50 };
        Template::new(ENGINE, 10, 10, Quality::new(1), vec![m; count]).unwrap()
    };
    assert!(score(&one_place(255), &one_place(255)).is_finite());
}

#[test]
fn the_sides_of_a_comparison_hardly_matter() {
    for index in 0..30 {
        let (a, b) = (impression(5, index, 0), impression(5, index, 1));
        let (there, back) = (score(&a, &b), score(&b, &a));
        assert!((there - back).abs() <= 0.25 * there.max(back).max(4.0), "{there} and {back}");
    }
}

#[test]
fn a_gallery_answers_as_single_comparisons_do() {
    let templates: Vec<_> = (0..60).map(|index| impression(11, index, 0)).collect();
    let mut gallery = Gallery::new();
    for (key, template) in templates.iter().enumerate() {
        gallery.insert(key as u64, &Candidate::new(template));
    }
    let mut matcher = Matcher::new();
    for wanted in [0_usize, 17, 59] {
        let probe = Probe::new(&impression(11, wanted as u32, 1));
        let found = search(&probe, &gallery, 5, &mut matcher);
        let mut plain: Vec<_> = templates
            .iter()
            .enumerate()
            .map(|(key, template)| (compare(&probe, &Candidate::new(template)).value(), key as u64))
            .collect();
        plain.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1)));
        let best: Vec<_> = found.iter().map(|one| (one.score.value(), one.key)).collect();
        assert_eq!(best, plain[..5]);
        assert_eq!(found[0].key, wanted as u64);
    }
    assert!(search(&Probe::new(&templates[0]), &gallery, 0, &mut matcher).is_empty());
    assert_eq!(search(&Probe::new(&templates[0]), &gallery, 100, &mut matcher).len(), 60);
}

#[test]
fn order_of_insertion_and_removed_templates_leave_no_trace() {
    let candidate = |index: u32| Candidate::new(&impression(12, index % 150, index / 150));
    let (mut straight, mut winding) = (Gallery::new(), Gallery::new());
    for key in 0..40 {
        straight.insert(key, &candidate(key as u32));
    }
    for key in (0..300).rev() {
        winding.insert(key, &candidate(key as u32 + 1));
    }
    let full = winding.memory_bytes();
    for key in 0..40 {
        winding.insert(key, &candidate(key as u32));
    }
    for key in 40..300 {
        assert!(winding.remove(key) && !winding.remove(key));
    }
    assert_eq!((straight.len(), winding.len(), winding.is_empty()), (40, 40, false));
    assert!(winding.memory_bytes() < full / 2, "gaps are closed");
    let mut matcher = Matcher::new();
    let probe = Probe::new(&impression(12, 3, 1));
    let answer = |gallery: &Gallery, matcher: &mut Matcher| search(&probe, gallery, 40, matcher);
    assert_eq!(answer(&straight, &mut matcher), answer(&winding, &mut matcher));
    assert_eq!(straight.compare(&probe, 3, &mut matcher), winding.compare(&probe, 3, &mut matcher));
    assert_eq!(straight.compare(&probe, 77, &mut matcher), None);
}

#[test]
fn a_gallery_entry_is_small() {
    let mut gallery = Gallery::new();
    let count = 500_usize;
    let mut minutiae = 0;
    for index in 0..count {
        let template = impression(13, index as u32, 0);
        minutiae += template.minutiae().len();
        gallery.insert(index as u64, &Candidate::new(&template));
    }
    let each = gallery.memory_bytes() / count;
    assert!(each < 4_096, "{each} bytes for {} minutiae", minutiae / count);
    let largest = (0..9_u64).fold(Gallery::new(), |mut gallery, key| {
        gallery.insert(key, &Candidate::new(&crowded(255)));
        gallery
    });
    assert!(largest.memory_bytes() / 9 < 4_096);
}

/// An impression of less of the finger than usual, by way of the image.
fn pressed(index: u32, number: u32) -> Option<Template> {
    let options = ImpressionOptions {
        width: 256,
        height: 300,
        rotation_deg: 10.0,
        translation_px: 30.0,
        distortion: 1.4,
        ..ImpressionOptions::default()
    };
    let image = finger(Seed(4_711), index).impression(number, &options);
    let image = GreyImage::new(image.width, image.height, image.dpi, image.pixels).unwrap();
    Classical.extract(&image).ok().map(|extraction| extraction.template)
}

#[test]
fn more_impressions_make_a_better_enrolment() {
    let mut means = [0.0_f32; 3];
    for index in 0..8 {
        let all: Vec<_> = (0..6).filter_map(|number| pressed(index, number)).collect();
        let Some((enrolled, probes)) = all.split_at_checked(3) else { continue };
        for (count, mean) in (1..=3).zip(&mut means) {
            let reference = Candidate::new(&merge(&enrolled[..count]).unwrap().template);
            *mean += probes.iter().map(|probe| compare(&Probe::new(probe), &reference).value()).sum::<f32>();
        }
    }
    assert!(means[0] > 0.0 && means[1] > 1.02 * means[0] && means[2] > 1.02 * means[1], "{means:?}");
}

#[test]
fn a_foreign_impression_is_not_merged() {
    let (own, again, other) = (impression(21, 0, 0), impression(21, 0, 1), impression(21, 1, 0));
    let merged = merge(&[own.clone(), other, again]).unwrap();
    assert_eq!(merged.used, [0, 2]);
    assert!(merged.template.minutiae().len() > own.minutiae().len());
    let alone = merge(std::slice::from_ref(&own)).unwrap();
    assert!(alone.template == own && alone.base == 0);
}

#[test]
fn merging_is_refused_where_nothing_fits() {
    assert_eq!(merge(&[]).unwrap_err(), MergeError::Empty);
    let old = Template::new(Engine::new(ENGINE_NAME, ENGINE_VERSION + 1), 10, 10, Quality::new(1), vec![]).unwrap();
    assert_eq!(merge(&[impression(21, 0, 0), old]).unwrap_err(), MergeError::MixedVersions);
    let all: Vec<_> = (0..7).map(|number| impression(22, 0, number)).collect();
    let merged = merge(&all).unwrap();
    assert!(merged.template.minutiae().len() <= 255 && merged.used.len() > 1);
    // Too little to agree on: the own one is returned as it is.
    for few in 0..3 {
        let minutiae = impression(21, 0, 1).minutiae()[..few].to_vec();
        let sparse = Template::new(ENGINE, 999, 999, Quality::new(1), minutiae).unwrap();
        for pair in [[sparse.clone(), sparse.clone()], [impression(21, 0, 0), sparse]] {
            let merged = merge(&pair).unwrap();
            assert!(merged.used == [0] && merged.template == pair[0], "{few} minutiae");
        }
    }
    let crowd = merge(&[crowded(255), crowded(255), crowded(254)]).unwrap();
    assert!(crowd.template.minutiae().len() <= 255);
}
