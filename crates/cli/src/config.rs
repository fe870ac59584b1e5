//! Configuration: command line, then file, then defaults; read once, into plain structs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use ridgeline_domain::{Confidence, Operation, Policy, QualityThresholds};
use serde::Deserialize;

use crate::args::{Args, Command, Global, LogFormat, ServeArgs};

/// A configuration file is written by people.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that was configured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// Where log, store and keys live.
    pub(crate) data_dir: PathBuf,
    /// Whether somebody chose it.
    pub(crate) data_dir_given: bool,
    /// Public HTTP interface.
    pub(crate) listen: SocketAddr,
    /// Metrics and operators.
    pub(crate) admin_listen: SocketAddr,
    /// Address in links; by default that of the listener.
    pub(crate) public_url: Option<String>,
    /// Whether others may reach a listener without TLS.
    pub(crate) danger_plain_http: bool,
    /// Threads for extraction and comparison; by default one for each processor.
    pub(crate) cpu_threads: Option<usize>,
    /// How log lines are written.
    pub(crate) log_format: LogFormat,
    /// What is logged, if somebody chose.
    pub(crate) log_level: Option<String>,
    /// What the workers judge by.
    pub(crate) policy: Policy,
    /// A folder to watch.
    pub(crate) folder: Option<Folder>,
}

/// The built-in agent's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Which.
    pub(crate) path: PathBuf,
    /// What its images ask for.
    pub(crate) operation: Operation,
    /// Their resolution, unless they carry it.
    pub(crate) dpi: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    admin_listen: Option<SocketAddr>,
    public_url: Option<String>,
    danger_plain_http: bool,
    cpu_threads: Option<usize>,
    log: LogFile,
    policy: PolicyFile,
    folder: Option<FolderFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogFile {
    format: Option<LogFormat>,
    level: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PolicyFile {
    accept: Option<f64>,
    consistency: Option<f64>,
    enrol_quality: Option<QualityFile>,
    probe_quality: Option<QualityFile>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct QualityFile {
    minimum: u8,
    recommended: u8,
    excellent: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FolderFile {
    path: PathBuf,
    operation: Option<String>,
    dpi: Option<u16>,
}

impl Settings {
    /// Reads the file, if one is named, and lays the command line over it.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key or a value outside its range; a listener that others can reach without TLS.
    pub(crate) fn read(args: &Args) -> anyhow::Result<Self> {
        let file = match &args.global.config {
            Some(path) => parse(&read(path)?).with_context(|| format!("configuration file {}", path.display()))?,
            None => File::default(),
        };
        let default = ServeArgs::default();
        let serve = match &args.command {
            Command::Up(serve) => serve,
            Command::Demo(demo) => &demo.serve,
            _ => &default,
        };
        Self::merge(&args.global, serve, file)
    }

    fn merge(global: &Global, serve: &ServeArgs, file: File) -> anyhow::Result<Self> {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let given = global.data_dir.clone().or(file.data_dir);
        let folder = match (&serve.folder, file.folder) {
            (Some(path), _) => Some(Folder { path: path.clone(), operation: Operation::Verify, dpi: serve.folder_dpi }),
            (None, Some(file)) => Some(folder(file)?),
            (None, None) => None,
        };
        let folder =
            folder.map(|folder| Folder { operation: serve.folder_operation.unwrap_or(folder.operation), ..folder });
        let settings = Self {
            data_dir_given: given.is_some(),
            data_dir: given.unwrap_or_else(|| PathBuf::from("ridgeline-data")),
            listen: serve.listen.or(file.listen).unwrap_or(loopback(8080)),
            admin_listen: serve.admin_listen.or(file.admin_listen).unwrap_or(loopback(9090)),
            public_url: file.public_url.map(|url| url.trim_end_matches('/').to_owned()),
            danger_plain_http: serve.danger_plain_http || file.danger_plain_http,
            cpu_threads: file.cpu_threads,
            log_format: global.log_format.or(file.log.format).unwrap_or(LogFormat::Text),
            log_level: global.log_level.clone().or(file.log.level),
            policy: policy(&file.policy)?,
            folder,
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.cpu_threads.is_some_and(|threads| !(1..=1024).contains(&threads)) {
            bail!("cpu_threads must lie between 1 and 1024");
        }
        for (what, address) in [("--listen", self.listen), ("--admin-listen", self.admin_listen)] {
            if !address.ip().is_loopback() && !self.danger_plain_http {
                bail!(
                    "{what} {address} can be reached by others, and this service speaks plain HTTP: biometrics and keys \
                     would travel in clear. Listen on 127.0.0.1 behind a proxy that adds TLS, or say --danger-plain-http"
                );
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let context = || format!("cannot read configuration file {}", path.display());
    let size = std::fs::metadata(path).with_context(context)?.len();
    if size > FILE_BYTES_MAX {
        bail!("configuration file {} is larger than {FILE_BYTES_MAX} bytes", path.display());
    }
    std::fs::read_to_string(path).with_context(context)
}

fn parse(text: &str) -> anyhow::Result<File> {
    Ok(toml::from_str(text)?)
}

fn folder(file: FolderFile) -> anyhow::Result<Folder> {
    let operation = file.operation.as_deref().unwrap_or("verify").parse().context("folder.operation")?;
    if file.dpi.is_some_and(|dpi| !(250..=1200).contains(&dpi)) {
        bail!("folder.dpi must lie between 250 and 1200");
    }
    Ok(Folder { path: file.path, operation, dpi: file.dpi })
}

fn policy(file: &PolicyFile) -> anyhow::Result<Policy> {
    let mut policy = Policy::default();
    let confidence = |name: &str, value: f64| {
        if (0.0..=100.0).contains(&value) {
            Ok(Confidence::new(value))
        } else {
            bail!("policy.{name} must lie between 0 and 100")
        }
    };
    if let Some(value) = file.accept {
        policy.accept = confidence("accept", value)?;
    }
    if let Some(value) = file.consistency {
        policy.consistency = confidence("consistency", value)?;
    }
    if let Some(quality) = file.enrol_quality {
        policy.enrol_quality = thresholds("enrol_quality", quality)?;
    }
    if let Some(quality) = file.probe_quality {
        policy.probe_quality = thresholds("probe_quality", quality)?;
    }
    Ok(policy)
}

fn thresholds(name: &str, file: QualityFile) -> anyhow::Result<QualityThresholds> {
    let QualityFile { minimum, recommended, excellent } = file;
    if !(minimum <= recommended && recommended <= excellent && excellent <= 100) {
        bail!("policy.{name} must have minimum <= recommended <= excellent <= 100");
    }
    Ok(QualityThresholds { minimum, recommended, excellent })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn settings(line: &str, file: &str) -> anyhow::Result<Settings> {
        let args = Args::try_parse_from(line.split(' '))?;
        let default = ServeArgs::default();
        let serve = if let Command::Up(serve) = &args.command { serve } else { &default };
        Settings::merge(&args.global, serve, parse(file)?)
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_defaults() {
        let file =
            "data_dir = \"/d\"\nlisten = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:2\"\n[log]\nformat = \"json\"";
        let settings = settings("ridgeline --data-dir here up --listen 127.0.0.1:3", file).unwrap();
        assert_eq!(settings.data_dir, PathBuf::from("here"));
        assert_eq!((settings.listen.port(), settings.admin_listen.port()), (3, 2));
        assert_eq!(settings.log_format, LogFormat::Json);
        let plain = super::tests::settings("ridgeline up", "").unwrap();
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
}
