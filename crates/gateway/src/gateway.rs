//! What the handlers share, and the two routers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::RwLock;
use ridgeline_domain::{AgentId, Operation, Sensitive};
use ridgeline_identity::revocation::RevocationCache;
use ridgeline_intake::Signer;
use ridgeline_ports::{Clock, Entropy, EventLog, Store, TopicName};
use ridgeline_runtime::{Correlator, CpuPool, Following, Health};
use ridgeline_vault::{AgentRegistry, Vault, VerifyingKey};
use ridgeline_wire::Topic;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::auth_api::{AuthParts, DeviceAuth};
use crate::pressure::Gates;
use crate::problem::Problem;
use crate::refusals::Refusals;

/// Where agents that an operator adds are written, so that they are known after a restart.
pub trait AgentBook: Send + Sync {
    /// Writes an agent down. The gateway registers it only after this has succeeded.
    ///
    /// # Errors
    /// What the disk said.
    fn add(&self, id: &AgentId, key: &VerifyingKey, operations: &[Operation]) -> std::io::Result<()>;
}

/// Limits of the HTTP layer.
#[derive(Debug, Clone)]
pub struct GatewayLimits {
    /// Longest body of a request, and longest line of a batch. Default 10 MiB.
    pub body_bytes_max: usize,
    /// Longest record of an agent: the largest message of `scans`. Default 12 MiB.
    pub record_bytes_max: usize,
    /// Requests of the API in work at once; beyond it callers are told to come again. Default 8 192.
    pub requests_max: usize,
    /// Publishes under way to the log at once. Default 1 024.
    pub publishes_max: usize,
    /// Log or store has not answered a call for so long: new requests are refused until it does. Default 2 s.
    pub stall: Duration,
    /// Longest time to publish; then the caller is told that nothing was confirmed. Default 10 s.
    pub publish_time: Duration,
    /// Longest time for a call of the store. Default 5 s.
    pub store_time: Duration,
    /// Bytes of bodies that are being worked on at once, at least one body of the longest; beyond it callers are told to come again. Decoded and sealed
    /// samples take about three times as much again. Default 256 MiB.
    pub uploads_bytes_max: usize,
    /// Requests that wait for a decision at once. Default 4 096.
    pub waiters_max: usize,
    /// Event streams open at once. Default 256.
    pub streams_max: usize,
    /// Longest wait for a decision in one request. Default 30 s.
    pub wait_max: Duration,
    /// A waiter looks into the store at least this often, in case the wake-up got lost with its tail. Default 5 s.
    pub recheck: Duration,
    /// Longest life of a scan's event stream; clients connect again. Default 10 min.
    pub stream_life: Duration,
    /// Longest time between two pieces of a body. Default 30 s.
    pub body_idle: Duration,
    /// Longest time for a whole body that is not a batch. Default 2 min.
    pub body_total: Duration,
    /// Lines of one batch in work at once. Default 16.
    pub batch_lines: usize,
    /// How often refusals are written to `audit`. Default 10 s.
    pub refusals_interval: Duration,
    /// Longest wait for the answer to a command of device authentication. Default 10 s.
    pub command_time: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 10 << 20,
            record_bytes_max: 12 << 20,
            requests_max: 8_192,
            publishes_max: 1_024,
            stall: Duration::from_secs(2),
            publish_time: Duration::from_secs(10),
            store_time: Duration::from_secs(5),
            uploads_bytes_max: 256 << 20,
            waiters_max: 4_096,
            streams_max: 256,
            wait_max: Duration::from_secs(30),
            recheck: Duration::from_secs(5),
            stream_life: Duration::from_secs(600),
            body_idle: Duration::from_secs(30),
            body_total: Duration::from_secs(120),
            batch_lines: 16,
            refusals_interval: Duration::from_secs(10),
            command_time: Duration::from_secs(10),
        }
    }
}

/// Who gives the schema ids in front of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SchemaSource {
    /// This version's own, which the gateway shows to consumers.
    #[default]
    Own,
    /// A schema registry; the gateway shows none.
    Registry,
}

