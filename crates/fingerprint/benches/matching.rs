//! Comparing, preparing and searching against a fixed amount of bit counting, measured in turns in one run.
//!
//! The yardstick counts the common bits of 35 × 35 pairs of 256-bit words the plain way: no engine's work, the
//! same in every version. Figures are multiples of it (lower is faster), and rates between sizes of templates.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]
#![allow(clippy::unwrap_used, reason = "a bench on inputs of its own making")]

use std::hint::black_box;
use std::time::Instant;

use ridgeline_fingerprint::{
    Candidate, ENGINE, Gallery, Matcher, Minutia, MinutiaKind, Probe, Quality, Template, search,
};
use ridgeline_synth::{Seed, template_minutiae, template_size};

const SIZES: [usize; 4] = [25, 35, 52, 90];
const FINGERS: usize = 60;
const ROUNDS: usize = 9;

fn main() {
    let sets: Vec<_> = SIZES.iter().map(|size| templates(*size)).collect();
    let mut times = vec![Vec::new(); SIZES.len()];
    let (mut yard, mut prepare, mut decode) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        yard.push(yardstick());
        for (set, times) in sets.iter().zip(&mut times) {
            times.push(search_each(set));
        }
        prepare.push(each(&sets[1], |template| drop(black_box(Probe::new(template)))));
        let stored: Vec<_> = sets[1].iter().map(Template::to_bytes).collect();
        decode.push(each(&stored, |bytes| drop(black_box(Candidate::new(&Template::from_bytes(bytes).unwrap())))));
    }
    let yard = median(yard);
    let times: Vec<_> = times.into_iter().map(median).collect();
    println!("multiples of the yardstick ({:.2} µs here)", yard * 1e6);
    for (size, time) in SIZES.iter().zip(&times) {
        println!(
            "compare strangers, {size} minutiae   {:6.2}   rate against 25: 1/{:.2}",
            time / yard,
            time / times[0]
        );
    }
    println!("prepare a probe, 35 minutiae       {:6.2}", median(prepare) / yard);
    println!("decode and prepare for a gallery   {:6.2}", median(decode) / yard);
    for (size, set) in SIZES.iter().zip(&sets) {
        println!("gallery entry, {size} minutiae   {:5} bytes", gallery(set).memory_bytes() / set.len());
    }
}

/// Templates of exactly `size` minutiae: those of an impression, and of another finger's where they do not suffice.
fn templates(size: usize) -> Vec<Template> {
    let (width, height) = template_size();
    let of = |index: u32| {
        let more = template_minutiae(Seed(3), index + 10_000, 0);
        let all = template_minutiae(Seed(3), index, 0).into_iter().chain(more).take(size);
        let minutiae =
            all.map(|m| Minutia { x: m.x, y: m.y, direction: m.direction, kind: MinutiaKind::Ending, quality: 50 });
        Template::new(ENGINE, width, height, Quality::new(50), minutiae.collect()).unwrap()
    };
    let all: Vec<_> = (0..).map(of).filter(|template| template.minutiae().len() == size).take(FINGERS).collect();
    assert_eq!(all.len(), FINGERS);
    all
}

fn gallery(templates: &[Template]) -> Gallery {
    let mut gallery = Gallery::new();
    for (key, template) in templates.iter().enumerate() {
        gallery.insert(key as u64, &Candidate::new(template));
    }
    gallery
}

/// Seconds a comparison of strangers, each probe prepared before the clock starts.
fn search_each(templates: &[Template]) -> f64 {
    let (probes, enrolled) = templates.split_at(templates.len() / 2);
    let (gallery, mut matcher) = (gallery(enrolled), Matcher::new());
    let probes: Vec<_> = probes.iter().map(Probe::new).collect();
    each(&probes, |probe| drop(black_box(search(probe, &gallery, 2, &mut matcher)))) / gallery.len() as f64
}

fn yardstick() -> f64 {
    let word = |i: usize| (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let words: Vec<[u64; 4]> = (0..35).map(|i| std::array::from_fn(|w| word(4 * i + w))).collect();
    let begun = Instant::now();
    let mut sum = 0_u32;
    for _ in 0..200 {
        for a in black_box(&words) {
            for b in black_box(&words) {
                sum += a.iter().zip(b).map(|(x, y)| (x & y).count_ones()).sum::<u32>();
            }
        }
    }
    black_box(sum);
    begun.elapsed().as_secs_f64() / 200.0
}

fn each<T>(all: &[T], mut work: impl FnMut(&T)) -> f64 {
    let begun = Instant::now();
    for one in all {
        work(one);
    }
    begun.elapsed().as_secs_f64() / all.len() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
