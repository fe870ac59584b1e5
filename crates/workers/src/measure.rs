//! From opened samples to something comparable: decoding and extraction, on the CPU pool.

use ridgeline_domain::Sensitive;
use ridgeline_fingerprint::formats::FOREIGN_ENGINE;
use ridgeline_fingerprint::{Classical, ExtractError, Extractor, GreyImage, ImageFormat, Limits, Template, decode};
use ridgeline_flow::{ImageDigests, Probe, Sample, SealedProbe, Unusable};
use ridgeline_vault::{
    SEALED_SAMPLE_BYTES_MAX, TemplateHeader, TemplateKind, Vault, image_digest, open_template, peek_template,
};

use crate::admit::{Opened, OpenedSample};
use crate::platform::engine;
use crate::subject::usable;

/// Fewer minutiae tell no fingers apart; our own extractor refuses as few.
const FOREIGN_MINUTIAE_MIN: usize = 6;

/// Length of both digests of an image.
const IMAGE_DIGESTS_BYTES: usize = 64;

/// Measures every sample of a request. Whether a sealed probe was used before is asked later, from the store.
pub(crate) fn measure(vault: &Vault, opened: &Opened) -> Vec<Sample> {
    let one = |sample: &OpenedSample| match sample.format.as_str() {
        "image" => Sample::Image(image(vault, sample)),
        "minutiae" => Sample::Image(minutiae(vault, sample)),
        "sealed" => sealed(vault, sample.bytes.expose()),
        _ => Sample::Image(Err(Unusable::Undecodable)),
    };
    opened.samples.iter().map(one).collect()
}

fn image(vault: &Vault, sample: &OpenedSample) -> Result<Probe, Unusable> {
    // An agent is trusted to seal, not to be careful: the limits hold here again. What is sealed may be larger in bytes than what
    // a caller may send, since it is encoded anew.
    let limits = Limits { max_bytes: SEALED_SAMPLE_BYTES_MAX, ..Limits::default() };
    let image =
        decode(sample.bytes.expose(), Some(ImageFormat::Png), None, &limits).map_err(|_| Unusable::Undecodable)?;
    let extraction = Classical.extract(&image).map_err(|error| match error {
        ExtractError::NotAFingerprint | ExtractError::TooSmall | ExtractError::TooLarge => Unusable::NotAFingerprint,
    })?;
    let seen = digest(vault, &image);
    // Who sealed it says what the picture was before cropping and scaling; without that the canonical pixels have to do.
    let source = if sample.source_digest.is_empty() { seen } else { image_digest(vault, &sample.source_digest) };
    Ok(Probe { template: extraction.template, image: ImageDigests { seen, source } })
}

/// Minutiae that another system found. They carry no image, so their own digests stand where an image's would, and the quality
/// that they claim where a measured one would. Whatever an agent sends, its templates are foreign here.
fn minutiae(vault: &Vault, sample: &OpenedSample) -> Result<Probe, Unusable> {
    let bytes = sample.bytes.expose();
    let template = Template::from_bytes(bytes)
        .ok()
        .filter(|template| *template.engine() == FOREIGN_ENGINE)
        .ok_or(Unusable::Undecodable)?;
    if template.minutiae().len() < FOREIGN_MINUTIAE_MIN {
        return Err(Unusable::NotAFingerprint);
    }
    // Over one form, whatever layout the agent writes.
    let seen = image_digest(vault, Sensitive::new(template.to_bytes()).expose());
    let source = if sample.source_digest.is_empty() { seen } else { image_digest(vault, &sample.source_digest) };
    Ok(Probe { template, image: ImageDigests { seen, source } })
}

/// What is sealed for a caller: the digests of the image go with its template, so that a detour over a template hides no replay.
pub(crate) fn sealed_body(probe: &Probe) -> Vec<u8> {
    [probe.image.to_bytes(), probe.template.to_bytes()].concat()
}

fn probe_of(body: &[u8]) -> Option<Probe> {
    let (digests, template) = body.split_at_checked(IMAGE_DIGESTS_BYTES)?;
    Some(Probe { template: usable(template)?, image: ImageDigests::from_bytes(digests)? })
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
    let (header, probe) = match open_template(vault, bytes) {
        Ok((header, body)) => {
            let own = header.engine == engine();
            (header, own.then(|| probe_of(body.expose())).flatten())
        }
        Err(_) => match peek_template(bytes) {
            Ok(header) => (header, None),
            Err(_) => return Sample::Image(Err(Unusable::Undecodable)),
        },
    };
    let TemplateHeader { kind, id, subject, made_at, .. } = header;
    Sample::Sealed(SealedProbe { is_probe: kind == TemplateKind::Probe, id, subject, made_at, used_by: None, probe })
}
