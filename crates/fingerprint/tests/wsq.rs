//! WSQ: against published images and their decoded form, and against whatever else comes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::path::PathBuf;

use ridgeline_fingerprint::{GreyImage, ImageError, ImageFormat, Limits, decode};

/// A generator of its own, so that a case can be named by its number for ever.
struct Numbers(u32);

impl Numbers {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % end
    }
}

/// The symbols of the test's only Huffman table, each with a code of four bits, but the last two with five.
const SYMBOLS: [u8; 16] = [181, 179, 182, 178, 183, 1, 2, 5, 100, 101, 102, 103, 104, 105, 106, 107];
const SCALE_OF_TAPS: u8 = 9;
const ANALYSIS_LOW: [i64; 5] = [852_698_679, 377_402_856, -110_624_404, -23_849_465, 37_828_456];
const ANALYSIS_HIGH: [i64; 4] = [788_485_616, -418_092_273, -40_689_418, 64_538_883];

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    value: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            self.value = self.value << 1 | (value >> at & 1);
            self.count += 1;
            if self.count == 8 {
                self.bytes.push(self.value as u8);
                if self.value as u8 == 0xFF {
                    self.bytes.push(0);
                }
                (self.value, self.count) = (0, 0);
            }
        }
    }

    fn symbol(&mut self, symbol: u8) {
        let place = SYMBOLS.iter().position(|s| *s == symbol).unwrap() as u32;
        if place < 14 { self.put(place, 4) } else { self.put(28 + place - 14, 5) }
    }

    fn zeros(&mut self, mut count: usize) {
        while count > 0 {
            let run = count.min(65_535);
            self.symbol(106);
            self.put(run as u32, 16);
            count -= run;
        }
    }

    fn padded(mut self) -> Vec<u8> {
        while self.count > 0 {
            self.put(1, 1);
        }
        self.bytes
    }
}

fn segment(out: &mut Vec<u8>, marker: u8, content: &[u8]) {
    out.extend_from_slice(&[0xFF, marker]);
    out.extend_from_slice(&(content.len() as u16 + 2).to_be_bytes());
    out.extend_from_slice(content);
}

/// A file of one block, with shift 100, scale 2 and all bins 1 wide around a zero bin of 1.2.
fn file(width: u16, height: u16, block: &[u8]) -> Vec<u8> {
    let mut out = vec![0xFF, 0xA0];
    segment(&mut out, 0xA8, b"NIST_COM 3\nPIX_WIDTH 40\nPPI 500\n");
    let mut taps = vec![9, 7];
    for tap in ANALYSIS_LOW.iter().chain(&ANALYSIS_HIGH) {
        taps.extend_from_slice(&[u8::from(*tap < 0), SCALE_OF_TAPS]);
        taps.extend_from_slice(&(tap.unsigned_abs() as u32).to_be_bytes());
    }
    segment(&mut out, 0xA4, &taps);
    let mut bins = vec![2, 0, 44];
    (0..64).for_each(|_| bins.extend_from_slice(&[0, 0, 1, 1, 0, 12]));
    segment(&mut out, 0xA5, &bins);
    let mut frame = vec![0, 255];
    frame.extend_from_slice(&height.to_be_bytes());
    frame.extend_from_slice(&width.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 100, 0, 0, 2, 2, 0, 0]);
    segment(&mut out, 0xA2, &frame);
    let mut table = vec![0, 0, 0, 0, 14, 2];
    table.resize(17, 0);
    table.extend_from_slice(&SYMBOLS);
    segment(&mut out, 0xA6, &table);
    segment(&mut out, 0xA3, &[0]);
    out.extend_from_slice(block);
    out.extend_from_slice(&[0xFF, 0xA1]);
    out
}

/// Coefficients of a plane without its four uncoded subbands.
fn coded(width: usize, height: usize) -> usize {
    width * height - (width / 2) * (height / 2)
}

