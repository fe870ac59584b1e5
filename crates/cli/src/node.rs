//! Everything in one process over one directory: opened, started, watched, stopped in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use parking_lot::RwLock;
use ridgeline_agent::{Agent, AgentParts, FolderOptions, FolderReader, LogPublisher, Reader, Spool, SpoolLimits};
use ridgeline_domain::{AgentId, Operation};
use ridgeline_embedded::{Embedded, EmbeddedOptions};
use ridgeline_gateway::{Gateway, GatewayLimits, GatewayParts, ServeLimits, serve};
use ridgeline_intake::Signer;
use ridgeline_ports::{Clock, Entropy, EventLog};
use ridgeline_runtime::{CpuPool, Health, Limits, SystemClock, SystemEntropy};
use ridgeline_vault::{AgentRegistry, KeyRing, SampleOpener, SigningKey, Vault};
use ridgeline_wire::row::table;
use ridgeline_wire::{Topic, Topology};
use ridgeline_workers::{Platform, run_gallery, run_matcher, run_merger};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agents_file::AgentsFile;
use crate::config::{Folder, Settings};
use crate::{keys, telemetry};

/// Topics of an embedded service have no prefix.
const PREFIX: &str = "";
/// Longest time for each half of a stop: first callers and readers, then workers. Above the drain limits of both.
const DRAIN: Duration = Duration::from_secs(12);

/// A running service.
pub(crate) struct Node {
    /// Address of the HTTP interface.
    pub(crate) url: String,
    /// Address of metrics and operators.
    pub(crate) admin_url: String,
    /// File of the first API key.
    pub(crate) api_key_file: PathBuf,
    /// Its log, for those in the same process.
    pub(crate) log: Arc<dyn EventLog>,
    embedded: Embedded,
    /// Callers and readers.
    front: Part,
    /// Workers.
    back: Part,
}

/// Tasks that stop together.
struct Part {
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<&'static str>>,
}

impl Part {
    fn new() -> Self {
        Self { stop: CancellationToken::new(), tasks: JoinSet::new() }
    }

    /// Asks all to stop and waits for them; what is too late is dropped.
    async fn end(&mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(DRAIN, async {
            while let Some(task) = self.tasks.join_next().await {
                match flatten(task) {
                    Ok(part) => tracing::debug!(part, "ended"),
                    Err(error) => tracing::warn!(error = format!("{error:#}"), "a part did not end well"),
                }
            }
        });
        if ended.await.is_err() {
            tracing::warn!(parts = self.tasks.len(), "parts that did not stop in time were cut off");
            self.tasks.shutdown().await;
        }
    }
}

