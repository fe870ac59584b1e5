//! The real log and the real store that a bench runs on, named by the environment.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use ridgeline_cql::{Cql, CqlConfig};
use ridgeline_domain::DurationMs;
use ridgeline_kafka::{Kafka, KafkaConfig};
use ridgeline_ports::{Cleanup, Entropy, EventLog, Store, TopicName, TopicSpec};
use ridgeline_runtime::{SystemClock, SystemEntropy};
use ridgeline_wire::row::table;
use ridgeline_wire::{Topic, Topology};

/// Environment variable with the bootstrap address of a Kafka.
const KAFKA: &str = "RIDGELINE_TEST_KAFKA";
/// Environment variable with a contact point of a Cassandra or `ScyllaDB`.
const CQL: &str = "RIDGELINE_TEST_CQL";

/// A Kafka and a CQL database with names in them that are this run's own.
pub struct Stack {
    /// Bootstrap address.
    pub brokers: String,
    /// Contact point.
    pub contact_point: String,
    /// Begins the names of all topics and groups.
    pub prefix: String,
    /// Keyspace.
    pub keyspace: String,
    kafka: Kafka,
    cql: Cql,
}

impl Stack {
    /// Connects to what the environment names and makes topics and tables; `None`, with a line that says so, if it names nothing.
    ///
    /// # Errors
    /// A stack that cannot be reached.
    #[expect(clippy::print_stdout, reason = "a bench says why it measures nothing")]
    pub async fn named() -> Result<Option<Self>> {
        let (Ok(brokers), Ok(contact_point)) = (std::env::var(KAFKA), std::env::var(CQL)) else {
            println!("skipped: {KAFKA} and {CQL} name no stack");
            return Ok(None);
        };
        let id = SystemEntropy.request_id().to_string();
        let (prefix, keyspace) = (format!("bench-{id}."), format!("bench_{id}"));
        let kafka = connect(&brokers, "bench")?;
        let mut config = CqlConfig::new(vec![contact_point.clone()], keyspace.clone());
        (config.create_keyspace, config.create_tables) = (true, true);
        let cql = Cql::connect(config, Arc::new(SystemClock), &SystemEntropy).await.context("the CQL database")?;
        let stack = Self { brokers, contact_point, prefix, keyspace, kafka, cql };
        for topic in Topic::ALL {
            stack.log().ensure_topic(&topic.spec(&stack.prefix, Topology::Kafka)).await?;
        }
        stack.store().ensure_tables(table::ALL).await?;
        Ok(Some(stack))
    }

    /// The log, through the connection of this process.
    #[must_use]
    pub fn log(&self) -> Arc<dyn EventLog> {
        self.kafka.log()
    }

    /// The log, through a connection of its own, as another process would have.
    ///
    /// # Errors
    /// A client that cannot be set up.
    pub fn another(&self, client: &str) -> Result<Kafka> {
        connect(&self.brokers, client)
    }

    /// Makes a topic with the partitions of one of the product's.
    ///
    /// # Errors
    /// A log that refuses.
    pub async fn topic(&self, name: &str, like: Topic) -> Result<TopicSpec> {
        let name = TopicName::new(&format!("{}{name}", self.prefix));
        let cleanup = Cleanup::Delete { retention: DurationMs::from_days(1) };
        let spec = TopicSpec { name, cleanup, record_bytes_max: 1 << 20, ..like.spec("", Topology::Kafka) };
        self.log().ensure_topic(&spec).await?;
        Ok(spec)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.cql.store()
    }

    /// Removes what this run has made.
    ///
    /// # Errors
    /// A stack that cannot be reached.
    pub async fn remove(self) -> Result<()> {
        self.kafka.delete_topics(&self.prefix).await?;
        self.cql.drop_keyspace().await?;
        self.kafka.shutdown().await;
        Ok(())
    }
}

fn connect(brokers: &str, client: &str) -> Result<Kafka> {
    let mut config = KafkaConfig::new(brokers, client);
    (config.replication, config.min_insync) = (1, 1);
    Kafka::connect(config).context("the Kafka client")
}

/// Runs a bench on the stack and removes what it made there, also after a failure.
///
/// # Errors
/// Those of the bench, then those of the removal.
pub async fn on_the_stack(bench: impl AsyncFnOnce(&Stack) -> Result<ExitCode>) -> Result<ExitCode> {
    let Some(stack) = Stack::named().await? else { return Ok(ExitCode::SUCCESS) };
    let ended = bench(&stack).await;
    let removed = stack.remove().await;
    let code = ended?;
    removed?;
    Ok(code)
}
