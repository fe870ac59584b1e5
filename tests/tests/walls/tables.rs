//! The tables of the code and the tables that migrations make.

use std::collections::BTreeSet;
use std::sync::Arc;

use ridgeline_cql::migration::{ALL, migrate};
use ridgeline_cql::{Cql, CqlConfig, create_table};
use ridgeline_ports::Entropy as _;
use ridgeline_runtime::{SystemClock, SystemEntropy};
use ridgeline_testkit::stack;
use ridgeline_wire::row::table;

use crate::assert_none;

/// The first file makes what migrations keep about themselves.
#[test]
fn migrations_make_the_tables_of_the_code_and_no_others() {
    let made: BTreeSet<String> = ALL.iter().skip(1).flat_map(|migration| migration.statements()).collect();
    let wanted: BTreeSet<String> = table::ALL.iter().map(|table| create_table(*table)).collect();
    let missing = wanted.difference(&made).map(|statement| format!("no migration has:\n{statement}"));
    let unknown = made.difference(&wanted).map(|statement| format!("no table of the code is like:\n{statement}"));
    assert_none("differences between tables and migrations", &missing.chain(unknown).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migrated_keyspace_has_what_the_store_asks_for() {
    let Some(address) = stack::address(stack::CQL) else { return };
    let keyspace = format!("test_{}", SystemEntropy.request_id());
    let config = || CqlConfig::new(vec![address.clone()], &keyspace);
    migrate(&config(), &SystemEntropy, ALL, false, &mut |_| ()).await.expect("migrated");
    let cql = Cql::connect(config(), Arc::new(SystemClock), &SystemEntropy).await.expect("a connection");
    let ended = cql.store().ensure_tables(table::ALL).await;
    cql.drop_keyspace().await.expect("dropped");
    ended.expect("all tables are there and fit");
}
