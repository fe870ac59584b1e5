//! What the suite of testkit cannot ask: the database's own view, its absence, who may connect, and migrations.

mod away;
mod connecting;
mod migrating;
mod rows;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use ridgeline_cql::{Cql, CqlConfig};
use ridgeline_ports::{Store, TableKind, TableSpec};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

pub(crate) const CONDITIONAL: TableSpec = TableSpec { name: "some_conditional", kind: TableKind::Conditional };
pub(crate) const PLAIN: TableSpec = TableSpec { name: "some_plain", kind: TableKind::Plain };

/// A store with both tables in a new keyspace.
pub(crate) async fn opened(config: CqlConfig) -> (Cql, Arc<dyn Store>) {
    let cql = support::connect(config).await.expect("a connection");
    let store = cql.store();
    store.ensure_tables(&[CONDITIONAL, PLAIN]).await.expect("tables");
    (cql, store)
}

/// A session of the bare driver, for what the port does not show.
pub(crate) async fn bare(address: &str) -> Session {
    SessionBuilder::new().known_node(address).build().await.expect("a session")
}
