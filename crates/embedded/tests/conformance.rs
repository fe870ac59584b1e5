//! The suites of testkit, each test on a directory of its own.

use std::sync::Arc;

use async_trait::async_trait;
use ridgeline_domain::DurationMs;
use ridgeline_ports::{EventLog, Store};
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::conformance::{Fixture, LogFixture, StoreFixture};
use ridgeline_testkit::memory::Memory;

struct Directory(Memory);

#[async_trait]
impl Fixture for Directory {
    fn prefix(&self) -> String {
        "test.".into()
    }

    async fn age(&self, span: DurationMs) -> bool {
        self.0.clock().advance(span);
        true
    }

    async fn sweep(&self) {
        self.0.sweep().await;
    }
}

impl LogFixture for Directory {
    fn log(&self) -> Arc<dyn EventLog> {
        self.0.log()
    }
}

impl StoreFixture for Directory {
    fn store(&self) -> Arc<dyn Store> {
        self.0.store()
    }
}

fn fixture() -> Option<Directory> {
    Some(Directory(Memory::with(TestClock::running(), |options| options.fsync = true)))
}

ridgeline_testkit::log_conformance!(fixture());
ridgeline_testkit::store_conformance!(fixture());
