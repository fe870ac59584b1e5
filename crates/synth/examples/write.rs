//! Writes synthetic fingerprints as PNG: `write OUT FINGERS IMPRESSIONS SEED`.
#![allow(clippy::print_stderr)]

use std::path::PathBuf;

use ridgeline_synth::{ImpressionOptions, NonFinger, Seed, finger, not_a_fingerprint};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: write OUT FINGERS IMPRESSIONS SEED");
    let out = PathBuf::from(next()?);
    let (fingers, impressions, seed) = (next()?.parse()?, next()?.parse()?, Seed(next()?.parse()?));
    std::fs::create_dir_all(&out)?;
    for index in 0..fingers {
        let finger = finger(seed, index);
        for number in 0..impressions {
            let image = finger.impression(number, &ImpressionOptions::default());
            save(&image, &out.join(format!("{}_{}.png", index + 1, number + 1)))?;
        }
        eprintln!("{} {:?}", index + 1, finger.class());
    }
    let others = out.join("no-finger");
    std::fs::create_dir_all(&others)?;
    for kind in NonFinger::ALL {
        save(&not_a_fingerprint(seed, kind), &others.join(format!("{kind:?}.png").to_lowercase()))?;
    }
    Ok(())
}

fn save(image: &ridgeline_synth::Image, path: &std::path::Path) -> Result<(), image::ImageError> {
    image::save_buffer(path, &image.pixels, image.width, image.height, image::ColorType::L8)
}
