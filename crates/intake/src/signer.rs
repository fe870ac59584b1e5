//! Sealing to the matchers and signing as an agent.

use std::collections::BTreeMap;

use bytes::Bytes;
use ridgeline_domain::{
    AgentId, ApiKeyId, Confidence, Modality, Operation, Position, ReaderId, RequestId, SubjectId, Timestamp,
};
use ridgeline_ports::{Entropy, NewRecord, TopicName, TraceContext};
use ridgeline_vault::{ScanBinding, ScanSignature, SealingKey, SigningKey, seal_sample, sealed_digest};
use ridgeline_wire::encode;
use ridgeline_wire::message::{Scan, SealedPart};
use ridgeline_wire::row::{Digest, ScanDetails};

use crate::{IntakeError, PreparedSample};

/// Sealed parts of one record together; the rest of the 12 MiB message is envelope.
const SEALED_BYTES_MAX: usize = 11 * 1024 * 1024;
/// A request names at most so many samples.
const SAMPLES_MAX: usize = 10;

/// What a caller may ask for beside the operation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScanOptions {
    /// Raises the accept bound of the deployment; cannot lower it.
    pub threshold_confidence: Option<Confidence>,
    /// Candidates to return, 1–100.
    pub top_k: Option<u32>,
    /// Hold samples to the recommended quality.
    pub strict_quality: bool,
    /// Open a session after a match.
    pub session_requested: bool,
}

/// A request with its samples in canonical form.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    /// Confirmation id.
    pub request_id: RequestId,
    /// What is asked.
    pub operation: Operation,
    /// Whom it is about; required for enrol, verify, delete.
    pub subject: Option<SubjectId>,
    /// The device.
    pub reader: Option<ReaderId>,
    /// When the sample was taken.
    pub captured_at: Timestamp,
    /// Which finger.
    pub position: Position,
    /// 1–10 samples; none for delete.
    pub samples: Vec<PreparedSample>,
    /// Further wishes.
    pub options: ScanOptions,
    /// Stored encrypted with the subject, at most 4 KB.
    pub metadata: BTreeMap<String, String>,
    /// Who asked the gateway.
    pub api_key: Option<ApiKeyId>,
}

/// A capture agent's identity, and the key of the matchers it seals to.
#[derive(Debug, Clone)]
pub struct Signer {
    agent: AgentId,
    key: SigningKey,
    sealing: SealingKey,
}

impl Signer {
    /// An agent that signs with `key` and seals to `sealing`.
    #[must_use]
    pub const fn new(agent: AgentId, key: SigningKey, sealing: SealingKey) -> Self {
        Self { agent, key, sealing }
    }

    /// The same agent sealing to another key of the matchers, after a rotation.
    #[must_use]
    pub fn sealing_to(&self, sealing: SealingKey) -> Self {
        Self { sealing, ..self.clone() }
    }

    /// Who signs.
    #[must_use]
    pub const fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// The record to publish, in a trace of its own: sealed, signed, encoded, keyed by subject (by request where there is none).
    ///
    /// # Errors
    /// As [`Signer::traced_record`].
    pub fn scan_record(
        &self,
        topic: TopicName,
        request: &ScanRequest,
        entropy: &dyn Entropy,
    ) -> Result<NewRecord, IntakeError> {
        self.traced_record(topic, request, &TraceContext::random(entropy), entropy)
    }

    /// The same as part of what `trace` is about.
    ///
    /// # Errors
    /// `Shape` if samples or subject do not fit the operation, `TooLarge` beyond 11 MiB sealed, `Seal`, `Encode`.
    pub fn traced_record(
        &self,
        topic: TopicName,
        request: &ScanRequest,
        trace: &TraceContext,
        entropy: &dyn Entropy,
    ) -> Result<NewRecord, IntakeError> {
        check_shape(request)?;
        let scan = self.scan(request, entropy)?;
        let value = encode(&scan).map_err(IntakeError::Encode)?;
        Ok(NewRecord {
            topic,
            partition: None,
            key: scan.key().into(),
            value: Some(Bytes::from(value)),
            headers: cloud_event(&scan, trace),
        })
    }

    fn scan(&self, request: &ScanRequest, entropy: &dyn Entropy) -> Result<Scan, IntakeError> {
        let binding = ScanBinding {
            request_id: request.request_id,
            agent: self.agent.clone(),
            operation: request.operation,
            subject: request.subject.clone(),
            captured_at: request.captured_at,
            valid_until: request.captured_at.plus(request.operation.validity()),
        };
        let seal = |plaintext: &[u8]| {
            let sealed = seal_sample(&self.sealing, &binding, plaintext, entropy).map_err(IntakeError::Seal)?;
            Ok(SealedPart { key_id: sealed.key_id, sealed: sealed.bytes })
        };
        let details = encode(&details(request)).map_err(IntakeError::Encode)?;
        let mut scan = Scan {
            request_id: request.request_id,
            agent: self.agent.clone(),
            reader: request.reader.clone(),
            operation: request.operation,
            subject_id: request.subject.clone(),
            captured_at: request.captured_at,
            valid_until: binding.valid_until,
            samples: request.samples.iter().map(|sample| seal(sample.bytes())).collect::<Result<_, IntakeError>>()?,
            details: Some(seal(&details)?),
            ticket: None,
            agent_signature: Vec::new(),
        };
        let bytes = scan.sealed_parts().map(<[u8]>::len).sum();
        if bytes > SEALED_BYTES_MAX {
            return Err(IntakeError::TooLarge { bytes, max: SEALED_BYTES_MAX });
        }
        let signature = ScanSignature::new(&binding, scan.reader.clone(), sealed_digest(scan.sealed_parts()));
        scan.agent_signature = signature.sign(&self.key).map_err(IntakeError::Seal)?.to_vec();
        Ok(scan)
    }
}

fn check_shape(request: &ScanRequest) -> Result<(), IntakeError> {
    if request.operation.needs_subject() && request.subject.is_none() {
        return Err(IntakeError::Shape("subject_id is required for enrol, verify and delete"));
    }
    match (request.operation.needs_samples(), request.samples.len()) {
        (true, 1..=SAMPLES_MAX) | (false, 0) => Ok(()),
        (true, _) => Err(IntakeError::Shape("between 1 and 10 samples are required")),
        (false, _) => Err(IntakeError::Shape("delete takes no samples")),
    }
}

fn details(request: &ScanRequest) -> ScanDetails {
    ScanDetails {
        modality: Modality::Fingerprint,
        position: request.position,
        formats: request.samples.iter().map(|sample| sample.format().to_owned()).collect(),
        source_digests: request.samples.iter().map(|sample| Digest(sample.source_digest().to_vec())).collect(),
        threshold_confidence: request.options.threshold_confidence.map(Confidence::get),
        top_k: request.options.top_k.and_then(|k| i32::try_from(k).ok()),
        dedup: false,
        strict_quality: request.options.strict_quality,
        filter: None,
        metadata: request.metadata.clone(),
        api_key: request.api_key.as_ref().map(ToString::to_string),
        session_requested: request.options.session_requested,
    }
}

/// `CloudEvents` attributes in Kafka's binary mode.
fn cloud_event(scan: &Scan, trace: &TraceContext) -> Vec<(String, Bytes)> {
    let attributes = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", scan.request_id.to_string()),
        ("ce_type", "dev.ridgeline.scan.v1".to_owned()),
        ("ce_source", format!("/agents/{}", scan.agent)),
        ("content-type", "avro/binary".to_owned()),
    ];
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), Bytes::from(value)));
    attributes.chain([trace.child(&scan.request_id.to_string()).header()]).collect()
}
