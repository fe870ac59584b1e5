//! The log and the store of a process: in its data directory, or Kafka and a `CQL` store.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use ridgeline_cql::{Cql, Replication, migration};
use ridgeline_embedded::{Embedded, EmbeddedOptions};
use ridgeline_kafka::{Change, Desired, Kafka};
use ridgeline_ports::{Clock, Entropy, EventLog, Store};
use ridgeline_registry::Registry;
use ridgeline_runtime::{Health, Limits};
use ridgeline_wire::row::table;
use ridgeline_wire::{Topic, Topology};

use crate::config::{Cluster, Settings};
use crate::guard::{self, Facts};
use crate::{connect, schemas};

/// An open log and an open store.
pub(crate) struct Backends {
    log: Arc<dyn EventLog>,
    store: Arc<dyn Store>,
    registry: Option<Registry>,
    held: Held,
}

/// What must be closed.
enum Held {
    Directory(Embedded),
    Cluster(Kafka, Box<Cql>),
}

impl Backends {
    /// Opens both. `create` makes topics and tables that are missing in a cluster; otherwise their absence is an error that
    /// names the command to run. A data directory always gets its own.
    ///
    /// # Errors
    /// A directory that is in use, a log or store that cannot be reached or does not fit this version, and in production
    /// one that keeps too few copies.
    pub(crate) async fn open(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        health: &Health,
        create: bool,
    ) -> anyhow::Result<Self> {
        match settings.cluster()? {
            None if settings.registry.is_some() => {
                bail!("a schema registry is configured, Kafka is not: values in the data directory need none")
            }
            None => directory(settings.data_dir.clone(), clock).await,
            Some(cluster) => {
                let opened = connected(settings, cluster, clock, entropy, create).await?;
                opened.with_registry(settings, health, create).await
            }
        }
    }

    /// Puts the registry's ids in front of values, where a registry is configured. `create` registers what is missing.
    async fn with_registry(self, settings: &Settings, health: &Health, create: bool) -> anyhow::Result<Self> {
        let Some(registry) = settings.registry.as_ref().map(schemas::connect).transpose()? else { return Ok(self) };
        if create {
            ridgeline_registry::register(&registry, settings.prefix()).await.context("registering schemas")?;
        }
        let log = schemas::translated(self.log, registry.clone(), settings.prefix(), health).await?;
        Ok(Self { log, registry: Some(registry), ..self })
    }

    /// The log.
    pub(crate) fn log(&self) -> Arc<dyn EventLog> {
        self.log.clone()
    }

    /// The store.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// The limits of workers as this log needs them: what they may take for a revocation lies within what it waits.
    pub(crate) fn fitting(&self, limits: Limits) -> Limits {
        match &self.held {
            Held::Directory(_) => limits,
            Held::Cluster(kafka, _) => Limits { revoke: limits.revoke.min(kafka.revocation() * 4 / 5), ..limits },
        }
    }

    /// Waits until the log can do nothing any more, and says why. That of a data directory tells each caller instead.
    pub(crate) async fn broken(&self) -> String {
        match &self.held {
            Held::Directory(_) => std::future::pending().await,
            Held::Cluster(kafka, _) => kafka.broken().await,
        }
    }

    /// Waits until everything acknowledged is where it belongs, and lets go.
    pub(crate) async fn close(self) {
        match self.held {
            Held::Directory(embedded) => embedded.shutdown().await,
            Held::Cluster(kafka, _) => kafka.shutdown().await,
        }
    }

    /// Closes, and removes the topics under `prefix`, their schemas and the keyspace, as a demo does that leaves nothing behind.
    ///
    /// # Errors
    /// What the cluster refuses to remove.
    pub(crate) async fn discard(self, prefix: &str) -> anyhow::Result<()> {
        if let Some(registry) = &self.registry {
            ridgeline_registry::remove(registry, prefix).await.context("removing the demo's schemas")?;
        }
        match self.held {
            Held::Directory(embedded) => embedded.shutdown().await,
            Held::Cluster(kafka, cql) => {
                kafka.delete_topics(prefix).await.context("removing the demo's topics")?;
                kafka.shutdown().await;
                cql.drop_keyspace().await.context("removing the demo's keyspace")?;
            }
        }
        Ok(())
    }
}

