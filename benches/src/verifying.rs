//! Verification by template: subjects that are enrolled, and probes from templates that were extracted once.
//!
//! A caller sends a minutiae record, or the sealed probe that an extraction returned: single use and at most 60 s old. The latter is
//! sealed here by the service's own vault, one for each call.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ridgeline_client::{Client, Sample, Scan, SealedTemplate};
use ridgeline_domain::{Operation, Outcome, SubjectId};
use ridgeline_fingerprint::formats::{Record, RecordFormat};
use ridgeline_fingerprint::{
    Candidate, Classical, Extractor, GreyImage, Limits, Matcher, Probe, Template, decode, encode_png,
};
use ridgeline_ports::{Clock as _, Entropy as _, partition_of};
use ridgeline_runtime::{CpuPool, SystemClock, SystemEntropy};
use ridgeline_synth::{ImpressionOptions, Seed, finger};
use ridgeline_vault::{TemplateHeader, TemplateKind, Vault, seal_template};
use ridgeline_wire::{Topic, Topology};
use ridgeline_workers::engine;

use crate::{Timed, time};

const FINGERS: u32 = 4;
const ENROLLED: u32 = 2;
const PROBES: u32 = 4;
const WAIT: Duration = Duration::from_secs(30);

/// Enrolled subjects and what is compared with them.
pub struct Verifying {
    client: Arc<Client>,
    subjects: Vec<SubjectId>,
    fingers: Vec<Finger>,
}

struct Finger {
    /// Encoded images of the probes.
    images: Vec<Vec<u8>>,
    enrolled: Vec<Vec<u8>>,
    probes: Vec<Vec<u8>>,
    /// The probes as minutiae records.
    records: Vec<Vec<u8>>,
}

/// What a caller verifies by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A record of ISO/IEC 19794-2.
    Record,
    /// A sealed probe.
    SealedProbe,
}

impl Verifying {
    /// Enrols `per_partition` subjects for each partition of `scans` by image; a matcher must be running. Records of one subject run one
    /// after the other, so there should be several times as many subjects as requests in flight.
    ///
    /// # Errors
    /// A subject that is not enrolled.
    pub async fn prepare(client: Arc<Client>, per_partition: usize) -> Result<Arc<Self>> {
        let images = images(ENROLLED + PROBES)?;
        let finger = |all: &Vec<Vec<u8>>| {
            let templates = all.iter().map(|png| extract(png)).collect::<Result<Vec<_>>>()?;
            let (enrolled, probes) = templates.split_at(ENROLLED as usize);
            let images = all.iter().skip(ENROLLED as usize).cloned().collect();
            let records =
                probes.iter().map(|probe| Ok(Record::of_template(RecordFormat::Iso2011, probe, 0)?.encode()?));
            let bytes = |templates: &[Template]| templates.iter().map(Template::to_bytes).collect();
            Ok(Finger {
                images,
                enrolled: bytes(enrolled),
                probes: bytes(probes),
                records: records.collect::<Result<_>>()?,
            })
        };
        let fingers = images.iter().map(finger).collect::<Result<Vec<_>>>()?;
        let subjects = spread(per_partition)?;
        let (images, asking, names) = (Arc::new(images), client.clone(), subjects.clone());
        time(subjects.len(), 8, move |number| {
            let (images, client, subject) = (images.clone(), asking.clone(), names[number].clone());
            async move {
                let all = &images[number % images.len()];
                let samples = all.iter().take(ENROLLED as usize).map(|png| Sample::image("png", png, Some(500)));
                let scan = Scan::new(Operation::Enrol, Some(subject), samples.collect());
                let decision = client.decide(&scan, None, WAIT).await?;
                ensure!(decision.outcome == Outcome::Enrolled, "{number} is not enrolled: {:?}", decision.reason);
                Ok(())
            }
        })
        .await?;
        Ok(Arc::new(Self { client, subjects, fingers }))
    }

    /// Verifications by template through the whole service. Its vault seals the probes.
    ///
    /// # Errors
    /// A request that fails or is not accepted.
    pub async fn time(self: &Arc<Self>, by: By, vault: &Vault, calls: usize, in_flight: usize) -> Result<Timed> {
        let (this, vault) = (self.clone(), vault.clone());
        time(calls, in_flight, move |number| {
            let (this, vault) = (this.clone(), vault.clone());
            async move {
                let sample = match by {
                    By::Record => Sample::record("iso19794-2", this.record(number)),
                    By::SealedProbe => Sample::sealed(&this.probe(&vault, number)?),
                };
                this.verify(number, sample).await
            }
        })
        .await
    }

    /// Verifications by image through the whole service.
    ///
    /// # Errors
    /// A request that fails or is not accepted.
    pub async fn time_images(self: &Arc<Self>, calls: usize, in_flight: usize) -> Result<Timed> {
        let this = self.clone();
        time(calls, in_flight, move |number| {
            let this = this.clone();
            async move { this.verify_image(number).await }
        })
        .await
    }

