//! A broker for tests, found through the environment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ridgeline_kafka::{Kafka, KafkaConfig};

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A client set up for a single broker, and a prefix that no other test uses.
pub(crate) fn config(brokers: String) -> KafkaConfig {
    let mut config = KafkaConfig::new(brokers, "ridgeline-test");
    config.replication = 1;
    config.min_insync = 1;
    config.session_timeout = Duration::from_secs(6);
    config.heartbeat = Duration::from_millis(200);
    config.revoke_deadline = Duration::from_secs(2);
    config
}

pub(crate) fn prefix() -> String {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let (process, random) = (std::process::id(), std::collections::hash_map::RandomState::new());
    let random = std::hash::BuildHasher::hash_one(&random, number) as u32;
    format!("t.{process}.{random:x}.{number}.")
}

/// Deletes the topics whose names begin so.
pub(crate) async fn release(kafka: &Kafka, prefix: &str) {
    kafka.delete_topics(prefix).await.expect("topics are deleted");
    kafka.shutdown().await;
}
