//! A prefix and a keyspace of a test's own on the stack, and the configuration file of the processes that use them.

use std::path::Path;
use std::sync::Arc;

use ridgeline_cql::{Cql, CqlConfig};
use ridgeline_kafka::{Kafka, KafkaConfig};
use ridgeline_ports::Entropy as _;
use ridgeline_runtime::{SystemClock, SystemEntropy};
use ridgeline_testkit::stack;

/// Goes away with the test, and everything in it.
pub(crate) struct Place {
    /// Bootstrap address.
    pub(crate) kafka: String,
    /// Contact point.
    pub(crate) cql: String,
    /// Keyspace; with a dot the prefix of topics and groups.
    pub(crate) own: String,
}

impl Place {
    /// On the stack that the environment names; `None` where there is none: the test is skipped, which is said.
    pub(crate) fn new() -> Option<Self> {
        Some(Self::at(stack::address(stack::KAFKA)?, stack::address(stack::CQL)?))
    }

    /// On this stack.
    pub(crate) fn at(kafka: String, cql: String) -> Self {
        let own: String = SystemEntropy.request_id().to_string().chars().take(8).collect();
        Self { kafka, cql, own: format!("t{own}") }
    }

    /// Writes the configuration of every process, with further settings of the Kafka client.
    pub(crate) fn configure(&self, dir: &Path, options: &[(&str, &str)]) -> String {
        let Self { kafka, cql, own } = self;
        let file = dir.join("site.toml");
        let mut text = format!("[cql]\nhosts = [\"{cql}\"]\nkeyspace = \"{own}\"\n");
        text += &format!("[kafka]\nbrokers = \"{kafka}\"\nprefix = \"{own}.\"\n[kafka.options]\n");
        for (name, value) in options {
            text += &format!("\"{name}\" = \"{value}\"\n");
        }
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (kafka, cql, own) = (self.kafka.clone(), self.cql.clone(), self.own.clone());
        // A thread and a runtime of its own: the test may be ending by a panic, inside a runtime or outside.
        let cleaning = std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let kafka = Kafka::connect(KafkaConfig::new(kafka, "cleaner")).unwrap();
                let deleted = kafka.delete_topics(&format!("{own}.")).await;
                kafka.shutdown().await;
                let cql = Cql::connect(CqlConfig::new(vec![cql], own), Arc::new(SystemClock), &SystemEntropy).await;
                if let Ok(cql) = cql {
                    cql.drop_keyspace().await.unwrap();
                }
                deleted.unwrap();
            });
        });
        let _ = cleaning.join();
    }
}
