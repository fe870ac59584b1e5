use clap::Parser as _;

use super::*;

pub(crate) fn settings(line: &str, file: &str) -> anyhow::Result<Settings> {
    let args = Args::try_parse_from(line.split(' '))?;
    Settings::merge(&args.global, &args.command, parse(file)?)
}

#[test]
fn the_command_line_wins_over_the_file_and_the_file_over_defaults() {
    let file = "data_dir = \"/d\"\nlisten = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:2\"\n[log]\nformat = \"json\"";
    let settings = settings("ridgeline --data-dir here up --listen 127.0.0.1:3", file).unwrap();
    assert_eq!(settings.data_dir, PathBuf::from("here"));
    assert_eq!((settings.listen.port(), settings.admin_listen.port()), (3, 2));
    assert_eq!(settings.log_format, LogFormat::Json);
    let plain = self::settings("ridgeline up", "").unwrap();
    assert_eq!((plain.listen.to_string(), plain.data_dir_given), ("127.0.0.1:8080".to_owned(), false));
    assert_eq!(plain.policy, Policy::default());
}

#[test]
fn a_listener_in_the_open_needs_a_word() {
    let error = settings("ridgeline up --listen 0.0.0.0:8080", "").unwrap_err().to_string();
    assert!(error.contains("--danger-plain-http"), "{error}");
    assert!(settings("ridgeline up", "admin_listen = \"[::]:9\"").is_err());
    assert!(settings("ridgeline up --listen 0.0.0.0:8080 --danger-plain-http", "").is_ok());
    assert!(settings("ridgeline up --listen [::1]:8080", "").is_ok());
}