async fn directory(dir: PathBuf, clock: Arc<dyn Clock>) -> anyhow::Result<Backends> {
    let opened = tokio::task::spawn_blocking(move || Embedded::open(&dir, EmbeddedOptions::new(clock))).await?;
    let embedded = opened.context("cannot open the data directory")?;
    let (log, store) = (embedded.log(), embedded.store());
    for spec in Topic::ALL.iter().map(|topic| topic.spec("", Topology::Embedded)) {
        log.ensure_topic(&spec).await.with_context(|| format!("topic {}", spec.name))?;
    }
    store.ensure_tables(table::ALL).await.context("tables of the store")?;
    Ok(Backends { log, store, registry: None, held: Held::Directory(embedded) })
}

async fn connected(
    settings: &Settings,
    cluster: Cluster<'_>,
    clock: Arc<dyn Clock>,
    entropy: &dyn Entropy,
    create: bool,
) -> anyhow::Result<Backends> {
    let kafka = connect::kafka(cluster.kafka)?;
    let log = kafka.log();
    let hosts = cluster.cql.hosts.join(", ");
    if create {
        let config = connect::cql(cluster.cql, true)?;
        let quiet = &mut |step: migration::Step| tracing::debug!(%step, "migration");
        migration::migrate(&config, entropy, migration::ALL, false, quiet)
            .await
            .with_context(|| format!("tables of the store at {hosts}"))?;
        for spec in Topic::ALL.iter().map(|topic| topic.spec(&cluster.kafka.prefix, Topology::Kafka)) {
            log.ensure_topic(&spec).await.with_context(|| format!("topic {}", spec.name))?;
        }
    } else {
        topics_are_fit(&kafka, &cluster.kafka.prefix).await?;
    }
    let cql = Cql::connect(connect::cql(cluster.cql, false)?, clock, entropy).await;
    let cql = cql.with_context(|| format!("the store at {hosts}"))?;
    let store = cql.store();
    store.ensure_tables(table::ALL).await.context("tables of the store; run: ridgeline migrate")?;
    guard::cluster(settings, &facts(&kafka, &cql, &cluster.kafka.prefix).await?)?;
    Ok(Backends { log, store, registry: None, held: Held::Cluster(kafka, Box::new(cql)) })
}

/// Topics that differ in what everything rests on. Append times must be the broker's: they are the `now` of every decision.
///
/// # Errors
/// Names each difference, and the command that helps.
async fn topics_are_fit(kafka: &Kafka, prefix: &str) -> anyhow::Result<()> {
    let desired = Topic::ALL.iter().map(|topic| Desired {
        spec: topic.spec(prefix, Topology::Kafka),
        writers: Vec::new(),
        readers: Vec::new(),
        watchers: Vec::new(),
    });
    let plan = kafka.plan(&desired.collect::<Vec<_>>()).await.context("topics")?;
    let rests_on = |change: &&Change| match change {
        Change::Create { .. } | Change::RefusePartitions { .. } | Change::RefuseCleanup { .. } => true,
        Change::SetConfig { name, .. } => *name == "message.timestamp.type",
        Change::ReplicationDiffers { .. } | Change::Allow(_) | Change::Forbidden(_) | Change::NoAuthorizer => false,
    };
    let wrong: Vec<_> = plan.changes.iter().filter(rests_on).map(ToString::to_string).collect();
    if !wrong.is_empty() {
        bail!("topics are not ready; what is missing:\n  {}\nrun: ridgeline topics apply", wrong.join("\n  "));
    }
    Ok(())
}

/// Copies as they really are.
async fn facts(kafka: &Kafka, cql: &Cql, prefix: &str) -> anyhow::Result<Facts> {
    let names: Vec<_> = Topic::ALL.iter().map(|topic| topic.name(prefix)).collect();
    let topics = kafka.facts(&names).await.context("copies of the topics")?;
    let rows = match &cql.facts().replication {
        Replication::Simple(copies) => vec![("all".to_owned(), *copies)],
        Replication::PerDatacenter(copies) => copies.clone().into_iter().collect(),
    };
    let topics = topics.into_iter().map(|topic| (topic.topic.to_string(), topic.replication, topic.min_insync));
    Ok(Facts { topics: topics.collect(), rows, durable_writes: cql.facts().durable_writes })
}