/// Everything a gateway is made of.
pub struct GatewayParts {
    /// The event log; its topics exist.
    pub log: Arc<dyn EventLog>,
    /// The store; its tables exist.
    pub store: Arc<dyn Store>,
    /// For answers' details and keyed digests.
    pub vault: Vault,
    /// Seals and signs as `gateway:<name>`.
    pub signer: Signer,
    /// Who may send records.
    pub agents: Arc<RwLock<AgentRegistry>>,
    /// Where added agents are written; `None`: they are known until the process ends.
    pub agent_book: Option<Arc<dyn AgentBook>>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Random bits.
    pub entropy: Arc<dyn Entropy>,
    /// Where samples are decoded and sealed.
    pub cpu: CpuPool,
    /// What `/health` shows. Readers register as `reader:<id>`.
    pub health: Health,
    /// Prefix of the topics' names.
    pub prefix: String,
    /// Limits.
    pub limits: GatewayLimits,
    /// Address under which callers reach this service, without a slash at the end; empty for relative addresses.
    pub public_url: String,
    /// Who gives the ids in front of values.
    pub schemas: SchemaSource,
    /// What `X-Admin-Key` must be; `None` shuts `/admin`.
    pub admin_key: Option<Sensitive<String>>,
    /// What `/metrics` renders.
    pub metrics: Option<PrometheusHandle>,
    /// Device authentication; `None`: its paths are not available.
    pub auth: Option<AuthParts>,
    /// Ends waits and streams when the process stops.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for GatewayParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayParts").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Full names of the topics the gateway uses.
pub(crate) struct Topics {
    pub(crate) scans: TopicName,
    pub(crate) decisions: TopicName,
    pub(crate) audit: TopicName,
    pub(crate) auth_commands: TopicName,
}

/// What the handlers share.
pub(crate) struct Shared {
    pub(crate) parts: GatewayParts,
    pub(crate) topics: Topics,
    pub(crate) correlator: Correlator,
    pub(crate) refusals: Refusals,
    pub(crate) auth: Option<DeviceAuth>,
    /// One permit for each KiB of [`GatewayLimits::uploads_bytes_max`].
    uploads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    pub(crate) gates: Gates,
}

pub(crate) type State = Arc<Shared>;

const UPLOAD_UNIT_BYTES: usize = 1024;

fn upload_units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UPLOAD_UNIT_BYTES).max(1)).unwrap_or(u32::MAX)
}

/// Room for a body, given back when dropped.
pub(crate) struct Upload(OwnedSemaphorePermit);

impl Upload {
    /// Makes room for a body that has grown to `bytes`.
    ///
    /// # Errors
    /// `Unavailable` while too many bodies are being worked on.
    pub(crate) fn grow_to(&mut self, shared: &Shared, bytes: usize) -> Result<(), Problem> {
        let more = (upload_units(bytes) as usize).saturating_sub(self.0.num_permits());
        if more > 0 {
            let Upload(permit) = shared.reserve_upload(more * UPLOAD_UNIT_BYTES)?;
            self.0.merge(permit);
        }
        Ok(())
    }

    /// The same, waiting for room.
    ///
    /// # Errors
    /// `Unavailable` when the service stops.
    pub(crate) async fn await_growth(&mut self, shared: &Shared, bytes: usize) -> Result<(), Problem> {
        let more = (upload_units(bytes) as usize).saturating_sub(self.0.num_permits());
        if more > 0 {
            let Upload(permit) = shared.await_upload(more * UPLOAD_UNIT_BYTES).await?;
            self.0.merge(permit);
        }
        Ok(())
    }

    /// Gives room for `bytes` of it away, at most all it has.
    pub(crate) fn split_off(&mut self, bytes: usize) -> Option<Self> {
        let units = (upload_units(bytes) as usize).min(self.0.num_permits());
        self.0.split(units).map(Upload)
    }
}

impl Shared {
    /// Room for a body of `bytes`.
    ///
    /// # Errors
    /// `Unavailable` while too many bodies are being worked on.
    pub(crate) fn reserve_upload(&self, bytes: usize) -> Result<Upload, Problem> {
        let permit = self.uploads.clone().try_acquire_many_owned(upload_units(bytes));
        permit.map(Upload).map_err(|_| Problem::unavailable("too many requests are being worked on"))
    }

    /// The same, waiting for room: for batches, whose sender is held back instead.
    ///
    /// # Errors
    /// `Unavailable` when the service stops.
    pub(crate) async fn await_upload(&self, bytes: usize) -> Result<Upload, Problem> {
        let permit = self.uploads.clone().acquire_many_owned(upload_units(bytes)).await;
        permit.map(Upload).map_err(|_| Problem::unavailable("the service is stopping"))
    }

