//! Synthetic fingers, grown once for all tests of this binary.

use std::sync::OnceLock;

use ridgeline_domain::Sensitive;
use ridgeline_fingerprint::formats::{Record, RecordFormat};
use ridgeline_fingerprint::{Classical, Extractor as _, GreyImage, Limits, decode, encode_png};
use ridgeline_intake::{PreparedSample, RawSample, prepare};
use ridgeline_synth::{Finger, ImpressionOptions, NonFinger, Seed, finger, not_a_fingerprint};

const SEED: Seed = Seed(77);
const FINGERS: usize = 4;

fn grown(index: usize) -> &'static Finger {
    static ALL: [OnceLock<Finger>; FINGERS] = [const { OnceLock::new() }; FINGERS];
    ALL[index].get_or_init(|| finger(SEED, u32::try_from(index).unwrap()))
}

/// An impression as a PNG file.
pub(crate) fn png(index: usize, impression: u32) -> Vec<u8> {
    let image = grown(index).impression(impression, &ImpressionOptions::default());
    encode_png(&GreyImage::new(image.width, image.height, image.dpi, image.pixels).unwrap())
}

/// An impression, ready to be sealed.
pub(crate) fn sample(index: usize, impression: u32) -> PreparedSample {
    prepared(png(index, impression))
}

/// The same file, declared to have another resolution.
pub(crate) fn at_dpi(index: usize, impression: u32, dpi: u16) -> PreparedSample {
    prepare(&RawSample { format: None, bytes: Sensitive::new(png(index, impression)), dpi: Some(dpi) }).unwrap()
}

/// An image that shows no finger.
pub(crate) fn noise() -> PreparedSample {
    let image = not_a_fingerprint(SEED, NonFinger::Noise);
    prepared(encode_png(&GreyImage::new(image.width, image.height, image.dpi, image.pixels).unwrap()))
}

/// A white sheet.
pub(crate) fn white() -> PreparedSample {
    prepared(encode_png(&GreyImage::new(300, 400, 500, vec![255; 300 * 400]).unwrap()))
}

/// What another system would have made of an impression: its minutiae as a record of `format`.
pub(crate) fn foreign(index: usize, impression: u32, format: RecordFormat) -> PreparedSample {
    let image = decode(&png(index, impression), None, None, &Limits::default()).unwrap();
    let template = Classical.extract(&image).unwrap().template;
    record(&Record::of_template(format, &template, 0).unwrap())
}

/// A minutiae record as a caller sends it.
pub(crate) fn record(record: &Record) -> PreparedSample {
    let format = Some(ridgeline_intake::SampleFormat::Record(Some(record.format.family())));
    prepare(&RawSample { format, bytes: Sensitive::new(record.encode().unwrap()), dpi: None }).unwrap()
}

fn prepared(png: Vec<u8>) -> PreparedSample {
    prepare(&RawSample { format: None, bytes: Sensitive::new(png), dpi: None }).unwrap()
}

/// A sealed template, as a caller hands it back.
pub(crate) fn sealed(bytes: Vec<u8>) -> PreparedSample {
    let format = Some(ridgeline_intake::SampleFormat::Sealed);
    prepare(&RawSample { format, bytes: Sensitive::new(bytes), dpi: None }).unwrap()
}