#[test]
fn the_policy_is_read_and_its_ranges_hold() {
    let file = "[policy]\naccept = 80\nprobe_quality = { minimum = 10, recommended = 20, excellent = 30 }";
    let policy = settings("ridgeline up", file).unwrap().policy;
    assert!((policy.accept.get() - 80.0).abs() < 1e-9);
    assert_eq!(policy.required_quality(Operation::Verify, true), 20);
    for wrong in [
        "[policy]\naccept = 101",
        "[policy]\nacept = 80",
        "[policy]\nenrol_quality = { minimum = 50, recommended = 20, excellent = 30 }",
        "port = 8080",
        "cpu_threads = 0",
        "[folder]\npath = \"x\"\noperation = \"purge\"",
        "[folder]\npath = \"x\"\ndpi = 7",
        "[log]\nformat = \"xml\"",
    ] {
        assert!(settings("ridgeline up", wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_role_heeds_its_options() {
    for role in ["up", "gateway", "matcher", "gallery", "merger", "auth", "notify", "run notify"] {
        let line = format!("ridgeline {role} --admin-listen 127.0.0.1:3 --kafka k:9092 --cql c:9042");
        let settings = settings(&line, "").unwrap();
        assert_eq!(settings.admin_listen.port(), 3, "{role}");
        assert!(settings.kafka.is_some() && settings.cql.is_some(), "{role}");
    }
}

#[test]
fn unknown_keys_are_named() {
    let error = format!("{:#}", settings("ridgeline up", "lissten = \"127.0.0.1:1\"").unwrap_err());
    assert!(error.contains("lissten"), "{error}");
}

#[test]
fn the_folder_comes_from_either_side() {
    let file = "[folder]\npath = \"inbox\"\noperation = \"identify\"\ndpi = 500";
    let of_file = settings("ridgeline up", file).unwrap().folder.unwrap();
    assert_eq!((of_file.operation, of_file.dpi), (Operation::Identify, Some(500)));
    let of_line = settings("ridgeline up --folder other --folder-operation enrol", file).unwrap().folder.unwrap();
    assert_eq!((of_line.path, of_line.operation), (PathBuf::from("other"), Operation::Enrol));
}

#[test]
fn log_and_store_outside_are_named_together() {
    assert!(settings("ridgeline up", "").unwrap().cluster().unwrap().is_none());
    let both = settings("ridgeline up --kafka k:9092 --cql a:9042,b:9042 --topic-prefix site. --keyspace site", "");
    let both = both.unwrap();
    let both = both.cluster().unwrap().unwrap();
    assert_eq!(
        (both.kafka.brokers.as_str(), both.kafka.prefix.as_str(), both.kafka.replication),
        ("k:9092", "site.", 1)
    );
    assert_eq!(
        (both.cql.hosts.clone(), both.cql.keyspace.as_str()),
        (vec!["a:9042".to_owned(), "b:9042".to_owned()], "site")
    );
    for (line, missing) in [("ridgeline matcher --kafka k:9092", "--cql"), ("ridgeline matcher --cql c", "--kafka")] {
        let error = settings(line, "").unwrap().cluster().unwrap_err().to_string();
        assert!(error.contains(missing), "{error}");
    }
}

#[test]
fn a_production_file_asks_for_three_copies_unless_it_says_otherwise() {
    let file = "profile = \"production\"\nname = \"gw-1\"\n[kafka]\nbrokers = \"k:9092\"\n\
                [cql]\nhosts = [\"c:9042\"]\nreplication = { north = 3, south = 2 }";
    let settings = self::settings("ridgeline gateway", file).unwrap();
    let cluster = settings.cluster().unwrap().unwrap();
    assert_eq!((settings.profile, settings.name.as_deref()), (Profile::Production, Some("gw-1")));
    assert_eq!((cluster.kafka.replication, cluster.kafka.min_insync), (3, 2));
    assert_eq!(cluster.cql.replication.copies(), Some(2));
    let line = self::settings("ridgeline matcher --name m-7", file).unwrap();
    assert_eq!(line.name.as_deref(), Some("m-7"));
}

#[test]
fn what_cannot_be_meant_is_refused_by_its_name() {
    let both = "[kafka]\nbrokers = \"k\"\nKAFKA\n[cql]\nhosts = [\"c\"]\nCQL";
    for (kafka, cql, said) in [
        ("min_insync = 2", "", "kafka.min_insync"),
        ("replication = 0", "", "kafka.min_insync"),
        ("prefix = \"a/b\"", "", "kafka.prefix"),
        ("security = \"sasl\"", "", "kafka.username"),
        ("username = \"u\"", "", "kafka.password_file"),
        ("password_file = \"p\"", "", "kafka.username"),
        ("username = \"u\"\npassword_file = \"p\"", "", "kafka.security"),
        ("acks = 1", "", "acks"),
        ("", "keyspace = \"Site\"", "cql.keyspace"),
        ("", "replication = 0", "cql.replication"),
        ("", "replication = {}", "cql.replication"),
        ("", "username = \"u\"", "cql.password_file"),
        ("", "[registry]\nurl = \"https://r\"\nusername = \"u\"", "registry.password_file"),
        ("", "[registry]\nurl = \"http://r\"\nusername = \"u\"\npassword_file = \"p\"", "https://"),
    ] {
        let error = settings("ridgeline merger", &both.replace("KAFKA", kafka).replace("CQL", cql)).unwrap_err();
        assert!(format!("{error:#}").contains(said), "{kafka} {cql}: {error:#}");
    }
    assert!(settings("ridgeline merger", "name = \"a b\"").is_err());
}

#[test]
fn a_registry_is_named_by_the_file_or_the_command() {
    let file = "[registry]\nurl = \"https://r\"\nca_file = \"ca.pem\"\nusername = \"u\"\npassword_file = \"p\"";
    let of_file = settings("ridgeline gateway", file).unwrap().registry.unwrap();
    assert_eq!((of_file.url.as_str(), of_file.login.unwrap().username.as_str()), ("https://r", "u"));
    let of_line = settings("ridgeline schemas check --registry http://x", "").unwrap().registry.unwrap();
    assert_eq!(of_line.url, "http://x");
    assert_eq!(settings("ridgeline schemas check", "").unwrap().registry, None);
}

#[test]
fn a_certificate_opens_the_listener() {
    let file = "listen = \"0.0.0.0:8443\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"";
    assert!(settings("ridgeline up", file).unwrap().tls.is_some());
}
