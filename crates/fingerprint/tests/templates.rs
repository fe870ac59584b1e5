//! The template codec and the properties of comparison.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use ridgeline_fingerprint::{
    Candidate, ENGINE, Minutia, MinutiaKind, Probe, Quality, Template, TemplateError, calibration, compare,
};

const SIDE: u16 = 800;

fn minutia() -> impl Strategy<Value = Minutia> {
    (250..550_u16, 250..550_u16, any::<u8>(), any::<bool>(), 40..=100_u8).prop_map(
        |(x, y, direction, ending, quality)| Minutia {
            x,
            y,
            direction,
            kind: if ending { MinutiaKind::Ending } else { MinutiaKind::Bifurcation },
            quality,
        },
    )
}

/// Minutiae at least 14 pixels apart, as ridges keep them.
fn minutiae(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Minutia>> {
    proptest::collection::vec(minutia(), count).prop_map(|all| {
        let mut kept: Vec<Minutia> = Vec::new();
        for m in all {
            let near = |k: &Minutia| k.x.abs_diff(m.x) < 14 && k.y.abs_diff(m.y) < 14;
            if !kept.iter().any(near) {
                kept.push(m);
            }
        }
        kept
    })
}

fn template(minutiae: Vec<Minutia>) -> Template {
    Template::new(ENGINE, SIDE, SIDE, Quality::new(70), minutiae).unwrap()
}

fn score(a: &Template, b: &Template) -> f32 {
    compare(&Probe::new(a), &Candidate::new(b)).value()
}

/// Turned by `turn`/256 counter-clockwise about the centre and shifted.
fn moved(minutiae: &[Minutia], turn: u8, dx: i16, dy: i16) -> Vec<Minutia> {
    let (sin, cos) = (f32::from(turn) * std::f32::consts::TAU / 256.0).sin_cos();
    let place = |m: &Minutia| {
        let (x, y) = (f32::from(m.x) - 400.0, 400.0 - f32::from(m.y));
        Minutia {
            x: (400.0 + cos * x - sin * y + f32::from(dx)).round() as u16,
            y: (400.0 - sin * x - cos * y + f32::from(dy)).round() as u16,
            direction: m.direction.wrapping_add(turn),
            ..*m
        }
    };
    minutiae.iter().map(place).collect()
}

proptest! {
    // Random points are not fingers: what holds of scores holds for nearly all of them, so these run over one fixed sample.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(7), failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn bytes_round_trip(all in minutiae(0..300)) {
        let written = template(all);
        prop_assert!(written.minutiae().len() <= 255);
        let read = Template::from_bytes(&written.to_bytes()).unwrap();
        prop_assert!(read == written);
    }

    #[test]
    fn every_prefix_is_refused(all in minutiae(1..40)) {
        let bytes = template(all).to_bytes();
        for length in 0..bytes.len() {
            prop_assert!(Template::from_bytes(&bytes[..length]).is_err());
        }
        let mut longer = bytes;
        longer.push(0);
        prop_assert_eq!(Template::from_bytes(&longer).unwrap_err(), TemplateError::BadLength);
    }

    #[test]
    fn flipped_bits_are_refused_or_read_exactly(all in minutiae(1..40), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = template(all).to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(read) = Template::from_bytes(&bytes) {
            prop_assert!(read.to_bytes() == bytes);
        }
    }

    #[test]
    fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(read) = Template::from_bytes(&bytes) {
            prop_assert!(read.to_bytes() == bytes);
        }
    }

    #[test]
    fn order_of_minutiae_does_not_matter(all in minutiae(20..50), other in minutiae(20..50)) {
        let mut reversed = all.clone();
        reversed.reverse();
        let other = template(other);
        prop_assert_eq!(score(&template(all), &other), score(&template(reversed), &other));
    }

    #[test]
    fn score_does_not_depend_on_place_and_rotation(
        all in minutiae(30..50), turn in any::<u8>(), dx in -100..100_i16, dy in -100..100_i16,
    ) {
        let fixed = template(all.clone());
        let own = score(&fixed, &fixed);
        let other = score(&fixed, &template(moved(&all, turn, dx, dy)));
        prop_assert!((own - other).abs() <= 0.12 * own, "{} at home, {} moved", own, other);
    }

    #[test]
    fn a_finger_resembles_itself_more_than_others(all in minutiae(25..50), other in minutiae(25..50)) {
        // With a handful of minutiae neither comparison is evidence.
        prop_assume!(all.len() >= 15 && other.len() >= 15);
        let (a, b) = (template(all), template(other));
        prop_assert!(score(&a, &a) > 1.5 * score(&a, &b));
    }

    #[test]
    fn false_match_rate_falls_with_the_score(a in 0.0..100.0_f32, b in 0.0..100.0_f32) {
        let (low, high) = (a.min(b), a.max(b));
        let rate = |s| calibration::fmr(ridgeline_fingerprint::Score::new(s));
        prop_assert!(rate(low) >= rate(high) && rate(high) > 0.0 && rate(low) <= 1.0);
    }
}

#[test]
fn fields_out_of_range_are_refused() {
    let m = Minutia { x: 10, y: 10, direction: 0, kind: MinutiaKind::Ending, quality: 50 };
    let make = |side, m| Template::new(ENGINE, side, 20, Quality::new(1), vec![m]);
    assert!(make(20, m).is_ok());
    assert!(make(0, m).is_err());
    assert!(make(10, m).is_err());
    assert!(make(20_000, m).is_err());
    assert!(make(20, Minutia { quality: 101, ..m }).is_err());
}

#[test]
fn debug_prints_a_count_only() {
    let m = Minutia { x: 123, y: 45, direction: 0, kind: MinutiaKind::Ending, quality: 50 };
    assert_eq!(format!("{:?}", template(vec![m])), "Template(1 minutiae)");
}

#[test]
fn empty_templates_match_nothing() {
    let (none, some) = (template(Vec::new()), template(Vec::new()));
    assert!(calibration::fmr(compare(&Probe::new(&none), &Candidate::new(&some))) > 0.01);
}
