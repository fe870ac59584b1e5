//! Where a deployment's log and store are, and how they are reached: `[kafka]`, `[cql]`, `[registry]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::Profile;
use crate::args::ClusterArgs;

/// A log and a store outside this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cluster<'a> {
    /// The log.
    pub(crate) kafka: &'a KafkaSettings,
    /// The store.
    pub(crate) cql: &'a CqlSettings,
}

/// How Kafka is reached and how its topics are made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KafkaSettings {
    /// `host:port,…`
    pub(crate) brokers: String,
    /// Stands before the names of topics and groups.
    pub(crate) prefix: String,
    /// What the client is tuned for.
    pub(crate) tuning: Tuning,
    /// Copies of each partition.
    pub(crate) replication: u16,
    /// Copies that must have a record before it is acknowledged.
    pub(crate) min_insync: u16,
    /// How connections are protected.
    pub(crate) security: KafkaSecurity,
    /// Certificates that brokers are believed by; `None`: the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Who we are.
    pub(crate) login: Option<Login>,
    /// SASL mechanism, for instance `SCRAM-SHA-512`.
    pub(crate) mechanism: String,
    /// Passed to the client library; offset and durability settings are not taken from here.
    pub(crate) options: BTreeMap<String, String>,
}

/// What the Kafka client is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tuning {
    /// Each record as soon as it is there.
    #[default]
    Latency,
    /// Larger batches, a few milliseconds later.
    Throughput,
}

/// How connections to Kafka are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KafkaSecurity {
    /// Not at all.
    #[default]
    Plaintext,
    /// Encrypted.
    Tls,
    /// A password, in clear.
    Sasl,
    /// Encrypted, and a password.
    SaslTls,
}

/// A user and the file of the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// Name.
    pub(crate) username: String,
    /// Holds the password and nothing else; mode 0600.
    pub(crate) password_file: PathBuf,
}

/// How the store is reached and how its keyspace is made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CqlSettings {
    /// `host:port` of some nodes; the others are found through them.
    pub(crate) hosts: Vec<String>,
    /// Holds all tables.
    pub(crate) keyspace: String,
    /// Nodes of this data centre are asked; `None`: any.
    pub(crate) datacenter: Option<String>,
    /// Copies of each row.
    pub(crate) replication: CqlReplication,
    /// Certificates that nodes are believed by; `None`: connections are not encrypted.
    pub(crate) ca_file: Option<PathBuf>,
    /// Who we are.
    pub(crate) login: Option<Login>,
}

