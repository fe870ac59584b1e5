//! Who may connect, and what an operator is told.

use std::collections::BTreeMap;

use ridgeline_cql::{CqlConfig, CqlError, Credentials, Dialect, Replication, Tls};
use ridgeline_domain::Sensitive;
use ridgeline_testkit::stack;

use crate::support;

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_known_after_connecting() {
    let Some(address) = support::address() else { return };
    let cql = support::connect(support::config(&address)).await.expect("a connection");
    let facts = cql.facts().clone();
    assert!(matches!(facts.dialect, Dialect::Cassandra | Dialect::Scylla));
    assert!(facts.version.starts_with(|first: char| first.is_ascii_digit()), "{}", facts.version);
    assert_eq!((facts.replication, facts.durable_writes), (Replication::Simple(1), true));
    cql.drop_keyspace().await.expect("dropped");
    let [datacenter] = &facts.datacenters[..] else { panic!("one datacenter, not {:?}", facts.datacenters) };
    let mut config = support::config(&address);
    config.local_datacenter = Some(datacenter.clone());
    config.replication = Replication::PerDatacenter(BTreeMap::from([(datacenter.clone(), 1)]));
    let wanted = config.replication.clone();
    let cql = support::connect(config).await.expect("a connection");
    assert_eq!((cql.facts().replication.clone(), cql.facts().copies_min()), (wanted, 1));
    cql.drop_keyspace().await.expect("dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_named() {
    let Some(address) = support::address() else { return };
    let refused = async |change: &dyn Fn(&mut CqlConfig)| {
        let mut config = support::config(&address);
        config.create_keyspace = false;
        change(&mut config);
        support::connect(config).await.map(|_| ()).expect_err("refused").to_string()
    };
    assert!(refused(&|_| ()).await.contains("run `ridgeline migrate`"));
    let elsewhere = |config: &mut CqlConfig| config.local_datacenter = Some("elsewhere".into());
    assert!(refused(&elsewhere).await.contains("local datacenter"));
    let nobody = |config: &mut CqlConfig| config.contact_points = vec!["127.0.0.1:1".into()];
    assert!(refused(&nobody).await.contains("cannot be reached"));
    let mut other_dialects = 0;
    for dialect in [Dialect::Cassandra, Dialect::Scylla] {
        let error = refused(&|config: &mut CqlConfig| config.dialect = dialect).await;
        other_dialects += usize::from(error.contains("not of the dialect"));
    }
    assert_eq!(other_dialects, 1);
}

/// `host:port,user,password,ca-file`
fn secured() -> Option<(CqlConfig, CqlConfig)> {
    let setting = stack::address(stack::CQL_TLS)?;
    let parts: Vec<&str> = setting.split(',').collect();
    let [address, user, password, ca_file] = parts[..] else { panic!("host:port,user,password,ca-file") };
    let config = |password: &str| {
        let mut config = support::config(address);
        config.credentials = Some(Credentials { user: user.into(), password: Sensitive::new(password.to_owned()) });
        config.tls = Some(Tls { ca_file: ca_file.into() });
        config
    };
    Some((config(password), config("not the password")))
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_password_let_in() {
    let Some((right, wrong)) = secured() else { return };
    let cql = support::connect(right).await.expect("a connection");
    cql.drop_keyspace().await.expect("dropped");
    let error = support::connect(wrong).await.map(|_| ()).expect_err("refused");
    assert!(matches!(error, CqlError::Credentials("user or password is wrong")), "{error:?}");
    let (mut anonymous, _) = secured().expect("a setting");
    anonymous.credentials = None;
    let error = support::connect(anonymous).await.map(|_| ()).expect_err("refused");
    assert!(matches!(error, CqlError::Credentials(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_refused() {
    let Some((mut config, _)) = secured() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, another_authority()).expect("written");
    config.tls = Some(Tls { ca_file: path.clone() });
    let error = support::connect(config).await.map(|_| ()).expect_err("refused");
    assert!(matches!(error, CqlError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains("certificate verify failed"), "{error}");
    let (mut config, _) = secured().expect("a setting");
    std::fs::write(&path, "no certificate").expect("written");
    config.tls = Some(Tls { ca_file: path });
    let error = support::connect(config).await.map(|_| ()).expect_err("refused");
    assert!(matches!(error, CqlError::Authorities(_)), "{error:?}");
}

fn another_authority() -> Vec<u8> {
    use openssl::{asn1::Asn1Time, hash::MessageDigest, pkey::PKey, rsa::Rsa, x509::X509Builder};
    let key = PKey::from_rsa(Rsa::generate(2_048).expect("a key")).expect("a key");
    let mut builder = X509Builder::new().expect("a builder");
    builder.set_pubkey(&key).expect("set");
    builder.set_not_before(&Asn1Time::days_from_now(0).expect("a time")).expect("set");
    builder.set_not_after(&Asn1Time::days_from_now(1).expect("a time")).expect("set");
    builder.sign(&key, MessageDigest::sha256()).expect("signed");
    builder.build().to_pem().expect("PEM")
}