fn flatten(task: Result<anyhow::Result<&'static str>, tokio::task::JoinError>) -> anyhow::Result<&'static str> {
    task.unwrap_or_else(|error| Err(anyhow!(error).context("a part of the service panicked")))
}

/// What all parts share.
struct Shared {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    cpu: CpuPool,
    health: Health,
    agents: Arc<RwLock<AgentRegistry>>,
    ring: KeyRing,
    vault: Vault,
}

impl Node {
    /// Starts everything; returns once requests are accepted.
    ///
    /// # Errors
    /// A port that is taken, a directory that is in use, a key file that is damaged or open to others.
    pub(crate) async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let (listener, admin_listener) = (bind(settings.listen).await?, bind(settings.admin_listen).await?);
        let url = format!("http://{}", listener.local_addr()?);
        let admin_url = format!("http://{}", admin_listener.local_addr()?);
        let dir = &settings.data_dir;
        keys::private_dir(dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let embedded = open(dir.clone(), clock.clone()).await?;
        let (log, store) = (embedded.log(), embedded.store());
        let shared = shared(settings, clock)?;
        let topics = Topic::ALL.iter().map(|topic| topic.spec(PREFIX, Topology::Embedded));
        for spec in topics {
            log.ensure_topic(&spec).await.with_context(|| format!("topic {}", spec.name))?;
        }
        store.ensure_tables(table::ALL).await.context("tables of the store")?;
        let now = shared.clock.now();
        let api_key_file = keys::api_key(dir, store.as_ref(), shared.entropy.as_ref(), now).await?;
        keys::publish_sealing_key(dir, &shared.ring.sealing_key())?;

        let gateway_key = register(&shared, settings, "gateway:local", keys::name::GATEWAY_KEY, Operation::ALL)?;
        let book = AgentsFile::of(dir);
        let agent = settings.folder.as_ref().map(|folder| folder_agent(settings, &shared, folder, log.clone()));
        let agent = agent.transpose()?;
        book.load(&mut shared.agents.write())?;

        let mut node = Self { url, admin_url, api_key_file, log, embedded, front: Part::new(), back: Part::new() };
        node.start_workers(settings, &shared);
        let gateway = Gateway::new(GatewayParts {
            log: node.log.clone(),
            store,
            vault: shared.vault.clone(),
            signer: Signer::new(id("gateway:local")?, gateway_key, shared.ring.sealing_key()),
            agents: shared.agents.clone(),
            agent_book: Some(Arc::new(book)),
            clock: shared.clock.clone(),
            entropy: shared.entropy.clone(),
            cpu: shared.cpu.clone(),
            health: shared.health.clone(),
            prefix: PREFIX.to_owned(),
            limits: GatewayLimits::default(),
            public_url: settings.public_url.clone().unwrap_or_else(|| node.url.clone()),
            admin_key: Some(keys::admin_key(dir, shared.entropy.as_ref())?),
            metrics: Some(telemetry::metrics()?),
            stop: node.front.stop.clone(),
        });
        node.start_front(&gateway, listener, admin_listener, agent);
        Ok(node)
    }

    fn start_workers(&mut self, settings: &Settings, shared: &Shared) {
        let platform = Arc::new(Platform {
            log: self.log.clone(),
            store: self.embedded.store(),
            vault: shared.vault.clone(),
            opener: SampleOpener::new(&shared.ring),
            agents: shared.agents.clone(),
            policy: settings.policy.clone(),
            clock: shared.clock.clone(),
            entropy: shared.entropy.clone(),
            cpu: shared.cpu.clone(),
            prefix: PREFIX.to_owned(),
            health: shared.health.clone(),
            limits: Limits::default(),
        });
        let (tasks, stop) = (&mut self.back.tasks, &self.back.stop);
        let (p, s) = (platform.clone(), stop.clone());
        tasks.spawn(async move { run_matcher(p, "local", s).await.map(|()| "matcher").context("matcher") });
        let (p, s) = (platform.clone(), stop.clone());
        tasks.spawn(async move { run_gallery(p, "local", s).await.map(|()| "gallery").context("gallery shard") });
        let (p, s) = (platform, stop.clone());
        tasks.spawn(async move { run_merger(p, "local", s).await.map(|()| "merger").context("merger") });
    }

    fn start_front(
        &mut self,
        gateway: &Gateway,
        listener: TcpListener,
        admin_listener: TcpListener,
        agent: Option<(Agent, Box<dyn Reader>)>,
    ) {
        // Refusals and wake-ups go on until the workers have ended: callers drain meanwhile.
        let (g, s) = (gateway.clone(), self.back.stop.clone());
        self.back.tasks.spawn(async move {
            g.run_tail(s).await;
            Ok("tail of decisions")
        });
        let (g, s) = (gateway.clone(), self.back.stop.clone());
        self.back.tasks.spawn(async move {
            g.run_refusals(s).await;
            Ok("refusals")
        });
        for (listener, router) in [(listener, gateway.router()), (admin_listener, gateway.admin_router())] {
            let stop = self.front.stop.clone();
            self.front.tasks.spawn(async move {
                serve(listener, router, stop, ServeLimits::default()).await;
                Ok("HTTP")
            });
        }
        if let Some((agent, reader)) = agent {
            let stop = self.front.stop.clone();
            self.front
                .tasks
                .spawn(async move { agent.run(vec![reader], stop).await.map(|()| "agent").context("built-in agent") });
        }
    }

    /// Waits until a part ends by itself, which none should.
    pub(crate) async fn broken(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            Some(ended) = self.front.tasks.join_next() => ended,
            Some(ended) = self.back.tasks.join_next() => ended,
            else => return anyhow!("the service has no parts left"),
        };
        match flatten(ended) {
            Ok(part) => anyhow!("a part of the service ended: {part}"),
            Err(error) => error,
        }
    }

    /// Stops in order: no new requests, requests in work, workers, log and store.
    pub(crate) async fn stop(mut self) {
        self.front.end().await;
        self.back.end().await;
        self.embedded.shutdown().await;
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| match address.port() {
        0 => format!("cannot listen on {address}"),
        port => format!("cannot listen on {address}; is another service on port {port}? Choose another with --listen or --admin-listen"),
    })
}