fn noise(width: u16, height: u16) -> Vec<u8> {
    let mut numbers = Numbers(9);
    let mut bits = Bits::default();
    let mut left = coded(width.into(), height.into());
    while left > 0 {
        let symbol = SYMBOLS[numbers.below(16) as usize];
        let count = match symbol {
            1..=100 => usize::from(symbol),
            105 | 106 => 300,
            _ => 1,
        };
        if count > left || symbol == 105 {
            continue;
        }
        bits.symbol(symbol);
        match symbol {
            101 | 102 => bits.put(numbers.below(256), 8),
            103 | 104 => bits.put(numbers.below(400), 16),
            106 => bits.put(300, 16),
            _ => {}
        }
        left -= count;
    }
    file(width, height, &bits.padded())
}

fn read(bytes: &[u8]) -> Result<GreyImage, ImageError> {
    decode(bytes, Some(ImageFormat::Wsq), None, &Limits::default())
}

/// A constant image has only coefficients of the lowest band: each of five steps doubles them.
#[test]
fn a_constant_comes_back() {
    for (width, height) in [(64_u16, 64_u16), (40, 36), (97, 161)] {
        let mut bits = Bits::default();
        let lowest = usize::from(width).div_ceil(32) * usize::from(height).div_ceil(32);
        for _ in 0..lowest {
            bits.symbol(103);
            bits.put(640, 16);
        }
        bits.zeros(coded(width.into(), height.into()) - lowest);
        let image = read(&file(width, height, &bits.padded())).unwrap();
        // (640 - 0.44 + 0.6) / 32 × 2 + 100 = 140.01
        assert!(image.pixels().iter().all(|pixel| *pixel == 140), "{width}x{height}");
        assert_eq!((image.width(), image.height(), image.dpi()), (width.into(), height.into(), 500));
    }
}

#[test]
fn every_prefix_is_refused() {
    let bytes = noise(40, 36);
    assert!(read(&bytes).is_ok());
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "cut to {length} of {}", bytes.len());
    }
}

#[test]
fn sizes_are_refused_before_anything_is_allocated() {
    let huge = file(10_000, 10_000, &[]);
    let limits = Limits::default();
    let refused = |bytes: &[u8]| decode(bytes, None, Some(500), &limits).unwrap_err();
    assert_eq!(refused(&huge), ImageError::TooManyPixels { width: 10_000, height: 10_000, max: limits.max_pixels });
    assert_eq!(refused(&file(31, 400, &[])), ImageError::TooSmall { width: 31, height: 400 });
    assert_eq!(refused(&file(0, 0, &[])), ImageError::TooSmall { width: 0, height: 0 });
    assert_eq!(refused(&file(400, 400, &[])), ImageError::Malformed);
    let mut unknown = noise(40, 36);
    let at = unknown.windows(4).position(|text| text == b"PPI ").unwrap();
    unknown[at + 4] = b'-';
    assert_eq!(read(&unknown).unwrap_err(), ImageError::MissingDpi);
}

#[test]
fn more_or_fewer_coefficients_than_pixels_are_refused() {
    for (more, fewer) in [(1, 0), (100, 0), (0, 1), (0, 700)] {
        let mut bits = Bits::default();
        bits.zeros(coded(40, 36) + more - fewer);
        assert_eq!(read(&file(40, 36, &bits.padded())).unwrap_err(), ImageError::Malformed);
    }
}

/// 20 000 damaged files: an error or an image, never a panic.
#[test]
fn damaged_files_never_panic() {
    let whole = noise(40, 36);
    let headers = whole.windows(2).position(|pair| pair == [0xFF, 0xA3]).unwrap() as u32 + 6;
    let mut numbers = Numbers(77);
    let mut read_anyway = 0;
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + numbers.below(3) {
            let end = if numbers.below(3) > 0 { headers } else { bytes.len() as u32 };
            let at = numbers.below(end.min(bytes.len() as u32)) as usize;
            match numbers.below(5) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.insert(at, numbers.below(256) as u8),
                2 => bytes[at] ^= 1 << numbers.below(8),
                3 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][numbers.below(5) as usize],
                _ => bytes[at] = numbers.below(256) as u8,
            }
        }
        read_anyway += usize::from(decode(&bytes, Some(ImageFormat::Wsq), Some(500), &Limits::default()).is_ok());
    }
    assert!((500..15_000).contains(&read_anyway), "{read_anyway} were read");
}

