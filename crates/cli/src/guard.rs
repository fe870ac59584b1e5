//! What profile `production` refuses: a deployment that would lose data with one machine, or leak secrets.
//!
//! All refusals come at once, so that nobody mends a file once for each.

use anyhow::bail;

use crate::args::Role;
use crate::config::{KafkaSecurity, Profile, Settings};

/// Copies of each partition and each row.
const COPIES_MIN: u16 = 3;
/// Copies that have a record before it counts as durable.
const INSYNC_MIN: u16 = 2;

/// Copies as they really are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// Topic, copies of its partitions, copies that must acknowledge.
    pub(crate) topics: Vec<(String, u16, u16)>,
    /// Data centre (or `all`), copies of its rows.
    pub(crate) rows: Vec<(String, u32)>,
    /// Whether writes of the keyspace go through the commit log.
    pub(crate) durable_writes: bool,
}

/// Before anything is opened: what the configuration says.
///
/// # Errors
/// In production: everything that is refused, a line each.
pub(crate) fn configuration(settings: &Settings, roles: &[Role]) -> anyhow::Result<()> {
    let Some(cluster) = settings.cluster()? else {
        return refuse(settings, vec!["log and store on one machine: name --kafka and --cql".to_owned()]);
    };
    let mut refused = Vec::new();
    if settings.name.is_none() {
        refused.push("a process without a name: give --name, and the same one at the next start".to_owned());
    }
    if settings.keys.ring.is_none() {
        refused.push("a key ring at its default place: name [keys] ring, made by `ridgeline init`".to_owned());
    }
    let (replication, min_insync) = (cluster.kafka.replication, cluster.kafka.min_insync);
    if replication < COPIES_MIN {
        refused.push(format!("kafka.replication = {replication}: at least {COPIES_MIN}"));
    }
    if min_insync < INSYNC_MIN {
        refused.push(format!("kafka.min_insync = {min_insync}: at least {INSYNC_MIN}"));
    }
    if let Some(copies) = cluster.cql.replication.copies().filter(|copies| *copies < COPIES_MIN) {
        refused.push(format!("cql.replication = {copies}: at least {COPIES_MIN} in each data centre"));
    }
    if matches!(cluster.kafka.security, KafkaSecurity::Plaintext | KafkaSecurity::Sasl) {
        refused.push("kafka.security without TLS: tls or sasl_tls".to_owned());
    }
    if cluster.cql.ca_file.is_none() {
        refused.push("connections to the store without TLS: name cql.ca_file".to_owned());
    }
    refused.extend(plain_http(settings, roles));
    refuse(settings, refused)
}

/// After the cluster was reached: what is really there.
///
/// # Errors
/// In production: everything that is refused, a line each.
pub(crate) fn cluster(settings: &Settings, facts: &Facts) -> anyhow::Result<()> {
    let mut refused = Vec::new();
    for (topic, replication, min_insync) in &facts.topics {
        if *replication < COPIES_MIN {
            refused.push(format!("topic {topic} has {replication} copies: at least {COPIES_MIN}"));
        }
        if *min_insync < INSYNC_MIN {
            refused.push(format!("topic {topic} has min.insync.replicas = {min_insync}: at least {INSYNC_MIN}"));
        }
    }
    if !facts.durable_writes {
        refused.push("the keyspace has durable_writes = false: an acknowledged row can be lost".to_owned());
    }
    for (datacenter, copies) in facts.rows.iter().filter(|(_, copies)| *copies < u32::from(COPIES_MIN)) {
        refused.push(format!("the keyspace has {copies} copies in data centre {datacenter}: at least {COPIES_MIN}"));
    }
    refuse(settings, refused)
}

fn plain_http(settings: &Settings, roles: &[Role]) -> Vec<String> {
    let mut refused = Vec::new();
    if settings.danger_plain_http {
        refused.push("danger_plain_http: name [tls] certificate and key".to_owned());
    }
    let serves = roles.contains(&Role::Gateway);
    if serves && settings.tls.is_none() && !settings.listen.ip().is_loopback() {
        refused.push(format!("plain HTTP on {}: name [tls] certificate and key", settings.listen));
    }
    match &settings.public_url {
        Some(url) if serves && !url.starts_with("https://") => {
            refused.push(format!("public_url = {url:?}: callers must come over https"));
        }
        None if serves || roles.contains(&Role::Auth) => {
            refused.push("no public_url: the https address that callers use".to_owned());
        }
        _ => {}
    }
    refused
}

