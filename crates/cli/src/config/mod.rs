//! Configuration: command line, then file, then defaults; read once, into plain structs.

mod approvals;
mod auth;
mod cluster;
#[cfg(test)]
pub(crate) mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use ridgeline_domain::{Confidence, Operation, Policy, QualityThresholds};
use serde::Deserialize;

use crate::args::{Args, ClusterArgs, Command, Global, LogFormat, ServeArgs};
use crate::keys;

pub(crate) use auth::AuthSettings;
pub(crate) use cluster::{
    Cluster, CqlReplication, CqlSettings, KafkaSecurity, KafkaSettings, Login, RegistrySettings, Tuning, check_prefix,
};

/// A configuration file is written by people.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that was configured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// What is forgiven.
    pub(crate) profile: Profile,
    /// Of this process among the others: member of groups, `gateway:<name>`.
    pub(crate) name: Option<String>,
    /// Where keys live, and in one process also log and store.
    pub(crate) data_dir: PathBuf,
    /// Whether somebody chose it.
    pub(crate) data_dir_given: bool,
    /// Public HTTP interface.
    pub(crate) listen: SocketAddr,
    /// Metrics and operators.
    pub(crate) admin_listen: SocketAddr,
    /// Address in links; by default that of the listener.
    pub(crate) public_url: Option<String>,
    /// Whether others may reach a listener without TLS.
    pub(crate) danger_plain_http: bool,
    /// Threads for extraction and comparison; by default one for each processor.
    pub(crate) cpu_threads: Option<usize>,
    /// How log lines are written.
    pub(crate) log_format: LogFormat,
    /// What is logged, if somebody chose.
    pub(crate) log_level: Option<String>,
    /// What the workers judge by.
    pub(crate) policy: Policy,
    /// A folder to watch.
    pub(crate) folder: Option<Folder>,
    /// Where keys and agents are, if not in the data directory.
    pub(crate) keys: KeyFiles,
    /// Certificate and key of the listeners.
    pub(crate) tls: Option<TlsFiles>,
    /// A log outside this process.
    pub(crate) kafka: Option<KafkaSettings>,
    /// A store outside this process.
    pub(crate) cql: Option<CqlSettings>,
    /// A schema registry whose ids stand in front of values; `None`: the ids are our own.
    pub(crate) registry: Option<RegistrySettings>,
    /// Device authentication.
    pub(crate) auth: AuthSettings,
}

/// What is forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// One copy of everything is enough, keys are made where they are missing.
    #[default]
    Development,
    /// What would lose data or leak secrets keeps the process from starting.
    Production,
}

impl Profile {
    /// Copies of partitions and rows, unless somebody chose.
    pub(crate) const fn copies(self) -> u16 {
        match self {
            Self::Development => 1,
            Self::Production => 3,
        }
    }
}

/// Files that all processes of a deployment share.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyFiles {
    /// The key ring.
    pub(crate) ring: Option<PathBuf>,
    /// `agents.toml`.
    pub(crate) agents: Option<PathBuf>,
}

/// PEM files of the HTTP listeners.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    /// Certificate, then those of its issuers.
    pub(crate) certificate: PathBuf,
    /// Private key.
    pub(crate) key: PathBuf,
}

