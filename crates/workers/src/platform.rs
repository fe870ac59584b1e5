//! What every role works with.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use ridgeline_domain::{ErrorCode, Fmr, Policy, Timestamp};
use ridgeline_fingerprint::{ENGINE, calibration};
use ridgeline_flow::State;
use ridgeline_ports::{
    Appended, Clock, Disposition, Entropy, EventLog, GroupId, LogError, MemberId, NewRecord, Store, TraceContext,
};
use ridgeline_runtime::{CpuError, CpuPool, Health, Limits, LogTime, Ports, RuntimeError, StepError, WorkerSpec};
use ridgeline_vault::{AgentRegistry, SampleOpener, Vault, VaultError};
use ridgeline_wire::{Encoded, GALLERY_VERSION, Topic, WireError, encode};

use crate::dead::DeadLetterTopic;

/// Name and version of the engine, as stored beside templates and published with decisions.
#[must_use]
pub fn engine() -> String {
    ENGINE.to_string()
}

/// Log, store, keys, rules and threads of a process. Roles of one process share it.
pub struct Platform {
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Seals and opens what is stored and published.
    pub vault: Vault,
    /// Opens samples.
    pub opener: SampleOpener,
    /// Who may sign scans.
    pub agents: Arc<RwLock<AgentRegistry>>,
    /// Reads the registry's source again, for an agent that is not known (yet); returns at once if nothing changed.
    pub refresh_agents: Option<Arc<dyn Fn() + Send + Sync>>,
    /// The rules of the deployment.
    pub policy: Policy,
    /// Wall clock, for the age of records in metrics and for where to begin reading; no decision, deadline or stamp hangs on it.
    pub clock: Arc<dyn Clock>,
    /// The log's time as the roles see it pass: deadlines of searches and `decided_at`.
    pub log_time: LogTime,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Where extraction and comparison run.
    pub cpu: CpuPool,
    /// Prefix of all topic names; empty for none.
    pub prefix: String,
    /// Where roles report their state.
    pub health: Health,
    /// Limits of the worker loops.
    pub limits: Limits,
}

/// Why a role stopped without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The worker loop gave up.
    #[error("worker loop ended")]
    Runtime(#[from] RuntimeError),
    /// A subscription outside the worker loop failed.
    #[error("subscription ended")]
    Log(#[from] LogError),
    /// A key could not be made.
    #[error("a key could not be made")]
    Vault(#[from] VaultError),
}

impl Platform {
    /// The surroundings of a decision about a record appended at `now`.
    pub(crate) fn state(&self, now: Timestamp) -> State<'_> {
        State { policy: &self.policy, now, supported: Fmr::new(calibration::SUPPORTED_FMR) }
    }

    /// A worker of the group `role` on `topic`.
    pub(crate) fn spec(&self, role: &'static str, topic: Topic, member: &str) -> WorkerSpec {
        WorkerSpec {
            role,
            topic: topic.name(&self.prefix),
            group: GroupId(format!("{}{role}", self.prefix)),
            member: MemberId(member.to_owned()),
            limits: self.limits.clone(),
        }
    }

    pub(crate) fn ports(self: &Arc<Self>, role: &'static str) -> Ports {
        Ports {
            log: self.log.clone(),
            dead: Arc::new(DeadLetterTopic::new(self.clone(), role)),
            clock: self.clock.clone(),
        }
    }

    /// When something judged for `accepted_at` is decided: now, by the log's clock as far as it is known. A relying party compares
    /// it with `valid_until`, which the log's clock judged too.
    pub(crate) fn decided_at(&self, accepted_at: Timestamp) -> Timestamp {
        self.log_time.now().map_or(accepted_at, |now| now.max(accepted_at))
    }

    /// Encodes and publishes; returns once the record is durable.
    pub(crate) async fn publish<T: Encoded>(&self, to: Outgoing<'_>, value: &T) -> Result<Appended, StepError> {
        let value = encode(value).map_err(wire_fault)?;
        Ok(self.publish_bytes(to, Some(value)).await?)
    }

    /// Publishes an encoded value, or a tombstone.
    pub(crate) async fn publish_bytes(&self, to: Outgoing<'_>, value: Option<Vec<u8>>) -> Result<Appended, LogError> {
        let record = NewRecord {
            topic: to.topic.name(&self.prefix),
            partition: None,
            key: Bytes::copy_from_slice(to.key.as_bytes()),
            value: value.map(Bytes::from),
            headers: to.headers(),
        };
        let appended = self.log.publish(record).await?;
        self.log_time.observe(appended.append_time);
        Ok(appended)
    }
}

/// Where a record goes and what its headers say.
pub(crate) struct Outgoing<'a> {
    topic: Topic,
    key: &'a str,
    id: String,
    trace: Option<TraceContext>,
    gallery_version: Option<i64>,
    about: Option<&'a str>,
}

impl<'a> Outgoing<'a> {
    /// `id` is the `CloudEvents` id, derived so that a replay repeats it.
    pub(crate) const fn new(topic: Topic, key: &'a str, id: String) -> Self {
        Self { topic, key, id, trace: None, gallery_version: None, about: None }
    }

    /// Part of what `trace` is about.
    pub(crate) fn traced(self, trace: &TraceContext) -> Self {
        Self { trace: Some(trace.child(&self.id)), ..self }
    }

    /// What the record is about, for those who wait for news of it (`CloudEvents` subject).
    pub(crate) fn about(self, about: Option<&'a str>) -> Self {
        Self { about, ..self }
    }

    /// The state of a subject's row at this version; a tombstone has no value to say it in.
    pub(crate) const fn at_version(mut self, version: i64) -> Self {
        self.gallery_version = Some(version);
        self
    }

    fn headers(&self) -> Vec<(String, Bytes)> {
        let name = self.topic.row().name;
        let own = |name: &str, value: String| (name.to_owned(), Bytes::from(value));
        let mut headers = vec![
            own("ce_specversion", "1.0".to_owned()),
            own("ce_id", self.id.clone()),
            own("ce_type", format!("dev.ridgeline.{name}.v1")),
            own("ce_source", "/ridgeline".to_owned()),
            own("content-type", "avro/binary".to_owned()),
        ];
        headers.extend(self.about.map(|about| own(ridgeline_wire::SUBJECT, about.to_owned())));
        headers.extend(self.trace.map(|trace| trace.header()));
        headers.extend(self.gallery_version.map(|version| own(GALLERY_VERSION, version.to_string())));
        headers
    }
}

/// A value of ours that does not fit its schema is a fault of ours; the process goes on with the next record.
pub(crate) fn wire_fault(error: WireError) -> StepError {
    StepError::poison(ErrorCode::Internal, error.to_string())
}

/// A stored value that cannot be opened or a key that cannot be had.
pub(crate) fn vault_fault(error: &VaultError) -> StepError {
    match error.disposition() {
        Disposition::Retry => StepError::Retry(error.to_string()),
        Disposition::Poison => StepError::poison(ErrorCode::Internal, error.to_string()),
        Disposition::Fatal => StepError::Fatal(error.to_string()),
    }
}

pub(crate) fn cpu_fault(error: CpuError) -> StepError {
    match error {
        CpuError::Panicked => StepError::poison(ErrorCode::Internal, "the computation panicked"),
        CpuError::Stopped => StepError::Retry(error.to_string()),
    }
}
