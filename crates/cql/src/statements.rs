//! The prepared statements of a table. Their consistency, serial consistency, idempotence and retry policy are set here and nowhere else.

use std::sync::Arc;

use ridgeline_ports::{TableKind, TableSpec};
use scylla::client::session::Session;
use scylla::policies::retry::{DefaultRetryPolicy, FallthroughRetryPolicy, RetryPolicy};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};

use crate::error::Failure;

/// Rows of a page. The largest rows have 8 MiB, and a page of them has to fit into an answer.
pub(crate) const PAGE_ROWS_MAX: usize = 32;

/// A table's statements.
pub(crate) struct Statements {
    /// (partition, clustering)
    pub(crate) get: PreparedStatement,
    /// (partition, clustering), at the consistency at which conditional writes are committed before they are acknowledged
    pub(crate) peek: PreparedStatement,
    /// (partition, limit)
    pub(crate) first: PreparedStatement,
    /// (partition, after, limit)
    pub(crate) after: PreparedStatement,
    /// ()
    pub(crate) scan: PreparedStatement,
    pub(crate) writes: Writes,
}

/// The statements that write.
pub(crate) enum Writes {
    Conditional {
        /// (ttl, cell, partition, clustering)
        insert: PreparedStatement,
        /// (ttl, version, cell, partition, clustering, expected version)
        replace: PreparedStatement,
        /// (partition, clustering, expected version)
        remove: PreparedStatement,
    },
    Plain {
        /// (timestamp, ttl, cells, partition, clustering)
        put: PreparedStatement,
        /// (timestamp, partition, clustering)
        delete: PreparedStatement,
    },
}

impl Statements {
    pub(crate) async fn prepare(session: &Session, keyspace: &str, table: TableSpec) -> Result<Self, Failure> {
        let (name, row) = (format!("{keyspace}.{}", table.name), "partition = ? AND clustering = ?");
        let columns = match table.kind {
            TableKind::Conditional => "version, cell",
            TableKind::Plain => "cells",
        };
        let read = async |text: String, consistency| -> Result<PreparedStatement, Failure> {
            let mut statement = session.prepare(text).await?;
            repeatable(&mut statement);
            statement.set_consistency(consistency);
            Ok(statement)
        };
        // Only a read at a serial level finishes a write that is decided and not yet everywhere, and so sees the latest decided row.
        let latest = match table.kind {
            TableKind::Conditional => Consistency::LocalSerial,
            TableKind::Plain => Consistency::LocalQuorum,
        };
        let listed = format!("SELECT clustering, {columns} FROM {name} WHERE partition = ?");
        let get = read(format!("SELECT {columns} FROM {name} WHERE {row}"), latest).await?;
        let mut peek = get.clone();
        peek.set_consistency(Consistency::LocalQuorum);
        Ok(Self {
            get,
            peek,
            first: read(format!("{listed} LIMIT ?"), Consistency::LocalQuorum).await?,
            after: read(format!("{listed} AND clustering > ? LIMIT ?"), Consistency::LocalQuorum).await?,
            scan: read(format!("SELECT partition, clustering, {columns} FROM {name}"), Consistency::LocalQuorum)
                .await?,
            writes: match table.kind {
                TableKind::Conditional => Writes::conditional(session, &name, row).await?,
                TableKind::Plain => Writes::plain(session, &name, row).await?,
            },
        })
    }
}

impl Writes {
    /// An `INSERT` would leave a marker that keeps the row, empty, after its cells have expired; an `UPDATE` writes cells only.
    /// The condition names both columns because the answer to a write that is not applied holds the columns of its condition.
    async fn conditional(session: &Session, name: &str, row: &str) -> Result<Self, Failure> {
        let conditional = async |text: String| -> Result<PreparedStatement, Failure> {
            let mut statement = session.prepare(text).await?;
            once(&mut statement);
            Ok(statement)
        };
        Ok(Self::Conditional {
            insert: conditional(format!(
                "UPDATE {name} USING TTL ? SET version = 1, cell = ? WHERE {row} IF version = null AND cell = null"
            ))
            .await?,
            replace: conditional(format!(
                "UPDATE {name} USING TTL ? SET version = ?, cell = ? WHERE {row} IF version = ? AND cell != null"
            ))
            .await?,
            remove: conditional(format!("DELETE FROM {name} WHERE {row} IF version = ? AND cell != null")).await?,
        })
    }

    /// Assigning a whole map deletes the cells of earlier times and leaves those of the same time beside the new one. Which of them counts
    /// is the reader's to say: the database would prefer the cell that expires later.
    async fn plain(session: &Session, name: &str, row: &str) -> Result<Self, Failure> {
        let plain = async |text: String| -> Result<PreparedStatement, Failure> {
            let mut statement = session.prepare(text).await?;
            repeatable(&mut statement);
            statement.set_consistency(Consistency::LocalQuorum);
            Ok(statement)
        };
        Ok(Self::Plain {
            put: plain(format!("UPDATE {name} USING TIMESTAMP ? AND TTL ? SET cells = ? WHERE {row}")).await?,
            delete: plain(format!("DELETE FROM {name} USING TIMESTAMP ? WHERE {row}")).await?,
        })
    }
}

/// A statement that may be carried out twice: a read, or a write that carries its own time.
fn repeatable(statement: &mut PreparedStatement) {
    statement.set_is_idempotent(true);
    let policy: Arc<dyn RetryPolicy> = Arc::new(DefaultRetryPolicy::new());
    statement.set_retry_policy(Some(policy));
}

/// A statement with a condition. Its second execution meets what the first one wrote and would deny it, so it is sent once.
pub(crate) fn once(statement: &mut PreparedStatement) {
    statement.set_is_idempotent(false);
    let policy: Arc<dyn RetryPolicy> = Arc::new(FallthroughRetryPolicy::new());
    statement.set_retry_policy(Some(policy));
    statement.set_consistency(Consistency::LocalQuorum);
    statement.set_serial_consistency(Some(SerialConsistency::LocalSerial));
}
