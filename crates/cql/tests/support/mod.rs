//! A keyspace for one test on the database that `RIDGELINE_TEST_CQL` names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ridgeline_cql::{Cql, CqlConfig, CqlError};
use ridgeline_ports::Entropy;
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::stack;

/// The address, or `None` and a line that says the test is skipped.
pub(crate) fn address() -> Option<String> {
    stack::address(stack::CQL)
}

/// A name that no other test uses, of this run or another.
pub(crate) fn keyspace() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut random = [0; 4];
    OsEntropy.fill(&mut random);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test_{:08x}_{number}", u32::from_be_bytes(random))
}

/// A configuration that may make everything in a new keyspace.
pub(crate) fn config(address: &str) -> CqlConfig {
    let mut config = CqlConfig::new(vec![address.to_owned()], keyspace());
    config.create_keyspace = true;
    config.create_tables = true;
    config.request_timeout = std::time::Duration::from_secs(20);
    config
}

pub(crate) async fn connect(config: CqlConfig) -> Result<Cql, CqlError> {
    Cql::connect(config, Arc::new(TestClock::running()), &OsEntropy).await
}

/// Randomness of the operating system.
pub(crate) struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        openssl::rand::rand_bytes(bytes).expect("random bytes");
    }
}
