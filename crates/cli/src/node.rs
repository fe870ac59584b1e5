//! The roles of one process: opened, started, watched, stopped in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use ridgeline_agent::{Agent, AgentParts, FolderOptions, FolderReader, LogPublisher, Reader, Spool, SpoolLimits};
use ridgeline_domain::{AgentId, Operation};
use ridgeline_gateway::{
    AuthParts as GatewayAuth, Gateway, GatewayLimits, GatewayParts, Ops, SchemaSource, ServeLimits, Tls, serve,
};
use ridgeline_identity::Identity;
use ridgeline_intake::Signer;
use ridgeline_ports::{Clock, Entropy, EventLog};
use ridgeline_runtime::{CpuPool, Health, Limits, LogTime, SystemEntropy};
use ridgeline_vault::command::CommandOpener;
use ridgeline_vault::{KeyRing, SampleOpener, SigningKey, Vault};
use ridgeline_wire::Topic;
use ridgeline_workers::{
    AuthConfig, AuthParts, CALLBACK_PAUSE, NotifyParts, Platform, run_auth, run_gallery, run_matcher, run_merger,
    run_notify,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agents::Agents;
use crate::args::Role;
use crate::backends::Backends;
use crate::config::{Folder, Profile, Settings};
use crate::{faults, guard, keys, push, telemetry};

/// Longest time for each half of a stop: first callers and readers, then workers. Above what both may take: a worker drains for 10 s,
/// commits, and leaves its group within another 5 s and the adapter's own bounds.
const DRAIN: Duration = Duration::from_secs(30);

/// A running process of the service.
pub(crate) struct Node {
    /// Address of the HTTP interface; `None` without a gateway.
    pub(crate) url: Option<String>,
    /// Address of metrics and operators.
    pub(crate) admin_url: String,
    /// File of the first API key, where this process makes one.
    pub(crate) api_key_file: Option<PathBuf>,
    /// Its log, for those in the same process.
    pub(crate) log: Arc<dyn EventLog>,
    backends: Backends,
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
    agents: Agents,
    ring: KeyRing,
    vault: Vault,
}

impl Node {
    /// Starts every role in this process; returns once requests are accepted.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub(crate) async fn start_all(settings: &Settings) -> anyhow::Result<Self> {
        Self::start(
            settings,
            &[Role::Gateway, Role::Matcher, Role::Gallery, Role::Merger, Role::Auth, Role::Notify],
            true,
        )
        .await
    }

    /// Starts these roles; returns once they run, and with a gateway once requests are accepted. `create` makes topics
    /// and tables that are missing; otherwise they must be there.
    ///
    /// # Errors
    /// A port that is taken, a directory that is in use, a key file that is damaged or open to others, a log or store that
    /// cannot be reached or is not ready for this version, and in production whatever would lose data or leak secrets.
    pub(crate) async fn start(settings: &Settings, roles: &[Role], create: bool) -> anyhow::Result<Self> {
        guard::configuration(settings, roles)?;
        // Before any part: what is counted without a recorder is counted nowhere.
        let _ = telemetry::metrics()?;
        let serves = roles.contains(&Role::Gateway);
        let tls = settings.tls.as_ref().map(|files| Tls::from_files(&files.certificate, &files.key));
        let tls = tls.transpose().context("[tls] certificate and key")?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = if serves { Some(bind(settings.listen).await?) } else { None };
        let admin_listener = bind(settings.admin_listen).await?;
        let url = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let admin_url = format!("{scheme}://{}", admin_listener.local_addr()?);
        keys::private_dir(&settings.data_dir)?;
        let shared = shared(settings)?;
        let backends =
            Backends::open(settings, shared.clock.clone(), shared.entropy.as_ref(), &shared.health, create).await?;
        let mut node = Self {
            url: url.map(|address| format!("{scheme}://{address}")),
            admin_url,
            api_key_file: None,
            log: backends.log(),
            backends,
            front: Part::new(),
            back: Part::new(),
        };
        match node.start_parts(settings, roles, &shared, (listener, admin_listener, tls)).await {
            Ok(()) => Ok(node),
            Err(error) => {
                node.stop().await;
                Err(error)
            }
        }
    }

    async fn start_parts(
        &mut self,
        settings: &Settings,
        roles: &[Role],
        shared: &Shared,
        listeners: (Option<TcpListener>, TcpListener, Option<Tls>),
    ) -> anyhow::Result<()> {
        let (listener, admin_listener, tls) = listeners;
        let store = self.backends.store();
        keys::belongs(store.as_ref(), &shared.vault, shared.entropy.as_ref(), &settings.key_ring()).await?;
        // Before the workers: they must know the sources of this process when their first record comes.
        let gateway = if listener.is_some() { Some(self.gateway(settings, shared).await?) } else { None };
        let agent = settings.folder.as_ref().filter(|_| gateway.is_some());
        let agent = agent.map(|folder| folder_agent(settings, shared, folder, self.log.clone())).transpose()?;
        let (agents, stop) = (shared.agents.clone(), self.back.stop.clone());
        self.back.tasks.spawn(async move {
            agents.watch(stop).await;
            Ok("agents file")
        });
        self.start_workers(settings, roles, shared, self.backends.fitting(faults::limits()?))?;
        let ops =
            Ops { health: shared.health.clone(), metrics: Some(telemetry::metrics()?), stop: self.front.stop.clone() };
        let admin = gateway.as_ref().map_or_else(|| ops.router(), Gateway::admin_router);
        self.serve(admin_listener, admin, tls.clone());
        if let (Some(gateway), Some(listener)) = (gateway, listener) {
            self.serve(listener, gateway.router(), tls);
            self.follow(&gateway);
        }
        if let Some((agent, reader)) = agent {
            let stop = self.front.stop.clone();
            self.front
                .tasks
                .spawn(async move { agent.run(vec![reader], stop).await.map(|()| "agent").context("built-in agent") });
        }
        Ok(())
    }

    async fn gateway(&mut self, settings: &Settings, shared: &Shared) -> anyhow::Result<Gateway> {
        let (dir, store) = (&settings.data_dir, self.backends.store());
        if settings.profile == Profile::Development {
            let now = shared.clock.now();
            let file = keys::api_key(dir, store.as_ref(), shared.entropy.as_ref(), now).await?;
            self.api_key_file = Some(file);
        }
        keys::publish_sealing_key(dir, &shared.ring.sealing_key())?;
        let name = format!("gateway:{}", settings.name.as_deref().unwrap_or("local"));
        let key = own_source(settings, shared, &name, keys::name::GATEWAY_KEY, Operation::ALL)?;
        let admin_key = match settings.profile {
            Profile::Development => keys::admin_key(dir, shared.entropy.as_ref())?,
            Profile::Production => keys::read_secret(&dir.join(keys::name::ADMIN_KEY)).context(INIT)?,
        };
        let auth = GatewayAuth {
            identity: Identity::new(settings.auth.identity()?, store.clone())?,
            commands: shared.ring.command_key().context(COMMAND_KEYS)?,
            sender: name.parse()?,
            rate_limits: settings.auth.rate_limits,
            trust: settings.auth.trust,
            trusted_proxies: settings.auth.trusted_proxies.clone(),
        };
        Ok(Gateway::new(GatewayParts {
            log: self.log.clone(),
            store,
            vault: shared.vault.clone(),
            signer: Signer::new(name.parse()?, key, shared.ring.sealing_key()),
            agents: shared.agents.registry(),
            agent_book: Some(shared.agents.file()),
            clock: shared.clock.clone(),
            entropy: shared.entropy.clone(),
            cpu: shared.cpu.clone(),
            health: shared.health.clone(),
            prefix: settings.prefix().to_owned(),
            limits: GatewayLimits::default(),
            schemas: if settings.registry.is_some() { SchemaSource::Registry } else { SchemaSource::Own },
            public_url: self.public_url(settings),
            auth: Some(auth),
            admin_key: Some(admin_key),
            metrics: Some(telemetry::metrics()?),
            stop: self.front.stop.clone(),
        }))
    }

    /// Address under which callers reach the service. A worker in a process of its own is told by the configuration.
    fn public_url(&self, settings: &Settings) -> String {
        settings.public_url.clone().or_else(|| self.url.clone()).unwrap_or_default()
    }

    /// What an auth worker needs beside the platform.
    fn auth_parts(&self, settings: &Settings, shared: &Shared) -> anyhow::Result<AuthParts> {
        if self.public_url(settings).is_empty() {
            bail!(
                "an auth worker without a gateway beside it needs public_url in the configuration: proofs of possession name it"
            );
        }
        Ok(AuthParts {
            opener: CommandOpener::new(&shared.ring).context(COMMAND_KEYS)?,
            commands: shared.ring.command_key().context(COMMAND_KEYS)?,
            sender: format!("auth:{}", settings.name.as_deref().unwrap_or("local")).parse()?,
            identity: Identity::new(settings.auth.identity()?, self.backends.store())?,
            config: AuthConfig {
                issuer: settings.auth.issuer.clone(),
                public_url: self.public_url(settings),
                trust: settings.auth.trust,
                approvals: settings.auth.approval_policy()?,
                private_callbacks: settings.auth.private_callbacks,
            },
        })
    }

    fn start_workers(
        &mut self,
        settings: &Settings,
        roles: &[Role],
        shared: &Shared,
        limits: Limits,
    ) -> anyhow::Result<()> {
        let agents = shared.agents.clone();
        let platform = Arc::new(Platform {
            log: self.log.clone(),
            store: self.backends.store(),
            vault: shared.vault.clone(),
            opener: SampleOpener::new(&shared.ring),
            agents: shared.agents.registry(),
            refresh_agents: Some(Arc::new(move || agents.refresh())),
            policy: settings.policy.clone(),
            clock: shared.clock.clone(),
            log_time: LogTime::default(),
            entropy: shared.entropy.clone(),
            cpu: shared.cpu.clone(),
            prefix: settings.prefix().to_owned(),
            health: shared.health.clone(),
            limits,
        });
        let member = settings.member();
        for role in roles {
            let (p, stop, member) = (platform.clone(), self.back.stop.clone(), member.clone());
            match role {
                Role::Gateway => continue,
                Role::Matcher => self
                    .back
                    .tasks
                    .spawn(async move { run_matcher(p, &member, stop).await.map(|()| "matcher").context("matcher") }),
                Role::Gallery => self.back.tasks.spawn(async move {
                    run_gallery(p, &member, stop).await.map(|()| "gallery").context("gallery shard")
                }),
                Role::Merger => self
                    .back
                    .tasks
                    .spawn(async move { run_merger(p, &member, stop).await.map(|()| "merger").context("merger") }),
                Role::Auth => {
                    let parts = self.auth_parts(settings, shared)?;
                    self.back.tasks.spawn(async move {
                        run_auth(p, parts, &member, stop).await.map(|()| "auth worker").context("auth worker")
                    })
                }
                Role::Notify => {
                    let parts = NotifyParts {
                        push: push::sender(settings, shared.clock.clone())?,
                        callbacks: settings.auth.callbacks()?,
                        callback_pause: CALLBACK_PAUSE,
                    };
                    self.back.tasks.spawn(async move {
                        run_notify(p, parts, &member, stop).await.map(|()| "notify worker").context("notify worker")
                    })
                }
            };
        }
        Ok(())
    }

    fn serve(&mut self, listener: TcpListener, router: ridgeline_gateway::Router, tls: Option<Tls>) {
        let stop = self.front.stop.clone();
        self.front.tasks.spawn(async move {
            serve(listener, router, tls, stop, ServeLimits::default()).await;
            Ok("HTTP")
        });
    }

    /// Refusals and wake-ups go on until the workers have ended: callers drain meanwhile.
    fn follow(&mut self, gateway: &Gateway) {
        let (g, s) = (gateway.clone(), self.back.stop.clone());
        self.back.tasks.spawn(async move {
            g.run_tail(s).await;
            Ok("tail of decisions")
        });
        let (g, s) = (gateway.clone(), self.back.stop.clone());
        self.back.tasks.spawn(async move {
            g.run_revocations(s).await;
            Ok("tail of revocations")
        });
        let (g, s) = (gateway.clone(), self.back.stop.clone());
        self.back.tasks.spawn(async move {
            g.run_refusals(s).await;
            Ok("refusals")
        });
    }

    /// Waits until a part ends by itself, which none should.
    pub(crate) async fn broken(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            Some(ended) = self.front.tasks.join_next() => ended,
            Some(ended) = self.back.tasks.join_next() => ended,
            reason = self.backends.broken() => return anyhow!("the log failed for good: {reason}"),
            else => return anyhow!("the service has no parts left"),
        };
        match flatten(ended) {
            Ok(part) => anyhow!("a part of the service ended: {part}"),
            Err(error) => error,
        }
    }

    /// Stops in order: no new requests, requests in work, workers, log and store.
    pub(crate) async fn stop(mut self) {
        self.end_parts().await;
        self.backends.close().await;
    }

    /// Stops, and removes what this process made in a cluster: topics under the prefix, and the keyspace.
    ///
    /// # Errors
    /// What the cluster refuses to remove.
    pub(crate) async fn stop_and_discard(mut self, prefix: &str) -> anyhow::Result<()> {
        self.end_parts().await;
        self.backends.discard(prefix).await
    }

    async fn end_parts(&mut self) {
        self.front.end().await;
        self.back.end().await;
    }
}

