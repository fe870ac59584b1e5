//! What stands before the log keeps the log's promises.

use std::sync::Arc;

use async_trait::async_trait;
use ridgeline_domain::DurationMs;
use ridgeline_ports::EventLog;
use ridgeline_registry::TranslatedLog;
use ridgeline_runtime::Health;
use ridgeline_testkit::conformance::{Fixture, LogFixture};
use ridgeline_testkit::memory::Memory;

use crate::fake::Fake;

struct Translated {
    memory: Memory,
    log: Arc<dyn EventLog>,
}

#[async_trait]
impl Fixture for Translated {
    fn prefix(&self) -> String {
        "test.".into()
    }

    async fn age(&self, span: DurationMs) -> bool {
        self.memory.clock().advance(span);
        true
    }

    async fn sweep(&self) {
        self.memory.sweep().await;
    }
}

impl LogFixture for Translated {
    fn log(&self) -> Arc<dyn EventLog> {
        self.log.clone()
    }
}

async fn fixture() -> Option<Translated> {
    let memory = Memory::open();
    let log = TranslatedLog::open(memory.log(), Fake::full().registry(), "", &Health::new()).await;
    Some(Translated { log: Arc::new(log.expect("ids of a full registry")), memory })
}

ridgeline_testkit::log_conformance!(fixture().await);
