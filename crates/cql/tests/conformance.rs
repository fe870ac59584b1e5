//! The store suite of testkit on a real database, each test in a keyspace of its own.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use ridgeline_cql::Cql;
use ridgeline_domain::DurationMs;
use ridgeline_ports::Store;
use ridgeline_testkit::conformance::{Fixture, StoreFixture};

struct Keyspace(Cql);

#[async_trait]
impl Fixture for Keyspace {
    fn prefix(&self) -> String {
        "test.".into()
    }

    /// The database's own clock decides when it forgets.
    async fn age(&self, _: DurationMs) -> bool {
        false
    }

    async fn sweep(&self) {}

    async fn release(&self) {
        self.0.drop_keyspace().await.expect("dropped");
    }
}

impl StoreFixture for Keyspace {
    fn store(&self) -> Arc<dyn Store> {
        self.0.store()
    }
}

async fn fixture() -> Option<Keyspace> {
    let config = support::config(&support::address()?);
    Some(Keyspace(support::connect(config).await.expect("a connection")))
}

ridgeline_testkit::store_conformance!(fixture().await);