/// The seed of the fuzz target `wsq` is this file's image; whatever else lies there was found once and is tried again.
#[test]
fn the_corpus_is_replayed() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/wsq");
    let (seed, bytes) = (folder.join("noise.wsq"), noise(40, 36));
    if std::env::var_os("RIDGELINE_BLESS").is_some() {
        std::fs::write(&seed, &bytes).unwrap();
    }
    assert!(std::fs::read(&seed).unwrap() == bytes);
    for entry in std::fs::read_dir(folder).unwrap() {
        let _ = read(&std::fs::read(entry.unwrap().path()).unwrap());
    }
}

fn data() -> Option<PathBuf> {
    let Ok(root) = std::env::var("RIDGELINE_TEST_DATA") else {
        println!("skipped: RIDGELINE_TEST_DATA is not set");
        return None;
    };
    Some(PathBuf::from(root))
}

/// Greatest and mean difference, and the peak signal-to-noise ratio in decibels.
fn difference(a: &[u8], b: &[u8]) -> (u8, f64, f64) {
    let pairs = || a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    let count = a.len().min(b.len()) as f64;
    let mean = pairs().map(f64::from).sum::<f64>() / count;
    let square = pairs().map(|difference| f64::from(difference).powi(2)).sum::<f64>() / count;
    (pairs().max().unwrap(), mean, 10.0 * (255.0 * 255.0 / square).log10())
}

/// Decoders of the standard may differ by rounding: by one grey value, in few pixels.
#[test]
fn a_published_image_is_decoded_to_its_published_pixels() {
    let Some(folder) = data().map(|root| root.join("wsq")) else { return };
    let wsq = std::fs::read(folder.join("wsq-original.wsq")).unwrap();
    let image = read(&wsq).or_else(|_| decode(&wsq, None, Some(500), &Limits::default())).unwrap();
    let png = std::fs::read(folder.join("wsq-converted.png")).unwrap();
    let expected = decode(&png, Some(ImageFormat::Png), Some(500), &Limits::default()).unwrap();
    assert_eq!((image.width(), image.height()), (expected.width(), expected.height()));
    let (most, mean, ratio) = difference(image.pixels(), expected.pixels());
    println!("wsq-original: most {most}, mean {mean:.5}, {ratio:.1} dB");
    assert!(most <= 1 && mean < 0.01, "most {most}, mean {mean}");
}

/// What the compression costs and no more. These files were made from grey maps whose header of 15 bytes went in as if it
/// were pixels, so they lie that much later.
#[test]
fn lossy_twins_are_close_to_their_originals() {
    let Some(root) = data() else { return };
    let header = b"P5\n300 300\n255\n";
    for name in ["101_1", "101_2", "102_1"] {
        let wsq = std::fs::read(root.join(format!("wsq/fvc2000_db1_b_{name}.wsq"))).unwrap();
        let tiff = std::fs::read(root.join(format!("fingerprint/fvc2000_db1_b/{name}.tif"))).unwrap();
        let image = decode(&wsq, Some(ImageFormat::Wsq), Some(500), &Limits::default()).unwrap();
        let original = decode(&tiff, Some(ImageFormat::Tiff), Some(500), &Limits::default()).unwrap();
        let compressed = [header.as_slice(), original.pixels()].concat();
        assert_eq!((image.width(), image.height()), (300, 300));
        let (most, mean, ratio) = difference(image.pixels(), &compressed);
        println!("{name}: most {most}, mean {mean:.3}, {ratio:.1} dB");
        assert!(ratio > 43.0 && mean < 1.5, "{name}: most {most}, mean {mean}, {ratio} dB");
    }
}
