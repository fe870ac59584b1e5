//! The log suite of testkit on a real broker, each test on topics of its own.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use ridgeline_domain::DurationMs;
use ridgeline_kafka::Kafka;
use ridgeline_ports::EventLog;
use ridgeline_testkit::conformance::{Fixture, LogFixture};
use ridgeline_testkit::stack;

struct Broker {
    kafka: Kafka,
    prefix: String,
}

#[async_trait]
impl Fixture for Broker {
    fn prefix(&self) -> String {
        self.prefix.clone()
    }

    /// A broker's clock cannot be moved.
    async fn age(&self, _: DurationMs) -> bool {
        false
    }

    async fn sweep(&self) {}

    async fn release(&self) {
        support::release(&self.kafka, &self.prefix).await;
    }
}

impl LogFixture for Broker {
    fn log(&self) -> Arc<dyn EventLog> {
        self.kafka.log()
    }
}

fn fixture() -> Option<Broker> {
    let kafka = Kafka::connect(support::config(stack::address(stack::KAFKA)?)).expect("clients");
    Some(Broker { kafka, prefix: support::prefix() })
}

ridgeline_testkit::log_conformance!(fixture());
