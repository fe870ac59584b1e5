//! Opening the session.

use std::sync::Arc;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::{Consistency, SerialConsistency};

use crate::{CqlConfig, CqlError, Tls};

/// How often an idle connection is tried, and how long it may stay silent then, so that a dead one is found before a request needs it.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long all nodes may take to agree on a schema.
const SCHEMA_AGREEMENT: Duration = Duration::from_secs(60);

pub(crate) async fn session(config: &CqlConfig) -> Result<Session, CqlError> {
    let mut routing = DefaultPolicy::builder().token_aware(true).permit_dc_failover(false);
    if let Some(datacenter) = &config.local_datacenter {
        routing = routing.prefer_datacenter(datacenter.clone());
    }
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(config.request_timeout))
        .load_balancing_policy(routing.build())
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .speculative_execution_policy(None)
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.contact_points)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(config.connect_timeout)
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE)
        .schema_agreement_timeout(SCHEMA_AGREEMENT)
        .keyspaces_to_fetch([config.keyspace.clone()]);
    if let Some(credentials) = &config.credentials {
        builder = builder.user(&credentials.user, credentials.password.expose());
    }
    if let Some(tls) = &config.tls {
        builder = builder.tls_context(Some(connector(tls)?));
    }
    let session = builder.build().await?;
    check_datacenters(&session, config.local_datacenter.as_deref())?;
    Ok(session)
}

/// The driver has each node's certificate name the node's address. Only the given authorities are trusted.
fn connector(tls: &Tls) -> Result<openssl::ssl::SslConnectorBuilder, CqlError> {
    let unusable = |error: &dyn std::fmt::Display| CqlError::Authorities(error.to_string());
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|error| unusable(&error))?;
    let pem = std::fs::read(&tls.ca_file).map_err(|error| unusable(&error))?;
    let authorities = openssl::x509::X509::stack_from_pem(&pem).map_err(|error| unusable(&error))?;
    if authorities.is_empty() {
        return Err(unusable(&"it holds no certificate"));
    }
    // The builder begins with the system's authorities; a new store has none.
    let mut store = openssl::x509::store::X509StoreBuilder::new().map_err(|error| unusable(&error))?;
    for authority in authorities {
        store.add_cert(authority).map_err(|error| unusable(&error))?;
    }
    builder.set_cert_store(store.build());
    builder.set_verify(SslVerifyMode::PEER);
    Ok(builder)
}

/// `LOCAL_QUORUM` is local to whatever node a request goes to, so with several datacenters one has to be named.
fn check_datacenters(session: &Session, local: Option<&str>) -> Result<(), CqlError> {
    let cluster = session.get_cluster_state();
    let mut names: Vec<&str> = cluster.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    match local {
        Some(local) if !names.contains(&local) => Err(CqlError::Config("no node is in the local datacenter named")),
        None if names.len() > 1 => Err(CqlError::Config("the cluster has several datacenters: name the local one")),
        _ => Ok(()),
    }
}
