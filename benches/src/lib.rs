//! A service in this process for the benches, and how their figures are summed up. Figures are compared within one run only.

pub mod bare;
pub mod driver;
pub mod idle;
pub mod pipe;
pub mod report;
pub mod sealing;
pub mod site;
pub mod stack;
pub mod verifying;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::RwLock;
use ridgeline_client::{Client, ClientOptions};
use ridgeline_domain::{AgentId, Operation, Permission, Policy, Sensitive, TrustPolicy};
use ridgeline_embedded::{Embedded, EmbeddedOptions};
use ridgeline_gateway::{AuthParts, Gateway, GatewayLimits, GatewayParts, SchemaSource, ServeLimits, serve};
use ridgeline_identity::{Identity, IdentityConfig};
use ridgeline_intake::Signer;
use ridgeline_ports::{Clock, EventLog, RowKey, Store};
use ridgeline_runtime::{CpuPool, Health, Limits, LogTime, SystemClock, SystemEntropy};
use ridgeline_vault::{AgentRegistry, ApiKey, KeyRing, SampleOpener, SigningKey, Vault};
use ridgeline_wire::row::{ApiKeyRow, table};
use ridgeline_wire::{Topic, Topology, encode};
use ridgeline_workers::Platform;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A gateway over a log and a store; the caller adds the workers.
pub struct Service {
    /// What workers run on.
    pub platform: Arc<Platform>,
    /// A client with every permission.
    pub client: Arc<Client>,
    /// Address of the HTTP interface.
    pub url: String,
    /// Its keys, for the workers of device authentication.
    pub ring: KeyRing,
    /// Stops it.
    pub stop: CancellationToken,
    _dir: Option<TempDir>,
}

impl Service {
    /// Starts one over a log and a store in a new directory.
    ///
    /// # Errors
    /// What the disk, the network or the keys said.
    pub async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let embedded = Embedded::open(dir.path(), EmbeddedOptions::new(clock.clone()))?;
        let (log, store) = (embedded.log(), embedded.store());
        for topic in Topic::ALL {
            log.ensure_topic(&topic.spec("", Topology::Embedded)).await?;
        }
        store.ensure_tables(table::ALL).await?;
        let service = Self::over(log, store, String::new()).await?;
        Ok(Self { _dir: Some(dir), ..service })
    }

    /// Starts one over a log and a store that have what it needs, on a free port of the loopback address.
    ///
    /// # Errors
    /// What the log, the store, the network or the keys said.
    pub async fn over(log: Arc<dyn EventLog>, store: Arc<dyn Store>, prefix: String) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut ring = KeyRing::create(&SystemEntropy)?;
        ring.ensure_command_keys(&SystemEntropy)?;
        let key = SigningKey::generate(&SystemEntropy)?;
        let agent: AgentId = "gateway:bench".parse().context("agent id")?;
        let mut agents = AgentRegistry::new();
        agents.insert(agent.clone(), key.verifying_key(), Operation::ALL.iter().copied())?;
        let agents = Arc::new(RwLock::new(agents));
        let cpu = CpuPool::with_default_threads()?;
        let platform = Arc::new(Platform {
            log: log.clone(),
            store: store.clone(),
            vault: Vault::new(ring.clone()),
            opener: SampleOpener::new(&ring),
            agents: agents.clone(),
            refresh_agents: None,
            policy: Policy::default(),
            clock: clock.clone(),
            log_time: LogTime::default(),
            entropy: Arc::new(SystemEntropy),
            cpu: cpu.clone(),
            prefix,
            health: Health::new(),
            limits: Limits::default(),
        });
        let api_key = ApiKey::generate(&SystemEntropy)?;
        let row = ApiKeyRow {
            name: "bench".to_owned(),
            digest: api_key.digest().as_bytes().to_vec(),
            permissions: Permission::ALL.to_vec(),
            created_at: clock.now(),
            revoked: false,
        };
        store.insert_new(table::API_KEYS, &RowKey::single(api_key.id().as_str()), encode(&row)?.into(), None).await?;
        let stop = CancellationToken::new();
        let signer = Signer::new(agent, key, ring.sealing_key());
        let auth = AuthParts {
            identity: identity(store.clone())?,
            commands: ring.command_key().context("command key")?,
            sender: "gateway:bench".parse().context("agent id")?,
            rate_limits: false,
            trust: TrustPolicy::default(),
            trusted_proxies: Vec::new(),
        };
        let url = open(&platform, (signer, auth), cpu, &stop).await?;
        let secret = Sensitive::new(api_key.reveal().expose().clone());
        let client = Arc::new(Client::new(ClientOptions::new(url.clone(), Some(secret)))?);
        Ok(Self { platform, client, url, ring, stop, _dir: None })
    }

    /// The log under the service.
    #[must_use]
    pub fn log(&self) -> Arc<dyn EventLog> {
        self.platform.log.clone()
    }
}

