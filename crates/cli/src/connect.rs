//! Settings of log and store as their adapters take them; passwords are read here.

use anyhow::{Context as _, bail};
use ridgeline_cql::{CqlConfig, Credentials, Replication};
use ridgeline_kafka::{Kafka, KafkaConfig, Mechanism, Profile, Sasl, Security, Tls};

use crate::config::{CqlReplication, CqlSettings, KafkaSecurity, KafkaSettings, Login, Tuning};
use crate::keys;

/// Clients of Kafka for this process.
///
/// # Errors
/// A password file that others can read, or settings that the client library refuses.
pub(crate) fn kafka(kafka: &KafkaSettings) -> anyhow::Result<Kafka> {
    // One name for all processes: access rules of readers without a group rest on it.
    let client_id = format!("{}ridgeline", kafka.prefix);
    let mut config = KafkaConfig::new(&kafka.brokers, client_id);
    config.security = security(kafka)?;
    config.profile = match kafka.tuning {
        Tuning::Latency => Profile::Latency,
        Tuning::Throughput => Profile::Throughput,
    };
    config.replication = kafka.replication;
    config.min_insync = kafka.min_insync;
    config.overrides = kafka.options.clone().into_iter().collect();
    Kafka::connect(config).with_context(|| format!("Kafka at {}", kafka.brokers))
}

fn security(kafka: &KafkaSettings) -> anyhow::Result<Security> {
    let tls = || Tls { ca_file: kafka.ca_file.clone(), client: None };
    Ok(match (kafka.security, &kafka.login) {
        (KafkaSecurity::Sasl, Some(login)) => Security::Sasl(sasl(kafka, login)?),
        (KafkaSecurity::SaslTls, Some(login)) => Security::SaslTls(tls(), sasl(kafka, login)?),
        (KafkaSecurity::Tls, _) => Security::Tls(tls()),
        _ => Security::Plaintext,
    })
}

fn sasl(kafka: &KafkaSettings, login: &Login) -> anyhow::Result<Sasl> {
    let mechanism = match kafka.mechanism.as_str() {
        "SCRAM-SHA-256" => Mechanism::ScramSha256,
        "SCRAM-SHA-512" => Mechanism::ScramSha512,
        "PLAIN" => Mechanism::Plain,
        other => bail!("kafka.mechanism {other:?} is none of SCRAM-SHA-256, SCRAM-SHA-512, PLAIN"),
    };
    let password = keys::read_secret(&login.password_file).context("kafka.password_file")?;
    Ok(Sasl { mechanism, username: login.username.clone(), password })
}

/// How the store is reached. `create` lets tables and the keyspace be made.
///
/// # Errors
/// A password file that others can read.
pub(crate) fn cql(cql: &CqlSettings, create: bool) -> anyhow::Result<CqlConfig> {
    let mut config = CqlConfig::new(cql.hosts.clone(), &cql.keyspace);
    config.local_datacenter.clone_from(&cql.datacenter);
    config.replication = match &cql.replication {
        CqlReplication::Simple(copies) => Replication::Simple(u32::from(*copies)),
        CqlReplication::Datacenters(copies) => Replication::PerDatacenter(
            copies.iter().map(|(datacenter, copies)| (datacenter.clone(), u32::from(*copies))).collect(),
        ),
    };
    if let Some(login) = &cql.login {
        let password = keys::read_secret(&login.password_file).context("cql.password_file")?;
        config.credentials = Some(Credentials { user: login.username.clone(), password });
    }
    config.tls = cql.ca_file.clone().map(|ca_file| ridgeline_cql::Tls { ca_file });
    config.create_keyspace = create;
    Ok(config)
}