fn refuse(settings: &Settings, refused: Vec<String>) -> anyhow::Result<()> {
    if settings.profile == Profile::Production && !refused.is_empty() {
        bail!("profile production refuses:\n  {}", refused.join("\n  "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::settings;

    const GOOD: &str = "profile = \"production\"\nname = \"gw-1\"\npublic_url = \"https://id.example\"\n\
                        listen = \"0.0.0.0:8443\"\n[keys]\nring = \"/run/secrets/key-ring\"\n\
                        [tls]\ncertificate = \"c\"\nkey = \"k\"\n[kafka]\nbrokers = \"k\"\nsecurity = \"tls\"\n\
                        [cql]\nhosts = [\"c\"]\nca_file = \"ca\"\n";

    fn said(file: &str) -> String {
        let settings = settings("ridgeline gateway", file).unwrap();
        configuration(&settings, &[Role::Gateway]).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn a_sound_file_passes_and_each_fault_is_named() {
        assert_eq!(said(GOOD), "");
        for (from, to, wanted) in [
            ("name = \"gw-1\"\n", "", "--name"),
            ("ring = \"/run/secrets/key-ring\"\n", "", "[keys] ring"),
            ("brokers = \"k\"", "brokers = \"k\"\nreplication = 2", "kafka.replication = 2"),
            ("brokers = \"k\"", "brokers = \"k\"\nmin_insync = 1", "kafka.min_insync = 1"),
            ("hosts = [\"c\"]", "hosts = [\"c\"]\nreplication = { a = 3, b = 1 }", "cql.replication = 1"),
            ("security = \"tls\"\n", "", "kafka.security"),
            ("ca_file = \"ca\"\n", "", "cql.ca_file"),
            ("https://id.example", "http://id.example", "https"),
            ("public_url = \"https://id.example\"\n", "", "public_url"),
            ("[keys]", "danger_plain_http = true\n[keys]", "danger_plain_http"),
        ] {
            let said = said(&GOOD.replace(from, to));
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
        // The rule for listeners of every profile refuses this one before the guard sees it.
        let plain = GOOD.replace("[tls]\ncertificate = \"c\"\nkey = \"k\"\n", "");
        assert!(settings("ridgeline gateway", &plain).is_err());
    }

    #[test]
    fn all_faults_come_at_once_and_development_has_none() {
        let bad = "profile = \"production\"\n[kafka]\nbrokers = \"k\"\nreplication = 1\n[cql]\nhosts = [\"c\"]\nreplication = 1";
        assert!(said(bad).lines().count() >= 6, "{}", said(bad));
        assert_eq!(said(&bad.replace("production", "development")), "");
        let alone = settings("ridgeline up", "profile = \"production\"").unwrap();
        assert!(configuration(&alone, &[Role::Gateway]).is_err());
    }

    #[test]
    fn what_is_really_there_counts() {
        ridgeline_testkit::covers!("R-272");
        let settings = settings("ridgeline gateway", GOOD).unwrap();
        let facts = |copies, insync, rows| Facts {
            topics: vec![("scans".to_owned(), copies, insync)],
            rows: vec![("dc1".to_owned(), rows)],
            durable_writes: true,
        };
        let forgetful = Facts { durable_writes: false, ..facts(3, 2, 3) };
        assert!(cluster(&settings, &forgetful).is_err());
        assert!(cluster(&settings, &facts(3, 2, 3)).is_ok());
        for (copies, insync, rows) in [(2, 2, 3), (3, 1, 3), (3, 2, 1)] {
            assert!(cluster(&settings, &facts(copies, insync, rows)).is_err());
        }
        let development = self::settings("ridgeline gateway", &GOOD.replace("production", "development")).unwrap();
        assert!(cluster(&development, &facts(1, 1, 1)).is_ok());
    }
}