    /// Whether a request may be taken in: asked before its body is read.
    ///
    /// # Errors
    /// `Unavailable` while the log or the store is away.
    pub(crate) fn admit(&self) -> Result<(), Problem> {
        self.gates.shut().map_or(Ok(()), |detail| Err(Problem::unavailable(detail)))
    }

    /// A place among the requests in work.
    ///
    /// # Errors
    /// `Unavailable` at the bound.
    pub(crate) fn reserve_request(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = self.requests.clone().try_acquire_owned();
        permit.map_err(|_| Problem::unavailable("too many requests are being worked on"))
    }

    /// A place among the open event streams.
    ///
    /// # Errors
    /// `Unavailable` at the bound.
    pub(crate) fn reserve_stream(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = self.streams.clone().try_acquire_owned();
        permit.map_err(|_| Problem::unavailable("too many event streams are open"))
    }

    pub(crate) const fn limits(&self) -> &GatewayLimits {
        &self.parts.limits
    }
}

/// The HTTP layer of one process. Clones share it.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) shared: State,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gateway")
    }
}

impl Gateway {
    /// A gateway over its parts. Opens no socket and starts no task: serve [`Gateway::router`] and
    /// [`Gateway::admin_router`], and run [`Gateway::run_tail`], [`Gateway::run_refusals`] and [`Gateway::run_revocations`] beside them.
    #[must_use]
    pub fn new(mut parts: GatewayParts) -> Self {
        let topics = Topics {
            scans: Topic::Scans.name(&parts.prefix),
            decisions: Topic::Decisions.name(&parts.prefix),
            audit: Topic::Audit.name(&parts.prefix),
            auth_commands: Topic::AuthCommands.name(&parts.prefix),
        };
        let gates = Gates::before(&mut parts.log, &mut parts.store, &parts.limits);
        let auth = parts.auth.take().map(|auth| {
            let topic = Topic::Revocations.name(&parts.prefix);
            let (log, store, clock) = (parts.log.clone(), parts.store.clone(), parts.clock.clone());
            DeviceAuth::new(auth, topics.auth_commands.clone(), RevocationCache::new(log, topic, store, clock))
        });
        let limits = &parts.limits;
        Self {
            shared: Arc::new(Shared {
                topics,
                correlator: Correlator::new(limits.waiters_max),
                refusals: Refusals::default(),
                auth,
                uploads: Arc::new(Semaphore::new(limits.uploads_bytes_max / UPLOAD_UNIT_BYTES)),
                streams: Arc::new(Semaphore::new(limits.streams_max)),
                requests: Arc::new(Semaphore::new(limits.requests_max)),
                gates,
                parts,
            }),
        }
    }

    /// For callers and agents.
    pub fn router(&self) -> Router {
        crate::routes::public(&self.shared)
    }

    /// For operators: metrics, health with reasons, keys, agents and users. Belongs on a port that callers do not reach.
    pub fn admin_router(&self) -> Router {
        crate::routes::admin(&self.shared)
    }

    /// Follows `decisions` and wakes those who wait, until `stop`. A tail that ends is opened again; meanwhile waiters
    /// look into the store by themselves. Beside it, tells health and metrics how log and store are.
    pub async fn run_tail(&self, stop: CancellationToken) {
        let (shared, parts) = (&self.shared, &self.shared.parts);
        let following = Following::new("gateway", shared.topics.decisions.clone());
        let health = (parts.health.component("gateway-log"), parts.health.component("gateway-store"));
        tokio::join!(
            crate::scan::wake::run(shared, &following, &stop),
            following.measure(&*parts.log, &*parts.clock, &stop),
            shared.gates.watch(&shared.topics.scans, health, &stop),
        );
    }

    /// Writes the number of refusals by code to `audit` at a steady interval, until `stop`; the last ones then.
    pub async fn run_refusals(&self, stop: CancellationToken) {
        crate::refusals::run(&self.shared, &stop).await;
    }

    /// Follows `revocations` until `stop`, so that tokens are checked without asking the store. Without device authentication there
    /// is nothing to follow.
    pub async fn run_revocations(&self, stop: CancellationToken) {
        match &self.shared.auth {
            Some(auth) => auth.revocations.run(stop).await,
            None => stop.cancelled().await,
        }
    }
}
