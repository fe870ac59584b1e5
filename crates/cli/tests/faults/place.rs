//! Where a scenario finds Kafka and a CQL store: the stack that all tests share, or services of its own that it may kill.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ridgeline_cql::{CqlConfig, Credentials};
use ridgeline_domain::Sensitive;
use ridgeline_kafka::{KafkaConfig, Mechanism, Sasl, Security, Tls};
use ridgeline_testkit::stack;
use tempfile::TempDir;

/// A user, for services that ask for one and speak TLS.
#[derive(Clone)]
pub(crate) struct Login {
    user: String,
    password: String,
    ca: PathBuf,
}

/// An address and how one gets in there.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: String,
    login: Option<Login>,
}

impl Door {
    /// By the environment's word: an address, or `address,user,password,ca-file`.
    fn named(variable: &str) -> Option<Self> {
        let text = stack::address(variable)?;
        let parts: Vec<_> = text.splitn(4, ',').collect();
        let login = match parts[..] {
            [_, user, password, ca] => {
                Some(Login { user: user.to_owned(), password: password.to_owned(), ca: PathBuf::from(ca) })
            }
            _ => None,
        };
        Some(Self { address: parts[0].to_owned(), login })
    }

    /// Of a service of the scenario's own.
    pub(crate) fn of(service: &Service) -> Self {
        Self { address: service.address(), login: None }
    }

    /// Further lines of the configuration file's section. The password gets a file of its own in `dir`.
    fn lines(&self, dir: &Path, section: &str) -> String {
        let Some(Login { user, password, ca }) = &self.login else { return String::new() };
        let file = dir.join(format!("{section}-password"));
        write_secret(&file, password);
        let security = if section == "kafka" { "security = \"sasl_tls\"\n" } else { "" };
        format!("{security}ca_file = {ca:?}\nusername = {user:?}\npassword_file = {file:?}\n")
    }
}

fn write_secret(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A log and a store.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) kafka: Door,
    pub(crate) cql: Door,
    /// Address of a schema registry, if the deployment has one.
    pub(crate) registry: Option<String>,
}

impl Place {
    /// The stack that all tests share; `None`: there is none, and the scenario is skipped.
    pub(crate) fn shared() -> Option<Self> {
        Some(Self { kafka: Door::named(stack::KAFKA)?, cql: Door::named(stack::CQL)?, registry: None })
    }

    /// The shared stack and a schema registry.
    pub(crate) fn registered() -> Option<Self> {
        Some(Self { registry: Some(stack::address(stack::REGISTRY)?), ..Self::shared()? })
    }

    /// The stack that speaks TLS and asks for passwords.
    pub(crate) fn guarded() -> Option<Self> {
        Some(Self { kafka: Door::named(stack::KAFKA_SASL)?, cql: Door::named(stack::CQL_TLS)?, registry: None })
    }

    /// `[kafka]`, `[cql]` and `[registry]` of a configuration file that lies in `dir`.
    pub(crate) fn configuration(&self, dir: &Path, prefix: &str, keyspace: &str) -> String {
        let (kafka, cql) = (&self.kafka.address, &self.cql.address);
        let (kafka_lines, cql_lines) = (self.kafka.lines(dir, "kafka"), self.cql.lines(dir, "cql"));
        let registry = self.registry.as_ref().map(|url| format!("[registry]\nurl = \"{url}\"\n")).unwrap_or_default();
        format!(
            "{registry}[cql]\nhosts = [\"{cql}\"]\nkeyspace = \"{keyspace}\"\n{cql_lines}\
             [kafka]\nbrokers = \"{kafka}\"\nprefix = \"{prefix}\"\n{kafka_lines}"
        )
    }

    /// How the oracle gets at the log.
    pub(crate) fn kafka_config(&self) -> KafkaConfig {
        let mut config = KafkaConfig::new(&self.kafka.address, "ridgeline-oracle");
        if let Some(Login { user, password, ca }) = self.kafka.login.clone() {
            let sasl = Sasl { mechanism: Mechanism::ScramSha512, username: user, password: Sensitive::new(password) };
            config.security = Security::SaslTls(Tls { ca_file: Some(ca), client: None }, sasl);
        }
        config
    }

    /// How the oracle gets at the store.
    pub(crate) fn cql_config(&self, keyspace: &str) -> CqlConfig {
        let mut config = CqlConfig::new(vec![self.cql.address.clone()], keyspace);
        if let Some(Login { user, password, ca }) = self.cql.login.clone() {
            config.credentials = Some(Credentials { user, password: Sensitive::new(password) });
            config.tls = Some(ridgeline_cql::Tls { ca_file: ca });
        }
        config
    }
}

/// A broker or a node of a scenario's own; gone when dropped.
pub(crate) struct Service {
    kind: &'static str,
    dir: TempDir,
}

impl Service {
    /// Starts `kafka` or `cassandra` empty, on free ports. `detour`: where a second listener of Kafka tells its clients to go.
    pub(crate) fn start(kind: &'static str, detour: Option<String>) -> Self {
        let service = Self { kind, dir: tempfile::tempdir().unwrap() };
        if let Some(detour) = detour {
            std::fs::write(service.dir.path().join("detour.advertised"), detour).unwrap();
        }
        service.restart();
        service
    }

    /// Where its clients go.
    pub(crate) fn address(&self) -> String {
        self.read("address")
    }

    /// Where a proxy leads to.
    pub(crate) fn behind_the_detour(&self) -> String {
        format!("127.0.0.1:{}", self.read("detour.port"))
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.script(&["kill"]);
    }

    /// Starts it again, with the data and on the ports it had.
    pub(crate) fn restart(&self) {
        self.script(&["start", self.kind]);
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap().trim().to_owned()
    }

    fn script(&self, words: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/stack/stack.sh");
        let mut command = Command::new(script);
        if let Ok(detour) = std::fs::read_to_string(self.dir.path().join("detour.advertised")) {
            command.env("DETOUR", detour);
        }
        let done = command
            .args(words)
            .arg(self.dir.path())
            .env_remove("PORT")
            .env("LASTING", "1")
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(done.success(), "{} could not be made to {words:?}", self.kind);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}
