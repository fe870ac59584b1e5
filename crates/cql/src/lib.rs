//! The store over CQL, for Apache Cassandra and ScyllaDB: the only crate that names `scylla`.
//!
//! [`Cql::connect`] opens a session, [`Cql::store`] lends the `Store` port, and [`Cql::facts`] says what
//! the database is, for whoever judges whether it is fit for production. [`migration::migrate`] brings a keyspace to the shape that
//! this binary expects. What lies in the tables and why is told in `docs/adr/0007`.

mod answer;
mod cell;
mod config;
mod connect;
mod cql;
mod error;
pub mod metric;
pub mod migration;

mod rows;
mod schema;
mod statements;
mod store;

pub use config::{CqlConfig, Credentials, Dialect, Replication, Tls};
pub use cql::{Cql, Facts};
pub use error::CqlError;
pub use schema::create_table;
