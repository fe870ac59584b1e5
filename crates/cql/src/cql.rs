//! A connection to the database, and what it finds out there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ridgeline_ports::{Clock, Entropy, Store};
use scylla::client::session::Session;

use crate::store::CqlStore;
use crate::{CqlConfig, CqlError, Dialect, Replication, connect, schema};

/// An open connection. Reconnects by itself.
pub struct Cql {
    pub(crate) session: Arc<Session>,
    pub(crate) config: CqlConfig,
    pub(crate) facts: Facts,
    store: Arc<CqlStore>,
}

/// What the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Never `Auto`.
    pub dialect: Dialect,
    /// As the database states it.
    pub version: String,
    /// Datacenters of the cluster.
    pub datacenters: Vec<String>,
    /// How the keyspace is replicated.
    pub replication: Replication,
    /// Whether the keyspace's writes go through the commit log; without it an acknowledged row can be lost.
    pub durable_writes: bool,
    /// Whether the keyspace is laid out in tablets, on which ScyllaDB does not offer conditional writes in all versions.
    pub tablets: bool,
}

impl Facts {
    /// Copies of a row in the datacenter that has fewest.
    #[must_use]
    pub fn copies_min(&self) -> u32 {
        match &self.replication {
            Replication::Simple(copies) => *copies,
            Replication::PerDatacenter(copies) => copies.values().copied().min().unwrap_or(0),
        }
    }
}

impl Cql {
    /// Connects, makes the keyspace where the configuration lets it, and looks around.
    ///
    /// # Errors
    /// [`CqlError::Credentials`], [`CqlError::Unreachable`] and [`CqlError::NoKeyspace`] say what an operator has to change.
    pub async fn connect(config: CqlConfig, clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> Result<Self, CqlError> {
        config.check()?;
        let session = Arc::new(connect::session(&config).await?);
        let (dialect, version) = dialect(&session, config.dialect).await?;
        if config.create_keyspace && !keyspace_exists(&session, &config.keyspace).await? {
            let statement = create_keyspace(&config.keyspace, &config.replication, dialect);
            schema::change(&session, "making the keyspace", &statement).await?;
        }
        let facts = look_around(&session, &config, dialect, version).await?;
        // Requests to the keyspace go to the right nodes only once the driver knows how it is replicated.
        session.refresh_metadata().await.map_err(|error| CqlError::Unreachable(error.to_string()))?;
        let store = Arc::new(CqlStore::new(session.clone(), &config, clock, entropy));
        Ok(Self { session, config, facts, store })
    }

    /// The `Store` port.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// What the database is, as found when connecting.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Drops the keyspace with everything in it: after a test or a demo.
    ///
    /// # Errors
    /// As the database answers.
    pub async fn drop_keyspace(&self) -> Result<(), CqlError> {
        let statement = format!("DROP KEYSPACE IF EXISTS {}", self.config.keyspace);
        schema::change(&self.session, "dropping the keyspace", &statement).await
    }
}

/// Whether the keyspace is there. A user that may not make one can use one that is.
pub(crate) async fn keyspace_exists(session: &Session, name: &str) -> Result<bool, CqlError> {
    let statement = format!("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = '{name}'");
    let found: Vec<(String,)> = rows(session, "the keyspace", &statement).await?;
    Ok(!found.is_empty())
}

/// The statement that makes the configured keyspace on this database.
pub(crate) async fn keyspace_statement(session: &Session, config: &CqlConfig) -> Result<String, CqlError> {
    let (dialect, _) = dialect(session, config.dialect).await?;
    Ok(create_keyspace(&config.keyspace, &config.replication, dialect))
}

/// ScyllaDB offers conditional writes on vnodes in every version, on tablets only in recent ones.
fn create_keyspace(name: &str, replication: &Replication, dialect: Dialect) -> String {
    let replication = match replication {
        Replication::Simple(copies) => format!("'class': 'SimpleStrategy', 'replication_factor': {copies}"),
        Replication::PerDatacenter(copies) => {
            copies.iter().fold("'class': 'NetworkTopologyStrategy'".to_owned(), |text, (name, copies)| {
                format!("{text}, '{name}': {copies}")
            })
        }
    };
    let tablets = if dialect == Dialect::Scylla { " AND tablets = {'enabled': false}" } else { "" };
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {{{replication}}} AND durable_writes = true{tablets}"
    )
}

async fn dialect(session: &Session, wanted: Dialect) -> Result<(Dialect, String), CqlError> {
    // ScyllaDB calls itself a release of Cassandra for the sake of old drivers; only it has this table.
    let scylla: Vec<(String,)> = rows(
        session,
        "the dialect",
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'system' AND table_name = 'scylla_local'",
    )
    .await?;
    let found = if scylla.is_empty() { Dialect::Cassandra } else { Dialect::Scylla };
    if wanted != Dialect::Auto && wanted != found {
        return Err(CqlError::Config("the database is not of the dialect named"));
    }
    let statement = match found {
        Dialect::Scylla => "SELECT version FROM system.versions",
        Dialect::Cassandra | Dialect::Auto => "SELECT release_version FROM system.local",
    };
    let versions: Vec<(String,)> = rows(session, "the version", statement).await?;
    let (version,) = versions.into_iter().next().ok_or(CqlError::Answer("the version"))?;
    Ok((found, version))
}

