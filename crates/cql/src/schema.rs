//! The tables as the database has them. A table's columns tell its kind, so nothing else has to record it.

use std::collections::BTreeMap;
use std::time::Duration;

use ridgeline_ports::{StoreError, TableKind, TableSpec};
use scylla::client::session::Session;
use scylla::statement::unprepared::Statement;

use crate::error::{CqlError, Failure};

/// A deleted plain row stays dead this long although older writes may still arrive; the log they come from keeps them shorter.
const GC_GRACE_SECS: u32 = 864_000;

/// A change of the schema takes longer than a request about a row.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The statement that makes a table; migrations contain the same.
#[must_use]
pub fn create_table(table: TableSpec) -> String {
    let columns: Vec<String> =
        columns(table.kind).iter().map(|(name, cql_type)| format!("    {name} {cql_type},\n")).collect();
    format!(
        "CREATE TABLE IF NOT EXISTS {} (\n{}    PRIMARY KEY ((partition), clustering)\n) WITH gc_grace_seconds = {GC_GRACE_SECS}",
        table.name,
        columns.concat()
    )
}

/// Names are not those of CQL's own words, so that the statements need no quotes.
const fn columns(kind: TableKind) -> &'static [(&'static str, &'static str)] {
    match kind {
        TableKind::Conditional => {
            &[("partition", "text"), ("clustering", "text"), ("version", "bigint"), ("cell", "blob")]
        }
        TableKind::Plain => &[("partition", "text"), ("clustering", "text"), ("cells", "map<blob, blob>")],
    }
}

/// What a table of the keyspace looks like to this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Missing,
    Of(TableKind),
    Foreign,
}

impl Shape {
    /// Whether the table is the one that `table` speaks of.
    pub(crate) fn check(self, table: TableSpec) -> Result<(), StoreError> {
        let what = match self {
            Self::Of(kind) if kind == table.kind => return Ok(()),
            Self::Missing => "the table does not exist: run `ridgeline migrate`",
            Self::Of(_) => "the table was made with another kind",
            Self::Foreign => "the table has other columns than this version expects",
        };
        Err(StoreError::Misuse { table: table.name, what })
    }
}

/// Asks the database for a table's columns.
pub(crate) async fn shape(session: &Session, keyspace: &str, table: &str) -> Result<Shape, Failure> {
    let statement =
        "SELECT column_name, kind, type FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?";
    let result = session.query_unpaged(statement, (keyspace, table)).await?;
    let rows = result.into_rows_result().map_err(|_| Failure::Garbled)?;
    let mut found = BTreeMap::new();
    for row in rows.rows::<(String, String, String)>().map_err(|_| Failure::Garbled)? {
        let (name, role, cql_type) = row.map_err(|_| Failure::Garbled)?;
        found.insert(name, (role, cql_type));
    }
    Ok(judge(&found))
}

fn judge(found: &BTreeMap<String, (String, String)>) -> Shape {
    if found.is_empty() {
        return Shape::Missing;
    }
    let role = |name: &str| match name {
        "partition" => "partition_key",
        "clustering" => "clustering",
        _ => "regular",
    };
    let is_of = |kind: &TableKind| {
        let wanted = columns(*kind);
        let has = |(name, cql_type): &(&str, &str)| {
            found.get(*name).is_some_and(|(found_role, found_type)| found_role == role(name) && found_type == cql_type)
        };
        found.len() == wanted.len() && wanted.iter().all(has)
    };
    let kinds = [TableKind::Conditional, TableKind::Plain];
    kinds.into_iter().find(is_of).map_or(Shape::Foreign, Shape::Of)
}

/// Runs a statement about the schema and waits until all nodes have it.
pub(crate) async fn change(session: &Session, what: &'static str, statement: &str) -> Result<(), CqlError> {
    let failed = |reason: String| CqlError::Statement { what, reason };
    let mut statement = Statement::new(statement);
    statement.set_request_timeout(Some(CHANGE_TIMEOUT));
    session.query_unpaged(statement, ()).await.map_err(|error| failed(error.to_string()))?;
    session.await_schema_agreement().await.map_err(|error| failed(error.to_string()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kind: TableKind) -> BTreeMap<String, (String, String)> {
        let role = |name: &str| match name {
            "partition" => "partition_key",
            "clustering" => "clustering",
            _ => "regular",
        };
        columns(kind).iter().map(|(name, ty)| ((*name).into(), (role(name).into(), (*ty).into()))).collect()
    }

    #[test]
    fn a_tables_columns_tell_its_kind() {
        for kind in [TableKind::Conditional, TableKind::Plain] {
            assert_eq!(judge(&table(kind)), Shape::Of(kind));
            let mut more = table(kind);
            more.insert("note".into(), ("regular".into(), "text".into()));
            assert_eq!(judge(&more), Shape::Foreign);
            let mut other = table(kind);
            other.get_mut("clustering").unwrap().0 = "regular".into();
            assert_eq!(judge(&other), Shape::Foreign);
        }
        assert_eq!(judge(&BTreeMap::new()), Shape::Missing);
    }
}
