//! What every role works with.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use ridgeline_domain::{ErrorCode, Fmr, Policy, Timestamp};
use ridgeline_fingerprint::{ENGINE_NAME, ENGINE_VERSION, calibration};
use ridgeline_flow::State;
use ridgeline_ports::{Appended, Clock, Disposition, Entropy, EventLog, GroupId, LogError, MemberId, NewRecord, Store};
use ridgeline_runtime::{CpuError, CpuPool, Health, Limits, Ports, RuntimeError, StepError, WorkerSpec};
use ridgeline_vault::{AgentRegistry, SampleOpener, Vault, VaultError};
use ridgeline_wire::{Encoded, Topic, WireError, encode};

use crate::dead::DeadLetterTopic;

/// Name and version of the engine, as stored beside templates and published with decisions.
#[must_use]
pub fn engine() -> String {
    format!("{ENGINE_NAME}/{ENGINE_VERSION}")
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
    /// Wall clock, for `decided_at` and timers.
    pub clock: Arc<dyn Clock>,
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

    /// Encodes and publishes; returns once the record is durable. `id` is the `CloudEvents` id, derived so that a replay repeats it.
    pub(crate) async fn publish<T: Encoded>(
        &self,
        topic: Topic,
        key: &str,
        id: String,
        value: &T,
    ) -> Result<Appended, StepError> {
        let value = encode(value).map_err(wire_fault)?;
        Ok(self.publish_bytes(topic, key, id, Some(value)).await?)
    }

    /// Publishes an encoded value, or a tombstone.
    pub(crate) async fn publish_bytes(
        &self,
        topic: Topic,
        key: &str,
        id: String,
        value: Option<Vec<u8>>,
    ) -> Result<Appended, LogError> {
        let name = topic.row().name;
        let headers = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", id),
            ("ce_type", format!("dev.ridgeline.{name}.v1")),
            ("ce_source", "/ridgeline".to_owned()),
            ("content-type", "avro/binary".to_owned()),
        ];
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), Bytes::from(value))).collect();
        let key = Bytes::copy_from_slice(key.as_bytes());
        self.log
            .publish(NewRecord {
                topic: topic.name(&self.prefix),
                partition: None,
                key,
                value: value.map(Bytes::from),
                headers,
            })
            .await
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