/// The built-in agent's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Which.
    pub(crate) path: PathBuf,
    /// What its images ask for.
    pub(crate) operation: Operation,
    /// Their resolution, unless they carry it.
    pub(crate) dpi: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    profile: Profile,
    name: Option<String>,
    data_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    admin_listen: Option<SocketAddr>,
    public_url: Option<String>,
    danger_plain_http: bool,
    cpu_threads: Option<usize>,
    log: LogFile,
    policy: PolicyFile,
    folder: Option<FolderFile>,
    keys: KeyFiles,
    tls: Option<TlsFiles>,
    kafka: Option<cluster::KafkaFile>,
    cql: Option<cluster::CqlFile>,
    registry: Option<cluster::RegistryFile>,
    auth: auth::AuthFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogFile {
    format: Option<LogFormat>,
    level: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PolicyFile {
    accept: Option<f64>,
    consistency: Option<f64>,
    enrol_quality: Option<QualityFile>,
    probe_quality: Option<QualityFile>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct QualityFile {
    minimum: u8,
    recommended: u8,
    excellent: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FolderFile {
    path: PathBuf,
    operation: Option<String>,
    dpi: Option<u16>,
}

impl Settings {
    /// Reads the file, if one is named, and lays the command line over it.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key or a value outside its range; a listener that others can reach without TLS.
    pub(crate) fn read(args: &Args) -> anyhow::Result<Self> {
        let file = match &args.global.config {
            Some(path) => parse(&read(path)?).with_context(|| format!("configuration file {}", path.display()))?,
            None => File::default(),
        };
        Self::merge(&args.global, &args.command, file)
    }

    fn merge(global: &Global, command: &Command, file: File) -> anyhow::Result<Self> {
        let (serve, outside) = (serve_args(command), cluster_args(command));
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let given = global.data_dir.clone().or(file.data_dir);
        let folder = match (&serve.folder, file.folder) {
            (Some(path), _) => Some(Folder { path: path.clone(), operation: Operation::Verify, dpi: serve.folder_dpi }),
            (None, Some(file)) => Some(folder(file)?),
            (None, None) => None,
        };
        let folder =
            folder.map(|folder| Folder { operation: serve.folder_operation.unwrap_or(folder.operation), ..folder });
        let public_url = file.public_url.map(|url| url.trim_end_matches('/').to_owned());
        let settings = Self {
            auth: auth::auth(file.auth)?,
            profile: file.profile,
            name: global.name.clone().or(file.name),
            keys: file.keys,
            tls: file.tls,
            kafka: cluster::kafka(file.kafka.unwrap_or_default(), &outside, file.profile)?,
            cql: cluster::cql(file.cql.unwrap_or_default(), &outside, file.profile)?,
            registry: cluster::registry(file.registry.unwrap_or_default(), registry_url(command))?,
            data_dir_given: given.is_some(),
            data_dir: given.unwrap_or_else(|| PathBuf::from("ridgeline-data")),
            listen: serve.listen.or(file.listen).unwrap_or(loopback(8080)),
            admin_listen: serve.admin_listen.or(file.admin_listen).unwrap_or(loopback(9090)),
            public_url,
            danger_plain_http: serve.danger_plain_http || file.danger_plain_http,
            cpu_threads: file.cpu_threads,
            log_format: global.log_format.or(file.log.format).unwrap_or(LogFormat::Text),
            log_level: global.log_level.clone().or(file.log.level),
            policy: policy(&file.policy)?,
            folder,
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.cpu_threads.is_some_and(|threads| !(1..=1024).contains(&threads)) {
            bail!("cpu_threads must lie between 1 and 1024");
        }
        for (what, address) in [("--listen", self.listen), ("--admin-listen", self.admin_listen)] {
            if !address.ip().is_loopback() && !self.danger_plain_http && self.tls.is_none() {
                bail!(
                    "{what} {address} can be reached by others over plain HTTP: biometrics and keys would travel in \
                     clear. Name [tls] certificate and key, listen on 127.0.0.1 behind a proxy that adds TLS, or say \
                     --danger-plain-http"
                );
            }
        }
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if self.name.as_ref().is_some_and(|name| !(1..=60).contains(&name.len()) || !name.bytes().all(valid)) {
            bail!("name must have between 1 and 60 characters of A-Z a-z 0-9 . _ -");
        }
        Ok(())
    }

    /// The key ring's file.
    pub(crate) fn key_ring(&self) -> PathBuf {
        self.keys.ring.clone().unwrap_or_else(|| self.data_dir.join(keys::name::KEY_RING))
    }

    /// The agents' file.
    pub(crate) fn agents_file(&self) -> PathBuf {
        self.keys.agents.clone().unwrap_or_else(|| self.data_dir.join("agents.toml"))
    }

    /// Prefix of topics and groups.
    pub(crate) fn prefix(&self) -> &str {
        self.kafka.as_ref().map_or("", |kafka| &kafka.prefix)
    }

    /// The name under which this process joins groups. Without a chosen one each start is a new member.
    pub(crate) fn member(&self) -> String {
        match (&self.name, &self.kafka) {
            (Some(name), _) => name.clone(),
            (None, None) => "local".to_owned(),
            (None, Some(_)) => {
                let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                format!("{host}-{}", std::process::id())
            }
        }
    }

    /// The log and the store outside this process; `None`: both live in the data directory.
    ///
    /// # Errors
    /// If only one of them is configured.
    pub(crate) fn cluster(&self) -> anyhow::Result<Option<Cluster<'_>>> {
        Cluster::of(self.kafka.as_ref(), self.cql.as_ref())
    }
}

/// Options of a listening process; defaults for the other commands.
fn serve_args(command: &Command) -> ServeArgs {
    match command {
        Command::Up(serve) => serve.clone(),
        Command::Demo(demo) => demo.serve.clone(),
        Command::Gateway(role)
        | Command::Matcher(role)
        | Command::Gallery(role)
        | Command::Merger(role)
        | Command::Auth(role)
        | Command::Notify(role) => role.serve.clone(),
        Command::Run(run) => run.role.serve.clone(),
        _ => ServeArgs::default(),
    }
}

fn cluster_args(command: &Command) -> ClusterArgs {
    match command {
        Command::Agent(agent) => agent.cluster.clone(),
        Command::Topics(topics) => topics.cluster.clone(),
        Command::Migrate(migrate) => migrate.cluster.clone(),
        other => serve_args(other).cluster,
    }
}

fn registry_url(command: &Command) -> Option<&str> {
    match command {
        Command::Schemas(schemas) => schemas.registry.as_deref(),
        _ => None,
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let context = || format!("cannot read configuration file {}", path.display());
    let size = std::fs::metadata(path).with_context(context)?.len();
    if size > FILE_BYTES_MAX {
        bail!("configuration file {} is larger than {FILE_BYTES_MAX} bytes", path.display());
    }
    std::fs::read_to_string(path).with_context(context)
}

/// An error names the line and never quotes it: somebody may have put a password there.
fn parse(text: &str) -> anyhow::Result<File> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let line =
            error.span().map_or(0, |span| text.get(..span.start).map_or(0, |before| before.matches('\n').count()));
        anyhow::anyhow!("line {}: {}", line + 1, error.message())
    })
}

fn folder(file: FolderFile) -> anyhow::Result<Folder> {
    let operation = file.operation.as_deref().unwrap_or("verify").parse().context("folder.operation")?;
    if file.dpi.is_some_and(|dpi| !(250..=1200).contains(&dpi)) {
        bail!("folder.dpi must lie between 250 and 1200");
    }
    Ok(Folder { path: file.path, operation, dpi: file.dpi })
}

fn policy(file: &PolicyFile) -> anyhow::Result<Policy> {
    let mut policy = Policy::default();
    let confidence = |name: &str, value: f64| {
        if (0.0..=100.0).contains(&value) {
            Ok(Confidence::new(value))
        } else {
            bail!("policy.{name} must lie between 0 and 100")
        }
    };
    if let Some(value) = file.accept {
        policy.accept = confidence("accept", value)?;
    }
    if let Some(value) = file.consistency {
        policy.consistency = confidence("consistency", value)?;
    }
    if let Some(quality) = file.enrol_quality {
        policy.enrol_quality = thresholds("enrol_quality", quality)?;
    }
    if let Some(quality) = file.probe_quality {
        policy.probe_quality = thresholds("probe_quality", quality)?;
    }
    Ok(policy)
}

fn thresholds(name: &str, file: QualityFile) -> anyhow::Result<QualityThresholds> {
    let QualityFile { minimum, recommended, excellent } = file;
    if !(minimum <= recommended && recommended <= excellent && excellent <= 100) {
        bail!("policy.{name} must have minimum <= recommended <= excellent <= 100");
    }
    Ok(QualityThresholds { minimum, recommended, excellent })
}
