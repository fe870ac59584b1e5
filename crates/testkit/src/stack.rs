//! Where tests find a real Kafka and a real CQL store; without one they are skipped and say so.

use std::io::Write as _;

/// Bootstrap address of a Kafka broker, e.g. `127.0.0.1:19092`.
pub const KAFKA: &str = "RIDGELINE_TEST_KAFKA";
/// `bootstrap,user,password,ca-file` of a broker that asks for TLS and SCRAM.
pub const KAFKA_SASL: &str = "RIDGELINE_TEST_KAFKA_SASL";
/// Contact point of a CQL store, e.g. `127.0.0.1:19042`.
pub const CQL: &str = "RIDGELINE_TEST_CQL";
/// Address of a schema registry with Confluent's interface, e.g. `http://127.0.0.1:19081/apis/ccompat/v7`.
pub const REGISTRY: &str = "RIDGELINE_TEST_REGISTRY";
/// `host:port,user,password,ca-file` of a CQL store that asks for TLS and a password.
pub const CQL_TLS: &str = "RIDGELINE_TEST_CQL_TLS";
/// A Python that has the packages of `tests/consumers/requirements.txt`.
pub const PYTHON: &str = "RIDGELINE_TEST_PYTHON";

/// The value of `variable`. `None`: the calling test is skipped, which is said on standard error.
#[must_use]
pub fn address(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if address.is_none() {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        // Not `eprintln!`, which the test harness keeps to itself when a test passes.
        let _ = writeln!(std::io::stderr(), "skipped: {test}: {variable} is not set");
    }
    address
}