/// What is missing in a key ring of an earlier version.
const COMMAND_KEYS: &str = "the key ring has no keys for device authentication; run: ridgeline init";

/// What is missing in production until somebody makes it.
const INIT: &str = "in production keys are made by `ridgeline init`, never by a start";

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| match address.port() {
        0 => format!("cannot listen on {address}"),
        port => format!("cannot listen on {address}; is another service on port {port}? Choose another with --listen or --admin-listen"),
    })
}

fn shared(settings: &Settings) -> anyhow::Result<Shared> {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let ring = settings.key_ring();
    if settings.profile == Profile::Production && !ring.exists() {
        bail!("key ring {} does not exist; {INIT}", ring.display());
    }
    let ring = match settings.profile {
        Profile::Production => keys::read_ring(&ring)?,
        Profile::Development => keys::ring(&ring, entropy.as_ref())?,
    };
    let cpu = settings.cpu_threads.map_or_else(CpuPool::with_default_threads, CpuPool::new);
    Ok(Shared {
        clock: faults::clock()?,
        entropy,
        cpu: cpu.context("threads for computations")?,
        health: Health::new(),
        agents: Agents::open(settings.agents_file())?,
        vault: Vault::new(ring.clone()),
        ring,
    })
}

/// Makes one of the process's own sources known to those who verify its records, and returns its key.
fn own_source(
    settings: &Settings,
    shared: &Shared,
    name: &str,
    file: &str,
    operations: &[Operation],
) -> anyhow::Result<SigningKey> {
    let (id, path): (AgentId, _) = (name.parse()?, settings.data_dir.join(file));
    if settings.profile == Profile::Production {
        if !path.exists() {
            bail!("signing key {} does not exist; {INIT}", path.display());
        }
        let key = keys::signing_key(&path, shared.entropy.as_ref())?;
        if !shared.agents.knows(&id, &key.verifying_key())? {
            let agents = settings.agents_file();
            bail!("agents file {} does not know {id}; {INIT}", agents.display());
        }
        return Ok(key);
    }
    let key = keys::signing_key(&path, shared.entropy.as_ref())?;
    match settings.kafka {
        // The workers may be other processes.
        Some(_) => shared.agents.publish(&id, &key.verifying_key(), operations)?,
        None => shared.agents.add_own(id, key.verifying_key(), operations)?,
    }
    Ok(key)
}

