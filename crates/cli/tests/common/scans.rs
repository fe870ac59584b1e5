//! Requests of every kind about a few subjects, with images that cost little.

use ridgeline_client::{Sample, Scan};
use ridgeline_domain::Operation;
use ridgeline_fingerprint::{GreyImage, encode_png};
use ridgeline_synth::{ImpressionOptions, Seed, finger};

const SUBJECTS: usize = 10;

/// Parts of impressions: what is refused for its quality is decided like any other.
pub(crate) fn images() -> Vec<Vec<u8>> {
    let finger = finger(Seed(9), 0);
    (0..8)
        .map(|number| {
            let whole = finger.impression(number, &ImpressionOptions::default());
            let (width, height) = (240, 240);
            let (left, top) = ((whole.width - width) / 2, (whole.height - height) / 2);
            let pixels = (top..top + height)
                .flat_map(|y| (left..left + width).map(move |x| (y * whole.width + x) as usize))
                .map(|at| whole.pixels[at])
                .collect();
            encode_png(&GreyImage::new(width, height, 500, pixels).unwrap())
        })
        .collect()
}

/// A request about one of ten subjects; most carry an image.
pub(crate) fn scan(number: usize, images: &[Vec<u8>]) -> Scan {
    let operation = match number % 10 {
        0 => Operation::Delete,
        1 | 2 => Operation::Enrol,
        3 | 4 => Operation::Identify,
        5 => Operation::Extract,
        _ => Operation::Verify,
    };
    let subject = operation.needs_subject().then(|| format!("s{}", number / 10 % SUBJECTS).parse().unwrap());
    let image = Sample::image("png", &images[number % images.len()], Some(500));
    Scan::new(operation, subject, if operation.needs_samples() { vec![image] } else { vec![] })
}