async fn look_around(
    session: &Session,
    config: &CqlConfig,
    dialect: Dialect,
    version: String,
) -> Result<Facts, CqlError> {
    // The name was checked when the configuration was.
    let statement = format!(
        "SELECT replication, durable_writes FROM system_schema.keyspaces WHERE keyspace_name = '{}'",
        config.keyspace
    );
    let found: Vec<(HashMap<String, String>, bool)> = rows(session, "the keyspace", &statement).await?;
    let (options, durable_writes) =
        found.into_iter().next().ok_or_else(|| CqlError::NoKeyspace(config.keyspace.clone()))?;
    let tablets = dialect == Dialect::Scylla && has_tablets(session, &config.keyspace).await?;
    let cluster = session.get_cluster_state();
    let mut datacenters: Vec<String> =
        cluster.get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect();
    datacenters.sort_unstable();
    datacenters.dedup();
    let replication = replication(&options)?;
    Ok(Facts { dialect, version, datacenters, replication, durable_writes, tablets })
}

/// ScyllaDB lists the keyspaces that have tablets here, with how many they begin with.
async fn has_tablets(session: &Session, keyspace: &str) -> Result<bool, CqlError> {
    let statement =
        format!("SELECT initial_tablets FROM system_schema.scylla_keyspaces WHERE keyspace_name = '{keyspace}'");
    match rows::<(Option<i32>,)>(session, "tablets", &statement).await {
        Ok(found) => Ok(found.iter().any(|(initial,)| initial.is_some())),
        // Versions before tablets do not have the column.
        Err(CqlError::Statement { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn replication(options: &HashMap<String, String>) -> Result<Replication, CqlError> {
    let unknown = || CqlError::Answer("the keyspace's replication");
    // `3`, or `3/1` with one of them transient.
    let copies = |text: &String| text.split('/').next().and_then(|text| text.parse::<u32>().ok()).ok_or_else(unknown);
    let class = options.get("class").ok_or_else(unknown)?;
    if class.ends_with("NetworkTopologyStrategy") {
        let per: Result<BTreeMap<_, _>, _> = options
            .iter()
            .filter(|(name, _)| *name != "class")
            .map(|(name, text)| Ok((name.clone(), copies(text)?)))
            .collect();
        return per.map(Replication::PerDatacenter);
    }
    options.get("replication_factor").ok_or_else(unknown).and_then(copies).map(Replication::Simple)
}

/// All rows of a small answer.
pub(crate) async fn rows<R>(session: &Session, what: &'static str, statement: &str) -> Result<Vec<R>, CqlError>
where
    R: for<'frame, 'metadata> scylla::deserialize::row::DeserializeRow<'frame, 'metadata>,
{
    let failed = |error: scylla::errors::ExecutionError| CqlError::Statement { what, reason: error.to_string() };
    let result = session.query_unpaged(statement, ()).await.map_err(failed)?;
    let rows = result.into_rows_result().map_err(|_| CqlError::Answer(what))?;
    let rows = rows.rows::<R>().map_err(|_| CqlError::Answer(what))?;
    rows.map(|row| row.map_err(|_| CqlError::Answer(what))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(replication: Replication) -> Facts {
        let (version, datacenters) = (String::new(), vec![]);
        Facts { dialect: Dialect::Cassandra, version, datacenters, replication, durable_writes: true, tablets: false }
    }

    fn per(copies: &[(&str, u32)]) -> Replication {
        Replication::PerDatacenter(copies.iter().map(|(name, copies)| ((*name).to_owned(), *copies)).collect())
    }

    #[test]
    fn keyspaces_are_made_for_each_dialect() {
        let simple = create_keyspace("k", &Replication::Simple(1), Dialect::Cassandra);
        assert_eq!(
            simple,
            "CREATE KEYSPACE IF NOT EXISTS k WITH replication = \
             {'class': 'SimpleStrategy', 'replication_factor': 1} AND durable_writes = true"
        );
        let scylla = create_keyspace("k", &per(&[("a", 3), ("b", 2)]), Dialect::Scylla);
        assert_eq!(
            scylla,
            "CREATE KEYSPACE IF NOT EXISTS k WITH replication = {'class': 'NetworkTopologyStrategy', 'a': 3, 'b': 2} \
             AND durable_writes = true AND tablets = {'enabled': false}"
        );
    }

    #[test]
    fn replication_is_read_and_the_weakest_datacenter_counts() {
        let options = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let simple = options(&[("class", "org.apache.cassandra.locator.SimpleStrategy"), ("replication_factor", "1")]);
        assert_eq!(replication(&simple).unwrap(), Replication::Simple(1));
        let network =
            options(&[("class", "org.apache.cassandra.locator.NetworkTopologyStrategy"), ("a", "3"), ("b", "2/1")]);
        let found = replication(&network).unwrap();
        assert_eq!(found, per(&[("a", 3), ("b", 2)]));
        assert_eq!(facts(found).copies_min(), 2);
        assert_eq!(facts(per(&[])).copies_min(), 0);
        assert!(replication(&options(&[("class", "LocalStrategy")])).is_err());
        assert!(replication(&options(&[])).is_err());
    }
}
