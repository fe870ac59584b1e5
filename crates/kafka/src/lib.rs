//! The `EventLog` port on Apache Kafka and whatever speaks its protocol. The only crate that names rdkafka.
//!
//! A [`Kafka`] holds one idempotent producer for the process, one client for questions (metadata, offsets), and an operating
//! system thread for each subscription. How the port's ways of consuming map to Kafka's is told in `docs/adr/0009`.

mod admin;
mod client;
mod config;
mod consume;
mod error;
mod log;
pub mod metric;
mod producer;
mod status;
mod topics;
mod wire;

pub use admin::{Change, Desired, Migrated, Operation, Plan, Progress, Reader, Resource, Rule, TopicFacts};
pub use client::Kafka;
pub use config::{ClientCertificate, KafkaConfig, Mechanism, Profile, Sasl, Security, Tls};
pub use error::KafkaError;
