//! From opened samples to something comparable: decoding and extraction, on the CPU pool.

use ridgeline_fingerprint::{Classical, ExtractError, Extractor, GreyImage, ImageFormat, Limits, decode};
use ridgeline_flow::{Probe, Sample, SealedProbe, Unusable};
use ridgeline_vault::{TemplateHeader, TemplateKind, Vault, image_digest, open_template, peek_template};

use crate::admit::Opened;
use crate::platform::engine;
use crate::subject::usable;

/// Measures every sample of a request. Whether a sealed probe was used before is asked later, from the store.
pub(crate) fn measure(vault: &Vault, opened: &Opened) -> Vec<Sample> {
    let one = |(format, bytes): &(String, ridgeline_domain::Sensitive<Vec<u8>>)| match format.as_str() {
        "image" => Sample::Image(image(vault, bytes.expose())),
        "sealed" => sealed(vault, bytes.expose()),
        _ => Sample::Image(Err(Unusable::Undecodable)),
    };
    opened.samples.iter().map(one).collect()
}

fn image(vault: &Vault, bytes: &[u8]) -> Result<Probe, Unusable> {
    // An agent is trusted to seal, not to be careful: the limits hold here again.
    let image = decode(bytes, Some(ImageFormat::Png), None, &Limits::default()).map_err(|_| Unusable::Undecodable)?;
    let extraction = Classical.extract(&image).map_err(|error| match error {
        ExtractError::NotAFingerprint | ExtractError::TooSmall | ExtractError::TooLarge => Unusable::NotAFingerprint,
    })?;
    Ok(Probe { template: extraction.template, image_digest: Some(digest(vault, &image)) })
}

/// Keyed digest over size and pixels, so that another file of the same image is recognised.
fn digest(vault: &Vault, image: &GreyImage) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(image.pixels().len() + 8);
    bytes.extend(image.width().to_be_bytes());
    bytes.extend(image.height().to_be_bytes());
    bytes.extend(image.pixels());
    image_digest(vault, &bytes)
}

fn sealed(vault: &Vault, bytes: &[u8]) -> Sample {
    // Every failure to open is an incompatible template, also an unknown key version: the bytes come from a caller, who must
    // not be able to make a record wait for a key that will never come.
    let (header, template) = match open_template(vault, bytes) {
        Ok((header, template)) => {
            let own = header.engine == engine();
            (header, own.then(|| usable(template.expose())).flatten())
        }
        Err(_) => match peek_template(bytes) {
            Ok(header) => (header, None),
            Err(_) => return Sample::Image(Err(Unusable::Undecodable)),
        },
    };
    let TemplateHeader { kind, id, subject, made_at, .. } = header;
    Sample::Sealed(SealedProbe { is_probe: kind == TemplateKind::Probe, id, subject, made_at, used_by: None, template })
}
