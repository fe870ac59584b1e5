//! The first look at a record of `scans`: is it ours, is it signed, may it be opened.

use ridgeline_domain::{AgentId, DurationMs, ErrorCode, ReaderId, Sensitive, Timestamp};
use ridgeline_ports::{Record, TraceContext};
use ridgeline_runtime::StepError;
use ridgeline_vault::{ScanBinding, ScanSignature, VaultError, sealed_digest};
use ridgeline_wire::message::{Scan, SealedPart};
use ridgeline_wire::row::ScanDetails;
use ridgeline_wire::{WireError, decode};

use crate::platform::Platform;

/// Samples of one request at most; the gateway refuses more, and so does the matcher.
const SAMPLES_MAX: usize = 10;

/// Names and values of a subject's metadata together, as at the gateway.
const METADATA_BYTES_MAX: usize = 4_096;

/// How gateways sign: `gateway:<name>`.
const GATEWAY_PREFIX: &str = "gateway:";
/// How long a record of an unknown gateway is tried again before it is poison.
const GATEWAY_PATIENCE: DurationMs = DurationMs::from_secs(30);

/// A record whose signature verifies.
pub(crate) struct Admitted {
    pub(crate) scan: Scan,
    pub(crate) binding: ScanBinding,
    pub(crate) granted: bool,
    pub(crate) accepted_at: Timestamp,
    pub(crate) trace: TraceContext,
}

/// What was sealed inside.
pub(crate) struct Opened {
    pub(crate) details: ScanDetails,
    pub(crate) samples: Vec<OpenedSample>,
}

/// One sample, in clear.
pub(crate) struct OpenedSample {
    pub(crate) format: String,
    pub(crate) source_digest: Vec<u8>,
    pub(crate) bytes: Sensitive<Vec<u8>>,
}

/// Decodes the record and verifies its signature.
///
/// # Errors
/// Poison: the record is not Avro of a known schema, not under its own key, of an unknown agent, or wrongly signed.
pub(crate) fn admit(platform: &Platform, record: &Record) -> Result<Admitted, StepError> {
    let value = record
        .value
        .as_ref()
        .ok_or_else(|| StepError::poison(ErrorCode::RecordUndecodable, "a tombstone is no scan"))?;
    let scan: Scan = decode(value).map_err(|error: WireError| StepError::poison(error.code(), error.to_string()))?;
    if record.key != scan.key().as_bytes() {
        return Err(StepError::poison(ErrorCode::RecordInvalid, "the record lies under a foreign key"));
    }
    let binding = scan.binding();
    let reader: Option<ReaderId> = scan.reader.clone();
    let signature = ScanSignature::new(&binding, reader, sealed_digest(scan.sealed_parts()));
    refresh_for(platform, &scan.agent);
    let agents = platform.agents.read();
    agents.verify(&signature, &scan.agent_signature).map_err(|error| match error {
        // The agents file reaches the processes of a deployment one after the other.
        VaultError::UnknownAgent if is_awaited(platform, &scan.agent, record) => {
            StepError::Retry("a gateway that the agents file does not know yet".to_owned())
        }
        VaultError::UnknownAgent => StepError::poison(ErrorCode::AgentUnknown, "the agent is not registered"),
        _ => StepError::poison(ErrorCode::SignatureInvalid, "the signature does not verify"),
    })?;
    let granted = agents.allows(&scan.agent, scan.operation);
    drop(agents);
    let trace = TraceContext::of(&record.headers).unwrap_or_else(|| TraceContext::about(scan.request_id));
    Ok(Admitted { scan, binding, granted, accepted_at: record.append_time, trace })
}

/// Whether the record is young and says that it comes from a gateway: its entry may still be on its way here.
fn is_awaited(platform: &Platform, agent: &AgentId, record: &Record) -> bool {
    let patience = record.append_time.plus(GATEWAY_PATIENCE);
    agent.as_str().starts_with(GATEWAY_PREFIX) && !platform.log_time.is_past(patience)
}

/// An agent may have been registered through another process a moment ago.
fn refresh_for(platform: &Platform, agent: &AgentId) {
    let unknown = platform.agents.read().key(agent).is_none();
    if let Some(refresh) = platform.refresh_agents.as_ref().filter(|_| unknown) {
        refresh();
    }
}

impl Admitted {
    /// Opens details and samples. Runs on the CPU pool: one key agreement a part.
    ///
    /// # Errors
    /// Poison: sealed to another key or another request, or the parts do not fit together.
    pub(crate) fn open(&self, platform: &Platform) -> Result<Opened, StepError> {
        if self.scan.operation.needs_subject() && self.scan.subject_id.is_none() {
            return Err(StepError::poison(ErrorCode::RecordInvalid, "the operation needs a subject"));
        }
        let details = self
            .scan
            .details
            .as_ref()
            .ok_or_else(|| StepError::poison(ErrorCode::RecordInvalid, "the details are missing"))?;
        let details: ScanDetails = decode(self.open_part(platform, details)?.expose())
            .map_err(|error| StepError::poison(ErrorCode::RecordInvalid, error.to_string()))?;
        let metadata_bytes: usize = details.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if metadata_bytes > METADATA_BYTES_MAX {
            return Err(StepError::poison(ErrorCode::RecordInvalid, "the metadata are too large"));
        }
        let count = self.scan.samples.len();
        let expected = if self.scan.operation.needs_samples() { 1..=SAMPLES_MAX } else { 0..=0 };
        let lists_fit = details.formats.len() == count && details.source_digests.len() == count;
        if !lists_fit || !expected.contains(&count) {
            return Err(StepError::poison(ErrorCode::RecordInvalid, "the number of samples does not fit the request"));
        }
        let stated = details.formats.iter().zip(&details.source_digests);
        let samples = self.scan.samples.iter().zip(stated).map(|(part, (format, source))| {
            let bytes = self.open_part(platform, part)?;
            Ok(OpenedSample { format: format.clone(), source_digest: source.0.clone(), bytes })
        });
        Ok(Opened { samples: samples.collect::<Result<_, StepError>>()?, details })
    }

    fn open_part(&self, platform: &Platform, part: &SealedPart) -> Result<Sensitive<Vec<u8>>, StepError> {
        platform
            .opener
            .open_sample(&part.key_id, &self.binding, &part.sealed)
            .map_err(|_| StepError::poison(ErrorCode::CannotBeOpened, "sealed to another key or another request"))
    }
}