/// Who checks tokens of the bench.
///
/// # Errors
/// None that a bench can cause.
pub fn identity(store: Arc<dyn Store>) -> Result<Identity> {
    Ok(Identity::new(IdentityConfig { issuer: "bench".to_owned(), oidc: None }, store)?)
}

async fn open(
    platform: &Arc<Platform>,
    (signer, auth): (Signer, AuthParts),
    cpu: CpuPool,
    stop: &CancellationToken,
) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let gateway = Gateway::new(GatewayParts {
        log: platform.log.clone(),
        store: platform.store.clone(),
        vault: platform.vault.clone(),
        signer,
        agents: platform.agents.clone(),
        agent_book: None,
        clock: platform.clock.clone(),
        entropy: platform.entropy.clone(),
        cpu,
        health: platform.health.clone(),
        prefix: platform.prefix.clone(),
        limits: GatewayLimits::default(),
        public_url: String::new(),
        schemas: SchemaSource::Own,
        admin_key: None,
        metrics: None,
        auth: Some(auth),
        stop: stop.clone(),
    });
    tokio::spawn(serve(listener, gateway.router(), None, stop.clone(), ServeLimits::default()));
    let tail = stop.clone();
    tokio::spawn(async move { gateway.run_tail(tail).await });
    Ok(url)
}

/// Durations of single calls and of the whole.
pub struct Timed {
    each: Vec<Duration>,
    whole: Duration,
}

impl Timed {
    /// From what a loop of its own has measured.
    #[must_use]
    pub fn new(mut each: Vec<Duration>, whole: Duration) -> Self {
        each.sort_unstable();
        Self { each, whole }
    }

    /// The duration that the share `p` (0–1) of calls did not exceed, in milliseconds.
    #[must_use]
    pub fn percentile_ms(&self, p: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into a short list"
        )]
        let index = ((self.each.len() as f64 * p) as usize).min(self.each.len().saturating_sub(1));
        self.each.get(index).map_or(0.0, |duration| duration.as_secs_f64() * 1_000.0)
    }

    /// Calls a second over the whole.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
        let calls = self.each.len() as f64;
        calls / self.whole.as_secs_f64()
    }
}

/// Makes `calls` calls with `in_flight` of them at once.
///
/// # Errors
/// The first error of a call.
pub async fn time<F, C>(calls: usize, in_flight: usize, call: F) -> Result<Timed>
where
    F: Fn(usize) -> C + Send + Sync + 'static,
    C: Future<Output = Result<()>> + Send,
{
    let call = Arc::new(call);
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let begun = Instant::now();
    let lanes: Vec<_> = (0..in_flight)
        .map(|_| {
            let (call, next) = (call.clone(), next.clone());
            tokio::spawn(async move {
                let mut each = Vec::new();
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if number >= calls {
                        return anyhow::Ok(each);
                    }
                    let begun = Instant::now();
                    call(number).await?;
                    each.push(begun.elapsed());
                }
            })
        })
        .collect();
    let mut each = Vec::with_capacity(calls);
    for lane in lanes {
        each.extend(lane.await??);
    }
    Ok(Timed::new(each, begun.elapsed()))
}