/// Copies of each row: in all, or for each data centre.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum CqlReplication {
    /// Wherever: one data centre, development.
    Simple(u16),
    /// By data centre.
    Datacenters(BTreeMap<String, u16>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KafkaFile {
    brokers: Option<String>,
    prefix: String,
    profile: Tuning,
    replication: Option<u16>,
    min_insync: Option<u16>,
    security: KafkaSecurity,
    ca_file: Option<PathBuf>,
    mechanism: Option<String>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    options: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CqlFile {
    hosts: Vec<String>,
    keyspace: Option<String>,
    datacenter: Option<String>,
    replication: Option<CqlReplication>,
    ca_file: Option<PathBuf>,
    username: Option<String>,
    password_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RegistryFile {
    url: Option<String>,
    ca_file: Option<PathBuf>,
    username: Option<String>,
    password_file: Option<PathBuf>,
}

/// A schema registry whose ids stand in front of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegistrySettings {
    /// Where its interface begins.
    pub(crate) url: String,
    /// Certificates that it is believed by; `None`: the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Who we are.
    pub(crate) login: Option<Login>,
}

/// Kafka's default of `SCRAM`, the strongest that its brokers know.
const MECHANISM: &str = "SCRAM-SHA-512";
const KEYSPACE: &str = "ridgeline";

impl<'a> Cluster<'a> {
    /// Both, or neither: a process has one without the other only by mistake.
    ///
    /// # Errors
    /// If only one is named; the text says how to name the other.
    pub(super) fn of(kafka: Option<&'a KafkaSettings>, cql: Option<&'a CqlSettings>) -> anyhow::Result<Option<Self>> {
        match (kafka, cql) {
            (None, None) => Ok(None),
            (Some(kafka), Some(cql)) => Ok(Some(Self { kafka, cql })),
            (Some(_), None) => bail!("Kafka is configured, the store is not: give --cql HOST:PORT, or [cql] hosts"),
            (None, Some(_)) => {
                bail!("the store is configured, Kafka is not: give --kafka HOST:PORT, or [kafka] brokers")
            }
        }
    }
}

/// Kafka, if file or command line name brokers.
///
/// # Errors
/// A value outside its range.
pub(super) fn kafka(file: KafkaFile, args: &ClusterArgs, profile: Profile) -> anyhow::Result<Option<KafkaSettings>> {
    let Some(brokers) = args.kafka.clone().or(file.brokers).filter(|brokers| !brokers.is_empty()) else {
        return Ok(None);
    };
    let replication = file.replication.unwrap_or(profile.copies());
    let min_insync = file.min_insync.unwrap_or(if replication > 1 { 2 } else { 1 });
    if !(1..=replication).contains(&min_insync) {
        bail!("kafka.min_insync must lie between 1 and kafka.replication, which is {replication}");
    }
    let prefix = args.topic_prefix.clone().unwrap_or(file.prefix);
    check_prefix("kafka.prefix", &prefix)?;
    let login = login("kafka", file.username, file.password_file)?;
    let needs_login = matches!(file.security, KafkaSecurity::Sasl | KafkaSecurity::SaslTls);
    if needs_login != login.is_some() {
        bail!("kafka.security sasl and sasl_tls need kafka.username and kafka.password_file, the others take none");
    }
    Ok(Some(KafkaSettings {
        brokers,
        prefix,
        tuning: file.profile,
        replication,
        min_insync,
        security: file.security,
        ca_file: file.ca_file,
        login,
        mechanism: file.mechanism.unwrap_or_else(|| MECHANISM.to_owned()),
        options: file.options,
    }))
}

/// The store, if file or command line name nodes.
///
/// # Errors
/// A value outside its range.
pub(super) fn cql(file: CqlFile, args: &ClusterArgs, profile: Profile) -> anyhow::Result<Option<CqlSettings>> {
    let hosts: Vec<String> = match &args.cql {
        Some(hosts) => hosts.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).collect(),
        None => file.hosts,
    };
    if hosts.is_empty() {
        return Ok(None);
    }
    let keyspace = args.keyspace.clone().or(file.keyspace).unwrap_or_else(|| KEYSPACE.to_owned());
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts_well = keyspace.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if keyspace.len() > 48 || !starts_well || !keyspace.bytes().all(valid) {
        bail!("cql.keyspace must be a lower-case letter and at most 47 further of a-z 0-9 _");
    }
    let replication = file.replication.unwrap_or(CqlReplication::Simple(profile.copies()));
    if replication.copies().is_none_or(|copies| copies == 0) {
        bail!("cql.replication must be at least 1, in all or for each data centre");
    }
    Ok(Some(CqlSettings {
        hosts,
        keyspace,
        datacenter: file.datacenter,
        replication,
        ca_file: file.ca_file,
        login: login("cql", file.username, file.password_file)?,
    }))
}

/// The registry that file and command line name together; `None` if neither names one.
///
/// # Errors
/// A login that others could read on its way.
pub(super) fn registry(file: RegistryFile, url: Option<&str>) -> anyhow::Result<Option<RegistrySettings>> {
    let login = login("registry", file.username, file.password_file)?;
    let Some(url) = url.map(str::to_owned).or(file.url) else { return Ok(None) };
    if login.is_some() && !url.starts_with("https://") {
        bail!("registry.username needs an https:// address in registry.url");
    }
    Ok(Some(RegistrySettings { url, ca_file: file.ca_file, login }))
}

/// # Errors
/// Names `what` if the text cannot begin a topic's name.
pub(crate) fn check_prefix(what: &str, prefix: &str) -> anyhow::Result<()> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if prefix.len() > 100 || !prefix.bytes().all(valid) {
        bail!("{what} must have at most 100 characters of A-Z a-z 0-9 . _ -");
    }
    Ok(())
}

fn login(section: &str, username: Option<String>, file: Option<PathBuf>) -> anyhow::Result<Option<Login>> {
    match (username, file) {
        (None, None) => Ok(None),
        (Some(username), Some(password_file)) => Ok(Some(Login { username, password_file })),
        (_, file) => {
            let missing = if file.is_some() { "username" } else { "password_file" };
            Err(anyhow::anyhow!("{section}.{missing} is missing")).context("a login is a user and a password file")
        }
    }
}

impl CqlReplication {
    /// Copies in the data centre that has fewest; `None` if no data centre is named.
    pub(crate) fn copies(&self) -> Option<u16> {
        match self {
            Self::Simple(copies) => Some(*copies),
            Self::Datacenters(copies) => copies.values().min().copied(),
        }
    }
}