    /// One verification by image.
    ///
    /// # Errors
    /// A request that fails or is not accepted.
    pub async fn verify_image(&self, number: usize) -> Result<()> {
        let image = pick(&self.finger(number).images, number / self.subjects.len());
        self.verify(number, Sample::image("png", image, Some(500))).await
    }

    async fn verify(&self, number: usize, sample: Sample) -> Result<()> {
        let scan = Scan::new(Operation::Verify, Some(self.subject(number).clone()), vec![sample]);
        let decision = self.client.decide(&scan, None, WAIT).await?;
        ensure!(decision.outcome == Outcome::Match, "{number} is not accepted: {:?}", decision.reason);
        Ok(())
    }

    /// What the engine does for one verification by template and nothing else, on `cpu`.
    ///
    /// # Errors
    /// Templates that cannot be read.
    pub async fn time_engine(self: &Arc<Self>, cpu: &CpuPool, calls: usize, in_flight: usize) -> Result<Timed> {
        let (this, cpu) = (self.clone(), cpu.clone());
        time(calls, in_flight, move |number| {
            let (this, cpu) = (this.clone(), cpu.clone());
            async move { cpu.run(move || this.compare(number)).await? }
        })
        .await
    }

    fn compare(&self, number: usize) -> Result<()> {
        let template = |bytes: &[u8]| Template::from_bytes(bytes).context("a template");
        let probe = Probe::new(&template(self.template(number))?);
        let mut matcher = Matcher::new();
        for enrolled in &self.finger(number).enrolled {
            std::hint::black_box(matcher.compare(&probe, &Candidate::new(&template(enrolled)?)));
        }
        Ok(())
    }

    fn subject(&self, number: usize) -> &SubjectId {
        pick(&self.subjects, number)
    }

    fn finger(&self, number: usize) -> &Finger {
        pick(&self.fingers, number % self.subjects.len())
    }

    fn template(&self, number: usize) -> &Vec<u8> {
        pick(&self.finger(number).probes, number / self.subjects.len())
    }

    fn record(&self, number: usize) -> &Vec<u8> {
        pick(&self.finger(number).records, number / self.subjects.len())
    }

    fn probe(&self, vault: &Vault, number: usize) -> Result<SealedTemplate> {
        Ok(SealedTemplate::from_base64(&STANDARD.encode(self.sealed_probe(vault, number)?)))
    }

    /// A probe that nobody has used yet, as bytes.
    ///
    /// # Errors
    /// A vault without keys.
    pub fn sealed_probe(&self, vault: &Vault, number: usize) -> Result<Vec<u8>> {
        let header = TemplateHeader {
            kind: TemplateKind::Probe,
            id: *SystemEntropy.request_id().as_bytes(),
            subject: None,
            made_at: SystemClock.now(),
            engine: engine(),
        };
        // The digests of an image that nobody was enrolled from.
        let mut body = vec![0; 64];
        SystemEntropy.fill(&mut body);
        body.extend_from_slice(self.template(number));
        Ok(seal_template(vault, &header, &body, &SystemEntropy)?)
    }
}

fn pick<T>(all: &[T], number: usize) -> &T {
    &all[number % all.len()]
}

/// As many subjects in each partition, partition after partition, so that the partitions are equally busy.
fn spread(per_partition: usize) -> Result<Vec<SubjectId>> {
    let partitions = Topic::Scans.spec("", Topology::Kafka).partitions;
    let mut subjects: Vec<Vec<SubjectId>> = vec![Vec::new(); partitions as usize];
    for name in (0..).map(|number| format!("s{number}")) {
        let of_partition = &mut subjects[partition_of(name.as_bytes(), partitions).0 as usize];
        if of_partition.len() < per_partition {
            of_partition.push(name.parse().context("a subject's id")?);
        }
        if subjects.iter().all(|of_partition| of_partition.len() == per_partition) {
            break;
        }
    }
    Ok((0..per_partition).flat_map(|at| subjects.iter().map(move |all| all[at].clone())).collect())
}

fn extract(png: &[u8]) -> Result<Template> {
    Ok(Classical.extract(&decode(png, None, Some(500), &Limits::default())?)?.template)
}

/// PNG images of four synthetic fingers: for each, `impressions` of them at 500 dpi.
///
/// # Errors
/// An image that cannot be encoded.
pub fn images(impressions: u32) -> Result<Vec<Vec<Vec<u8>>>> {
    (0..FINGERS)
        .map(|index| {
            let finger = finger(Seed(42), index);
            let png = |number| {
                let image = finger.impression(number, &ImpressionOptions::default());
                Ok(encode_png(&GreyImage::new(image.width, image.height, image.dpi, image.pixels)?))
            };
            (0..impressions).map(png).collect()
        })
        .collect()
}
