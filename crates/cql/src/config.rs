//! How to reach the database and what may be made there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ridgeline_domain::Sensitive;

use crate::CqlError;

/// Longest keyspace name that both databases take.
const KEYSPACE_BYTES_MAX: usize = 48;

/// Everything about the database. Make one with [`CqlConfig::new`] and change what differs.
#[derive(Debug)]
pub struct CqlConfig {
    /// `host:port` of nodes to ask first; the others are found through them.
    pub contact_points: Vec<String>,
    /// Keyspace: `[a-z][a-z0-9_]{0,47}`.
    pub keyspace: String,
    /// The datacenter to write to and read from. Needed where the cluster has several.
    pub local_datacenter: Option<String>,
    /// How a keyspace made here is replicated; an existing one is left as it is.
    pub replication: Replication,
    /// User and password, where the database asks for them.
    pub credentials: Option<Credentials>,
    /// TLS, where the database speaks it.
    pub tls: Option<Tls>,
    /// How long a request may take, its retries included.
    pub request_timeout: Duration,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// Which database it is.
    pub dialect: Dialect,
    /// Makes the keyspace if it is missing.
    pub create_keyspace: bool,
    /// Lets `ensure_tables` make tables, for development and tests; in production `migrate` makes them.
    pub create_tables: bool,
}

/// User and password.
#[derive(Debug)]
pub struct Credentials {
    /// User.
    pub user: String,
    /// Password.
    pub password: Sensitive<String>,
}

/// TLS to the nodes. Each node's certificate must chain to the authority and name the node's address.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Certificates of the authorities that are trusted, PEM; no others are.
    pub ca_file: PathBuf,
}

/// How a keyspace is replicated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replication {
    /// So many copies anywhere: one node, development.
    Simple(u32),
    /// Copies per datacenter.
    PerDatacenter(BTreeMap<String, u32>),
}

/// Which database answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Find out.
    Auto,
    /// Apache Cassandra.
    Cassandra,
    /// ScyllaDB.
    Scylla,
}

impl CqlConfig {
    /// One copy, no credentials, no TLS, 5 s for a request, nothing is made.
    #[must_use]
    pub fn new(contact_points: Vec<String>, keyspace: impl Into<String>) -> Self {
        Self {
            contact_points,
            keyspace: keyspace.into(),
            local_datacenter: None,
            replication: Replication::Simple(1),
            credentials: None,
            tls: None,
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            dialect: Dialect::Auto,
            create_keyspace: false,
            create_tables: false,
        }
    }

    /// Names go into statements as they are, so nothing else may be in them.
    pub(crate) fn check(&self) -> Result<(), CqlError> {
        if self.contact_points.is_empty() {
            return Err(CqlError::Config("no contact point is given"));
        }
        if !is_name(&self.keyspace) {
            return Err(CqlError::Config("a keyspace's name is a letter, then up to 47 of a-z, 0-9 and _"));
        }
        if self.request_timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(CqlError::Config("a timeout of zero lets nothing pass"));
        }
        match &self.replication {
            Replication::Simple(0) => Err(CqlError::Config("a replication factor of 0 keeps no row")),
            Replication::Simple(_) => Ok(()),
            Replication::PerDatacenter(copies) if copies.is_empty() || copies.values().any(|copies| *copies == 0) => {
                Err(CqlError::Config("replication names at least one datacenter, each with 1 copy or more"))
            }
            Replication::PerDatacenter(copies) if !copies.keys().all(|name| is_datacenter(name)) => {
                Err(CqlError::Config("a datacenter's name is made of letters, digits, '-', '_' and '.'"))
            }
            Replication::PerDatacenter(_) => Ok(()),
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= KEYSPACE_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn is_datacenter(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut CqlConfig)) -> Result<(), CqlError> {
        let mut config = CqlConfig::new(vec!["127.0.0.1:9042".into()], "ridgeline");
        change(&mut config);
        config.check()
    }

    #[test]
    fn what_could_become_part_of_a_statement_is_refused() {
        assert!(with(|_| ()).is_ok());
        for keyspace in ["", "Upper", "a b", "1a", "a\"", "a;drop", &"x".repeat(49)] {
            assert!(with(|config| config.keyspace = keyspace.to_owned()).is_err(), "{keyspace}");
        }
        let copies = |name: &str, copies| Replication::PerDatacenter(BTreeMap::from([(name.to_owned(), copies)]));
        assert!(with(|config| config.replication = copies("dc-1", 3)).is_ok());
        for replication in
            [copies("dc'1", 3), copies("dc", 0), copies("", 1), Replication::PerDatacenter(BTreeMap::new())]
        {
            assert!(with(|config| config.replication = replication.clone()).is_err(), "{replication:?}");
        }
        assert!(with(|config| config.replication = Replication::Simple(0)).is_err());
        assert!(with(|config| config.contact_points.clear()).is_err());
        assert!(with(|config| config.request_timeout = Duration::ZERO).is_err());
    }

    #[test]
    fn a_password_is_not_shown() {
        let mut config = CqlConfig::new(vec![], "ridgeline");
        config.credentials = Some(Credentials { user: "u".into(), password: Sensitive::new("tell-nobody".to_owned()) });
        assert!(!format!("{config:?}").contains("tell-nobody"));
    }
}