/// The built-in agent over a folder. It may ask for that folder's operation and nothing else.
fn folder_agent(
    settings: &Settings,
    shared: &Shared,
    folder: &Folder,
    log: Arc<dyn EventLog>,
) -> anyhow::Result<(Agent, Box<dyn Reader>)> {
    let name = format!("agent:{}", settings.name.as_deref().unwrap_or("local"));
    let key = own_source(settings, shared, &name, keys::name::AGENT_KEY, &[folder.operation])?;
    let mut options = FolderOptions::new(folder.path.clone(), folder.operation);
    options.dpi = folder.dpi;
    let reader = FolderReader::open("folder".parse()?, options, shared.clock.clone(), shared.entropy.clone());
    let reader: Box<dyn Reader> = Box::new(reader.context("the folder to watch")?);
    let topic = Topic::Scans.name(settings.prefix());
    let spool = Spool::open(
        &settings.data_dir.join("spool"),
        topic.clone(),
        shared.vault.clone(),
        shared.entropy.clone(),
        SpoolLimits::default(),
    );
    let agent = Agent::new(AgentParts {
        signer: Signer::new(name.parse()?, key, shared.ring.sealing_key()),
        topic,
        spool: spool.context("the agent's spool")?,
        publisher: Arc::new(LogPublisher(log)),
        cpu: shared.cpu.clone(),
        entropy: shared.entropy.clone(),
        health: shared.health.clone(),
    });
    Ok((agent, reader))
}