async fn open(dir: PathBuf, clock: Arc<dyn Clock>) -> anyhow::Result<Embedded> {
    let opened = tokio::task::spawn_blocking(move || Embedded::open(&dir, EmbeddedOptions::new(clock))).await?;
    opened.context("cannot open the data directory")
}

fn shared(settings: &Settings, clock: Arc<dyn Clock>) -> anyhow::Result<Shared> {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let ring = keys::ring(&settings.data_dir, entropy.as_ref())?;
    let cpu = settings.cpu_threads.map_or_else(CpuPool::with_default_threads, CpuPool::new);
    Ok(Shared {
        clock,
        entropy,
        cpu: cpu.context("threads for computations")?,
        health: Health::new(),
        agents: Arc::new(RwLock::new(AgentRegistry::new())),
        vault: Vault::new(ring.clone()),
        ring,
    })
}

fn id(text: &str) -> anyhow::Result<AgentId> {
    Ok(text.parse()?)
}

/// Makes one of the service's own sources known and returns its key.
fn register(
    shared: &Shared,
    settings: &Settings,
    name: &str,
    file: &str,
    operations: &[Operation],
) -> anyhow::Result<SigningKey> {
    let key = keys::signing_key(&settings.data_dir.join(file), shared.entropy.as_ref())?;
    shared.agents.write().insert(id(name)?, key.verifying_key(), operations.iter().copied())?;
    Ok(key)
}

/// The built-in agent over a folder. It may ask for that folder's operation and nothing else.
fn folder_agent(
    settings: &Settings,
    shared: &Shared,
    folder: &Folder,
    log: Arc<dyn EventLog>,
) -> anyhow::Result<(Agent, Box<dyn Reader>)> {
    let key = register(shared, settings, "agent:local", keys::name::AGENT_KEY, &[folder.operation])?;
    let mut options = FolderOptions::new(folder.path.clone(), folder.operation);
    options.dpi = folder.dpi;
    let reader = FolderReader::open("folder".parse()?, options, shared.clock.clone(), shared.entropy.clone());
    let reader: Box<dyn Reader> = Box::new(reader.context("the folder to watch")?);
    let topic = Topic::Scans.name(PREFIX);
    let spool = Spool::open(
        &settings.data_dir.join("spool"),
        topic.clone(),
        shared.vault.clone(),
        shared.entropy.clone(),
        SpoolLimits::default(),
    );
    let agent = Agent::new(AgentParts {
        signer: Signer::new(id("agent:local")?, key, shared.ring.sealing_key()),
        topic,
        spool: spool.context("the agent's spool")?,
        publisher: Arc::new(LogPublisher(log)),
        cpu: shared.cpu.clone(),
        entropy: shared.entropy.clone(),
        health: shared.health.clone(),
    });
    Ok((agent, reader))
}
